"""A problem's objective as formulas over its data, and their readers.

All forms of a loss are one real function. Exact and float64 numbers are read from the form `STABLE`, whose every
operation keeps a small relative error; bounds on rounding errors, from the form that the problem asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from compare_ag.model.arithmetic import Arithmetic, Array, Known
from compare_ag.model.formula import Expr, Formula, apply, constant, data, gradient
from compare_ag.model.formulas import logistic_formula
from compare_ag.model.rules import Ball, Balls, Bounded
from compare_ag.problem import Problem
from compare_ag.verify.readings import At, Reader, Reading

STABLE = "logits"


@lru_cache(maxsize=64)
def step_reader(form: str, features: int, penalised: bool) -> Reader:
    """The reader of the loss, its gradient by each parameter, and each parameter after one step of gradient descent."""
    formula = logistic_formula(form, features, penalised)
    slopes = gradient(formula.objective, formula.parameters)
    return Reader([formula.objective, *slopes, *_descend(formula, slopes)])


@lru_cache(maxsize=64)
def raised_reader(form: str, features: int) -> Reader:
    """The reader of the loss and each parameter after one step, with raised logits."""
    formula = logistic_formula(form, features, True, raised=True)
    return Reader([formula.objective, *_descend(formula, gradient(formula.objective, formula.parameters))])


def _descend(formula: Formula, slopes: Sequence[Expr]) -> list[Expr]:
    rate = data("rate")
    pairs = zip(formula.parameters, slopes, strict=True)
    return [apply("descend", parameter, rate, slope) for parameter, slope in pairs]


@lru_cache(maxsize=64)
def slope_reader(form: str, features: int, penalised: bool) -> Reader:
    """The reader of the loss and its gradient by each parameter."""
    formula = logistic_formula(form, features, penalised)
    return Reader([formula.objective, *gradient(formula.objective, formula.parameters)])


@lru_cache(maxsize=64)
def named_reader(form: str, features: int, penalised: bool, symbols: tuple[str, ...]) -> Reader:
    """The reader of named quantities of one form."""
    formula = logistic_formula(form, features, penalised)
    return Reader([formula[symbol] for symbol in symbols])


@lru_cache(maxsize=64)
def slopes_and_logits(features: int, penalised: bool) -> Reader:
    """The reader of the logits and of the gradient by each parameter."""
    formula = logistic_formula(STABLE, features, penalised)
    return Reader([formula["z"], *gradient(formula.objective, formula.parameters)])


@lru_cache(maxsize=1)
def losses_reader() -> Reader:
    """The reader of the examples' losses and the sizes of their derivatives by the logits z, which are given."""
    formula = logistic_formula(STABLE, 1, False)
    s = formula["s"]
    return Reader([formula["ℓ"], apply("sigmoid", s)], {formula["z"]: "z"})


@lru_cache(maxsize=64)
def bend_reader(features: int) -> Reader:
    """The reader of ∂²f/∂z², each example's share of the loss's curvature."""
    formula = logistic_formula(STABLE, features, False)
    return Reader([bend(formula)])


def bend(formula: Formula) -> Expr:
    """p(1 - p)/n (n,), by a formula in the stable form."""
    return apply("share", constant(1.0), formula["y"]) * apply("sigmoid_slope", formula["s"])


@lru_cache(maxsize=64)
def details_reader(features: int, penalised: bool) -> Reader:
    """The reader of z, s, ℓ, ∂f/∂z, ∂²f/∂z², the mean loss, penalty, f, and the gradients of penalty and f."""
    formula = logistic_formula(STABLE, features, penalised)
    z, s, f, mean = formula["z"], formula["s"], formula.objective, formula["mean ℓ"]
    penalty, shrinkage = constant(0.0), [constant(0.0) for _ in formula.parameters]
    if penalised:
        penalty = formula["½l2‖w‖²"]
        shrinkage[0] = gradient(penalty, formula.parameters[:1])[0]
    return Reader([
        z, s, formula["ℓ"], *gradient(f, [z]), bend(formula), mean, penalty, f,
        *shrinkage, *gradient(f, formula.parameters),
    ])  # fmt: skip  # two rows of a table


class Details(NamedTuple):
    """The objective at one point on n examples, in float64."""

    logits: Array
    """z (n,)"""
    wrongness: Array
    """s = (1 - 2y) z (n,): large where the model is wrong"""
    losses: Array
    """ℓ (n,)"""
    residual: Array
    """∂ℓ/∂z = p - y (n,), to a small relative error"""
    bend: Array
    """∂²ℓ/∂z² = p(1 - p) (n,)"""
    mean: float
    """the mean loss"""
    penalty: float
    loss: float
    """f, both together"""
    shrinkage: Array
    """the penalty's gradient (m,)"""
    gradient: Array
    """∇f (m,)"""


class Step(NamedTuple):
    """The loss, its gradient and the weights after one step, at P points."""

    loss: Bounded
    """(P,)"""
    gradient: Bounded
    """(P, m)"""
    following: Bounded
    """(P, m)"""


