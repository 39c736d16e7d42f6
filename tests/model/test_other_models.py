"""Models that are not logistic regression, by the same public operations: readings know no model.

Softmax regression, and a network with one hidden layer of tanh or relu. Oracle, gradient and bounds are held against
derivatives written out by hand, in mpmath and in several programs in float32 and float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from flint import arb, ctx
from mpmath import mp

from compare_ag.model.arithmetic import SECOND_ORDER, Arithmetic, Known
from compare_ag.model.formula import EXAMPLES, Formula, apply, constant, data, gradient, labels, parameter
from compare_ag.model.rules import Balls
from compare_ag.verify.readings import Reader

E, D, K, H = EXAMPLES, 4, 3, 3
DTYPES = ("float32", "float64")
VISIBLE = {"float32": 1e-3, "float64": 1e-9}
"""a relative error of the gradient that no bound may hide"""


def softmax_formula() -> Formula:
    """f = mean(log Σ exp a - a_y) + ½ l2 ‖W‖², a = x W + c."""
    X, y = data("X", E, D), labels("y", E)
    W, c = parameter("W", D, K), parameter("c", K)
    a = apply("affine", X, W, c)
    losses = apply("logsumexp", a) - apply("pick", a, y)
    f = apply("mean", losses) + constant(0.5) * (data("l2") * apply("dot", W, W))
    return Formula(f, (W, c))


def network_formula(activation: str) -> Formula:
    """f = mean softplus((1 - 2y) z) + ½ l2 (‖W‖² + ‖v‖²), z = h·v + b, h = tanh or relu of x W + c."""
    X, y = data("X", E, D), labels("y", E)
    W, c, v, b = parameter("W", D, H), parameter("c", H), parameter("v", H), parameter("b")
    h = apply(activation, apply("affine", X, W, c))
    s = (constant(1.0) - constant(2.0) * y) * apply("affine", h, v, b)
    norms = apply("dot", W, W) + apply("dot", v, v)
    f = apply("mean", apply("softplus", s)) + constant(0.5) * (data("l2") * norms)
    return Formula(f, (W, c, v, b))


# --- by hand, in whatever numbers: arrays of a dtype, or of mpmath's numbers --------------------------------


class By(NamedTuple):
    """How a program writes what can be written in several ways."""

    exp: Any
    log: Any
    tanh: Any
    sigmoid: Any
    softplus: Any
    shift: bool = True
    backwards: bool = False
    late: bool = False
    """divide by n after the sum over the examples"""


def total(terms: Any, by: By) -> Any:
    """Along the first axis, one after another or as numpy adds."""
    if not by.backwards:
        return terms.sum(axis=0)
    found = 0 * terms[0]
    for term in terms[::-1]:
        found = found + term
    return found


def over_examples(x: Any, g: Any, by: By, n: Any) -> Any:
    """Σ x g/n, each an outer product, and Σ g/n."""
    if not by.late:
        g = g / n
    if by.backwards:
        slopes, shift = total(np.stack([np.multiply.outer(p, q) for p, q in zip(x, g, strict=True)]), by), total(g, by)
    else:
        slopes, shift = x.T @ g, g.sum(axis=0)
    return (slopes / n, shift / n) if by.late else (slopes, shift)


def softmax_by_hand(at: Any, by: By) -> list[Any]:
    X, y, W, c, l2 = (at[k] for k in ("X", "y", "W", "c", "l2"))
    n, half, places = at["n"], at["half"], np.asarray(y).astype(int)
    a = X @ W + c
    top = a.max(axis=1, keepdims=True) if by.shift else 0 * a[:, :1]
    e = by.exp(a - top)
    below = total(e.T, by)
    chosen = np.eye(K, dtype=int)[places]
    losses = (top[:, 0] + by.log(below)) - a[np.arange(len(places)), places]
    g = e / below[:, None] - chosen.astype(e.dtype)
    gW, gc = over_examples(X, g, by, n)
    return [total(losses, by) / n + half * l2 * (W * W).sum(), gW + l2 * W, gc]


def network_by_hand(at: Any, by: By, activation: str) -> list[Any]:
    X, y, W, c, v, b, l2 = (at[k] for k in ("X", "y", "W", "c", "v", "b", "l2"))
    n, half = at["n"], at["half"]
    q = X @ W + c
    h = by.tanh(q) if activation == "tanh" else np.where(q > 0, q, 0 * q)
    z = h @ v + b
    losses = by.softplus((1 - 2 * y) * z)
    r = by.sigmoid(z) - y
    slope = 1 - h * h if activation == "tanh" else (q > 0).astype(q.dtype)
    gv, gb = over_examples(h, r, by, n)
    gW, gc = over_examples(X, np.multiply.outer(r, v) * slope, by, n)
    f = total(losses, by) / n + half * l2 * ((W * W).sum() + (v * v).sum())
    return [f, gW + l2 * W, gc, gv + l2 * v, gb]


def vectorised(function: Any) -> Any:
    return np.frompyfunc(function, 1, 1)


EXACT = By(
    vectorised(mp.exp), vectorised(mp.log), vectorised(mp.tanh), vectorised(lambda s: 1 / (1 + mp.exp(-s))),
    vectorised(lambda s: mp.log1p(mp.exp(s))),
)  # fmt: skip  # a table


def stable_sigmoid(s: Any) -> Any:
    e = np.exp(-np.abs(s))
    return np.where(s >= 0, 1, e) / (1 + e)


def stable_softplus(s: Any) -> Any:
    return np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))


def by_tanh(s: Any) -> Any:
    return (1 + np.tanh(s / 2)) / 2


PROGRAMS = {
    "stable": By(np.exp, np.log, np.tanh, stable_sigmoid, stable_softplus),
    "naive": By(np.exp, np.log, np.tanh, lambda s: 1 / (1 + np.exp(-s)), lambda s: np.log(1 + np.exp(s)), shift=False),
    "logaddexp": By(np.exp, np.log, np.tanh, by_tanh, lambda s: np.logaddexp(0 * s, s), late=True),
    "reversed": By(np.exp, np.log, np.tanh, stable_sigmoid, stable_softplus, backwards=True, late=True),
    "tanh by sigmoid": By(
        np.exp, np.log, lambda a: 2 * stable_sigmoid(2 * a) - 1, by_tanh, stable_softplus, backwards=True
    ),
    "tanh by exp": By(
        np.exp, np.log, lambda a: (1 - np.exp(-2 * a)) / (1 + np.exp(-2 * a)), stable_sigmoid, stable_softplus,
        shift=False, late=True,
    ),
}  # fmt: skip  # a table
MODELS = {
    "softmax": (softmax_formula(), softmax_by_hand, K),
    "tanh": (network_formula("tanh"), lambda at, by: network_by_hand(at, by, "tanh"), 2),
    "relu": (network_formula("relu"), lambda at, by: network_by_hand(at, by, "relu"), 2),
}
READERS = {
    name: Reader([one[0].objective, *gradient(one[0].objective, one[0].parameters)]) for name, one in MODELS.items()
}


def example(model: str, seed: int, dtype: str, n: int = 12) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data and parameters that ``dtype`` holds, as float64; of all scales from 0 to 4."""
    formula, _, classes = MODELS[model]
    rng = np.random.default_rng([seed, len(model)])
    scale = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0)[seed % 6]
    found = {"X": rng.normal(size=(n, D)) * rng.lognormal(0.0, 0.5, size=D), "l2": np.asarray((0.0, 0.1)[seed % 2])}
    parts = {one.name: np.asarray(scale * rng.normal(size=one.shape)) for one in formula.parameters}
    held = [{k: one.astype(dtype).astype(float) for k, one in some.items()} for some in (found, parts)]
    return held[0] | {"y": rng.integers(0, classes, n).astype(float)}, held[1]


