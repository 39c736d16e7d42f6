"""Readings of a formula: its numbers in float64, how far a program may be off, and the exact numbers.

    values   float64 arrays, for any number of points at once
    bounds   the same with the largest error of a program in some arithmetic: of any correct program in the tested
             format, which is a tolerance, or of this reading itself, which proves how well it knows the numbers
    exact    balls

Where an array has a leading axis of P points, parameters are (P, *shape), and so are the results; data have none.
Numbers of single examples are read a few examples at a time, so that they stay in the cache: later operations need only
their sums over the examples (`formula`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

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
CELLS_AT_ONCE = 1 << 22
"""numbers of the data that are read all at once"""
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
        self.place = {node: i for i, node in enumerate(self.order)}
        self.leaves: dict[int, str] = {}
        self.constants: dict[int, Array] = {}
        self._sums: list[_Step] = []
        stages: dict[str, list[_Step]] = {"before": [], "example": [], "after": []}
        whole, after = set[Expr](), set[Expr]()
        for i, node in enumerate(self.order):
            if node.op == "constant":
                self.constants[i] = np.float64(node.value)  # type: ignore[assignment]  # a scalar is a 0-d array here
            elif node in names or not node.args:
                self.leaves[i] = names.get(node, node.name)
            else:
                step = self._step(i, node, whole)
                stage = "example" if node.by_example else "before"
                if isinstance(step.rule, Reduction):
                    after.add(node)
                    self._sums.append(step)
                    continue
                if any(origin in after for origin in node.args):
                    after.add(node)
                    stage = "after"
                stages[stage].append(step)
            if node.op in WHOLE or (node.op in UNROUNDED and all(origin in whole for origin in node.args)):
                whole.add(node)
        self._before, self._example, self._after = stages.values()

    def _step(self, i: int, node: Expr, whole: set[Expr]) -> _Step:
        rule = RULES[node.op]
        alike = len(node.args) == 2 and node.op in UNROUNDED
        fits = tuple(len(node.shape) if alike and not origin.shape else 0 for origin in node.args)
        unrounded = all(origin in whole for origin in node.args)
        if node.op == "multiply":
            unrounded = unrounded or any(origin in whole and _scales(origin) for origin in node.args)
        args = tuple(self.place[origin] for origin in node.args)
        return _Step(i, rule, node, args, fits, unrounded)

    # --- numbers ------------------------------------------------------------------------------------------

    def values(self, at: At, examples: int) -> list[Array]:
        """The ends in float64, of all the examples."""
        return self.on(at, examples).at({})

    def on(self, data: At, examples: int) -> Reading:
        """The ends in float64 on these data, at one or several points a call; on large data at one point a call."""
        if sum(array.size for array in data.values()) > CELLS_AT_ONCE:
            return Streamed(self, data, examples)
        constants = {i: np.asarray(number) for i, number in self.constants.items()}
        given = {name: np.asarray(array, dtype=np.float64) for name, array in data.items()}
        return NumberReading(self, given, constants, lambda step: _value(step, examples))

    def exactly(self, data: Mapping[str, Balls], examples: int) -> NumberReading[Balls]:
        """The ends as balls on these data, in the precision at hand, at one point a call."""
        constants = {i: Balls([arb(float(number))], ()) for i, number in self.constants.items()}
        return NumberReading(
            self, data, constants, lambda step: partial(_exact, step, Site(step.node, examples), examples)
        )

    @property
    def steps(self) -> list[_Step]:
        """All operations, in order."""
        return [*self._before, *self._example, *self._sums, *self._after]

    # --- bounds -------------------------------------------------------------------------------------------

    def bounds(self, at: At, examples: int, arithmetic: Arithmetic) -> list[Bounded]:
        """The ends with their errors in ``arithmetic``; an unknown error is inf, never NaN."""
        way = _Bounds(examples, arithmetic)
        constants = {i: way.load(np.asarray(number)) for i, number in self.constants.items()}
        return [_settle(end) for end in self.in_chunks(at, examples, constants, way)]

    def in_chunks(self, at: At, examples: int, constants: Mapping[int, S], way: _Way[S]) -> list[S]:
        """The ends, a few examples at a time."""
        slots = dict(constants)
        for i, name in self.leaves.items():
            if not self.order[i].by_example:
                slots[i] = way.load(np.asarray(at[name], dtype=np.float64))
        for step in self._before:
            slots[step.place] = way.read(step, [slots[a] for a in step.args])
        ends = [self.place[end] for end in self.ends]
        of_examples: dict[int, list[S]] = {i: [] for i in ends if self.order[i].by_example}
        parts: dict[int, list[S]] = {step.place: [] for step in self._sums}
        for chunk in self._chunks(at, examples):
            numbers = dict(slots)
            for i, name in self.leaves.items():
                if self.order[i].by_example:
                    axis = at[name].ndim - len(self.order[i].shape)
                    part = at[name][(slice(None),) * axis + (chunk,)]
                    numbers[i] = way.load(np.asarray(part, dtype=np.float64))
            for step in self._example:
                numbers[step.place] = way.read(step, [numbers[a] for a in step.args])
            for step in self._sums:
                parts[step.place].append(way.part(step, [numbers[a] for a in step.args]))
            for i, chunks in of_examples.items():
                chunks.append(numbers[i])
        for step in self._sums:
            slots[step.place] = way.whole(step, parts[step.place])
        for step in self._after:
            slots[step.place] = way.read(step, [slots[a] for a in step.args])
        for i, chunks in of_examples.items():
            slots[i] = way.join(chunks, len(self.order[i].shape))
        return [slots[i] for i in ends]

    def _chunks(self, at: At, examples: int) -> Iterator[slice]:
        if not self._example and not self._sums:
            return
        points = max(
            (at[name].shape[0] for i, name in self.leaves.items() if _has_points(self.order[i], at[name])), default=1
        )
        size = max(1, min(MOST_EXAMPLES, CELLS // points))
        for first in range(0, examples, size):
            yield slice(first, min(first + size, examples))


N = TypeVar("N", Array, Balls)
S = TypeVar("S")


class _Way(Protocol[S]):
    """How the numbers of a few examples are computed, and how those of all examples are put together."""

    def load(self, values: Array) -> S:
        """Data or parameters, from float64."""

    def read(self, step: _Step, args: list[S]) -> S:
        """One operation."""

    def part(self, step: _Step, args: list[S]) -> S:
        """A sum over the examples at hand."""

    def whole(self, step: _Step, parts: list[S], /) -> S:
        """The sum over all of them."""

    def join(self, parts: list[S], rank: int) -> S:
        """The numbers of all single examples, from those of each chunk."""


class _Values:
    """Float64 alone."""

    def __init__(self, reader: Reader, examples: int) -> None:
        self._operations = {step.place: _value(step, examples) for step in reader.steps}

    def load(self, values: Array) -> Array:
        return values

    def read(self, step: _Step, args: list[Array]) -> Array:
        return self._operations[step.place](*args)

    part = read

    def whole(self, _: _Step, parts: list[Array], /) -> Array:
        return np.asarray(sum(parts))

    def join(self, parts: list[Array], rank: int) -> Array:
        return np.concatenate(parts, axis=-rank)


class _Bounds:
    """Float64 with the errors of some arithmetic."""

    def __init__(self, examples: int, arithmetic: Arithmetic) -> None:
        self.examples, self.arithmetic = examples, arithmetic

    def load(self, values: Array) -> Bounded:
        """Numbers that a program gets bit for bit; sizes are not needed where every operation is known."""
        if isinstance(self.arithmetic, Known):
            return Bounded(values.astype(self.arithmetic.dtype, copy=False), 0.0, 0.0)
        return Bounded(values, 0.0, np.abs(values))

    def read(self, step: _Step, args: list[Bounded]) -> Bounded:
        fitted = [_fit(number, fit) if fit else number for number, fit in zip(args, step.fits, strict=True)]
        assert isinstance(step.rule, Rule)
        result = step.rule.bound(self._site(step), *fitted)
        return result if step.whole else _inside(result, self.arithmetic)

    def part(self, step: _Step, args: list[Bounded]) -> Bounded:
        assert isinstance(step.rule, Reduction)
        return step.rule.part(self._site(step), *args)

    def whole(self, step: _Step, parts: list[Bounded], /) -> Bounded:
        return _finish_sum(step, parts, self.examples, self.arithmetic)

    def join(self, parts: list[Bounded], rank: int) -> Bounded:
        return _join(parts, rank)

    def _site(self, step: _Step) -> Site:
        return Site(step.node, self.examples, self.arithmetic, step.whole)


class Streamed:
    """A float64 reading on data that are larger than a cache; every array that it makes is smaller than the data."""

    def __init__(self, reader: Reader, data: At, examples: int) -> None:
        self._reader, self._data, self._examples = reader, data, examples
        self._constants = {i: np.asarray(number) for i, number in reader.constants.items()}
        self._way = _Values(reader, examples)

    def at(self, parameters: At) -> list[Array]:
        """The ends at ``parameters``: arrays for all names that the data lack."""
        return self._reader.in_chunks({**self._data, **parameters}, self._examples, self._constants, self._way)


class NumberReading(Generic[N]):
    """A reading on one batch; numbers that depend on its data alone are computed once."""

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
        """The ends at ``parameters``: numbers for all names that the data lack."""
        slots = self._slots.copy()
        for i, name in self._points:
            slots[i] = parameters[name]
        for index, operation, args in self._steps:
            slots[index] = operation(*[slots[a] for a in args])
        return [slots[i] for i in self._ends]


Reading: TypeAlias = NumberReading[Array] | Streamed
"""float64 numbers on one batch"""


def _scales(factor: Expr) -> bool:
    """Whether a product with this factor of whole numbers is exact; of constants, powers of two from 1 upwards are."""
    return factor.op != "constant" or (abs(factor.value) >= 1.0 and math.frexp(factor.value)[0] in (0.5, -0.5))


def _value(step: _Step, examples: int) -> Callable[..., Array]:
    """One operation on arrays: where possible its rule's own function, because small problems make many cheap calls."""
    site, rule, fits = Site(step.node, examples), step.rule, step.fits

    def operation(*arrays: Array) -> Array:
        pairs = zip(arrays, fits, strict=True)
        fitted = (array[(..., *(None,) * fit)] if fit and array.ndim else array for array, fit in pairs)
        return rule.value(site, *fitted)

    if isinstance(rule, Reduction) and rule.mean:
        return lambda *arrays: rule.value(site, *arrays) / examples
    return operation if any(fits) else partial(rule.value, site)


