"""The rounding bound: never too small for correct code, never so large that it says nothing without saying so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.verify import judge, reference_trajectory, tolerance
from compare_ag.verify.curvature import anchored_curvature, uniform_curvature


def judged(problem, trajectory):
    reference = reference_trajectory(problem)
    return judge(problem, reference, tolerance(problem, reference), trajectory)


@pytest.mark.few(12)
@pytest.mark.parametrize("index", range(42))
def test_correct_code_is_never_rejected(bench, index):
    problem = bench.random_problem(index)
    formulas = [bench.by_hand, bench.with_tanh]
    if problem.loss == "probability":
        formulas = [bench.by_hand, bench.naive_probability, bench.literal_chain_rule]
    if problem.examples * problem.steps < 4000:
        formulas.append(bench.one_by_one)
    for formula in formulas:
        verdict = judged(problem, bench.train(problem, formula))
        assert verdict.worst_ratio <= 1.0, formula.__name__
        saturates = problem.loss == "probability" and verdict.status == "undecidable"
        assert verdict.status == "agrees" or saturates, (formula.__name__, verdict.message)


def test_stalled_weights_are_within_it(bench):
    """Updates below half an ulp: every float32 run ends 1e-3 away from the truth, and rightly so."""
    problem = bench.seed_problem(loss="logits", learning_rate=1e-5, steps=10_000)
    problem = replace(problem, w0=np.array([3, 3], "float32"))
    verdict = judged(problem, bench.train(problem))
    assert verdict.status == "agrees"
    assert verdict.weights_error > 5e-4
    assert verdict.weights_error > verdict.weights_tolerance / 20  # and it is no larger than it must be


def test_it_is_small_where_the_problem_is_well_conditioned(bench):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 5))
    y = X[:, 0] + rng.logistic(size=400) > 0
    for dtype, limit in (("float32", 3e-3), ("float64", 5e-12)):
        problem = bench.make(X, y, dtype=dtype, steps=3000)
        bound = tolerance(problem, reference_trajectory(problem))
        assert bound.undecidable_from is None
        assert bound.weights.max() < limit
        assert bound.weights[-1] <= bound.weights.max()
        assert bound.loss.max() < limit
        # errors fade: ten times the steps do not make ten times the error
        assert bound.weights[-1] < 3 * bound.weights[300]


def test_shapes_and_the_exact_start(bench):
    problem = bench.random_problem(2, batch_size=3, steps=50)
    reference = reference_trajectory(problem)
    bound = tolerance(problem, reference)
    assert bound.weights.shape == bound.loss.shape == (51,)
    assert bound.full_loss.shape == reference.full_losses.shape
    assert bound.weights[0] == 0.0
    assert (bound.weights[1:] > 0).all()
    assert (bound.loss > 0).all()
    assert not bound.expansive


def separable(bench, dtype):
    X = np.linspace(-3, 3, 20)[:, None]
    return bench.make(X, X[:, 0] > 0, dtype=dtype, loss="probability", learning_rate=2.0, steps=4000)


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 24 * np.log(2)), ("float64", 53 * np.log(2))])
def test_the_probability_form_saturates_just_before_its_own_arithmetic_does(bench, dtype, limit):
    problem = separable(bench, dtype)
    reference = reference_trajectory(problem)
    bound = tolerance(problem, reference)
    start = bound.saturated_from
    assert start is not None
    assert limit - 1.0 < reference.magnitudes.highest_logit[start] <= limit
    assert np.isinf(bound.loss[start:]).all()
    assert np.isinf(bound.weights[start + 1 :]).all()
    assert np.isfinite(bound.loss[:start]).all()
    assert np.isfinite(bound.weights[: start + 1]).all()
    trajectory = bench.train(problem, bench.naive_probability)
    nan = np.flatnonzero(~np.isfinite(trajectory.losses))
    assert nan[0] >= start
    assert judged(problem, trajectory).status == "undecidable"
    assert (
        tolerance(replace(problem, loss="logits"), reference_trajectory(replace(problem, loss="logits"))).saturated_from
        is None
    )


def test_a_loss_that_is_mostly_penalty_has_the_rounding_of_the_penalty(bench):
    w0 = [123.456, -77.7, 31.4159]
    problem = bench.make([[0.01, 0, 0], [0, 0.01, 0.01]], [0, 1], w0, l2=1.0, dtype="float32", steps=1)
    assert judged(problem, bench.train(problem)).status == "agrees"


def test_an_example_that_is_confidently_wrong_costs_the_probability_form_its_digits(bench):
    """y = 0 at z = 14: float32 knows 1 - p = 8e-7 to one digit, and the chain rule as written divides by it."""
    facts = {"dtype": "float32", "learning_rate": 0.1, "steps": 3}
    problem = bench.make([[1.0], [14.1]], [1, 0], [1.0], loss="probability", **facts)
    literal = bench.train(problem, bench.literal_chain_rule)
    assert judged(problem, literal).status == "agrees"
    assert judged(replace(problem, loss="logits"), literal).status == "diverges"


def test_probabilities_near_zero_saturate_too(bench):
    """p² underflows long before p does, and the derivative of p as written contains it."""
    problem = bench.make(
        [[1.0], [-60.0]], [1, 0], [1.0], dtype="float32", loss="probability", learning_rate=1e-6, steps=5
    )
    assert tolerance(problem, reference_trajectory(problem)).saturated_from == 0


def test_a_learning_rate_beyond_2_over_l_becomes_undecidable(bench):
    X = np.random.default_rng(4).normal(size=(30, 3))
    y = np.arange(30) % 2
    problem = bench.make(X, y, [0.1, 0.2, 0.3], steps=4000, dtype="float32")
    problem = replace(problem, learning_rate=float(np.float32(2.5 / problem.curvature)))
    reference = reference_trajectory(problem)
    bound = tolerance(problem, reference)
    assert bound.expansive
    assert bound.uninformative_from is not None
    assert np.isinf(bound.weights[bound.uninformative_from :]).all()
    assert np.isinf(bound.full_loss[reference.recorded_steps >= bound.uninformative_from]).all()
    verdict = judge(problem, reference, bound, bench.train(problem))
    assert verdict.status == "undecidable"
    assert "exceeds 2/L" in verdict.message
    assert verdict.first_step == bound.uninformative_from


def test_an_overflowing_reference_is_undecidable_not_a_crash(bench):
    problem = replace(bench.seed_problem(dtype="float64", loss="logits", steps=30, l2=1.0), learning_rate=1e300)
    verdict = judged(problem, bench.train(problem))
    assert verdict.status == "undecidable"


@pytest.mark.parametrize("index", range(12))
def test_curvature_bounds_are_below_the_curvature(bench, index):
    problem = bench.random_problem(index, batch_size=None, l2=(0.0, 0.2)[index % 2], dtype="float64")
    reference = reference_trajectory(problem)
    design = np.hstack([problem.X, np.ones((problem.examples, 1))])
    penalty = np.diag([problem.l2] * problem.features + [0.0])
    longest = float(np.linalg.norm(design, axis=1).max())
    at, travelled = reference.recorded_steps, reference.path.travelled
    anchored = anchored_curvature(problem, at, reference.weights[:, 0], travelled, longest)
    kappa = uniform_curvature(problem)
    for i, k in enumerate(reference.recorded_steps):
        z = design @ reference.weights[i, 0]
        slope = np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2
        least = np.linalg.eigvalsh(design.T * slope @ design / problem.examples + penalty)[0]
        assert anchored[k] <= least + 1e-12
        assert 4 * slope.min() * kappa <= least + 1e-12
        # anchors stand on the recorded steps, where they are as good as exact
        assert anchored[k] >= 0.98 * least - 1e-9


@pytest.mark.parametrize("l2", [1e-3, 0.1, 10.0])
def test_the_penalty_alone_bounds_the_curvature_of_every_batch(bench, l2):
    problem = bench.random_problem(8, batch_size=3, l2=l2, dtype="float64")
    kappa = uniform_curvature(problem)
    assert kappa > 0
    penalty = np.diag([problem.l2] * problem.features + [0.0])
    design = np.hstack([problem.X, np.ones((problem.examples, 1))])
    for rows in (slice(0, 1), slice(2, 5), slice(None)):
        batch = design[rows]
        assert kappa <= np.linalg.eigvalsh(batch.T @ batch / (4 * len(batch)) + penalty)[0] + 1e-12
