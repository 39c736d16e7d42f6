"""The oracle against an independent evaluation: the textbook formula in naive balls of 700 bits."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from flint import arb, ctx

from compare_ag.model.products import MOST_TERMS
from compare_ag.problem import batches, recorded_steps
from compare_ag.verify import Oracle, exact_trajectory, reference_trajectory
from compare_ag.verify.oracle import RADIUS
from compare_ag.verify.points import point_tolerance


def textbook(problem, w, b, rows):
    """Loss and gradient (m,) by -y log p - (1 - y) log(1 - p) and p - y, as balls."""
    X, y = problem.X[rows].astype(float).tolist(), problem.y[rows].astype(float).tolist()
    n, l2 = len(y), arb(float(problem.l2))
    loss, slope = arb(0), [arb(0)] * (len(w) + 1)
    for x, label in zip(X, y, strict=True):
        z = sum((arb(v) * weight for v, weight in zip(x, w, strict=True)), b)
        p = 1 / (1 + (-z).exp())
        loss -= (label * p.log() + (1 - label) * (1 - p).log()) / n
        slope = [total + (p - label) * v / n for total, v in zip(slope, [*x, 1.0], strict=True)]
    loss += l2 / 2 * sum((v * v for v in w), arb(0))
    return loss, [total + l2 * v for total, v in zip(slope, [*w, arb(0)], strict=True)]


def naive_trajectory(problem):
    """Losses (T+1) and weights (T+1, m) in balls that are iterated as they are."""
    theta = [arb(float(v)) for v in np.append(problem.w0, problem.b0)]
    losses, path = [], []
    for rows in batches(problem):
        loss, slope = textbook(problem, theta[:-1], theta[-1], rows)
        losses.append(loss)
        path.append(theta)
        theta = [v - arb(float(problem.learning_rate)) * g for v, g in zip(theta, slope, strict=True)]
    return losses, path


def distance(exact, balls):
    """The largest |exact - ball|, exactly."""
    pairs = zip(np.ravel(exact.high).tolist(), np.ravel(exact.low).tolist(), balls, strict=True)
    return max(float(abs(arb(high) + arb(low) - ball).upper()) for high, low, ball in pairs)


@pytest.mark.parametrize("loss", ["logits", "probability"])
@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("l2", [0.0, 0.125])
def test_the_trajectory_is_the_one_of_the_textbook(bench, loss, batch_size, l2):
    problem = bench.make(
        [[1, 1], [1, 0.5], [0, 1], [0.1, 0], [2, -1]], [0, 1, 0, 1, 1], [0.3, -0.2], 0.1, loss=loss, l2=l2,
        batch_size=batch_size, steps=60, dtype="float32",
    )  # fmt: skip
    exact = exact_trajectory(problem)
    with ctx.workprec(700):
        losses, path = naive_trajectory(problem)
        pairs = [v for k in recorded_steps(60) for side in (0, 1) for v in path[k + side]]
        # high + low keeps 106 bits; the radius is far smaller
        assert distance(exact.weights, pairs) < 1e-31
        assert distance(exact.final, path[-1]) < 1e-31
        assert distance(exact.losses, losses) < 1e-31


def test_the_radius_is_a_bound_and_honest(bench):
    """At 64 bits the trajectory is off by more than 106 bits show, and its radius says so."""
    problem = bench.seed_problem(steps=300)

    with ctx.workprec(64):
        rough = Oracle(problem, bits=64).trajectory()
    with ctx.workprec(700):
        _, path = naive_trajectory(problem)
        error = distance(rough.final, path[-1])
    assert 1e-22 < error <= rough.radius < 1e-15


def test_the_seed_problem_is_known_to_1e_30_at_its_last_step(bench):
    exact = exact_trajectory(bench.seed_problem())
    assert exact.radius <= RADIUS
    assert exact.losses.radius.max() <= RADIUS
    reference = reference_trajectory(bench.seed_problem())
    assert np.abs(exact.losses.high - reference.losses).max() < 1e-13


def test_a_learning_rate_beyond_2_over_l_costs_bits(bench):
    problem = bench.make([[1.0], [-1.0], [0.5]], [1, 0, 0], steps=100)
    fast = replace(problem, learning_rate=2.5 / problem.curvature)
    exact, faster = exact_trajectory(problem), exact_trajectory(fast)
    assert faster.bits > exact.bits
    assert faster.radius <= RADIUS
    absurd = replace(problem, learning_rate=1e300)
    assert exact_trajectory(absurd) is None


def test_a_problem_too_dear_has_no_exact_trajectory(bench):
    X = np.random.default_rng(0).normal(size=(2000, 20))
    assert exact_trajectory(bench.make(X, X[:, 0] > 0, steps=1000)) is None


@pytest.mark.parametrize("index", range(12))
def test_single_evaluations_agree_with_the_textbook(bench, index):
    problem = bench.random_problem(index)
    rng = np.random.default_rng(index)
    rows = np.sort(rng.choice(problem.examples, 3, replace=False))
    w, b = rng.normal(size=problem.features).astype(problem.dtype), problem.b0
    found = Oracle(problem).at(problem.layout.flat((w, b)), rows)
    with ctx.workprec(300):
        loss, slope = textbook(problem, [arb(float(v)) for v in w], arb(float(b)), rows)
        assert distance(found.loss, [loss]) < 1e-30 * max(1.0, float(found.loss.high))
        assert distance(found.gradient, slope) < 1e-29
        rate = arb(float(problem.learning_rate))
        ends = [arb(float(v)) - rate * g for v, g in zip(np.append(w, b), slope, strict=True)]
        assert distance(found.following, ends) < 1e-29


def test_a_deviation_below_the_last_bit_is_seen(bench):
    """1/3 in float64 is off by 1.85e-17: half an ulp would be 2.8e-17."""
    problem = bench.make([[3.0], [-3.0]], [1, 0], [0.0], learning_rate=1.0)
    exact = Oracle(problem).update(np.array([0.0, 1.0]), np.array([-1.0 / 3.0, 0.0]))
    assert exact.high[0] == 1.0 / 3.0
    third = exact._replace(low=np.array([1.0 / 54043195528445952.0, 0.0]))
    assert third.deviation(np.array([1.0 / 3.0, 1.0]))[0] == pytest.approx(1.0 / 54043195528445952.0)
    assert np.isnan(exact.deviation(np.array([np.nan, 1.0]))[0])


def test_batches_are_told_apart_whatever_their_integer_type(bench):
    """The bytes of the 32-bit rows (1, 0) are those of the 64-bit row (1,)."""
    problem = bench.random_problem(1)
    weights = problem.initial
    oracle = Oracle(problem)
    pair, single = np.array([1, 0], dtype=np.uint32), np.array([1], dtype=np.int64)
    assert pair.tobytes() == single.tobytes()
    found = [oracle.judge_all(weights[None], rows, 1)[0] for rows in (pair, single)]
    losses = [float(exact.loss.high) for _, exact in found]
    alone = [float(Oracle(problem).at(weights, rows).loss.high) for rows in (pair, single)]
    assert losses == alone


# --- as many bits as it takes


def test_margins_far_out_are_enclosed_not_computed(bench):
    """softplus(μ) = μ and σ(μ) = 1, and 0 on the other side, as far as any number of bits can tell."""
    size, weight = 2.0**500, 2.0**500
    problem = bench.make([[size], [-size]], [0, 0], [1.0])
    found = Oracle(problem).at(np.array([weight, 0.0]))
    assert (float(found.loss.high), found.gradient.high.tolist()) == (size * weight / 2, [size / 2, 0.5])
    assert np.isfinite([found.loss.radius, *found.gradient.radius]).all()


def test_cancelling_products_get_the_bits_they_need(bench):
    """Of two products of 1e135 nothing is left: the third one counts, and is known to 30 digits."""
    large = 2.0**450
    problem = bench.make([[large, -large, 0.5], [0.0, 0.0, 0.5]], [0, 1], [1.0, 1.0, 1.0])
    small = bench.make([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]], [0, 1], [1.0, 1.0, 1.0])
    weights = np.array([1.0, 1.0, 1.0, 0.25])
    found, expected = Oracle(problem).at(weights), Oracle(small).at(weights)
    assert found.loss.radius < 1e-30
    assert (found.loss.high, found.loss.low) == (expected.loss.high, expected.loss.low)
    assert found.gradient.high[2:].tolist() == expected.gradient.high[2:].tolist()


def test_a_radius_that_is_not_negligible_takes_more_bits_or_decides_nothing(bench):
    problem = bench.random_problem(1)
    weights = problem.initial.astype(float)
    allowed = point_tolerance(problem, weights)
    few = Oracle(problem, bits=30)
    rough = few.at(weights)
    assert not rough.decides(allowed)
    assert few.at(weights, None, allowed).decides(allowed)
    assert not rough.loss.decides(np.asarray(allowed.loss))
    assert rough.loss.decides(np.asarray(1e9))
    assert not rough.loss.decides(np.asarray(np.inf))
    unknown = rough.loss._replace(high=np.asarray(np.nan))
    assert not unknown.decides(np.asarray(1e9))


def test_each_number_has_a_radius_of_its_own(bench):
    problem = bench.make([[2.0**300], [-(2.0**301)]], [0, 1], [0.0])
    radius = Oracle(problem).at(np.array([1e-91, 0.1])).gradient.radius
    assert radius.shape == (2,)
    assert radius[0] > 2.0**200 * radius[1]


@pytest.mark.parametrize("rate", [1e300, 1e308])
def test_a_rate_beyond_all_bits_has_no_exact_trajectory(bench, rate):
    problem = bench.make([[1e5], [-1.0], [0.5]], [1, 0, 0], steps=100, learning_rate=rate)
    assert exact_trajectory(problem) is None


def test_large_data_have_an_exact_trajectory_whose_losses_are_known_too(bench):
    problem = bench.make([[1e120, 2e119], [-1e120, 1e120], [5e119, 1e119]], [0, 1, 1], [0.5, 0.25], steps=5)
    exact = exact_trajectory(problem)
    assert (exact.losses.radius <= 1e-20 * exact.losses.high).all()
    reference = reference_trajectory(problem)
    assert np.abs(exact.losses.high / reference.losses - 1).max() < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_data_are_known_too(bench, dtype):
    """More features than one error-free product takes: the cheap readings agree with balls."""
    d = 2 * MOST_TERMS + 3
    generator = np.random.default_rng(3)
    problem = bench.make(generator.normal(size=(3, d)), [0, 1, 0], dtype=dtype, steps=5, learning_rate=1e-3)
    points = generator.normal(size=(2, d + 1)).astype(dtype) / 50
    oracle = Oracle(problem)
    for weights, (allowed, found) in zip(points, oracle.judge_all(points, None, 10, until=0.0), strict=True):
        exact = oracle.at(weights)
        for one, real, tolerance in (
            (found.loss, exact.loss, allowed.loss),
            (found.gradient, exact.gradient, allowed.gradient),
        ):
            assert np.isfinite(tolerance).all()
            off = np.abs((one.high - real.high) + (one.low - real.low))
            assert (off <= one.radius + real.radius).all()


def test_a_step_is_known_as_well_as_its_gradient(bench, monkeypatch):
    """Rounding θ' to float64 is no part of the exact step's error, so that float64 readings decide it."""
    module = importlib.import_module("compare_ag.verify.oracle")
    monkeypatch.setattr(module, "KNOWN", module.KNOWN[:1])
    rng = np.random.default_rng(8)
    X = rng.normal(size=(60_000, 2))
    problem = bench.make(X, X[:, 0] + rng.logistic(size=len(X)) > 0, dtype="float64", learning_rate=1e-3)
    oracle, weights = Oracle(problem), np.array([[0.3, -0.2, 70.1]])
    ((allowed,), (evaluation,)) = oracle._read(weights, None, 10)
    exact = oracle.at(weights[0]).following
    found = evaluation.following
    assert found.decides(allowed.following).all()
    assert (found.radius < 0.1 * np.spacing(np.abs(exact.high))).all()
    assert (np.abs((found.high - exact.high) + (found.low - exact.low)) <= found.radius + exact.radius).all()
