"""The whole verdict: what one test forgives another one sees, and the earliest fault leads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.verify import Evidence, Oracle, certify, exact_trajectory, reference_trajectory, tolerance


@pytest.fixture(scope="module")
def converged(bench):
    """Strongly convex and long at rest: final weights hardly depend on the gradient any more."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40, 3))
    y = X[:, 0] + rng.logistic(size=40) > 0
    return bench.make(X, y, [1.0, -1.0, 2.0], 0.5, learning_rate=0.5, l2=0.05, steps=600)


def certificate(problem, trajectory, **evidence):
    reference = reference_trajectory(problem)
    reference = replace(reference, exact=exact_trajectory(problem))
    bound = tolerance(problem, reference)
    return certify(problem, reference, bound, Oracle(problem), Evidence(trajectory, {}, **evidence))


def passed(verdict):
    return {test.test: test.passed for test in verdict.tests}


@pytest.mark.parametrize("index", range(12))
def test_correct_runs_pass_all_tests(bench, index):
    problem = bench.random_problem(index, steps=80)
    formula = bench.by_hand if problem.loss == "logits" else bench.naive_probability
    verdict = certificate(problem, bench.train(problem, formula))
    assert verdict.status in ("agrees", "undecidable"), verdict.message
    assert all(test.passed for test in verdict.tests)
    assert verdict.worst_ratio <= 1


def test_a_gradient_slightly_off_is_seen_in_a_single_step_though_the_end_forgives_it(bench, converged):
    def formula(X, y, w, b):
        loss, gw, gb = bench.by_hand(X, y, w, b)
        return loss, gw * (1 + 1e-10), gb * (1 + 1e-10)

    trajectory = bench.train(converged, formula)
    right = bench.train(converged)
    assert np.allclose(trajectory.final_w, right.final_w, rtol=1e-12)
    verdict = certificate(converged, trajectory)
    assert verdict.status == "diverges"
    assert verdict.first_step == 0
    assert not passed(verdict)["step"]
    assert passed(verdict)["loss"]


def test_a_skipped_step_is_seen_by_the_trajectory_though_every_recorded_step_is_right(bench, converged):
    skipped = 5  # not among the recorded ones
    trajectory = bench.train(converged, skip=skipped)
    assert skipped not in trajectory.recorded_steps
    verdict = certificate(converged, trajectory)
    assert passed(verdict) == {"step": True, "trajectory": False, "loss": True}
    assert verdict.first_step == skipped + 1


def test_a_loss_taken_after_the_update_is_the_forwards_fault(bench, converged):
    verdict = certificate(converged, bench.train(converged, stale_loss=True))
    assert (verdict.phase, verdict.first_step, verdict.quantity) == ("forward", 0, "loss")
    assert passed(verdict)["step"]


def test_a_slightly_wrong_rate_is_named_with_step_and_coordinate(bench, converged):
    verdict = certificate(converged, bench.train(converged, rate=1 + 1e-9))
    assert (verdict.status, verdict.first_step, verdict.phase) == ("diverges", 0, "step")
    assert verdict.coordinate in ("w[0]", "w[1]", "w[2]", "b")
    assert verdict.observed > verdict.tolerance


def test_a_broken_protocol_is_no_agreement(bench, converged):
    verdict = certificate(converged, bench.train(converged), broken_protocol=["forward writes into X"])
    assert (verdict.status, verdict.message) == ("diverges", "breaks the contract: forward writes into X")


def test_float64_is_compared_with_more_digits_than_it_has(bench):
    """Against the exact trajectory the bound of a float64 run holds no share for the reference."""
    problem = bench.seed_problem(dtype="float64", steps=500)
    reference = reference_trajectory(problem)
    without = tolerance(problem, reference).weights[1:]
    with_exact = tolerance(problem, replace(reference, exact=exact_trajectory(problem))).weights[1:]
    assert (with_exact < 0.8 * without).all()
