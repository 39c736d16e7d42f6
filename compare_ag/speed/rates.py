"""How often intervals over launches err: rates over disjoint windows of a long series of launches.

A window of L consecutive launches stands for a run of L launches. The true log-ratio of a backend to itself is 0, so
that an interval of level 95 % may exclude 0 in 5 % of the windows: the false positives. For a backend against a slowed
copy of itself, an interval above 0 detects the slowdown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from compare_ag.speed.pair_verdicts import MARGIN
from compare_ag.speed.statistics import LogInterval, interval
from compare_ag.speed.student import clopper_pearson

NOMINAL = 0.05
"""the share of intervals that may exclude the truth"""


class Rate(NamedTuple):
    """A share of tries with its exact 95 % interval (Clopper & Pearson 1934); 0 to 1 for no tries."""

    hits: int
    tries: int
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> Rate:
        """From the outcome of each try."""
        results = list(outcomes)
        hits = sum(results)
        return cls(hits, len(results), *(clopper_pearson(hits, len(results)) if results else (0.0, 1.0)))

    @property
    def share(self) -> float:
        """The observed share; NaN for no tries."""
        return self.hits / self.tries if self.tries else math.nan


class WindowRates(NamedTuple):
    """The error rates of comparisons of one length."""

    launches: int
    half: float
    """median half-width of the intervals of a backend against itself, as log-ratio; NaN for no window"""
    false_positives: Rate
    """the interval of a backend against itself excludes 0"""
    beyond: Rate
    """that interval lies beyond the margin"""
    found: Rate
    """the interval of the slowed backend lies above 0"""
    wrong_sign: Rate
    """the interval of the slowed backend lies below 0"""


def windows(values: Sequence[float], launches: int) -> list[LogInterval]:
    """The 95 % intervals of the disjoint windows of so many consecutive launches; a shorter last window is left out."""
    return [interval(values[i : i + launches]) for i in range(0, len(values) - launches + 1, launches)]


def window_rates(
    alike: Sequence[Sequence[float]], planted: Sequence[float], launches: int, margin: float = MARGIN
) -> WindowRates:
    """The rates for runs of ``launches`` launches.

    alike: a series of log-ratios for each pair of equal contestants. planted: the slowed backend's; may be empty.
    """
    same = [estimate for series in alike for estimate in windows(series, launches)]
    slow = windows(planted, launches)
    edge = math.log1p(margin)
    halves = sorted(estimate.half for estimate in same)
    return WindowRates(
        launches,
        halves[len(halves) // 2] if halves else math.nan,
        Rate.of(estimate.low > 0 or estimate.high < 0 for estimate in same),
        Rate.of(estimate.low > edge or estimate.high < -edge for estimate in same),
        Rate.of(estimate.low > 0 for estimate in slow),
        Rate.of(estimate.high < 0 for estimate in slow),
    )
