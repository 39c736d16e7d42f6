"""Huge and tiny data, weights, rates and penalties: no right program is accused, whatever its numbers leave.

Every correct formula is judged along its training and at the host's points. Where a number may leave the format on the
way, inf and NaN are right answers; where none may, they are faults. Warnings of numpy are errors here.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare_ag.verify import (
    Evidence,
    Oracle,
    Sample,
    certify,
    exact_trajectory,
    judge_samples,
    probe_points,
    reference_trajectory,
    tolerance,
)
from compare_ag.verify.points import point_tolerance, update_tolerance

FORMULAS = {
    "logits": ["by_hand", "with_tanh", "one_by_one"],
    "probability": ["naive_probability", "literal_chain_rule"],
}
STEPS = 12


def largest(dtype):
    return float(np.finfo(dtype).max)


def answer(problem, weights, formula, rows=None):
    """What a correct program says at ``weights`` (m,)."""
    real = np.dtype(problem.dtype).type
    X, y = (problem.X, problem.y) if rows is None else (problem.X[rows], problem.y[rows])
    w, b, l2, rate = weights[:-1], weights[-1], real(problem.l2), real(problem.learning_rate)
    with np.errstate(all="ignore"):
        loss, gw, gb = formula(X, y, w, b)
        loss = loss + real(0.5) * l2 * (w @ w)
        gradient = np.append(gw + l2 * w, gb).astype(problem.dtype)
        following = weights - rate * gradient
    return Sample("the point", weights, np.asarray(loss, problem.dtype), gradient, following, rows)


def verdict_on(bench, problem, name):
    """The certificate of a training and of answers at the host's points."""
    reference = reference_trajectory(problem)
    reference = replace(reference, exact=exact_trajectory(problem))
    trajectory = bench.train(problem, getattr(bench, name))
    formula, routes = getattr(bench, name), probe_points(problem, reference, 3).routes
    answers = [answer(problem, w, formula, route.rows) for route in routes for w in route.weights]
    bound = tolerance(problem, reference)
    return certify(problem, reference, bound, Oracle(problem), Evidence(trajectory, {}, answers))


