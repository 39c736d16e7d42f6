"""The timing engine: launches of fresh workers whose short blocks alternate on one CPU.

A launch starts one worker for each contestant (all import at the same time: import is not timed here), moves them to
the same CPU, times each one's first steps alone, and then, for several instances of the data, rounds in which every
contestant makes one block of steps from the same freshly perturbed weights, in random order. Then the workers end.
What varies between processes (hash seed, size of the environment; the system draws the address-space layout) is drawn
anew for each launch and is the same for all its workers, so that the mean over launches is over it, and no contestant
gets the lucky draw. So is, for each instance, what lies in the heap before the data, and for each round, where the
stack lies. One contestant of each launch, each in its turn, has a twin: the same backend in a process that has imported
and allocated something else before.

    blocks -> `speed.blocks` -> one number per launch -> interval

The engine knows no verdicts on speed and no records: `suite.timing` turns a series of launches into a run's,
`selfcheck` and the project's own benchmarks into figures about the engine itself.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from compare_ag.host.environment import usable_cpus
from compare_ag.host.process import Launch, ProtocolFailure, WorkerFailure, WorkerProcess, host_fault
from compare_ag.host.session import Session, TimedBlock, check_digest
from compare_ag.records import file_stem
from compare_ag.speed.blocks import (
    QUINTILE,
    Blocks,
    at_full_speed,
    full_speed,
    launch_at_full_speed,
    launch_log_ratio,
    launch_log_time,
    quickest,
    undisturbed,
)
from compare_ag.speed.schedule import UNPREDICTABLE, Plan, Settings, orders, perturbed, plan
from compare_ag.worker.protocol import Ahead

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.suite.judged_blocks import JudgedBlocks
    from compare_ag.suite.training import Conditions
    from compare_ag.verify.reference import Reference
    from compare_ag.worker.protocol import Array, Audited, Loaded, Mutation, Observed, Prepared

T = TypeVar("T")

FIRST_STEPS = 400
FIRST_STEPS_NS = 100_000_000
"""a fresh process is watched for so many steps, or for so long after its first"""
WATCHED_LAUNCHES = 3
WARM_UP_NS = 5_000_000
"""in later launches, whose first steps are like those before"""
CALIBRATION_NS = 5_000_000
"""least length of the burst from which the block length is chosen"""
MOST_STEPS = 1 << 26
"""of a burst: so many take longer than `CALIBRATION_NS` in any Python, even if they do nothing"""
LONGEST_PADDING = 4096
PADS = 64
MOST_DEPTH = 63
"""calls deep in the stack that a round's blocks are made, all contestants' alike: see `clock.at_depth`"""
TWIN = "{} again"
TWIN_MODULES = (
    "asyncio", "bz2", "calendar", "concurrent.futures", "csv", "ctypes.util", "decimal", "difflib", "fractions",
    "http.client", "optparse", "sqlite3", "unittest", "xml.dom.minidom", "zipfile",
)  # fmt: skip
TWIN_IMPORTS = 5
LARGEST_TWIN_BLOCK = 1 << 22
QUICK_STEPS = 2.5
"""times the quick steps of a burst that its mean may take: what shares the core, or interrupts, seldom costs more"""
LARGEST_TAIL = 0.05
"""of a block's wall time, after its last step: more is work that was put off"""
LARGEST_GAP = 1.5
"""times a block's shortest step that its steps may take on average: more, and some steps do the others' work"""


class Contestant(NamedTuple):
    """Who is timed; two may carry the same offer, which is how a backend is compared with itself."""

    name: str
    offer: Offer
    mutation: Mutation | None = None
    before: Ahead | None = None
    """what its process does before it imports the backend: a twin's"""


