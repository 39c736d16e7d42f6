"""Readings of a formula: its numbers in float64, how far a program may be off, and the exact numbers.

    values   float64 arrays, for any number of points at once
    bounds   the same with the largest error of a program in some arithmetic: of any correct one in the tested format,
             which is a tolerance; or of this very reading, which is a proof of how well it knows the numbers
    exact    balls

Where an array has a leading axis of P points, parameters are (P, *shape), and so are the results; data have none.
Numbers of single examples are read a few examples at a time, so that they stay in the cache: nothing but a sum over the
examples leaves them (`formula`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
from flint import arb

from compare_ag.model.arithmetic import Arithmetic, Array, Known
from compare_ag.model.formula import Expr, in_order
from compare_ag.model.rules import RULES, WHOLE, Balls, Bounded, Reduction, Rule, Site

At: TypeAlias = Mapping[str, Array]
"""arrays by the names of parameters and data"""
CELLS = 1 << 15
"""points x examples that are read at a time"""
MOST_EXAMPLES = 1 << 12
"""that are read at a time: sums of exact products are exact up to so many terms"""
UNROUNDED = ("add", "multiply", "negative")
"""operations that small whole numbers leave whole"""


class _Step(NamedTuple):
    """One operation, in its place."""

    place: int
    rule: Rule | Reduction
    node: Expr
    args: tuple[int, ...]
    fits: tuple[int, ...]
    """for each argument, how many axes a single number lacks beside the result"""
    whole: bool


class Reader:
    """Some expressions of a formula, put in order once.

    given: nodes that are read from `At` by these names, like data, instead of being computed.
    """

    def __init__(self, ends: Sequence[Expr], given: Mapping[Expr, str] | None = None) -> None:
        self.ends = list(ends)
        names = given or {}
        self.order = in_order(ends, names)
        self.place = {one: i for i, one in enumerate(self.order)}
        self.leaves: dict[int, str] = {}
        self._constants: dict[int, Array] = {}
        self._sums: list[_Step] = []
        stages: dict[str, list[_Step]] = {"before": [], "example": [], "after": []}
        whole, after = set[Expr](), set[Expr]()
        for i, one in enumerate(self.order):
            if one.op == "constant":
                self._constants[i] = np.float64(one.value)  # type: ignore[assignment]  # a scalar is a 0-d array here
            elif one in names or not one.args:
                self.leaves[i] = names.get(one, one.name)
            else:
                step = self._step(i, one, whole)
                stage = "example" if one.by_example else "before"
                if isinstance(step.rule, Reduction):
                    after.add(one)
                    self._sums.append(step)
                    continue
                if any(origin in after for origin in one.args):
                    after.add(one)
                    stage = "after"
                stages[stage].append(step)
            if one.op in WHOLE or (one.op in UNROUNDED and all(origin in whole for origin in one.args)):
                whole.add(one)
        self._before, self._example, self._after = stages.values()

    def _step(self, i: int, one: Expr, whole: set[Expr]) -> _Step:
        rule = RULES[one.op]
        alike = len(one.args) == 2 and one.op in UNROUNDED
        fits = tuple(len(one.shape) if alike and not origin.shape else 0 for origin in one.args)
        unrounded = all(origin in whole for origin in one.args)
        if one.op == "multiply":
            unrounded = unrounded or any(origin in whole and _scales(origin) for origin in one.args)
        args = tuple(self.place[origin] for origin in one.args)
        return _Step(i, rule, one, args, fits, unrounded)

    # --- numbers ------------------------------------------------------------------------------------------

    def values(self, at: At, examples: int) -> list[Array]:
        """The ends in float64, of all the examples at once."""
        return self.on(at, examples).at({})

    def on(self, data: At, examples: int) -> Numbers[Array]:
        """The ends in float64, of one or several points after another on the same data; for small data, or for one."""
        constants = {i: np.asarray(number) for i, number in self._constants.items()}
        return Numbers(self, data, constants, lambda step: _value(step, examples))

    def exactly(self, data: Mapping[str, Balls], examples: int) -> Numbers[Balls]:
        """The ends as balls, in the precision at hand, of one point after another on the same data."""
        constants = {i: Balls([arb(float(number))], ()) for i, number in self._constants.items()}
        return Numbers(self, data, constants, lambda step: partial(_exact, step, Site(step.node, examples), examples))

    @property
    def steps(self) -> list[_Step]:
        """All operations, in order."""
        return [*self._before, *self._example, *self._sums, *self._after]

    # --- bounds -------------------------------------------------------------------------------------------

    def bounds(self, at: At, examples: int, arithmetic: Arithmetic) -> list[Bounded]:
        """The ends with their errors in ``arithmetic``; inf, never NaN, where nothing can be said."""
        slots: dict[int, Bounded] = {
            i: Bounded(number, 0.0, abs(float(number))) for i, number in self._constants.items()
        }
        for i, name in self.leaves.items():
            if not self.order[i].by_example:
                slots[i] = _given(at[name], arithmetic)
        for step in self._before:
            slots[step.place] = self._read(step, slots, examples, arithmetic)
        ends = [self.place[end] for end in self.ends]
        kept: dict[int, list[Bounded]] = {i: [] for i in ends if self.order[i].by_example}
        totals: dict[int, _Total] = {}
        for chunk in self._chunks(at, examples):
            here = dict(slots)
            for i, name in self.leaves.items():
                if self.order[i].by_example:
                    axis = at[name].ndim - len(self.order[i].shape)
                    some = at[name][(slice(None),) * axis + (chunk,)]
                    here[i] = _given(np.asarray(some, dtype=np.float64), arithmetic)
            for step in self._example:
                here[step.place] = self._read(step, here, examples, arithmetic)
            for step in self._sums:
                assert isinstance(step.rule, Reduction)
                part = step.rule.part(self._site(step, examples, arithmetic), *(here[a] for a in step.args))
                totals.setdefault(step.place, _Total()).add(part)
            for i, parts in kept.items():
                parts.append(here[i])
        for step in self._sums:
            slots[step.place] = _finished(step, totals[step.place], examples, arithmetic)
        for step in self._after:
            slots[step.place] = self._read(step, slots, examples, arithmetic)
        for i, parts in kept.items():
            slots[i] = _joined(parts, len(self.order[i].shape))
        return [_settled(slots[i]) for i in ends]

    def _chunks(self, at: At, examples: int) -> Iterator[slice]:
        if not self._example and not self._sums:
            return
        points = max(
            (at[name].shape[0] for i, name in self.leaves.items() if _has_points(self.order[i], at[name])), default=1
        )
        size = max(1, min(MOST_EXAMPLES, CELLS // points))
        for first in range(0, examples, size):
            yield slice(first, min(first + size, examples))

    @staticmethod
    def _site(step: _Step, examples: int, arithmetic: Arithmetic) -> Site:
        return Site(step.node, examples, arithmetic, step.whole)

    def _read(self, step: _Step, slots: Mapping[int, Bounded], examples: int, arithmetic: Arithmetic) -> Bounded:
        args = [_fitted(slots[a], fit) if fit else slots[a] for a, fit in zip(step.args, step.fits, strict=True)]
        assert isinstance(step.rule, Rule)
        found = step.rule.bound(self._site(step, examples, arithmetic), *args)
        return found if step.whole else _inside(found, arithmetic)


N = TypeVar("N", Array, Balls)


class Numbers(Generic[N]):
    """A reading on one batch; what depends on its data alone is computed once."""

    def __init__(
        self,
        reader: Reader,
        data: Mapping[str, N],
        constants: Mapping[int, N],
        bound: Callable[[_Step], Callable[..., N]],
    ) -> None:
        self._slots: list[Any] = [None] * len(reader.order)
        self._ends = [reader.place[end] for end in reader.ends]
        for i, number in constants.items():
            self._slots[i] = number
        self._points = [(i, name) for i, name in reader.leaves.items() if name not in data]
        for i, name in reader.leaves.items():
            if name in data:
                self._slots[i] = data[name]
        moving = {i for i, _ in self._points}
        self._steps: list[tuple[int, Callable[..., N], tuple[int, ...]]] = []
        for step in reader.steps:
            if moving.isdisjoint(step.args):
                self._slots[step.place] = bound(step)(*(self._slots[a] for a in step.args))
            else:
                moving.add(step.place)
                self._steps.append((step.place, bound(step), step.args))

    def at(self, parameters: Mapping[str, N]) -> list[N]:
        """The ends, for what was not among the data."""
        slots = self._slots.copy()
        for i, name in self._points:
            slots[i] = parameters[name]
        for index, operation, args in self._steps:
            slots[index] = operation(*[slots[a] for a in args])
        return [slots[i] for i in self._ends]


def _scales(factor: Expr) -> bool:
    """Whether to multiply by it rounds nothing: of constants powers of two from 1 upwards do not."""
    return factor.op != "constant" or (abs(factor.value) >= 1.0 and math.frexp(factor.value)[0] in (0.5, -0.5))


def _value(step: _Step, examples: int) -> Callable[..., Array]:
    """One operation on arrays: mostly its rule's own function, for a small problem makes ten thousand steps."""
    site, rule, fits = Site(step.node, examples), step.rule, step.fits

    def fitted(*arrays: Array) -> Array:
        pairs = zip(arrays, fits, strict=True)
        return rule.value(site, *(one[(..., *(None,) * fit)] if fit and one.ndim else one for one, fit in pairs))

    if isinstance(rule, Reduction) and rule.mean:
        return lambda *arrays: rule.value(site, *arrays) / examples
    return fitted if any(fits) else partial(rule.value, site)


