"""Checks without any reference: relations that a backend's own answers must satisfy among each other.

Each asks the same backend about a problem and about a changed problem whose answer follows from the first. Rounding may
put the sum of both point tolerances (`points`) between the two. A relation needs only the backend's own answers. It
cannot see an error that has the relation's own symmetry; therefore there are several relations.

    row permutation      the mean does not depend on the order of examples
    duplication          every example twice leaves the mean unchanged
    additivity           n₁g₁ + n₂g₂ = ng over two parts of the data
    label mirror         y → 1 - y with θ → -θ keeps f and changes the sign of ∇f
    zero column          a feature that is 0 has the gradient 0 (w = 0 there)
    zero weights         ∇f(0) = X̃ᵀ(½ - y)/n
    feature scaling      a feature twice as large, of weight 0, has twice the gradient
    affine in l2         ∇f(θ; a) - 2∇f(θ; 2a) + ∇f(θ; 3a) = 0, and consecutive ones differ by a (w, 0)
    large logits         the logits form stays finite at |z| = 800
    Taylor               f(θ + hv) - f(θ) - h ∇f·v falls like h²
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.points import PointTolerance, point_tolerance

Answer: TypeAlias = Literal["correct", "wrong", "undecidable"]


class PointValues(NamedTuple):
    """A backend's answers at P points, in the tested dtype."""

    loss: Array
    """(P,)"""
    gradient: Array
    """(P, m), in the order of `Problem.layout`"""


Ask: TypeAlias = Callable[[Array, Array, Array], PointValues]
"""(X (n', d), y (n',), weights (P, m)) -> its answers; n' is at most the problem's n"""


class RelationResult(NamedTuple):
    """The result of one relation."""

    answer: Answer
    message: str
    """a clause for people"""
    ratio: float
    """observed/tolerance, or for Taylor's remainder the required over the observed order"""


@dataclass(frozen=True)
class _RelationCase:
    """One point of one problem, and the backend's answers as functions."""

    problem: Problem
    weights: Array
    ask: Ask
    ask_l2: Callable[[float], Ask]

    def tolerance(self, X: Array, y: Array, weights: Array) -> PointTolerance:
        return point_tolerance(replace(self.problem, X=X, y=y), weights)


Relation: TypeAlias = Callable[[_RelationCase], RelationResult]


def check_relation(
    name: str, problem: Problem, weights: Array, ask: Ask, ask_l2: Callable[[float], Ask] | None = None
) -> RelationResult:
    """Check one relation of `RELATIONS` at ``weights`` (m,), in the problem's dtype.

    ask_l2: gives an `Ask` prepared with another strength of the penalty; without it `affine-in-l2` is undecidable.
    """

    def refuse(_: float) -> Ask:
        raise _UndecidableError("no backend with another l2 at hand")

    case = _RelationCase(problem, np.asarray(weights, problem.dtype), ask, ask_l2 or refuse)
    try:
        with np.errstate(all="ignore"):
            return RELATIONS[name](case)
    except _UndecidableError as reason:
        return RelationResult("undecidable", str(reason), 0.0)


class _UndecidableError(Exception):
    """Rounding hides the answer at this point; the message says why."""


def _compare(pairs: list[tuple[str, Array, Array, Array]]) -> RelationResult:
    """The worst of (name, observed, expected, tolerance), a number that is not finite deviating by infinitely much."""
    worst, message = 0.0, ""
    for name, observed, expected, tolerance in pairs:
        if not np.isfinite(tolerance).all():
            raise _UndecidableError(f"the tolerance of {name} is infinite: the probability form saturates")
        numbers = np.asarray(observed, dtype=np.float64)
        deviation = np.where(np.isfinite(numbers), np.abs(numbers - np.asarray(expected, dtype=np.float64)), np.inf)
        deviation = np.where(np.isnan(deviation), np.inf, deviation)
        ratios = np.where(deviation == 0.0, 0.0, deviation / tolerance)
        ratio = float(ratios.max())
        if ratio >= worst:
            worst, message = ratio, f"{name} is off by {float(deviation.flat[int(ratios.argmax())]):.2g}"
    verdict: Answer = "correct" if worst <= 1.0 else "wrong"
    if not worst:
        return RelationResult(verdict, "it holds exactly", 0.0)
    return RelationResult(verdict, f"{message}, {worst:.2g} times what rounding allows", worst)


def _same_everywhere(case: _RelationCase, X: Array, y: Array, weights: Array, sign: float = 1.0) -> RelationResult:
    """The problem (X, y) at ``weights`` must have the case's own loss, and ``sign`` times its gradient."""
    p = case.problem
    own = case.ask(p.X, p.y, case.weights[None])
    changed = case.ask(X, y, weights[None])
    allowed = [case.tolerance(p.X, p.y, case.weights), case.tolerance(X, y, weights)]
    return _compare(
        [
            ("the loss", changed.loss[0], own.loss[0], np.asarray(sum(a.loss for a in allowed))),
            ("the gradient", changed.gradient[0], sign * own.gradient[0], np.asarray(sum(a.gradient for a in allowed))),
        ]
    )


