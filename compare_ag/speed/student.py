"""Quantiles of the distributions that the intervals rest on, from the regularised incomplete beta function.

    Student's t   P(|T| > t) = I_x(ν/2, 1/2),  x = ν / (ν + t²)
    binomial      Clopper & Pearson, Biometrika 26 (1934): quantiles of Beta(k, n-k+1) and Beta(k+1, n-k)
    χ²            P(X ≤ x) by the regularised lower incomplete gamma function

The functions are python-flint's, at double precision; the inverses are bisections of monotone functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from flint import arb

__all__ = ["chi_square_quantile", "clopper_pearson", "t_quantile"]

_HALVINGS = 200
"""more than double precision can distinguish"""


def _solve(rising: Callable[[float], float], target: float, low: float, high: float) -> float:
    """The x in [low, high] at which a rising function reaches ``target``."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the distribution function of Beta(a, b)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    # of two equal forms the one whose argument is small: the other loses digits to cancellation
    if x > (a + 1) / (a + b + 2):
        return 1.0 - float(arb(1 - x).beta_lower(b, a, 1).mid())
    return float(arb(x).beta_lower(a, b, 1).mid())


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: int) -> float:
    """The value below which Student's t with ``df`` ≥ 1 degrees of freedom lies with probability 1/2 ≤ p < 1."""
    if not 0.5 <= p < 1.0 or df < 1:
        raise ValueError(f"t_quantile({p}, {df}): p must be in [0.5, 1) and df at least 1")
    tails = 2 * (1 - p)
    share = _solve(lambda x: _beta(x, df / 2, 0.5), tails, 0.0, 1.0)
    return math.sqrt(df * (1 - share) / share)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval for a probability, from ``successes`` in ``trials`` ≥ 1 independent tries."""
    tail = (1 - level) / 2
    k, n = successes, trials
    low = 0.0 if k == 0 else _solve(lambda p: _beta(p, k, n - k + 1), tail, 0.0, 1.0)
    high = 1.0 if k == n else _solve(lambda p: _beta(p, k + 1, n - k), 1 - tail, 0.0, 1.0)
    return low, high


@lru_cache(maxsize=1024)
def chi_square_quantile(p: float, df: int) -> float:
    """The value below which χ² with ``df`` ≥ 1 degrees of freedom lies with probability 0 < p < 1."""
    half = arb(df) / 2
    return _solve(lambda x: float(arb(x / 2).gamma_lower(half, 1).mid()), p, 0.0, df + 40 * math.sqrt(2 * df) + 40)