def drawn_problem(bench, dtype, loss, scales, rate, l2, n, seed, batch_size):
    """Data whose columns have sizes 10^scales; a rate of 10^rate/L; a penalty of 10^l2, or None."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, len(scales))) * 10.0 ** np.array(scales)
    limit = min(largest(dtype), math.sqrt(largest("float64") / (n * (len(scales) + 1))))
    X = np.clip(X, -limit, limit).astype(dtype)
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    penalty = 0.0 if l2 is None else 10.0**l2
    facts = {"dtype": dtype, "loss": loss, "l2": penalty, "steps": STEPS, "batch_size": batch_size, "seed": seed}
    problem = bench.make(X, y, rng.normal(size=len(scales)), learning_rate=1.0, **facts)
    eta = min(10.0**rate / problem.curvature, largest(dtype))
    return replace(problem, learning_rate=float(np.dtype(dtype).type(eta)) or float(np.finfo(dtype).tiny))


@st.composite
def problems(draw):
    dtype = draw(st.sampled_from(["float32", "float64"]))
    top = 38 if dtype == "float32" else 150
    size = st.one_of(st.integers(-3, 3), st.integers(-top, top))
    n = draw(st.integers(2, 7))
    return {
        "dtype": dtype,
        "loss": draw(st.sampled_from(["logits", "probability"])),
        "scales": draw(st.lists(size, min_size=1, max_size=3)),
        "rate": draw(st.one_of(st.integers(-3, 1), st.integers(-top, 2 * top))),
        "l2": draw(st.one_of(st.none(), st.integers(-3, 1), st.integers(-top, top))),
        "n": n,
        "seed": draw(st.integers(0, 99)),
        "batch_size": draw(st.one_of(st.none(), st.integers(1, n - 1))),
    }


@pytest.mark.thorough
@settings(max_examples=150, deadline=None, derandomize=True)
@given(facts=problems())
def test_no_right_program_is_accused_and_no_deviation_is_nan(bench, facts):
    problem = drawn_problem(bench, **facts)
    for name in FORMULAS[problem.loss]:
        verdict = verdict_on(bench, problem, name)
        assert verdict.status in ("agrees", "undecidable"), (name, verdict.message)
        for test in verdict.tests:
            assert test.passed, (name, test.findings[0].message)
            assert not math.isnan(test.ratio)
        assert verdict.observed is None or not math.isnan(verdict.observed)


@pytest.mark.thorough
@settings(max_examples=15, deadline=None, derandomize=True)
@given(facts=problems())
def test_no_right_program_is_accused_in_a_few_draws(bench, facts):
    test_no_right_program_is_accused_and_no_deviation_is_nan.hypothesis.inner_test(bench, facts)


@pytest.mark.thorough
@settings(max_examples=60, deadline=None, derandomize=True)
@given(facts=problems())
def test_every_finite_tolerance_has_an_exact_number_to_compare_with(bench, facts):
    """The oracle's own failure is nobody's fault: where it has no number, there is no tolerance."""
    problem = drawn_problem(bench, **facts)
    oracle, routes = Oracle(problem), probe_points(problem, reference_trajectory(problem), 5).routes
    for weights, rows in ((weights, route.rows) for route in routes for weights in route.weights):
        allowed = point_tolerance(problem, weights, rows)
        exact = oracle.at(weights, rows, allowed)
        assert exact.decides(allowed)
        for number, limit in ((exact.loss, allowed.loss), (exact.gradient, allowed.gradient)):
            assert np.isfinite(number.high[np.isfinite(limit)]).all()


@pytest.mark.thorough
@settings(max_examples=10, deadline=None, derandomize=True)
@given(facts=problems())
def test_finite_tolerances_have_exact_numbers_in_a_few_draws(bench, facts):
    test_every_finite_tolerance_has_an_exact_number_to_compare_with.hypothesis.inner_test(bench, facts)


def test_doubling_weights_are_followed_by_an_exact_trajectory(bench):
    """With l2 = 3 and a rate of 1 each step multiplies the weights by about -2: 2^170 in the end."""
    problem = bench.seed_problem(loss="logits", dtype="float64", l2=3.0, learning_rate=1.0, steps=170)
    exact = exact_trajectory(problem)
    assert exact is not None
    assert np.isfinite(exact.losses.high).all()
    assert abs(exact.final.high[0]) > 2.0**150
    for formula in (bench.by_hand, bench.with_tanh, bench.one_by_one):
        verdict = judged_training(problem, bench.train(problem, formula))
        assert verdict.status in ("agrees", "undecidable"), verdict.message


def judged_training(problem, trajectory, **evidence):
    reference = replace(reference_trajectory(problem), exact=exact_trajectory(problem))
    found = Evidence(trajectory, {}, **evidence)
    return certify(problem, reference, tolerance(problem, reference), Oracle(problem), found)


def large_data(bench, size, dtype, **facts):
    X = size * np.array([[1.0, 2.0], [-1.5, 1.0], [0.5, -2.0], [1.0, 1.0]])
    return bench.make(X, [0, 1, 0, 1], [0.5, 0.25], dtype=dtype, **facts)


@pytest.mark.parametrize(("size", "dtype"), [(1e20, "float32"), (1e58, "float64"), (1e150, "float64")])
def test_large_data_are_decided_as_long_as_the_format_holds_every_number(bench, size, dtype):
    verdict = judged_training(*(lambda p: (p, bench.train(p)))(large_data(bench, size, dtype, steps=5)))
    assert verdict.status == "agrees", verdict.message


def test_from_the_step_at_which_the_format_overflows_nothing_is_decided(bench):
    """A rate of 1 throws the weights to 1e20, where products with data of 1e20 leave float32."""
    problem = large_data(bench, 1e20, "float32", learning_rate=1.0, steps=20)
    trajectory = bench.train(problem)
    assert not np.isfinite(trajectory.losses).all()
    verdict = judged_training(problem, trajectory)
    assert (verdict.status, verdict.first_step) == ("undecidable", 1)
    assert "may leave the range of float32" in verdict.message
    assert verdict.diagnosis == ()
    assert judged_training(replace(problem, learning_rate=1e-20), bench.train(problem)).status == "diverges"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("size", "dtype"), [(1e15, "float32"), (1e100, "float64")])
def test_what_is_not_finite_where_nothing_overflows_is_a_fault(bench, value, size, dtype):
    def broken(X, y, w, b):
        loss, gw, gb = bench.by_hand(X, y, w, b)
        return loss, gw, gb * X.dtype.type(value)

    problem = large_data(bench, size, dtype, steps=5)
    assert judged_training(problem, bench.train(problem, broken)).status == "non-finite"


def accepted(problem, sample):
    return {
        test: (r.passed, r.judged, r.undecided) for test, r in judge_samples(problem, Oracle(problem), [sample]).items()
    }


@pytest.mark.parametrize(
    ("facts", "weights", "undecided"),
    [
        ({"size": 1e30}, [1e9, 1.0, 0.0], {"loss", "gradient", "step"}),  # a product x w
        ({"size": 1.0}, [2e38, 1e38, 1e38], {"loss", "gradient", "step", "update"}),  # w·w, and a sum of logits
        ({"size": 1.0, "l2": 1e20}, [1e10, 1.0, 0.0], {"loss"}),  # the penalty
        ({"size": 1.0, "learning_rate": 1e38}, [9.0, 1.0, 0.0], {"step", "update"}),  # the rate times a gradient
    ],
)
def test_each_number_on_the_way_may_overflow(bench, facts, weights, undecided):
    """A correct answer is accepted, and so is any other: what the format cannot hold decides nothing."""
    problem = large_data(bench, dtype="float32", **{"learning_rate": 1e-3, **facts})
    sample = answer(problem, np.array(weights, "float32"), bench.by_hand)
    for said in (sample, replace(sample, loss=np.float32(np.nan))):
        found = accepted(problem, said)
        assert {test for test, result in found.items() if result == (True, 0, 1)} == undecided & set(found)


def test_one_component_may_overflow_and_the_others_are_judged(bench):
    X = np.array([[1e38, 1.0], [1e38, -1.0], [1e38, 0.5], [1e38, 2.0]])
    problem = bench.make(X, [0, 1, 0, 1], [0.0, 0.0], dtype="float32", learning_rate=1e-30)
    sample = answer(problem, np.zeros(3, "float32"), bench.by_hand)
    allowed = point_tolerance(problem, sample.weights)
    assert np.isinf(allowed.gradient).tolist() == [True, False, False]
    spoilt = sample.gradient.copy()
    spoilt[0] = np.inf
    assert judge_samples(problem, Oracle(problem), [replace(sample, gradient=spoilt)])["gradient"].passed
    spoilt[1] *= 1.01
    (finding,) = judge_samples(problem, Oracle(problem), [replace(sample, gradient=spoilt)])["gradient"].findings
    assert finding.coordinate == "w[1]"


def test_a_rate_whose_reciprocal_underflows_decides_no_update(bench):
    problem = large_data(bench, 1.0, "float64", learning_rate=1e308)
    assert np.isinf(update_tolerance(problem, np.zeros(3), np.zeros(3))).all()
    assert np.isfinite(update_tolerance(replace(problem, learning_rate=1e300), np.zeros(3), np.zeros(3))).all()


def test_a_wrong_loss_of_huge_data_is_seen(bench):
    """However far off a logit is, a loss is off by no more: one of 1e58 is known to 1e43."""
    problem = large_data(bench, 1e58, "float64")
    sample = answer(problem, np.array([0.5, 0.25, 0.0]), bench.by_hand)
    assert judge_samples(problem, Oracle(problem), [sample])["loss"].passed
    off = replace(sample, loss=sample.loss * (1 + 1e-12))
    assert not judge_samples(problem, Oracle(problem), [off])["loss"].passed


def test_what_a_huge_penalty_makes_of_an_underflow_is_no_fault(bench):
    """w² = 8e-39 is no normal float32 and may be flushed to 0, and ½ l2 w² is 0.4."""
    problem = large_data(bench, 1.0, "float32", l2=1e38)

    def passes_without_penalty(w):
        weights = np.array([w, 0.0, 0.0], "float32")
        sample = Sample("here", weights, loss=np.float32(np.log(2.0)))
        return judge_samples(problem, Oracle(problem), [sample])["loss"].passed

    assert passes_without_penalty(9e-20)
    assert not passes_without_penalty(1e-18)
    usual = point_tolerance(replace(problem, l2=0.0), np.zeros(3)).loss
    assert point_tolerance(problem, np.zeros(3)).loss == pytest.approx(usual)


def test_a_rate_that_underflows_when_it_is_divided_by_n_is_no_fault(bench):
    """η/n = 3e-46 is 0 in float32, and the sum over the examples is 1e38."""
    problem = large_data(bench, 2e37, "float32", learning_rate=1.4e-45)
    weights = np.array([0.0, 0.0, 0.0], "float32")
    reordered = Sample("here", weights, following=weights)
    assert judge_samples(problem, Oracle(problem), [reordered])["step"].passed
    assert point_tolerance(replace(problem, learning_rate=1e-36), weights).following[0] < 1e-3
