"""The errors of single steps, read from the formula: against a bound derived by hand, in balls, and in groups."""

from __future__ import annotations

import importlib
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compare_ag.model.arithmetic import Arithmetic
from compare_ag.problem import batches
from compare_ag.verify import reference_trajectory, tolerance
from compare_ag.verify import step_errors as module
from compare_ag.verify.objective import Objective
from compare_ag.verify.step_errors import Geometry, StepErrorReader

bounds = importlib.import_module("compare_ag.verify.tolerance")  # the package has a function of this name
at_point = runpy.run_path(str(Path(__file__).parents[1] / "model" / "hand_derived.py"))["tolerance"]
in_norms = runpy.run_path(str(Path(__file__).with_name("hand_derived_steps.py")))["step_error"]

LEAST, MOST = 0.7, 2.0
FORMS = [(dtype, loss) for dtype in ("float32", "float64") for loss in ("logits", "probability")]


def read(problem, theta, radius, rows=None):
    reader = StepErrorReader(Objective(problem), Geometry.of(problem))
    arithmetic = Arithmetic.of(problem.dtype, problem.layout.size)
    return reader.read(theta, np.broadcast_to(radius, len(theta)), rows, arithmetic, problem.loss)


def made(bench, dtype, loss, n, d, l2, batch_size):
    rng = np.random.default_rng([n, d])
    X = rng.normal(size=(n, d)) * rng.lognormal(0.0, 0.5, size=d)
    y = X @ rng.normal(size=d) + rng.logistic(size=n) > 0
    y[:2] = 0, 1
    return bench.make(X, y, rng.normal(size=d) * 0.3, dtype=dtype, loss=loss, l2=l2, batch_size=batch_size, steps=40)


def by_component(problem, theta):
    """δ at θ (m,), from the errors of the gradient's components that were derived by hand."""
    _, in_slope = at_point(problem, theta)
    residual = 1.0 / (1.0 + np.exp(-(problem.X @ theta[:-1] + theta[-1]))) - problem.y
    slope = np.append(problem.X.T @ residual / len(residual) + problem.l2 * theta[:-1], residual.mean())
    u, rate = float(np.finfo(problem.dtype).eps) / 2, problem.learning_rate
    return np.linalg.norm(rate * (in_slope + 2.0 * u * np.abs(slope)) + u * np.abs(theta - rate * slope))


@pytest.mark.thorough
@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "loss"), FORMS)
def test_automatic_bounds_of_steps_are_about_those_derived_by_hand(bench, dtype, loss, l2, batch_size):
    """With a rate beside which the weights count for nothing, a step's error is that of its gradient."""
    ratios, beside_norms = [], []
    for n, d in ((8, 1), (20, 3), (60, 12), (300, 5), (40, 60), (1500, 20)):
        problem = made(bench, dtype, loss, n, d, l2, batch_size)
        path = reference_trajectory(problem).path
        for rate in (problem.learning_rate, 2.0**40):
            fast = replace(problem, learning_rate=rate)
            for rows, theta in zip(batches(problem), path.theta, strict=True):
                found = read(fast, theta[None], 0.0, None if batch_size is None else rows[None]).following[0]
                batch = replace(fast, X=fast.X[rows].astype("float64"), y=fast.y[rows].astype("float64"))
                ratios.append(found / by_component(batch, theta))
                beside_norms.append(found / in_norms(fast, theta, rows))
    assert min(ratios) > LEAST
    assert max(ratios) < MOST
    # norms ignore which component an error belongs to
    assert max(beside_norms) < (1.1 if loss == "logits" else 12.0)


@pytest.mark.parametrize("batch_size", [None, 9])
@pytest.mark.parametrize("radius", [1e-6, 1e-2, 0.3, 5.0])
@pytest.mark.parametrize(("dtype", "loss"), FORMS)
def test_a_bound_in_a_ball_is_no_smaller_than_that_at_any_of_its_points(bench, dtype, loss, radius, batch_size):
    rng = np.random.default_rng(11)
    problem = made(bench, dtype, loss, 50, 4, 0.1, batch_size)
    centre = rng.normal(size=(30, 5))
    direction = rng.normal(size=centre.shape)
    near = centre + radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    rows = None if batch_size is None else np.stack([rng.permutation(50)[:batch_size] for _ in centre])
    ball, points = read(problem, centre, radius, rows), read(problem, near, 0.0, rows)
    assert (ball.loss >= points.loss).all()
    assert (ball.following >= points.following).all()
    if radius < 1e-3:
        known = np.isfinite(ball.following)
        assert (ball.following[known] < 1.01 * points.following[known]).all()


