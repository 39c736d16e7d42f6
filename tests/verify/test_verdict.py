"""The judge is judged: by trajectories that are wrong on purpose."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from compare_ag.problem import recorded_steps
from compare_ag.verify import judge, reference_trajectory, tolerance


def judged(problem, trajectory):
    reference = reference_trajectory(problem)
    return judge(problem, reference, tolerance(problem, reference), trajectory)


@pytest.fixture(params=list(product(["float32", "float64"], [None, 16])), ids=str)
def problem(request, bench):
    """Not converged after its 300 steps, l2 > 0."""
    dtype, batch_size = request.param
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 3))
    y = X[:, 0] - X[:, 2] + rng.logistic(size=40) > 0
    facts = {"dtype": dtype, "batch_size": batch_size, "l2": 0.01, "steps": 300}
    return bench.make(X, y, [1.0, -1.0, 2.0], 0.5, learning_rate=0.05, **facts)


def wrong_gradient(bench, change):
    """``change`` gets the right gradient (gw, gb) with n, w and b, and returns a wrong one."""

    def formula(X, y, w, b):
        loss, gw, gb = bench.by_hand(X, y, w, b)
        wrong_w, wrong_b = change(SimpleNamespace(gw=gw, gb=gb, n=len(y), w=w, b=b))
        return loss, wrong_w.astype(X.dtype), X.dtype.type(wrong_b)

    return formula


def in_float32(bench):
    def formula(X, y, w, b):
        return tuple(np.asarray(v, X.dtype) for v in bench.by_hand(*(np.asarray(a, "float32") for a in (X, y, w, b))))

    return formula


GRADIENT_BUGS = {
    "sign flip": lambda at: (-at.gw, -at.gb),
    "missing bias gradient": lambda at: (at.gw, 0),
    "mean over n+1": lambda at: (at.gw * at.n / (at.n + 1), at.gb * at.n / (at.n + 1)),
    "sum for mean": lambda at: (at.gw * at.n, at.gb * at.n),
    "swapped coordinates": lambda at: (at.gw[::-1], at.gb),
    "doubled penalty": lambda at: (at.gw + 0.01 * at.w, at.gb),
    "penalised bias": lambda at: (at.gw, at.gb + 0.01 * at.b),
    "one component x 1.001": lambda at: (at.gw * [1, 1.001, 1], at.gb),
}


@pytest.mark.parametrize("bug", GRADIENT_BUGS)
def test_a_wrong_gradient_diverges(bench, problem, bug):
    verdict = judged(problem, bench.train(problem, wrong_gradient(bench, GRADIENT_BUGS[bug])))
    assert verdict.status == "diverges"
    assert verdict.first_step == 1 or bug == "one component x 1.001"
    assert verdict.worst_ratio > 1
    assert verdict.observed > verdict.tolerance
    assert f"leaves its tolerance at step {verdict.first_step}" in verdict.message


@pytest.mark.parametrize("options", [{"rate": 1.01}, {"l2": 0.0}, {"stale_loss": True}, {"skip": 150}], ids=str)
def test_a_wrong_loop_diverges(bench, problem, options):
    verdict = judged(problem, bench.train(problem, **options))
    assert verdict.status == "diverges"
    if "skip" in options:
        assert 150 < verdict.first_step <= 153
    if "stale_loss" in options:
        assert (verdict.first_step, verdict.quantity) == (0, "loss")


def test_the_right_loop_agrees(bench, problem):
    verdict = judged(problem, bench.train(problem))
    assert (verdict.status, verdict.first_step) == ("agrees", None)
    assert verdict.message == "agrees over all 300 steps"
    assert 0 < verdict.worst_ratio <= 1
    assert verdict.observed <= verdict.tolerance
    assert verdict.weights_error <= verdict.weights_tolerance


def test_float32_inside_float64_diverges(bench):
    problem = bench.random_problem(1, dtype="float64", loss="logits", batch_size=None)
    assert judged(problem, bench.train(problem, in_float32(bench))).status == "diverges"


def test_the_culprit_is_named(bench, problem):
    good = bench.train(problem)
    w = good.w.copy()
    w[5, 1, 2] += 0.01
    verdict = judged(problem, replace(good, w=w))
    k = recorded_steps(300)[5] + 1
    assert (verdict.status, verdict.first_step, verdict.quantity, verdict.coordinate) == (
        "diverges",
        k,
        "weights",
        "w[2]",
    )
    assert verdict.observed == pytest.approx(0.01, rel=1e-2)
    assert "w[2]" in verdict.message
    b = good.b.copy()
    b[0, 0] += 1e-3
    verdict = judged(problem, replace(good, b=b))
    assert (verdict.first_step, verdict.coordinate, verdict.tolerance) == (0, "b", 0.0)
    assert "where none is allowed" in verdict.message


def test_final_weights_are_judged(bench, problem):
    good = bench.train(problem)
    verdict = judged(problem, replace(good, final_b=np.asarray(good.final_b + 1, problem.dtype)))
    assert (verdict.status, verdict.first_step, verdict.coordinate) == ("diverges", 300, "b")


def test_full_losses_are_judged_with_mini_batches(bench, problem):
    good = bench.train(problem)
    full = good.full_losses.copy()
    full[3] *= 1.5
    verdict = judged(problem, replace(good, full_losses=full))
    if problem.batch_size is None:
        assert verdict.status == "agrees"  # they would repeat the losses, and are not read
        assert judged(problem, replace(good, full_losses=full[:0])).status == "agrees"
    else:
        assert (verdict.status, verdict.quantity) == ("diverges", "full loss")
        assert verdict.first_step == recorded_steps(300)[3]
        assert judged(problem, replace(good, full_losses=full[:0])).status == "malformed"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_loss_is_named_by_its_step(bench, problem, value):
    good = bench.train(problem)
    losses = good.losses.copy()
    losses[200:] = value
    verdict = judged(problem, replace(good, losses=losses))
    assert (verdict.status, verdict.first_step, verdict.quantity) == ("non-finite", 200, "loss")
    assert verdict.message == "first non-finite loss at step 200"
    assert verdict.worst_ratio == np.inf


def test_non_finite_weights_are_named_by_coordinate(bench, problem):
    good = bench.train(problem)
    final = good.final_w.copy()
    final[1] = np.nan
    verdict = judged(problem, replace(good, final_w=final))
    assert (verdict.status, verdict.first_step, verdict.coordinate) == ("non-finite", 300, "w[1]")


def test_the_earliest_fault_counts_and_a_later_nan_is_mentioned(bench, problem):
    good = bench.train(problem)
    losses = good.losses.copy()
    losses[50] += 0.1
    losses[70:] = np.nan
    verdict = judged(problem, replace(good, losses=losses))
    assert (verdict.status, verdict.first_step) == ("diverges", 50)
    assert "not finite from step 70" in verdict.message


def test_an_early_loss_comes_before_late_weights(bench, problem):
    good = bench.train(problem)
    losses = good.losses.copy()
    losses[50] += 0.1
    late = replace(good, losses=losses, final_w=good.final_w + problem.w0.dtype.type(1))
    verdict = judged(problem, late)
    assert (verdict.first_step, verdict.quantity) == (50, "loss")


MALFORMED = {
    "final w (1, d)": lambda t: {"final_w": t.final_w[None]},
    "final b (1,)": lambda t: {"final_b": t.final_b[None]},
    "w of one feature": lambda t: {"w": t.w[:, :, :1]},
    "w without pairs": lambda t: {"w": t.w[:, 0]},
    "no losses": lambda t: {"losses": t.losses[:0]},
    "one loss too many": lambda t: {"losses": np.append(t.losses, t.losses[-1:])},
    "losses (T+1, 1)": lambda t: {"losses": t.losses[:, None]},
    "other dtype": lambda t: {"losses": t.losses.astype("float16")},
    "complex": lambda t: {"w": t.w.astype(complex)},
    "objects": lambda t: {"losses": t.losses.astype(object)},
    "a list": lambda t: {"losses": t.losses.tolist()},
    "nothing": lambda _: {"final_w": None, "final_b": None},
    "half of nothing": lambda _: {"final_b": None},
    "other steps": lambda t: {"recorded_steps": t.recorded_steps + 1},
    "fewer pairs": lambda t: {
        "recorded_steps": t.recorded_steps[:3], "w": t.w[:3], "b": t.b[:3], "full_losses": t.full_losses[:3]
    },
    "no pairs": lambda t: {
        "recorded_steps": t.recorded_steps[:0], "w": t.w[:0], "b": t.b[:0], "full_losses": t.full_losses[:0]
    },
    "pairs from the future": lambda t: {"losses": t.losses[:20], "final_w": None, "final_b": None},
}  # fmt: skip  # one mistake, one line


@pytest.mark.parametrize("mistake", MALFORMED)
def test_form_comes_first(bench, problem, mistake):
    good = bench.train(problem)
    verdict = judged(problem, replace(good, **MALFORMED[mistake](good)))
    assert verdict.status == "malformed"
    assert verdict.message.startswith("malformed record: ")
    assert verdict.first_step is verdict.observed is None


def test_a_run_that_broke_off_is_judged_as_far_as_it_got(bench, problem):
    good = bench.train(problem)
    pairs = int((good.recorded_steps < 120).sum())
    prefix = {name: getattr(good, name)[:pairs] for name in ("recorded_steps", "w", "b", "full_losses")}
    short = replace(good, losses=good.losses[:121], final_w=None, final_b=None, **prefix)
    verdict = judged(problem, short)
    assert (verdict.status, verdict.message) == ("agrees", "agrees over the 120 steps that it made of 300")
    losses = short.losses.copy()
    losses[-1] = np.nan
    verdict = judged(problem, replace(short, losses=losses))
    assert (verdict.status, verdict.first_step) == ("non-finite", 120)


class TestSaturation:
    @pytest.fixture
    def saturating(self, bench):
        X = np.linspace(-3, 3, 20)[:, None]
        return bench.make(X, X[:, 0] > 0, dtype="float32", loss="probability", learning_rate=2.0, steps=400)

    def test_nothing_is_judged_after_it(self, bench, saturating):
        verdict = judged(saturating, bench.train(saturating, bench.naive_probability))
        start = tolerance(saturating, reference_trajectory(saturating)).saturated_from
        assert (verdict.status, verdict.first_step) == ("undecidable", start)
        assert f"undecidable from step {start}: the probability form saturates (max |z| = 1" in verdict.message
        assert "use --loss logits" in verdict.message
        assert "not finite from step" in verdict.message
        assert 0 < verdict.worst_ratio <= 1

    def test_a_divergence_before_it_is_a_divergence(self, bench, saturating):
        good = bench.train(saturating, bench.naive_probability)
        losses = good.losses.copy()
        losses[2] += 0.1
        verdict = judged(saturating, replace(good, losses=losses))
        assert (verdict.status, verdict.first_step) == ("diverges", 2)

    def test_a_nan_before_it_is_non_finite(self, bench, saturating):
        good = bench.train(saturating, bench.naive_probability)
        losses = good.losses.copy()
        losses[2] = np.nan
        verdict = judged(saturating, replace(good, losses=losses))
        assert (verdict.status, verdict.first_step) == ("non-finite", 2)

    def test_a_run_that_ends_before_it_agrees(self, bench, saturating):
        short = replace(saturating, steps=3)
        assert judged(short, bench.train(short, bench.naive_probability)).status == "agrees"


def test_a_run_of_one_step(bench):
    problem = bench.seed_problem(steps=1)
    assert judged(problem, bench.train(problem)).status == "agrees"
    assert judged(problem, bench.train(problem, rate=1.01)).status == "diverges"


def test_where_nothing_can_be_decided_but_the_start_no_deviation_is_nan(bench):
    problem = bench.make([[1e30], [-1e30]], [1, 0], [1e20], dtype="float32", learning_rate=1.0, steps=4)
    found = judged(problem, bench.train(problem))
    assert (found.status, found.first_step) == ("undecidable", 0)
    assert (found.observed, found.tolerance, found.worst_ratio) == (0, 0, 0)
