"""From an interval to a word: faster, slower, equivalent, or inconclusive.

With the mean x̄ of log(t / t_baseline) and its half-width s, the margin δ and the run's noise floor φ (how far from 0
the interval of a backend against itself reaches), all as logs, the interval is [l, h] = x̄ ∓ max(s, φ):

    slower        l > δ
    faster        h < -δ
    equivalent    -δ ≤ l and h ≤ δ     (a two-sided 95 % interval inside the margin: a conservative TOST)
    inconclusive  otherwise; never "the same"

No interval is narrower than the floor, and no verdict stronger: a difference below that of a backend from itself cannot
be observed, even if a few launches happen to agree closely.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

from compare_ag.speed.statistics import LogInterval

Word: TypeAlias = Literal["faster", "slower", "equivalent", "inconclusive"]
MARGIN = 0.02


class Decision(NamedTuple):
    """A verdict, and whether the interval without the noise floor would have decided."""

    verdict: Word
    limited_by_noise_floor: bool


def decide(estimate: LogInterval, margin: float = MARGIN, floor: float = 0.0) -> Decision:
    """The verdict on a mean and its half-width; ``margin`` and ``floor`` are ratios less one (0.02 for 2 %)."""
    allowed = _word(at_least(estimate, floor), margin)
    return Decision(allowed, allowed == "inconclusive" and _word(estimate, margin) != "inconclusive")


def at_least(estimate: LogInterval, floor: float) -> LogInterval:
    """The interval, widened to the noise floor where it is narrower."""
    return estimate._replace(half=max(estimate.half, math.log1p(floor)))


def _word(estimate: LogInterval, margin: float) -> Word:
    least = math.log1p(margin)
    if estimate.low > least:
        return "slower"
    if estimate.high < -least:
        return "faster"
    if -least <= estimate.low and estimate.high <= least:
        return "equivalent"
    return "inconclusive"


def noise_floor(control: LogInterval) -> float:
    """The farther end of the interval of a backend against itself, as ratio less one."""
    return math.expm1(max(abs(control.low), abs(control.high)))


def launches_needed(estimate: LogInterval, margin: float = MARGIN) -> int | None:
    """Launches after which an interval around this mean and spread would decide; None where that cannot be forecast.

    The half-width falls as the square root of the launches, L' = L (half / target)². The target is the distance of
    the mean from the nearer edge of the margin: an interval of that half-width lies inside the margin or outside it.
    Within a twentieth of the edge the mean is too uncertain for such a forecast.
    """
    target = abs(abs(estimate.mean) - math.log1p(margin))
    if not math.isfinite(estimate.half) or target < math.log1p(margin) / 20:
        return None
    return max(estimate.launches + 1, math.ceil(estimate.launches * (estimate.half / target) ** 2 - 1e-9))
