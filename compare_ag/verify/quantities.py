"""Every quantity that mathematics names between the weights and the loss: its value and ∂f/∂ of it, exactly.

A framework's recorded graph is a list of numbers under the framework's own names. This module computes the same numbers
under mathematical names: the loss step by step in ball arithmetic, in each of the ways in which people write it, and
back through the steps by the chain rule. So each quantity has an exact value and an exact gradient, and `alignment`
recognises a backend's node by its numbers.

Both are readings of the formulas in `model.formulas`, exactly and with bounds. A framework may take another route to
the same number (one kernel for three steps, a closed form of a derivative). So the largest bound of all ways that name
a quantity counts, and κ_AD u|q| is added. In the probability form the entries of saturated examples have infinite
bounds, which decide nothing.

Two quantities that differ only in sign are listed once, because a minus may stand at any place: `alignment` tries both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from flint import arb, ctx

from compare_ag.model.arithmetic import K_AD, SECOND_ORDER, Arithmetic, Array
from compare_ag.model.formula import Expr, Formula, gradient, in_order
from compare_ag.model.formulas import ENDS, logistic_ways
from compare_ag.model.rules import Balls, Bounded
from compare_ag.problem import Problem
from compare_ag.verify.objective import Objective
from compare_ag.verify.oracle import BITS, PRECISION_LOCK, Exact, balls, bits_of_sums, enclose
from compare_ag.verify.readings import Reader

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
    """symbols of the quantities in its formula, over all ways to write it"""
    hints: tuple[str, ...] = ()
    """common names of operations that make it"""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of value and gradient."""
        extents: tuple[int, ...] = self.value.high.shape
        return extents


def seconds(problem: Problem, examples: int) -> float:
    """About the time that the quantities of a batch take."""
    return 8e-5 * examples + 6e-7 * examples * problem.layout.size + 2e-2


def named_quantities(problem: Problem, w: Array, b: Array, rows: Array | None = None) -> list[NamedQuantity]:
    """All quantities at the weights w (d,), b () on the examples ``rows`` (None: all), in the order of forward."""
    objective, theta = Objective(problem), problem.layout.flat((w, b)).astype(np.float64)
    first, *ways = logistic_ways(problem.loss, *objective.sizes)
    data, examples = objective.data(rows)
    shares = {"1/n": np.asarray(1.0 / examples), "ones": np.ones(problem.features)}
    at = {**data, **shares, **objective.parameters(theta)}
    arithmetic = Arithmetic.of(problem.dtype, problem.layout.size)
    bits = BITS + bits_of_sums(float(np.abs(data["X"]).max(initial=0.0)), theta)
    with PRECISION_LOCK, ctx.workprec(bits), np.errstate(all="ignore"):
        exact = {name: Balls(balls(array), np.shape(array)) for name, array in at.items()}
        exact["1/n"] = Balls([arb(1) / examples], ())
        sheets = [_LossForm(first, at, exact, examples, arithmetic, exactly=False)]
        sheets += [_LossForm(way, at, exact, examples, arithmetic, exactly=True) for way in ways]
        saturated = np.isinf(sheets[0].bounds["ℓ"].error) & (problem.loss == "probability")
        features = np.asarray(data["X"], dtype=np.float64)
        nothing = np.zeros(features.shape)
        given = NamedQuantity("X", "the features", Exact(features, nothing, 0.0), nothing, None, None, ())
        return [given, *(_quantity(symbol, sheets, arithmetic, saturated) for symbol in _in_order(ways))]


def _in_order(ways: Sequence[Formula]) -> list[str]:
    """The symbols, each after all its origins in any way: the common beginning, the ways' own steps, the common end."""
    named = [[quantity.symbol for quantity in way.named] for way in ways]
    begun = named[0][: named[0].index("z") + 1]
    steps = [symbol for way in named for symbol in way if symbol not in (*begun, *ENDS)]
    last = {symbol: i for i, symbol in enumerate(steps)}
    return [*begun, *sorted(last, key=last.__getitem__), *(end for end in ENDS if any(end in way for way in named))]


