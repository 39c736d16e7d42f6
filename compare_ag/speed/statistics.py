"""Statistics over launches. Never a minimum, never pooled samples, no outlier is dropped.

A launch is one set of fresh processes. The ratio of two backends differs from launch to launch by more than the blocks
inside one launch show (address-space layout: 1.3 % per process at 10 µs a step), so that an inference from blocks alone
finds differences between a backend and itself. Hence:

    block      log(t_A / t_B) of one round, both sides from the same weights, next to each other in time
    instance   the median over its undisturbed rounds (`speed.blocks`)
    launch     the mean over its instances: one number, and the unit of replication
    effect     the mean over launches, with Student's t interval

`tests/speed` shows the coverage by simulation, `compare-ag selftest speed` on the user's own machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from compare_ag.speed.student import chi_square_quantile, t_quantile

LEVEL = 0.95


class LogInterval(NamedTuple):
    """A mean of log-ratios over launches and the half-width of its interval; infinite for fewer than two launches."""

    mean: float
    half: float
    launches: int

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half


def interval(values: Sequence[float], level: float = LEVEL) -> LogInterval:
    """Student's t interval of the mean of independent values, one for each launch (at least one)."""
    launches = len(values)
    mean = float(np.mean(values))
    if launches < 2:
        return LogInterval(mean, math.inf, launches)
    error = float(np.std(values, ddof=1)) / math.sqrt(launches)
    return LogInterval(mean, t_quantile((1 + level) / 2, launches - 1) * error, launches)


def simultaneous_level(family: int, level: float = LEVEL) -> float:
    """The level of each of ``family`` intervals so that all hold together with at least ``level`` (Bonferroni)."""
    return 1 - (1 - level) / max(1, family)


def hodges_lehmann(values: Sequence[float]) -> float:
    """Median of all pairwise means: where it leaves the t interval, a few launches carry the mean."""
    array = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(array))
    return float(np.median((array[first] + array[second]) / 2))


def rms_interval(errors: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Root mean square of errors around 0 with its χ² interval: (rms, low, high)."""
    n = len(errors)
    total = float(np.sum(np.square(errors)))
    low, high = (math.sqrt(total / chi_square_quantile(p, n)) for p in ((1 + level) / 2, (1 - level) / 2))
    return math.sqrt(total / n), low, high
