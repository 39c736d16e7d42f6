"""What only numba has: series of its own, sums in any order, one pass over the data, threads of its own."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from compare_ag import Batch, Setting, Weights
from compare_ag.worker.load import load_backend

numba = pytest.importorskip("numba", reason="the backend numba needs its framework")
ROUNDOFF = 2.0**-52
FLAGS = re.compile(r"\b(?:fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b")
"""what LLVM may be told of an operation on floating-point numbers"""


def over(name: str, x: list[float] | np.ndarray) -> np.ndarray:
    """An elementary function of the plugin over an array, in a compiled loop as the backend's own."""
    from compare_ag_numba import elementary

    function = getattr(elementary, name)

    @numba.njit(fastmath={"reassoc", "contract"}, error_model="numpy")
    def loop(x, result):
        for i in range(len(x)):
            result[i] = function(x[i])

    x = np.asarray(x, np.float64)
    result = np.empty_like(x)
    loop(x, result)
    return result


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "low", "high", "units"),
    [("exp", -708, 709, 2), ("exp", -1, 1, 2), ("log", 1e-300, 1, 2), ("log", 0.999, 1, 2), ("log1p", 0, 1, 4)],
)
def test_the_series_are_exact_to_a_few_units_in_the_last_place(name, low, high, units):
    x = np.random.default_rng(1).uniform(low, high, 20_000)
    x[::2] = low + (x[::2] - low) ** 8 / (high - low) ** 7  # half of them near the low end
    exact = getattr(np, name)(x.astype(np.longdouble))
    assert np.finfo(np.longdouble).eps <= 2.0**-63, "needs a wider type than float64 to compare with"
    assert np.all(np.abs(over(name, x) - exact) <= units * ROUNDOFF * np.abs(exact))


def test_the_series_end_where_the_functions_do():
    assert np.array_equal(over("exp", [math.inf, -math.inf, math.nan, 710, -746, 0]), [math.inf, 0, math.nan, math.inf, 0, 1], equal_nan=True)  # fmt: skip
    assert np.array_equal(over("log", [0.0, -0.0, -1, math.nan, 1]), [-math.inf, -math.inf, math.nan, math.nan, 0], equal_nan=True)  # fmt: skip
    assert np.array_equal(over("log1p", [0, math.nan]), [0, math.nan], equal_nan=True)


@pytest.mark.parametrize(("name", "x"), [("exp", [-709.0, -720.0, -744.0]), ("log", [5e-324, 1e-310, 2.2e-308])])
def test_the_series_reach_through_the_subnormal_numbers(name, x):
    assert over(name, x) == pytest.approx(getattr(np, name)(x), rel=4 * ROUNDOFF, abs=5e-324)


def trained(X, y, w, b, *, steps=1, threads=1, fused=True, loss="logits", l2=0.0, dtype="float64"):
    """Loss, w and b after so many steps, of one backend."""
    backend = load_backend("compare_ag_numba")()
    backend.prepare(Setting(*X.shape, dtype, threads=threads, loss=loss, l2=l2))
    batch = Batch(*(backend.make_tensor(array.astype(dtype)) for array in (X, y)))
    weights = Weights(*(backend.make_tensor(np.array(array, dtype)) for array in (w, b)))
    step = backend.step if fused else super(type(backend), backend).step
    for _ in range(steps):
        value, weights = step(weights, batch, 0.5)
    return float(value), np.array(weights.w), float(weights.b)


@pytest.fixture
def data():
    generator = np.random.default_rng(3)
    return generator.standard_normal((3000, 30)), generator.integers(0, 2, 3000).astype("float64")


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["logits", "probability"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("place", ["X", "w", "b"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_inf_survive(data, loss, fused, place, value):
    """Sums may be reordered; full fast-math would assume that neither exists."""
    X, y = data[0].copy(), data[1]
    w, b = np.full(30, 0.125), 0.25
    if place == "X":
        X[1234, 7] = value
    elif place == "w":
        w[7] = value
    else:
        b = value
    objective, after, bias = trained(X, y, w, b, fused=fused, loss=loss)
    assert not math.isfinite(objective)
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(after[7]) or (place, value) == ("b", math.inf)
    assert math.isnan(bias) == math.isnan(value) or place != "b"


@pytest.mark.parametrize("fused", [True, False])
def test_no_instruction_may_assume_that_numbers_are_finite(data, fused):
    """What the compiler was allowed, whether or not it made use of it on this machine."""
    import compare_ag_numba

    trained(*data, np.zeros(30), 0.0, fused=fused)
    forward, backward, step = compare_ag_numba.programs(parallel=False)
    compiled = [step] if fused else [forward, backward]
    flags = {flag for of in compiled for text in of.inspect_llvm().values() for flag in FLAGS.findall(text)}
    assert {"reassoc", "contract"} <= flags
    assert not flags & {"fast", "nnan", "ninf"}


@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.parametrize("loss", ["logits", "probability"])
def test_one_pass_in_blocks_is_the_phases_one_after_the_other(data, loss, l2, monkeypatch):
    """Of 3000 x 30 in float64 a block has 1092 rows, so that the last one is short."""
    import compare_ag_numba

    assert 3000 % (compare_ag_numba.BLOCK_BYTES // (8 * 30)) != 0
    start = np.full(30, 0.125), 0.25
    whole = trained(*data, *start, steps=3, loss=loss, l2=l2)
    phases = trained(*data, *start, steps=3, loss=loss, l2=l2, fused=False)
    for mine, theirs in zip(whole, phases, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-12, abs=1e-13)


@pytest.mark.thorough
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two CPUs")
@pytest.mark.parametrize("fused", [True, False])
def test_two_threads_share_the_examples(data, fused):
    X, y = (np.concatenate([part] * 2)[:5001] for part in data)  # odd: the parts differ
    backend = load_backend("compare_ag_numba")()
    backend.prepare(Setting(*X.shape, "float64", threads=2))
    assert (backend.parts, numba.get_num_threads()) == (2, 2)
    start = np.full(30, 0.125), 0.25
    one, two = (trained(X, y, *start, threads=threads, fused=fused) for threads in (1, 2))
    for mine, theirs in zip(one, two, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-12, abs=1e-13)


def test_a_small_problem_wakes_no_second_thread():
    backend = load_backend("compare_ag_numba")()
    backend.prepare(Setting(4, 2, "float64", threads=2))
    assert backend.parts == 1
