"""A formula is data: a graph of operations, of which everything else is a reading.

An `Expr` is one operation on others, with the shape of its result; where the graph ends are the parameters, the data
and constants. `gradient` differentiates: the adjoints are `Expr` again, so that a loss, its gradient and their rounding
errors come from one description. What an operation computes, exactly or with which error, stands in `rules`.

**Two ways to write one function.** Where people write a function of a node in several ways, `either` has both: the
first one is how the node's own error is carried on, the other one is written of the node `exactly`, for what its
operations lose. A program may take either.

**Examples.** The first axis of data is `EXAMPLES` wherever it occurs, an axis whose length a formula does not know: the
same formula serves every batch. An objective is a mean over the examples plus terms of the parameters alone, so that no
example's number depends on another example; readings rely on that and take the examples a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

EXAMPLES = -1
"""the length of the axis of the examples, in shapes"""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Expr:
    """One operation of a formula. Equal is only the same one: a shared result is a shared object."""

    op: str
    """a key of `rules.RULES`"""
    args: tuple[Expr, ...]
    shape: Shape
    name: str = ""
    """of parameters, data and constants"""
    value: float = 0.0
    """of a constant"""

    @property
    def by_example(self) -> bool:
        """Whether each example has its own numbers."""
        return self.shape[:1] == (EXAMPLES,)

    def __add__(self, other: Expr) -> Expr:
        return apply("add", self, other)

    def __sub__(self, other: Expr) -> Expr:
        return apply("add", self, -other)

    def __mul__(self, other: Expr) -> Expr:
        if self.op == "constant" and self.value == 1.0:
            return other
        return self if other.op == "constant" and other.value == 1.0 else apply("multiply", self, other)

    def __neg__(self) -> Expr:
        return apply("negative", self)


def parameter(name: str, *shape: int) -> Expr:
    """What is trained."""
    return Expr("parameter", (), shape, name)


def data(name: str, *shape: int) -> Expr:
    """What is given, of each example where the first axis is `EXAMPLES`: features, the strength of a penalty.

    A program gets these bits and computes nothing to have them.
    """
    return Expr("data", (), shape, name)


def labels(name: str, *shape: int) -> Expr:
    """Data that are small whole numbers: 0 and 1, so that to multiply by them is exact, or the numbers of classes."""
    return Expr("labels", (), shape, name)


def constant(value: float) -> Expr:
    """A number that every format holds exactly."""
    return Expr("constant", (), (), f"{value:g}", value)


SHAPES: dict[str, Callable[..., Shape]] = {
    "affine": lambda x, w, b: (*x[:-1], *w[1:]),
    "dot": lambda a, b: (),
    "mean": lambda a: a[1:],
    "share": lambda g, like: (EXAMPLES, *g),
    "each": lambda a, like: (EXAMPLES, *a),
    "over_examples": lambda x, g: (*x[1:], *g[1:]),
    "sum_of_examples": lambda g: g[1:],
    "back_through": lambda g, w: (*g[:1], *w[:1]),
    "logsumexp": lambda a: a[:-1],
    "weigh": lambda p, g: p,
    "pick": lambda a, y: a[:-1],
    "unpick": lambda g, y, like: like,
    "descend": lambda theta, rate, g: theta,
}
"""the shape of a result from those of the arguments; of all others the longest argument's"""


def _examples(*shapes: Shape) -> bool:
    return all(shape[:1] == (EXAMPLES,) for shape in shapes)


FITS: dict[str, Callable[..., bool]] = {
    "affine": lambda x, w, b: _examples(x) and x[1:] == w[:1] and b == w[1:],
    "dot": lambda a, b: b in (a, ()) and not _examples(a),
    "mean": _examples,
    "share": lambda g, like: _examples(like) and not _examples(g),
    "each": lambda a, like: _examples(like) and not _examples(a),
    "over_examples": lambda x, g: _examples(x, g) and len(x) == 2,
    "sum_of_examples": _examples,
    "back_through": lambda g, w: _examples(g) and len(w) == len(g) and g[1:] == w[1:],
    "logsumexp": lambda a: _examples(a) and len(a) == 2,
    "softmax": lambda a: _examples(a) and len(a) == 2,
    "weigh": lambda p, g: _examples(p) and p[:-1] == g,
    "pick": lambda a, y: _examples(a) and a[:-1] == y,
    "unpick": lambda g, y, like: _examples(like) and g == y == like[:-1],
    "descend": lambda theta, rate, g: theta == g and rate == (),
}
"""whether the shapes of the arguments fit; of all others they are one shape, but for single numbers"""


def apply(op: str, *args: Expr) -> Expr:
    """An operation on others. Raises `ValueError` where the shapes do not fit."""
    shapes = [one.shape for one in args]
    shape = SHAPES[op](*shapes) if op in SHAPES else max(shapes, key=len)
    if not (FITS[op](*shapes) if op in FITS else all(one in (shape, ()) for one in shapes)):
        raise ValueError(f"{op} of the shapes {' and '.join(map(str, shapes))}")
    return Expr(op, args, shape)