def _row_permutation(case: _RelationCase) -> RelationResult:
    order = np.random.default_rng(1).permutation(case.problem.examples)
    return _same_everywhere(case, case.problem.X[order], case.problem.y[order], case.weights)


def _duplication(case: _RelationCase) -> RelationResult:
    half = case.problem.examples // 2
    if not half:
        raise _UndecidableError("one example cannot be duplicated within the data's size")
    X, y = case.problem.X[:half], case.problem.y[:half]
    inner = replace(case, problem=replace(case.problem, X=X, y=y))
    return _same_everywhere(inner, np.concatenate([X, X]), np.concatenate([y, y]), case.weights)


def _label_mirror(case: _RelationCase) -> RelationResult:
    y = np.asarray(1 - case.problem.y, case.problem.dtype)
    return _same_everywhere(case, case.problem.X, y, -case.weights, sign=-1.0)


def _additivity(case: _RelationCase) -> RelationResult:
    p, n = case.problem, case.problem.examples
    cut = n // 3
    if not cut:
        raise _UndecidableError("too few examples to cut in two")
    parts = [(p.X, p.y), (p.X[:cut], p.y[:cut]), (p.X[cut:], p.y[cut:])]
    whole, first, second = (case.ask(X, y, case.weights[None]) for X, y in parts)
    allowed = [case.tolerance(X, y, case.weights) for X, y in parts]
    shares = cut / n, 1 - cut / n  # n₁/n and n₂/n

    def mix(first_part: Array, second_part: Array) -> Array:
        return np.asarray(shares[0] * first_part.astype(np.float64) + shares[1] * second_part.astype(np.float64))

    slack = 4.0 * np.finfo(np.float64).eps  # of the mixing itself
    loss, gradient = mix(first.loss[0], second.loss[0]), mix(first.gradient[0], second.gradient[0])
    return _compare(
        [
            (
                "the loss",
                loss,
                whole.loss[0],
                np.asarray(sum(a.loss for a in allowed) + slack * abs(float(np.nan_to_num(loss)))),
            ),
            (
                "the gradient",
                gradient,
                whole.gradient[0],
                sum(a.gradient for a in allowed) + slack * np.abs(np.nan_to_num(gradient)),
            ),
        ]
    )


def _zero_column(case: _RelationCase) -> RelationResult:
    X, weights = case.problem.X.copy(), case.weights.copy()
    X[:, 0] = 0
    weights[0] = 0
    answer = case.ask(X, case.problem.y, weights[None])
    return _compare(
        [("the gradient of a feature that is 0 everywhere", answer.gradient[0, 0], np.zeros(()), np.zeros(()))]
    )


def _zero_weights(case: _RelationCase) -> RelationResult:
    p, weights = case.problem, np.zeros_like(case.weights)
    answer = case.ask(p.X, p.y, weights[None])
    # ∇f(0) = X̃ᵀ(½ - y)/n and f(0) = log 2
    halves = 0.5 - p.y.astype(np.float64)
    columns = [*p.X.T.astype(np.float64), np.ones(p.examples)]
    expected = np.array([math.fsum((column * halves).tolist()) / p.examples for column in columns])
    allowed = case.tolerance(p.X, p.y, weights)
    return _compare(
        [
            ("the gradient at zero weights", answer.gradient[0], expected, allowed.gradient),
            ("the loss at zero weights", answer.loss[0], np.asarray(math.log(2.0)), np.asarray(allowed.loss)),
        ]
    )


def _feature_scaling(case: _RelationCase) -> RelationResult:
    p, weights, X = case.problem, case.weights.copy(), case.problem.X.copy()
    weights[0] = 0
    X[:, 0] *= 2
    own, changed = case.ask(p.X, p.y, weights[None]), case.ask(X, p.y, weights[None])
    factor = np.ones(len(weights))
    factor[0] = 2.0
    allowed = factor * case.tolerance(p.X, p.y, weights).gradient + case.tolerance(X, p.y, weights).gradient
    return _compare([("the gradient", changed.gradient[0], factor * own.gradient[0].astype(np.float64), allowed)])


