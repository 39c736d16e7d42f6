"""Float32 inside float64 is named with the function or the component; what is not rounding is not called so."""

from __future__ import annotations

import numpy as np
import pytest

FORMS = ("logits", "probability")


def single(function):
    """The function with argument and result in float32."""

    def rough(values):
        values = np.asarray(values)
        return function(values.astype(np.float32)).astype(values.dtype)

    return rough


@pytest.mark.parametrize("form", FORMS)
def test_an_exponential_in_float32(form, bench):
    sentences = bench.diagnosed(bench.small_problem(loss=form), exp=single(np.exp))
    assert sentences[0] == "an exponential is good to float32 only, inside float64"
    assert not any("consistent" in sentence for sentence in sentences)


def test_a_logarithm_in_float32(bench):
    sentences = bench.diagnosed(bench.small_problem(), log1p=single(np.log1p))
    assert sentences == ("a logarithm is good to float32 only, inside float64",)


@pytest.mark.parametrize("form", FORMS)
def test_a_sigmoid_of_the_gradient_in_float32(form, bench):
    sigmoid = single(lambda z: 1 / (1 + np.exp(-z)))
    sentences = bench.diagnosed(bench.small_problem(loss=form), residuals=lambda h: sigmoid(h.z) - h.y)
    assert sentences == ("a sigmoid is good to float32 only, inside float64",)


@pytest.mark.parametrize("form", FORMS)
def test_losses_in_float32(form, bench):
    sentences = bench.diagnosed(bench.small_problem(loss=form), losses=lambda h: single(lambda x: x)(h.losses))
    assert sentences == ("a part of the loss is good to float32 only, inside float64",)


@pytest.mark.parametrize("form", FORMS)
def test_logits_in_float32(form, bench):
    def logits(X, w, b):
        return (X.astype("f4") @ w.astype("f4") + b.astype("f4")).astype(X.dtype)

    sentences = bench.diagnosed(bench.small_problem(loss=form), logits=logits)
    assert sentences == ("the logits are good to float32 only, inside float64",)


def test_the_mean_loss_in_float32(bench):
    sentences = bench.diagnosed(bench.small_problem(), loss=lambda h: np.float32(h.loss))
    assert sentences == ("consistent with float32: every loss is a number of that format",)


def at(vector, index, value):
    changed = vector.copy()
    changed[index] = value
    return changed


COMPONENTS = {
    "the gradient of b, and nothing else, is in float32": lambda h: at(
        h.gradient, -1, np.float32(h.r.astype("f4").sum() / np.float32(h.n))
    ),
    "the gradient of w[1], and nothing else, is in float32": lambda h: at(h.gradient, 1, np.float32(h.gradient[1])),
    "the gradient of w, and nothing else, is in float32": lambda h: np.append(
        h.gradient[:-1].astype("f4"), h.gradient[-1]
    ),
    "consistent with float32: the errors of the gradient of b have its size": lambda h: at(
        h.gradient, -1, h.r.astype("f4").sum() / h.n
    ),
    "consistent with float32: the errors of the gradient of w have its size": lambda h: np.append(
        (h.r.astype("f4") @ h.design[:, :-1].astype("f4")).astype("f8") / h.n + h.shrinkage[:-1], h.gradient[-1]
    ),
    "consistent with float32: the errors have its size": lambda h: (
        (h.r.astype("f4") @ h.design.astype("f4")).astype("f8") / h.n + h.shrinkage
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", COMPONENTS)
def test_components_in_float32(words, form, bench):
    sentences = bench.diagnosed(bench.small_problem(loss=form), gradient=COMPONENTS[words])
    assert sentences == (words,)


NOT_ROUNDING = {
    "one sign": lambda h: h.gradient + 1e-8 * (1 + np.abs(h.gradient)),
    "smooth": lambda h: h.gradient + 1e-8 * np.sin(3 * h.z[:4]),
    "one direction": lambda h: h.gradient + 1e-8 * np.sin(1e6 * h.z[0]) * np.array([1.0, 2.0, -1.0, 0.5]),
}


def test_errors_of_one_sign_are_not_those_of_a_function(bench):
    """They keep within what an exponential in float32 may do."""
    generator = np.random.default_rng(5)

    def residuals(h):
        return h.r + 1e-8 * h.p * (1 - h.p) * generator.uniform(0.5, 1, len(h.r))

    assert bench.diagnosed(bench.small_problem(), residuals=residuals) == ()


@pytest.mark.parametrize("pattern", NOT_ROUNDING)
def test_errors_with_a_pattern_are_not_called_rounding(pattern, bench):
    sentences = bench.diagnosed(bench.small_problem(), gradient=NOT_ROUNDING[pattern])
    assert not any("float32" in sentence for sentence in sentences)


def test_errors_at_random_are_called_rounding(bench):
    generator = np.random.default_rng(2)
    sentences = bench.diagnosed(
        bench.small_problem(), gradient=lambda h: h.gradient * (1 + 1e-8 * generator.uniform(-1, 1, 4))
    )
    assert sentences == ("consistent with float32: the errors have its size",)
