"""The tolerance at one point, component by component: how far loss, gradient and one step may be off there.

`tolerance` follows a whole trajectory in norms. At a point the weights are known bit for bit (the host chose them, or a
worker recorded them), no error has accumulated, and every component has a bound of its own. That is the sharp test: it
depends neither on the number of steps nor on whether training converges.

The tolerance is a reading: the errors of any correct program in the tested format, by the rules of `model.rules`, along
the formula of the loss and along its adjoints. It is infinite, undecidable, where a number or a step on the way to it
may leave the format, and where every digit is lost, as in the probability form that saturates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compare_ag.model.arithmetic import SECOND_ORDER, Arithmetic, Array
from compare_ag.model.formula import apply, data, parameter
from compare_ag.problem import Problem
from compare_ag.verify.objective import Objective, Step
from compare_ag.verify.readings import Reader


@dataclass(frozen=True)
class PointTolerance:
    """The largest deviation that rounding explains at one point; inf where nothing can be decided."""

    loss: float
    gradient: Array
    """(m,), in the order of `Problem.layout`"""
    following: Array
    """(m,): of the weights after one step"""


def point_tolerance(
    problem: Problem, weights: Array, rows: Array | None = None, *, judged: int = 1, dtype: str | None = None
) -> PointTolerance:
    """The tolerance at ``weights`` (m,), on the examples ``rows`` (None: all).

    judged: how many points the whole verdict covers, for its false-alarm probability. dtype: that of the computation
    whose errors are bounded; None is the problem's.
    """
    return point_tolerances(problem, np.asarray(weights)[None], rows, judged=judged, dtype=dtype)[0]


def point_tolerances(
    problem: Problem, weights: Array, rows: Array | None = None, *, judged: int = 1, dtype: str | None = None
) -> list[PointTolerance]:
    """The tolerances at each of ``weights`` (P, m), as `point_tolerance`."""
    return tolerances(read_points(problem, weights, rows, judged=judged, dtype=dtype))


def read_points(
    problem: Problem, weights: Array, rows: Array | None, *, judged: int = 1, dtype: str | None = None
) -> Step:
    """The numbers with the errors that the tolerances are made from, at ``weights`` (P, m)."""
    arithmetic = Arithmetic.of(dtype or problem.dtype, judged * problem.layout.size)
    return Objective(problem).step(weights, rows, arithmetic, problem.loss)


def tolerances(step: Step) -> list[PointTolerance]:
    """The tolerance at each point of a reading."""
    errors = (SECOND_ORDER * np.asarray(part.error) for part in step)
    return [PointTolerance(float(loss), slope, after) for loss, slope, after in zip(*errors, strict=True)]


def update_tolerance(problem: Problem, weights: Array, gradient: Array) -> Array:
    """How far an update from known ``weights`` (m,) by a known ``gradient`` (m,) may be off."""
    theta, slope = (np.asarray(array, dtype=np.float64) for array in (weights, gradient))
    at = {"theta": theta, "rate": np.asarray(problem.learning_rate), "slope": slope}
    with np.errstate(all="ignore"):
        # one example: the given gradient is not divided by n
        (result,) = update_reader(problem.layout.size).bounds(at, 1, Arithmetic.of(problem.dtype))
    return SECOND_ORDER * np.asarray(result.error)


@lru_cache(maxsize=64)
def update_reader(parameters: int) -> Reader:
    """The reader of an update of so many weights by a given gradient."""
    return Reader([apply("descend", parameter("theta", parameters), data("rate"), data("slope", parameters))])


def reading_error(problem: Problem, weights: Array) -> Array:
    """u|θⱼ| (m,): how far weights that a backend keeps in a wider format may lie from those that it reports."""
    u = Arithmetic.of(problem.dtype).u
    return np.asarray(SECOND_ORDER * u * np.abs(np.asarray(weights, dtype=np.float64)))
