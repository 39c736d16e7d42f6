"""The relations hold for correct answers on many problems, and each of them sees mistakes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.verify.relations import RELATIONS, PointValues, check_relation


def asker(problem, formula, change=lambda at: (at["loss"], at["gw"], at["gb"]), l2=None):
    """An `Ask` that computes with ``formula`` and lets ``change`` spoil it."""
    real = np.dtype(problem.dtype).type
    strength = real(problem.l2 if l2 is None else l2)

    def ask(X, y, weights):
        losses, gradients = [], []
        with np.errstate(all="ignore"):
            for point in weights:
                w, b = point[:-1], point[-1]
                loss, gw, gb = formula(X, y, w, b)
                at = {"loss": loss + real(0.5) * strength * (w @ w), "gw": gw + strength * w, "gb": gb}
                at |= {"X": X, "y": y, "w": w, "b": b, "l2": strength}
                loss, gw, gb = change(at)
                losses.append(loss)
                gradients.append(np.append(gw, gb))
        return PointValues(np.array(losses, problem.dtype), np.array(gradients, problem.dtype))

    return ask


def results(problem, formula, change=None, seed=0):
    weights = np.random.default_rng(seed).normal(size=problem.features + 1) * 0.5
    change = change or (lambda at: (at["loss"], at["gw"], at["gb"]))
    ask = asker(problem, formula, change)
    return {
        name: check_relation(name, problem, weights, ask, lambda l2: asker(problem, formula, change, l2))
        for name in RELATIONS
    }


@pytest.mark.few(12)
@pytest.mark.parametrize("index", range(60))
def test_correct_answers_satisfy_every_relation(bench, index):
    problem = bench.random_problem(index, batch_size=None)
    formula = bench.naive_probability if problem.loss == "probability" else bench.by_hand
    for name, result in results(problem, formula, seed=index).items():
        assert result.answer != "wrong", (name, result.message)


def test_on_a_quiet_problem_every_relation_is_decided(bench):
    problem = replace(bench.random_problem(1, batch_size=None, loss="logits", dtype="float64"), l2=0.1)
    for name, result in results(problem, bench.by_hand).items():
        assert result.answer == "correct", (name, result.message)


MISTAKES = {
    "the first example counts twice": (
        lambda at: (at["loss"], at["gw"] + at["X"][0] / len(at["y"]), at["gb"]),
        {"row-permutation", "additivity", "label-mirror", "zero-weights", "taylor"},
    ),
    "sum for mean": (
        lambda at: (at["loss"], at["gw"] * len(at["y"]), at["gb"] * len(at["y"])),
        {"duplication", "additivity", "zero-weights", "taylor"},
    ),
    "mean over n + 1": (
        lambda at: (at["loss"], at["gw"] * len(at["y"]) / (1 + len(at["y"])), at["gb"]),
        {"duplication", "additivity", "zero-weights", "taylor"},
    ),
    "missing bias gradient": (lambda at: (at["loss"], at["gw"], 0 * at["gb"]), {"zero-weights", "taylor"}),
    "sign flip": (lambda at: (at["loss"], -at["gw"], -at["gb"]), {"zero-weights", "affine-in-l2", "taylor"}),
    "scaled by 1.0001": (lambda at: (at["loss"], at["gw"] * 1.0001, at["gb"]), {"zero-weights", "taylor"}),
    "no penalty": (lambda at: (at["loss"], at["gw"] - at["l2"] * at["w"], at["gb"]), {"affine-in-l2", "taylor"}),
    "a constant in the gradient": (lambda at: (at["loss"], at["gw"] + 1e-6, at["gb"]), {"zero-column", "label-mirror"}),
    "swapped coordinates": (lambda at: (at["loss"], at["gw"][::-1], at["gb"]), {"zero-weights", "feature-scaling"}),
    "NaN": (lambda at: (at["loss"], at["gw"] * np.nan, at["gb"]), set(RELATIONS)),
    "loss off by 1e-9": (lambda at: (at["loss"] + 1e-9, at["gw"], at["gb"]), {"zero-weights"}),
    "overflowing exponential": (
        lambda at: (at["loss"] + 0 * np.exp(at["X"] @ at["w"] + at["b"]).sum(), at["gw"], at["gb"]), {"large-logits"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_breaks_the_relations_it_must_break(bench, mistake):
    problem = replace(bench.random_problem(7, batch_size=None, loss="logits", dtype="float64"), l2=0.1)
    assert problem.features > 1
    change, broken = MISTAKES[mistake]
    wrong = {name for name, result in results(problem, bench.by_hand, change).items() if result.answer == "wrong"}
    assert broken <= wrong


def test_every_relation_is_broken_by_some_mistake():
    assert set().union(*(broken for _, broken in MISTAKES.values())) == set(RELATIONS)


def test_taylor_says_undecidable_where_noise_hides_the_remainder(bench):
    """Nearly separable and far out: the curvature is below what float32 resolves."""
    problem = bench.make([[1.0], [-1.0]], [1, 0], dtype="float32")
    result = check_relation("taylor", problem, np.array([14.0, 0.0]), asker(problem, bench.by_hand))
    assert result.answer == "undecidable"
    assert "rounding hides" in result.message


def test_the_saturated_probability_form_is_undecidable(bench):
    problem = bench.make([[1.0], [-2.0]], [1, 0], dtype="float32", loss="probability")
    result = check_relation("row-permutation", problem, np.array([40.0, 0.0]), asker(problem, bench.naive_probability))
    assert result.answer == "undecidable"