@dataclass
class Bench:
    """One timing worker and what it measured: the blocks of M instances, R rounds each, and the phased ones, R'."""

    session: Session
    loaded: Loaded
    prepared: Prepared
    threads: int
    step_ns: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """(T,): its first steps one by one"""
    watched: bool = False
    """whether these were many"""
    first_phases: list[int] = field(default_factory=list)
    pinned: list[int] = field(default_factory=list)
    blocks: list[list[TimedBlock]] = field(default_factory=list)
    phased: list[list[TimedBlock]] = field(default_factory=list)
    audit: Audited | None = None
    observed: Observed | None = None
    others_cpu_seconds: float = 0.0
    """CPU time of other processes that the worker started, from its first blocks to its last"""
    _seen: Seen | None = None

    def column(self, name: str, *, phased: bool = False) -> Array:
        """A field of `Timed`, or host_ns, steps or lead_in, of every counted block: (M, R)."""
        made = self.phased if phased else self.blocks
        rows = [[getattr(one if hasattr(one, name) else one.timed, name) for one in instance] for instance in made]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)

    @property
    def wall(self) -> Array:
        """Wall nanoseconds of every counted block: (M, R)."""
        return self.column("wall_ns")

    @cached_property
    def quickest_ns(self) -> float:
        """What a probe of the CPU's speed takes where this process was at its quickest, once all blocks are made."""
        made = [one.probe_ns for each in self.blocks for one in each]
        return quickest(np.concatenate(made)) if made else math.inf

    def uninterrupted(self, *, phased: bool = False) -> Array:
        """(M, R) bool: the blocks in which no other program ran on the same CPU."""
        counted = [self.column(name, phased=phased) for name in ("switches", "waits", "cpu_ns", "inside_ns")]
        return undisturbed(counted[0], counted[1], counted[2], counted[3], self.threads)

    def seen(self, full_ns: float) -> Seen:
        """What the blocks say, once all are made, where a probe at full speed takes so long; kept for the next time."""
        if self._seen is None or self._seen.full_ns != full_ns:
            # threads slow each other as they please: what their probes see is themselves
            self._seen = Seen.of(self, full_ns if self.threads == 1 else math.inf)._replace(full_ns=full_ns)
        return self._seen

    @property
    def by_block(self) -> Array:
        """Nanoseconds per step of every block, its wall time divided by its steps: (M, R)."""
        return np.asarray(self.wall / self.column("steps"))

    @property
    def tail(self) -> Array:
        """Share of every block's wall time that lies after its last step: (M, R)."""
        steps = [[int(one.step_ns.sum()) for one in each] for each in self.blocks]
        return np.asarray(1 - np.array(steps).reshape(self.wall.shape) / self.wall)

    @property
    def phases(self) -> Array:
        """Nanoseconds per step of forward, backward, update in every phased block: (M, R', 3)."""
        rounds = len(self.phased[0]) if self.phased else 0
        times = np.array([[one.timed.phases for one in each] for each in self.phased], dtype=np.float64)
        steps = self.column("steps", phased=True)
        return np.asarray(times.reshape(len(self.phased), rounds, 3) / steps[:, :, None])


class Seen(NamedTuple):
    """What a launch's blocks say of a contestant, given what a probe takes at full speed."""

    full_ns: float
    share: Array
    """(M, R): of a block's segments, those that had the core to themselves"""
    by_block: Blocks
    """by wall time; what counts was not interrupted, and at full speed as a whole"""
    by_steps: Blocks
    """by the median of the steps at full speed; what counts was not interrupted, and has one"""
    tail: float | None
    """share of the wall time after the last step, the median over what counts; None where nothing does"""
    gap: float | None
    """the mean step by the shortest, likewise"""

    @classmethod
    def of(cls, bench: Bench, full_ns: float) -> Seen:
        """From its blocks."""
        blocks = [one for each in bench.blocks for one in each]
        there = [at_full_speed(one.probe_ns, full_ns) for one in blocks]
        # of a block without a segment at full speed all steps: it does not count, but has a time
        kept = [np.repeat(of | (not of.any()), one.segment or one.steps) for one, of in zip(blocks, there, strict=True)]
        steps = [one.step_ns[of[: len(one.step_ns)]] for one, of in zip(blocks, kept, strict=True)]
        shape = bench.wall.shape
        share = np.array([of.mean() for of in there]).reshape(shape)
        medians = np.array([np.median(one) if len(one) else np.nan for one in steps]).reshape(shape)
        unequal = np.array([one.mean() / one.min() if len(one) else np.nan for one in steps]).reshape(shape)
        calm = bench.uninterrupted() & launch_at_full_speed(share)
        known = calm & np.isfinite(medians)
        return cls(
            full_ns,
            share,
            Blocks(bench.by_block, calm & (share == 1)),
            Blocks(medians, known),
            float(np.median(bench.tail[known])) if known.any() else None,
            float(np.median(unequal[known])) if known.any() else None,
        )


