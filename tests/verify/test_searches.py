"""Mistakes that are searched for are named with their example, column or component, and not taken for rounding."""

from __future__ import annotations

import numpy as np
import pytest

FORMS = ("logits", "probability")


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


# --- labels, columns and parts of the data


def relabelled(problem, *examples):
    y = problem.y.copy()
    y[list(examples)] = 1 - y[list(examples)]
    return y


def pair(problem):
    """One example of each label."""
    return sorted((int(np.flatnonzero(problem.y == 0)[3]), int(np.flatnonzero(problem.y == 1)[2])))


@pytest.mark.parametrize("form", FORMS)
def test_one_inverted_label(form, dtype, bench):
    problem = bench.small_problem(dtype, form)
    sentences = bench.diagnosed(problem, y=relabelled(problem, 5))
    assert sentences == tuple(f"the label of example 5 is inverted in the {what}" for what in ("gradient", "loss"))


@pytest.mark.parametrize("form", FORMS)
def test_two_exchanged_labels(form, dtype, bench):
    problem = bench.small_problem(dtype, form)
    i, j = pair(problem)
    said = f"the labels of examples {i} and {j} are exchanged in the "
    assert bench.diagnosed(problem, y=relabelled(problem, i, j)) == (f"{said}gradient", f"{said}loss")
    rows = np.arange(24)
    rows[[i, j]] = j, i
    assert bench.diagnosed(problem, X=problem.X[rows]) == (f"{said}gradient", f"{said}loss")


@pytest.mark.parametrize("form", FORMS)
def test_two_exchanged_columns(form, dtype, bench):
    problem = bench.small_problem(dtype, form)
    sentences = bench.diagnosed(problem, X=problem.X[:, [2, 1, 0]])
    assert sentences == tuple(f"columns 0 and 2 of X are exchanged in the {what}" for what in ("gradient", "loss"))


def at(vector, index, value):
    changed = vector.copy()
    changed[index] = value
    return changed


SCALED = {
    "the gradient of w is 1.001 times what it should be, b's is right": lambda h: np.append(
        h.gradient[:-1] * h.real(1.001), h.gradient[-1]
    ),
    "the gradient is 1.001 times what it should be, its penalty is right": lambda h: (
        (h.gradient - h.shrinkage) * h.real(1.001) + h.shrinkage
    ),
    "examples of label 1 count 1.01 times in the gradient": lambda h: (
        (h.r * (1 + h.y * h.real(0.01))) @ h.design / h.n + h.shrinkage
    ),
    "the gradient is that of labels smoothed by 0.001": lambda h: (
        (h.r + (2 * h.y - 1) * h.real(0.001)) @ h.design / h.n + h.shrinkage
    ),
    "the gradient is 0.001 too large everywhere": lambda h: h.gradient + h.real(0.001),
    "the gradient of b is 0.002 too small everywhere": lambda h: at(h.gradient, -1, h.gradient[-1] - h.real(0.002)),
    "the gradients of w[0] and w[1] are exchanged": lambda h: h.gradient[[1, 0, 2, 3]],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sentence", SCALED)
def test_parts_that_are_scaled_or_moved(sentence, form, dtype, bench):
    assert bench.diagnosed(bench.small_problem(dtype, form), gradient=SCALED[sentence]) == (sentence,)


def test_an_amount_that_is_the_same_everywhere(dtype, bench):
    off = np.array([0.01, -0.003, 0.002, 0.005])
    sentences = bench.diagnosed(bench.small_problem(dtype), gradient=lambda h: (h.gradient + off).astype(dtype))
    assert sentences == ("the gradient is off by the same amount at all points, whatever the weights",)


@pytest.mark.parametrize("form", FORMS)
def test_a_changed_entry_of_the_data_is_not_taken_for_rounding(form, dtype, bench):
    problem = bench.small_problem(dtype, form)
    X = problem.X.copy()
    X[7, 0] = 0
    assert not any("consistent" in sentence for sentence in bench.diagnosed(problem, X=X))


# --- what is small is dropped


def test_dropped_components(bench):
    sentences = bench.diagnosed(
        bench.small_problem(l2=0.0), gradient=lambda h: np.where(np.abs(h.gradient) < 1e-3, 0, h.gradient)
    )
    assert len(sentences) == 1
    assert sentences[0].startswith("components of the gradient below some ")


# --- right answers refute a mistake


def test_what_holds_of_the_wrong_answers_alone_is_not_named(bench):
    """Saturated points are all alike: each of these sentences explained the wrong ones, and the right ones refute it."""
    sentences = bench.diagnosed(bench.small_problem(), residuals=lambda h: np.where(-h.z > 14, -h.y, h.r))
    assert not any(
        words in sentence
        for sentence in sentences
        for words in ("replayed", "does not depend", "counts", "always", "0 times")
    )


@pytest.mark.parametrize("form", FORMS)
def test_right_answers_have_no_diagnosis(form, dtype, bench):
    assert bench.diagnosed(bench.small_problem(dtype, form)) == ()
