"""Every quantity that mathematics names between the weights and the loss: its value and ∂f/∂ of it, exactly.

A graph that a framework recorded is a list of strange names with numbers. This file has the numbers with the names: it
computes the loss step by step in ball arithmetic, in each of the ways in which people write it, and goes back through
the steps by the chain rule, so that each has its exact value and its exact gradient. A backend's node is then
recognised by its numbers (`alignment`).

**Tolerances** are a running error analysis [Wilkinson; Higham, Accuracy and Stability, 3.3] along the same steps, in
float64: beside each exact q travels a bound ε(q) on the error of evaluating it in the tested format, u its roundoff,

    ε(a ± b) = ε(a) + ε(b) + u|a ± b|            ε(ab) = |a|ε(b) + |b|ε(a) + ε(a)ε(b) + u|ab|
    ε(1/a)   = ε(a) / (|a|(|a| - ε(a))) + u/|a|   ε(exp a) = exp a (expm1 ε(a) + κ_exp u)
    ε(log a) = -log(1 - ε(a)/|a|) + κ_exp u|log a|       ε(-a) = ε(|a|) = ε(max(a, 0)) = ε(a)

and the reverse pass is made of the same operations on the same pairs, so that its bounds come about in the same way. A
framework may take another route to the same number (one kernel for three steps, a closed form of a derivative):
κ_AD u|q| is added for that, as in `tolerance`. Where a bound has been derived with all routes in mind (`points`), the
larger of the two counts: z, ℓ and f, their sums, and the gradients with respect to z, w and b. Products of two rounding
errors are paid for by `SECOND_ORDER`, underflow by some of the smallest normal numbers. In the probability form the
entries of saturated examples have infinite bounds: there nothing can be decided.

Two quantities that differ in sign are one here, for a minus may stand at any place: `alignment` tries both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from flint import arb, arb_mat, ctx

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.arithmetic import K_AD, K_EXP, SECOND_ORDER, Arithmetic
from compare_ag.verify.oracle import BITS, PRECISION_LOCK, Exact, balls, bits_of_sums, enclosed
from compare_ag.verify.points import Here, point_tolerance

Ball: TypeAlias = Any
"""flint.arb"""

ROUTE = K_AD
UNDERFLOWS = 64.0
HINTS = {"|s|": ("abs",), "max(s, 0)": ("max", "relu", "clamp", "clip"), "max(z, 0)": ("max", "relu", "clamp", "clip")}


@dataclass(frozen=True)
class NamedQuantity:
    """A quantity with its exact numbers and how far a correct program may be off."""

    symbol: str
    meaning: str
    value: Exact
    value_tolerance: Array
    """of the value's shape; inf where nothing can be decided"""
    gradient: Exact | None
    """∂f/∂ of it; None for data and constants"""
    gradient_tolerance: Array | None
    made_from: tuple[str, ...]
    """symbols of what the formula is written in, in all of the ways in which it is written"""
    hints: tuple[str, ...] = ()
    """what operations that make it are often called"""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of value and gradient."""
        extents: tuple[int, ...] = self.value.high.shape
        return extents


def seconds(problem: Problem, examples: int) -> float:
    """What the quantities of a batch cost, roughly."""
    return 8e-5 * examples + 6e-7 * examples * problem.layout.size + 2e-2


def named_quantities(problem: Problem, w: Array, b: Array, rows: Array | None = None) -> list[NamedQuantity]:
    """All quantities at the weights w (d,), b () on the examples ``rows`` (None: all), in the order of forward."""
    X, y = (problem.X, problem.y) if rows is None else (problem.X[rows], problem.y[rows])
    bits = BITS + bits_of_sums(float(np.abs(X).max(initial=0.0)), problem.layout.flat((w, b)))
    with PRECISION_LOCK, ctx.workprec(bits), np.errstate(all="ignore"):
        sheet = _Sheet(problem, X, y, np.asarray(w), np.asarray(b), rows)
        return sheet.quantities()


# --- numbers with bounds ------------------------------------------------------------------------------------


class _Real:
    """Exact numbers, a flat list of balls, with bounds (q,) on the error of evaluating them."""

    __slots__ = ("error", "exact", "size", "u")

    def __init__(self, exact: list[Ball], error: Array | float, u: float) -> None:
        self.exact = exact
        self.size = np.array([abs(float(ball)) for ball in exact])
        self.error = np.broadcast_to(np.asarray(error, dtype=np.float64), self.size.shape)
        self.u = u

    def _new(self, exact: list[Ball], propagated: Array, operations: float = 1.0) -> _Real:
        found = _Real(exact, 0.0, self.u)
        found.error = propagated + operations * self.u * found.size
        return found

    def __add__(self, other: _Real) -> _Real:
        return self._new([a + b for a, b in zip(self.exact, other.exact, strict=True)], self.error + other.error)

    def __mul__(self, other: _Real) -> _Real:
        propagated = self.size * other.error + other.size * self.error + self.error * other.error
        return self._new([a * b for a, b in zip(self.exact, other.exact, strict=True)], propagated)

    def __neg__(self) -> _Real:
        return _Real([-a for a in self.exact], self.error, self.u)

    def plus(self, constant: int) -> _Real:
        """Plus a whole number."""
        return self._new([a + constant for a in self.exact], self.error)

    def inverse(self) -> _Real:
        """1/a."""
        left = self.size - self.error
        propagated = np.where(left > 0, self.error / (self.size * left), np.inf)
        return self._new([1 / a for a in self.exact], propagated)

    def exp(self) -> _Real:
        """exp a."""
        found = self._new([a.exp() for a in self.exact], np.zeros_like(self.size), K_EXP)
        found.error = found.error + found.size * np.expm1(self.error)
        return found

    def log(self) -> _Real:
        """Of positive numbers."""
        share = np.where(self.error < self.size, self.error / self.size, 1.0)
        return self._new([a.log() for a in self.exact], -np.log1p(-share), K_EXP)

    def absolute(self) -> _Real:
        """|a|."""
        return _Real([abs(a) for a in self.exact], self.error, self.u)

    def positive(self) -> _Real:
        """max(a, 0)."""
        return _Real([a if a > 0 else arb(0) for a in self.exact], self.error, self.u)

    def summed(self) -> _Real:
        """Σ a, in any order."""
        gamma = len(self.exact) * self.u
        return _Real([sum(self.exact, arb(0))], float(self.error.sum() + gamma * self.size.sum()), self.u)

    def repeated(self, count: int) -> _Real:
        """One number, ``count`` times."""
        return _Real(self.exact * count, np.repeat(self.error, count), self.u)

    def by(self, factor: _Real) -> _Real:
        """Times one number."""
        return self * factor.repeated(len(self.exact))

    def at_least(self, error: Array | float) -> _Real:
        """With no smaller a bound than this."""
        return _Real(self.exact, np.maximum(self.error, error), self.u)


# --- steps and the way back ---------------------------------------------------------------------------------


Pull: TypeAlias = Callable[[_Real], Sequence["_Real | None"]]
"""from the gradient of a step's result to those of what it was made from"""