@dataclass(frozen=True)
class LaunchResult:
    """One launch: what each contestant that survived it measured, side by side."""

    index: int
    hash_seed: int
    benches: dict[str, Bench]
    seconds: float
    twin: str = ""
    """the contestant that ran twice"""


@dataclass
class _Crew:
    """The workers of one launch, from their start to their end."""

    index: int
    generator: np.random.Generator
    """the launch's own randomness, from the run's seed and the number of the launch"""
    hash_seed: int
    padding: int
    twin: str
    contestants: dict[str, Contestant]
    stack: ExitStack = field(default_factory=ExitStack)
    processes: dict[str, WorkerProcess] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    benches: dict[str, Bench] = field(default_factory=dict)

    def drop(self, name: str) -> None:
        """One of them leaves."""
        self.benches.pop(name, None)
        if name in self.processes:
            self.processes[name].close()


class Engine:
    """Launches contestants until its owner has seen enough. Leaving it as a context ends every worker.

    conditions: problem, logs, deadline of each worker, the event that cancels.
    checkpoint: step and weights w (d,), b () of the training from which blocks start; only its perturbations leave the
      host.
    twins: whether each contestant, in its turn, runs twice in a launch.
    judged: what judges a share of the blocks; who is wrong leaves.
    first: number of the first launch: another one is another draw of everything that is random.
    """

    def __init__(
        self,
        contestants: Sequence[Contestant],
        conditions: Conditions,
        settings: Settings,
        checkpoint: tuple[int, Array, Array],
        *,
        twins: bool = False,
        judged: JudgedBlocks | None = None,
        first: int = 0,
    ) -> None:
        self.contestants = {one.name: one for one in contestants}
        self.settings = settings
        self.conditions = conditions
        self.problem: Problem = conditions.problem
        self.checkpoint_step, self._w, self._b = checkpoint
        self.failures: dict[str, WorkerFailure] = {}
        """contestants that have left, with the reason"""
        self.plan = Plan({}, settings.instances, settings.rounds)
        """the same for every launch; chosen by `calibrate`"""
        self.rough: dict[str, float] = {}
        """nanoseconds per step of each contestant that this rests on"""
        self._unprobed: set[str] = set()
        """contestants whose steps go on after they have returned"""
        self.launches: list[LaunchResult] = []
        """those that count"""
        self.most_depth = MOST_DEPTH
        self._twins = twins
        self._judged = judged
        self._begun = self._first = first
        self._cpus = usable_cpus()
        self._timed = timed_cpus(self.problem.threads)
        self._others = [cpu for cpu in self._cpus if cpu not in self._timed]
        # where blocks are timed the host sleeps during each, and its request and reply need no other CPU to wake up
        self._host = self._timed if self.problem.threads == 1 else self._others
        self._next: _Crew | None = None
        self._open = False

    def __enter__(self) -> Engine:
        self._open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open = False
        if self._next is not None:
            self._next.stack.close()
            self._next = None

    # --- what its owner calls ---

    def calibrate(self) -> None:
        """Start the first launch, and choose the blocks: each contestant's first step phase by phase, then bursts.

        Inside the engine's context, `launch` goes on from there: what was started at some cost is timed.
        """
        rough = self.rough = {}
        started = time.monotonic()
        with self._crew(keep=self._open) as crew:
            seconds = time.monotonic() - started
            for name in self._shuffled(crew):
                self._guard(crew, name, partial(self._first_steps, name, crew, phased=True))
            for name in self._shuffled(crew):
                if name == self._planned(name, crew):
                    self._guard(crew, name, partial(self._rough, rough, name, crew))
        alive = {name: nanoseconds for name, nanoseconds in rough.items() if name not in self.failures}
        self.plan = plan(alive, self.settings, seconds, int(self._twins), self._unprobed)

    def launch(self) -> LaunchResult:
        """One launch. Contestants that fail are in `failures` afterwards and in no later launch."""
        started = time.monotonic()
        with self._crew() as crew:
            for name in self._shuffled(crew):
                if not len(crew.benches[name].step_ns):
                    self._guard(crew, name, partial(self._first_steps, name, crew))
            if self._judged is not None:
                instances = self.plan.instances
                self._judged.begin(instances * self.plan.rounds, instances * self.plan.phased_rounds)
            for instance in range(self.plan.instances):
                self._instance(crew, instance)
            for name in self._shuffled(crew):
                self._guard(crew, name, partial(self._look, name, crew))
        if self._judged is not None:
            self._judge(crew, self._judged, time.monotonic() - started)
        seconds = time.monotonic() - started
        self.launches.append(LaunchResult(crew.index, crew.hash_seed, crew.benches, seconds, crew.twin))
        return self.launches[-1]

    # --- what the launches say ---

    def timed_by(self, name: str) -> str:
        """What a step's time is: "steps", the median step of a block, or "blocks", the block's wall time by its steps.

        Steps, where the work of a step is done when `step` returns: nothing is left to wait for at the block's end, and
        no step does several steps' work. The median is then what nothing disturbed, however short. Else blocks: an
        asynchronous or lazy backend pays at the end.
        """
        full_ns = self._full_ns(name)
        seen = [bench.seen(full_ns) for bench in self._benches(name)]
        shapes = [(one.tail, one.gap) for one in seen if one.tail is not None]
        if not shapes:
            return "blocks"
        tail, gap = np.median(np.array(shapes), axis=0).tolist()
        return "steps" if tail <= LARGEST_TAIL and gap <= LARGEST_GAP else "blocks"

    def gap(self, name: str) -> float | None:
        """How much longer than that a step takes by the usual block's wall time, as share; None where none is clean.

        What slows half of the blocks is in it, and what the backend does now and then; the median over launches.
        """
        gaps = []
        for launch in self.launches:
            bench, log_time = launch.benches.get(name), self.log_time(name, launch)
            if bench is not None and np.isfinite(log_time):
                gaps.append(float(np.median(bench.by_block[bench.uninterrupted()])) * 1e-9 / np.exp(log_time))
        return float(np.median(gaps)) - 1 if gaps else None

    def blocks(self, name: str, launch: LaunchResult) -> Blocks | None:
        """The counted blocks of a contestant, or of a twin, in a launch; None where it was not there."""
        bench = launch.benches.get(name)
        if bench is None:
            return None
        backend = self.backend_of(name, launch)
        seen = bench.seen(self._full_ns(backend))
        return seen.by_steps if self.timed_by(backend) == "steps" else seen.by_block

    def full_speed(self, name: str, launch: LaunchResult) -> Array:
        """Share of each of a contestant's blocks that had the core to itself: (M, R)."""
        return launch.benches[name].seen(self._full_ns(name)).share

    def _full_ns(self, name: str) -> float:
        """What a probe takes in the contestant's processes at full speed."""
        there = [launch.benches.get(one) for launch in self.launches for one in self.both(name, launch)]
        return full_speed([bench.quickest_ns for bench in there if bench is not None])

    @staticmethod
    def backend_of(name: str, launch: LaunchResult) -> str:
        """The contestant whose twin this is, or the contestant itself."""
        return launch.twin if launch.twin and name == TWIN.format(launch.twin) else name

    def log_time(self, name: str, launch: LaunchResult) -> float:
        """This launch's log of seconds per step, the mean of both workers where it ran twice; NaN where disturbed."""
        found = [self.blocks(one, launch) for one in self.both(name, launch)]
        return _mean([float(launch_log_time(one)) for one in found if one is not None])

    def log_ratio(self, name: str, baseline: str, launch: LaunchResult) -> float:
        """This launch's log of time(name) / time(baseline); NaN where one was not there, or too much disturbed.

        A twin is another process of its backend: where one ran twice, the mean is over both.
        """
        sides = [[self.blocks(one, launch) for one in self.both(which, launch)] for which in (name, baseline)]
        pairs = [(mine, other) for mine in sides[0] for other in sides[1] if mine is not None and other is not None]
        return _mean([float(launch_log_ratio(*pair)) for pair in pairs])

    def log_ratios(self, name: str, baseline: str) -> list[float]:
        """One for each launch in which both were there and undisturbed."""
        values = [self.log_ratio(name, baseline, launch) for launch in self.launches]
        return [value for value in values if np.isfinite(value)]

    def controls(self, name: str | None = None) -> list[float]:
        """The log-ratio of a twin to its backend in each undisturbed launch, or in those in which ``name`` had one."""
        values = []
        for launch in self.launches:
            if launch.twin and name in (None, launch.twin):
                twin, own = self.blocks(TWIN.format(launch.twin), launch), self.blocks(launch.twin, launch)
                if twin is not None and own is not None:
                    values.append(float(launch_log_ratio(twin, own)))
        return [value for value in values if np.isfinite(value)]

    @staticmethod
    def both(name: str, launch: LaunchResult) -> list[str]:
        """A contestant and, where it ran twice in a launch, its twin."""
        return [name, TWIN.format(name)] if launch.twin == name else [name]

    def _benches(self, name: str) -> list[Bench]:
        return [launch.benches[name] for launch in self.launches if name in launch.benches]

    # --- workers ---

    @staticmethod
    def _shuffled(crew: _Crew) -> list[str]:
        return next(orders(list(crew.benches), 1, crew.generator))

    def _guard(self, crew: _Crew, name: str, action: Callable[[], T]) -> T | None:
        """Do something with one worker; where it fails, the contestant leaves and the others go on.

        A twin is its contestant once more: what one of them fails at is not tried with the other.
        """
        backend = self._planned(name, crew)
        if backend in self.failures:
            crew.drop(name)
            return None
        try:
            return action()
        except WorkerFailure as failure:
            self._leave(backend, failure)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this contestant, not the run
            self._leave(backend, host_fault(error, self._how(name, crew)))
        crew.drop(name)
        return None

    def _leave(self, name: str, failure: WorkerFailure) -> None:
        if failure.status == "cancelled":
            raise KeyboardInterrupt from None
        self.failures[name] = failure

    @contextmanager
    def _crew(self, *, keep: bool = False) -> Iterator[_Crew]:
        """Workers, loaded and prepared, all on the same CPUs and the host beside them; ended on leaving.

        keep: unless they are to be the next launch's.
        """
        crew, self._next = self._next or self._assemble(), None
        with ExitStack() as stack:
            stack.callback(crew.stack.close)
            for name in next(orders([name for name in crew.sessions if name not in crew.benches], 1, crew.generator)):
                self._guard(crew, name, partial(self._prepare, name, crew))
            with host_on(self._host):
                yield crew
            if keep:
                self._next = crew
                stack.pop_all()

    def _assemble(self) -> _Crew:
        """Start every worker and have all import at once; in random order."""
        generator = np.random.default_rng([self.problem.seed, 0x71AE, self._begun])
        hash_seed = int(generator.integers(1 << 32))
        padding = int(generator.integers(LONGEST_PADDING))
        names = [name for name in self.contestants if name not in self.failures]
        taking_part = {name: self.contestants[name] for name in names}
        twin = names[(self._begun - self._first) % len(names)] if self._twins and names else ""
        if twin:
            other = TWIN.format(twin)
            taking_part[other] = self.contestants[twin]._replace(name=other, before=_ahead(generator))
        crew = _Crew(self._begun, generator, hash_seed, padding, twin, taking_part)
        self._begun += 1
        with ExitStack() as on_error:
            on_error.callback(crew.stack.close)
            for action in (self._start, self._begin_load):
                for name in next(orders(list(taking_part), 1, generator)):
                    self._guard(crew, name, partial(action, name, crew))
            on_error.pop_all()
        return crew

    def _start(self, name: str, crew: _Crew) -> None:
        process = WorkerProcess(self._how(name, crew), self.conditions.cancel)
        crew.processes[name] = crew.stack.enter_context(process)

    def _begin_load(self, name: str, crew: _Crew) -> None:
        one = crew.contestants[name]
        crew.sessions[name] = Session(one.offer, crew.processes[name])
        crew.sessions[name].begin_load(self.problem.dtype, one.mutation, one.before)

    def _prepare(self, name: str, crew: _Crew) -> None:
        session = crew.sessions[name]
        loaded = session.loaded()
        prepared = session.prepare(self.problem)
        check_digest(self.problem, prepared)
        crew.benches[name] = Bench(session, loaded, prepared, self.problem.threads, pinned=session.pin(self._timed))

    def _how(self, name: str, crew: _Crew) -> Launch:
        label = f"{file_stem(name)}.time{crew.index}"
        conditions = self.conditions
        return Launch(
            label, conditions.log_folder, self.problem.threads, crew.hash_seed, conditions.timeout, crew.padding
        )

    # --- measuring ---

    def _first_steps(self, name: str, crew: _Crew, *, phased: bool = False) -> None:
        bench = crew.benches[name]
        bench.watched = crew.index - self._first <= WATCHED_LAUNCHES
        nanoseconds = FIRST_STEPS_NS if bench.watched else WARM_UP_NS
        bench.others_cpu_seconds = -bench.session.process.others_cpu_seconds()
        bench.step_ns, bench.first_phases = bench.session.cold(self.problem, FIRST_STEPS, nanoseconds, phased=phased)

    def _rough(self, rough: dict[str, float], name: str, crew: _Crew) -> None:
        """Nanoseconds per step of a burst that lasts long enough, from weights near the checkpoint."""
        steps = 1
        while True:
            w, b = perturbed(self._w, self._b, crew.generator)
            block, _ = crew.benches[name].session.block(self.problem, w, b, steps, 1)
            wall_ns = block.timed.wall_ns
            rough[name] = mean = wall_ns / steps
            # the quick ones, if they do not have the others do their work: other programs may run meanwhile
            if len(block.step_ns) > 2 and mean < QUICK_STEPS * (quick := float(np.quantile(block.step_ns, QUINTILE))):
                rough[name] = quick
            if wall_ns >= CALIBRATION_NS:
                if block.step_ns.sum() < (1 - LARGEST_TAIL) * wall_ns:
                    self._unprobed.add(name)
                return
            steps *= 4
            if steps > MOST_STEPS:
                raise ProtocolFailure("malformed", f"its worker made {steps // 4} steps in {wall_ns} ns", "step")

    def _instance(self, crew: _Crew, instance: int) -> None:
        """Data made anew, in random order; then rounds of blocks, of which the first is discarded."""
        padding = paddings(crew.generator)
        for name in self._shuffled(crew):
            self._guard(crew, name, partial(crew.benches[name].session.renew, padding))
        for bench in crew.benches.values():
            bench.blocks.append([])
            bench.phased.append([])
        before = instance * self.plan.rounds
        for done in range(self.plan.rounds):
            self._round(crew, before + done, count=done > 0)
        before = self.plan.instances * self.plan.rounds + instance * self.plan.phased_rounds
        for done in range(self.plan.phased_rounds):
            self._round(crew, before + done, phased=True)

    def _round(self, crew: _Crew, number: int, *, count: bool = True, phased: bool = False) -> None:
        """One block of each contestant from the same weights; of how many steps, nobody can know beforehand.

        number: of the round, those with whole blocks first.
        """
        w, b = perturbed(self._w, self._b, crew.generator)
        if self._judged is not None:
            self._judged.round(number, w, b)
        by, lead_by = crew.generator.uniform(1 - UNPREDICTABLE, 1 + UNPREDICTABLE, 2)
        depth = int(crew.generator.integers(self.most_depth + 1))
        for name in self._shuffled(crew):
            bench = crew.benches[name]
            if phased and not bench.loaded.splits:
                continue
            one = self.plan.lengths[self._planned(name, crew)].varied(by, lead_by)
            make = partial(bench.session.block, self.problem, w, b, one.steps, one.lead_in, phased=phased)
            made = self._guard(crew, name, partial(make, depth=depth, segment=one.segment))
            if made is None:
                continue
            block, computed = made
            if self._judged is not None:
                self._judged.add(name, block.lead_in + block.steps, computed)
            if count:
                (bench.phased if phased else bench.blocks)[-1].append(block)

    def _judge(self, crew: _Crew, judged: JudgedBlocks, seconds: float) -> None:
        """Who computed something wrong while it was timed leaves, its twin with it."""
        for name, what in judged.judge(seconds, partial(self._planned, crew=crew)).items():
            failure = what if isinstance(what, WorkerFailure) else host_fault(what, self._how(name, crew))
            backend = self._planned(name, crew)
            self._leave(backend, failure)
            for one in (backend, TWIN.format(backend)):
                crew.benches.pop(one, None)

    @staticmethod
    def _planned(name: str, crew: _Crew) -> str:
        """The contestant whose twin this is, or the contestant itself."""
        return crew.twin if crew.twin and name == TWIN.format(crew.twin) else name

    def _look(self, name: str, crew: _Crew) -> None:
        """Is work left over after a block, and how many threads has it?"""
        bench, one = crew.benches[name], self.plan.lengths[self._planned(name, crew)]
        w, b = perturbed(self._w, self._b, crew.generator)
        bench.audit = bench.session.audit(self.problem, w, b, one.steps, one.lead_in)
        bench.observed = bench.session.observe()
        bench.others_cpu_seconds += bench.session.process.others_cpu_seconds()


