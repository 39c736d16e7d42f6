"""Timed blocks: honest training is right, what was not done or done wrongly is not, and nothing is claimed beyond that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.problem import batch_rows
from compare_ag.verify import BlockJudge, Claim, exact_trajectory, reference_trajectory, tolerance
from compare_ag.verify import timed_blocks as module

FORMS = [(dtype, loss) for dtype in ("float32", "float64") for loss in ("logits", "probability")]


def residual(problem, X, y, w, b):
    """p - y by phases, as a backend written in numpy computes it."""
    z = X @ w + b
    decay = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, decay) / (1 + decay) - y


def loss_at(problem, X, y, w, b):
    z = X @ w + b
    if problem.loss == "probability":
        p = 1 / (1 + np.exp(-z))
        loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    else:
        s = (1 - 2 * y) * z
        loss = (np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))).mean()
    return loss + problem.X.dtype.type(problem.l2 / 2) * (w @ w)


def train(problem, start, updates, batches=None):
    """The loss () before the last update and the weights (m,) after it, in the problem's dtype."""
    real = problem.X.dtype.type
    rate, l2 = real(problem.learning_rate), real(problem.l2)
    w, b, X, y = start[:-1], start[-1], problem.X, problem.y
    for j in range(updates):
        if batches is not None:
            rows = batches[j % len(batches)]
            X, y = problem.X[rows], problem.y[rows]
        loss = loss_at(problem, X, y, w, b)
        r = residual(problem, X, y, w, b)
        w, b = w - rate * (r @ X / real(len(y)) + l2 * w), b - rate * r.mean()
    return np.asarray(loss, problem.dtype), np.append(w, b).astype(problem.dtype)


def batches_of(problem, count=3):
    if problem.batch_size is None:
        return None
    order = problem.epoch_order()
    count = min(count, problem.batches_per_epoch)
    return [batch_rows(order, problem.batch_size, problem.examples, step) for step in range(count)]


def starts(problem, count=3, spread=1e-2):
    rng = np.random.default_rng([7, problem.seed])
    checkpoint = np.append(problem.w0, problem.b0)
    return [(checkpoint + spread * rng.normal(size=len(checkpoint))).astype(problem.dtype) for _ in range(count)]


def honest(problem, batches=None, counts=(1, 4, 7, 23)):
    return [
        Claim(start, updates, *train(problem, start, updates, batches))
        for start in starts(problem)
        for updates in counts
    ]


