"""The numbers of one backend that a comparison sets side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compare_ag.compare.changes import BackendChange, SpeedChange
from compare_ag.compare.guards import version_changes
from compare_ag.records import BackendRecord, Interval, Real, Run, decisive, real
from compare_ag.speed.blocks import Blocks, launch_log_ratio, launch_log_time, recorded_blocks
from compare_ag.speed.statistics import LogInterval

FINE = frozenset({"ok", "imported"})
"""statuses that are nobody's fault: nothing is wrong with the numbers as far as they were judged"""
WRONG = frozenset({"disagree", "non-finite"})
"""statuses of numbers that were judged and are wrong: news, whatever else had kept the backend from being judged"""


def change(
    name: str, before: tuple[Run, str] | None, after: tuple[Run, str] | None, speed: SpeedChange
) -> BackendChange:
    """Everything about one backend but its speed, which comes judged. before, after: a run and a name in it."""
    one, other = (None if side is None else side[0][side[1]] for side in (before, after))
    verdicts = [None if record is None else decisive(record) for record in (one, other)]
    return BackendChange(
        name=name,
        status_before=None if one is None else one.status,
        status_after=None if other is None else other.status,
        became=_became(one, other),
        found="" if other is None else other.reason or (verdicts[1].message if verdicts[1] is not None else ""),
        versions=[] if one is None or other is None else version_changes(one, other),
        ratio_before=None if verdicts[0] is None else verdicts[0].worst_ratio,
        ratio_after=None if verdicts[1] is None else verdicts[1].worst_ratio,
        error_before=None if verdicts[0] is None else verdicts[0].weights_error,
        error_after=None if verdicts[1] is None else verdicts[1].weights_error,
        loss_difference=None if before is None or after is None else _loss_difference(_losses(before), _losses(after)),
        published_before=_reproduced(one),
        published_after=_reproduced(other),
        speed=speed,
        peak_before=_peak(one),
        peak_after=_peak(other),
    )


def _became(before: BackendRecord | None, after: BackendRecord | None) -> str:
    """A word of `changes.BECAME`; a published table that is no longer reproduced is wrong, too."""
    if after is None:
        return "gone"
    fine = after.status in FINE and _reproduced(after) is not False
    if before is None:
        return "new" if fine else "wrong"
    was_fine = before.status in FINE and _reproduced(before) is not False
    if was_fine and fine:
        return "same"
    if fine:
        return "cured"
    seen_wrong = after.status in WRONG and before.status not in WRONG
    return "wrong" if was_fine or seen_wrong else "still wrong"


def _reproduced(record: BackendRecord | None) -> bool | None:
    if record is None or not record.published:
        return None
    return all(row.reproduced for row in record.published)


def _peak(record: BackendRecord | None) -> int | None:
    return None if record is None or record.memory is None else record.memory.peak_bytes


def _losses(side: tuple[Run, str]) -> Any:
    run, name = side
    return run.arrays(name).get("losses")


def _loss_difference(before: Any, after: Any) -> Real | None:
    """The largest |difference|; steps at which neither has a number (NaN) count as equal."""
    if before is None or after is None or before.shape != after.shape or not before.size:
        return None
    one, other = before.astype(np.float64), after.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.where(same, 0.0, np.abs(one - other))
    return real(float(off.max()))  # NaN where there is one: numpy's maximum hands it on


# --- launches -----------------------------------------------------------------------------------------------


def blocks(run: Run, name: str) -> Blocks | None:
    """The timed blocks (L launches, M, R) of a backend; None where the run holds none, as an imported one."""
    speed = run.manifest.speed
    return None if speed is None else recorded_blocks(run.arrays(name), speed.steps_per_block)


def log_times(run: Run, name: str) -> list[float]:
    """One log of seconds per step for each launch in which the backend was not disturbed."""
    own = blocks(run, name)
    return [] if own is None else _numbers(launch_log_time(own))


def log_ratios(run: Run, name: str, other: str) -> list[float]:
    """One log of time(name) / time(other) for each launch in which enough rounds were undisturbed for both."""
    mine, theirs = blocks(run, name), blocks(run, other)
    return [] if mine is None or theirs is None else _numbers(launch_log_ratio(mine, theirs))


def _numbers(launches: Any) -> list[float]:
    """Without the launches that have no number (NaN)."""
    return [float(value) for value in launches if math.isfinite(value)]


def as_log(ratio: Interval, launches: int) -> LogInterval:
    """A recorded ratio as the interval of logs that it came from."""
    if ratio.low is None or ratio.high is None:
        return LogInterval(math.log(ratio.value), math.inf, launches)
    return LogInterval(math.log(ratio.value), math.log(ratio.high / ratio.low) / 2, launches)


def step_time(record: BackendRecord | None) -> Interval | None:
    """Seconds per step; None where it was not timed."""
    return None if record is None or record.cost is None else record.cost.step


def disturbance(record: BackendRecord, where: str) -> str:
    """That its timing was disturbed, as a sentence without a full stop; empty where it was not.

    where: "in " and the run's name.
    """
    cost = record.cost
    if cost is None or not cost.disturbed:
        return ""
    share = "" if cost.preempted is None else f" ({100 * cost.preempted:.0f} % of blocks disturbed)"
    return f"{record.name} was disturbed {where}{share}"


def exclusion(record: BackendRecord, where: str) -> str:
    """Why it has no rank though nothing disturbed it, as a sentence without a full stop; empty where it has one."""
    cost = record.cost
    return "" if cost is None or not cost.unranked else f"{record.name} {cost.unranked} ({where})"
