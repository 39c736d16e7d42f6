"""Clips, thresholds, sigmoids by tanh and dead branches are named with their size, from the loss and the gradient."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


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


@pytest.mark.parametrize("form", ["logits", "probability"])
def test_a_clip_of_the_probability_in_the_residual(form, dtype, bench):
    def residuals(h):
        return np.clip(h.p, h.real(1e-3), h.real(1) - h.real(1e-3)) - h.y

    assert bench.diagnosed(bench.small_problem(dtype, form), residuals=residuals) == (
        "the gradient is p - y of probabilities clipped at 1.0e-03",
    )
