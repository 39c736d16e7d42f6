"""The bounds that the rules give logistic regression, against those that were derived by hand for it alone."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from compare_ag.problem import Data, Problem, largest_curvature
from compare_ag.verify.points import point_tolerances

by_hand = runpy.run_path(str(Path(__file__).with_name("hand_derived.py")))["tolerance"]

LEAST, MOST = 0.7, 2.0


def problem(seed: int, dtype: str, loss: str, l2: float, *, spread: float = 0.5, size: float = 1.0) -> Problem:
    rng = np.random.default_rng([30, seed])
    n, d = int(rng.integers(3, 400)), int(rng.integers(1, 25))
    X = rng.normal(size=(n, d)) * rng.lognormal(0.0, spread, size=d) * size
    X = np.ascontiguousarray(X, dtype=dtype)
    y = (rng.random(n) < 0.5).astype(dtype)
    y[:2] = 0, 1
    curvature = largest_curvature(X, l2, None)
    return Problem(
        data=Data(X, y, "test", "made by hand"), X=X, y=y, w0=np.zeros(d, dtype), b0=np.zeros((), dtype), start="given",
        dtype=dtype, loss=loss, steps=10, learning_rate=float(np.dtype(dtype).type(1.0 / curvature)),
        learning_rate_source="given", curvature=curvature, l2=float(np.dtype(dtype).type(l2)), seed=seed, threads=1,
        batch_size=None,
    )  # fmt: skip  # one parameter a line would fill the page


def points(seed: int, made: Problem, scales: tuple[float, ...]) -> np.ndarray:
    rng = np.random.default_rng([31, seed])
    found = np.array([rng.normal(size=made.layout.size) * scale for scale in scales])
    return found.astype(made.dtype).astype(np.float64)


@pytest.mark.parametrize("l2", [0.0, 0.01, 3.0])
@pytest.mark.parametrize("loss", ["logits", "probability"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_automatic_bounds_are_about_those_derived_by_hand(dtype, loss, l2):
    ratios, finite = [], 0
    for seed in range(12):
        made = problem(seed, dtype, loss, l2)
        theta = points(seed, made, (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0))
        for point, found in zip(theta, point_tolerances(made, theta), strict=True):
            in_loss, in_slope = by_hand(made, point)
            assert np.array_equal(np.isinf(found.gradient), np.isinf(in_slope))
            if np.isfinite(in_loss):
                assert 0.0 < found.loss < 2.0 * in_loss
            known = np.isfinite(in_slope)
            ratios += (found.gradient[known] / in_slope[known]).tolist()
            finite += int(np.isfinite(in_loss))
    assert min(ratios) > LEAST
    assert max(ratios) < MOST
    assert finite > 30
    assert 0.8 < np.median(ratios) < 1.25


@pytest.mark.parametrize("loss", ["logits", "probability"])
@pytest.mark.parametrize(("dtype", "powers"), [("float32", (-25, 17)), ("float64", (-150, 150))])
def test_the_same_is_undecidable_whatever_the_size_of_the_data(dtype, powers, loss):
    """Data and weights of any size that the format holds."""
    kinds, root = set(), float(np.finfo(dtype).max) ** 0.5 / 2
    for seed in range(120):
        rng = np.random.default_rng([32, seed])
        most = np.log10(float(np.finfo(dtype).max)) - 2.0
        size, scale = 10.0 ** rng.uniform(*powers), 10.0 ** min(most, rng.uniform(2.2 * powers[0], 2.2 * powers[1]))
        made = problem(seed, dtype, loss, (0.0, 1.0)[seed % 2], size=size)
        theta = points(seed, made, (scale, 0.0))
        for point, found in zip(theta, point_tolerances(made, theta), strict=True):
            in_loss, in_slope = by_hand(made, point)
            assert not np.isnan(found.gradient).any()
            kinds.add(bool(np.isinf(found.gradient).all() and np.isinf(in_slope).all() and np.isinf(found.loss)))
            # the gradient has no w·w in it: by hand it was taken to be as unknown as the loss is
            apart = made.l2 > 0 and np.linalg.norm(point[:-1] / root) > 1.0
            unknown, expected = np.isinf(found.gradient), np.isinf(in_slope)
            assert (unknown <= expected).all() if apart else np.array_equal(unknown, expected), (seed, size, scale)
            # and log p is known where p's square underflows, or 1 - p has one digit left
            assert np.isinf(found.loss) <= np.isinf(in_loss), (seed, size, scale)
    assert kinds == {True, False}
