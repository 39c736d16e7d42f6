"""Silent downcasts: are the numbers those of a coarser floating-point format than the requested format?

Four signs, the surest first:

    grid         the wrong numbers are numbers of the coarser format: of all components, of b's alone, …
    products     rounding the factors of the matrix products, as TF32 and bfloat16 units do, predicts the errors
    function     the errors are those of an exponential, a logarithm or a sigmoid that is good to float32 only
    consistent   the errors exceed the tolerance of the requested format, are within that of the coarser format, and
                 have no pattern

The last two are bounds: any error of the right size and place meets them. So they are tried last, and only where
the errors look like rounding errors, which change at random from one point to the next (`_looks_random`). To first
order a tolerance is proportional to u, so that the tolerance of a coarser format is a multiple of the given tolerance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from compare_ag.model.arithmetic import K_EXP, K_SIGMOID
from compare_ag.problem.core import Array
from compare_ag.verify.faults import (
    COMPUTED,
    AnsweredPoint,
    Prediction,
    WrongAnswer,
    WrongAnswers,
    explains_faults,
    wrong_answers,
)


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
"""the finest first: numbers that a finer format explains need no coarser format"""
CHANCE = 24.0
"""bits: numbers of the requested format lie on a coarser grid by chance once in 2^24 times"""
TYPICAL = 1 / 1000
"""errors smaller than this, in units of a format's tolerance, are too small for that format"""
INFORMATIVE = 0.5
"""a tolerance beyond this share of the summed terms is met by any number"""
FLOAT32_RANGE = 87.0
"""a logit beyond which exp(-|z|) is no normal number of float32, and may have no digits there"""
EXPECTED = 1000.0
"""tolerances: a function that may be off by more, where no answer is off, is not the inaccurate function"""
SHARE = 1 / 50
"""the least share of the bound on n errors that do not cancel, times √n: smaller errors have another cause"""
MANY = 8
"""points at which errors of one sign are no accident"""
FEWEST_POINTS = 3
"""at which errors must be known to judge whether they change at random"""
ONE_DIRECTION = 0.95
"""a share of the squares of unit errors beyond which they lie in one direction"""
CLOSE = 2.0**-7
"""a relative distance of weights at which another formula's errors are nearly the same"""
SAME = 0.05
"""of the larger of two errors"""


