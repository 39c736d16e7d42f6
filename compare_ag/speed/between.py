"""Was a backend as fast in one run as in another? The launches of run A against those of run B.

Launches are independent processes, so that those of two runs are two independent samples of log time per step, of
unequal sizes and spreads: Welch's interval for the difference of their means (Biometrika 34, 1947),

    d = mean(b) − mean(a),   s² = s_a²/n_a + s_b²/n_b,   d ± t(ν) s,
    ν = s⁴ / ((s_a²/n_a)²/(n_a − 1) + (s_b²/n_b)²/(n_b − 1))        (Satterthwaite 1946), rounded down

with exp(d) the ratio of the times. The unit of replication is the launch, so the interval covers differences from
process to process. It does not cover a common factor m of each run (clock frequency, heat, neighbours), which no number
of launches averages out. Where both runs timed an unchanged backend, the yardstick c, the factor cancels: in launch i
all backends took turns within milliseconds, so that with log t = backend + log m(i) + noise

    D_i = log t_i − log t_c,i       (`launch_log_ratio`: block by block, from the same weights)

does not contain m, and Welch's interval of D between the runs estimates the backend's change relative to the
yardstick's. This assumes that m multiplies both times alike, which a neighbour that takes memory bandwidth does not
quite do. Hence the noise floors: each run's D may be off by as much as its baseline differed from itself, at worst in
opposite directions, (1 + φ_a)(1 + φ_b) − 1 in all. `speed.pair_verdicts.decide` turns interval, threshold and floor
into words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compare_ag.speed.statistics import LEVEL, LogInterval
from compare_ag.speed.student import t_quantile


def between(before: Sequence[float], after: Sequence[float], level: float = LEVEL) -> LogInterval:
    """Welch's interval of mean(after) − mean(before), values of independent launches (at least one each).

    Its ``launches`` are those of the shorter run; the half-width is infinite where a run has fewer than two.
    """
    sizes = len(before), len(after)
    mean = float(np.mean(after)) - float(np.mean(before))
    if min(sizes) < 2:
        return LogInterval(mean, math.inf, min(sizes))
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (before, after)]
    variance = sum(parts)  # s²
    if variance == 0:
        return LogInterval(mean, 0.0, min(sizes))
    shares = sum((part / variance) ** 2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    # ν
    freedom = max(1, int(1 / shares + 1e-9))
    return LogInterval(mean, t_quantile((1 + level) / 2, freedom) * math.sqrt(variance), min(sizes))


def joint_floor(*floors: float | None) -> float:
    """The largest joint effect of several runs' noise floors, as ratio less one; infinite where a floor is unknown."""
    if any(floor is None for floor in floors):
        return math.inf
    return math.expm1(sum(math.log1p(floor) for floor in floors if floor is not None))
