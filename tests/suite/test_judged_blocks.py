"""Which timed blocks are judged, and what is said of one that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.host.failures import WorkerFailure
from compare_ag.problem import problem_by_name
from compare_ag.suite.judged_blocks import LEAST_ROUNDS, Counts, JudgedBlocks
from compare_ag.verify.timed_blocks import BlockJudge

PROBLEM = problem_by_name("synthetic:n=30,d=3", steps=20)
STEP = 10
START = np.array([0.3, -0.2, 0.1]), np.asarray(0.05)


def trained(updates):
    """What so many updates from the start give: the loss before the last, and the weights after it."""
    X, y, (w, b) = PROBLEM.X, PROBLEM.y, START
    loss = np.zeros(())
    for _ in range(updates):
        z = X @ w + b
        loss = np.asarray(np.mean(np.logaddexp(0, z) - y * z) + PROBLEM.l2 / 2 * (w @ w))
        r = (1 / (1 + np.exp(-z)) - y) / len(y)
        w, b = (
            w - PROBLEM.learning_rate * (r @ X + PROBLEM.l2 * w),
            np.asarray(b - PROBLEM.learning_rate * r.sum()),
        )
    return {"loss": loss, "w": w, "b": b}


def launch(judged, contestants, rounds=12, backend_of=lambda name: name, seconds=1.0):
    """A launch in which each contestant returns ``contestants[name](updates)``; the rounds that were chosen."""
    judged.begin(rounds, 0)
    chosen = judged._chosen_rounds
    for number in range(rounds):
        judged.round(number, *START)
        for name, compute in contestants.items():
            judged.add(name, 5 + number, compute(5 + number))
    return judged.judge(seconds, backend_of), chosen


def wrong(updates):
    right = trained(updates)
    return {**right, "w": right["w"] + np.array([0.0, 1e-6, 0.0])}


@pytest.fixture
def judged():
    return JudgedBlocks(PROBLEM, STEP, 10.0)


def test_right_blocks_are_judged_and_no_contestant_leaves(judged):
    found, chosen = launch(judged, {"one": trained, "two": trained})
    assert found == {}
    assert len(chosen) == LEAST_ROUNDS
    for name in ("one", "two"):
        counts = judged.counts[name]
        assert counts.judged + counts.not_judged == LEAST_ROUNDS
        assert counts.judged > 0
    assert judged.counts["one"].exact + judged.counts["two"].exact > 0


def test_a_wrong_block_is_named_with_its_coordinate_and_costs_its_contestant_alone(judged):
    found, _ = launch(judged, {"right": trained, "sly": wrong})
    assert set(found) == {"sly"}
    failure = found["sly"]
    assert isinstance(failure, WorkerFailure)
    assert (failure.status, failure.phase, failure.step) == ("disagree", "step", STEP)
    assert "w[1] is off by 1e-06" in failure.reason
    assert f"updates after weights near those of step {STEP}" in failure.reason
    assert f"of {LEAST_ROUNDS} timed blocks that were judged" in failure.reason


def test_results_that_are_no_numbers_are_wrong(judged):
    found, _ = launch(judged, {"sly": lambda updates: {**trained(updates), "b": np.asarray(np.nan)}})
    assert "not finite" in found["sly"].reason


def test_one_wrong_block_among_those_judged_is_enough(judged):
    judged.begin(LEAST_ROUNDS, 0)
    for number in range(LEAST_ROUNDS):  # all are judged
        judged.round(number, *START)
        judged.add("sly", 9, (wrong if number == 3 else trained)(9))
    reason = judged.judge(1.0, lambda name: name)["sly"].reason
    assert f"so it is in 1 of {LEAST_ROUNDS} timed blocks" in reason


def test_nobody_can_know_which_rounds_are_judged():
    chosen = set()
    for _ in range(6):  # of one problem and seed
        judged = JudgedBlocks(PROBLEM, STEP, 10.0)
        judged.begin(51, 20)
        assert len(judged._chosen_rounds) == LEAST_ROUNDS
        assert max(judged._chosen_rounds) < 51  # of whole blocks
        chosen.add(judged._chosen_rounds)
    assert len(chosen) == 6


def test_more_are_judged_where_it_costs_little_and_phased_ones_too(judged):
    _, first = launch(judged, {"one": trained}, seconds=1e6)
    judged.begin(51, 20)
    assert len(first) == LEAST_ROUNDS
    assert judged._chosen_rounds == set(range(51 + 20))
    _, _ = launch(judged, {"one": trained}, seconds=1e-9)
    judged.begin(51, 20)
    assert len(judged._chosen_rounds) == LEAST_ROUNDS


def test_blocks_of_other_rounds_are_not_kept(judged):
    judged.begin(51, 0)
    for number in range(51):
        judged.round(number, *START)
        judged.add("one", 5, trained(5))
    assert len(judged._claims["one"]) == LEAST_ROUNDS


def test_a_twins_blocks_count_for_its_backend(judged):
    found, _ = launch(judged, {"one": trained, "one again": wrong}, backend_of=lambda _: "one")
    assert set(judged.counts) == {"one"}
    assert judged.counts["one"].judged + judged.counts["one"].not_judged == 2 * LEAST_ROUNDS
    assert set(found) == {"one again"}


def test_a_bug_of_ours_in_the_judge_costs_one_contestant(judged, monkeypatch):
    judge = BlockJudge.judge

    def with_bug(self, claims, exactly=()):
        if any(claim.weights[0] == 77.0 for claim in claims):
            raise KeyError("ours")
        return judge(self, claims, exactly)

    monkeypatch.setattr(BlockJudge, "judge", with_bug)
    odd = {**trained(5), "w": np.full(3, 77.0)}
    found, _ = launch(judged, {"right": trained, "odd": lambda _: odd, "sly": wrong})
    assert set(found) == {"odd", "sly"}
    assert isinstance(found["odd"], KeyError)
    assert found["sly"].status == "disagree"
    assert judged.counts["right"].judged > 0


def test_weights_that_did_not_move_are_told_from_weights_that_did(judged):
    """Where tolerances are too wide for a verdict, what is missing of the move says who made no updates."""
    judged.counts = {"sly": Counts(undone=[0.9, 1.0, 1.1]), "numpy": Counts(undone=[0.01, 0.1])}
    assert judged.untouched("sly")
    assert not judged.untouched("numpy")
    judged.counts["sly"].judged = 1  # some were judged, and right
    assert not judged.untouched("sly")
    judged.counts = {"sly": Counts(undone=[1.0])}  # and nobody whose blocks show theirs
    assert not judged.untouched("sly")