def round_to(values: Array, digits: int) -> Array:
    """``values`` rounded to nearest even with ``digits`` significant binary digits, whatever their exponent."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, digits)), exponent - digits))


def _coarser(faults: WrongAnswers) -> list[Format]:
    return [kind for kind in FORMATS if kind.u > faults[0].roundoff]


def _within(faults: WrongAnswers, kind: Format, wrong: Array) -> bool:
    """Whether the errors of the components ``wrong`` (q,) have the size of those of ``kind``."""
    largest, telling, numbers = 0.0, 0, len(faults) * int(wrong.sum())
    for fault in faults:
        tolerance = fault.tolerance * (kind.u / fault.roundoff)
        largest = max(largest, fault.in_tolerances(fault.excess) * fault.roundoff / kind.u)
        telling += bool((tolerance <= INFORMATIVE * _volume(fault)).all())
    return TYPICAL <= largest <= 1.0 and 2 * telling >= len(faults) and numbers > 1


def _wrong(faults: WrongAnswers) -> Array:
    """The components (q,) that are out of tolerance somewhere."""
    return np.asarray(np.any([np.abs(fault.excess) > fault.tolerance for fault in faults], axis=0))


def _names(faults: WrongAnswers, wrong: Array) -> str:
    """The wrong quantity, with its wrong components if not all are wrong, as "the gradient of b"."""
    quantity = {"loss": "the loss", "gradient": "the gradient", "update": "the update"}.get(faults[0].kind, "the step")
    size = len(wrong)
    if wrong.all() or size == 1:
        return quantity
    if wrong[:-1].all() and size > 2:
        return f"{quantity} of w"
    return f"{quantity} of {', '.join(faults[0].point.layout.coordinate(int(j)) for j in np.flatnonzero(wrong)[:3])}"


def _looks_random(faults: WrongAnswers, wrong: Array, kind: Format) -> bool:
    """Whether the errors of the components ``wrong`` (q,) change from point to point as rounding errors do.

    Rounding errors have both signs, they do not all lie in one direction, and they differ much at weights that differ
    by little, but by more than an ulp of the format: an error that is a smooth function of the weights comes from
    another formula. False where there are too few points.
    """
    points = {(fault.point.theta.tobytes(), fault.point.examples): fault for fault in faults}
    errors = np.array([(fault.excess / fault.tolerance)[wrong] for fault in points.values()])
    errors = errors[np.isfinite(errors).all(axis=1)]
    if len(errors) < FEWEST_POINTS:
        return False
    negative = np.count_nonzero(errors < 0.0, axis=0)
    one_sign = np.minimum(negative, len(errors) - negative) < max(1, len(errors) // 10)
    if one_sign.all() or (len(errors) >= MANY and one_sign.any()):
        return False
    lengths = np.linalg.norm(errors, axis=1, keepdims=True)
    if errors.shape[1] > 1:
        values = np.linalg.svd(errors / lengths, compute_uv=False)
        if values[0] ** 2 > ONE_DIRECTION * len(errors):
            return False
    return not _is_smooth(list(points.values()), wrong, kind)


def _is_smooth(faults: WrongAnswers, wrong: Array, kind: Format) -> bool:
    """Whether errors at weights that lie close together are nearly the same; False where there are no such weights."""
    close, same = 0, 0
    for fault, neighbour in itertools.combinations(faults, 2):
        a, b = fault.point.theta, neighbour.point.theta
        distance = float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(a)), 1e-300)
        if fault.point.examples == neighbour.point.examples and kind.u < distance < CLOSE:
            first, second = fault.excess[wrong], neighbour.excess[wrong]
            close += 1
            same += bool(np.abs(first - second).max() <= SAME * max(np.abs(first).max(), np.abs(second).max()))
    return 2 * same > close


def _volume(fault: WrongAnswer) -> Array:
    """The sum of the absolute values of the summed terms, (q,)."""
    if fault.kind == "loss":
        return np.array([float((fault.point.losses + np.abs(fault.point.logits)).mean())])
    terms: Array = np.abs(fault.terms).sum(axis=0) + np.abs(fault.penalty)
    if fault.kind != "gradient":
        terms = terms + np.abs(fault.point.theta) / float(fault.point.data.problem.learning_rate)
    return terms


def on_grid(faults: WrongAnswers) -> str | None:
    """Every wrong number is a number of a coarser format, and within that format's rounding of the right number."""
    faults = wrong_answers(faults)
    wrong = _wrong(faults)
    numbers = np.concatenate([fault.observed[wrong] for fault in faults]).astype(np.float64)
    numbers = numbers[numbers != 0.0]
    for kind in reversed(_coarser(faults)):
        chance = numbers.size * (-np.log2(faults[0].roundoff) - kind.digits)
        if chance >= CHANCE and (round_to(numbers, kind.digits) == numbers).all() and _near(faults, kind):
            if wrong.all():
                number = {"loss": "loss", "gradient": "component of the gradient"}.get(faults[0].kind, "new weight")
                return f"consistent with {kind.name}: every {number} is a number of that format"
            return f"{_names(faults, wrong)}, and nothing else, is in {kind.name}"
    return None


def _near(faults: WrongAnswers, kind: Format) -> bool:
    return all(fault.in_tolerances(fault.excess) * fault.roundoff <= COMPUTED * kind.u for fault in faults)


