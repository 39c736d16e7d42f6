"""Matrix products of float64 whose rounding error is known and tiny.

Each factor is split into numbers of few bits, on a common grid for each row (of the left factor) or column (of the
right), and a remainder: a = a₁ + a₂ with |a₂| ≤ 2⁻ᵝ max|a| [Ozaki, Ogita, Oishi, Rump: error-free transformations of
matrix multiplication, 2012]. With k terms in a sum and 2β + log₂ k ≤ 53, a₁b₁ is exact in every order of summation,
fused or not; a₁b₂ + a₂b is smaller by 2⁻ᵝ, and so are its rounding errors.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

DIGITS = 53
MOST_TERMS = 1 << 13
"""of one sum: the low part of a longer sum would lose too much"""

UNIT = 2.0**-DIGITS
"""unit roundoff"""

LARGEST = 2.0 ** (1023 - DIGITS)
"""number that can be split on a grid: the bound for larger numbers is infinite"""


def product(a: Array, b: Array) -> tuple[Array, Array]:
    """a b, rounded once, and a bound on the further error of each entry.

    a (…, r, k), b (…, k, c), leading axes as in `numpy.matmul`. The bound is finite only where all numbers are. A sum
    longer than `MOST_TERMS` is the sum of rounded parts.
    """
    terms = a.shape[-1]
    if terms > MOST_TERMS:
        value, lost = product(a[..., :MOST_TERMS], b[..., :MOST_TERMS, :])
        for first in range(MOST_TERMS, terms, MOST_TERMS):
            part, more = product(a[..., first : first + MOST_TERMS], b[..., first : first + MOST_TERMS, :])
            lost = lost + more + 2.0 * UNIT * (np.abs(value) + np.abs(part))  # of the part and of the sum
            value = value + part
        return value, lost
    # β
    bits = (DIGITS - math.ceil(math.log2(max(terms, 1)))) // 2
    top_a, top_b = (
        np.abs(a).max(axis=-1, keepdims=True, initial=0.0),
        np.abs(b).max(axis=-2, keepdims=True, initial=0.0),
    )
    high_a, high_b = _leading(a, top_a, bits), _leading(b, top_b, bits)
    top_a, top_b = (np.where(top <= LARGEST, top, np.inf) for top in (top_a, top_b))
    # two sums of k products, each smaller by 2^(1 - bits) than k top_a top_b, and their sum
    lost = 4.0 * terms * (terms + 2) * 2.0 ** (-bits - DIGITS) * top_a * top_b
    lost += 4.0 * terms * np.finfo(np.float64).tiny
    # a₁b₁ + (a₁b₂ + a₂b)
    return high_a @ high_b + (high_a @ (b - high_b) + (a - high_a) @ b), lost


def _leading(values: Array, top: Array, bits: int) -> Array:
    """``values`` rounded to multiples of 2^(e - bits), 2^e being the power of two from ``top`` upwards."""
    _, exponent = np.frexp(top)
    # adding a number rounds to a multiple of its last digit
    shift = np.ldexp(1.5, np.minimum(exponent + (DIGITS - bits), 1023))
    return np.asarray((values + shift) - shift)