def _mean(values: Sequence[float]) -> float:
    """Of those that are finite; NaN for none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _ahead(generator: np.random.Generator) -> Ahead:
    """What a twin imports and allocates: another draw for each."""
    modules = generator.choice(TWIN_MODULES, TWIN_IMPORTS, replace=False).tolist()
    return Ahead(modules, [int(size) for size in generator.integers(1, LARGEST_TWIN_BLOCK, TWIN_IMPORTS)])


def paddings(generator: np.random.Generator) -> list[int]:
    """Sizes in bytes of blocks that fill the holes of a worker's heap and move all that is allocated after them.

    Where vectors lie within a cache line decides a tenth of numpy's time at 10000 x 100, in steps of malloc's 16 bytes
    (283 or 310 µs a step), and follows from what a process allocated before: from the length of its environment, which
    a launch draws once. Drawn for each instance it is averaged within a launch: with six instances the launches'
    standard deviation fell from 3.8 to 1.2 % (12 launches each).
    """
    return [1024 + 16 * int(size) for size in generator.integers(256, size=PADS)]


def timed_cpus(threads: int) -> list[int]:
    """The CPUs that all contestants are pinned to: the last ones, since systems do their own work on the first."""
    return usable_cpus()[-threads:]


@contextmanager
def host_on(cpus: list[int]) -> Iterator[None]:
    """Keep this thread on these CPUs, off the one that is timed; where there is no other, or no way, do nothing."""
    if not cpus or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:  # a container that forbids it
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def checkpoint_of(
    reference: Reference, recorded: Sequence[int], problem: Problem, where: str = "middle"
) -> tuple[int, Array, Array]:
    """Step and weights of start, middle or end of the reference trajectory, the last finite ones before it."""
    with np.errstate(over="ignore"):
        w, b = problem.layout.parts(reference.weights[:, 0].astype(problem.dtype))
    finite = np.isfinite(w).all(axis=-1) & np.isfinite(b)
    last = max(0, int(np.argmin(finite)) - 1 if not finite.all() else len(finite) - 1)
    index = {"start": 0, "middle": min(len(recorded) // 2, last), "end": last}[where]
    return recorded[index], w[index], b[index]


def checkpoint(problem: Problem, where: str = "middle") -> tuple[int, Array, Array]:
    """The same without a run: trains the reference first."""
    from compare_ag.problem import recorded_steps
    from compare_ag.verify import reference_trajectory

    return checkpoint_of(reference_trajectory(problem), recorded_steps(problem.steps), problem, where)
