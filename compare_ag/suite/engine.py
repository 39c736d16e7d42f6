"""The timing engine: launches of fresh workers whose short blocks alternate on one CPU.

A launch starts one worker for each contestant (all import at the same time: import is not timed here), moves them to
the same CPU, times each one's first steps alone, and then, for several instances of the data, rounds in which every
contestant makes one block of steps from the same freshly perturbed weights, in random order. Then the workers end.
What varies between processes (hash seed, size of the environment; the system draws the address-space layout) is drawn
anew for each launch and is the same for all its workers, so that the mean over launches is over it, and no contestant
gets the lucky draw. So is, for each instance, what lies in the heap before the data, and for each round, where the
stack lies. One contestant of each launch, each in its turn, has a twin: the same backend in a process that has imported
and allocated something else before.

    blocks -> `suite.launches` -> one number per launch -> interval

The engine knows no verdicts on speed and no records: `suite.timing` turns a series of launches into a run's,
`selftest speed` and the project's own benchmarks into figures about the engine itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from compare_ag.host.compile_cache import holds_files
from compare_ag.host.crew import open_session
from compare_ag.host.environment import usable_cpus
from compare_ag.host.failures import ProtocolFailure, WorkerFailure, host_fault
from compare_ag.host.launch import Launch
from compare_ag.host.session import Session
from compare_ag.speed.blocks import QUINTILE
from compare_ag.speed.schedule import UNPREDICTABLE, Plan, Settings, orders, perturb, plan
from compare_ag.suite.launches import LARGEST_TAIL, TWIN, Bench, Launches, LaunchResult
from compare_ag.worker.messages import Ahead

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.suite.judged_blocks import JudgedBlocks
    from compare_ag.suite.training import Conditions
    from compare_ag.verify.reference import Reference
    from compare_ag.worker.messages import Array, Mutation

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
TWIN_MODULES = (
    "asyncio", "bz2", "calendar", "concurrent.futures", "csv", "ctypes.util", "decimal", "difflib", "fractions",
    "http.client", "optparse", "sqlite3", "unittest", "xml.dom.minidom", "zipfile",
)  # fmt: skip
TWIN_IMPORTS = 5
LARGEST_TWIN_BLOCK = 1 << 22
QUICK_STEPS = 2.5
"""times the quick steps of a burst that its mean may take: what shares the core, or interrupts, seldom costs more"""


class Contestant(NamedTuple):
    """Who is timed; two may carry the same offer, which is how a backend is compared with itself."""

    name: str
    offer: Offer
    mutation: Mutation | None = None
    before: Ahead | None = None
    """what its process does before it imports the backend: a twin's"""


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
    sessions: dict[str, Session] = field(default_factory=dict)
    benches: dict[str, Bench] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    """for whom an earlier worker had left compiled code"""

    def drop(self, name: str) -> None:
        """One of them leaves."""
        self.benches.pop(name, None)
        if name in self.sessions:
            self.sessions[name].close()


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
        self.first_benches: dict[str, Bench] = {}
        """of each contestant's first worker, which finds no compiled code, whether or not its launch counts"""
        self.launches = Launches()
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
        """Start the first launch, and choose the blocks: each contestant's first steps, then bursts.

        Inside the engine's context, `launch` goes on from there: what was started at some cost is timed.
        """
        rough = self.rough = {}
        started = time.monotonic()
        with self._crew(keep=self._open) as crew:
            seconds = time.monotonic() - started
            for name in self._shuffled(crew):
                self._guard(crew, name, partial(self._first_steps, name, crew))
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
        return self.launches.add(LaunchResult(crew.index, crew.hash_seed, crew.benches, seconds, crew.twin))

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
        launch = self._how(name, crew)
        if holds_files(launch.cache):
            crew.cached.add(name)
        session = open_session(launch, crew.contestants[name].offer, self.conditions.cancel)
        crew.sessions[name] = crew.stack.enter_context(session)

    def _begin_load(self, name: str, crew: _Crew) -> None:
        contestant = crew.contestants[name]
        crew.sessions[name].begin_load(self.problem.dtype, contestant.mutation, contestant.before)

    def _prepare(self, name: str, crew: _Crew) -> None:
        session = crew.sessions[name]
        loaded = session.loaded()
        prepared = session.prepare(self.problem)
        bench = Bench(
            session,
            loaded,
            prepared,
            self.problem.threads,
            pinned=session.pin(self._timed),
            cached=name in crew.cached,
        )
        crew.benches[name] = bench
        self.first_benches.setdefault(name, bench)

    def _how(self, name: str, crew: _Crew) -> Launch:
        launch = self.conditions.launch(name, f"time{crew.index}")
        if crew.index > self._first:  # in the first launch a twin compiles for itself, as its contestant does meanwhile
            launch = replace(launch, cache=self.conditions.launch(self._planned(name, crew), "time").cache)
        return replace(launch, hash_seed=crew.hash_seed, padding=crew.padding)

    # --- measuring ---

    def _first_steps(self, name: str, crew: _Crew) -> None:
        bench = crew.benches[name]
        bench.watched = crew.index - self._first <= WATCHED_LAUNCHES
        nanoseconds = FIRST_STEPS_NS if bench.watched else WARM_UP_NS
        bench.others_cpu_seconds = -bench.session.process.others_cpu_seconds()
        bench.step_ns = bench.session.cold(self.problem, FIRST_STEPS, nanoseconds)

    def _rough(self, rough: dict[str, float], name: str, crew: _Crew) -> None:
        """Nanoseconds per step of a burst that lasts long enough, from weights near the checkpoint."""
        steps = 1
        while True:
            w, b = perturb(self._w, self._b, crew.generator)
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
        w, b = perturb(self._w, self._b, crew.generator)
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
        w, b = perturb(self._w, self._b, crew.generator)
        bench.audit = bench.session.audit(self.problem, w, b, one.steps, one.lead_in)
        bench.observed = bench.session.observe()
        bench.others_cpu_seconds += bench.session.process.others_cpu_seconds()


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
