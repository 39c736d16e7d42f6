"""From an interval to a word: faster, slower, equivalent, or inconclusive.

With the mean x̄ of log(t / t_baseline) and its half-width s, the margin δ and the run's noise floor φ (how far from 0
the interval of a backend against itself reaches), all as logs, the interval is [l, h] = x̄ ∓ max(s, φ):

    slower        l > δ
    faster        h < -δ
    equivalent    -δ ≤ l and h ≤ δ     (a two-sided 95 % interval inside the margin: a conservative TOST)
    inconclusive  otherwise; never "the same"

No interval is narrower than the floor, and no verdict stronger: what differs by less than a backend differs from itself
has not been seen. A few launches that happen to agree do not know better.
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
    """The verdict on a mean and its half-width; ``margin`` and ``floor`` are ratios less one (0.02 for 2 %)."""
    allowed = _word(at_least(found, floor), margin)
    return Decision(allowed, allowed == "inconclusive" and _word(found, margin) != "inconclusive")


def at_least(found: LogInterval, floor: float) -> LogInterval:
    """The interval, as wide as the noise floor at least."""
    return found._replace(half=max(found.half, math.log1p(floor)))


def _word(found: LogInterval, margin: float) -> Word:
    least = math.log1p(margin)
    if found.low > least:
        return "slower"
    if found.high < -least:
        return "faster"
    if -least <= found.low and found.high <= least:
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
