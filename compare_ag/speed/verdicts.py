"""From an interval to a word: faster, slower, equivalent, or inconclusive.

With the interval [l, h] of log(t / t_baseline), the margin δ and the run's noise floor φ (how far from 0 the
interval of a backend against itself reaches), both as logs:

    slower        l > max(δ, φ)
    faster        h < -max(δ, φ)
    equivalent    -δ ≤ l and h ≤ δ and φ ≤ δ     (a two-sided 95 % interval inside the margin: a conservative TOST)
    inconclusive  otherwise; never "the same"

No verdict is stronger than the floor: what differs by less than a backend differs from itself has not been seen.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

from compare_ag.speed.statistics import LogInterval

Word: TypeAlias = Literal["faster", "slower", "equivalent", "inconclusive"]
MARGIN = 0.02


class Decision(NamedTuple):
    """A verdict, and whether the noise floor held back a stronger one."""

    verdict: Word
    held_back: bool


def decide(found: LogInterval, margin: float = MARGIN, floor: float = 0.0) -> Decision:
    """The verdict on an interval; ``margin`` and ``floor`` are ratios less one (0.02 for 2 %)."""
    allowed = _word(found, margin, floor)
    return Decision(allowed, allowed == "inconclusive" and _word(found, margin, 0.0) != "inconclusive")


def _word(found: LogInterval, margin: float, floor: float) -> Word:
    least, noise = math.log1p(margin), math.log1p(floor)
    if found.low > max(least, noise):
        return "slower"
    if found.high < -max(least, noise):
        return "faster"
    if -least <= found.low and found.high <= least and noise <= least:
        return "equivalent"
    return "inconclusive"


def noise_floor(control: LogInterval) -> float:
    """The farther end of the interval of a backend against itself, as ratio less one."""
    return math.expm1(max(abs(control.low), abs(control.high)))


def launches_needed(found: LogInterval, margin: float = MARGIN) -> int | None:
    """Launches after which an interval around this mean and spread would decide; None where no number would.

    The half-width falls as the square root of the launches, L' = L (half / target)². The target is the distance of
    the mean from the nearer edge of the margin: inside, the interval then fits into it, outside, it clears it. Within
    a twentieth of the edge the mean itself is too uncertain for such a forecast.
    """
    target = abs(abs(found.mean) - math.log1p(margin))
    if not math.isfinite(found.half) or target < math.log1p(margin) / 20:
        return None
    return max(found.launches + 1, math.ceil(found.launches * (found.half / target) ** 2 - 1e-9))
