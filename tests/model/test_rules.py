"""The rules of each operation, against mpmath and against programs in the tested formats.

`TRUTH` says once more what an operation is, in 400 bits; `PROGRAMS` are ways to compute it in float32 or float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from flint import arb, ctx
from mpmath import mp

from compare_ag.model.arithmetic import SECOND_ORDER, Arithmetic, Extended, Known
from compare_ag.model.formula import (
    EXAMPLES,
    PULLS,
    Expr,
    apply,
    constant,
    data,
    gradient,
    in_order,
    labels,
    parameter,
)
from compare_ag.model.rules import RULES, Balls, Bounded, Reduction, Site
from compare_ag.verify.readings import Reader

E, N, CLASSES = EXAMPLES, 5, 3
DTYPES = ("float32", "float64")


@pytest.fixture(autouse=True)
def _many_bits_and_no_warnings() -> Iterator[None]:
    """Overflow and underflow are what is looked at here."""
    with mp.workprec(400), ctx.workprec(200), np.errstate(all="ignore"):
        yield


# --- what the operations are ------------------------------------------------------------------------------


class Case(NamedTuple):
    """An operation with its arguments: their shapes, what numbers they are, and which may have an axis of points."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    kinds: str
    """for each a letter: r real, p positive, n not zero, k class, l only counted, e rate"""
    pointed: str
    """for each 1 or 0"""

    @property
    def node(self) -> Expr:
        leaf = {"k": labels}
        return apply(
            self.op,
            *(
                leaf.get(kind, data)(f"a{i}", *shape)
                for i, (kind, shape) in enumerate(zip(self.kinds, self.shapes, strict=True))
            ),
        )

    @property
    def by_name(self) -> str:
        return f"{self.op}-{'x'.join('_'.join(map(str, shape)) for shape in self.shapes)}-{self.pointed}"


UNARY = (
    "negative",
    "exp",
    "softplus",
    "sigmoid",
    "sigmoid_slope",
    "tanh",
    "tanh_slope",
    "absolute",
    "relu",
    "sign",
    "step",
)
CASES = [
    *(Case(op, ((E,),), "r", "1") for op in UNARY),
    Case("tanh", ((E, 3),), "r", "1"),
    Case("log", ((E,),), "p", "1"),
    Case("reciprocal", ((E,),), "n", "1"),
    Case("inverse_square", ((E,),), "n", "1"),
    Case("add", ((E,), (E,)), "rr", "11"),
    Case("add", ((), (E,)), "rr", "01"),
    Case("add", ((3,), (3,)), "rr", "11"),
    Case("multiply", ((E,), (E,)), "rr", "11"),
    Case("multiply", ((E,), ()), "rr", "10"),
    Case("multiply", ((3, 2), (3, 2)), "rr", "11"),
    Case("affine", ((E, 4), (4,), ()), "rrr", "011"),
    Case("affine", ((E, 4), (4,), ()), "rrr", "111"),
    Case("affine", ((E, 4), (4, 2), (2,)), "rrr", "011"),
    Case("affine", ((E, 4), (4, 2), (2,)), "rrr", "111"),
    Case("back_through", ((E,), (3,)), "rr", "11"),
    Case("back_through", ((E, 2), (3, 2)), "rr", "11"),
    Case("over_examples", ((E, 3), (E,)), "rr", "01"),
    Case("over_examples", ((E, 3), (E,)), "rr", "11"),
    Case("over_examples", ((E, 3), (E, 2)), "rr", "01"),
    Case("over_examples", ((E, 3), (E, 2)), "rr", "11"),
    Case("mean", ((E,),), "r", "1"),
    Case("mean", ((E, 3),), "r", "1"),
    Case("sum_of_examples", ((E,),), "r", "1"),
    Case("sum_of_examples", ((E, 3),), "r", "1"),
    Case("dot", ((4,), (4,)), "rr", "11"),
    Case("dot", ((4,), (4,)), "rr", "10"),
    Case("dot", ((3, 2), (3, 2)), "rr", "11"),
    Case("share", ((), (E,)), "rl", "10"),
    Case("share", ((3,), (E, 2)), "rl", "10"),
    Case("each", ((), (E, 2)), "rl", "10"),
    Case("each", ((3,), (E,)), "rl", "10"),
    Case("logsumexp", ((E, CLASSES),), "r", "1"),
    Case("softmax", ((E, CLASSES),), "r", "1"),
    Case("weigh", ((E, CLASSES), (E,)), "rr", "11"),
    Case("pick", ((E, CLASSES), (E,)), "rk", "10"),
    Case("unpick", ((E,), (E,), (E, CLASSES)), "rkl", "100"),
    Case("exactly", ((E,),), "r", "1"),
    Case("either", ((E,), (E,)), "rr", "11"),
    Case("known_as", ((E,), (E,)), "rr", "11"),
    Case("descend", ((3,), (), (3,)), "rer", "101"),
    Case("descend", ((3, 2), (), (3, 2)), "rer", "101"),
]  # fmt: skip  # a table
OPS = sorted({case.op for case in CASES})