@dataclass(eq=False)
class _Step:
    symbol: str
    meaning: str
    value: _Real
    shape: tuple[int, ...]
    made_from: tuple[_Step, ...] = ()
    pull: Pull | None = None
    """None for what is given"""
    constant: bool = False
    """data and what is made of data alone: no gradient flows there"""
    gradient: _Real | None = field(default=None, repr=False)

    def arrive(self, gradient: _Real) -> None:
        """Add what one way back brings."""
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


def _go_back(steps: Sequence[_Step], end: _Step, gradient: _Real) -> None:
    """The chain rule from ``end``, through ``steps`` in their order."""
    end.gradient = gradient
    for step in reversed(steps):
        if step.pull is None or step.gradient is None:
            continue
        for origin, brought in zip(step.made_from, step.pull(step.gradient), strict=False):
            if brought is not None and not origin.constant:
                origin.arrive(brought)


class _Sheet:
    """One evaluation of the objective, in every way in which it is written."""

    def __init__(self, problem: Problem, X: Array, y: Array, w: Array, b: Array, rows: Array | None) -> None:
        self.problem = problem
        self.n, self.d = X.shape
        self.arithmetic = Arithmetic.of(problem.dtype, probability=problem.loss == "probability")
        self.u = self.arithmetic.u
        theta = problem.layout.flat((w, b)).astype(np.float64)
        here = Here(X.astype(np.float64), y.astype(np.float64), theta, float(problem.l2))
        self.in_logit, self.in_residual, self.in_losses = here.example_errors(self.arithmetic)
        self.saturated = np.isinf(self.in_losses) | np.isnan(self.in_losses)
        self.residual = here.residual
        self.tolerance = point_tolerance(problem, theta, rows)
        self._X, self._y, self._w, self._b = X, y, w, b

    # --- writing steps down ---

    def _given(self, symbol: str, meaning: str, array: Array, *, constant: bool) -> _Step:
        return _Step(symbol, meaning, _Real(balls(array), 0.0, self.u), array.shape, constant=constant)

    def _vector(self, symbol: str, meaning: str, value: _Real, made_from: tuple[_Step, ...], pull: Pull) -> _Step:
        return _Step(symbol, meaning, value, (self.n,), made_from, pull, all(one.constant for one in made_from))

    def _one(self, number: int | Ball = 1) -> _Real:
        return _Real([arb(number)], 0.0, self.u)

    # --- the objective ---

    def quantities(self) -> list[NamedQuantity]:
        """Given, logits, the ways from logits to losses, and the end."""
        matrix = arb_mat(self.n, self.d, balls(self._X))
        X = _Step("X", "the features", _Real([], 0.0, self.u), (), constant=True)  # large: no balls but the matrix's
        y = self._given("y", "the labels", self._y, constant=True)
        w = self._given("w", "the weights", self._w, constant=False)
        b = self._given("b", "the intercept", self._b, constant=False)
        column = arb_mat(self.d, 1, w.value.exact)
        product = (matrix * column).entries()
        xw = self._vector("Xw", "X times w", _Real(product, self.in_logit, self.u), (X, w), _nowhere)
        spread = self._vector("b…b", "b for every example", b.value.repeated(self.n), (b,), lambda g: (g.summed(),))
        z = self._vector("z", "X w + b", _Real((xw.value + spread.value).exact, self.in_logit, self.u), (xw, b), _both)
        ways = self._probability_ways(z, y) if self.problem.loss == "probability" else self._logit_ways(z, y)
        share = _Real([arb(1) / self.n], self.u / self.n, self.u).repeated(self.n)
        for steps in ways:
            _go_back(steps, steps[-1], share)
        for step in (z, *(one for one in ways[0] if z in one.made_from)):
            assert step.gradient is not None
            step.gradient = step.gradient.at_least(self._in_slope())
        losses = ways[0][-1]
        losses.value = losses.value.at_least(self.in_losses)
        xw.gradient = spread.gradient = z.gradient
        self._slopes(w, b, matrix, z)
        end = self._end(losses, w)
        steps = [y, w, b, xw, spread, z, *(step for steps in ways for step in steps), *end]
        first = {step.symbol: step for step in reversed(steps)}
        last = {step.symbol: i for i, step in enumerate(steps)}  # behind all that any way makes it from
        ways_to = {symbol: [step for step in steps if step.symbol == symbol] for symbol in first}
        features = np.asarray(self._X, dtype=np.float64)
        nothing = np.zeros(features.shape)
        given = NamedQuantity(X.symbol, X.meaning, Exact(features, nothing, 0.0), nothing, None, None, ())
        ordered = sorted(first, key=last.__getitem__)
        return [given, *(self._named(first[symbol], ways_to[symbol]) for symbol in ordered)]

    def _in_slope(self) -> Array:
        """Δ(r/n): the error of the residual and two more roundings."""
        error: Array = (self.in_residual + 2.0 * self.u * self.residual) / self.n
        return error

    def _slopes(self, w: _Step, b: _Step, matrix: Ball, z: _Step) -> None:
        """∂f/∂w = Xᵀ∂f/∂z + l2 w and ∂f/∂b = Σ ∂f/∂z."""
        assert z.gradient is not None
        column = arb_mat(self.n, 1, z.gradient.exact)
        slope = (matrix.transpose() * column).entries()
        l2 = arb(float(self.problem.l2))
        slope = [one + l2 * weight for one, weight in zip(slope, w.value.exact, strict=True)]
        in_w, in_b = self.problem.layout.parts(self.tolerance.gradient)
        w.gradient = _Real(slope, in_w, self.u)
        b.gradient = _Real([sum(z.gradient.exact, arb(0))], float(in_b), self.u)

    # --- from logits to losses ---

    def _probability_ways(self, z: _Step, y: _Step) -> list[list[_Step]]:
        """ℓ = -(y log p + (1 - y) log(1 - p)) with p = 1/(1 + exp(-z))."""
        new = self._vector
        minus = new("−z", "minus the logits", -z.value, (z,), lambda g: (-g,))
        e = new("exp(−z)", "", minus.value.exp(), (minus,), lambda g: (g * e.value,))
        below = new("1+exp(−z)", "", e.value.plus(1), (e,), lambda g: (g,))
        p = new(
            "p", "1/(1 + exp(−z)), the probability of label 1", below.value.inverse(), (below,),
            lambda g: (-(g * p.value * p.value),),
        )  # fmt: skip
        log_p = new("log p", "", p.value.log(), (p,), lambda g: (g * p.value.inverse(),))
        rest = new("1−p", "", (-p.value).plus(1), (p,), lambda g: (-g,))
        log_rest = new("log(1−p)", "", rest.value.log(), (rest,), lambda g: (g * rest.value.inverse(),))
        other = new("1−y", "", (-y.value).plus(1), (y,), _nowhere)
        other.value = _Real(other.value.exact, 0.0, self.u)
        one = new("y log p", "", y.value * log_p.value, (y, log_p), lambda g: (None, g * y.value))
        two = new("(1−y) log(1−p)", "", other.value * log_rest.value, (other, log_rest),
                  lambda g: (None, g * other.value))  # fmt: skip
        losses = new("ℓ", "−(y log p + (1−y) log(1−p)), the loss of each example",
                     -(one.value + two.value), (one, two), lambda g: (-g, -g))  # fmt: skip
        steps = [minus, e, below, p, log_p, rest, log_rest, other, one, two, losses]
        return [steps]

    def _logit_ways(self, z: _Step, y: _Step) -> list[list[_Step]]:
        """ℓ = softplus(s), s = (1 - 2y) z: by |s|, by exp s alone, and by softplus(z) - yz."""
        new = self._vector
        double = new("2y", "", _Real([2 * one for one in y.value.exact], 0.0, self.u), (y,), _nowhere)
        sign = new("1−2y", "1 for label 0, −1 for label 1",
                   _Real([1 - one for one in double.value.exact], 0.0, self.u), (double,), _nowhere)  # fmt: skip
        s = new(
            "s", "(1−2y) z: how wrong the logit is", sign.value * z.value, (sign, z), lambda g: (None, g * sign.value)
        )
        s.value = _Real(s.value.exact, z.value.error, self.u)
        signs = _Real([arb(1) if a > 0 else arb(-1) if a < 0 else arb(0) for a in s.value.exact], 0.0, self.u)
        above = _Real([arb(1) if a > 0 else arb(0) if a < 0 else arb(0.5) for a in s.value.exact], 0.0, self.u)
        size = new("|s|", "", s.value.absolute(), (s,), lambda g: (g * signs,))
        shrunk = new("−|s|", "", -size.value, (size,), lambda g: (-g,))
        e = new("exp(−|s|)", "", shrunk.value.exp(), (shrunk,), lambda g: (g * e.value,))
        sum_e = new("1+exp(−|s|)", "", e.value.plus(1), (e,), lambda g: (g,))
        tail = new("log(1+exp(−|s|))", "", sum_e.value.log(), (sum_e,), lambda g: (g * sum_e.value.inverse(),))
        hinge = new("max(s, 0)", "", s.value.positive(), (s,), lambda g: (g * above,))
        losses = new("ℓ", "softplus(s) = log(1 + exp s), the loss of each example",
                     hinge.value + tail.value, (hinge, tail), _both)  # fmt: skip
        first = [double, sign, s, size, shrunk, e, sum_e, tail, hinge, losses]
        grown = new("exp(s)", "", s.value.exp(), (s,), _nowhere)
        sum_grown = new("1+exp(s)", "", grown.value.plus(1), (grown,), lambda g: (g,))
        same = new("ℓ", "", sum_grown.value.log(), (sum_grown,), lambda g: (g * sum_grown.value.inverse(),))
        positive = new("max(z, 0)", "", z.value.positive(), (z,), _nowhere)
        plus = new("softplus(z)", "log(1 + exp z)", positive.value + tail.value, (positive, tail), lambda g: (g, None))
        chosen = new("yz", "", _Real((y.value * z.value).exact, z.value.error, self.u), (y, z), _nowhere)
        again = new("ℓ", "", plus.value + -chosen.value, (plus, chosen), lambda g: (g, -g))
        # only the first goes all the way back: what the others share with it must not get a gradient twice
        return [first, [grown, sum_grown, same], [positive, plus, chosen, again]]

    # --- from losses to f ---

    def _end(self, losses: _Step, w: _Step) -> list[_Step]:
        """Sum, mean, penalty, f; the gradients of these are constants."""
        n, one = self.n, self._one()
        in_loss = self.tolerance.loss

        def scalar(symbol: str, meaning: str, exact: Ball, error: float, slope: Ball, *made_from: _Step) -> _Step:
            step = _Step(symbol, meaning, _Real([exact], error, self.u), (), made_from)
            step.gradient = _Real([arb(slope)], self.u * abs(float(slope)), self.u)
            return step

        total = sum(losses.value.exact, arb(0))
        shares = _Step("ℓ/n", "", losses.value.by(_Real([arb(1) / n], self.u / n, self.u)), (n,), (losses,))
        shares.gradient = one.repeated(n)
        added = scalar("Σℓ", "the sum of the losses", total, in_loss * n, arb(1) / n, losses)
        l2 = arb(float(self.problem.l2))
        if not self.problem.l2:
            return [shares, added, scalar("f", "the mean loss", total / n, in_loss, arb(1), added)]
        data = scalar("mean ℓ", "the mean loss", total / n, in_loss, arb(1), added)
        squares = _Step("w∘w", "", w.value * w.value, (self.d,), (w,))
        squares.gradient = _Real([l2 / 2] * self.d, self.u * float(l2), self.u)
        norm = sum(squares.value.exact, arb(0))
        length = float(norm)
        gamma = (self.d + 4.0) * self.u
        square = scalar("‖w‖²", "w·w", norm, gamma * length, l2 / 2, squares)
        half = scalar("½‖w‖²", "", norm / 2, gamma * length, l2, square)
        penal = scalar("l2‖w‖²", "", norm * l2, gamma * length * float(l2), arb(0.5), square)
        penalty = scalar("½l2‖w‖²", "the penalty", norm * l2 / 2, gamma * length * float(l2), arb(1), square)
        f = scalar("f", "mean loss and penalty", total / n + norm * l2 / 2, in_loss, arb(1), data, penalty)
        return [shares, added, data, squares, square, half, penal, penalty, f]

    # --- out ---

    def _named(self, step: _Step, ways: Sequence[_Step]) -> NamedQuantity:
        """The numbers of ``step``, the first of the ways to write it."""
        computed = bool(step.made_from) and not step.constant
        gradient = None if step.constant else step.gradient
        value = enclosed(step.value.exact, step.shape)
        slope = None if gradient is None else enclosed(gradient.exact, step.shape)
        of_slope = (
            None if gradient is None or slope is None else self._tolerance(step, gradient, slope, step.symbol != "f")
        )
        return NamedQuantity(
            step.symbol,
            step.meaning,
            value,
            self._tolerance(step, step.value, value, computed),
            slope,
            of_slope,
            tuple(dict.fromkeys(one.symbol for way in ways for one in way.made_from)),
            HINTS.get(step.symbol, ()),
        )

    def _tolerance(self, step: _Step, number: _Real, exact: Exact, computed: bool) -> Array:
        found = np.array(number.error)
        if computed:
            found = SECOND_ORDER * found + ROUTE * self.u * number.size
            found += UNDERFLOWS * self.arithmetic.tiny * (1.0 + number.size)
            if step.shape == (self.n,) and self.arithmetic.probability:
                found = np.where(self.saturated, np.inf, found)
        found = np.where(number.size <= self.arithmetic.top, found, np.inf).reshape(step.shape)
        tolerance: Array = np.where(exact.decides(found), found, np.inf)
        return tolerance


def _nowhere(_gradient: _Real) -> tuple[None, None]:
    """Back to data, where nothing arrives, or along a way that another one has gone."""
    return None, None


def _both(gradient: _Real) -> tuple[_Real, _Real]:
    """Back through a sum."""
    return gradient, gradient


def negated(quantity: NamedQuantity) -> NamedQuantity:
    """The same with the other sign."""
    value = quantity.value._replace(high=-quantity.value.high, low=-quantity.value.low)
    gradient = quantity.gradient
    if gradient is not None:
        gradient = gradient._replace(high=-gradient.high, low=-gradient.low)
    symbol = quantity.symbol
    simple = symbol.isalnum() or symbol in ("‖w‖²", "Σℓ", "|s|") or symbol.startswith(("log", "exp", "max", "softplus"))
    found = symbol.removeprefix("−") if symbol in ("−z", "−|s|") else f"−{symbol}" if simple else f"−({symbol})"
    return replace(quantity, symbol=found, meaning=f"minus {symbol}", value=value, gradient=gradient)
