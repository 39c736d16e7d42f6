"""Convergence and the published table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.verify import convergence, published_rows, reference_trajectory
from compare_ag.verify.convergence import gradient_floor, possible_gain
from compare_ag.verify.objective import Objective
from compare_ag.verify.reference import magnitudes_at


@pytest.fixture
def noisy(bench):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 2))
    y = X[:, 0] + 2 * rng.logistic(size=60) > 0
    return lambda **facts: bench.make(X, y, [2.0, 2.0], **facts)


def ends(problem, end):
    """The final weights, flat, in float64."""
    return problem.layout.flat((end.final_w, end.final_b)).astype(np.float64)


@np.errstate(all="ignore")
def floor_of(problem, end):
    return gradient_floor(problem, magnitudes_at(Objective(problem), ends(problem, end)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_that_came_to_rest_has_converged(bench, noisy, dtype):
    problem = noisy(dtype=dtype, steps=600)
    end = bench.train(problem)
    result = convergence(problem, end.final_w, end.final_b)
    assert result.converged
    assert result.gradient_norm_end <= max(1e-6 * result.gradient_norm_start, floor_of(problem, end))
    assert result.message.startswith("converged: the gradient norm went from 0.")


def test_a_start_at_the_optimum_counts_by_what_the_dtype_can_tell(bench, noisy):
    """Its gradient is rounding from the first step on: it cannot be reduced, and need not be."""
    problem = noisy(dtype="float32", steps=600)
    end = bench.train(problem)
    problem = replace(problem, w0=end.final_w, b0=end.final_b)
    result = convergence(problem, end.final_w, end.final_b)
    assert result.gradient_norm_start == result.gradient_norm_end > 0
    assert result.converged


def test_a_training_under_way_has_not(bench, noisy):
    problem = noisy(dtype="float64", steps=20)
    end = bench.train(problem)
    result = convergence(problem, end.final_w, end.final_b)
    assert not result.converged
    assert result.message.startswith("not converged")
    assert 0 < result.gradient_norm_end < result.gradient_norm_start


def test_stalling_is_not_converging(bench):
    """float32 weights that no update moves any more, far from the optimum."""
    problem = bench.seed_problem(loss="logits", learning_rate=1e-7, steps=50)
    problem = replace(problem, w0=np.array([3, 3], "float32"))
    end = bench.train(problem)
    assert (end.final_w == problem.w0).all()
    assert not convergence(problem, end.final_w, end.final_b).converged


def test_the_gradient_is_that_of_all_data_with_the_penalty(bench):
    problem = bench.random_problem(9, dtype="float64", batch_size=4, l2=0.2)
    _, gw, gb = bench.by_hand(problem.X, problem.y, problem.w0, problem.b0)
    norm = np.linalg.norm(np.append(gw + problem.l2 * problem.w0, gb))
    assert convergence(problem, problem.w0, problem.b0).gradient_norm_start == pytest.approx(norm, rel=1e-12)


def test_non_finite_weights_have_not_converged(noisy):
    problem = noisy(steps=5)
    assert not convergence(problem, np.array([np.nan, 1.0]), np.array(0.0)).converged


def test_a_large_gradient_that_the_dtype_cannot_tell_from_zero_has_not(bench):
    """Data of 1e9 in float32: no update moves the weights, and the loss of 2e8 is far from a minimum."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(8, 2)) * 1e9
    problem = bench.make(X, np.arange(8) % 2, [0.5, 0.5], dtype="float32", steps=50)
    end = bench.train(problem)
    result = convergence(problem, end.final_w, end.final_b)
    assert result.gradient_norm_end <= floor_of(problem, end)
    with np.errstate(all="ignore"):
        assert possible_gain(Objective(problem), ends(problem, end)) == np.inf
    assert not result.converged
    assert "falls along a direction without curvature" in result.message