def vectorised(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return np.frompyfunc(function, 1, 1)


def chosen(y: Any) -> Any:
    return np.eye(CLASSES, dtype=int)[np.asarray(y, dtype=float).astype(int)]


def true_softmax(a: Any) -> Any:
    e = vectorised(mp.exp)(a)
    return e / e.sum(axis=-1, keepdims=True)


def true_sigmoid(s: Any) -> Any:
    return 1 / (1 + vectorised(mp.exp)(-s))


TRUTH: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "negative": lambda a: 0 - a,
    "exp": vectorised(mp.exp),
    "log": vectorised(mp.log),
    "reciprocal": lambda a: 1 / a,
    "inverse_square": lambda a: 1 / a**2,
    "softplus": vectorised(lambda s: mp.log1p(mp.exp(s)) if s < 0 else s + mp.log1p(mp.exp(-s))),
    "sigmoid": true_sigmoid,
    "sigmoid_slope": lambda s: true_sigmoid(s) * true_sigmoid(-s),
    "tanh": vectorised(mp.tanh),
    "tanh_slope": vectorised(lambda a: mp.sech(a) ** 2),
    "absolute": vectorised(abs),
    "relu": vectorised(lambda a: a if a > 0 else mp.mpf(0)),
    "sign": vectorised(lambda a: mp.mpf(int(a > 0) - int(a < 0))),
    "step": vectorised(lambda a: mp.mpf(1 if a > 0 else 0 if a < 0 else 0.5)),
    "affine": lambda x, w, b: x @ w + b,
    "back_through": lambda g, w: np.multiply.outer(g, w) if g.ndim == 1 else g @ w.T,
    "over_examples": lambda x, g: x.T @ g,
    "mean": lambda a: a.sum(axis=0) / N,
    "sum_of_examples": lambda a: a.sum(axis=0),
    "dot": lambda a, b: (a * b).sum(),
    "share": lambda g, like: np.stack([g / N] * N),
    "each": lambda a, like: np.stack([a] * N),
    "logsumexp": lambda a: vectorised(mp.log)(vectorised(mp.exp)(a).sum(axis=-1)),
    "softmax": true_softmax,
    "weigh": lambda p, g: p * g[:, None],
    "pick": lambda a, y: (a * chosen(y)).sum(axis=-1),
    "unpick": lambda g, y, like: g[:, None] * chosen(y),
    "exactly": lambda a: a,
    "either": lambda a, b: a,
    "known_as": lambda a, b: a,
    "descend": lambda theta, rate, g: theta - rate * g,
}


def truth(case: Case, args: list[Any]) -> Any:
    """The exact result (…) as mpmath numbers."""
    numbers = [vectorised(mp.mpf)(np.asarray(one, dtype=object)) for one in args]
    return np.asarray(TRUTH[case.op](*(np.asarray(one, dtype=object) for one in numbers)), dtype=object)


# --- programs, in the arrays' own dtype -------------------------------------------------------------------


def one_after_another(terms: Any) -> Any:
    """Along the first axis."""
    total = np.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total


def backwards(terms: Any) -> Any:
    return one_after_another(terms[::-1])


