"""The speed pass: one fresh worker for each backend that trained rightly, timed side by side.

Import, construction, first step: each worker in turn, alone on the machine, because they are costs of their own.
Then short bursts of whole steps and of phased steps, all backends in every round in random order, on the same
CPU, from the same freshly perturbed weights of the middle of the trajectory (see `speed.schedule`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from compare_ag.host.environment import usable_cpus
from compare_ag.host.process import WorkerFailure, WorkerProcess
from compare_ag.host.session import Session, check_digest
from compare_ag.records import Ratio, Spread, Timing
from compare_ag.speed import Plan, Quartiles, orders, paired_ratio, per_step, perturbed, plan
from compare_ag.suite.observer import Observer
from compare_ag.suite.training import Conditions

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.worker.protocol import Array, FirstStep, Loaded, Prepared, Timed

T = TypeVar("T")

PHASES = ("forward", "backward", "update")
WARM_UP_STEPS = 20
WARM_UP_NS = 20_000_000
BUDGET_SECONDS = 3.0
"""of timed and lead-in steps for a whole run; the fewest rounds may need more"""


@dataclass
class Bench:
    """One timing worker and what it measured."""

    session: Session
    loaded: Loaded
    prepared: Prepared
    first: FirstStep
    pinned: list[int] = field(default_factory=list)
    wall: list[int] = field(default_factory=list)
    cpu: list[int] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)
    phases: list[list[int]] = field(default_factory=list)

    def arrays(self) -> dict[str, Array]:
        """The raw blocks, for the record: (rounds,) each, phases (rounds, 3)."""
        return {
            "block_wall_ns": np.array(self.wall, dtype=np.int64),
            "block_cpu_ns": np.array(self.cpu, dtype=np.int64),
            "block_switches": np.array(self.switches, dtype=np.int64),
            "phase_ns": np.array(self.phases, dtype=np.int64).reshape(-1, len(PHASES)),
        }


@dataclass
class TimingResult:
    """What came of timing: for each backend either a timing with its raw blocks, or a failure."""

    timings: dict[str, Timing] = field(default_factory=dict)
    arrays: dict[str, dict[str, Array]] = field(default_factory=dict)
    failures: dict[str, WorkerFailure] = field(default_factory=dict)
    baseline: str | None = None


class TimingPass:
    """Times backends from the checkpoint (w, b) of step ``checkpoint_step``."""

    def __init__(
        self, offers: dict[str, Offer], conditions: Conditions, checkpoint: tuple[int, Array, Array], observer: Observer
    ) -> None:
        self._offers = offers
        self._conditions = conditions
        self._problem = conditions.problem
        self._checkpoint_step, self._w, self._b = checkpoint
        self._observer = observer
        self._result = TimingResult()
        self._benches: dict[str, Bench] = {}

    def run(self, baseline: str | None) -> TimingResult:
        """Time all; ratios are to ``baseline``, or to numpy or the first where it is None."""
        with ExitStack() as stack:
            for name, offer in self._offers.items():
                self._guard(name, partial(self._launch, stack, name, offer))
            # pinning comes after every import, so that none competes with a neighbour's
            cpus = self._cpus()
            for name, bench in list(self._benches.items()):
                self._guard(name, partial(self._pin, bench, cpus))
            if self._benches:
                the_plan = self._rounds()
                self._conclude(the_plan, baseline)
        return self._result

    def _guard(self, name: str, action: Callable[[], T]) -> T | None:
        """Do something with one worker; where it fails, the backend leaves the pass and the others go on."""
        try:
            return action()
        except WorkerFailure as failure:
            if failure.status == "cancelled":
                raise KeyboardInterrupt from None
            self._result.failures[name] = failure
            bench = self._benches.pop(name, None)
            if bench is not None:
                bench.session.process.close()
            return None

    def _launch(self, stack: ExitStack, name: str, offer: Offer) -> None:
        self._observer.progress(name, "launch", 0, 1)
        conditions = self._conditions
        process = stack.enter_context(WorkerProcess(conditions.launch(name, "time"), conditions.cancel))
        session = Session(offer, process)
        loaded = session.load(self._problem.dtype)
        prepared = session.prepare(self._problem)
        check_digest(self._problem, prepared)
        self._benches[name] = Bench(session, loaded, prepared, session.cold(self._problem))

    def _cpus(self) -> list[int]:
        """The last ``threads`` usable CPUs: the same for every worker (the host drifts to the first)."""
        return usable_cpus()[-self._problem.threads :]

    @staticmethod
    def _pin(bench: Bench, cpus: list[int]) -> None:
        bench.pinned = bench.session.pin(cpus)

    def _burst(self, name: str, w: Array, b: Array, steps: int, lead_in: int, *, phased: bool = False) -> Timed | None:
        session = self._benches[name].session
        return self._guard(name, partial(session.block, self._problem, w, b, steps, lead_in, phased=phased))

    def _warm_up(self, generator: np.random.Generator) -> dict[str, float]:
        """Run each backend until its bursts last; return rough nanoseconds per step.

        Here too the weights are perturbed: the checkpoint itself is part of the reference and never leaves the host.
        """
        rough: dict[str, float] = {}
        for name in list(self._benches):
            steps = WARM_UP_STEPS
            while True:
                timed = self._burst(name, *perturbed(self._w, self._b, generator), steps, 1)
                if timed is None:
                    break
                rough[name] = timed.wall_ns / steps
                if timed.wall_ns >= WARM_UP_NS:
                    break
                steps *= 2
        return rough

    def _rounds(self) -> Plan:
        generator = np.random.default_rng([self._problem.seed, 0x71AE])
        rough = self._warm_up(generator)
        the_plan = plan(list(rough.values()) or [1.0], BUDGET_SECONDS)
        for done, order in enumerate(orders(list(rough), the_plan.rounds, generator)):
            w, b = perturbed(self._w, self._b, generator)
            for name in order:
                if name in self._benches:
                    self._one(name, w, b, the_plan)
                    self._observer.progress(name, "time", done + 1, the_plan.rounds)
        return the_plan

    def _one(self, name: str, w: Array, b: Array, the_plan: Plan) -> None:
        """One backend's part of one round: a burst of whole steps, then one of phased steps."""
        bench = self._benches[name]
        timed = self._burst(name, w, b, the_plan.steps, the_plan.lead_in)
        if timed is None:
            return
        bench.wall.append(timed.wall_ns)
        bench.cpu.append(timed.cpu_ns)
        bench.switches.append(timed.switches)
        if bench.loaded.splits:
            phased = self._burst(name, w, b, the_plan.steps, the_plan.lead_in, phased=True)
            if phased is not None:
                bench.phases.append(phased.phases)

    def _conclude(self, the_plan: Plan, baseline: str | None) -> None:
        result = self._result
        timed = [name for name in self._offers if name in self._benches]
        result.baseline = choose_baseline(timed, baseline)
        for name in timed:
            bench = self._benches[name]
            bench.session.process.finish()
            ratio = None
            if result.baseline is not None:
                ratio = Ratio(**paired_ratio(bench.wall, self._benches[result.baseline].wall)._asdict())
            result.timings[name] = self._timing(bench, the_plan, ratio)
            result.arrays[name] = bench.arrays()

    def _timing(self, bench: Bench, the_plan: Plan, ratio: Ratio | None) -> Timing:
        phases = None
        if bench.phases:
            columns = np.array(bench.phases).T
            phases = {
                name: _spread(per_step(column, the_plan.steps)) for name, column in zip(PHASES, columns, strict=True)
            }
        first = bench.first
        return Timing(
            import_seconds=bench.loaded.import_seconds,
            construct_seconds=bench.prepared.construct_seconds,
            make_tensor_seconds=bench.prepared.make_tensor_seconds,
            first_step_seconds=first.wall_ns * 1e-9,
            first_step_phases={name: ns * 1e-9 for name, ns in zip(PHASES, first.phases, strict=True)}
            if first.phases
            else None,
            step=_spread(per_step(bench.wall, the_plan.steps)),
            phases=phases,
            ratio=ratio,
            rounds=the_plan.rounds,
            steps_per_block=the_plan.steps,
            lead_in=the_plan.lead_in,
            checkpoint_step=self._checkpoint_step,
            pinned=bench.pinned,
            cpu_per_wall=float(np.sum(bench.cpu) / np.sum(bench.wall)),
            preempted=float(np.mean(np.array(bench.switches) > 0)),
        )


def choose_baseline(timed: list[str], asked: str | None) -> str | None:
    """The backend that ratios refer to: the one asked for, else numpy, else the first; None where it was not timed."""
    if asked is not None:
        return asked if asked in timed else None
    if "numpy" in timed:
        return "numpy"
    return timed[0] if timed else None


def _spread(quartiles: Quartiles) -> Spread:
    return Spread(**quartiles._asdict())
