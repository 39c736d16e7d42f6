"""Two runs, backend by backend: is something wrong that was not, is something slower?"""

from __future__ import annotations

from collections.abc import Sequence

from compare_ag.comparison.changes import BackendChange, Comparison, Fact, SpeedChange
from compare_ag.comparison.guards import (
    ComparisonError,
    beyond_doubt,
    environment_changes,
    require_same_problem,
    times_differ,
)
from compare_ag.comparison.numbers import blocks, change, log_ratios, log_times, step_time
from compare_ag.comparison.regressions import regressions
from compare_ag.records import Interval, Run
from compare_ag.speed.between import between, joint_floor
from compare_ag.speed.statistics import LogInterval, simultaneous_level
from compare_ag.speed.verdicts import decide

THRESHOLD = 0.05
NO_YARDSTICK = "none"


def compare_runs(before: Run, after: Run, *, threshold: float = THRESHOLD, yardstick: str | None = None) -> Comparison:
    """What changed from one run to the other.

    threshold: ratio less one that a backend may become slower by. yardstick: the backend whose own change is taken for
    the machine's mood (see `speed.between`); None chooses one that cannot be under test (`guards.beyond_doubt`) where
    it is not all there is, "none" compares times as they are.

    Raises `ComparisonError` where the problems differ, or the yardstick was not timed in both.
    """
    require_same_problem(before.manifest.problem, after.manifest.problem)
    apart = times_differ(before.manifest, after.manifest)
    speeds = _Speeds(before, after, apart, threshold, yardstick)
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
    found = regressions(backends, "before", threshold)
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

    def __init__(self, before: Run, after: Run, apart: Sequence[Fact], threshold: float, yardstick: str | None) -> None:
        self._before, self._after = before, after
        self._apart = bool(apart)
        self._threshold = threshold
        both = [name for name in before.records if name in after.records]
        self._timed = [name for name in both if all(step_time(run[name]) is not None for run in (before, after))]
        self._launched = [name for name in self._timed if all(blocks(run, name) is not None for run in (before, after))]
        self.yardstick = None if apart else self._chosen(yardstick)
        self.level = simultaneous_level(len(self._launched) - (self.yardstick is not None))
        floors = [None if run.manifest.speed is None else run.manifest.speed.noise_floor for run in (before, after)]
        self._floor = joint_floor(*floors)

    def _chosen(self, wanted: str | None) -> str | None:
        if wanted == NO_YARDSTICK:
            return None
        if wanted is not None:
            if wanted not in self._launched:
                timed = ", ".join(self._launched) or "none"
                raise ComparisonError(f"the yardstick {wanted!r} was not timed in both runs; those that were: {timed}")
            return wanted
        if len(self._launched) < 2:  # it would be compared with nothing but itself
            return None
        baselines = [run.manifest.baseline for run in (self._before, self._after)]
        known = [name for name in self._launched if beyond_doubt(name, self._before, self._after)]
        return next((name for name in [*baselines, *known] if name in known), None)

    def of(self, name: str) -> SpeedChange:
        """How this backend's time per step changed."""
        times = [step_time(run.records[name]) if name in run.records else None for run in (self._before, self._after)]
        before, after = times
        if before is None or after is None:
            return SpeedChange(before=before, after=after, ratio=None, verdict="not compared", note=self._untimed(name))
        if self._apart:
            note = "another machine or another way of measuring"
            return SpeedChange(before=before, after=after, ratio=None, verdict="not compared", note=note)
        if name not in self._launched:
            ratio = Interval(value=after.value / before.value, low=None, high=None)
            note = "no launches to compare: one process gives no interval"
            return SpeedChange(before=before, after=after, ratio=ratio, verdict="inconclusive", note=note)
        found = self._difference(name)
        ratio = Interval.of_logs(found.mean, found.half)
        if name == self.yardstick:
            return SpeedChange(before=before, after=after, ratio=ratio, verdict="yardstick")
        decision = decide(found, self._threshold, self._floor)
        floor = self._floor if self._floor < float("inf") else None
        note = "the runs' noise floors do not allow a verdict" if decision.held_back else ""
        return SpeedChange(before=before, after=after, ratio=ratio, verdict=decision.verdict, floor=floor, note=note)

    def _untimed(self, name: str) -> str:
        where = [
            which
            for which, run in (("before", self._before), ("after", self._after))
            if name not in run.records or step_time(run[name]) is None
        ]
        return f"not timed {' and '.join(where)}"

    def _difference(self, name: str) -> LogInterval:
        """Of log times; relative to the yardstick, where there is one and it is not this."""
        if self.yardstick is None or name == self.yardstick:
            return between(log_times(self._before, name), log_times(self._after, name), self.level)
        before, after = (log_ratios(run, name, self.yardstick) for run in (self._before, self._after))
        return between(before, after, self.level)

    def notes(self, backends: Sequence[BackendChange]) -> list[str]:
        """What the reader should know about the comparison of times."""
        if self._apart or not self._timed:
            return []
        if self.yardstick is None:
            return [
                "times are compared as they are: how the machine's mood (clock, heat, neighbours) differed between the "
                "runs is not known; a backend that does not change, timed beside the others in both runs, takes it "
                "out: one that comes with compare-ag by itself, any other by --yardstick NAME",
            ]
        (own,) = [one.speed.ratio for one in backends if one.name == self.yardstick]
        assert own is not None
        name = self.yardstick
        return [
            f"times are compared relative to {name}, whose versions have not changed: that it now takes "
            f"{own.value:.3f} times as long is taken for the machine's mood; "
            "--yardstick none compares times as they are"
        ]