def in_halves(terms: Any) -> Any:
    if len(terms) == 1:
        return terms[0]
    return in_halves(terms[: len(terms) // 2]) + in_halves(terms[len(terms) // 2 :])


def by_size(terms: Any) -> Any:
    """Largest first: small terms are lost."""
    order = np.argsort(-np.abs(terms), axis=0)
    return one_after_another(np.take_along_axis(terms, order, axis=0))


SUMS = (one_after_another, backwards, in_halves, by_size, lambda terms: terms.sum(axis=0))


def rounded_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Computed in extended precision, as a fused or widened program does."""

    def computed(*args: Any) -> Any:
        return np.asarray(function(*(np.asarray(one, np.longdouble) for one in args))).astype(np.result_type(*args))

    return computed


def stable_sigmoid(s: Any) -> Any:
    e = np.exp(-np.abs(s))
    return np.where(s >= 0, 1, e) / (1 + e)


SIGMOIDS = (
    stable_sigmoid,
    lambda s: 1 / (1 + np.exp(-s)),
    lambda s: (1 + np.tanh(s / 2)) / 2,
    lambda s: 1 - 1 / (1 + np.exp(s)),
    lambda s: np.exp(-(np.maximum(-s, 0) + np.log1p(np.exp(-np.abs(s))))),
)


def small(function: Callable[..., Any]) -> Callable[..., Any]:
    """A program that overflows or loses digits early: it is looked at where it does not, and is NaN elsewhere."""

    def computed(a: Any) -> Any:
        limit = 80 if a.dtype == np.float32 else 700
        fine = np.abs(a) < limit
        return np.where(fine if a.ndim == 1 else fine.all(axis=1), function(np.where(fine, a, 0)).T, np.nan).T

    return computed


def shifted_softmax(a: Any) -> Any:
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def shifted_logsumexp(a: Any) -> Any:
    top = a.max(axis=1)
    return top + np.log(np.exp(a - top[:, None]).sum(axis=1))


def affine_by(total: Callable[[Any], Any], first: bool = False) -> Callable[..., Any]:
    def computed(x: Any, w: Any, b: Any) -> Any:
        terms = [np.multiply.outer(x[:, j], w[j]) for j in range(len(w))]
        shift = np.broadcast_to(b, terms[0].shape)
        if first:
            return total(np.stack([shift, *terms]))
        return total(np.stack(terms)) + shift

    return computed


def over_by(total: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda x, g: total(np.stack([np.multiply.outer(one, slope) for one, slope in zip(x, g, strict=True)]))


def dot_by(total: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda a, b: total((a * b).ravel())


PROGRAMS: dict[str, tuple[Callable[..., Any], ...]] = {
    "add": (np.add, rounded_once(np.add)),
    "multiply": (np.multiply, rounded_once(np.multiply)),
    "negative": (np.negative, lambda a: 0 - a),
    "exp": (np.exp, lambda a: 1 / np.exp(-a), rounded_once(np.exp)),
    "log": (np.log, rounded_once(np.log), lambda a: np.where((a > 0.5) & (a < 2), np.log1p(a - 1), np.log(a))),
    "reciprocal": (np.reciprocal, lambda a: -1 / -a),
    "inverse_square": (lambda a: 1 / (a * a), lambda a: (1 / a) * (1 / a), lambda a: 1 / a / a),
    "softplus": (
        lambda s: np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))),
        lambda s: np.logaddexp(0 * s, s),
        lambda s: (np.maximum(-s, 0) + np.log1p(np.exp(-np.abs(s)))) + s,
        small(lambda s: np.log(1 + np.exp(s))),
        small(lambda s: np.log1p(np.exp(s))),
        small(lambda s: -np.log(1 / (1 + np.exp(s)))),
    ),
    "sigmoid": SIGMOIDS,
    "sigmoid_slope": (
        *((lambda s, p=p: p(s) * (1 - p(s))) for p in SIGMOIDS),
        lambda s: np.exp(-np.abs(s)) / (1 + np.exp(-np.abs(s))) ** 2,
        lambda s: SIGMOIDS[1](s) * SIGMOIDS[2](-s),
    ),
    "tanh": (
        np.tanh,
        *((lambda a, p=p: 2 * p(2 * a) - 1) for p in SIGMOIDS),
        lambda a: np.sign(a) * (1 - np.exp(-2 * np.abs(a))) / (1 + np.exp(-2 * np.abs(a))),
    ),
    "tanh_slope": (
        lambda a: 1 - np.tanh(a) ** 2,
        lambda a: (1 - np.tanh(a)) * (1 + np.tanh(a)),
        lambda a: 1 - (2 * SIGMOIDS[1](2 * a) - 1) ** 2,
        lambda a: 1 / np.cosh(a) ** 2,
        lambda a: 4 * SIGMOIDS[2](2 * a) * (1 - SIGMOIDS[2](2 * a)),
    ),
    "absolute": (np.abs, lambda a: np.where(a > 0, a, -a)),
    "relu": (lambda a: np.maximum(a, 0), lambda a: np.where(a > 0, a, 0), lambda a: (a + np.abs(a)) / 2),
    "sign": (np.sign,),
    "step": (lambda a: np.heaviside(a, a.dtype.type(0.5)),),
    "affine": (
        lambda x, w, b: x @ w + b,
        *(affine_by(total, first) for total in SUMS for first in (False, True)),
        rounded_once(lambda x, w, b: x @ w + b),
    ),
    "back_through": (lambda g, w: np.multiply.outer(g, w) if g.ndim == 1 else g @ w.T,),
    "over_examples": (lambda x, g: x.T @ g, *map(over_by, SUMS), rounded_once(lambda x, g: x.T @ g)),
    "mean": (
        *((lambda a, total=total: total(a) / a.dtype.type(N)) for total in SUMS),
        *((lambda a, total=total: total(a / a.dtype.type(N))) for total in SUMS),
    ),
    "sum_of_examples": (*SUMS, rounded_once(lambda a: a.sum(axis=0))),
    "dot": (*map(dot_by, SUMS), rounded_once(lambda a, b: (a * b).sum())),
    "share": (lambda g, like: np.stack([np.asarray(g / g.dtype.type(N))] * N),),
    "each": (lambda a, like: np.stack([a] * N),),
    "logsumexp": (
        shifted_logsumexp,
        small(lambda a: np.log(np.exp(a).sum(axis=1))),
        lambda a: np.logaddexp(np.logaddexp(a[:, 0], a[:, 1]), a[:, 2]),
        lambda a: a[:, 0] + np.log1p(np.exp(a[:, 1:] - a[:, :1]).sum(axis=1)) if (a[:, 0] >= a.max(axis=1)).all()
        else shifted_logsumexp(a[:, ::-1]),
    ),
    "softmax": (
        shifted_softmax,
        small(lambda a: np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)),
        lambda a: np.exp(a - shifted_logsumexp(a)[:, None]),
        lambda a: np.exp((a - a.max(axis=1, keepdims=True)) - np.log(np.exp(a - a.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))),
    ),
    "weigh": (lambda p, g: p * g[:, None],),
    "pick": (lambda a, y: a[np.arange(N), y.astype(int)], lambda a, y: (a * chosen(y)).sum(axis=1).astype(a.dtype)),
    "unpick": (lambda g, y, like: g[:, None] * chosen(y).astype(g.dtype),),
    "either": (lambda a, b: a, lambda a, b: b),
    "known_as": (lambda a, b: a,),
    "descend": (
        lambda theta, rate, g: theta - rate * g,
        lambda theta, rate, g: theta + (-rate) * g,
        lambda theta, rate, g: theta - g / (1 / rate),
        rounded_once(lambda theta, rate, g: theta - rate * g),
    ),
}  # fmt: skip  # a table
"""exactly is no program: what its argument's error does is carried on by another way"""


# --- arguments --------------------------------------------------------------------------------------------

FAMILIES = ("everyday", "moderate", "wide", "extreme", "cancelling")


def some_numbers(rng: np.random.Generator, family: str, shape: tuple[int, ...], dtype: str) -> Any:
    info = np.finfo(dtype)
    if family in ("everyday", "cancelling"):
        found = rng.normal(size=shape) * rng.choice([0.1, 1.0, 3.0], size=shape)
        if family == "cancelling":
            found *= 2.0 ** rng.integers(-30, 31, size=shape)
    elif family == "moderate":
        found = rng.uniform(-40.0, 40.0, size=shape)
    elif family == "wide":
        power = 0.3 * np.log10(float(info.max))
        found = rng.choice([-1.0, 1.0], size=shape) * 10.0 ** rng.uniform(-power, power, size=shape)
    else:
        tiny, top = float(info.tiny), float(info.max)
        special = [0.0, 1.0, 0.5, tiny, tiny / 2, 3 * float(info.smallest_subnormal), 1e3 * tiny, tiny**0.5, top**0.5]
        special += [top / 2, top / 3.9, top / 4.1, top / 100, 16.6, 17.4, 36.8, 87.0, 89.0, 104.0, 708.0, 745.0, 1e4]
        found = rng.choice([-1.0, 1.0], size=shape) * rng.choice(special, size=shape)
    return found.astype(dtype).astype(np.float64)


def draw(case: Case, rng: np.random.Generator, family: str, dtype: str, points: int = 0) -> list[Any]:
    """Arguments that ``dtype`` holds, as float64."""
    args = []
    for shape, kind, pointed in zip(case.shapes, case.kinds, case.pointed, strict=True):
        lead = (points,) if points and pointed == "1" else ()
        whole = (*lead, *(N if axis == E else axis for axis in shape))
        found = some_numbers(rng, family, whole, dtype)
        if kind == "k":
            found = rng.integers(0, CLASSES, size=whole).astype(float)
        elif kind in "pe":
            found = np.abs(found)
        if kind in "pne":
            found = np.where(found == 0.0, 1.5, found)
        args.append(np.asarray(found))
    if family == "cancelling":
        _let_it_cancel(case, args, dtype)
    if case.op in ("known_as", "either"):  # both are one real function
        args[1] = args[0].copy()
    return args


def _let_it_cancel(case: Case, args: list[Any], dtype: str) -> None:
    """The last term is nearly minus all others."""
    if case.op in ("affine", "add") and args[0].ndim == len(case.shapes[0]) and args[1].ndim == len(case.shapes[1]):
        before = args[0] @ args[1] if case.op == "affine" else args[0]
        if args[-1].shape == before.shape[-args[-1].ndim :] or not args[-1].ndim:
            args[-1] = np.asarray(-(before[0] if before.ndim > args[-1].ndim else before)).astype(dtype).astype(float)
    elif case.op in ("mean", "sum_of_examples"):
        axis = args[0].ndim - len(case.shapes[0])
        head = (slice(None),) * axis
        args[0][(*head, -1)] = -args[0][(*head, slice(0, -1))].sum(axis=axis).astype(dtype)
    elif case.op in ("dot", "over_examples") and args[0].shape[-1] > 1:
        args[0][..., -1], args[1][..., -1] = -args[0][..., 0], args[1][..., 0]


def site_of(case: Case, arithmetic: Arithmetic) -> Site:
    return Site(case.node, N, arithmetic)


def bound_of(case: Case, args: list[Bounded], arithmetic: Arithmetic) -> Bounded:
    """By the rule itself; inf for NaN, and where a size leaves the format. Of a reduction, what the sum is given."""
    rule, site = RULES[case.op], site_of(case, arithmetic)
    found = rule.part(site, *args) if isinstance(rule, Reduction) else rule.bound(site, *args)
    value = np.asarray(found.value)
    error, size = (np.broadcast_to(one, value.shape) for one in (found.error, found.size))
    unknown = np.isnan(error) | ~np.isfinite(value) | ~(size <= arithmetic.top)
    return Bounded(value, np.where(unknown, np.inf, error), size)


def exactly(value: Any) -> Any:
    """A finite number of up to 106 binary digits."""
    fraction, exponent = np.frexp(value)
    high = float(fraction)
    return mp.ldexp(mp.mpf(high) + mp.mpf(float(fraction - high)), int(exponent))


KNOWN = [
    pytest.param(Known.here(), id="float64"),
    pytest.param(
        Extended.here(),
        id="80 bits",
        marks=pytest.mark.skipif(not Extended.available(), reason="long double has no 80 bits here"),
    ),
]


def exceeded(value: Any, exact: Any, error: Any) -> bool:
    """Whether some |value - exact| is larger than its error; NaN and infinite values are off by infinity."""
    triples = zip(np.ravel(value).tolist(), np.ravel(exact).tolist(), np.ravel(error).tolist(), strict=True)
    for one, real, allowed in triples:
        if float(allowed) == np.inf:
            continue
        if not np.isfinite(one) or abs(exactly(one) - real) > mp.mpf(float(allowed)):
            return True
    return False


def over(cases: list[Case], *others: tuple[Any, ...]) -> Any:
    """Parameters of a test: the operation's name, so that its tests can be chosen, and the case."""
    return pytest.mark.parametrize(("op", "case"), [pytest.param(one.op, one, id=one.by_name) for one in cases])


# --- the tests --------------------------------------------------------------------------------------------


def test_every_operation_has_rules_a_truth_and_programs():
    assert set(RULES) == set(TRUTH) == set(OPS)
    assert set(RULES) - set(PROGRAMS) == {"exactly"}


@over(CASES)
def test_exact_is_the_function_itself(op, case):
    for family in FAMILIES:
        for seed in range(4):
            args = draw(case, np.random.default_rng([seed, 1]), family, "float32")
            shapes = [one.shape for one in args]
            balls = [
                Balls([arb(v) for v in one.ravel().tolist()], shape) for one, shape in zip(args, shapes, strict=True)
            ]
            found = RULES[op].exact(site_of(case, Known.here()), *balls)
            expected = truth(case, args)
            assert len(found) == expected.size
            for ball, real in zip(found, expected.ravel().tolist(), strict=True):
                low, high = (mp.mpf(one.str(80, radius=False)) for one in (ball.lower(), ball.upper()))
                slack = mp.mpf(10) ** -55 * (abs(real) + mp.mpf(10) ** -60)
                if family in ("wide", "extreme") and not ball.is_finite():
                    continue
                assert low - slack <= real <= high + slack, (family, args)
                size = max([abs(real), *(mp.mpf(float(np.abs(one).max())) for one in args)])
                assert high - low <= mp.mpf(2) ** -150 * max(size, size**2, 1) or family in ("wide", "extreme")


@over(CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_value_is_exact_to_the_rounding_of_float64(op, case, family):
    reader, arithmetic = Reader([case.node]), Arithmetic.of("float64")
    for seed in range(10):
        args = draw(case, np.random.default_rng([seed, 2]), family, "float64")
        at = {f"a{i}": one for i, one in enumerate(args)}
        (value,) = reader.values(at, N)
        (bound,) = reader.bounds(at, N, arithmetic)
        expected = truth(case, args)
        assert np.shape(value) == expected.shape
        assert bound.value.shape == bound.error.shape == expected.shape
        for read in (value, bound.value):
            assert not exceeded(read, expected, SECOND_ORDER * bound.error), args


@over(CASES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("arithmetic", KNOWN)
def test_the_bound_of_this_very_reading_is_proven(op, case, family, arithmetic):
    """|value - exact| ≤ error, whatever the numbers: of what `Known` says, and of nothing else."""
    reader = Reader([case.node])
    for seed in range(30 if op in ("affine", "dot", "over_examples", "mean", "sum_of_examples") else 12):
        args = draw(case, np.random.default_rng([seed, 3]), family, DTYPES[seed % 2])
        (bound,) = reader.bounds({f"a{i}": one for i, one in enumerate(args)}, N, arithmetic)
        assert not exceeded(bound.value, truth(case, args), SECOND_ORDER * bound.error), args
        if family == "everyday" and op not in ("exactly", "either", "known_as"):
            assert np.isfinite(bound.error).all()
            assert bound.value.dtype == arithmetic.dtype


def perturbed(case: Case, args: list[Any], rng: np.random.Generator, dtype: str, scale: float) -> list[list[Any]]:
    """The same arguments, off by a share ``scale`` of their size or absolutely: all upwards, all downwards, and mixed.

    As a program of ``dtype`` holds them.
    """
    moved = []
    for direction in (1.0, -1.0, None, None):
        some = []
        for one, kind in zip(args, case.kinds, strict=True):
            sign = rng.choice([-1.0, 0.0, 1.0], size=one.shape) if direction is None else direction
            step = scale * (np.abs(one) if rng.random() < 0.5 else min(1.0, float(np.median(np.abs(one)))))
            shifted = np.asarray(one + sign * step).astype(dtype)
            if kind in "pn":
                shifted = np.where((shifted == 0) | ((kind == "p") & (shifted <= 0)), one, shifted).astype(dtype)
            fixed = kind in "kle" or not np.isfinite(shifted).all()
            some.append(one.astype(dtype) if fixed else shifted)
        if case.op == "known_as":
            some[1] = args[1].astype(dtype)
        moved.append(some)
    return moved


@over([case for case in CASES if case.op in PROGRAMS])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "family", [*FAMILIES[:2], *(pytest.param(family, marks=pytest.mark.thorough) for family in FAMILIES[2:])]
)
def test_the_bound_holds_for_programs_whose_arguments_are_off(op, case, dtype, family):
    arithmetic, checked = Arithmetic.of(dtype), 0
    reduction = isinstance(RULES[op], Reduction)
    for seed in range(8):
        rng = np.random.default_rng([seed, 4])
        args = draw(case, rng, family, dtype)
        expected = truth(case, args)
        scale = (0.0, 1e-6, 1e-3, 0.3)[seed % 4]
        moved = perturbed(case, args, rng, dtype, scale)
        known = [
            Bounded(one, np.max([np.abs(some[i].astype(float) - one) for some in moved], axis=0), np.abs(one))
            if scale
            else Bounded(one, 0.0, np.abs(one))
            for i, one in enumerate(args)
        ]
        bound = bound_of(case, known, arithmetic)
        error = SECOND_ORDER * bound.error
        if reduction:  # what it is given, and what the sum of N terms loses in any order
            error = error + (N + 12.0) * arithmetic.u * bound.size * (1 + scale) + 20.0 * arithmetic.tiny
            error = np.where(bound.size * N <= arithmetic.top, error, np.inf) / (N if op == "mean" else 1)
        for some in moved:
            for program in PROGRAMS[op]:
                value = np.asarray(program(*some))
                assert value.dtype == np.dtype(dtype)
                if np.isnan(value).any() and getattr(program, "__name__", "") == "computed":
                    error_here = np.where(np.isnan(value), np.inf, error)
                else:
                    error_here = error
                assert not exceeded(value, expected, error_here), (args, some)
                checked += int(np.isfinite(error_here).sum())
    assert checked > 0 or family == "extreme"


@over([case for case in CASES if isinstance(RULES[case.op], Reduction)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_whole_sum_loses_is_in_its_bound(op, case, dtype):
    reader, arithmetic = Reader([case.node]), Arithmetic.of(dtype)
    for family in FAMILIES:
        for seed in range(12):
            args = draw(case, np.random.default_rng([seed, 5]), family, dtype)
            (bound,) = reader.bounds({f"a{i}": one for i, one in enumerate(args)}, N, arithmetic)
            expected = truth(case, args)
            for program in PROGRAMS[op]:
                value = program(*(one.astype(dtype) for one in args))
                assert not exceeded(value, expected, SECOND_ORDER * bound.error), (family, args)
            if family == "everyday":
                size = sum(np.abs(one).max() for one in args) ** 2 * N
                assert bound.error.max() < 100 * arithmetic.u * max(size, 1.0)


@over(CASES)
@pytest.mark.parametrize("dtype", [*DTYPES, "known"])
def test_a_bound_is_infinite_where_the_format_overflows_and_never_nan(op, case, dtype):
    arithmetic = Known.here() if dtype == "known" else Arithmetic.of(dtype)
    format_ = "float64" if dtype == "known" else dtype
    reader, overflowed = Reader([case.node]), 0
    for seed in range(40):
        args = draw(case, np.random.default_rng([seed, 6]), "extreme", format_)
        (bound,) = reader.bounds({f"a{i}": one for i, one in enumerate(args)}, N, arithmetic)
        assert not np.isnan(bound.error).any()
        assert (bound.error >= 0).all()
        beyond = np.array([abs(v) > 4 * arithmetic.top for v in truth(case, args).ravel().tolist()])
        assert np.isinf(bound.error.ravel()[beyond]).all()
        overflowed += int(beyond.sum())
    grows = ("multiply", "exp", "affine", "dot", "over_examples", "descend", "inverse_square", "weigh")
    assert overflowed or op not in grows


@over(CASES)
@pytest.mark.parametrize("family", ["everyday", "moderate", "cancelling"])
def test_what_is_added_up_to_a_number_is_at_least_as_large_as_it(op, case, family):
    """A later sum's rounding, and whether it leaves the format, are told by that."""
    for seed in range(4):
        args = draw(case, np.random.default_rng([seed, 12]), family, "float32")
        found = bound_of(case, [Bounded(one, 0.0, np.abs(one)) for one in args], Arithmetic.of("float32"))
        assert (found.size >= np.abs(found.value) * (1 - 1e-12)).all()


@over([case for case in CASES if case.op != "exactly"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_an_argument_may_be_anything_so_may_the_result(op, case, dtype):
    """Functions that are bounded, too: of a logit that overflowed on the way a program has NaN."""
    if op in ("known_as", "pick"):  # of the class that is not chosen nothing is carried on
        return
    args = draw(case, np.random.default_rng(11), "everyday", dtype)
    for i, kind in enumerate(case.kinds):
        if kind in "rpn":
            errors = [np.where(np.arange(one.size).reshape(one.shape) == 0, np.inf, 0.0) for one in args]
            some = [Bounded(one, errors[j] if i == j else 0.0, np.abs(one)) for j, one in enumerate(args)]
            found = bound_of(case, some, Arithmetic.of(dtype))
            assert np.isinf(found.error).any()
            if op in (*UNARY, "log", "reciprocal", "inverse_square", "add", "multiply") and args[i].ndim:
                assert np.isfinite(found.error).any()


@over(CASES)
@pytest.mark.parametrize("family", ["everyday", "moderate", "cancelling"])
def test_an_axis_of_points_gives_what_each_point_gives_by_itself(op, case, family):
    reader, points = Reader([case.node]), 3
    for arithmetic in (Arithmetic.of("float32"), Known.here()):
        args = draw(case, np.random.default_rng(7), family, "float32", points)
        together = {f"a{i}": one for i, one in enumerate(args)}
        (bound,) = reader.bounds(together, N, arithmetic)
        (value,) = reader.values(together, N)
        assert bound.value.shape == value.shape
        for point in range(points):
            pairs = zip(args, case.pointed, strict=True)
            at = {f"a{i}": one[point] if pointed == "1" else one for i, (one, pointed) in enumerate(pairs)}
            (alone,) = reader.bounds(at, N, arithmetic)
            (plain,) = reader.values(at, N)
            assert alone.value.shape == plain.shape == value.shape[1:]
            slack = 1e-12 * sum(float(np.abs(one).max()) for one in args) ** 2 + 1e-12
            for one, other in ((value, plain), (bound.value, alone.value), (bound.size, alone.size)):
                assert np.allclose(one[point], other, rtol=1e-12, atol=slack)
            assert np.allclose(bound.error[point], alone.error, rtol=0.02, atol=slack * arithmetic.u)


# --- adjoints ---------------------------------------------------------------------------------------------

X, y, c = data("X", E, 3), labels("y", E), data("c", E)
w, b, t, v = parameter("w", 3), parameter("b"), parameter("t"), parameter("v", 3)
W, B = parameter("W", 3, CLASSES), parameter("B", CLASSES)
z, Z = apply("affine", X, w, b), apply("affine", X, W, B)
bent = apply("tanh", z)


def averaged(node: Expr) -> Expr:
    """A number whose derivatives by the examples' numbers all differ."""
    return apply("mean", node * c)


OBJECTIVES: dict[str, list[Expr]] = {
    "affine": [
        averaged(z * z),
        averaged(apply("affine", apply("tanh", Z), v, b)),
        averaged(apply("pick", apply("tanh", apply("affine", apply("tanh", Z), W, B)), y)),
    ],
    "multiply": [
        averaged(z * bent), averaged(t * bent), averaged(bent * t), apply("dot", w * v, v), apply("dot", t * w, v),
        averaged(apply("affine", t * apply("tanh", Z), v, b)),
    ],
    "add": [
        averaged(z * z + bent), averaged(constant(0.25) + bent), averaged((bent + t) * bent), apply("dot", w + v, v),
        apply("dot", w + t, apply("tanh", v)), averaged(apply("affine", apply("tanh", Z) + t, v, b)),
    ],
    "negative": [averaged(-bent)],
    "dot": [apply("dot", w, apply("tanh", v)), apply("dot", w, w), apply("dot", W, apply("exp", W)) * b],
    "mean": [apply("mean", bent * c), apply("dot", apply("mean", apply("tanh", Z)), B)],
    "exp": [averaged(apply("exp", z)), apply("dot", apply("exp", w), v)],
    "log": [averaged(apply("log", z * z + constant(1.0)))],
    "reciprocal": [averaged(apply("reciprocal", z * z + constant(1.0)))],
    "softplus": [averaged(apply("softplus", z))],
    "sigmoid": [averaged(apply("sigmoid", z))],
    "tanh": [averaged(apply("tanh", z)), apply("dot", apply("tanh", w), v)],
    "absolute": [averaged(apply("absolute", z)), apply("dot", apply("absolute", w), v)],
    "relu": [averaged(apply("relu", z)), averaged(apply("affine", apply("relu", Z), v, b))],
    "logsumexp": [averaged(apply("logsumexp", Z))],
    "pick": [averaged(apply("pick", apply("tanh", Z), y))],
    "each": [averaged(apply("each", b, y) * bent), averaged(apply("each", b, X))],
    "sum_of_examples": [apply("sum_of_examples", bent * c), apply("dot", apply("sum_of_examples", apply("tanh", Z)), B)],
    "either": [averaged(apply("either", apply("softplus", z), apply("log", constant(1.0) + apply("exp", apply("exactly", z)))))],
    "known_as": [averaged(apply("known_as", constant(1.0) - apply("sigmoid", z), apply("sigmoid", -z)) * bent)],
}  # fmt: skip  # a table
OBJECTIVES["exactly"] = OBJECTIVES["either"]
PARAMETERS = (w, b, t, v, W, B)


def some_data(rng: np.random.Generator) -> dict[str, Any]:
    return {"X": rng.normal(size=(N, 3)), "y": rng.integers(0, CLASSES, N).astype(float), "c": rng.normal(size=N)}


def in_balls(arrays: dict[str, Any]) -> dict[str, Balls]:
    return {k: Balls([arb(float(u)) for u in np.ravel(one).tolist()], np.shape(one)) for k, one in arrays.items()}


def test_every_adjoint_has_an_objective():
    assert set(OBJECTIVES) == set(PULLS)


@pytest.mark.parametrize("op", sorted(OBJECTIVES))
def test_gradients_are_central_differences(op):
    """Steps of 2⁻⁶⁰ in 300 bits: the difference is off by 2⁻¹²⁰ or so."""
    step = arb(2.0**-60)
    for seed, end in enumerate(OBJECTIVES[op]):
        rng = np.random.default_rng([seed, 8])
        given = some_data(rng)
        wrt = [one for one in in_order([end]) if one in PARAMETERS]
        start = {one.name: rng.normal(size=one.shape) for one in wrt}
        slopes = gradient(end, wrt)
        assert [one.shape for one in slopes] == [one.shape for one in wrt]
        with ctx.workprec(300):
            found = Reader(slopes).exactly(in_balls(given), N).at(in_balls(start))
            function = Reader([end]).exactly(in_balls(given), N)
            for one, slope in zip(wrt, found, strict=True):
                for i, derivative in enumerate(slope.entries):
                    sides = []
                    for sign in (1, -1):
                        moved = in_balls(start)
                        moved[one.name].entries[i] += sign * step
                        (side,) = function.at(moved)
                        sides += side.entries
                    difference = (sides[0] - sides[1]) / (2 * step)
                    assert abs(float(difference - derivative)) < 1e-30, (op, one.name, i)


@pytest.mark.parametrize("op", sorted(OBJECTIVES))
def test_gradients_in_float64_lie_within_their_bounds(op):
    for seed, end in enumerate(OBJECTIVES[op]):
        rng = np.random.default_rng([seed, 9])
        given = some_data(rng)
        wrt = [one for one in in_order([end]) if one in PARAMETERS]
        start = {one.name: np.asarray(rng.normal(size=one.shape)) for one in wrt}
        reader = Reader(gradient(end, wrt))
        exact = reader.exactly(in_balls(given), N).at(in_balls(start))
        values = reader.values(given | start, N)
        for arithmetic in (Known.here(), Arithmetic.of("float64")):
            for found, value, balls in zip(reader.bounds(given | start, N, arithmetic), values, exact, strict=True):
                real = [mp.mpf(one.mid().str(60, radius=False)) for one in balls.entries]
                assert not exceeded(found.value, real, SECOND_ORDER * found.error)
                assert found.error.max() < 1e-12
                if type(arithmetic) is Arithmetic:
                    assert not exceeded(value, real, SECOND_ORDER * found.error)


@pytest.mark.parametrize("op", ["either", "exactly", "known_as"])
def test_both_ways_of_writing_a_function_have_one_derivative(op):
    """An alternative never shows in a value: its bound would be that of another function."""
    from compare_ag.model.formulas import logistic_formula

    ends = [(logistic_formula("probability", 3, True), some_data), (None, some_data)]
    for formula, make in ends:
        end = formula.objective if formula else OBJECTIVES[op][0]
        wrt = [one for one in in_order([end]) if one.op == "parameter"]
        rng = np.random.default_rng(10)
        at = make(rng) | {one.name: rng.normal(size=one.shape) for one in wrt} | {"l2": 0.25}
        at["y"] = np.minimum(at["y"], 1.0)
        nodes = [one for one in in_order([end, *gradient(end, wrt)]) if one.op in ("either", "known_as")]
        assert nodes
        pairs = [one for node in nodes for one in node.args]
        found = Reader(pairs).exactly(in_balls(at), N).at({})
        for first, second in zip(found[::2], found[1::2], strict=True):
            for one, other in zip(first.entries, second.entries, strict=True):
                assert abs(float(one - other)) < 1e-40
