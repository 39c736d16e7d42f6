"""exp, log and log1p as series of a fixed length, without a branch, so that a loop computes eight numbers at a time.

The C library's functions take one number at a time, and a step on many examples then spends most of its time in them.
Each series below ends where its next term is below float64's roundoff, 2⁻⁵³; the errors are at most 2 units in the
last place for exp and log and 4 for log1p. inf and NaN take the way of all numbers: nothing is declared to be finite.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

LN2 = math.log(2)
LN2_HIGH = float.fromhex("0x1.62e42feep-1")
"""ln 2 to 32 bits, so that k times it is exact for |k| < 2²⁰"""
LN2_LOW = 1.9082149292705877e-10
"""ln 2 - LN2_HIGH"""
SHIFTER = 1.5 * 2.0**52
"""added to a number of magnitude below 2⁵¹ it leaves no bits for a fraction: the sum is SHIFTER + the next integer"""
SHIFTER_BITS = int(np.float64(SHIFTER).view(np.int64))
BIAS, FRACTION = 1023, 52
"""2ᵏ is the float64 with the bits (k + BIAS) << FRACTION"""
ROOT_HALF_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
SMALLEST_NORMAL = 2.0**-1022

# Products and sums may be contracted to one fused instruction. Their order stays, as `SHIFTER` relies on it: LLVM keeps
# these flags where it inlines a function into a loop that is compiled with others.
compiled = njit(forceinline=True, fastmath={"contract"}, error_model="numpy")


@compiled
def exp_series(r: Any) -> Any:
    """Σ rʲ/j!, for |r| ≤ ½ ln 2."""
    # fmt: off
    return (
        1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040
        + r * (1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r * (1 / 479001600
        + r * (1 / 6227020800)))))))))))))
    )
    # fmt: on


@compiled
def artanh_series(q: Any) -> Any:
    """2 artanh(t)/t = 2 Σ t²ʲ/(2j + 1) with q = t², for |t| ≤ (√2 - 1)/(√2 + 1) = 0.172."""
    # fmt: off
    return (
        2 + q * (2 / 3 + q * (2 / 5 + q * (2 / 7 + q * (2 / 9 + q * (2 / 11 + q * (2 / 13 + q * (2 / 15 + q * (2 / 17
        + q * (2 / 19 + q * (2 / 21))))))))))
    )
    # fmt: on


@compiled
def long_artanh_series(q: Any) -> Any:
    """The same for |t| ≤ 1/3."""
    # fmt: off
    return (
        2 + q * (2 / 3 + q * (2 / 5 + q * (2 / 7 + q * (2 / 9 + q * (2 / 11 + q * (2 / 13 + q * (2 / 15 + q * (2 / 17
        + q * (2 / 19 + q * (2 / 21 + q * (2 / 23 + q * (2 / 25 + q * (2 / 27 + q * (2 / 29 + q * (2 / 31
        + q * (2 / 33))))))))))))))))
    )
    # fmt: on


@compiled
def exp(x: Any) -> Any:
    """Of any x: eˣ = 2ᵏ eʳ with k = x/ln 2 rounded and r = x - k ln 2.

    2ᵏ is multiplied in two factors, as k reaches from -1076, where the result rounds to 0, to 1587, where it is inf.
    """
    x = -746.0 if x < -746.0 else x  # a comparison with NaN is false: NaN goes on
    x = 1100.0 if x > 1100.0 else x
    shifted = x / LN2 + SHIFTER
    k = shifted - SHIFTER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    power = np.float64(shifted).view(np.int64) - SHIFTER_BITS
    half = power >> 1
    low, high = np.int64((half + BIAS) << FRACTION), np.int64((power - half + BIAS) << FRACTION)
    return exp_series(r) * low.view(np.float64) * high.view(np.float64)


@compiled
def log1p(e: Any) -> Any:
    """Of 0 ≤ e ≤ 1: log(1 + e) = 2 artanh(t) with t = e/(2 + e), which is at most 1/3 and loses no digit of e."""
    t = e / (2 + e)
    return t * long_artanh_series(t * t)


@compiled
def log(x: Any) -> Any:
    """Of x ≤ 1: with x = 2ᵏ m, √½ ≤ m < √2, log x = k ln 2 + 2 artanh(t), t = (m - 1)/(m + 1).

    -inf at 0; NaN below, and for NaN.
    """
    subnormal = x < SMALLEST_NORMAL
    bits = np.float64(x * 2.0**54 if subnormal else x).view(np.int64)
    k = (bits - ROOT_HALF_BITS) >> FRACTION
    m = np.int64(bits - (k << FRACTION)).view(np.float64)
    t = (m - 1) / (m + 1)
    power = np.float64(k - 54 if subnormal else k)
    value = power * LN2_HIGH + (t * artanh_series(t * t) + power * LN2_LOW)
    return value if x > 0 else (-np.inf if x == 0 else np.nan)