def test_each_point_of_a_batch_is_read_as_alone(bench):
    problem = made(bench, "float32", "logits", 50, 4, 0.1, 9)
    rng = np.random.default_rng(3)
    theta, rows = rng.normal(size=(6, 5)), np.stack([rng.permutation(50)[:9] for _ in range(6)])
    together = read(problem, theta, 0.01, rows)
    for i in range(6):
        X, y = problem.X[rows[i]], problem.y[rows[i]]
        alone = replace(problem, X=X, y=y, batch_size=None, curvature=problem.curvature)
        reader = StepErrorReader(Objective(alone), replace(Geometry.of(problem), lengths=Geometry.of(alone).lengths))
        single = reader.read(theta[[i]], np.array([0.01]), None, Arithmetic.of("float32", 5), "logits")
        assert together.loss[i] == pytest.approx(single.loss[0], rel=1e-12)
        assert together.following[i] == pytest.approx(single.following[0], rel=1e-12)


@pytest.mark.parametrize("loss", ["logits", "probability"])
def test_steps_that_are_read_together_have_hardly_larger_bounds(bench, monkeypatch, loss):
    problem = replace(made(bench, "float32", loss, 200, 5, 0.01, None), steps=300)
    reference = reference_trajectory(problem)
    alone = tolerance(problem, reference)
    assert len(reference.path.groups(200, 1.0)[0]) == 301
    monkeypatch.setattr(module, "CELLS", 1)
    assert len(reference.path.groups(200, Geometry.of(problem).longest)[0]) < 100
    together = tolerance(problem, reference)
    assert (together.weights >= alone.weights * (1 - 1e-9)).all()
    assert (together.loss >= alone.loss * (1 - 1e-9)).all()
    assert (together.weights <= 1.5 * alone.weights).all()
    assert (together.loss <= 1.5 * alone.loss).all()


@pytest.mark.parametrize("batch_size", [None, 9])
def test_a_path_of_which_few_weights_are_kept_gives_larger_bounds(bench, monkeypatch, batch_size):
    problem = made(bench, "float64", "logits", 50, 4, 0.1, batch_size)
    all_kept = tolerance(problem, reference_trajectory(problem))
    monkeypatch.setattr(module, "MOST_PATH", 50)
    reference = reference_trajectory(problem)
    assert reference.path.stride > 1
    assert len(reference.path.theta) == 40 // reference.path.stride + 1
    few_kept = tolerance(problem, reference)
    assert (few_kept.weights >= all_kept.weights * (1 - 1e-9)).all()
    assert (few_kept.weights <= 3.0 * all_kept.weights).all()


@pytest.mark.parametrize("loss", ["logits", "probability"])
def test_every_step_adds_the_error_within_the_distance_that_is_reached(bench, loss):
    """Beyond 2/L errors grow by the same factor at every step, until they move the logits."""
    problem = made(bench, "float32", loss, 30, 3, 0.0, None)
    problem = replace(problem, learning_rate=float(np.float32(2.2 / problem.curvature)), steps=120)
    geometry, reference = Geometry.of(problem), reference_trajectory(problem)
    found = bounds.ErrorBounds(problem, geometry, reference.magnitudes, reference.path, np.zeros(121), 4 * 121)
    last = int(np.flatnonzero(np.isfinite(found.error))[-1])
    distance = (found.error + found.own)[:last]
    assert distance[-1] * geometry.longest > 0.2
    reader = StepErrorReader(Objective(problem), geometry)
    added = reader.read(reference.path.theta[:last], distance, None, found.tested, loss)
    growth = problem.learning_rate * problem.curvature - 1.0
    assert (found.error[1 : last + 1] >= (growth * found.error[:last] + added.following) * (1 - 1e-9)).all()
    assert (found.evaluation[:last] >= added.loss * (1 - 1e-9)).all()


@pytest.mark.parametrize("loss", ["logits", "probability"])
def test_an_error_that_outgrows_its_ball_is_read_in_a_larger_ball(bench, monkeypatch, loss):
    problem = made(bench, "float32", loss, 50, 4, 0.0, None)
    reference = reference_trajectory(problem)
    usual = tolerance(problem, reference)
    monkeypatch.setattr(bounds, "FIRST_SHIFT", 1e-9)
    grown = tolerance(problem, reference)
    assert (grown.weights <= usual.weights).all()
    assert grown.weights[1:] == pytest.approx(usual.weights[1:], rel=0.05)
    monkeypatch.setattr(bounds, "FIRST_SHIFT", 10.0)
    assert (tolerance(problem, reference).weights[1:] > 1.05 * usual.weights[1:]).all()
