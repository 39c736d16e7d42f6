"""A floating-point format, and what one operation of a correct program may lose in it.

The constants and the elementary bounds that the two kinds of tolerance share: `tolerance`, over a whole trajectory,
and `points`, component by component at one point. Where each constant comes from is derived in `tolerance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compare_ag.problem.core import Array

K_EXP = 8.0
"""4 ulp, in units of u: what vectorised exponentials promise (SLEEF and SVML grade them 1 or 4 ulp)"""
K_SIGMOID = K_EXP + 2.0
K_AD = 8.0
HEADROOM = 4.0
"""Numbers within this factor of the largest one may overflow on a legitimate way to compute them: 2z, or a sum's other
order. Whoever starts near it cannot be told a wrong program from a right one."""
SECOND_ORDER = 1.01
FALSE_ALARM = 1e-9
"""Probability that a correct run violates the one statistical part of a bound anywhere in its verdict."""


@dataclass(frozen=True)
class Arithmetic:
    """A floating-point format and the loss form computed in it."""

    u: float
    """unit roundoff, half the distance from 1 to the next number: 2⁻²⁴ or 2⁻⁵³"""
    tiny: float
    """smallest normal number"""
    top: float
    """what is larger may overflow: the largest number, less `HEADROOM`"""
    probability: bool

    @classmethod
    def of(cls, dtype: str, *, probability: bool) -> Arithmetic:
        """The arithmetic of ``dtype`` for one of the two forms of the loss."""
        info = np.finfo(dtype)
        return cls(float(info.eps) / 2, float(info.tiny), float(info.max) / HEADROOM, probability)

    def invertible(self, value: float) -> bool:
        """Whether 1/value, as in g/(1/η), is a normal number."""
        return value * HEADROOM * self.tiny <= 1.0

    def gamma(self, k: Array) -> Array:
        """γₖ; inf where k terms may lose every digit."""
        ku = np.asarray(k, dtype=np.float64) * self.u
        return np.where(ku < 1.0, ku / np.where(ku < 1.0, 1.0 - ku, 1.0), np.inf)

    def gamma_of_sum(self, k: Array, sums: int) -> Array:
        """Γ: the worst case γₖ, or what ``sums`` sums of k terms exceed with probability `FALSE_ALARM` only."""
        terms = np.asarray(k, dtype=np.float64)
        multiplier = np.sqrt(2.0 * np.log(2.0 * terms * sums / FALSE_ALARM))
        worst = self.gamma(terms)
        return np.minimum(worst, multiplier / np.sqrt(terms) * worst)

    def complement_error(self, highest: Array | float, lowest: Array | float, shift: Array | float) -> Array:
        """ε, the relative error of 1 - p, for logits in [lowest - shift, highest + shift]; inf where p saturates."""
        low = np.asarray(lowest - shift) > 0.5 * math.log(self.tiny)
        # 1/(1-p) = 1 + exp z; no float exponent beyond -log u matters, where ε has passed 1
        top = np.minimum(np.asarray(highest + shift), 1.0 - math.log(self.u))
        error = self.u * (2.0 * (1.0 + np.exp(top)) + K_EXP + 1.0)
        return np.where(low & (error < 1.0), error, np.inf)