def test_a_small_gradient_along_a_flat_direction_has_something_left_to_gain(bench, noisy):
    """One feature in other units: its gradient is a millionth, and so is its curvature, squared."""
    problem = noisy(dtype="float64", steps=4000)
    end = bench.train(problem)
    assert convergence(problem, end.final_w, end.final_b).converged
    X = np.column_stack([problem.X[:, 0], 1e-6 * problem.X[:, 1]])
    flat = bench.make(X, problem.y, [end.final_w[0], 0.0], end.final_b, steps=4000)
    last = bench.train(flat)
    far = replace(flat, w0=np.array([1e6, 0.0]))  # so that the norm has been reduced a lot
    result = convergence(far, last.final_w, last.final_b)
    assert not result.converged
    assert "could still fall by" in result.message


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_what_is_left_to_gain_is_newtons_and_does_not_depend_on_units(noisy, bench, scale):
    problem = noisy(dtype="float64", l2=0.0)
    theta = np.array([0.3, -0.2, 0.1])
    X = np.column_stack([problem.X, np.ones(60)])
    p = 1 / (1 + np.exp(-X @ theta))
    gradient = X.T @ (p - problem.y) / 60
    newton = 0.5 * gradient @ np.linalg.solve(X.T @ (X * (p * (1 - p))[:, None]) / 60, gradient)
    scaled = bench.make(problem.X * [scale, 1.0], problem.y)
    assert possible_gain(Objective(scaled), theta / [scale, 1.0, 1.0]) == pytest.approx(newton, rel=1e-9)


def test_separable_data_never_converge(bench):
    """The loss falls for ever: half of it is always left to gain, as small as it is."""
    problem = bench.make([[1.0], [-1.0]], [1, 0], [0.5], learning_rate=100.0, steps=300)
    end = bench.train(problem)
    result = convergence(problem, end.final_w, end.final_b)
    assert result.gradient_norm_end < 1e-6 * result.gradient_norm_start
    assert not result.converged


def test_a_feature_without_curvature_has_no_limit_to_its_gain(bench):
    """Only the saturated example, which is wrong, has this feature; the intercept is curved by the others."""
    problem = bench.make([[1e9], [0.0], [0.0]], [0, 1, 0], [1.0])
    with np.errstate(all="ignore"):
        assert possible_gain(Objective(problem), np.array([1.0, 0.0])) == np.inf


def test_weights_whose_squares_overflow_have_a_loss_without_a_penalty(bench):
    """inf · 0 is NaN: a penalty of 0 adds nothing."""
    problem = bench.make([[1.0], [-1.0], [0.5]], [1, 0, 0], [1.0])
    with np.errstate(all="ignore"):
        assert magnitudes_at(Objective(problem), np.array([3e200, 0.0])).loss == pytest.approx([5e199])
    assert convergence(problem, np.array([3e200]), np.array(0.0)).gradient_norm_end == pytest.approx(np.hypot(1, 2) / 6)


def test_a_penalty_of_1e30_leaves_the_intercept_where_it_was(bench):
    problem = bench.make([[1.0], [-1.0], [0.5]], [1, 0, 0], [0.5], l2=1e30, steps=20, dtype="float32")
    end = bench.train(problem)
    result = convergence(problem, end.final_w, end.final_b)
    assert result.gradient_norm_end < 1e-6 * result.gradient_norm_start
    assert not result.converged


TABLE = ((1, 0.9426676034927368), (501, 0.5936437249183655), (1001, 0.4318988025188446))


def test_the_published_table_is_reproduced(bench):
    problem = bench.seed_problem(steps=1001, published=TABLE, published_tolerance=2e-7)
    rows = published_rows(problem, bench.train(problem, bench.naive_probability).losses)
    assert [row.step for row in rows] == [1, 501, 1001]
    assert all(row.reproduced and row.difference == abs(row.observed - row.published) for row in rows)


def test_read_one_step_early_it_is_missed(bench):
    problem = bench.seed_problem(steps=1001, published=TABLE, published_tolerance=2e-7)
    rows = published_rows(problem, reference_trajectory(problem).losses[1:])
    assert [row.reproduced for row in rows] == [False, False, False]
    assert rows[-1].observed == "nan"


def test_nothing_published_is_nothing_reproduced(bench):
    problem = bench.seed_problem(steps=10)
    assert published_rows(problem, reference_trajectory(problem).losses) == []
