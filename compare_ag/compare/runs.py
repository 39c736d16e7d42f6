"""Two runs, backend by backend: is something wrong that was not, is something slower?"""

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
    """What changed from one run to the other.

    threshold: ratio less one that a backend may become slower by. yardstick: the backend whose own change is taken for
    the machine's mood (see `speed.between`); None chooses one that cannot be under test (`guards.beyond_doubt`) where
    it is not all there is, "none" compares times as they are. strict: a disturbed timing does not pass.
    beside: how many intervals of other comparisons are to hold together with these, as of the other cells of a sweep.

    Raises `ComparisonError` where the problems differ, or the yardstick was not timed in both.
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
    found = regressions(backends, "before", threshold, strict=strict)
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
        alike=_alike(backends),
        environment=environment_changes(before.manifest, after.manifest),
        backends=backends,
        regressions=found,
        notes=[*_states(before, after), *speeds.notes(backends)],
        strict=strict,
        exit_code=1 if found else 0,
    )


def _states(before: Run, after: Run) -> list[str]:
    runs = (("the run before", before), ("the run after", after))
    return [f"{which} did not finish" for which, run in runs if run.manifest.state != "complete"]


def _alike(backends: Sequence[BackendChange]) -> str:
    """What to say where all times moved by one factor: two at least, none a tie, and a factor in all intervals."""
    moved = [one.speed for one in backends if one.speed.ratio is not None]
    words = {one.verdict for one in moved}
    ends = [(one.ratio.low, one.ratio.high) for one in moved if one.ratio is not None]
    lows, highs = ([end for end in side if end is not None] for side in zip(*ends, strict=True)) if ends else ([], [])
    if len(moved) < 2 or len(words) > 1 or not words <= {"faster", "slower"} or len(lows) < len(moved):
        return ""
    if max(lows) > min(highs):
        return ""
    word, mood = ("slower", "busier") if words == {"slower"} else ("faster", "calmer")
    factor = f"{max(lows):.3f} to {min(highs):.3f}"
    return f"ALL BECAME {word.upper()} ALIKE, by a factor of {factor}: that is what a {mood} machine looks like."


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
            if not self._excluded(name) and all(blocks(run, name) is not None for run in (before, after))
        ]
        self._calm = [name for name in self._launched if not self._disturbed(name)]
        self.yardstick = None
        self._lost_yardstick = ""
        """what disturbed the backend that would have been the yardstick, where there is no other"""
        if not apart:
            self.yardstick, self._lost_yardstick = self._chosen(yardstick)
        self.level = simultaneous_level(beside + len(self._calm) - (self.yardstick is not None))
        floors = [None if run.manifest.speed is None else run.manifest.speed.noise_floor for run in (before, after)]
        self._floor = joint_floor(*floors)

    def _sides(self, name: str) -> list[tuple[BackendRecord, str]]:
        """The backend's record in each run that has it, and where that is."""
        runs = zip((self._before, self._after), self._places, strict=True)
        return [(run[name], place) for run, place in runs if name in run.records]

    def _disturbed(self, name: str) -> str:
        """What disturbed its timing, in one run or in both; empty where nothing did."""
        return "; ".join(filter(None, (disturbance(*side) for side in self._sides(name))))

    def _excluded(self, name: str) -> str:
        """Why it has no rank for another reason, in one run or in both, or was timed in two ways; else empty."""
        sides = self._sides(name)
        reasons = [*filter(None, (exclusion(*side) for side in sides))]
        ways = [record.cost.timed_by for record, _ in sides if record.cost is not None]
        if len(set(ways)) > 1:
            told = " and ".join(f"{WAYS.get(way, way)} {place}" for way, place in zip(ways, self._places, strict=True))
            reasons.append(f"{name} was timed by {told}: another way of measuring")
        return "; ".join(reasons)

    def _chosen(self, wanted: str | None) -> tuple[str | None, str]:
        """The yardstick; or none, and what disturbed the backend that would be one.

        Times without it hold the machine's mood, which is no longer small where something disturbed the timing.
        """
        if wanted == NO_YARDSTICK:
            return None, ""
        if wanted is not None:
            if wanted not in self._launched:
                if reason := self._excluded(wanted):
                    raise ComparisonError(f"the yardstick {wanted!r} cannot serve: {reason}")
                timed = ", ".join(self._launched) or "none"
                raise ComparisonError(f"the yardstick {wanted!r} was not timed in both runs; those that were: {timed}")
            lost = self._disturbed(wanted)
            return (None, lost) if lost else (wanted, "")
        if len(self._launched) < 2:  # it would be compared with nothing but itself
            return None, ""
        baselines = [run.manifest.baseline for run in (self._before, self._after)]
        known = [name for name in self._launched if beyond_doubt(name, self._before, self._after)]
        candidates = [name for name in [*baselines, *known] if name in known]
        for name in candidates:
            if name in self._calm:
                return name, ""
        return None, self._disturbed(candidates[0]) if candidates else ""

    def of(self, name: str) -> SpeedChange:
        """How this backend's time per step changed."""
        times = [step_time(run.records[name]) if name in run.records else None for run in (self._before, self._after)]
        before, after = times

        def without_ratio(verdict: str, note: str) -> SpeedChange:
            return SpeedChange(before=before, after=after, ratio=None, verdict=verdict, note=note)

        if before is None or after is None:
            return without_ratio("not compared", self._untimed(name))
        if self._apart:
            return without_ratio("not compared", "another machine or another way of measuring")
        if reason := self._excluded(name):
            return without_ratio("not compared", reason)
        if reason := self._disturbed(name):
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
        found = between(samples[0], samples[1], self.level)
        floor = self._floor if self._floor < float("inf") else None
        shown = at_least(found, self._floor)
        ratio = Interval.of_logs(shown.mean, shown.half)
        if name == self.yardstick:
            return SpeedChange(before=before, after=after, ratio=ratio, verdict="yardstick")
        decision = decide(found, self._threshold, self._floor)
        note = "the runs' noise floors do not allow a verdict" if decision.held_back else ""
        return SpeedChange(before=before, after=after, ratio=ratio, verdict=decision.verdict, floor=floor, note=note)

    def _untimed(self, name: str) -> str:
        where = [
            which
            for which, run in (("before", self._before), ("after", self._after))
            if name not in run.records or step_time(run[name]) is None
        ]
        return f"not timed {' and '.join(where)}"

    def _samples(self, name: str) -> list[list[float]]:
        """Of each run, a log time for each launch; relative to the yardstick, where there is one and it is not this."""
        if self.yardstick is None or name == self.yardstick:
            return [log_times(run, name) for run in (self._before, self._after)]
        return [log_ratios(run, name, self.yardstick) for run in (self._before, self._after)]

    def notes(self, backends: Sequence[BackendChange]) -> list[str]:
        """What the reader should know about the comparison of times."""
        if self._apart or not self._timed:
            return []
        if self._lost_yardstick:
            return [
                f"{self._lost_yardstick}, so that no backend is left to take the machine's mood out by: close what is "
                "busy and run again; --yardstick none compares times as they are"
            ]
        if self.yardstick is None:
            return [
                "times are compared as they are: how the machine's mood (clock, heat, neighbours) differed between the "
                "runs is not known; a backend that does not change, timed beside the others in both runs, takes it "
                "out: one that comes with compare-ag by itself, any other by --yardstick NAME",
            ]
        (own,) = [one.speed.ratio for one in backends if one.name == self.yardstick]
        if own is None:
            return []
        name = self.yardstick
        return [
            f"times are compared relative to {name}, whose versions have not changed: that it now takes "
            f"{own.value:.3f} times as long is taken for the machine's mood; "
            "--yardstick none compares times as they are"
        ]