def _exact(step: _Step, site: Site, examples: int, *args: Balls) -> Balls:
    node = step.node
    return Balls(step.rule.exact(site, *args), (examples, *node.shape[1:]) if node.by_example else node.shape)


def _has_points(leaf: Expr, values: Array) -> bool:
    return values.ndim > len(leaf.shape)


def _fit(number: Bounded, axes: int) -> Bounded:
    """A single number for each point, beside arrays."""

    def fit(values: Array | float) -> Array | float:
        return values if isinstance(values, float) or not values.ndim else values[(..., *(None,) * axes)]

    return Bounded(*map(fit, number))  # type: ignore[arg-type]  # arrays stay arrays


def _inside(result: Bounded, arithmetic: Arithmetic) -> Bounded:
    """The result, with infinite errors where its terms may leave the format."""
    size = np.asarray(result.size)
    if bool((size <= arithmetic.top).all()):
        return result
    return result._replace(error=np.where(size <= arithmetic.top, result.error, np.inf))


def _finish_sum(step: _Step, parts: list[Bounded], examples: int, arithmetic: Arithmetic) -> Bounded:
    """A whole sum with the errors of adding its parts, of the tested program's own sum, and of its division by n."""
    assert isinstance(step.rule, Reduction)
    high: Array | float = 0.0
    low: Array | float = 0.0
    error: Array | float = 0.0
    size: Array | float = 0.0
    for part in parts:  # high + low is the sum of the parts' values [Knuth, TAOCP 2, 4.2.2]
        total = high + part.value
        back = total - high
        low = low + ((high - (total - back)) + (part.value - back))
        high, error, size = total, error + part.error, size + part.size
    value, size = np.asarray(high + low), np.asarray(size)
    error = error + arithmetic.u * np.abs(value)
    error = error + arithmetic.long_sum(examples, size)
    if step.rule.route:
        error = error + arithmetic.route(size)
    if step.rule.mean:
        value, error, size = (
            value / examples,
            error / examples + arithmetic.u * np.abs(value / examples),
            size / examples,
        )
    # the sum before its division by n is n times as large, and must fit into the format too
    return Bounded(value, np.where(examples * size <= arithmetic.top, error, np.inf), size)


def _join(parts: Sequence[Bounded], rank: int) -> Bounded:
    """The numbers of all examples, from parts with a few examples each."""

    def array(index: int) -> Array:
        arrays = [np.broadcast_to(part[index], part.value.shape) for part in parts]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-rank)

    return Bounded(array(0), array(1), array(2))


def _settle(end: Bounded) -> Bounded:
    """Errors of the values' shape; inf for NaN, and where the value itself is not finite."""
    value = np.asarray(end.value)
    error = np.broadcast_to(end.error, value.shape)
    error = np.where(np.isnan(error) | ~np.isfinite(value), np.inf, error)
    return Bounded(value, error, np.broadcast_to(end.size, value.shape))
