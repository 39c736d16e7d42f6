"""The timing engine: launches of fresh workers whose short blocks alternate on one CPU.

A launch starts one worker for each contestant (all import at the same time: import is not timed here), moves them to
the same CPU, times each worker's first steps alone, and then, for several instances of the data, rounds in which every
contestant makes one block of steps from the same freshly perturbed weights, in random order. Then the workers end.
What varies between processes is drawn for each launch and is the same for all its workers (`timing_crew`); for each
round the depth of the stack is drawn. One contestant of each launch, each in its turn, has a twin: the same backend in
a process that has imported and allocated something else before.

    blocks -> `suite.launches` -> one number per launch -> interval

The engine knows no verdicts on speed and no records: `suite.timing` turns a series of launches into a run's,
`selftest speed` and the project's own benchmarks into figures about the engine itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from compare_ag.host.compile_cache import holds_files
from compare_ag.host.crew import open_session
from compare_ag.host.environment import usable_cpus
from compare_ag.host.failures import ProtocolFailure, WorkerFailure, host_fault
from compare_ag.host.launch import Launch
from compare_ag.speed.blocks import QUINTILE
from compare_ag.speed.schedule import UNPREDICTABLE, Plan, Settings, perturb, plan
from compare_ag.suite.cpu_pinning import host_on, timed_cpus
from compare_ag.suite.launches import LARGEST_TAIL, TWIN, Bench, Launches, LaunchResult
from compare_ag.suite.timing_crew import Contestant, Crew, draw_heap_blocks

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.suite.judged_blocks import JudgedBlocks
    from compare_ag.suite.training import Conditions
    from compare_ag.worker.messages import Array

T = TypeVar("T")

FIRST_STEPS = 400
FIRST_STEPS_NS = 100_000_000
"""a fresh process is watched for so many steps, or for so long after its first"""
WATCHED_LAUNCHES = 3
"""launches after the first one in which the first steps are watched too"""
WARM_UP_NS = 5_000_000
"""of first steps in later launches, which repeat those before"""
CALIBRATION_NS = 5_000_000
"""the least duration of the burst from which the block length is chosen"""
MOST_STEPS = 1 << 26
"""of a burst: in any Python so many steps take longer than `CALIBRATION_NS`, even empty ones"""
MOST_DEPTH = 63
"""largest number of calls in the stack below a round's blocks, the same for all contestants: see `clock.at_depth`"""
QUICK_STEPS = 2.5
"""A burst whose mean step is below so many quick steps was slowed by other programs, which seldom cost more: its quick
steps count. Above, some steps do the work of others: the mean counts."""


