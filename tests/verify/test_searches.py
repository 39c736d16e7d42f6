"""Mistakes that are searched for are named with their example, column, size or threshold, and not taken for rounding."""

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


@pytest.mark.parametrize("size", [1e-4, 1e-8])
def test_dropped_residuals(size, bench):
    sentences = bench.diagnosed(bench.small_problem(), residuals=lambda h: np.where(np.abs(h.r) < size, 0, h.r))
    (sentence,) = sentences
    assert sentence.startswith("examples with a residual below ")
    sizes = [float(word) for word in sentence.split() if word[0].isdigit()]
    assert min(sizes) <= size <= max(sizes)


# --- clips of the probability

CLAMPS = (1e-4, 1e-7, 1e-12, 1e-15)


def clipped_losses(clamp):
    def losses(h):
        q = np.clip(h.p, h.real(clamp), h.real(1) - h.real(clamp))
        return -h.y * np.log(q) - (1 - h.y) * np.log(1 - q)

    return losses


@pytest.mark.parametrize("clamp", CLAMPS)
def test_a_clip_is_named_with_its_size_by_the_loss(clamp, dtype, bench):
    problem = bench.small_problem(dtype, "probability")
    (sentence,) = bench.diagnosed(problem, losses=clipped_losses(clamp))
    assert sentence in (
        f"the loss is that of probabilities clipped at {clamp:.1e}, from 0 and from 1: it is clipped",
        f"the loss is that of probabilities at least {clamp:.1e}: it is clipped",
    )


@pytest.mark.parametrize("clamp", CLAMPS)
def test_a_clip_is_named_with_its_size_by_the_gradient(clamp, dtype, bench):
    def residuals(h):
        return np.where((h.p < h.real(clamp)) | (h.p > h.real(1) - h.real(clamp)), 0, h.r)

    (sentence,) = bench.diagnosed(bench.small_problem(dtype, "probability"), residuals=residuals)
    assert sentence.startswith("examples beyond a logit of ")
    sizes = [float(word.rstrip(",")) for word in sentence.split(" at ")[1].split() if word[0].isdigit()]
    assert min(sizes) <= clamp <= max(sizes)


@pytest.mark.parametrize("clamp", CLAMPS)
def test_an_addition_to_the_probability(clamp, dtype, bench):
    def losses(h):
        c = h.real(clamp)
        return -h.y * np.log(h.p + c) - (1 - h.y) * np.log(1 - h.p + c)

    def residuals(h):
        c = h.real(clamp)
        return (-h.y / (h.p + c) + (1 - h.y) / (1 - h.p + c)) * h.p * (1 - h.p)

    sentences = bench.diagnosed(bench.small_problem(dtype, "probability"), losses=losses, residuals=residuals)
    assert sentences == (
        f"the gradient is that of probabilities plus {clamp:.1e}",
        f"the loss is that of probabilities plus {clamp:.1e}: it is clipped",
    )


def test_the_clamps_of_binary_cross_entropy(bench):
    def losses(h):
        return -h.y * np.maximum(np.log(h.p), -100) - (1 - h.y) * np.maximum(np.log(1 - h.p), -100)

    def residuals(h):
        return h.r / np.maximum(h.p * (1 - h.p), 1e-12) * (h.p * (1 - h.p))

    sentences = bench.diagnosed(bench.small_problem("float64", "probability"), losses=losses, residuals=residuals)
    assert sentences == (
        "the gradient is divided by p(1 - p) of 1.0e-12 at least, as torch's BCELoss",
        "the loss is that of logarithms of at least -100: it is clipped",
    )


# --- forms of softplus and sigmoid


@pytest.mark.parametrize("threshold", [15.0, 20.0])
@pytest.mark.parametrize("name", ["(1 - 2y) z", "z", "-z"])
def test_a_threshold_of_softplus(name, threshold, bench):
    def argument(h):
        return {"(1 - 2y) z": h.s, "z": h.z, "-z": -h.z}[name]

    def losses(h):
        x = argument(h)
        rest = {"(1 - 2y) z": 0 * h.z, "z": -h.y * h.z, "-z": (1 - h.y) * h.z}[name]
        return np.where(x > threshold, x, np.logaddexp(0, x)) + rest

    def residuals(h):
        beyond = {"(1 - 2y) z": 1 - 2 * h.y, "z": 1 - h.y, "-z": -h.y}[name]
        return np.where(argument(h) > threshold, beyond, h.r)

    sentences = bench.diagnosed(bench.small_problem(), losses=losses, residuals=residuals)
    assert sentences == (f"softplus(x) is taken for x beyond a threshold of {threshold:g}, at x = {name}",)


@pytest.mark.parametrize("literal", [False, True])
def test_a_sigmoid_by_tanh_in_the_probability_form(literal, dtype, bench):
    def residuals(h):
        slope = (1 - np.tanh(h.z / 2) ** 2) / 4
        return (-h.y / h.p + (1 - h.y) / (1 - h.p)) * slope if literal else h.r

    problem = bench.small_problem(dtype, "probability")
    sentence, *others = bench.diagnosed(problem, sigmoid=lambda z: (1 + np.tanh(z / 2)) / 2, residuals=residuals)
    assert sentence == (
        "the sigmoid is (1 + tanh(z/2))/2, or another that has no small numbers: its digits cancel at z < 0"
    )
    assert all("though weights and data are finite, at logits" in other for other in others)


@pytest.mark.parametrize(
    ("argument", "where"),
    [
        (lambda h: h.s, "(1 - 2y) z of 700 and more"),
        (lambda h: h.z, "of 700 and more"),
        (lambda h: -h.z, "of -700 and less"),
    ],
)
def test_a_dead_branch_of_where_is_told_with_its_side(argument, where, bench):
    (sentence,) = bench.diagnosed(bench.small_problem(), residuals=lambda h: np.where(argument(h) > 650, np.nan, h.r))
    assert sentence.startswith("the gradient is NaN though weights and data are finite, at logits " + where + ", ")
    assert "the branch that `where` does not take" in sentence


def test_an_overflow_of_loss_and_gradient_is_no_dead_branch(bench):
    sentences = bench.diagnosed(
        bench.small_problem("float32"),
        losses=lambda h: np.log1p(np.exp(h.s)),
        residuals=lambda h: (1 - 2 * h.y) * np.exp(h.s) / (1 + np.exp(h.s)),
    )
    assert len(sentences) == 2
    assert all("an exponential overflows" in sentence for sentence in sentences)


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
