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
"""statuses without a fault: every judged number is right"""
WRONG = frozenset({"disagree", "non-finite"})
"""statuses of numbers that were judged wrong; new even if the backend was not ok before for another reason"""


def change(
    name: str, before: tuple[Run, str] | None, after: tuple[Run, str] | None, speed: SpeedChange
) -> BackendChange:
    """The change of one backend. before, after: a run and a name in it. speed: the judged change of its speed."""
    earlier, later = (None if side is None else side[0][side[1]] for side in (before, after))
    verdicts = [None if record is None else decisive(record) for record in (earlier, later)]
    return BackendChange(
        name=name,
        status_before=None if earlier is None else earlier.status,
        status_after=None if later is None else later.status,
        became=_became(earlier, later),
        found="" if later is None else later.reason or (verdicts[1].message if verdicts[1] is not None else ""),
        versions=[] if earlier is None or later is None else version_changes(earlier, later),
        ratio_before=None if verdicts[0] is None else verdicts[0].worst_ratio,
        ratio_after=None if verdicts[1] is None else verdicts[1].worst_ratio,
        error_before=None if verdicts[0] is None else verdicts[0].weights_error,
        error_after=None if verdicts[1] is None else verdicts[1].weights_error,
        loss_difference=None if before is None or after is None else _loss_difference(_losses(before), _losses(after)),
        published_before=_reproduces_published(earlier),
        published_after=_reproduces_published(later),
        speed=speed,
        peak_before=_peak(earlier),
        peak_after=_peak(later),
    )


def _became(before: BackendRecord | None, after: BackendRecord | None) -> str:
    """A word of `changes.BECAME`; a published table that is no longer reproduced also counts as wrong."""
    if after is None:
        return "gone"
    fine = after.status in FINE and _reproduces_published(after) is not False
    if before is None:
        return "new" if fine else "wrong"
    was_fine = before.status in FINE and _reproduces_published(before) is not False
    if was_fine and fine:
        return "same"
    if fine:
        return "cured"
    seen_wrong = after.status in WRONG and before.status not in WRONG
    return "wrong" if was_fine or seen_wrong else "still wrong"


def _reproduces_published(record: BackendRecord | None) -> bool | None:
    if record is None or not record.published:
        return None
    return all(row.reproduced for row in record.published)


def _peak(record: BackendRecord | None) -> int | None:
    return None if record is None or record.memory is None else record.memory.peak_bytes


def _losses(side: tuple[Run, str]) -> Any:
    run, name = side
    return run.arrays(name).get("losses")


def _loss_difference(before: Any, after: Any) -> Real | None:
    """The largest |difference|; steps at which both are NaN count as equal."""
    if before is None or after is None or before.shape != after.shape or not before.size:
        return None
    earlier, later = before.astype(np.float64), after.astype(np.float64)
    same = (earlier == later) | (np.isnan(earlier) & np.isnan(later))
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.where(same, 0.0, np.abs(earlier - later))
    return real(float(off.max()))  # NaN where a difference is NaN


# --- launches -----------------------------------------------------------------------------------------------


def blocks(run: Run, name: str) -> Blocks | None:
    """The timed blocks (L launches, M, R) of a backend; None where the run has none, as an imported run."""
    speed = run.manifest.speed
    return None if speed is None else recorded_blocks(run.arrays(name), speed.steps_per_block)


def log_times(run: Run, name: str) -> list[float]:
    """The log of seconds per step of each launch in which the backend was not disturbed."""
    own = blocks(run, name)
    return [] if own is None else _numbers(launch_log_time(own))


def log_ratios(run: Run, name: str, yardstick: str) -> list[float]:
    """log(time(name) / time(yardstick)) of each launch in which both have enough undisturbed rounds."""
    own, reference = blocks(run, name), blocks(run, yardstick)
    return [] if own is None or reference is None else _numbers(launch_log_ratio(own, reference))


def _numbers(launches: Any) -> list[float]:
    """The finite numbers; a launch without a number is NaN."""
    return [float(value) for value in launches if math.isfinite(value)]


def as_log(ratio: Interval, launches: int) -> LogInterval:
    """A recorded ratio as the interval of logs that it came from."""
    if ratio.low is None or ratio.high is None:
        return LogInterval(math.log(ratio.value), math.inf, launches)
    return LogInterval(math.log(ratio.value), math.log(ratio.high / ratio.low) / 2, launches)


def step_time(record: BackendRecord | None) -> Interval | None:
    """Seconds per step; None where the backend was not timed."""
    return None if record is None or record.cost is None else record.cost.step


def disturbance(record: BackendRecord, where: str) -> str:
    """A sentence without a full stop on a disturbed timing; empty where the timing was not disturbed.

    where: "in " and the run's name.
    """
    cost = record.cost
    if cost is None or not cost.disturbed:
        return ""
    share = "" if cost.left_out_share is None else f" ({100 * cost.left_out_share:.0f} % of blocks disturbed)"
    return f"{record.name} was disturbed {where}{share}"


def exclusion(record: BackendRecord, where: str) -> str:
    """A sentence without a full stop on an undisturbed backend without a rank; empty where the backend has a rank."""
    cost = record.cost
    return "" if cost is None or not cost.unranked else f"{record.name} {cost.unranked} ({where})"
