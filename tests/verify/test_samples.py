"""Single steps: every correct formula passes, small errors do not, and the fault is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.problem import problem_by_name
from compare_ag.verify import Oracle, Sample, judge_samples, probe_points, probe_samples, reference_trajectory
from compare_ag.verify.points import point_tolerance


def answers(problem, weights, formula, rows=None, change=None):
    """One sample of a contestant at ``weights`` (m,)."""
    real = np.dtype(problem.dtype).type
    X, y = (problem.X, problem.y) if rows is None else (problem.X[rows], problem.y[rows])
    w, b = weights[:-1], weights[-1]
    l2 = real(problem.l2)
    with np.errstate(all="ignore"):
        loss, gw, gb = formula(X, y, w, b)
        loss = loss + real(0.5) * l2 * (w @ w)
        gradient = np.append(gw + l2 * w, gb).astype(problem.dtype)
        if change is not None:
            loss, gradient = change(loss, gradient)
        following = weights - real(problem.learning_rate) * gradient
    return Sample("here", weights, np.asarray(loss, problem.dtype), gradient, following, rows)


def points(problem, seed=1):
    return probe_points(problem, reference_trajectory(problem), seed)


FORMULAS = {
    "logits": ["by_hand", "with_tanh", "one_by_one"],
    "probability": ["naive_probability", "literal_chain_rule"],
}


@pytest.mark.few(12)
@pytest.mark.parametrize("index", range(40))
def test_every_correct_formula_passes_at_every_point(bench, index):
    problem = bench.random_problem(index, steps=60)
    probes = points(problem)
    for name in FORMULAS[problem.loss]:
        formula = getattr(bench, name)
        samples = [answers(problem, w, formula, route.rows) for route in probes.routes for w in route.weights]
        for test in judge_samples(problem, Oracle(problem), samples).values():
            assert test.passed, (name, test.findings[0].message)
            assert test.judged > 0
            assert test.ratio <= 1


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9, 1e-11])
def test_a_relative_error_of_the_gradient_is_seen_and_named_in_float64(bench, size):
    problem = replace(bench.random_problem(1, loss="logits", batch_size=None), dtype="float64")
    start = np.append(problem.w0, problem.b0)

    def scaled(loss, gradient):
        gradient[2] *= 1 + size
        return loss, gradient

    found = judge_samples(problem, Oracle(problem), [answers(problem, start, bench.by_hand, change=scaled)])
    (finding,) = found["gradient"].findings
    assert (finding.phase, finding.coordinate) == ("backward", "w[2]")
    assert finding.deviation == pytest.approx(abs(finding.expected) * size, rel=0.1)
    assert f"{finding.ratio:.2g} times its tolerance" in finding.message
    assert found["loss"].passed
    assert found["update"].passed  # the update did what it was told
    assert not found["step"].passed


def test_a_wrong_update_is_the_updates_fault(bench):
    problem = bench.random_problem(3, loss="logits")
    start = np.append(problem.w0, problem.b0).astype(problem.dtype)
    right = answers(problem, start, bench.by_hand)
    wrong = replace(right, following=right.following * np.asarray(1.001, problem.dtype))
    found = judge_samples(problem, Oracle(problem), [wrong])
    assert found["gradient"].passed
    assert found["update"].findings[0].phase == "update"
    assert not found["step"].passed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_agrees(bench, value):
    problem = bench.random_problem(0, loss="logits")
    start = np.append(problem.w0, problem.b0).astype(problem.dtype)
    sample = answers(problem, start, bench.by_hand, change=lambda _, g: (value, np.full_like(g, value)))
    found = judge_samples(problem, Oracle(problem), [sample])
    assert found["loss"].ratio == np.inf
    assert found["gradient"].findings[0].coordinate == "w[0]"
    assert "is nan at here" in replace(found["gradient"].findings[0], observed=np.nan).message


def test_the_saturated_probability_form_is_undecided_not_wrong(bench):
    problem = bench.random_problem(2, loss="probability")
    main = points(problem).main
    saturated = main.weights[main.names.index("saturated")]
    sample = answers(problem, saturated, bench.naive_probability)
    assert not np.isfinite(sample.loss)
    for name, test in judge_samples(problem, Oracle(problem), [sample]).items():
        assert test.passed
        assert name == "update" or (test.judged, test.undecided) == (0, 1)
    assert np.isinf(point_tolerance(problem, saturated).loss)
    assert np.isfinite(point_tolerance(replace(problem, loss="logits"), saturated).gradient).all()


def test_the_route_returns_to_every_point_and_tells_no_weight_of_the_training(bench):
    problem = bench.random_problem(1)
    reference = reference_trajectory(problem)
    main = probe_points(problem, reference, 7).main
    assert {"zero", "start", "middle", "end", "saturated", "large weights", "random 1"} <= set(main.names)
    *there, _ = main.names[: len(main.names) // 2 + 1]
    assert list(main.names[len(there) + 1 :]) == there[::-1]
    told = main.weights.astype(float).ravel()
    answers_later = np.concatenate([reference.weights[1:, :, :-1].ravel(), reference.final_weights[:-1]]).astype(
        problem.dtype
    )
    assert not np.isin(answers_later[answers_later != 0], told).any()
    again = probe_points(problem, reference, 7).main
    assert np.array_equal(main.weights, again.weights)
    other = probe_points(problem, reference, 8).main
    assert not np.array_equal(main.weights, other.weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["logits", "probability"])
def test_the_ladders_pass_every_logit_that_can_be_decided_on_either_side_without_a_seed(bench, dtype, loss):
    problem = replace(bench.random_problem(1, loss=loss, batch_size=None), dtype=dtype)
    problem = replace(problem, X=problem.X.astype(dtype), y=problem.y.astype(dtype))
    one, other = (probe_points(problem, reference_trajectory(problem), seed).routes[2:] for seed in (1, 2))
    at_zero, *alone = one
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(one, other, strict=True))
    assert not at_zero.weights[:, :-1].any()
    b = at_zero.weights[:, -1].astype(float)
    saturated = {"float32": 24, "float64": 53}[dtype] * np.log(2.0)
    for side in (b[b > 0], -b[b < 0]):
        top = min(side.max(), saturated)
        assert set(range(1, int(top) + 1)) <= set(side.tolist())
        beyond = np.sort(side[side >= saturated - 1])
        assert (beyond[1:] <= 1.6 * beyond[:-1]).all()
    for sign, limit in ((1, b.max()), (-1, -b.min())):  # the next rung but one cannot be decided any more
        probe = replace(problem, X=problem.X[:1], y=problem.y[:1])
        point = np.append(np.zeros(problem.features), sign * (limit + 1.0)).astype(dtype)
        beyond = point_tolerance(probe, point)
        assert np.isfinite([beyond.loss, *beyond.gradient]).all() == (loss == "logits")
        point[-1] = sign * limit
        last = point_tolerance(probe, point)
        assert np.isfinite([last.loss, *last.gradient]).all()
    for label, route in enumerate(alone):
        (row,) = route.rows
        assert problem.y[row] == label
        z = route.weights[:, :-1].astype(float) @ problem.X[row] + route.weights[:, -1]
        near = np.sort(np.abs(z[np.abs(z) <= min(saturated, limit)]))
        assert np.diff(near).max() <= {"float32": 3.1, "float64": 5.1}[dtype]
        assert (z > 0.8 * min(saturated, b.max())).any()
        assert (z < 0.8 * b.min()).any()


def test_ladders_of_large_data_use_few_examples_of_both_labels(bench):
    problem = bench.random_problem(1, loss="logits", batch_size=None)
    X = np.tile(problem.X, (60, 1))
    y = np.zeros(len(X), dtype=problem.dtype)
    y[-3:] = 1.0
    many = replace(problem, X=X, y=y)
    ladder = probe_points(many, reference_trajectory(many), 1).routes[2]
    assert len(ladder.rows) == 130
    assert y[ladder.rows].sum() == 3
    assert ladder.on == ", on 130 examples"


def test_wide_data_gets_fewer_points_and_each_ladder_keeps_its_ends():
    problem = problem_by_name("synthetic:n=4,d=300000", steps=2)
    reference = reference_trajectory(problem)
    for route in probe_points(problem, reference, 1).routes[2:]:
        assert 2 <= len(route.names) <= 14
        assert route.names[0].endswith("-800")
        assert route.names[-1].endswith("800")


def test_one_label_alone_has_ladders_too(bench):
    problem = bench.random_problem(1, loss="logits", batch_size=None)
    single = replace(problem, y=np.ones_like(problem.y))
    *_, alone = probe_points(single, reference_trajectory(single), 1).routes
    assert len(probe_points(single, reference_trajectory(single), 1).routes) == 4
    assert single.y[alone.rows[0]] == 1


def test_answers_become_samples_with_both_visits_of_each_point(bench):
    problem = bench.random_problem(1, batch_size=None)
    main = points(problem).main
    p, m = main.weights.shape
    loss, gradient = np.arange(2.0 * p).reshape(p, 2), np.arange(2.0 * p * m).reshape(p, 2, m)
    phased = probe_samples(main, loss, gradient, gradient[:, :1])
    assert [sample.loss for sample in phased] == list(range(2 * p))
    assert phased[0].following is None  # the phases update once, after the second gradient
    assert phased[1].following is not None
    assert phased[1].where == "the point 'zero', evaluated again"
    fused = probe_samples(main, loss, None, gradient)
    assert np.array_equal(fused[3].following, gradient[1, 1])


def test_one_tolerance_serves_each_dtype(bench):
    problem = bench.random_problem(1, loss="logits")
    start = np.append(problem.w0, problem.b0)
    double, single = (point_tolerance(problem, start, dtype=dtype).gradient for dtype in ("float64", "float32"))
    assert single / double == pytest.approx(2.0**29, rel=0.05)