def in_dtype(at: dict[str, Any], dtype: str) -> dict[str, Any]:
    """What a program gets."""
    real = np.dtype(dtype).type
    return {k: one.astype(dtype) for k, one in at.items()} | {"n": real(len(at["y"])), "half": real(0.5)}


def in_mpmath(at: dict[str, Any]) -> dict[str, Any]:
    numbers = {k: np.asarray(vectorised(mp.mpf)(one.astype(object))) for k, one in at.items()}
    return {k: one if one.ndim else one[()] for k, one in numbers.items()} | {
        "n": mp.mpf(len(at["y"])),
        "half": mp.mpf(0.5),
    }


def balls(at: dict[str, Any]) -> dict[str, Balls]:
    return {k: Balls([arb(u) for u in np.ravel(one).tolist()], one.shape) for k, one in at.items()}


def by_hand(model: str, at: dict[str, Any]) -> list[Any]:
    with mp.workprec(200):
        return [np.asarray(one, dtype=object) for one in MODELS[model][1](in_mpmath(at), EXACT)]


def off(values: Any, exact: Any) -> Any:
    """|values - exact| in float64."""
    with mp.workprec(200):
        pairs = zip(np.ravel(values).tolist(), np.ravel(exact).tolist(), strict=True)
        return np.array([float(abs(mp.mpf(one) - real)) for one, real in pairs])


