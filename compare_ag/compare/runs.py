"""Two runs, backend by backend: which backends became wrong, which became slower?"""

from __future__ import annotations

from collections.abc import Sequence

from compare_ag.compare.changes import BackendChange, Comparison, Fact, SpeedChange
from compare_ag.compare.guards import (
    ComparisonError,
    beyond_doubt,
    environment_changes,
    require_same_problem,
    times_differ,
)
from compare_ag.compare.numbers import (
    blocks,
    change,
    disturbance,
    exclusion,
    log_ratios,
    log_times,
    step_time,
)
from compare_ag.compare.regressions import regressions
from compare_ag.records import BackendRecord, Interval, Run
from compare_ag.speed.between import between, joint_floor
from compare_ag.speed.pair_verdicts import at_least, decide
from compare_ag.speed.statistics import simultaneous_level

THRESHOLD = 0.05
NO_YARDSTICK = "none"
WAYS = {"steps": "the median of its steps", "blocks": "whole blocks"}
"""`Cost.timed_by` in words"""


def compare_runs(
    before: Run,
    after: Run,
    *,
    threshold: float = THRESHOLD,
    yardstick: str | None = None,
    strict: bool = False,
    beside: int = 0,
) -> Comparison:
    """The changes from one run to the other.

    threshold: ratio less one by which a backend may become slower. yardstick: the unchanged backend whose change
    estimates the common factor of the machine (see `speed.between`); None chooses a backend that cannot be under test
    (`guards.beyond_doubt`) if others are timed too, "none" compares times as they are. strict: a disturbed timing is a
    regression. beside: how many intervals of other comparisons must hold together with these, as of the other cells of
    a sweep.

    Raises `ComparisonError` where the problems differ, or the yardstick was not timed in both runs.
    """
    require_same_problem(before.manifest.problem, after.manifest.problem)
    apart = times_differ(before.manifest, after.manifest)
    speeds = _Speeds(before, after, apart, threshold, yardstick, beside)
    names = dict.fromkeys([*before.records, *after.records])
    backends = [
        change(
            name,
            (before, name) if name in before.records else None,
            (after, name) if name in after.records else None,
            speeds.of(name),
        )
        for name in names
    ]
    sentences = regressions(backends, "before", threshold, strict=strict)
    return Comparison(
        kind="runs",
        before=before.path.resolve().name,
        after=after.path.resolve().name,
        created_before=before.manifest.created,
        created_after=after.manifest.created,
        problem=after.manifest.problem.name,
        threshold=threshold,
        level=speeds.level,
        yardstick=speeds.yardstick,
        times_differ=apart,
        alike=_common_factor(backends),
        environment=environment_changes(before.manifest, after.manifest),
        backends=backends,
        regressions=sentences,
        notes=[*_states(before, after), *speeds.notes(backends)],
        strict=strict,
        exit_code=1 if sentences else 0,
    )


def _states(before: Run, after: Run) -> list[str]:
    runs = (("the run before", before), ("the run after", after))
    return [f"{which} did not finish" for which, run in runs if run.manifest.state != "complete"]


def _common_factor(backends: Sequence[BackendChange]) -> str:
    """A sentence for times of two backends or more that all became slower, or all faster, by a common factor."""
    moved = [backend.speed for backend in backends if backend.speed.ratio is not None]
    words = {speed.verdict for speed in moved}
    ends = [(speed.ratio.low, speed.ratio.high) for speed in moved if speed.ratio is not None]
    lows, highs = ([end for end in side if end is not None] for side in zip(*ends, strict=True)) if ends else ([], [])
    if len(moved) < 2 or len(words) > 1 or not words <= {"faster", "slower"} or len(lows) < len(moved):
        return ""
    if max(lows) > min(highs):
        return ""
    word, state = ("slower", "busier") if words == {"slower"} else ("faster", "calmer")
    factor = f"{max(lows):.3f} to {min(highs):.3f}"
    return f"ALL BECAME {word.upper()} ALIKE, by a factor of {factor}: that is what a {state} machine looks like."


