"""The whole verdict: what one test forgives another one sees, and the earliest fault leads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.problem import batches, recorded_steps
from compare_ag.verify import (
    Evidence,
    Oracle,
    Sample,
    Trajectory,
    certify,
    exact_trajectory,
    judge_samples,
    reference_trajectory,
    tolerance,
)


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


# --- weights that are kept in a wider format than the tested one


def train_wider(problem, formula, *, rate=1.0, narrow_forward=False, chop=False, first_off=0.0):
    """Weights in float64 or long double, rounded where they are read; each step starts from the wide ones.

    narrow_forward: loss and gradient are computed in the tested dtype, at the rounded weights ("master weights").
    """
    wide = np.longdouble if problem.dtype == "float64" else np.float64
    w, b = problem.w0.astype(wide) * wide(1 + first_off), problem.b0.astype(wide)
    losses, path, full = [], [], []
    for rows in batches(problem):
        theta = np.append(w, b)
        path.append((theta if not chop else np.trunc(theta * 2**20) / 2**20).astype(problem.dtype))
        seen = problem.dtype if narrow_forward else wide
        X, y = problem.X.astype(seen), problem.y.astype(seen)
        loss, gw, gb = formula(X[rows], y[rows], w.astype(seen), b.astype(seen))
        half = wide(problem.l2) / 2
        losses.append(loss + half * (w @ w))
        full.append(formula(X, y, w.astype(seen), b.astype(seen))[0] + half * (w @ w))
        eta = wide(problem.learning_rate) * wide(rate)
        w, b = w - eta * (gw.astype(wide) + wide(problem.l2) * w), b - eta * wide(gb)
    path.append(path[-1])
    recorded, path = np.array(recorded_steps(problem.steps)), np.array(path)
    return Trajectory(
        np.array(losses, problem.dtype), recorded, path[recorded[:, None] + [0, 1]][..., :-1],
        path[recorded[:, None] + [0, 1]][..., -1], np.array(full, problem.dtype)[recorded],
        path[problem.steps][:-1], np.asarray(path[problem.steps][-1]),
    )  # fmt: skip  # one row


@pytest.fixture(scope="module")
def small_steps(bench):
    """Updates far below the weights' own last digit, so that the reading is most of what is seen."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(30, 3))
    y = X[:, 0] + rng.logistic(size=30) > 0
    return lambda **facts: bench.make(
        X, y, [1.0, -1.0, 2.0], 0.5, **{"learning_rate": 1e-3, "steps": 200, "dtype": "float32"} | facts
    )


@pytest.mark.parametrize("narrow_forward", [False, True])
@pytest.mark.parametrize(
    "facts", [{}, {"dtype": "float64"}, {"batch_size": 7}, {"l2": 0.1}, {"loss": "probability"}, {"steps": 10}]
)
def test_weights_in_a_wider_format_are_no_fault(bench, small_steps, facts, narrow_forward):
    problem = small_steps(**facts)
    formula = bench.by_hand if problem.loss == "logits" else bench.naive_probability
    verdict = certificate(problem, train_wider(problem, formula, narrow_forward=narrow_forward))
    assert verdict.status == "agrees", verdict.message
    assert verdict.remark.startswith(f"keeps weights in more than {problem.dtype}")
    assert verdict.worst_ratio <= 1
    assert all(passed(verdict).values())


def test_weights_in_the_tested_format_are_not_said_to_be_wider(bench, small_steps):
    verdict = certificate(small_steps(), bench.train(small_steps()))
    assert verdict.status == "agrees"
    assert "keeps weights" not in verdict.remark


def test_the_reading_of_wider_weights_explains_no_wrong_rate(bench, small_steps):
    problem = small_steps(learning_rate=0.1)
    for size in (1e-2, 1e-3, 1e-4):
        assert certificate(problem, train_wider(problem, bench.by_hand, rate=1 + size)).status == "diverges"


def test_nor_weights_that_are_chopped_nor_a_start_that_is_off(bench, small_steps):
    problem = small_steps()
    for fault in ({"chop": True}, {"first_off": 1e-6}):
        assert certificate(problem, train_wider(problem, bench.by_hand, **fault)).status == "diverges"


def test_at_weights_that_the_host_gave_there_is_no_reading_to_explain_anything(bench, small_steps):
    """The same sample counts as read at step 5, as exact at step 0 and at a point; one fault elsewhere spoils all."""
    problem = small_steps()
    weights = np.array([1.9, -1.9, 1.8, 0.9], "float32")
    exact = Oracle(problem).at(weights).following.high
    following = exact.astype("float32")
    away = np.copysign(np.float32(np.inf), following[0] - exact[0])
    following[0] = np.nextafter(following[0], np.float32(away))  # 1 to 1.5 of the last digit off, u|θ| being 0.95

    def ratio_as_read(step):
        sample = Sample("here", weights, following=following, step=step)
        (finding,) = judge_samples(problem, Oracle(problem), [sample])["step"].findings
        return finding.ratio_as_read

    assert ratio_as_read(5) <= 1
    assert ratio_as_read(0) is None
    assert ratio_as_read(None) is None
    trajectory = train_wider(problem, bench.by_hand)
    spoilt = certificate(problem, trajectory, probes=[Sample("the point 'zero'", weights, following=following)])
    assert spoilt.status == "diverges"
    assert "keeps weights" not in spoilt.remark
