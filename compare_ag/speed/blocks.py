"""Timed blocks and which of them count: from the blocks of a launch to its one number.

A block in which another program ran is known as such from what was recorded beside its time, and does not count; how
long it took has no part in that decision, so that a slow block is never left out because it is slow. Of what counts:

    instance   the median of log(t) over its clean rounds, where it has `LEAST_CLEAN` at least
    launch     the mean over those instances; NaN where there is none

A ratio is formed within a round, between blocks that ran next to each other from the same weights, hence over the
rounds that are clean for both backends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
LOG_NANOSECOND = math.log(1e-9)
LEAST_CLEAN = 3
"""clean rounds without which an instance says nothing: the median of two is a mean"""


@dataclass(frozen=True)
class Blocks:
    """The blocks of one backend, (..., M instances, R rounds): one launch, or several along leading axes.

    time_ns: nanoseconds per step, NaN where there was no block. clean: not interrupted, and may count.
    """

    time_ns: Array
    clean: Array

    def __post_init__(self) -> None:
        if self.time_ns.ndim < 2 or self.time_ns.shape != self.clean.shape:
            raise ValueError(f"blocks of shape {self.time_ns.shape} with marks of shape {self.clean.shape}")


def recorded_blocks(arrays: Mapping[str, Array], steps_per_block: int) -> Blocks | None:
    """The blocks (L, M, R) in a backend's timing arrays; None where there are none.

    steps_per_block: that of the run, for arrays from before schema 1.7, which hold wall times alone: all their blocks
    count.
    """
    time_ns, clean = arrays.get("block_time_ns"), arrays.get("block_clean")
    if time_ns is None or clean is None:
        wall_ns = arrays.get("block_wall_ns")
        if wall_ns is None or steps_per_block < 1:
            return None
        time_ns, clean = wall_ns / steps_per_block, np.ones(wall_ns.shape, dtype=bool)
    if time_ns.ndim != 3 or not time_ns.size or time_ns.shape != clean.shape:
        return None
    return Blocks(time_ns.astype(np.float64), clean.astype(bool))


def launch_log_time(blocks: Blocks) -> Array:
    """The log of seconds per step of each launch: (...), or an array without axes for one launch; NaN: disturbed."""
    return _over_clean_rounds(_logs(blocks)) + LOG_NANOSECOND


def launch_log_ratio(blocks: Blocks, baseline: Blocks) -> Array:
    """log(t / t_baseline) of each launch: (...); NaN where too few rounds are clean for both.

    Raises `ValueError` where the two did not take part in the same rounds.
    """
    if blocks.time_ns.shape != baseline.time_ns.shape:
        raise ValueError(f"blocks of shapes {blocks.time_ns.shape} and {baseline.time_ns.shape} are not of one run")
    return _over_clean_rounds(_logs(blocks) - _logs(baseline))


def _logs(blocks: Blocks) -> Array:
    """The log of each time, NaN where the block does not count. A time that is no positive number cannot count."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(blocks.time_ns)
    return np.where(blocks.clean & np.isfinite(logs), logs, np.nan)


def _over_clean_rounds(values: Array) -> Array:
    """(..., M, R) → (...): the median over the rounds that are no NaN, the mean over instances with enough of them."""
    counts = np.isfinite(values).sum(axis=-1)
    enough = counts >= min(LEAST_CLEAN, values.shape[-1])  # a schedule may have fewer rounds: then it needs them all
    enough &= counts > 0
    usable = np.where(enough[..., None], values, 0.0)  # no median of nothing, which numpy warns of
    medians = np.where(enough, np.nanmedian(usable, axis=-1), 0.0)
    instances = enough.sum(axis=-1)
    means: Array = np.where(instances > 0, medians.sum(axis=-1) / np.maximum(instances, 1), np.nan)
    return means