def sharp(bench, dtype="float64", loss="logits", **facts):
    """A problem whose every update is many tolerances long in float64."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 4))
    y = (X @ [1.0, -1.0, 0.5, 0.2] + rng.logistic(size=40) > 0).astype(float)
    return bench.make(X, y, rng.normal(size=4), 0.3, **{"dtype": dtype, "loss": loss, "l2": 0.05} | facts)


def verdict_of(problem, claim, batches=None):
    [verdict] = BlockJudge(problem, batches).judge([claim])
    return verdict


@pytest.mark.parametrize("index", range(36))
def test_honest_training_is_never_wrong(bench, index):
    """All sizes, dtypes, loss forms, penalties, batches and learning rates up to 1.9/L."""
    problem = bench.random_problem(index)
    batches = batches_of(problem)
    verdicts = BlockJudge(problem, batches).judge(honest(problem, batches))
    assert {verdict.status for verdict in verdicts} <= {"right", "not judged"}
    assert max(verdict.ratio for verdict in verdicts) < 0.5
    if problem.dtype == "float64":
        assert {verdict.status for verdict in verdicts} == {"right"}


@pytest.mark.parametrize("batch_size", [None, 12])
@pytest.mark.parametrize(("dtype", "loss"), FORMS)
def test_honest_training_is_right(bench, dtype, loss, batch_size):
    problem = sharp(bench, dtype, loss, batch_size=batch_size)
    batches = batches_of(problem)
    claims = honest(problem, batches, counts=(1, 4, 7, 12))
    for verdict in BlockJudge(problem, batches).judge(claims):
        assert verdict.status == "right", verdict
        assert verdict.ratio < 0.5
        assert verdict.moved > 10
        assert verdict.share < 0.01
        assert verdict.coordinate is None


def test_every_order_and_grouping_of_claims_gives_the_same_numbers(bench, monkeypatch):
    """Starts are sorted, descend in groups and are left where they end; verdicts come in the order of the claims."""
    problem = sharp(bench)
    claims = honest(problem, counts=(9, 2, 5))
    claims += [Claim(start, 3, *train(problem, start, 3)) for start in starts(problem, 20)[3:]]
    broken = replace(claims[4], weights=claims[4].start)
    claims[4] = broken
    together = BlockJudge(problem, None).judge(claims)
    assert [i for i, verdict in enumerate(together) if verdict.status == "wrong"] == [4]
    alone = [verdict_of(problem, claim) for claim in claims]
    monkeypatch.setattr(module, "GROUP_CELLS", 1)  # groups of 8
    monkeypatch.setattr(module, "BLOCK_CELLS", 1)  # a step at a time
    for others in (alone, BlockJudge(problem, None).judge(claims)):
        for first, second in zip(together, others, strict=True):
            assert first.status == second.status
            assert first.tolerance == pytest.approx(second.tolerance, rel=0.3)
            assert first.observed == pytest.approx(second.observed, rel=0.3, abs=1e-15)
            assert first.moved == pytest.approx(second.moved, rel=0.3)


def test_claims_that_share_weights_but_no_array_are_judged_alike(bench):
    problem = sharp(bench)
    claims = honest(problem)
    copies = [replace(claim, start=claim.start.copy()) for claim in claims]
    judge = BlockJudge(problem, None)
    assert judge.judge(claims) == judge.judge(copies)
    assert judge.judge([]) == []


@pytest.mark.parametrize("cells", [1, 1 << 15])
@pytest.mark.parametrize("batch_size", [None, 12])
@pytest.mark.parametrize("loss", ["logits", "probability"])
def test_a_bound_for_all_starts_is_no_smaller_than_each_one_s(bench, monkeypatch, loss, batch_size, cells):
    """The starts differ by factors here, and the largest ends first: the shared bound must cover it all the same."""
    monkeypatch.setattr(module, "BLOCK_CELLS", cells)
    problem = sharp(bench, "float32", loss, batch_size=batch_size)
    batches = batches_of(problem)
    judge = BlockJudge(problem, batches)
    wide = [(start * factor).astype("float32") for start, factor in zip(starts(problem), (0.1, 1.0, 2.0), strict=True)]
    claims = [Claim(start, n, *train(problem, start, n, batches)) for start, n in zip(wide, (11, 3, 2), strict=True)]
    claims = [replace(claim, weights=claim.weights + np.float32(0.1)) for claim in claims]
    for claim, verdict in zip(claims, judge.judge(claims), strict=True):
        [alone] = judge.judge([claim])
        assert alone.quantity == verdict.quantity == "weights"
        assert verdict.tolerance >= alone.tolerance * (1 - 1e-9)


@pytest.mark.parametrize(("dtype", "loss"), FORMS)
@pytest.mark.parametrize("updates", [1, 6])
def test_a_block_has_the_tolerance_of_a_training_of_as_many_steps(bench, dtype, loss, updates):
    problem = sharp(bench, dtype, loss, steps=updates)
    start = np.append(problem.w0, problem.b0)
    reference = reference_trajectory(problem)
    bound = tolerance(problem, reference)
    real = problem.X.dtype.type
    right = Claim(start, updates, *train(problem, start, updates))
    off = verdict_of(problem, replace(right, weights=right.weights + real(0.1)))
    # `tolerance` also knows the curvature at anchors, by which errors fade
    assert 0.999 < off.tolerance / bound.weights[updates] < 3.0
    expected = reference.final_weights
    assert off.observed == pytest.approx(np.linalg.norm(right.weights + real(0.1) - expected), rel=1e-12)
    assert off.moved == pytest.approx(np.linalg.norm(expected - start) / off.tolerance, rel=1e-9)
    off = verdict_of(problem, replace(right, loss=right.loss + real(0.1)))
    assert off.quantity == "loss"
    assert 0.999 < off.tolerance / bound.loss[updates - 1] < 3.0
    assert off.observed == pytest.approx(abs(right.loss + real(0.1) - reference.losses[updates - 1]), rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("made", [6, 8])
def test_one_update_too_few_or_too_many_is_wrong(bench, dtype, made):
    problem = sharp(bench, dtype)
    start = starts(problem)[0]
    verdict = verdict_of(problem, Claim(start, 7, train(problem, start, 7)[0], train(problem, start, made)[1]))
    assert verdict.status == "wrong"
    assert verdict.quantity == "weights"
    if made == 6:
        assert verdict.share == pytest.approx(1.0, rel=1e-3)
    deviation = np.abs(train(problem, start, 7)[1] - train(problem, start, made)[1])
    assert verdict.coordinate == [*(f"w[{j}]" for j in range(4)), "b"][int(np.argmax(deviation))]
    assert verdict.observed == pytest.approx(np.linalg.norm(deviation), rel=1e-3)
    assert verdict.ratio == pytest.approx(verdict.observed / verdict.tolerance)


def test_weights_that_were_left_alone_are_wrong(bench):
    problem = sharp(bench)
    start = starts(problem)[0]
    claim = Claim(start, 7, train(problem, start, 7)[0], start)
    verdict = verdict_of(problem, claim)
    assert verdict.status == "wrong"
    assert verdict.ratio == pytest.approx(verdict.moved)


def test_what_an_earlier_block_gave_is_wrong(bench):
    problem = sharp(bench, "float32")
    first, second, _ = starts(problem, spread=1e-3)
    assert verdict_of(problem, Claim(second, 7, *train(problem, first, 7))).status == "wrong"


@pytest.mark.parametrize("index", range(5))
def test_the_wrong_coordinate_is_named(bench, index):
    problem = sharp(bench)
    start = starts(problem)[0]
    loss, weights = train(problem, start, 7)
    weights[index] += 1e-6
    verdict = verdict_of(problem, Claim(start, 7, loss, weights))
    assert (verdict.status, verdict.quantity) == ("wrong", "weights")
    assert verdict.coordinate == ("b" if index == 4 else f"w[{index}]")
    assert verdict.observed == pytest.approx(1e-6, rel=1e-3)


def test_a_forgotten_penalty_is_wrong(bench):
    problem = sharp(bench)
    start = starts(problem)[0]
    verdict = verdict_of(problem, Claim(start, 7, *train(replace(problem, l2=0.0), start, 7)))
    assert (verdict.status, verdict.quantity) == ("wrong", "weights")


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 0, 0]])
def test_the_wrong_batch_is_wrong(bench, order):
    problem = sharp(bench, batch_size=12)
    batches = batches_of(problem)
    start = starts(problem)[0]
    wrong = [batches[i] for i in order]
    for updates in (1, 2, 3, 7):
        right = verdict_of(problem, Claim(start, updates, *train(problem, start, updates, batches)), batches)
        assert right.status == "right"
        if updates > 1 or order[0] == 1:
            verdict = verdict_of(problem, Claim(start, updates, *train(problem, start, updates, wrong)), batches)
            assert verdict.status == "wrong"


@pytest.mark.parametrize("off", [0, 2])
def test_the_loss_of_another_step_is_wrong(bench, off):
    """Right weights, and the loss one update too early or after the last first."""
    problem = sharp(bench)
    start = starts(problem)[0]
    verdict = verdict_of(problem, Claim(start, 7, train(problem, start, 6 + off)[0], train(problem, start, 7)[1]))
    assert (verdict.status, verdict.quantity, verdict.coordinate) == ("wrong", "loss", None)
    assert 1 < verdict.ratio < np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_wrong(bench, value):
    problem = sharp(bench, "float32")
    start = starts(problem)[0]
    loss, weights = train(problem, start, 7)
    verdict = verdict_of(problem, Claim(start, 7, np.float32(value), weights))
    assert (verdict.status, verdict.ratio, verdict.quantity) == ("wrong", np.inf, "loss")
    weights[2] = value
    verdict = verdict_of(problem, Claim(start, 7, loss, weights))
    assert (verdict.status, verdict.ratio, verdict.coordinate) == ("wrong", np.inf, "w[2]")


def at_the_optimum(bench, dtype):
    """The seed's data with as many ones as zeros at each x: the gradient at zero is zero."""
    return bench.make([[1.0], [1.0], [-1.0], [-1.0]], [0, 1, 0, 1], dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_start_at_the_optimum_proves_nothing(bench, dtype):
    problem = at_the_optimum(bench, dtype)
    start = np.zeros(2, dtype)
    claim = Claim(start, 7, *train(problem, start, 7))
    assert np.array_equal(claim.weights, start)
    verdict = verdict_of(problem, claim)
    assert verdict.status == "not judged"
    assert verdict.moved < 1
    # out of tolerance it is wrong all the same
    assert verdict_of(problem, replace(claim, weights=start + np.dtype(dtype).type(1e-3))).status == "wrong"


@pytest.fixture(name="near_its_optimum")
def make_near_its_optimum(bench):
    """A problem in float32, and a start from where a right block moves less than rounding might explain."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(3000, 30))
    y = X[:, 0] + rng.logistic(size=3000) > 0
    problem = bench.make(X, y, dtype="float32")
    optimum = train(problem, np.zeros(31, "float32"), 300)[1]
    return problem, (optimum + 1e-4 * rng.normal(size=31)).astype("float32")


def test_moves_below_the_tolerance_are_right_only_where_they_were_made(near_its_optimum):
    """The start is within tolerance of the end; yet a block that returns it is not called right."""
    problem, start = near_its_optimum
    loss, weights = train(problem, start, 3)
    right, idle = BlockJudge(problem, None).judge([Claim(start, 3, loss, weights), Claim(start, 3, loss, start)])
    assert right.moved == idle.moved < 1
    assert (right.status, idle.status) == ("right", "not judged")
    assert idle.ratio < 1
    assert right.share < 0.1 < 1 < idle.share
    early = verdict_of(problem, Claim(start, 3, loss, train(problem, start, 2)[1]))
    assert early.status == "not judged"
    assert early.share == pytest.approx(1.0, abs=0.1)


def test_a_part_of_an_update_is_not_the_update(near_its_optimum):
    problem, start = near_its_optimum
    loss, weights = train(problem, start, 1)
    for part, status in ((1.0, "right"), (0.7, "not judged")):
        verdict = verdict_of(problem, Claim(start, 1, loss, start + np.float32(part) * (weights - start)))
        assert verdict.status == status
        assert verdict.share == pytest.approx(1.0 - part, abs=0.05)


def test_many_blocks_are_allowed_more_than_one_for_the_chance_of_a_false_alarm(near_its_optimum):
    problem, start = near_its_optimum
    claim = Claim(start, 3, *train(problem, start, 3))
    judge = BlockJudge(problem, None)
    assert judge.judge([claim])[0].tolerance < judge.judge([claim] * 9)[0].tolerance


@pytest.mark.parametrize("batch_size", [None, 12])
@pytest.mark.parametrize(("dtype", "loss"), FORMS)
def test_the_exact_judge_agrees_with_the_reference(bench, dtype, loss, batch_size):
    problem = sharp(bench, dtype, loss, batch_size=batch_size)
    batches = batches_of(problem)
    claims = honest(problem, batches)
    claims[1] = replace(claims[1], weights=claims[2].weights)
    claims[6] = replace(claims[6], loss=claims[5].loss)
    judge = BlockJudge(problem, batches)
    by_reference, exactly = judge.judge(claims), judge.judge(claims, exactly=range(len(claims)))
    assert not any(verdict.exact for verdict in by_reference)
    assert all(verdict.exact for verdict in exactly)
    for first, second in zip(by_reference, exactly, strict=True):
        assert first.status == second.status
        assert first.coordinate == second.coordinate
        if dtype == "float32" and first.quantity == second.quantity:  # float64's own error is no part of what is seen
            assert first.observed == pytest.approx(second.observed, rel=1e-4, abs=1e-12)
            assert first.tolerance == pytest.approx(second.tolerance, rel=1e-4)
        if dtype == "float64" and first.quantity == second.quantity:
            assert first.tolerance > 1.3 * second.tolerance


def test_only_chosen_claims_are_judged_exactly(bench):
    problem = sharp(bench)
    verdicts = BlockJudge(problem, None).judge(honest(problem), exactly=[1, 5])
    assert [i for i, verdict in enumerate(verdicts) if verdict.exact] == [1, 5]
    # what is compared with is exact, so that only the tested arithmetic's error is allowed
    assert verdicts[1].ratio < 0.5


def test_what_is_too_expensive_falls_back_to_the_reference(bench, monkeypatch):
    problem = sharp(bench)
    judge = BlockJudge(problem, None)
    claims = honest(problem, counts=(2, 50))
    short, long = judge.exact_seconds(2), judge.exact_seconds(50)
    assert 5 * short < long <= 25 * short
    monkeypatch.setattr(module, "AFFORDABLE_SECONDS", (short + long) / 2)
    assert judge.exact_seconds(50) is None
    verdicts = judge.judge(claims, exactly=range(len(claims)))
    assert [verdict.exact for verdict in verdicts] == [True, False] * 3
    assert {verdict.status for verdict in verdicts} == {"right"}


def test_wide_data_are_not_made_exact_for_one_update(bench):
    """10 million numbers would occupy 1.8 GB."""
    wide = bench.make(np.ones((2, 2_000_000)), [0, 1], learning_rate=1e-3)
    assert BlockJudge(wide, None).exact_seconds(1) is None


def test_exact_weights_are_those_of_the_exact_trajectory(bench):
    """Ten updates of the problem's own start and batches, in two ways."""
    problem = sharp(bench, steps=10, batch_size=12)
    order = problem.epoch_order()
    rows = [batch_rows(order, 12, problem.examples, step) for step in range(10)]
    whole = exact_trajectory(problem)
    start = np.append(problem.w0, problem.b0)
    loss, weights = BlockJudge(problem, rows).oracle.descend(start, rows, lambda *_: True)
    assert np.array_equal(weights.high, whole.final.high)
    assert float(loss.high) == whole.losses.high[9]
    assert np.all(weights.radius < 1e-40)


@pytest.mark.parametrize(("dtype", "loss"), FORMS)
@pytest.mark.parametrize("rate", [1e30, 1e4])
def test_an_absurd_learning_rate_decides_nothing(bench, dtype, loss, rate):
    problem = sharp(bench, dtype, loss, l2=1.0)
    problem = replace(problem, learning_rate=float(np.dtype(dtype).type(rate)))
    start = starts(problem)[0]
    with np.errstate(all="ignore"):
        claim = Claim(start, 90, *train(problem, start, 90))
    nonsense = Claim(start, 90, np.dtype(dtype).type(np.nan), np.full(5, np.inf, dtype))
    for verdict in BlockJudge(problem, None).judge([claim, nonsense], exactly=[0, 1]):
        assert verdict.status == "not judged"
        assert not verdict.exact


def test_a_saturated_probability_decides_nothing(bench):
    problem = bench.make([[1.0], [60.0]], [1, 0], [1.0], dtype="float32", loss="probability")
    start = np.array([1.0, 0.0], "float32")
    nan = np.full(2, np.nan, "float32")
    assert verdict_of(problem, Claim(start, 2, nan[0], nan)).status == "not judged"
    assert verdict_of(replace(problem, loss="logits"), Claim(start, 2, nan[0], nan)).status == "wrong"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_start_that_saturates_is_not_judged_among_others_that_do_not(bench, sign):
    problem = bench.make([[sign], [-60.0 * sign]], [1, 0], dtype="float32", loss="probability", learning_rate=1e-3)
    mild, wild = np.array([0.1 * sign, 0.0], "float32"), np.array([sign, 0.0], "float32")
    claim = Claim(mild, 2, *train(problem, mild, 2))
    nonsense = Claim(wild, 2, np.float32(np.nan), np.full(2, np.nan, "float32"))
    assert verdict_of(problem, claim).status == "right"
    assert [verdict.status for verdict in BlockJudge(problem, None).judge([claim, nonsense])] == ["not judged"] * 2


def test_batches_belong_to_problems_that_have_them(bench):
    for problem, batches in ((sharp(bench), [np.arange(3)]), (sharp(bench, batch_size=12), None)):
        with pytest.raises(ValueError, match="batches"):
            BlockJudge(problem, batches)


def test_claims_of_another_form_are_refused(bench):
    problem = sharp(bench)
    [claim, *_] = honest(problem)
    judge = BlockJudge(problem, None)
    for changes in (
        {"weights": claim.weights[:1]},
        {"weights": claim.weights.astype("float32")},
        {"start": claim.start[None]},
        {"loss": claim.loss.reshape(1)},
        {"updates": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(changes))):
            judge.judge([replace(claim, **changes)])
