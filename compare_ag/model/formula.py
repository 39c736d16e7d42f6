"""A formula is data: a graph of operations, which readings evaluate.

An `Expr` is one operation on others, with the shape of its result. The leaves of the graph are the parameters, the data
and constants. `gradient` differentiates: the adjoints are `Expr` again, so that a loss, its gradient and their rounding
errors come from one description. `rules` has the result of each operation, and its error.

**Two ways to write one function.** Where people write a function of a node in several ways, `either` has two: the first
propagates the node's own error; the second is written of the node `exactly`, for the errors of its operations. A
program may use either.

**Examples.** The first axis of data is `EXAMPLES` wherever it occurs, an axis of unspecified length: the same formula
serves every batch. An objective is a mean over the examples plus terms of the parameters alone, so that no example's
number depends on another example. Therefore readings may process a few examples at a time.
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
    """One operation of a formula. Only the same object is equal: a shared result is a shared object."""

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
    """A parameter, which training changes."""
    return Expr("parameter", (), shape, name)


def data(name: str, *shape: int) -> Expr:
    """Given numbers, of each example where the first axis is `EXAMPLES`: features, the strength of a penalty.

    A program receives their bits, without an error.
    """
    return Expr("data", (), shape, name)


def labels(name: str, *shape: int) -> Expr:
    """Data that are small whole numbers: 0 and 1, so that products with them are exact, or the numbers of classes."""
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
"""the shape of a result from those of the arguments; all other operations have the longest argument's shape"""


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
"""whether the shapes of the arguments fit; all other operations take arrays of one shape, and single numbers"""


def apply(op: str, *args: Expr) -> Expr:
    """An operation on others. Raises `ValueError` where the shapes do not fit."""
    shapes = [arg.shape for arg in args]
    shape = SHAPES[op](*shapes) if op in SHAPES else max(shapes, key=len)
    if not (FITS[op](*shapes) if op in FITS else all(extent in (shape, ()) for extent in shapes)):
        raise ValueError(f"{op} of the shapes {' and '.join(map(str, shapes))}")
    return Expr(op, args, shape)


def in_order(ends: Sequence[Expr], stops: Container[Expr] = ()) -> list[Expr]:
    """The ends and all their origins, each after its arguments, without the origins of ``stops``."""
    order: dict[Expr, None] = {}

    def visit(node: Expr) -> None:
        if node not in order:
            for origin in () if node in stops else node.args:
                visit(origin)
            order[node] = None

    for end in ends:
        visit(end)
    return list(order)


# --- derivatives: the adjoint of each argument, from that of the result -------------------------------------


def _affine(g: Expr, _: Expr, x: Expr, w: Expr, b: Expr) -> Iterator[Expr]:
    """z = x w + b for every example."""
    yield apply("back_through", g, w)
    yield apply("over_examples", x, g)
    yield apply("sum_of_examples", g)


def _add(g: Expr, _: Expr, a: Expr, b: Expr) -> Iterator[Expr]:
    for term in (a, b):
        yield g if term.shape == g.shape else _sum_uses(g, constant(1.0))


def _multiply(g: Expr, _: Expr, a: Expr, b: Expr) -> Iterator[Expr]:
    for factor, cofactor in ((a, b), (b, a)):
        yield g * cofactor if factor.shape == (g * cofactor).shape else _sum_uses(g, cofactor)


def _sum_uses(g: Expr, cofactor: Expr) -> Expr:
    """The adjoint of a single number that was used many times, each time multiplied by ``cofactor``."""
    if g.by_example:
        g, cofactor = apply("sum_of_examples", g * cofactor), constant(1.0)
    return apply("dot", g, cofactor) if g.shape else g


def _some_data(a: Expr) -> Expr:
    """Data from which ``a`` is made: its examples can be counted without computing ``a``."""
    return next(node for node in in_order([a]) if node.by_example and not node.args)


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

    Raises `ValueError` where ``end`` does not depend on one of ``wrt``.
    """
    order = in_order([end])
    towards: set[Expr] = set(wrt)
    for node in order:
        if any(origin in towards for origin in node.args):
            towards.add(node)
    adjoints: dict[Expr, Expr] = {}
    arriving: dict[Expr, list[tuple[Expr, bool]]] = {end: [(constant(1.0), False)]}
    for node in reversed(order):
        if node not in arriving or node not in towards:
            continue
        adjoints[node] = adjoint = _together(arriving[node])
        contributions = PULLS[node.op](adjoint, node, *node.args) if node.args else ()
        for origin, brought in zip(node.args, contributions, strict=False):
            if origin in towards:
                arriving.setdefault(origin, []).append((brought, node.op == "exactly"))
    missing = [node.name or node.op for node in wrt if node not in adjoints]
    if missing:
        raise ValueError(f"{', '.join(missing)} has no part in it")
    return [adjoints[node] for node in wrt]


def _together(arriving: Sequence[tuple[Expr, bool]]) -> Expr:
    """The sum of the arriving adjoints; one by another way to write the function is an alternative."""
    ways = [brought for brought, alternative in arriving if not alternative]
    total = ways[0]
    for brought in ways[1:]:
        total = total + brought
    for brought, alternative in arriving:
        if alternative:
            total = apply("either", total, brought)
    return total


@dataclass(frozen=True, eq=False)
class Named:
    """A node with a mathematical name."""

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
        """The node of a named quantity; the last node with that name."""
        return next(quantity.node for quantity in reversed(self.named) if quantity.symbol == symbol)