def _affine_in_l2(case: _RelationCase) -> RelationResult:
    p, strengths = case.problem, (0.25, 0.5, 0.75)
    answers = [case.ask_l2(a)(p.X, p.y, case.weights[None]).gradient[0].astype(np.float64) for a in strengths]
    allowed = [point_tolerance(replace(p, l2=a), case.weights).gradient for a in strengths]
    # a (w, 0), by which ∇f(θ; 2a) exceeds ∇f(θ; a)
    penalty = 0.25 * p.layout.only("w", case.weights.astype(np.float64))
    weak, middle, strong = answers
    # the tolerance of ∇f(θ; a) - 2∇f(θ; 2a) + ∇f(θ; 3a)
    twice = allowed[0] + 2.0 * allowed[1] + allowed[2]
    return _compare(
        [
            ("the gradient's growth with l2", middle - weak, penalty, allowed[0] + allowed[1]),
            ("the gradient's curvature in l2", weak + strong, 2.0 * middle, twice),
        ]
    )


def _large_logits(case: _RelationCase) -> RelationResult:
    if case.problem.loss == "probability":
        raise _UndecidableError("the probability form saturates; only the logits form must stay finite")
    X = case.problem.X.astype(np.float64)
    w, b = case.problem.layout.parts(case.weights)
    largest = float(np.abs(X @ w + b).max())
    if not largest:
        raise _UndecidableError("all logits are 0 at this point")
    route = np.stack([case.weights * (800.0 / largest), case.weights * (-800.0 / largest)]).astype(case.problem.dtype)
    answer = case.ask(case.problem.X, case.problem.y, route)
    finite = bool(np.isfinite(answer.loss).all() and np.isfinite(answer.gradient).all())
    if finite:
        return RelationResult("correct", "loss and gradient are finite at logits of 800 and -800", 0.0)
    return RelationResult("wrong", "loss or gradient is not finite at logits of 800 or -800", math.inf)


TRUSTED = 0.01
"""A remainder counts where the computed noise bound is at most this share of it."""
ORDER = 1.9
SPAN = 8.0
"""h is compared with h/8: the estimated order then errs by less than 0.01 for noise of `TRUSTED`"""
LARGEST_H = 1.0 / 16.0
"""of directions along which no logit changes by more than 1: the third derivative then adds less than 4 % to h²"""


def _taylor(case: _RelationCase) -> RelationResult:
    """R(h) = |f(θ + hv) - f(θ) - h ∇f·v| over h = 1/16, 1/32, … along one random direction v.

    An error δ of the gradient adds h |δ·v|, so that the order falls to 1 where that term prevails, at the smallest h
    whose remainder exceeds the noise. The noise: two losses and h times a gradient, each within its point tolerance.
    The rounding of the point itself is no noise, because h v is the difference that was really added.
    """
    p, dtype = case.problem, case.problem.dtype
    X = np.column_stack([p.X.astype(np.float64), np.ones(p.examples)])
    direction = np.random.default_rng(2).standard_normal(len(case.weights))
    direction /= np.abs(X @ direction).max() or 1.0
    sizes = LARGEST_H * 2.0 ** -np.arange(40.0)
    route = np.concatenate([case.weights[None], (case.weights + sizes[:, None] * direction).astype(dtype)])
    answer = case.ask(p.X, p.y, route)
    if not (np.isfinite(answer.loss).all() and np.isfinite(answer.gradient[0]).all()):
        allowed = case.tolerance(p.X, p.y, case.weights)
        if not np.isfinite(allowed.loss):
            raise _UndecidableError("the probability form saturates at this point")
        return RelationResult("wrong", "loss or gradient is not finite", math.inf)
    # h v as added
    moved = route[1:].astype(np.float64) - case.weights.astype(np.float64)
    losses = answer.loss.astype(np.float64)
    linear = moved @ answer.gradient[0].astype(np.float64)
    # R(h)
    remainder = np.abs(losses[1:] - losses[0] - linear)
    at_point = case.tolerance(p.X, p.y, case.weights)
    losses_along = np.array([case.tolerance(p.X, p.y, point).loss for point in route[1:]])
    # two losses, and h times a gradient
    noise = at_point.loss + losses_along + np.abs(moved) @ at_point.gradient
    trusted = np.flatnonzero(noise <= TRUSTED * remainder)
    steps = round(math.log2(SPAN))
    pairs = [int(i) for i in trusted if int(i) - steps in trusted]
    if not pairs:
        raise _UndecidableError("rounding hides the remainder at this point")
    small = max(pairs)
    # R(8h)/R(h) = 8^order
    order = math.log2(remainder[small - steps] / remainder[small]) / steps
    message = f"the remainder falls like h^{order:.2f} down to h = {sizes[small]:.1e}"
    return RelationResult("correct" if order >= ORDER else "wrong", message, ORDER / max(order, 1e-3))


RELATIONS: dict[str, Relation] = {
    "row-permutation": _row_permutation,
    "duplication": _duplication,
    "additivity": _additivity,
    "label-mirror": _label_mirror,
    "zero-column": _zero_column,
    "zero-weights": _zero_weights,
    "feature-scaling": _feature_scaling,
    "affine-in-l2": _affine_in_l2,
    "large-logits": _large_logits,
    "taylor": _taylor,
}
"""in the order in which they are shown"""
