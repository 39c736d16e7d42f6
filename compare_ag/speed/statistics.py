"""Statistics over the rounds of one run. Never a minimum, never pooled samples, no outlier is dropped.

One launch per backend tells how much the rounds vary, not how much the next launch would: the quartiles here
describe spread and are no confidence interval.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Quartiles(NamedTuple):
    """Median and the quartiles around it."""

    median: float
    low: float
    high: float


def quartiles(values: ArrayLike) -> Quartiles:
    """Median, lower and upper quartile of at least one value."""
    low, median, high = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75])
    return Quartiles(float(median), float(low), float(high))


def per_step(wall_ns: ArrayLike, steps: int) -> Quartiles:
    """Seconds per step from the bursts' nanoseconds (rounds,)."""
    return quartiles(np.asarray(wall_ns, dtype=np.float64) / steps * 1e-9)


def paired_ratio(wall_ns: ArrayLike, baseline_ns: ArrayLike) -> Quartiles:
    """Ratio to the baseline, round by round (both (rounds,)): exp of the quartiles of the log-ratios.

    Bursts of one round share weights and moment, so what disturbs the machine for a while cancels.
    """
    log_ratio = np.log(np.asarray(wall_ns, dtype=np.float64)) - np.log(np.asarray(baseline_ns, dtype=np.float64))
    return Quartiles(*np.exp(quartiles(log_ratio)).tolist())