class _Speeds:
    """The times of two runs, and how they may be compared."""

    def __init__(
        self, before: Run, after: Run, apart: Sequence[Fact], threshold: float, yardstick: str | None, beside: int
    ) -> None:
        self._before, self._after = before, after
        self._apart = bool(apart)
        self._threshold = threshold
        names = [run.path.resolve().name for run in (before, after)]
        if names[0] == names[1]:
            names = ["the run before", "the run after"]
        self._places = [f"in {name}" for name in names]
        both = [name for name in before.records if name in after.records]
        self._timed = [name for name in both if all(step_time(run[name]) is not None for run in (before, after))]
        self._launched = [
            name
            for name in self._timed
            if not self._exclusion(name) and all(blocks(run, name) is not None for run in (before, after))
        ]
        self._calm = [name for name in self._launched if not self._disturbance(name)]
        self.yardstick = None
        self._lost_yardstick = ""
        """the disturbance of the backend that would be the yardstick, where there is no other yardstick"""
        if not apart:
            self.yardstick, self._lost_yardstick = self._choose_yardstick(yardstick)
        self.level = simultaneous_level(beside + len(self._calm) - (self.yardstick is not None))
        floors = [None if run.manifest.speed is None else run.manifest.speed.noise_floor for run in (before, after)]
        self._floor = joint_floor(*floors)

    def _sides(self, name: str) -> list[tuple[BackendRecord, str]]:
        """The backend's record in each run that has it, and "in " with the run's name."""
        runs = zip((self._before, self._after), self._places, strict=True)
        return [(run[name], place) for run, place in runs if name in run.records]

    def _disturbance(self, name: str) -> str:
        """Clauses on its disturbed timing, in one run or in both; empty where it was not disturbed."""
        return "; ".join(filter(None, (disturbance(*side) for side in self._sides(name))))

    def _exclusion(self, name: str) -> str:
        """Clauses on other reasons for no rank, and on times measured in two ways; empty where there are none."""
        sides = self._sides(name)
        reasons = [*filter(None, (exclusion(*side) for side in sides))]
        ways = [record.cost.timed_by for record, _ in sides if record.cost is not None]
        if len(set(ways)) > 1:
            measurements = " and ".join(
                f"{WAYS.get(way, way)} {place}" for way, place in zip(ways, self._places, strict=True)
            )
            reasons.append(f"{name} was timed by {measurements}: another way of measuring")
        return "; ".join(reasons)

    def _choose_yardstick(self, wanted: str | None) -> tuple[str | None, str]:
        """The yardstick, or None and the disturbance of the backend that would be the yardstick.

        A disturbed yardstick is not replaced by none: times without a yardstick contain the common factor of the
        machine, which is large where another program disturbed the timing.
        """
        if wanted == NO_YARDSTICK:
            return None, ""
        if wanted is not None:
            if wanted not in self._launched:
                if reason := self._exclusion(wanted):
                    raise ComparisonError(f"the yardstick {wanted!r} cannot serve: {reason}")
                timed = ", ".join(self._launched) or "none"
                raise ComparisonError(f"the yardstick {wanted!r} was not timed in both runs; those that were: {timed}")
            lost = self._disturbance(wanted)
            return (None, lost) if lost else (wanted, "")
        if len(self._launched) < 2:  # a yardstick needs another backend to compare
            return None, ""
        baselines = [run.manifest.baseline for run in (self._before, self._after)]
        known = [name for name in self._launched if beyond_doubt(name, self._before, self._after)]
        candidates = [name for name in [*baselines, *known] if name in known]
        for name in candidates:
            if name in self._calm:
                return name, ""
        return None, self._disturbance(candidates[0]) if candidates else ""

    def of(self, name: str) -> SpeedChange:
        """How this backend's time per step changed."""
        times = [step_time(run.records[name]) if name in run.records else None for run in (self._before, self._after)]
        before, after = times

        def without_ratio(verdict: str, note: str) -> SpeedChange:
            return SpeedChange(before=before, after=after, ratio=None, verdict=verdict, note=note)

        if before is None or after is None:
            return without_ratio("not compared", self._describe_missing_times(name))
        if self._apart:
            return without_ratio("not compared", "another machine or another way of measuring")
        if reason := self._exclusion(name):
            return without_ratio("not compared", reason)
        if reason := self._disturbance(name):
            return without_ratio("not decided", reason)
        if name not in self._launched:
            ratio = Interval(value=after.value / before.value, low=None, high=None)
            note = "no launches to compare: one process gives no interval"
            return SpeedChange(before=before, after=after, ratio=ratio, verdict="inconclusive", note=note)
        if self._lost_yardstick:
            return without_ratio("not decided", f"its yardstick cannot serve: {self._lost_yardstick}")
        samples = self._samples(name)
        for values, place in zip(samples, self._places, strict=True):
            if not values:
                with_whom = "" if self.yardstick in (None, name) else f" and {self.yardstick} together"
                return without_ratio("not decided", f"{name}{with_whom} had no undisturbed launch {place}")
        change_of_log = between(samples[0], samples[1], self.level)
        floor = self._floor if self._floor < float("inf") else None
        shown = at_least(change_of_log, self._floor)
        ratio = Interval.of_logs(shown.mean, shown.half)
        if name == self.yardstick:
            return SpeedChange(before=before, after=after, ratio=ratio, verdict="yardstick")
        decision = decide(change_of_log, self._threshold, self._floor)
        note = "the runs' noise floors do not allow a verdict" if decision.limited_by_noise_floor else ""
        return SpeedChange(before=before, after=after, ratio=ratio, verdict=decision.verdict, floor=floor, note=note)

    def _describe_missing_times(self, name: str) -> str:
        sides = [
            which
            for which, run in (("before", self._before), ("after", self._after))
            if name not in run.records or step_time(run[name]) is None
        ]
        return f"not timed {' and '.join(sides)}"

    def _samples(self, name: str) -> list[list[float]]:
        """For each run the log times of its launches, relative to the yardstick unless the backend is the yardstick."""
        if self.yardstick is None or name == self.yardstick:
            return [log_times(run, name) for run in (self._before, self._after)]
        return [log_ratios(run, name, self.yardstick) for run in (self._before, self._after)]

    def notes(self, backends: Sequence[BackendChange]) -> list[str]:
        """Notes on the comparison of times."""
        if self._apart or not self._timed:
            return []
        if self._lost_yardstick:
            return [
                f"{self._lost_yardstick}, so that no backend is left to remove the common factor of the machine with: "
                "close what is busy and run again; --yardstick none compares times as they are"
            ]
        if self.yardstick is None:
            return [
                "times are compared as they are: the runs may differ by a common factor of the machine (clock, heat, "
                "neighbours) that is not known; an unchanged backend, timed beside the others in both runs, removes "
                "it: a backend that comes with compare-ag by itself, any other by --yardstick NAME",
            ]
        (own,) = [backend.speed.ratio for backend in backends if backend.name == self.yardstick]
        if own is None:
            return []
        name = self.yardstick
        return [
            f"times are compared relative to {name}, whose versions have not changed: it now takes "
            f"{own.value:.3f} times as long, which is taken for the common factor of the machine; "
            "--yardstick none compares times as they are"
        ]
