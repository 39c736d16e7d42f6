"""The verdicts on speed of a run: the ratio of each pair of ranked backends, the noise floor, warnings.

The same functions serve a run that has just measured (`timing`) and a run directory that is read again
(`timing_arrays`). Costs come from `backend_costs`, the statistics from `speed`; here they are joined in a record.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from compare_ag.records import Cost, Interval, PairRecord, SpeedRecord, StabilityWarning
from compare_ag.records.ranges import PHASES
from compare_ag.speed.blocks import launch_log_ratio
from compare_ag.speed.costs import break_even_steps
from compare_ag.speed.pair_verdicts import at_least, decide, launches_needed, noise_floor
from compare_ag.speed.stability import Observation, notes
from compare_ag.speed.statistics import LogInterval, interval, simultaneous_level
from compare_ag.suite.backend_costs import BackendCosts, Measurements, phase_blocks, to_interval


@dataclass
class SpeedResult:
    """Costs and verdicts on speed."""

    costs: dict[str, Cost] = field(default_factory=dict)
    baseline: str | None = None
    speed: SpeedRecord | None = None
    bugs: dict[str, Exception] = field(default_factory=dict)
    """backends that have no cost because of a bug of ours"""


class SpeedConclusion:
    """Derives costs and verdicts from measurements."""

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._settings = measured.settings
        self._launches = measured.launches
        self._costs = BackendCosts(measured)
        self._baseline = measured.baseline if measured.baseline in self._costs.names else None

    def result(self) -> SpeedResult:
        """Costs, pairs and warnings."""
        result = SpeedResult()
        for name in list(self._costs.names):
            try:
                result.costs[name] = self._costs.cost(name)
            except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the run
                self._costs.names.remove(name)
                result.bugs[name] = error
        if self._baseline not in self._costs.names:
            self._baseline = None
        result.baseline = self._baseline
        result.speed = self._speed(result.costs)
        return result

    def _speed(self, costs: dict[str, Cost]) -> SpeedRecord:
        settings, measured = self._settings, self._measured
        ranked = [name for name, cost in costs.items() if not cost.disturbed and not cost.unranked]
        pairs = list(itertools.combinations(ranked, 2))
        level = simultaneous_level(len(pairs))
        controls = self._launches.controls()
        control = interval(controls) if len(controls) > 1 else None
        floor = None if control is None else noise_floor(control)
        return SpeedRecord(
            mode=settings.mode,
            budget_seconds=settings.budget_seconds,
            target=settings.target,
            stopped=measured.stopped,
            margin=settings.margin,
            level=level,
            launches=len(self._launches),
            instances=measured.plan.instances,
            rounds=measured.plan.rounds,
            checkpoint=settings.checkpoint,
            checkpoint_step=measured.checkpoint_step,
            threads=measured.threads,
            hash_seeds=[launch.hash_seed for launch in self._launches],
            twins=[launch.twin for launch in self._launches],
            control=None if control is None else to_interval(control),
            noise_floor=floor,
            pairs=[
                self._pair(name, baseline, costs, level, math.inf if floor is None else floor)
                for name, baseline in map(self._ordered, pairs)
            ],
            warnings=self._warnings(costs),
            seconds=measured.seconds,
            judging_seconds=measured.judging_seconds,
        )

    def _ordered(self, pair: tuple[str, str]) -> tuple[str, str]:
        """(backend, baseline): the run's baseline second, else the later one first."""
        first, second = pair
        return (second, first) if first == self._baseline or second != self._baseline else (first, second)

    def _pair(self, name: str, baseline: str, costs: dict[str, Cost], level: float, floor: float) -> PairRecord:
        log_ratios = self._launches.log_ratios(name, baseline)
        if log_ratios:
            estimate = interval(log_ratios, level)
        else:  # each was undisturbed in half of its launches at least, but not in the same launches
            ratio = costs[name].step.value / costs[baseline].step.value
            estimate = LogInterval(math.log(ratio), math.inf, 0)
        margin = self._settings.margin
        decision = decide(estimate, margin, floor)
        return PairRecord(
            backend=name,
            baseline=baseline,
            ratio=to_interval(at_least(estimate, floor)),
            verdict=decision.verdict,
            launches_needed=launches_needed(estimate, margin) if decision.verdict == "inconclusive" else None,
            limited_by_noise_floor=decision.limited_by_noise_floor,
            break_even_steps=_break_even(costs[name], costs[baseline]),
            phases=self._phase_ratios(name, baseline),
        )

    def _phase_ratios(self, name: str, baseline: str) -> dict[str, Interval]:
        pairs = [
            (launch.benches[name], launch.benches[baseline])
            for launch in self._launches
            if {name, baseline} <= launch.benches.keys()
        ]
        if not all(bench.loaded.splits for pair in pairs for bench in pair):
            return {}
        ratios = {}
        for i, phase in enumerate(PHASES):
            values = [float(launch_log_ratio(*(phase_blocks(bench, i) for bench in pair))) for pair in pairs]
            finite = [value for value in values if math.isfinite(value)]
            if finite:
                ratios[phase] = to_interval(interval(finite))
        return ratios

    def _warnings(self, costs: dict[str, Cost]) -> list[StabilityWarning]:
        observations = [self._observation(name, cost) for name, cost in costs.items()]
        controls, threads = self._launches.controls(), self._measured.threads
        return list(notes(observations, controls, threads, self._measured.surroundings))

    def _observation(self, name: str, cost: Cost) -> Observation:
        baseline = self._baseline
        audits = self._costs.audits(name)
        return Observation(
            name=name,
            left_out_share=cost.left_out_share or 0.0,
            disturbed=cost.disturbed,
            cpu_per_wall=cost.cpu_per_wall or 0.0,
            pending_shares=[a.pending_ns / a.wall_ns for a in audits],
            pending_noise=[a.noise_ns / a.wall_ns for a in audits],
            steady=cost.steady is not False,
            closure=None if cost.closure is None or cost.fused else cost.closure.value,
            pinned=bool(cost.pinned),
            log_times=self._costs.log_times(name),
            log_ratios=[] if baseline in (None, name) else self._launches.log_ratios(name, str(baseline)),
        )


def _break_even(cost: Cost, baseline: Cost) -> float | None:
    assert cost.cold_seconds is not None
    assert baseline.cold_seconds is not None
    return break_even_steps(cost.cold_seconds, cost.step.value, baseline.cold_seconds, baseline.step.value)
