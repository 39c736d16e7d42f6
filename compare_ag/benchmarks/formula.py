"""Exact loss and gradient at one point, and a bound for what a correct backend's rounding can add.

The values are the oracle's and the bounds those of `compare_ag.verify.points`, component by component.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.verify.arithmetic import SECOND_ORDER
from compare_ag.verify.oracle import Oracle
from compare_ag.verify.points import point_tolerance

if TYPE_CHECKING:
    from compare_ag.problem.core import Array, Problem


@dataclass(frozen=True)
class Bounded:
    """A value and the largest rounding error of a correct backend, both of one shape."""

    value: Array
    tolerance: Array

    def explains(self, tested: Array) -> bool:
        """Whether the tested value lies within the bound everywhere. NaN does only where the bound is infinite."""
        if tested.shape != self.value.shape:
            return False
        with np.errstate(invalid="ignore"):
            return bool(np.all((np.abs(tested - self.value) <= self.tolerance) | np.isposinf(self.tolerance)))

    def excess(self, tested: Array) -> str:
        """The worst component in words."""
        with np.errstate(invalid="ignore"):
            distance = np.abs(np.ravel(tested) - np.ravel(self.value))
        worst = int(np.argmax(np.nan_to_num(distance / np.ravel(self.tolerance), nan=np.inf)))
        value, bound = np.ravel(self.value)[worst], np.ravel(self.tolerance)[worst]
        return f"component {worst} is {np.ravel(tested)[worst]!r}, expected {value!r} within {bound:.2g}"


@dataclass(frozen=True)
class Point:
    """The objective at one (w, b), over all examples of a problem."""

    loss: Bounded
    """()"""
    w: Bounded
    """∂f/∂w (d,)"""
    b: Bounded
    """∂f/∂b ()"""


def point(problem: Problem, w: Array, b: Array) -> Point:
    """Evaluate the objective of ``problem`` at finite w (d,) and b (), for a backend that computes in its dtype."""
    exact = Oracle(problem).at(w, b)
    allowed = point_tolerance(problem, np.append(w, b))
    gradient = exact.gradient.high  # rounded once, by far less than the tolerance
    return Point(
        Bounded(exact.loss.high, np.asarray(allowed.loss)),
        Bounded(gradient[:-1], allowed.gradient[:-1]),
        Bounded(gradient[-1], allowed.gradient[-1]),
    )


def descended(dtype: str, start: Array, slope: Bounded, learning_rate: float) -> Bounded:
    """w - η g for a g within its bound: one product and one difference more, |Δw'| ≤ η|Δg| + 2u η|g| + u|w'|."""
    u = float(np.finfo(dtype).eps) / 2
    product = learning_rate * slope.value
    value = np.asarray(start, dtype=np.float64) - product
    rounding = SECOND_ORDER * u * (2 * np.abs(product) + np.abs(value))
    return Bounded(value, learning_rate * slope.tolerance + rounding)


def stepped(problem: Problem, w: Array, b: Array) -> tuple[Bounded, Bounded]:
    """The weights w (d,) and b () after one update from these."""
    here, rate = point(problem, w, b), problem.learning_rate
    return descended(problem.dtype, w, here.w, rate), descended(problem.dtype, b, here.b, rate)


def require(what: str, expected: Bounded, tested: Array) -> None:
    """Raise AssertionError, with the worst component, where rounding does not explain the tested value."""
    if not expected.explains(tested):
        raise AssertionError(f"{what}: {expected.excess(tested)}")  # raised, so that `python -O` does not drop it