def _exact(step: _Step, site: Site, examples: int, *args: Balls) -> Balls:
    node = step.node
    return Balls(step.rule.exact(site, *args), (examples, *node.shape[1:]) if node.by_example else node.shape)


def _given(values: Array, arithmetic: Arithmetic) -> Bounded:
    """What a program gets, bit for bit; sizes are of no use where every operation is known."""
    return Bounded(values, 0.0, 0.0 if isinstance(arithmetic, Known) else np.abs(values))


def _has_points(leaf: Expr, values: Array) -> bool:
    return values.ndim > len(leaf.shape)


def _fitted(one: Bounded, axes: int) -> Bounded:
    """A single number for each point, beside arrays."""

    def fit(values: Array | float) -> Array | float:
        return values if isinstance(values, float) or not values.ndim else values[(..., *(None,) * axes)]

    return Bounded(*map(fit, one))  # type: ignore[arg-type]  # arrays stay arrays


def _inside(found: Bounded, arithmetic: Arithmetic) -> Bounded:
    """Infinite errors where what is added up may leave the format."""
    size = np.asarray(found.size)
    if bool((size <= arithmetic.top).all()):
        return found
    return found._replace(error=np.where(size <= arithmetic.top, found.error, np.inf))


class _Total:
    """A sum over the examples under way: high + low is the sum of the parts' values."""

    def __init__(self) -> None:
        self.high: Array | float = 0.0
        self.low: Array | float = 0.0
        self.error: Array | float = 0.0
        self.size: Array | float = 0.0

    def add(self, part: Bounded) -> None:
        """One part more; the rounding error of the sum is kept [Knuth, TAOCP 2, 4.2.2]."""
        total = self.high + part.value
        back = total - self.high
        self.low = self.low + ((self.high - (total - back)) + (part.value - back))
        self.high, self.error, self.size = total, self.error + part.error, self.size + part.size


