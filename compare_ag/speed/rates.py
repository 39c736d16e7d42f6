"""How often intervals over launches err: rates over disjoint windows of a long series of launches.

A window of L consecutive launches is what a run of L launches would have seen. Of a backend against itself the true
log-ratio is 0, so that an interval of level 95 % may exclude 0 in 5 % of the windows: the false positives. Of a backend
against itself made slower, an interval above 0 has found the slowdown.
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
    """A share of tries with its exact 95 % interval (Clopper & Pearson 1934); 0 to 1 for no tries at all."""

    hits: int
    tries: int
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> Rate:
        """From the outcome of each try."""
        said = list(outcomes)
        hits = sum(said)
        return cls(hits, len(said), *(clopper_pearson(hits, len(said)) if said else (0.0, 1.0)))

    @property
    def share(self) -> float:
        """The observed share; NaN for no tries."""
        return self.hits / self.tries if self.tries else math.nan


class WindowRates(NamedTuple):
    """What comparisons of one length say."""

    launches: int
    half: float
    """median half-width of the intervals of a backend against itself, as log-ratio; NaN for no window"""
    false_positives: Rate
    """the interval of a backend against itself excludes 0"""
    beyond: Rate
    """it even lies beyond the margin"""
    found: Rate
    """the interval of the slowed backend lies above 0"""
    wrong_sign: Rate
    """it lies below 0"""


def windows(values: Sequence[float], launches: int) -> list[LogInterval]:
    """The 95 % intervals of the disjoint windows of so many consecutive launches; a rest is left out."""
    return [interval(values[i : i + launches]) for i in range(0, len(values) - launches + 1, launches)]


def window_rates(
    alike: Sequence[Sequence[float]], planted: Sequence[float], launches: int, margin: float = MARGIN
) -> WindowRates:
    """The rates at one length.

    alike: one series of log-ratios for each pair of equal contestants. planted: the slowed backend's; may be empty.
    """
    same = [found for series in alike for found in windows(series, launches)]
    slow = windows(planted, launches)
    edge = math.log1p(margin)
    halves = sorted(found.half for found in same)
    return WindowRates(
        launches,
        halves[len(halves) // 2] if halves else math.nan,
        Rate.of(found.low > 0 or found.high < 0 for found in same),
        Rate.of(found.low > edge or found.high < -edge for found in same),
        Rate.of(found.low > 0 for found in slow),
        Rate.of(found.high < 0 for found in slow),
    )