@pytest.mark.parametrize("model", MODELS)
def test_the_oracle_is_what_is_derived_by_hand(model):
    for seed in range(12):
        given, start = example(model, seed, "float64")
        with ctx.workprec(200), mp.workprec(200):
            found = READERS[model].exactly(balls(given), len(given["y"])).at(balls(start))
            for one, real in zip(found, by_hand(model, given | start), strict=True):
                for ball, number in zip(one.entries, np.ravel(real).tolist(), strict=True):
                    assert abs(mp.mpf(ball.mid().str(70, radius=False)) - number) < mp.mpf(10) ** -45
                    assert float(ball.rad()) < 1e-45


@pytest.mark.parametrize("model", MODELS)
def test_the_float64_reading_is_proven(model):
    """All points at once, with what `Known` says of them."""
    for seed in range(6):
        given, _ = example(model, seed, "float64")
        starts = [example(model, point, "float64")[1] for point in range(6 * seed, 6 * seed + 6)]
        together = {name: np.stack([start[name] for start in starts]) for name in starts[0]}
        for k, real in enumerate([by_hand(model, given | start) for start in starts]):
            bounds = READERS[model].bounds(given | together, len(given["y"]), Known.here())
            for found, exact in zip(bounds, real, strict=True):
                assert (off(found.value[k], exact) <= SECOND_ORDER * np.ravel(found.error[k])).all()
                assert found.error[k].max() < 1e-11


@pytest.mark.parametrize("model", MODELS)
def test_plain_values_are_those_of_the_oracle(model):
    for seed in range(6):
        given, start = example(model, seed, "float64")
        found = READERS[model].values(given | start, len(given["y"]))
        for value, real in zip(found, by_hand(model, given | start), strict=True):
            assert off(value, real).max() < 1e-12


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_no_right_program_is_accused(model, dtype, program):
    n, ratios = 12, []
    for seed in range(18):
        if program == "naive" and seed % 6 == 5:
            continue  # its exponentials overflow
        given, start = example(model, seed, dtype)
        bounds = READERS[model].bounds(given | start, n, Arithmetic.of(dtype))
        found = MODELS[model][1](in_dtype(given | start, dtype), PROGRAMS[program])
        for value, bound, real in zip(found, bounds, by_hand(model, given | start), strict=True):
            assert np.asarray(value).dtype == np.dtype(dtype)
            allowed = SECOND_ORDER * np.ravel(bound.error)
            assert np.isfinite(allowed).all()
            ratios += (off(value, real) / allowed).tolist()
    assert max(ratios) <= 1.0
    assert max(ratios) > 0.002  # else the bound would hold for anything


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_a_gradient_that_is_off_a_little_is_beyond_its_bound(model, dtype):
    """By its largest component at least, at every point where weights are not larger than about 1."""
    seen = 0
    for seed in range(24):
        if seed % 6 > 3:
            continue
        given, start = example(model, seed, dtype)
        bounds = READERS[model].bounds(given | start, 12, Arithmetic.of(dtype))
        real = by_hand(model, given | start)
        for bound, exact in zip(bounds[1:], real[1:], strict=True):
            size = np.abs(np.ravel(exact).astype(float))
            if size.max() > 1e-2:
                largest = int(size.argmax())
                assert VISIBLE[dtype] * size[largest] > SECOND_ORDER * np.ravel(bound.error)[largest]
                seen += 1
    assert seen > 20


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_hidden_number_whose_sign_is_unsure_makes_the_derivative_unsure(dtype):
    """Products that cancel to 0: relu's derivative is 0 or 1 as rounding has it, and the bound knows both."""
    at = {
        "X": np.array([[1.0, -1.0, 0.0, 0.0]]), "y": np.array([1.0]), "l2": np.asarray(0.0),
        "W": np.array([[0.1] * H, [0.1] * H, [0.0] * H, [0.0] * H]), "c": np.zeros(H), "v": np.ones(H), "b": np.asarray(0.0),
    }  # fmt: skip  # a table
    found = READERS["relu"].bounds(at, 1, Arithmetic.of(dtype))
    assert (found[1].error[0] >= 0.5).all()
    assert float(found[0].error) < 1e-5
    assert float(found[4].error) < 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_what_overflows_decides_nothing(model):
    given, start = example(model, 3, "float32")
    for name in ("W", "c"):
        with np.errstate(all="ignore"):
            found = READERS[model].bounds(given | start | {name: start[name] * 1e38}, 12, Arithmetic.of("float32"))
        assert not any(np.isnan(one.error).any() for one in found)
        assert np.isinf(found[0].error)