def _finished(step: _Step, total: _Total, examples: int, arithmetic: Arithmetic) -> Bounded:
    """What the whole sum loses, and its division by n."""
    assert isinstance(step.rule, Reduction)
    value = np.asarray(total.high + total.low)
    error, size = total.error + arithmetic.u * np.abs(value), np.asarray(total.size)
    error = error + arithmetic.long_sum(examples, size)
    if step.rule.route:
        error = error + arithmetic.route(size)
    if step.rule.mean:
        value, error, size = (
            value / examples,
            error / examples + arithmetic.u * np.abs(value / examples),
            size / examples,
        )
    # before it is divided by n, or its terms were: that much larger
    return Bounded(value, np.where(examples * size <= arithmetic.top, error, np.inf), size)


def _joined(parts: Sequence[Bounded], rank: int) -> Bounded:
    """All examples, of parts with some each."""

    def one(index: int) -> Array:
        arrays = [np.broadcast_to(part[index], part.value.shape) for part in parts]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-rank)

    return Bounded(one(0), one(1), one(2))


def _settled(found: Bounded) -> Bounded:
    """Errors of the values' shape; inf for NaN, and where the value itself is not finite."""
    value = np.asarray(found.value)
    error = np.broadcast_to(found.error, value.shape)
    error = np.where(np.isnan(error) | ~np.isfinite(value), np.inf, error)
    return Bounded(value, error, np.broadcast_to(found.size, value.shape))