def products(faults: WrongAnswers) -> str | None:
    """Factors of the matrix products rounded forward, backward or both.

    An AD tool may divide the residuals by n before the product; b's gradient may be a part of the product or a separate
    sum.
    """
    ways = list(itertools.product((False, True), repeat=3))
    for kind in _coarser(faults):
        if explains_faults(faults, (_forward(fault, kind) for fault in faults), constants=1):
            return f"consistent with {kind.name}: the factors of the forward matrix product are rounded to it"
        for forward, divided, bias in ways:
            predictions = (_backward(fault, kind, forward, divided, bias) for fault in faults)
            if explains_faults(faults, predictions, constants=1):
                direction = "forward and backward" if forward else "backward"
                return f"consistent with {kind.name}: the factors of the {direction} matrix product are rounded to it"
    return None


def _residual(fault: WrongAnswer, kind: Format, forward: bool) -> Array:
    """r (n,), where the factors of Xw are rounded or are not."""
    point = fault.point
    if not forward:
        return point.residual
    w, b = point.layout.parts(point.theta)
    logits = round_to(point.design[:, :-1], kind.digits) @ round_to(w, kind.digits) + b
    return point.data.objective.residual(logits, point.y)


def _forward(fault: WrongAnswer, kind: Format) -> Prediction:
    point = fault.point
    slope = _residual(fault, kind, forward=True) @ point.design / point.examples
    return Prediction(slope + point.shrinkage - fault.right)


def _backward(fault: WrongAnswer, kind: Format, forward: bool, divided: bool, bias: bool) -> Prediction:
    """The gradient from rounded factors; a residual near the middle of two numbers may be rounded to either."""
    point, r = fault.point, _residual(fault, kind, forward)
    before = float(point.examples) if divided else 1.0
    reach = K_SIGMOID + len(fault.right) / 4.0 * (np.abs(point.design) @ np.abs(point.theta))
    reach = fault.roundoff * reach
    low, middle, high = (round_to((r + shift) / before, kind.digits) * before for shift in (-reach, 0.0, reach))
    coarse = round_to(point.design, kind.digits)
    slope, either = middle @ coarse, np.abs(high - low) @ np.abs(coarse)
    if not bias:
        slope[-1], either[-1] = r.sum(), 0.0
    gradient = slope / point.examples + point.shrinkage
    return Prediction(gradient - fault.right, 1.0 + either / point.examples / fault.tolerance)


def inaccurate_function(faults: WrongAnswers) -> str | None:
    """One function is good to float32 only, and everything else to float64."""
    if faults[0].roundoff >= FLOAT32.u or faults[0].kind == "update":
        return None
    faults = [fault for fault in faults if float(np.abs(fault.point.logits).max()) < FLOAT32_RANGE]
    bad, right = wrong_answers(faults), [fault for fault in faults if not fault.is_wrong]
    if not bad:
        return None
    if sum(len(fault.right) for fault in bad) < 2 or _is_smooth(bad, _wrong(bad), FLOAT32) or _has_one_sign(bad):
        return None
    names: list[str] = []
    for name, bound, everywhere in FUNCTIONS:
        if not right and not everywhere:
            continue  # without right answers it cannot be told from float32 throughout
        shares = [np.abs(f.excess) / (f.tolerance + _reach(f, bound)) for f in bad]
        least = SHARE / np.sqrt(bad[0].point.examples)
        # where large errors are expected, they cannot all be 0 by chance
        refuted = everywhere and any((_reach(f, bound) > EXPECTED * f.tolerance).any() for f in right)
        if least <= np.max(shares) <= 1.0 and not refuted:
            names.append(name)
    if names[:1] == ["an exponential is"] and "the logits are" in names:
        names = ["an exponential or the logits are"]
    return f"{names[0]} good to float32 only, inside float64" if names else None