def in_order(ends: Sequence[Expr], stops: Container[Expr] = ()) -> list[Expr]:
    """All that the ends are made from, each after its arguments, and the ends; nothing that only ``stops`` need."""
    found: dict[Expr, None] = {}

    def visit(one: Expr) -> None:
        if one not in found:
            for origin in () if one in stops else one.args:
                visit(origin)
            found[one] = None

    for end in ends:
        visit(end)
    return list(found)


# --- derivatives: the adjoint of each argument, from that of the result -------------------------------------


def _affine(g: Expr, _: Expr, x: Expr, w: Expr, b: Expr) -> Iterator[Expr]:
    """z = x w + b for every example."""
    yield apply("back_through", g, w)
    yield apply("over_examples", x, g)
    yield apply("sum_of_examples", g)


def _add(g: Expr, _: Expr, a: Expr, b: Expr) -> Iterator[Expr]:
    for one in (a, b):
        yield g if one.shape == g.shape else _served(g, constant(1.0))


def _multiply(g: Expr, _: Expr, a: Expr, b: Expr) -> Iterator[Expr]:
    for one, other in ((a, b), (b, a)):
        yield g * other if one.shape == (g * other).shape else _served(g, other)


def _served(g: Expr, other: Expr) -> Expr:
    """The adjoint of a single number that served many, each times ``other``."""
    if g.by_example:
        g, other = apply("sum_of_examples", g * other), constant(1.0)
    return apply("dot", g, other) if g.shape else g


def _some_data(a: Expr) -> Expr:
    """Data that ``a`` is made from: its examples are counted, without computing ``a``."""
    return next(one for one in in_order([a]) if one.by_example and not one.args)


PULLS: dict[str, Callable[..., Iterator[Expr]]] = {
    "affine": _affine,
    "multiply": _multiply,
    "add": _add,
    "negative": lambda g, _, a: iter((-g,)),
    "dot": lambda g, _, a, b: iter((g * b, g * a)),
    "mean": lambda g, _, a: iter((apply("share", g, _some_data(a)),)),
    "exp": lambda g, e, a: iter((g * e,)),
    "log": lambda g, _, a: iter((g * apply("reciprocal", a),)),
    "reciprocal": lambda g, _, a: iter((-(g * apply("inverse_square", a)),)),
    "softplus": lambda g, _, s: iter((g * apply("sigmoid", s),)),
    "sigmoid": lambda g, _, s: iter((g * apply("sigmoid_slope", s),)),
    "tanh": lambda g, _, a: iter((g * apply("tanh_slope", a),)),
    "absolute": lambda g, _, a: iter((g * apply("sign", a),)),
    "relu": lambda g, _, a: iter((g * apply("step", a),)),
    "logsumexp": lambda g, _, a: iter((apply("weigh", apply("softmax", a), g),)),
    "pick": lambda g, _, a, y: iter((apply("unpick", g, y, a),)),
    "each": lambda g, _, a, like: iter((apply("sum_of_examples", g),)),
    "sum_of_examples": lambda g, _, a: iter((apply("each", g, _some_data(a)),)),
    "exactly": lambda g, _, a: iter((g,)),
    "either": lambda g, _, a, b: iter((g, g)),
    "known_as": lambda g, _, a, b: iter((g,)),
}


def gradient(end: Expr, wrt: Sequence[Expr]) -> list[Expr]:
    """The derivative of ``end`` () by each of ``wrt``, of its shape: reverse mode.

    Raises `ValueError` where one of them has no part in ``end``.
    """
    order = in_order([end])
    towards: set[Expr] = set(wrt)
    for one in order:
        if any(origin in towards for origin in one.args):
            towards.add(one)
    adjoints: dict[Expr, Expr] = {}
    arriving: dict[Expr, list[tuple[Expr, bool]]] = {end: [(constant(1.0), False)]}
    for one in reversed(order):
        if one not in arriving or one not in towards:
            continue
        adjoints[one] = adjoint = _together(arriving[one])
        for origin, brought in zip(one.args, PULLS[one.op](adjoint, one, *one.args) if one.args else (), strict=False):
            if origin in towards:
                arriving.setdefault(origin, []).append((brought, one.op == "exactly"))
    missing = [one.name or one.op for one in wrt if one not in adjoints]
    if missing:
        raise ValueError(f"{', '.join(missing)} has no part in it")
    return [adjoints[one] for one in wrt]


def _together(arriving: Sequence[tuple[Expr, bool]]) -> Expr:
    """The sum of what arrives; what arrives by another way of writing the same function is an alternative to it."""
    ways = [brought for brought, other in arriving if not other]
    total = ways[0]
    for brought in ways[1:]:
        total = total + brought
    for brought, other in arriving:
        if other:
            total = apply("either", total, brought)
    return total


@dataclass(frozen=True, eq=False)
class Named:
    """A node that mathematics has a name for."""

    node: Expr
    symbol: str
    meaning: str = ""


@dataclass(frozen=True, eq=False)
class Formula:
    """An objective f () of parameters and data, and the quantities between them that have a name."""

    objective: Expr
    parameters: tuple[Expr, ...]
    """in the order of the model's `Layout`"""
    named: tuple[Named, ...] = ()
    """in the order of forward"""

    def __getitem__(self, symbol: str) -> Expr:
        """The node of a named quantity; the last one that has the name."""
        return next(one.node for one in reversed(self.named) if one.symbol == symbol)