class Engine:
    """Makes launches as long as its owner asks for more. Leaving it as a context ends every worker.

    conditions: problem, logs, deadline of each worker, the event that cancels.
    checkpoint: step and weights w (d,), b () of the training from which blocks start; only its perturbations leave the
      host.
    twins: whether each contestant, in its turn, runs twice in a launch.
    judged: judges a share of the blocks; a contestant with a wrong block is removed.
    first: number of the first launch: with another number everything that is random is drawn anew.
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
        self.contestants = {contestant.name: contestant for contestant in contestants}
        self.settings = settings
        self.conditions = conditions
        self.problem: Problem = conditions.problem
        self.checkpoint_step, self._w, self._b = checkpoint
        self.failures: dict[str, WorkerFailure] = {}
        """contestants that have been removed, with the reason"""
        self.plan = Plan({}, settings.instances, settings.rounds)
        """the same for every launch; chosen by `calibrate`"""
        self.rough: dict[str, float] = {}
        """nanoseconds per step of each contestant, from which `plan` was chosen"""
        self._unprobed: set[str] = set()
        """contestants whose steps leave work undone when they return: no probe can be made between them"""
        self.first_benches: dict[str, Bench] = {}
        """of each contestant's first worker, which finds no compiled code, whether or not its launch counts"""
        self.launches = Launches()
        """the launches that count"""
        self.most_depth = MOST_DEPTH
        self._twins = twins
        self._judged = judged
        self._next_index = self._first = first
        self._timed = timed_cpus(self.problem.threads)
        other_cpus = [cpu for cpu in usable_cpus() if cpu not in self._timed]
        # the host sleeps during each block: on the timed CPU, its request and reply need no other CPU to wake up
        self._host_cpus = self._timed if self.problem.threads == 1 else other_cpus
        self._next_crew: Crew | None = None
        self._open = False
        """whether the engine is a context now, at whose end workers of a next launch can be ended"""

    def __enter__(self) -> Engine:
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        if self._next_crew is not None:
            self._next_crew.stack.close()
            self._next_crew = None

    # --- called by the owner ---

    def calibrate(self) -> None:
        """Start the first launch, and choose the blocks: each contestant's first steps, then bursts.

        Inside the engine's context, `launch` continues with the same workers, so that none is started for nothing.
        """
        rough = self.rough = {}
        started = time.monotonic()
        with self._open_crew(keep=self._open) as crew:
            seconds = time.monotonic() - started
            for name in crew.shuffled():
                self._guard(crew, name, partial(self._time_first_steps, name, crew))
            for name in crew.shuffled():
                if name == crew.backend_of(name):
                    self._guard(crew, name, partial(self._time_burst, rough, name, crew))
        alive = {name: nanoseconds for name, nanoseconds in rough.items() if name not in self.failures}
        self.plan = plan(alive, self.settings, seconds, int(self._twins), self._unprobed)

    def launch(self) -> LaunchResult:
        """One launch. Contestants that fail are in `failures` afterwards and in no later launch."""
        started = time.monotonic()
        with self._open_crew() as crew:
            for name in crew.shuffled():
                if not len(crew.benches[name].step_ns):
                    self._guard(crew, name, partial(self._time_first_steps, name, crew))
            if self._judged is not None:
                instances = self.plan.instances
                self._judged.begin(instances * self.plan.rounds, instances * self.plan.phased_rounds)
            for instance in range(self.plan.instances):
                self._instance(crew, instance)
            for name in crew.shuffled():
                self._guard(crew, name, partial(self._audit, name, crew))
        if self._judged is not None:
            self._judge_blocks(crew, self._judged, time.monotonic() - started)
        seconds = time.monotonic() - started
        return self.launches.add(LaunchResult(crew.hash_seed, crew.benches, seconds, crew.twin))

    # --- workers ---

    def _guard(self, crew: Crew, name: str, action: Callable[[], T]) -> T | None:
        """Call ``action``, which uses one worker; where it fails, the contestant is removed and the others continue.

        A twin runs the same backend as its contestant: where one of the two has failed, the other is dropped too.
        """
        backend = crew.backend_of(name)
        if backend in self.failures:
            crew.drop(name)
            return None
        try:
            return action()
        except WorkerFailure as failure:
            self._remove(backend, failure)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this contestant, not the run
            self._remove(backend, host_fault(error, self._launch_of(name, crew)))
        crew.drop(name)
        return None

    def _remove(self, name: str, failure: WorkerFailure) -> None:
        if failure.status == "cancelled":
            raise KeyboardInterrupt from None
        self.failures[name] = failure

    @contextmanager
    def _open_crew(self, *, keep: bool = False) -> Iterator[Crew]:
        """Workers, loaded and prepared, all on the same CPUs and the host beside them; ended on leaving.

        keep: do not end them, because they are the workers of the next launch.
        """
        crew, self._next_crew = self._next_crew or self._start_crew(), None
        with ExitStack() as stack:
            stack.callback(crew.stack.close)
            for name in crew.shuffle([name for name in crew.sessions if name not in crew.benches]):
                self._guard(crew, name, partial(self._prepare, name, crew))
            with host_on(self._host_cpus):
                yield crew
            if keep:
                self._next_crew = crew
                stack.pop_all()

    def _start_crew(self) -> Crew:
        """Start every worker and have all import at once; in random order."""
        alive = {name: member for name, member in self.contestants.items() if name not in self.failures}
        turn = self._next_index - self._first
        twin = list(alive)[turn % len(alive)] if self._twins and alive else ""
        crew = Crew.draw(self._next_index, self.problem.seed, alive, twin)
        self._next_index += 1
        with ExitStack() as on_error:
            on_error.callback(crew.stack.close)
            for action in (self._start_worker, self._begin_load):
                for name in crew.shuffle(list(crew.contestants)):
                    self._guard(crew, name, partial(action, name, crew))
            on_error.pop_all()
        return crew

    def _start_worker(self, name: str, crew: Crew) -> None:
        launch = self._launch_of(name, crew)
        if holds_files(launch.cache):
            crew.cached.add(name)
        session = open_session(launch, crew.contestants[name].offer, self.conditions.cancel)
        crew.sessions[name] = crew.stack.enter_context(session)

    def _begin_load(self, name: str, crew: Crew) -> None:
        contestant = crew.contestants[name]
        crew.sessions[name].begin_load(self.problem.dtype, contestant.mutation, contestant.before)

    def _prepare(self, name: str, crew: Crew) -> None:
        session = crew.sessions[name]
        loaded = session.end_load()
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

    def _launch_of(self, name: str, crew: Crew) -> Launch:
        """How to start the worker of a contestant."""
        launch = self.conditions.launch(name, f"time{crew.index}")
        if crew.index > self._first:  # in the first launch a twin compiles for itself, as its contestant does meanwhile
            launch = replace(launch, cache=self.conditions.launch(crew.backend_of(name), "time").cache)
        return replace(launch, hash_seed=crew.hash_seed, padding=crew.padding)

    # --- measuring ---

    def _time_first_steps(self, name: str, crew: Crew) -> None:
        bench = crew.benches[name]
        bench.watched = crew.index - self._first <= WATCHED_LAUNCHES
        nanoseconds = FIRST_STEPS_NS if bench.watched else WARM_UP_NS
        bench.others_cpu_seconds = -bench.session.process.others_cpu_seconds()
        bench.step_ns = bench.session.cold(self.problem, FIRST_STEPS, nanoseconds)

    def _time_burst(self, rough: dict[str, float], name: str, crew: Crew) -> None:
        """Add to ``rough`` the nanoseconds per step of a burst that takes `CALIBRATION_NS` at least."""
        steps = 1
        while True:
            w, b = perturb(self._w, self._b, crew.generator)
            block, _ = crew.benches[name].session.block(self.problem, w, b, steps, 1)
            wall_ns = block.timed.wall_ns
            rough[name] = mean = wall_ns / steps
            # the quick steps are the time without other programs, unless slower steps do the quick ones' work
            if len(block.step_ns) > 2 and mean < QUICK_STEPS * (quick := float(np.quantile(block.step_ns, QUINTILE))):
                rough[name] = quick
            if wall_ns >= CALIBRATION_NS:
                if block.step_ns.sum() < (1 - LARGEST_TAIL) * wall_ns:
                    self._unprobed.add(name)
                return
            steps *= 4
            if steps > MOST_STEPS:
                raise ProtocolFailure("malformed", f"its worker made {steps // 4} steps in {wall_ns} ns", "step")

    def _instance(self, crew: Crew, instance: int) -> None:
        """Make the data anew, in random order; then rounds of blocks, of which the first is discarded."""
        heap_blocks = draw_heap_blocks(crew.generator)
        for name in crew.shuffled():
            self._guard(crew, name, partial(crew.benches[name].session.renew, heap_blocks))
        for bench in crew.benches.values():
            bench.blocks.append([])
            bench.phased.append([])
        before = instance * self.plan.rounds
        for i in range(self.plan.rounds):
            self._round(crew, before + i, count=i > 0)
        before = self.plan.instances * self.plan.rounds + instance * self.plan.phased_rounds
        for i in range(self.plan.phased_rounds):
            self._round(crew, before + i, phased=True)

    def _round(self, crew: Crew, number: int, *, count: bool = True, phased: bool = False) -> None:
        """One block of each contestant from the same weights, with a number of steps that no worker can foresee.

        number: of the round in its launch; rounds of phased blocks follow those of unphased ones.
        """
        w, b = perturb(self._w, self._b, crew.generator)
        if self._judged is not None:
            self._judged.round(number, w, b)
        factor, lead_factor = crew.generator.uniform(1 - UNPREDICTABLE, 1 + UNPREDICTABLE, 2)
        depth = int(crew.generator.integers(self.most_depth + 1))
        for name in crew.shuffled():
            bench = crew.benches[name]
            if phased and not bench.loaded.splits:
                continue
            length = self.plan.lengths[crew.backend_of(name)].varied(factor, lead_factor)
            make = partial(bench.session.block, self.problem, w, b, length.steps, length.lead_in, phased=phased)
            result = self._guard(crew, name, partial(make, depth=depth, segment=length.segment))
            if result is None:
                continue
            block, computed = result
            if self._judged is not None:
                self._judged.add(name, block.lead_in + block.steps, computed)
            if count:
                (bench.phased if phased else bench.blocks)[-1].append(block)

    def _judge_blocks(self, crew: Crew, judged: JudgedBlocks, seconds: float) -> None:
        """Remove the contestants that computed something wrong while they were timed, with their twins."""
        for name, fault in judged.judge(seconds, crew.backend_of).items():
            failure = fault if isinstance(fault, WorkerFailure) else host_fault(fault, self._launch_of(name, crew))
            backend = crew.backend_of(name)
            self._remove(backend, failure)
            for member in (backend, TWIN.format(backend)):
                crew.benches.pop(member, None)

    def _audit(self, name: str, crew: Crew) -> None:
        """Ask whether work is left over after a block, and how many threads the worker has."""
        bench, length = crew.benches[name], self.plan.lengths[crew.backend_of(name)]
        w, b = perturb(self._w, self._b, crew.generator)
        bench.audit = bench.session.audit(self.problem, w, b, length.steps, length.lead_in)
        bench.observed = bench.session.observe()
        bench.others_cpu_seconds += bench.session.process.others_cpu_seconds()
