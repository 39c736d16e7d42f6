"""A floating-point format, and the largest error of a program's operation in it.

The same rules bound two kinds of program. Of a backend only the format is known: it may use any order of summation, any
route to the same function, with or without fused multiply-add (`Arithmetic`). Of this project's own float64 readings
every operation is known, and sums of products are error-free in their leading part (`Known`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from compare_ag.model.products import product

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

K_EXP = 8.0
"""4 ulp, in units of u: the error of vectorised exponentials and logarithms (SLEEF and SVML grade them 1 or 4 ulp)"""
K_SIGMOID = K_EXP + 2.0
"""an exponential, a sum and a quotient"""
K_AD = 8.0
"""elementary operations that an AD tool's chain of products may add"""
HEADROOM = 4.0
"""Numbers within this factor of the largest number may overflow on a legitimate way to compute them: 2z, or a sum in
another order. So near the largest number a wrong program cannot be told from a right program."""
EXTENDED_DIGITS = 64
"""binary digits of an 80-bit number"""
SECOND_ORDER = 1.01
"""a factor for products of two rounding errors, and for rounding errors of the bounds themselves"""
FALSE_ALARM = 1e-9
"""Probability that a correct run violates the statistical part of a bound anywhere in its verdict."""


@dataclass(frozen=True)
class Arithmetic:
    """Any correct program in a format.

    The functions' errors are those of the least accurate way in which people write them; `rules` distinguish absolute
    and relative parts of an error.
    """

    u: float
    """unit roundoff, half the distance from 1 to the next number: 2⁻²⁴ or 2⁻⁵³"""
    tiny: float
    """smallest normal number: the largest loss of an operation to underflow"""
    top: float
    """the largest number divided by `HEADROOM`: larger numbers may overflow"""
    sums: int = 1
    """the sums over the examples that decide a verdict, for its false-alarm probability"""

    @classmethod
    def of(cls, dtype: str, sums: int = 1) -> Arithmetic:
        """The arithmetic of ``dtype``."""
        info = np.finfo(dtype)
        return cls(float(info.eps) / 2, float(info.tiny), float(info.max) / HEADROOM, sums)

    def invertible(self, value: float) -> bool:
        """Whether 1/value, as in g/(1/η), is a normal number."""
        return value * HEADROOM * self.tiny <= 1.0

    def gamma(self, k: Array | float) -> Array:
        """γₖ = ku/(1 - ku); inf where k terms may lose every digit."""
        ku = np.asarray(k, dtype=np.float64) * self.u
        return np.where(ku < 1.0, ku / np.where(ku < 1.0, 1.0 - ku, 1.0), np.inf)

    def gamma_of_sum(self, k: Array | float, sums: int | None = None) -> Array:
        """Γ: the worst case γₖ, or the bound that the verdict's sums of k terms exceed with probability `FALSE_ALARM`.

        λ√k u with probability 1 - 2k exp(-λ²/2) for each, if the roundings inside one sum are mean-independent [Higham
        and Mary 2019].
        """
        terms = np.asarray(k, dtype=np.float64)
        # λ from 2k exp(-λ²/2) · sums = FALSE_ALARM
        multiplier = np.sqrt(2.0 * np.log(2.0 * terms * (sums or self.sums) / FALSE_ALARM))
        worst = self.gamma(terms)
        # λ√k u/(1 - ku) = λγₖ/√k
        return np.minimum(worst, multiplier / np.sqrt(terms) * worst)

    # --- errors of operations, beside those of their arguments --------------------------------------------

    def product(self, a: Array, b: Array, terms: int | None) -> tuple[Array, Array | float, Array | float]:
        """The matrix product a b, each entry a sum of so many terms: its value, its rounding error, and |a||b|.

        terms: None where the sum goes on, and `long_sum` bounds its rounding error.
        """
        size = np.abs(a) @ np.abs(b)
        rounding = 0.0 if terms is None else float(self.gamma(float(terms))) * size + terms * self.tiny
        return a @ b, rounding, size

    def long_sum(self, examples: int, size: Array | float) -> Array | float:
        """The error of a sum over the examples with Σ|terms| = ``size``, and of its division by their number."""
        return float(self.gamma_of_sum(examples + 2.0)) * size + (examples + 4.0) * self.tiny

    def softplus(self, loss: Array, size: Array) -> Array:
        """The error of softplus(s), |s| ≤ ``size``; max(s, 0) may be split as in softplus(z) - yz, and cancel."""
        return (K_EXP + 4.0) * self.u * (loss + 2.0 * size)

    def sigmoid(self, value: Array) -> Array:
        """The error of σ(s): absolute, because (1 + tanh(s/2))/2, and p - 1, lose digits where σ is small."""
        return K_SIGMOID * self.u + self.u * value

    def route(self, size: Array | float) -> Array | float:
        """The error that an AD tool's chain of products adds to terms of this size."""
        return K_AD * self.u * size


class Known(Arithmetic):
    """The float64 operations of `rules` by numpy in this process, in the order in which they stand there."""

    dtype: ClassVar[type[np.floating[Any]]] = np.float64
    """of the numbers in the computation"""

    @classmethod
    def here(cls) -> Known:
        """The arithmetic of this process."""
        info = np.finfo(np.float64)
        return cls(float(info.eps) / 2, float(info.tiny), float(info.max) / HEADROOM)

    def product(self, a: Array, b: Array, _: int | None) -> tuple[Array, Array | float, Array | float]:
        """The product with an error in the result's last digit, and size 0."""
        value, lost = product(a, b)
        return value, self.u * np.abs(value) + lost, 0.0

    def long_sum(self, _: int, size: Array | float) -> Array | float:
        """0: partial sums are added with their errors."""
        return 0.0 * size

    def softplus(self, loss: Array, _: Array) -> Array:
        """max(s, 0) + log1p(e), e = exp(-|s|), is off by κ_exp u (e/(1 + e) + log1p(e)) ≤ 2 κ_exp u log1p(e)."""
        return (2.0 * K_EXP + 2.0) * self.u * loss + self.tiny

    def sigmoid(self, value: Array) -> Array:
        """1/(1 + exp(-s)): the exponential is off by κ_exp u of itself, and the value by κ_exp u p (1 - p)."""
        return self.u * value * (K_EXP * (1.0 - value) + 2.0) + self.tiny

    def route(self, size: Array | float) -> Array | float:
        """0: the route is known."""
        return 0.0 * size


class Extended(Known):
    """The same operations in 80-bit numbers of 64 digits, the `long double` of some machines.

    They take a thirtieth of the time of balls and have eleven digits more than float64, enough to bound float64's loss.
    """

    dtype = np.longdouble

    @classmethod
    def available(cls) -> bool:
        """Whether this machine has them."""
        return np.finfo(np.longdouble).nmant == EXTENDED_DIGITS - 1

    @classmethod
    def here(cls) -> Extended:
        """The arithmetic of this process; overflow and underflow are those of float64, the format of the results."""
        info = np.finfo(np.float64)
        return cls(2.0**-EXTENDED_DIGITS, float(info.tiny), float(info.max) / HEADROOM)

    def product(self, a: Array, b: Array, _: int | None) -> tuple[Array, Array | float, Array | float]:
        """The product with the error γₖ|a||b| of sums of k products in any order."""
        terms = a.shape[-1]
        size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
        return a @ b, SECOND_ORDER * float(self.gamma(float(terms))) * size + terms * self.tiny, 0.0
