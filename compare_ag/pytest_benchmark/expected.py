"""Exact loss and gradient at one point, and a bound for what a correct backend's rounding can add.

The values are the oracle's and the bounds those of `compare_ag.verify.points`, component by component.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.verify.oracle import Exact, Oracle
from compare_ag.verify.points import point_tolerance, update_tolerance

if TYPE_CHECKING:
    from compare_ag.model import Layout
    from compare_ag.problem.core import Array, Problem


@dataclass(frozen=True)
class BoundedValue:
    """Exact values and the largest rounding error of a correct backend, both of one shape."""

    exact: Exact
    tolerance: Array

    def parts(self, layout: Layout) -> tuple[BoundedValue, ...]:
        """Of a vector (m,), one for each parameter."""
        high, low, tolerance = map(layout.parts, (self.exact.high, self.exact.low, self.tolerance))
        pieces = zip(high, low, tolerance, strict=True)
        return tuple(BoundedValue(self.exact._replace(high=h, low=low_), t) for h, low_, t in pieces)

    def explains(self, tested: Array) -> bool:
        """Whether the tested value lies within the bound everywhere. NaN does only where the bound is infinite."""
        if tested.shape != self.tolerance.shape:
            return False
        with np.errstate(invalid="ignore"):
            return bool(np.all((self.exact.deviation(tested) <= self.tolerance) | np.isposinf(self.tolerance)))

    def excess(self, tested: Array) -> str:
        """The worst component in words."""
        with np.errstate(invalid="ignore"):
            distance = np.ravel(self.exact.deviation(tested))
        worst = int(np.argmax(np.nan_to_num(distance / np.ravel(self.tolerance), nan=np.inf)))
        value, bound = float(np.ravel(self.exact.high)[worst]), np.ravel(self.tolerance)[worst]
        return (
            f"component {worst} is {float(np.ravel(tested)[worst])!r}, "
            f"{distance[worst]:.2g} from the exact {value!r}, tolerance {bound:.2g}"
        )


@dataclass(frozen=True)
class ExpectedPoint:
    """The objective at one (w, b), over all examples of a problem."""

    loss: BoundedValue
    """()"""
    w: BoundedValue
    """∂f/∂w (d,)"""
    b: BoundedValue
    """∂f/∂b ()"""
    next_w: BoundedValue
    """w after one step (d,)"""
    next_b: BoundedValue
    """b after one step ()"""


def point(problem: Problem, w: Array, b: Array) -> ExpectedPoint:
    """Evaluate the objective of ``problem`` at finite w (d,) and b (), for a backend that computes in its dtype."""
    layout = problem.layout
    theta = layout.flat((w, b))
    exact = Oracle(problem).at(theta)
    allowed = point_tolerance(problem, theta)
    gradient = BoundedValue(exact.gradient, allowed.gradient)
    following = BoundedValue(exact.following, allowed.following)
    return ExpectedPoint(
        BoundedValue(exact.loss, np.asarray(allowed.loss)), *gradient.parts(layout), *following.parts(layout)
    )


def descended(problem: Problem, weights: Array, gradient: Array) -> BoundedValue:
    """The update of weights (m,) by this very gradient (m,)."""
    exact = Oracle(problem).update(weights, gradient)
    return BoundedValue(exact, update_tolerance(problem, weights, gradient))


def require(what: str, expected: BoundedValue, tested: Array) -> None:
    """Raise AssertionError, with the worst component, where rounding does not explain the tested value."""
    if not expected.explains(tested):
        raise AssertionError(f"{what}: {expected.excess(tested)}")  # raised, so that `python -O` does not drop it
