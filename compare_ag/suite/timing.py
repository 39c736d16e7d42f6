"""The speed part of a run: launches until the intervals are narrow enough or the budget is spent, then the verdicts.

    bare imports -> the launch that calibrates -> launches that count -> costs, pairs, warnings

The baseline runs twice in every launch: what it differs from itself is the run's noise floor, and no verdict rests on
less. All correctness workers have ended before this begins.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host import machine
from compare_ag.host.bare import bare_import_seconds
from compare_ag.host.environment import usable_cpus
from compare_ag.host.process import host_fault
from compare_ag.records import Cost, Interval, PairRecord, SpeedRecord, StabilityWarning
from compare_ag.speed.costs import break_even_steps, excess_ns, steps_to_steady
from compare_ag.speed.schedule import Settings, enough
from compare_ag.speed.stability import Observation, Surroundings, notes
from compare_ag.speed.statistics import (
    LogInterval,
    instance_medians,
    interval,
    launch_log_ratio,
    launch_log_time,
    simultaneous_level,
)
from compare_ag.speed.verdicts import decide, launches_needed, noise_floor
from compare_ag.suite.engine import Bench, Contestant, Engine, LaunchResult, timed_cpus
from compare_ag.suite.observer import Observer, TimingProgress

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.host.process import WorkerFailure
    from compare_ag.suite.training import Conditions
    from compare_ag.worker.protocol import Array

PHASES = ("forward", "backward", "update")
CONTROL = "{} again"


@dataclass
class TimingResult:
    """What came of timing: for each backend either a cost with its raw blocks, or a failure."""

    costs: dict[str, Cost] = field(default_factory=dict)
    arrays: dict[str, dict[str, Array]] = field(default_factory=dict)
    control_arrays: dict[str, Array] = field(default_factory=dict)
    failures: dict[str, WorkerFailure] = field(default_factory=dict)
    baseline: str | None = None
    speed: SpeedRecord | None = None
    interrupted: KeyboardInterrupt | None = None
    """what ended it before its time; what had been measured is here"""


class TimingPass:
    """Times backends from ``checkpoint``: step and weights w (d,), b () of the training."""

    def __init__(
        self,
        offers: dict[str, Offer],
        conditions: Conditions,
        settings: Settings,
        checkpoint: tuple[int, Array, Array],
        observer: Observer,
        baseline: str | None = None,
    ) -> None:
        self._offers = offers
        self._conditions = conditions
        self._settings = settings
        self._observer = observer
        self._baseline = choose_baseline(list(offers), baseline)
        self._imports: dict[str, float | None] = {}
        self._launches: list[LaunchResult] = []
        self._started = time.monotonic()
        self._stopped = "interrupt"
        self._surroundings = Surroundings()
        contestants = [Contestant(name, offer) for name, offer in offers.items()]
        self._control = ""
        if self._baseline is not None:
            self._control = CONTROL.format(self._baseline)
            contestants.append(Contestant(self._control, offers[self._baseline]))
        self._engine = Engine(contestants, conditions, settings, checkpoint)

    def run(self) -> TimingResult:
        """Measure and judge. An interrupt ends it early with what there is."""
        self._started = time.monotonic()
        cpus = timed_cpus(self._conditions.problem.threads)
        self._surroundings = Surroundings(
            load_per_cpu=machine.load_per_cpu(),
            governor=machine.governor(),
            on_battery=machine.on_battery(),
            speeds=machine.cpu_speeds(usable_cpus()),
            timed=cpus,
        )
        ticks = machine.cpu_times(cpus)
        interrupted = None
        try:
            self._import_bare()
            for name in self._offers:
                self._observer.progress(name, "timing", 0, 1)
            self._engine.calibrate()
            self._measure()
        except KeyboardInterrupt as error:
            interrupted = error
        stolen = machine.steal_share(ticks, machine.cpu_times(cpus))
        self._surroundings = self._surroundings._replace(steal=stolen)
        result = _Conclusion(self).result() if self._launches else TimingResult()
        result.failures = {name: why for name, why in self._engine.failures.items() if name in self._offers}
        result.interrupted = interrupted
        return result

    # --- the parts ---

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _import_bare(self) -> None:
        for name, offer in self._offers.items():
            self._observer.progress(name, "import", 0, 1)
            launch = self._conditions.launch(name, "import")
            taken = [bare_import_seconds(offer.module, launch) for _ in range(self._settings.bare_imports)]
            good = [seconds for seconds in taken if seconds is not None]
            self._imports[name] = float(np.median(good)) if good else None

    def _measure(self) -> None:
        """Launch until it is enough."""
        longest = 0.0
        while self._left():
            launch = self._engine.launch()
            self._launches.append(launch)
            longest = max(longest, launch.seconds)
            found = self._intervals()
            elapsed = self._elapsed()
            why = enough(self._settings, found, elapsed, longest)
            half = max((one.half for one in found), default=math.inf)
            launches = len(self._launches)
            left = self._forecast(launches, half, elapsed, elapsed / (launches + 1))
            self._observer.timing(TimingProgress(launches, elapsed, left, half, self._settings.target))
            if why is not None:
                self._stopped = why
                return
        self._stopped = "failure"

    def _left(self) -> list[str]:
        """The backends that have not failed."""
        return [name for name in self._offers if name not in self._engine.failures]

    def _intervals(self) -> list[LogInterval]:
        """What decides about stopping: every pair's interval, or the time's own where there is one backend."""
        left = self._left()
        names = list(itertools.combinations(left, 2))
        if not names and self._control and left:
            names = [(left[0], self._control)] if self._control not in self._engine.failures else []
        level = simultaneous_level(len(names))
        return [interval(self.log_ratios(one, other), level) for one, other in names]

    def _forecast(self, launches: int, half: float, elapsed: float, per_launch: float) -> float:
        """Seconds left: until the width is reached as it falls with the square root of the launches, or the budget."""
        settings = self._settings
        needed = launches * (half / settings.target) ** 2 if math.isfinite(half) else math.inf
        by_width = (max(needed, settings.least_launches) - launches) * per_launch
        by_least = (settings.least_launches - launches) * per_launch
        return max(0.0, by_least, min(by_width, settings.budget_seconds - elapsed))

    def log_ratios(self, name: str, baseline: str) -> list[float]:
        """One log-ratio for each launch in which both took part to the end."""
        return [one.log_ratio(name, baseline) for one in self._launches if {name, baseline} <= one.benches.keys()]


class _Conclusion:
    """From a pass that has measured to its records."""

    def __init__(self, timing: TimingPass) -> None:
        self._pass = timing
        self._engine = timing._engine
        self._settings = timing._settings
        self._launches = timing._launches
        self._names = [name for name in timing._left() if self._benches(name)]
        self._baseline = timing._baseline if timing._baseline in self._names else None

    def result(self) -> TimingResult:
        """Costs, pairs, warnings and the raw blocks."""
        result = TimingResult(baseline=self._baseline)
        for name in list(self._names):
            try:
                result.costs[name], result.arrays[name] = self._cost(name), self._arrays(name)
            except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the run
                self._names.remove(name)
                self._engine.failures[name] = host_fault(error, self._engine.conditions.launch(name, "cost"))
        if self._baseline not in self._names:
            result.baseline = self._baseline = None
        control = self._pass._control
        if self._baseline is not None and self._benches(control):
            result.control_arrays = self._arrays(control)
        result.speed = self._speed(result.costs)
        return result

    def _benches(self, name: str) -> list[Bench]:
        return [launch.benches[name] for launch in self._launches if name in launch.benches]

    # --- one backend ---

    def _cost(self, name: str) -> Cost:
        benches, plan = self._benches(name), self._engine.plan
        step = _ratio(interval([launch_log_time(bench.wall, plan.steps) for bench in benches]))
        phases, closure, gradient = self._phases(benches)
        construct = _plain([bench.prepared.construct_seconds for bench in benches])
        make_tensor = _plain([bench.prepared.make_tensor_seconds for bench in benches])
        imported = self._pass._imports.get(name)
        excess = float(np.median([excess_ns(bench.step_ns) for bench in benches])) * 1e-9
        audits = [bench.audit for bench in benches if bench.audit is not None]
        observed = benches[-1].observed
        wall = sum(int(bench.wall.sum()) for bench in benches)
        return Cost(
            step=step,
            phases=phases,
            closure=closure,
            gradient_ratio=gradient,
            import_seconds=imported,
            construct_seconds=construct,
            make_tensor_seconds=make_tensor,
            first_step_seconds=_plain([float(bench.step_ns[0]) * 1e-9 for bench in benches]),
            steps_to_steady=steps_to_steady([bench.step_ns for bench in benches]),
            cold_seconds=(imported or 0.0) + construct.value + make_tensor.value + excess,
            interface_seconds=float(np.median([a.interface_ns for a in audits])) * 1e-9 / plan.steps,
            pending_share=float(np.median([a.pending_ns / (a.wall_ns + a.pending_ns) for a in audits])),
            cpu_per_wall=sum(int(bench.column("cpu_ns").sum()) for bench in benches) / wall,
            preempted=float(np.mean([np.mean(bench.column("switches") > 0) for bench in benches])),
            pinned=benches[-1].pinned,
            threads_observed=max(1, *(pool.get("num_threads", 1) for pool in observed.pools), 1) if observed else 1,
            steady=bool(abs(self._trend(benches)) < math.log(1.03)),
        )

    def _phases(self, benches: list[Bench]) -> tuple[dict[str, Interval] | None, Interval | None, Interval | None]:
        """Time of each phase, how they add up to the whole step, and what a gradient costs in units of the loss."""
        if not benches[0].loaded.splits:
            return None, None, None
        steps = self._engine.plan.steps
        times = np.array([[_phase_log_time(bench, i, steps) for i in range(len(PHASES))] for bench in benches])
        whole = np.array([launch_log_time(bench.wall, steps) for bench in benches])
        phases = {name: _ratio(interval(times[:, i].tolist())) for i, name in enumerate(PHASES)}
        closure = _ratio(interval((np.log(np.exp(times).sum(axis=1)) - whole).tolist()))
        gradient = _ratio(interval(np.log1p(np.exp(times[:, 1] - times[:, 0])).tolist()))
        return phases, closure, gradient

    @staticmethod
    def _trend(benches: list[Bench]) -> float:
        """Mean over launches of log(last third / first third) of the blocks."""
        trends = []
        for bench in benches:
            blocks = np.log(bench.wall.ravel())
            third = max(1, len(blocks) // 3)
            trends.append(float(np.median(blocks[-third:]) - np.median(blocks[:third])))
        return float(np.mean(trends))

    def _arrays(self, name: str) -> dict[str, Array]:
        """The raw blocks of every launch L: (L, M, R) each, phases (L, M, R', 3), first steps (L, T) padded with -1."""
        benches = self._benches(name)
        longest = max(len(bench.step_ns) for bench in benches)
        padded = [np.pad(bench.step_ns, (0, longest - len(bench.step_ns)), constant_values=-1) for bench in benches]
        return {
            "block_wall_ns": np.array([bench.wall for bench in benches]),
            "block_cpu_ns": np.array([bench.column("cpu_ns") for bench in benches]),
            "block_switches": np.array([bench.column("switches") for bench in benches]),
            "phase_ns": np.array([bench.phases for bench in benches]),
            "first_step_ns": np.array(padded),
        }

    # --- all of them ---

    def _speed(self, costs: dict[str, Cost]) -> SpeedRecord:
        settings, engine = self._settings, self._engine
        names = list(itertools.combinations(self._names, 2))
        level = simultaneous_level(len(names))
        control = None
        if self._baseline is not None:
            values = self._pass.log_ratios(self._pass._control, self._baseline)
            control = interval(values) if len(values) > 1 else None
        floor = None if control is None else noise_floor(control)
        return SpeedRecord(
            mode=settings.mode,
            budget_seconds=settings.budget_seconds,
            target=settings.target,
            stopped=self._pass._stopped,
            margin=settings.margin,
            level=level,
            launches=len(self._launches),
            instances=engine.plan.instances,
            rounds=engine.plan.rounds,
            steps_per_block=engine.plan.steps,
            lead_in=engine.plan.lead_in,
            checkpoint=settings.checkpoint,
            checkpoint_step=engine.checkpoint_step,
            threads=engine.problem.threads,
            hash_seeds=[launch.hash_seed for launch in self._launches],
            control_backend=None if control is None else self._baseline,
            control=None if control is None else _ratio(control),
            noise_floor=floor,
            pairs=[
                self._pair(one, other, costs, level, math.inf if floor is None else floor)
                for one, other in map(self._ordered, names)
            ],
            warnings=self._warnings(costs),
            seconds=self._pass._elapsed(),
        )

    def _ordered(self, pair: tuple[str, str]) -> tuple[str, str]:
        """(backend, baseline): the run's baseline second, else the later one first."""
        one, other = pair
        return (other, one) if one == self._baseline or other != self._baseline else (one, other)

    def _pair(self, name: str, baseline: str, costs: dict[str, Cost], level: float, floor: float) -> PairRecord:
        found = interval(self._pass.log_ratios(name, baseline), level)
        margin = self._settings.margin
        decision = decide(found, margin, floor)
        mine, other = costs[name], costs[baseline]
        needed = launches_needed(found, margin) if decision.verdict == "inconclusive" else None
        return PairRecord(
            backend=name,
            baseline=baseline,
            ratio=_ratio(found),
            verdict=decision.verdict,
            launches_needed=needed,
            held_back=decision.held_back,
            break_even_steps=self._break_even(mine, other),
            phases=self._phase_ratios(name, baseline),
        )

    @staticmethod
    def _break_even(mine: Cost, other: Cost) -> float | None:
        assert mine.cold_seconds is not None
        assert other.cold_seconds is not None
        return break_even_steps(mine.cold_seconds, mine.step.value, other.cold_seconds, other.step.value)

    def _phase_ratios(self, name: str, baseline: str) -> dict[str, Interval]:
        both = [launch.benches for launch in self._launches if {name, baseline} <= launch.benches.keys()]
        if not all(benches[one].loaded.splits for benches in both for one in (name, baseline)):
            return {}
        ratios = {}
        for i, phase in enumerate(PHASES):
            sides = [[np.maximum(benches[one].phases[:, :, i], 1) for one in (name, baseline)] for benches in both]
            ratios[phase] = _ratio(interval([launch_log_ratio(mine, other) for mine, other in sides]))
        return ratios

    def _warnings(self, costs: dict[str, Cost]) -> list[StabilityWarning]:
        seen = [self._observation(name, cost) for name, cost in costs.items()]
        control = self._pass.log_ratios(self._pass._control, self._baseline) if self._baseline is not None else []
        found = notes(seen, control, self._engine.problem.threads, self._pass._surroundings)
        return [StabilityWarning(id=one.id, message=one.message, advice=one.advice) for one in found]

    def _observation(self, name: str, cost: Cost) -> Observation:
        plan = self._engine.plan
        baseline = self._baseline
        return Observation(
            name=name,
            preempted=cost.preempted or 0.0,
            cpu_per_wall=cost.cpu_per_wall or 0.0,
            pending_share=cost.pending_share or 0.0,
            steady=cost.steady is not False,
            closure=None if cost.closure is None else cost.closure.value,
            pinned=bool(cost.pinned),
            log_times=[launch_log_time(bench.wall, plan.steps) for bench in self._benches(name)],
            log_ratios=[] if baseline in (None, name) else self._pass.log_ratios(name, str(baseline)),
        )


def choose_baseline(timed: Sequence[str], asked: str | None) -> str | None:
    """The backend that ratios refer to: the one asked for, else numpy, else the first; None where it was not timed."""
    if asked is not None:
        return asked if asked in timed else None
    if "numpy" in timed:
        return "numpy"
    return timed[0] if timed else None


def _phase_log_time(bench: Bench, phase: int, steps: int) -> float:
    """Log of seconds per step of one phase in one launch; a phase below the clock's resolution counts as 1 ns."""
    return float(np.mean(instance_medians(np.maximum(bench.phases[:, :, phase], 1)))) + math.log(1e-9 / steps)


def _ratio(found: LogInterval) -> Interval:
    """Back from logs; ends that are not finite become None."""
    return Interval.of_logs(found.mean, found.half)


def _plain(seconds: Sequence[float]) -> Interval:
    """The interval of the mean of durations, through their logs: they are skewed, and never negative."""
    return _ratio(interval([math.log(max(value, 1e-9)) for value in seconds]))
