"""Silent downcasts: are the numbers those of a coarser floating-point format than the one asked for?

Four signs, the surest first:

    grid         every reported number is a number of the coarser format
    products     rounding the factors of the matrix products, as TF32 and bfloat16 units do, predicts the errors
    exponential  the errors are those of an exponential that is good to float32 only, all else being float64
    consistent   the errors are larger than the format asked for allows, and within what the coarser one does

The last one says no more than its name: any error of the right size meets it. To first order a tolerance is
proportional to u, so that the tolerance of the coarser format is a multiple of the one at hand.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from compare_ag.problem.core import Array
from compare_ag.verify.arithmetic import K_EXP, K_SIGMOID
from compare_ag.verify.faults import COMPUTED, Fault, Faults, Prediction, explained


class Format(NamedTuple):
    """A binary floating-point format."""

    name: str
    digits: int
    """of the significand, the hidden one included: u = 2^-digits"""

    @property
    def u(self) -> float:
        """Unit roundoff."""
        return 2.0**-self.digits


FLOAT32 = Format("float32", 24)
FORMATS = (FLOAT32, Format("TF32 or float16 (11 significant bits)", 11), Format("bfloat16 (8 significant bits)", 8))
"""the finest first: what a finer one explains needs no coarser one"""
TYPICAL = 1 / 1000
"""errors smaller than this, in units of a format's tolerance, are too small for that format"""
INFORMATIVE = 0.5
"""a tolerance beyond this share of the terms that were summed is met by anything"""


def rounded(values: Array, digits: int) -> Array:
    """``values`` rounded to nearest even with ``digits`` significant binary digits, whatever their exponent."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, digits)), exponent - digits))


def _coarser(faults: Faults) -> list[Format]:
    return [kind for kind in FORMATS if kind.u > faults[0].roundoff]


def _within(faults: Faults, kind: Format) -> bool:
    """Whether the errors have the size of ``kind``'s, where that can be told from any other size."""
    largest, telling, numbers = 0.0, 0, len(faults) * len(faults[0].right)
    for fault in faults:
        tolerance = fault.tolerance * (kind.u / fault.roundoff)
        largest = max(largest, fault.in_tolerances(fault.excess) * fault.roundoff / kind.u)
        telling += bool((tolerance <= INFORMATIVE * _volume(fault)).all())
    return TYPICAL <= largest <= 1.0 and 2 * telling >= len(faults) and numbers > 1


def _volume(fault: Fault) -> Array:
    """The sum of the sizes of what is summed, (q,)."""
    if fault.kind == "loss":
        return np.array([float((fault.point.losses + np.abs(fault.point.logits)).mean())])
    terms: Array = np.abs(fault.terms).sum(axis=0) + np.abs(fault.penalty)
    if fault.kind != "gradient":
        terms = terms + np.abs(fault.point.theta) / float(fault.point.data.problem.learning_rate)
    return terms


def on_grid(faults: Faults) -> str | None:
    """Every reported number is a number of a coarser format, and as near as that format comes."""
    numbers = np.concatenate([fault.observed for fault in faults]).astype(np.float64)
    numbers = numbers[numbers != 0.0]
    for kind in reversed(_coarser(faults)):
        if numbers.size > 1 and (rounded(numbers, kind.digits) == numbers).all() and _near(faults, kind):
            what = {"loss": "loss", "gradient": "component of the gradient"}.get(faults[0].kind, "new weight")
            return f"consistent with {kind.name}: every {what} is a number of that format"
    return None


def _near(faults: Faults, kind: Format) -> bool:
    return all(fault.in_tolerances(fault.excess) * fault.roundoff <= COMPUTED * kind.u for fault in faults)


def products(faults: Faults) -> str | None:
    """Factors of the matrix products rounded forward, backward or both.

    An AD tool may divide the residuals by n before, and b's gradient may be a part of the product or a sum of its own.
    """
    ways = list(itertools.product((False, True), repeat=3))
    for kind in _coarser(faults):
        if explained(faults, (_forward(fault, kind) for fault in faults), constants=1):
            return f"consistent with {kind.name}: the factors of the forward matrix product are rounded to it"
        for forward, divided, bias in ways:
            predictions = (_backward(fault, kind, forward, divided, bias) for fault in faults)
            if explained(faults, predictions, constants=1):
                where = "forward and backward" if forward else "backward"
                return f"consistent with {kind.name}: the factors of the {where} matrix product are rounded to it"
    return None


def _residual(fault: Fault, kind: Format, forward: bool) -> Array:
    """r (n,), where the factors of Xw are rounded or are not."""
    point = fault.point
    if not forward:
        return point.residual
    logits = rounded(point.design[:, :-1], kind.digits) @ rounded(point.theta[:-1], kind.digits) + point.theta[-1]
    sign, decay = 1.0 - 2.0 * point.y, np.exp(-np.abs(logits))
    return np.asarray(sign * np.where(sign * logits >= 0, 1.0, decay) / (1.0 + decay))


def _forward(fault: Fault, kind: Format) -> Prediction:
    point = fault.point
    slope = _residual(fault, kind, forward=True) @ point.design / point.examples
    return Prediction(slope + point.shrinkage - fault.right)


def _backward(fault: Fault, kind: Format, forward: bool, divided: bool, bias: bool) -> Prediction:
    """The gradient from rounded factors; a residual near the middle of two numbers may go to either."""
    point, r = fault.point, _residual(fault, kind, forward)
    before = float(point.examples) if divided else 1.0
    reach = K_SIGMOID + len(fault.right) / 4.0 * (np.abs(point.design) @ np.abs(point.theta))
    reach = fault.roundoff * reach
    low, middle, high = (rounded((r + shift) / before, kind.digits) * before for shift in (-reach, 0.0, reach))
    coarse = rounded(point.design, kind.digits)
    slope, either = middle @ coarse, np.abs(high - low) @ np.abs(coarse)
    if not bias:
        slope[-1], either[-1] = r.sum(), 0.0
    gradient = slope / point.examples + point.shrinkage
    return Prediction(gradient - fault.right, 1.0 + either / point.examples / fault.tolerance)


def exponential(faults: Faults) -> str | None:
    """|Δr| ≤ κ_exp u₃₂ p(1 - p), and nothing else is worse than the format asked for."""
    if faults[0].roundoff >= FLOAT32.u:
        return None
    for fault in faults:
        p = np.abs(fault.point.residual)
        if fault.kind == "loss":
            # an exponential e = exp(-|z|) in log(1 + e), and the logarithm itself
            e = np.exp(-np.abs(fault.point.logits))
            reach = np.array([(e / (1.0 + e) + np.log1p(e)).mean()])
        else:
            reach = (p * (1.0 - p)) @ np.abs(fault.point.design) / fault.point.examples
        if not (np.abs(fault.excess) <= fault.tolerance + K_EXP * FLOAT32.u * reach).all():
            return None
    if not _within(faults, FLOAT32):
        return None
    return "consistent with an exponential or logarithm that is good to float32 only"


def consistent(faults: Faults) -> str | None:
    """Errors of the size that the finest sufficient format would leave."""
    kind = next((kind for kind in _coarser(faults) if _within(faults, kind)), None)
    return f"consistent with {kind.name}: the errors have its size" if kind else None