@dataclass(frozen=True)
class Objective:
    """The formulas of a problem, with its data."""

    problem: Problem

    @cached_property
    def sizes(self) -> tuple[int, bool]:
        """The arguments of a formula: d, and whether there is a penalty."""
        return self.problem.features, bool(self.problem.l2)

    def formula(self, form: str = STABLE) -> Formula:
        """The objective in one of its forms."""
        return logistic_formula(form, *self.sizes)

    @cached_property
    def step_reader(self) -> Reader:
        """The reader of loss, gradient and the parameters after one step, in the form whose numbers are known best."""
        return step_reader(STABLE, *self.sizes)

    @cached_property
    def gradient_reader(self) -> Reader:
        """The reader of loss and gradient."""
        return slope_reader(STABLE, *self.sizes)

    @cached_property
    def slopes(self) -> Reader:
        """The reader of the logits and of the gradient by each parameter."""
        return slopes_and_logits(*self.sizes)

    @cached_property
    def of_logits(self) -> Reader:
        """The reader of the examples' losses ℓ and residuals |r| = |∂ℓ/∂z|, from given logits z and the labels."""
        return losses_reader()

    def at(self, theta: Array, rows: Array | None = None) -> tuple[At, int]:
        """The arrays of a reading at θ (m,) or (P, m), on the examples ``rows`` (None: all), and n."""
        data, examples = self.data(rows)
        return data | self.parameters(theta), examples

    def data(self, rows: Array | None = None) -> tuple[dict[str, Array], int]:
        """The data of a batch, and n; of a batch for each point, for rows (P, n)."""
        problem = self.problem
        X, y = (problem.X, problem.y) if rows is None else (problem.X[rows], problem.y[rows])
        return {"X": X, "y": y, "l2": np.asarray(problem.l2), "rate": np.asarray(problem.learning_rate)}, y.shape[-1]

    def parameters(self, theta: Array) -> dict[str, Array]:
        """The parameters by name, in float64."""
        parts = self.problem.layout.parts(np.asarray(theta, dtype=np.float64))
        return dict(zip(self.problem.layout.names, parts, strict=True))

    def reader_of(self, *symbols: str, form: str = STABLE) -> Reader:
        """The reader of named quantities."""
        return named_reader(form, *self.sizes, symbols)

    def on(self, reader: Reader, rows: Array | None = None) -> Reading:
        """A float64 reading on the examples ``rows`` (None: all), at one or several points a call."""
        at, examples = self.data(rows)
        return reader.on(at, examples)

    def details(self, theta: Array, on: Reading | None = None) -> Details:
        """The details at one point θ (m,). on: the reading on its batch; None: on all data."""
        reading = on or self.on(self.details_reader)
        z, s, losses, slope, bend, mean, penalty, f, *gradients = reading.at(self.parameters(theta))
        layout, n = self.problem.layout, len(z)
        count = len(layout.names)
        shrinkage, whole = (
            layout.flat([np.broadcast_to(part, shape) for part, shape in zip(parts, layout.shapes, strict=True)])
            for parts in (gradients[:count], gradients[count:])
        )
        return Details(z, s, losses, n * slope, n * bend, float(mean), float(penalty), float(f), shrinkage, whole)

    @cached_property
    def bend_reader(self) -> Reader:
        """The reader of ∂²f/∂z² (n,)."""
        return bend_reader(self.problem.features)

    @cached_property
    def details_reader(self) -> Reader:
        """The reader of `details`."""
        return details_reader(*self.sizes)

    def residual(self, logits: Array, labels: Array) -> Array:
        """∂ℓ/∂z (n,) at other logits."""
        _, size = self.of_logits.on({"y": labels}, len(labels)).at({"z": logits})
        return np.asarray((1.0 - 2.0 * labels) * size)

    def step(self, theta: Array, rows: Array | None, arithmetic: Arithmetic, form: str = STABLE) -> Step:
        """Loss, gradient and one step at θ (P, m), with their errors in ``arithmetic``."""
        with np.errstate(all="ignore"):
            # w·w may overflow where l2 is 0, too: inf · 0 is NaN in some program
            penalised = self.sizes[1] or not isinstance(arithmetic, Known)
            reader = step_reader(form, self.problem.features, penalised)
            loss, *slopes = reader.bounds(*self.at(theta, rows), arithmetic)
        count = len(self.problem.layout.names)
        return Step(loss, self.flat(slopes[:count]), self.flat(slopes[count:]))

    def flat(self, parts: Sequence[Bounded]) -> Bounded:
        """(P, m) from the numbers of each parameter."""
        layout = self.problem.layout
        return Bounded(*(layout.flat([part[i] for part in parts]) for i in range(3)))


def join_entries(parts: Sequence[Balls]) -> list[Ball]:
    """The entries of several parameters, in order."""
    return [entry for part in parts for entry in part.entries]