class _LossForm:
    """One way to write the objective, read at the weights: bounds of the named quantities, and exact numbers."""

    def __init__(
        self, formula: Formula, at: dict[str, Array], exact: dict[str, Balls], examples: int, arithmetic: Arithmetic,
        *, exactly: bool,
    ) -> None:  # fmt: skip  # one row
        self.named = {quantity.symbol: quantity for quantity in formula.named}
        reached = set(in_order([formula.objective]))
        symbols = {quantity.node: quantity.symbol for quantity in self.named.values()}
        parameters = set(formula.parameters)
        moving: set[Expr] = set()
        for node in in_order([formula.objective]):
            if node in parameters or any(origin in moving for origin in node.args):
                moving.add(node)
        self.differentiable = [
            symbol for symbol, quantity in self.named.items() if quantity.node in moving and quantity.node in reached
        ]
        slopes = gradient(formula.objective, [self.named[symbol].node for symbol in self.differentiable])
        ends = [*(quantity.node for quantity in self.named.values()), *slopes]
        bounds = Reader(ends).bounds(at, examples, arithmetic)
        self.bounds = dict(zip(self.named, bounds, strict=False))
        self.slope_bounds = dict(zip(self.differentiable, bounds[len(self.named) :], strict=True))
        self.made_from = {symbol: _origins(quantity.node, symbols) for symbol, quantity in self.named.items()}
        self.constant = {symbol for symbol, quantity in self.named.items() if quantity.node not in moving}
        self.exactly = exactly
        numbers: list[Exact] = []
        if exactly:
            numbers = [enclose(number.entries, number.shape) for number in Reader(ends).exactly(exact, examples).at({})]
        self.exact = dict(zip(self.named, numbers, strict=False))
        self.slopes = dict(zip(self.differentiable, numbers[len(self.named) :], strict=False))


def _origins(node: Expr, symbols: dict[Expr, str]) -> tuple[str, ...]:
    """The named quantities that a node is made from."""
    origins: dict[str, None] = {}
    for origin in node.args:
        origins |= {symbols[origin]: None} if origin in symbols else dict.fromkeys(_origins(origin, symbols))
    return tuple(origins)


def _quantity(symbol: str, ways: Sequence[_LossForm], arithmetic: Arithmetic, saturated: Array) -> NamedQuantity:
    """A quantity, with the largest finite bound over the ways that name it."""
    naming = [way for way in ways if symbol in way.named]
    written = next(way for way in naming if way.exactly)
    value, slope = written.exact[symbol], next((way.slopes[symbol] for way in naming if symbol in way.slopes), None)
    computed = bool(written.named[symbol].node.args) and symbol not in written.constant
    of_value = _tolerance([way.bounds[symbol] for way in naming], value, arithmetic, saturated, computed)
    of_slope = None
    if slope is not None:
        bounds = [way.slope_bounds[symbol] for way in naming if symbol in way.slope_bounds]
        of_slope = _tolerance(bounds, slope, arithmetic, saturated, symbol != "f")
    meaning = next((way.named[symbol].meaning for way in naming if way.exactly and way.named[symbol].meaning), "")
    origins = dict.fromkeys(origin for way in naming if way.exactly for origin in way.made_from[symbol])
    return NamedQuantity(symbol, meaning, value, of_value, slope, of_slope, tuple(origins), HINTS.get(symbol, ()))


def _tolerance(
    bounds: Sequence[Bounded], exact: Exact, arithmetic: Arithmetic, saturated: Array, computed: bool
) -> Array:
    errors = np.array([np.broadcast_to(bound.error, exact.high.shape) for bound in bounds])
    finite = np.isfinite(errors)
    allowed = np.where(finite.any(axis=0), np.where(finite, errors, 0.0).max(axis=0), np.inf)
    size = np.abs(exact.high)
    if computed:
        allowed = SECOND_ORDER * allowed + ROUTE * arithmetic.u * size + UNDERFLOWS * arithmetic.tiny * (1.0 + size)
        if allowed.shape == saturated.shape:
            allowed = np.where(saturated, np.inf, allowed)
    allowed = np.where(size <= arithmetic.top, allowed, np.inf)
    tolerance: Array = np.where(exact.decides(allowed), allowed, np.inf)
    return tolerance


def negate(quantity: NamedQuantity) -> NamedQuantity:
    """-quantity, with a symbol of its own."""
    value = quantity.value._replace(high=-quantity.value.high, low=-quantity.value.low)
    gradient = quantity.gradient
    if gradient is not None:
        gradient = gradient._replace(high=-gradient.high, low=-gradient.low)
    symbol = quantity.symbol
    simple = symbol.isalnum() or symbol in ("‖w‖²", "Σℓ", "|s|") or symbol.startswith(("log", "exp", "max", "softplus"))
    opposite = symbol.removeprefix("−") if symbol in ("−z", "−|s|") else f"−{symbol}" if simple else f"−({symbol})"
    return replace(quantity, symbol=opposite, meaning=f"minus {symbol}", value=value, gradient=gradient)