def _has_one_sign(faults: WrongAnswers) -> bool:
    """Whether the errors of a sum of residuals, or of the loss, all point one way, at `MANY` points or more."""
    signs = {fault.point.theta.tobytes(): bool(fault.excess[-1] > 0.0) for fault in faults}
    positive = sum(signs.values())
    return len(signs) >= MANY and min(positive, len(signs) - positive) < max(1, len(signs) // 10)


def _reach(fault: WrongAnswer, bound: Callable[[AnsweredPoint], tuple[Array, Array]]) -> Array:
    """The largest effect of a function's errors on a fault's numbers, (q,), if no two cancel."""
    losses, residuals = bound(fault.point)
    reach: Array = FLOAT32.u * np.abs(fault.spread(losses, residuals)).sum(axis=0)
    return reach


def _of_exponential(point: AnsweredPoint) -> tuple[Array, Array]:
    """In ℓ and r, in units of u: a relative error ε of e = exp(-|z|) moves r by ε p(1 - p) and ℓ by ε e/(1 + e).

    ε ≤ (κ_exp + |z|) u where the argument is rounded too; exp 0 is 1 in every format. In the probability form -log p
    moves by ε (1 - p).
    """
    p, size = np.abs(point.residual), np.abs(point.logits)
    error = np.where(size > 0.0, K_EXP + size, 0.0)
    e = np.exp(-size)
    share = p if point.data.problem.loss == "probability" else e / (1.0 + e)
    return error * share, error * p * (1.0 - p)


def _of_logarithm(point: AnsweredPoint) -> tuple[Array, Array]:
    """A relative error κ_exp u of log(1 + e), or in the probability form of log p."""
    losses = point.losses - np.maximum(point.wrongness, 0.0)  # softplus(-|z|)
    return K_EXP * (point.losses if point.data.problem.loss == "probability" else losses), 0.0 * losses


def _of_both(point: AnsweredPoint) -> tuple[Array, Array]:
    losses, residuals = _of_exponential(point)
    return losses + _of_logarithm(point)[0], residuals


def _of_sigmoid(point: AnsweredPoint) -> tuple[Array, Array]:
    """A relative error (κ_σ + |z|(1 - p)) u of p = σ(z), which 1 - p inherits in absolute size."""
    p = np.where(point.y == 1.0, 1.0 - np.abs(point.residual), np.abs(point.residual))
    p = np.where(point.logits < 0.0, np.exp(-np.logaddexp(0.0, -point.logits)), p)
    size = np.abs(point.logits)
    error = p * (K_SIGMOID + size * (1.0 - p))
    return 0.0 * size, error


def _of_loss(point: AnsweredPoint) -> tuple[Array, Array]:
    """ℓ as a whole, argument and result rounded; in the probability form by way of p = σ(z)."""
    losses, size = K_EXP * point.losses, np.abs(point.logits)
    if point.data.problem.loss == "probability":
        losses = losses + _of_sigmoid(point)[1] * np.exp(point.losses)
    return losses + size * np.abs(point.residual), 0.0 * size


def _of_logits(point: AnsweredPoint) -> tuple[Array, Array]:
    """|Δz| ≤ m u (|X||w|), and u |z| where the sum is rounded: r moves by p(1 - p) Δz and ℓ by r Δz."""
    w, p = np.abs(point.layout.parts(point.theta)[0]), np.abs(point.residual)
    error = len(point.theta) * (np.abs(point.design[:, :-1]) @ w) + np.abs(point.logits) * bool(w.any())
    return p * error, p * (1.0 - p) * error


FUNCTIONS: tuple[tuple[str, Callable[[AnsweredPoint], tuple[Array, Array]], bool], ...] = (
    ("an exponential is", _of_exponential, True),
    ("a logarithm is", _of_logarithm, True),
    ("an exponential or a logarithm is", _of_both, True),
    ("the logits are", _of_logits, True),
    ("a sigmoid is", _of_sigmoid, False),
    ("a part of the loss is", _of_loss, False),
)
"""the smallest bounds first; and whether an error near the bound is to be expected everywhere: σ(z) may round to 1"""


def consistent(faults: WrongAnswers) -> str | None:
    """Errors without a pattern, of the size that the finest sufficient format would leave."""
    faults = wrong_answers(faults)
    wrong = _wrong(faults)
    for kind in _coarser(faults):
        if _within(faults, kind, wrong):
            if not _looks_random(faults, wrong, kind):
                return None
            which = "" if wrong.all() else f" of {_names(faults, wrong)}"
            return f"consistent with {kind.name}: the errors{which} have its size"
    return None
