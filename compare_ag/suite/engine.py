"""The timing engine: launches of fresh workers whose short blocks alternate on one CPU.

A launch starts one worker for each contestant (all import at the same time: import is not timed here), moves them to
the same CPU, times each one's first steps alone, and then, for several instances of the data, rounds in which every
contestant makes one block of steps from the same freshly perturbed weights, in random order. Then the workers end.
What varies between processes (hash seed, size of the environment; the system draws the address-space layout) is drawn
anew for each launch and is the same for all its workers, so that the mean over launches is over it, and no contestant
gets the lucky draw. So is, for each instance, what lies in the heap before the data.

    blocks -> `speed.statistics.launch_log_ratio` -> one number per launch -> interval

The engine knows no verdicts and no records: `suite.timing` turns a series of launches into a run's, `selfcheck` and
the project's own benchmarks into figures about the engine itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from compare_ag.host.environment import usable_cpus
from compare_ag.host.process import Launch, ProtocolFailure, WorkerFailure, WorkerProcess, host_fault
from compare_ag.host.session import Session, check_digest
from compare_ag.records import file_stem
from compare_ag.speed.schedule import Plan, Settings, orders, perturbed, plan
from compare_ag.speed.statistics import launch_log_ratio

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.suite.training import Conditions
    from compare_ag.verify.reference import Reference
    from compare_ag.worker.protocol import Array, Loaded, Mutation, Observed, Prepared, Timed

T = TypeVar("T")

FIRST_STEPS = 400
FIRST_STEPS_NS = 100_000_000
"""a fresh process is watched for so many steps, or for so long after its first"""
CALIBRATION_NS = 5_000_000
"""least length of the burst from which the block length is chosen"""
MOST_STEPS = 1 << 26
"""of a burst: so many take longer than `CALIBRATION_NS` in any Python, even if they do nothing"""
LONGEST_PADDING = 4096
PADS = 64


class Contestant(NamedTuple):
    """Who is timed; two may carry the same offer, which is how a backend is compared with itself."""

    name: str
    offer: Offer
    mutation: Mutation | None = None


@dataclass
class Bench:
    """One timing worker and what it measured: the fused blocks (M instances, R rounds), the phased (M, R', 3)."""

    session: Session
    loaded: Loaded
    prepared: Prepared
    step_ns: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """(T,): its first steps one by one"""
    first_phases: list[int] = field(default_factory=list)
    pinned: list[int] = field(default_factory=list)
    blocks: list[list[Timed]] = field(default_factory=list)
    phased: list[list[list[int]]] = field(default_factory=list)
    audit: Timed | None = None
    observed: Observed | None = None

    def column(self, name: str) -> Array:
        """wall_ns, cpu_ns or switches of every counted block: (M, R)."""
        return np.array([[getattr(block, name) for block in instance] for instance in self.blocks], dtype=np.int64)

    @property
    def wall(self) -> Array:
        """Wall nanoseconds of every counted block: (M, R)."""
        return self.column("wall_ns")

    @property
    def phases(self) -> Array:
        """Nanoseconds of forward, backward, update in every phased block: (M, R', 3)."""
        rounds = len(self.phased[0]) if self.phased else 0
        return np.array(self.phased, dtype=np.int64).reshape(len(self.phased), rounds, 3)


@dataclass(frozen=True)
class LaunchResult:
    """One launch: what each contestant that survived it measured, side by side."""

    index: int
    hash_seed: int
    benches: dict[str, Bench]
    seconds: float

    def log_ratio(self, name: str, baseline: str) -> float:
        """This launch's log of time(name) / time(baseline)."""
        return launch_log_ratio(self.benches[name].wall, self.benches[baseline].wall)


class Engine:
    """Launches contestants until its owner has seen enough.

    conditions: problem, logs, deadline of each worker, the event that cancels.
    checkpoint: step and weights w (d,), b () of the training from which blocks start; only its perturbations leave the
      host.
    """

    def __init__(
        self,
        contestants: Sequence[Contestant],
        conditions: Conditions,
        settings: Settings,
        checkpoint: tuple[int, Array, Array],
    ) -> None:
        self.contestants = {one.name: one for one in contestants}
        self.settings = settings
        self.conditions = conditions
        self.problem: Problem = conditions.problem
        self.checkpoint_step, self._w, self._b = checkpoint
        self.failures: dict[str, WorkerFailure] = {}
        """contestants that have left, with the reason"""
        self.plan = Plan(1, 1, settings.instances, settings.rounds)
        """the same for every launch; chosen by `calibrate`"""
        self.calibration: LaunchResult | None = None
        self._launches = 0

    # --- what its owner calls ---

    def calibrate(self) -> LaunchResult:
        """A launch that does not count: block length, and the first step phase by phase."""
        started = time.monotonic()
        generator = self._generator()
        rough: dict[str, float] = {}
        with self._workers(generator) as (benches, hash_seed):
            for name in self._shuffled(benches, generator):
                self._guard(benches, name, partial(self._first_steps, benches[name], phased=True))
            for name in self._shuffled(benches, generator):
                self._guard(benches, name, partial(self._rough, rough, name, benches[name], generator))
        self.plan = plan([rough[name] for name in benches] or [1.0], self.settings)
        self._launches += 1
        self.calibration = LaunchResult(0, hash_seed, benches, time.monotonic() - started)
        return self.calibration

    def launch(self) -> LaunchResult:
        """One launch that counts. Contestants that fail are in `failures` afterwards and in no later launch."""
        started = time.monotonic()
        generator = self._generator()
        with self._workers(generator) as (benches, hash_seed):
            for name in self._shuffled(benches, generator):
                self._guard(benches, name, partial(self._first_steps, benches[name]))
            for _ in range(self.plan.instances):
                self._instance(benches, generator)
            for name in self._shuffled(benches, generator):
                self._guard(benches, name, partial(self._look, benches[name], generator))
        index, self._launches = self._launches, self._launches + 1
        return LaunchResult(index, hash_seed, benches, time.monotonic() - started)

    # --- workers ---

    def _generator(self) -> np.random.Generator:
        """Each launch's own randomness, from the run's seed and the number of the launch."""
        return np.random.default_rng([self.problem.seed, 0x71AE, self._launches])

    @staticmethod
    def _shuffled(benches: dict[str, Bench], generator: np.random.Generator) -> list[str]:
        return next(orders(list(benches), 1, generator))

    def _guard(self, benches: dict[str, Bench], name: str, action: Callable[[], T]) -> T | None:
        """Do something with one worker; where it fails, the contestant leaves and the others go on."""
        if name not in benches:
            return None
        try:
            return action()
        except WorkerFailure as failure:
            self._leave(name, failure)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this contestant, not the run
            self._leave(name, host_fault(error, benches[name].session.process.launch))
        benches.pop(name).session.process.close()
        return None

    def _leave(self, name: str, failure: WorkerFailure) -> None:
        if failure.status == "cancelled":
            raise KeyboardInterrupt from None
        self.failures[name] = failure

    @contextmanager
    def _workers(self, generator: np.random.Generator) -> Iterator[tuple[dict[str, Bench], int]]:
        """Fresh workers, loaded and prepared, all on the same CPUs and the host elsewhere; ended on leaving."""
        hash_seed = int(generator.integers(1 << 32))
        padding = int(generator.integers(LONGEST_PADDING))
        with ExitStack() as stack:
            benches = self._open(stack, hash_seed, padding, generator)
            cpus, timed = usable_cpus(), timed_cpus(self.problem.threads)
            for name in list(benches):
                self._guard(benches, name, partial(self._pin, benches[name], timed))
            with host_on([cpu for cpu in cpus if cpu not in timed]):
                yield benches, hash_seed

    def _open(self, stack: ExitStack, hash_seed: int, padding: int, generator: np.random.Generator) -> dict[str, Bench]:
        """Start every worker, then have all import at once, then prepare one after the other, in random order."""
        alive = [name for name in self.contestants if name not in self.failures]
        sessions: dict[str, Session] = {}
        loaded: dict[str, Loaded] = {}
        benches: dict[str, Bench] = {}

        def guarded(name: str, action: Callable[[], None]) -> None:
            try:
                action()
            except WorkerFailure as failure:
                self._leave(name, failure)
            except Exception as error:  # noqa: BLE001 - as in `_guard`
                self._leave(name, host_fault(error, self._how(name, hash_seed, padding)))

        def start(name: str) -> None:
            launch = self._how(name, hash_seed, padding)
            process = stack.enter_context(WorkerProcess(launch, self.conditions.cancel))
            processes[name] = process

        def begin(name: str) -> None:
            one = self.contestants[name]
            sessions[name] = Session(one.offer, processes[name])
            sessions[name].begin_load(self.problem.dtype, one.mutation)

        def end(name: str) -> None:
            loaded[name] = sessions[name].loaded()

        def prepare(name: str) -> None:
            prepared = sessions[name].prepare(self.problem)
            check_digest(self.problem, prepared)
            benches[name] = Bench(sessions[name], loaded[name], prepared)

        processes: dict[str, WorkerProcess] = {}
        for action in (start, begin, end, prepare):
            for name in next(orders(alive, 1, generator)):
                if name not in self.failures:
                    guarded(name, partial(action, name))
        return benches

    def _how(self, name: str, hash_seed: int, padding: int) -> Launch:
        label = f"{file_stem(name)}.time{self._launches}"
        conditions = self.conditions
        return Launch(label, conditions.log_folder, self.problem.threads, hash_seed, conditions.timeout, padding)

    @staticmethod
    def _pin(bench: Bench, cpus: list[int]) -> None:
        bench.pinned = bench.session.pin(cpus)

    # --- measuring ---

    def _first_steps(self, bench: Bench, *, phased: bool = False) -> None:
        bench.step_ns, bench.first_phases = bench.session.cold(self.problem, FIRST_STEPS, FIRST_STEPS_NS, phased=phased)

    def _rough(self, rough: dict[str, float], name: str, bench: Bench, generator: np.random.Generator) -> None:
        """Nanoseconds per step of a burst that lasts long enough, from weights near the checkpoint."""
        steps = 1
        while True:
            timed = bench.session.block(self.problem, *perturbed(self._w, self._b, generator), steps, 1)
            rough[name] = timed.wall_ns / steps
            if timed.wall_ns >= CALIBRATION_NS:
                return
            steps *= 4
            if steps > MOST_STEPS:
                raise ProtocolFailure("malformed", f"its worker made {steps // 4} steps in {timed.wall_ns} ns", "step")

    def _instance(self, benches: dict[str, Bench], generator: np.random.Generator) -> None:
        """Data made anew, in random order; then rounds of blocks, of which the first is discarded."""
        padding = paddings(generator)
        for name in self._shuffled(benches, generator):
            self._guard(benches, name, partial(benches[name].session.renew, padding))
        for bench in benches.values():
            bench.blocks.append([])
            bench.phased.append([])
        for done in range(self.plan.rounds):
            self._round(benches, generator, count=done > 0)
        for _ in range(self.plan.phased_rounds):
            self._round(benches, generator, phased=True)

    def _round(
        self, benches: dict[str, Bench], generator: np.random.Generator, *, count: bool = True, phased: bool = False
    ) -> None:
        """One block of each contestant from the same weights."""
        w, b = perturbed(self._w, self._b, generator)
        kind = "phased" if phased else "whole"
        for name in self._shuffled(benches, generator):
            bench = benches.get(name)
            if bench is None or (phased and not bench.loaded.splits):
                continue
            block = partial(bench.session.block, self.problem, w, b, self.plan.steps, self.plan.lead_in, kind)
            timed = self._guard(benches, name, block)
            if timed is None or not count:
                continue
            if phased:
                bench.phased[-1].append(timed.phases)
            else:
                bench.blocks[-1].append(timed)

    def _look(self, bench: Bench, generator: np.random.Generator) -> None:
        """Is work left over after a block, and how many threads has it?"""
        w, b = perturbed(self._w, self._b, generator)
        bench.audit = bench.session.block(self.problem, w, b, self.plan.steps, self.plan.lead_in, "audit")
        bench.observed = bench.session.observe()


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
        w, b = (ends[:, 0].astype(problem.dtype) for ends in (reference.w, reference.b))
    finite = np.isfinite(w).all(axis=-1) & np.isfinite(b)
    last = max(0, int(np.argmin(finite)) - 1 if not finite.all() else len(finite) - 1)
    index = {"start": 0, "middle": min(len(recorded) // 2, last), "end": last}[where]
    return recorded[index], w[index], b[index]


def checkpoint(problem: Problem, where: str = "middle") -> tuple[int, Array, Array]:
    """The same without a run: trains the reference first."""
    from compare_ag.problem import recorded_steps
    from compare_ag.verify import reference_trajectory

    return checkpoint_of(reference_trajectory(problem), recorded_steps(problem.steps), problem, where)
