"""Each known mistake is recognised from its numbers, in several sizes; right answers and nonsense get no diagnosis."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from compare_ag.verify import Evidence, Oracle, Sample, certify, judge_samples, reference_trajectory, tolerance
from compare_ag.verify.certificate import trajectory_samples
from compare_ag.verify.course import stagnation
from compare_ag.verify.diagnosis import diagnose
from compare_ag.verify.faults import AnsweredPoint, Examples, Prediction, WrongAnswer, explains_faults, format_number
from compare_ag.verify.formats import round_to

EXAMPLES = 12
SCALES = (0.5, 1.0, 2.0, 3.0, 1.0, 6.0, 0.1, 2.0)


@pytest.fixture(params=["float64", "float32"])
def problem(bench, request):
    return small(bench, request.param)


@pytest.fixture
def double(bench):
    return small(bench, "float64")


def small(bench, dtype, **facts):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(EXAMPLES, 3)) * [1.0, 2.0, 0.7]
    y = X[:, 0] + rng.logistic(size=EXAMPLES) > 0
    return bench.make(X, y, [1.0, -0.5, 0.3], 0.2, dtype=dtype, **{"l2": 0.05, "learning_rate": 0.1} | facts)


def right(problem, theta, rows=None, *, sigmoid=None, inverted=False):
    """The correct answers of a plain model in the problem's dtype, with what mistakes are made of."""
    real = np.dtype(problem.dtype).type
    X, y = (problem.X, problem.y) if rows is None else (problem.X[rows], problem.y[rows])
    y = 1 - y if inverted else y
    w, l2, n = theta[:-1], real(problem.l2), real(len(y))
    z = X @ w + theta[-1]
    decay = np.exp(-np.abs(z))
    p = np.where(z >= 0, 1, decay) / (1 + decay) if sigmoid is None else sigmoid(z)
    s = (1 - 2 * y) * z
    losses = np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))
    r = p - y
    design = np.column_stack([X, np.ones_like(y)])
    shrinkage, penalty = np.append(l2 * w, real(0)), real(0.5) * l2 * (w @ w)
    return SimpleNamespace(
        n=n, w=w, b=theta[-1], theta=theta, z=z, s=s, r=r, losses=losses, design=design, y=y, l2=l2, rows=rows,
        shrinkage=shrinkage, penalty=penalty, real=real, problem=problem, eta=real(problem.learning_rate),
        loss=losses.mean() + penalty, gradient=r @ design / n + shrinkage,
    )  # fmt: skip  # a table of names


def respond(problem, *, loss=None, gradient=None, update=None, answer=right, fused=False):
    """Samples at points as a worker gives them: each is answered twice, and updated once.

    loss, gradient: what is reported, from the right answers; update: the new weights, from those and the reported
    gradient. All see the call before: its right answers, what it reported, and the step it made.
    """
    rng = np.random.default_rng(7)
    real = np.dtype(problem.dtype).type
    samples, before = [], None
    for i, scale in enumerate((*SCALES, 1.0, 2.0)):
        theta = (rng.normal(size=problem.features + 1) * scale).astype(problem.dtype)
        rows = np.arange(0, problem.examples, 2) if i >= len(SCALES) else None
        for visit in range(2):
            here = answer(problem, theta, rows)
            here.before, here.visit = before, visit
            here.reported = np.asarray(gradient(here) if gradient else here.gradient, dtype=problem.dtype)
            following = np.asarray(update(here) if update else theta - here.eta * here.reported, dtype=problem.dtype)
            here.step = following - theta if visit or fused else (None if before is None else before.step)
            here.following = following
            reported_loss = np.asarray(loss(here) if loss else here.loss, dtype=problem.dtype)
            again = ", evaluated again" if visit else ""
            samples.append(
                Sample(
                    f"the point '{i}'{again}",
                    theta,
                    reported_loss,
                    None if fused else here.reported,
                    following if visit or fused else None,
                    rows,
                )
            )
            before = here
    assert real is np.dtype(samples[0].loss.dtype).type
    return samples


def diagnosed(problem, samples):
    oracle = Oracle(problem)
    found = judge_samples(problem, oracle, samples)
    return diagnose(problem, oracle, samples, found)


# --- gradients


def at(vector, index, value):
    changed = vector.copy()
    changed[index] = value
    return changed


def without_first(here, share=1.0):
    # the first example of the data is the first of the smaller batch too
    return here.gradient - here.real(share) * here.r[0] * here.design[0] / here.n


GRADIENTS = {
    "the gradient is always 0": lambda h: 0 * h.gradient,
    "the gradient does not depend on the weights": lambda h: np.full_like(h.gradient, 0.1),
    "the gradient has the wrong sign": lambda h: -h.gradient,
    "the gradient is a sum over the examples instead of their mean": lambda h: h.n * h.gradient,
    "the gradient is a mean over n + 1 instead of n": lambda h: h.gradient * (h.n / (h.n + 1)),
    "the gradient is a mean over n - 1 instead of n": lambda h: (
        (h.gradient - h.shrinkage) * (h.n / (h.n - 1)) + h.shrinkage
    ),
    "the gradient is divided by n twice": lambda h: h.gradient / h.n,
    "the gradient is twice what it should be": lambda h: 2 * h.gradient,
    "the gradient is half of what it should be": lambda h: h.gradient / 2,
    "the gradient is 1.01 times what it should be": lambda h: h.gradient * h.real(1.01),
    "the gradient is 1.0001 times what it should be": lambda h: h.gradient * h.real(1.0001),
    "the gradient of b is missing": lambda h: at(h.gradient, -1, 0),
    "the gradient of w[1] is 1.001 times what it should be, the others are right": lambda h: at(
        h.gradient, 1, h.gradient[1] * h.real(1.001)
    ),
    "the gradient lacks the L2 penalty": lambda h: h.gradient - h.shrinkage,
    "the gradient has twice the L2 penalty": lambda h: h.gradient + h.shrinkage,
    "the gradient has half of the L2 penalty": lambda h: h.gradient - h.shrinkage / 2,
    "the gradient has 1.01 times the L2 penalty": lambda h: h.gradient + h.real(0.01) * h.shrinkage,
    "the gradient penalises b too": lambda h: at(h.gradient, -1, h.gradient[-1] + h.l2 * h.b),
    "the gradient is that of inverted labels": lambda h: right(h.problem, h.theta, h.rows, inverted=True).gradient,
    "the gradient ignores the batch: it is that of all the data": lambda h: right(h.problem, h.theta).gradient,
    "the gradient is that of the call before": lambda h: h.before.gradient if h.before else h.gradient,
    "gradients accumulate: each answer contains the answer before": lambda h: (
        h.gradient + (h.before.reported if h.before else 0)
    ),
    "the gradient contains 0.001 times the one before": lambda h: (
        h.gradient + (h.real(0.001) * h.before.gradient if h.before else 0)
    ),
    "the gradients of w[0] and w[2] are exchanged": lambda h: h.gradient[[2, 1, 0, 3]],
    "the components of the gradient come in another order": lambda h: h.gradient[[1, 2, 3, 0]],
    "example 0 is left out of the gradient": without_first,
    "example 0 counts 0.99 times in the gradient": lambda h: without_first(h, 0.01),
    "example 0 counts twice in the gradient": lambda h: without_first(h, -1.0),
    "components of the gradient below some 0.1 are flushed to 0": lambda h: np.where(
        np.abs(h.gradient) < 0.1, 0, h.gradient
    ),
}


@pytest.mark.parametrize("sentence", GRADIENTS)
def test_mistakes_in_the_gradient(problem, sentence):
    assert diagnosed(problem, respond(problem, gradient=GRADIENTS[sentence])) == (sentence,)


@pytest.mark.parametrize("size", [1e-6, 1e-9, 1e-12])
def test_small_sizes_are_told_in_float64(double, size):
    shown = format_number(1 + size)
    samples = respond(double, gradient=lambda h: h.gradient * (1 + size))
    assert diagnosed(double, samples) == (f"the gradient is {shown} times what it should be",)
    samples = respond(double, update=lambda h: h.theta - h.eta * (1 + size) * h.reported)
    assert diagnosed(double, samples) == (f"the learning rate is {shown} times what was given",)


def test_a_penalty_that_was_not_asked_for(bench):
    problem = small(bench, "float64", l2=0.0)
    samples = respond(problem, gradient=lambda h: h.gradient + 0.003 * np.append(h.w, 0))
    assert diagnosed(problem, samples) == ("the gradient has an L2 penalty of 0.003 that was not asked for",)


def test_a_mean_without_one_example(bench):
    problem = small(bench, "float64", l2=0.0)
    samples = respond(problem, gradient=lambda h: (h.n * h.gradient - h.r[4] * h.design[4]) / (h.n - 1))
    whole = [sample for sample in samples if sample.rows is None]
    assert diagnosed(problem, whole) == ("example 4 is left out of the gradient, a mean over n - 1",)


def test_the_first_example_of_every_batch(double):
    parts = [np.arange(3, 9), np.array([7, 1, 2]), np.array([5, 6, 8, 0]), np.arange(12)[::-1]]
    samples = []
    for i, rows in enumerate(parts):
        theta = np.random.default_rng(i).normal(size=4)
        here = right(double, theta, rows)
        samples.append(Sample(f"step {10 * i}", theta, None, without_first(here), None, rows, 10 * i))
    assert diagnosed(double, samples) == ("example 0 of each batch is left out of the gradient",)


def test_the_second_answer_contains_the_first(problem):
    samples = respond(problem, gradient=lambda h: h.gradient * (1 + h.visit))
    assert "the gradient is twice what it should be, but only in the second of two answers" in diagnosed(
        problem, samples
    )


def test_clipped_probabilities_have_no_gradient(double):
    limit = 4.0
    samples = respond(double, gradient=lambda h: np.where(np.abs(h.z) > limit, 0, h.r) @ h.design / h.n + h.shrinkage)
    (sentence,) = diagnosed(double, samples)
    assert sentence.startswith("examples beyond a logit of ")
    assert float(sentence.split()[5]) == pytest.approx(limit, rel=0.1)


def test_a_replayed_answer(double):
    samples = respond(double)
    stolen = [replace(sample, gradient=samples[i // 6].gradient) for i, sample in enumerate(samples[:16])]
    assert diagnosed(double, stolen) == ("the gradient is replayed: the point '1' repeats the point '0'",)


def test_not_a_number(problem):
    assert diagnosed(problem, respond(problem, gradient=lambda h: h.gradient * np.nan)) == (
        "the gradient is NaN though weights and data are finite",
    )


def test_not_a_number_where_an_exponential_overflows(double):
    far = [np.array([1000.0, 0.1, 0.1, 0.1]), np.array([0.1, 900.0, 0.1, 0.1])]
    samples = respond(double)
    samples += [Sample("far", theta, np.asarray(np.inf), None, None) for theta in far]
    (sentence,) = diagnosed(double, samples)
    assert sentence.startswith("the loss is infinite though weights and data are finite, at logits of ")


# --- losses

LOSSES = {
    "the loss is always 0": lambda h: 0 * h.loss,
    "the loss is a sum over the examples instead of their mean": lambda h: h.losses.sum() + h.penalty,
    "the loss is twice what it should be": lambda h: 2 * h.loss,
    "the loss is 1.0001 times what it should be": lambda h: h.loss * h.real(1.0001),
    "the loss has logarithms to base 2": lambda h: h.loss / np.log(h.real(2)),
    "the loss lacks the L2 penalty": lambda h: h.loss - h.penalty,
    "the loss has twice the L2 penalty": lambda h: h.loss + h.penalty,
    "the loss has half of the L2 penalty": lambda h: h.loss - h.penalty / 2,
    "the loss penalises b too": lambda h: h.loss + h.l2 / 2 * h.b * h.b,
    "the loss is that of inverted labels": lambda h: right(h.problem, h.theta, h.rows, inverted=True).loss,
    "the loss ignores the batch: it is that of all the data": lambda h: right(h.problem, h.theta).loss,
    "the loss is that of the call before": lambda h: h.before.loss if h.before else h.loss,
    "the loss is that after the update": lambda h: right(h.problem, h.following, h.rows).loss,
    "example 2 is left out of the loss": lambda h: h.loss - h.losses[2 if h.rows is None else 1] / h.n,
    "the loss is that of probabilities at least 1.0e-03: it is clipped": lambda h: (
        np.minimum(h.losses, -np.log(h.real(1e-3))).mean() + h.penalty
    ),
    "the loss is that of probabilities plus 1.0e-03: it is clipped": lambda h: (
        -np.log(np.exp(-h.losses) + h.real(1e-3)).mean() + h.penalty
    ),
}


@pytest.mark.parametrize("sentence", LOSSES)
def test_mistakes_in_the_loss(problem, sentence):
    assert diagnosed(problem, respond(problem, loss=LOSSES[sentence])) == (sentence,)


def test_a_clamped_logarithm_at_100(double):
    samples = [
        Sample("far", theta, np.asarray(np.minimum(here.losses, 100).mean() + here.penalty))
        for theta in 60 * np.random.default_rng(2).normal(size=(6, 4))
        for here in [right(double, theta)]
    ]
    assert diagnosed(double, samples) == ("the loss is that of logarithms of at least -100: it is clipped",)


# --- updates

UPDATES = {
    "a step is skipped: the update leaves the weights as they were": lambda h: h.theta,
    "the update ascends: its sign is wrong": lambda h: h.theta + h.eta * h.reported,
    "the update is made twice": lambda h: h.theta - 2 * h.eta * h.reported,
    "the learning rate is 1.01 times what was given": lambda h: h.theta - h.eta * h.real(1.01) * h.reported,
    "the update leaves b as it was": lambda h: at(h.theta - h.eta * h.reported, -1, h.b),
    "the update of b is 1.1 times what it should be, the others are right": lambda h: at(
        h.theta - h.eta * h.reported, -1, h.b - h.real(1.1) * h.eta * h.reported[-1]
    ),
    "weight decay: the weights lose 0.001 of their size": lambda h: h.theta * h.real(0.999) - h.eta * h.reported,
    "weight decay: w loses 0.001 of its size": lambda h: (
        h.theta * np.array([0.999] * 3 + [1], h.theta.dtype) - h.eta * h.reported
    ),
    "momentum: 0.1 of the step before is made again": lambda h: (
        h.theta
        - h.eta * h.reported
        + (h.real(0.1) * h.before.step if h.before is not None and h.before.step is not None else 0)
    ),
    "the gradient's norm is clipped to 0.05 before the update": lambda h: (
        h.theta - h.eta * h.reported * min(h.real(1), h.real(0.05) / np.linalg.norm(h.reported))
    ),
    "the learning rate was rounded to bfloat16 (8 significant bits)": lambda h: (
        h.theta - h.real(round_to(h.eta, 8)) * h.reported
    ),
}


@pytest.mark.parametrize("sentence", UPDATES)
def test_mistakes_in_the_update(problem, sentence):
    assert diagnosed(problem, respond(problem, update=UPDATES[sentence])) == (sentence,)


def test_a_learning_rate_in_float32(double):
    samples = respond(double, update=lambda h: h.theta - float(np.float32(h.eta)) * h.reported)
    assert diagnosed(double, samples) == ("the learning rate was rounded to float32",)


def test_a_learning_rate_that_varies(double):
    rates = iter(np.linspace(1, 2, 99))
    (sentence,) = diagnosed(double, respond(double, update=lambda h: h.theta - next(rates) * h.eta * h.reported))
    assert sentence == "the learning rate varies, from 1.0102 to 1.194 times what was given"


def test_one_skipped_step_is_placed(double):
    samples = [replace(s, where=f"step {i}", step=i, following=s.weights if i == 3 else s.following) for i, s in
               enumerate(s for s in respond(double) if s.following is not None)]  # fmt: skip
    assert diagnosed(double, samples) == ("a step is skipped: the update leaves the weights as they were, at step 3",)


def test_in_training_the_step_before_is_the_call_before(double):
    theta, step, samples = np.append(double.w0, double.b0), np.zeros(4), []
    for k in range(12):
        here = right(double, theta)
        following = theta - here.eta * here.gradient + 0.01 * step
        if k not in (4, 8):  # not recorded
            samples.append(Sample(f"step {k}", theta, here.loss, here.gradient, following, step=k))
        theta, step = following, following - theta
    assert diagnosed(double, samples) == ("momentum: 0.01 of the step before is made again",)


# --- a step without a reported gradient


def test_a_fused_step_may_be_wrong_in_either_way(problem):
    samples = respond(problem, fused=True, update=lambda h: h.theta - h.eta * h.real(1.01) * h.gradient)
    assert diagnosed(problem, samples) == (
        "the learning rate is 1.01 times what was given",
        "the gradient is 1.01 times what it should be",
    )


def test_a_fused_step_with_the_mistake_of_a_gradient(problem):
    samples = respond(problem, fused=True, gradient=lambda h: h.gradient - h.shrinkage)
    assert diagnosed(problem, samples) == ("the gradient lacks the L2 penalty",)
    assert diagnosed(problem, respond(problem, fused=True, gradient=without_first)) == (
        "example 0 is left out of the gradient",
    )


# --- downcasts


def test_float32_inside_is_told_by_its_numbers(double):
    samples = respond(double, gradient=lambda h: h.gradient.astype(np.float32))
    assert diagnosed(double, samples) == (
        "consistent with float32: every component of the gradient is a number of that format",
    )


def test_float32_inside_is_told_by_the_size_of_its_errors(double):
    def gradient(here):
        single = [np.float32(values) for values in (here.design, here.r, here.theta)]
        return (single[1] @ single[0]).astype(np.float64) / here.n + here.shrinkage * (1 + 1e-8)

    assert diagnosed(double, respond(double, gradient=gradient)) == (
        "consistent with float32: the errors have its size",
    )


@pytest.mark.parametrize(
    ("bits", "name"), [(11, "TF32 or float16 (11 significant bits)"), (8, "bfloat16 (8 significant bits)")]
)
@pytest.mark.parametrize("divided", [False, True])
def test_coarse_factors_of_a_product(problem, bits, name, divided):
    def gradient(here):
        r = round_to(here.r / here.n, bits) if divided else round_to(here.r, bits) / here.n
        return np.append(r @ round_to(here.design[:, :-1], bits), here.r.mean()) + here.shrinkage

    assert diagnosed(problem, respond(problem, gradient=gradient)) == (
        f"consistent with {name}: the factors of the backward matrix product are rounded to it",
    )


def test_coarse_factors_forward_and_backward(double):
    def coarse(problem, theta, rows):
        here = right(problem, theta, rows)
        z = round_to(here.design[:, :-1], 11) @ round_to(here.w, 11) + here.b
        r = 1 / (1 + np.exp(-z)) - here.y
        here.gradient = round_to(r, 11) @ round_to(here.design, 11) / here.n + here.shrinkage
        return here

    (sentence,) = diagnosed(double, respond(double, answer=coarse))
    assert "TF32" in sentence
    assert "forward and backward" in sentence


def test_an_exponential_that_is_good_to_float32(double):
    rng = np.random.default_rng(1)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z) * (1 + 2.0**-23 * rng.uniform(-1, 1, len(z))))

    samples = respond(double, answer=lambda *point: right(*point, sigmoid=sigmoid))
    assert diagnosed(double, samples) == ("an exponential or the logits are good to float32 only, inside float64",)


def test_a_loss_in_float32(double):
    samples = respond(double, loss=lambda h: np.nextafter(np.float32(h.loss), np.float32(9)))
    assert diagnosed(double, samples) == ("consistent with float32: every loss is a number of that format",)


# --- nothing to say


def test_right_answers_have_no_diagnosis(problem):
    assert diagnosed(problem, respond(problem)) == ()
    assert diagnosed(problem, respond(problem, fused=True)) == ()


@pytest.mark.few(6)
@pytest.mark.parametrize("seed", range(10))
def test_nonsense_has_no_diagnosis(problem, seed):
    rng = np.random.default_rng(seed)
    nonsense = {
        "gradient": lambda h: h.gradient + rng.normal(size=4),
        "loss": lambda h: h.loss + 10 * rng.normal(),
        "update": lambda h: h.theta + 10 * rng.normal(size=4),
    }
    for name, answer in nonsense.items():
        assert diagnosed(problem, respond(problem, **{name: answer})) == (), name
    fused = respond(problem, fused=True, update=nonsense["update"])
    assert diagnosed(problem, fused) == ()


def test_errors_that_any_coarse_format_would_cover_are_none_of_its(bench):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(900, 3))
    problem = bench.make(X, X[:, 0] + rng.logistic(size=900) > 0, dtype="float32", learning_rate=0.1)
    samples = respond(problem, gradient=lambda h: h.gradient + 0.2 * rng.uniform(-1, 1, 4))
    assert diagnosed(problem, samples) == ()


def test_errors_too_small_for_float32_are_not_float32s(double):
    rng = np.random.default_rng(4)
    samples = respond(double, gradient=lambda h: h.gradient * (1 + 1e-12 * rng.uniform(-1, 1, 4)))
    assert diagnosed(double, samples) == ()


@pytest.mark.parametrize(("left", "is_explained"), [(0.1, True), (3.0, False)])
def test_what_leaves_much_of_an_error_does_not_explain_it(double, left, is_explained):
    sample = respond(double)[0]
    point, tolerances = AnsweredPoint(Examples(double), sample.weights, None), np.full(4, 1e-10)
    excess = np.full(4, 5.0) * tolerances
    fault = WrongAnswer("gradient", point, sample, None, None, point.gradient, point.gradient, excess, tolerances)
    assert explains_faults([fault], [Prediction(excess - left * tolerances)], constants=1) is is_explained


def test_two_mistakes_at_once_are_neither(double):
    samples = respond(double, gradient=lambda h: at(1.3 * h.gradient, -1, 0) - h.shrinkage)
    assert not any("1.3" in s or "L2" in s or "of b" in s for s in diagnosed(double, samples))


def test_a_mistake_that_explains_all_but_one_answer_is_not_named(double):
    samples = respond(double, gradient=lambda h: h.gradient * 1.01)
    spoiled = replace(samples[5], gradient=samples[5].gradient + np.array([0.0, 1.0, 0.0, 2.0]))
    assert diagnosed(double, [*samples[:5], spoiled, *samples[6:]]) == ()


def test_each_wrong_quantity_has_its_say(double):
    samples = respond(double, loss=lambda h: 2 * h.loss, gradient=lambda h: -h.gradient, update=lambda h: h.theta)
    assert diagnosed(double, samples) == (
        "the gradient has the wrong sign",
        "a step is skipped: the update leaves the weights as they were",
        "the loss is twice what it should be",
    )


def test_single_numbers_do_not_carry_fitted_constants(double):
    (sample,) = [s for s in respond(double, loss=lambda h: h.loss * 1.01) if s.where == "the point '2'"]
    assert diagnosed(double, [sample]) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.01, "1.01"), (0.999, "0.999"), (1 + 1e-9, "1 + 1e-09"), (1 - 1e-9, "1 - 1e-09"), (2.5, "2.5"), (1.0, "1")],
)
def test_numbers_near_one_keep_what_distinguishes_them(value, text):
    assert format_number(value) == text


# --- whole trainings


def of_course(problem, trajectory):
    """The diagnosis of a trajectory whose single steps are right."""
    reference, oracle = reference_trajectory(problem), Oracle(problem)
    bound = tolerance(problem, reference)
    verdict = certify(problem, reference, bound, oracle, Evidence(trajectory, {}))
    found = {test.test: test for test in verdict.tests}
    return diagnose(problem, oracle, trajectory_samples(problem, trajectory, {}), found, trajectory, reference, bound)


@pytest.fixture(scope="module")
def training(bench):
    return small(bench, "float64", steps=120)


@pytest.mark.parametrize("skipped", [5, 77])
def test_a_skipped_step_between_the_recorded_ones(bench, training, skipped):
    assert of_course(training, bench.train(training, skip=skipped)) == (
        f"update {skipped + 1} is skipped: the training is one step behind from there on",
    )


def test_one_update_too_many(bench, training):
    longer = bench.train(replace(training, steps=training.steps + 1))
    everything = bench.train(replace(training, steps=training.steps))
    path = [np.append(training.w0, training.b0)]
    for _ in range(training.steps + 2):
        path.append(path[-1] - training.learning_rate * right(training, path[-1]).gradient)
    late = np.array(path[:40] + path[41:])  # update 40 is two
    pairs = late[everything.recorded_steps[:, None] + [0, 1]]
    ahead = replace(
        everything,
        losses=np.append(longer.losses[:40], longer.losses[41:]),
        w=pairs[..., :-1],
        b=pairs[..., -1],
        final_w=late[training.steps][:-1],
        final_b=np.asarray(late[training.steps][-1]),
    )
    (sentence, *_) = of_course(training, ahead)
    assert sentence == "an update too many is made as number 40: the training is one step ahead from there on"


def test_a_wrong_start(bench, training):
    moved = replace(training, w0=training.w0 + 1e-8)
    assert of_course(training, bench.train(moved)) == (
        "the training does not start from the given weights: they are off by up to 1e-08",
    )


def test_a_right_training_has_no_diagnosis(bench, training):
    assert of_course(training, bench.train(training)) == ()


# --- stagnation


def stalling(bench, dtype, steps=2000):
    data = [[1, 1], [1, 0], [0, 1], [0, 0]], [0, 1, 0, 1]
    return bench.make(*data, [3.0, 3.0], dtype=dtype, learning_rate=2e-7, steps=steps)


def test_float32_that_stalls_is_remarked(bench):
    problem = stalling(bench, "float32")
    remark = stagnation(problem, bench.train(problem))
    assert remark == (
        "stalls from step 0: 2 of 3 weights no longer change, their updates are below half an ulp of float32; "
        "the mathematics would move on"
    )


def test_a_later_stall_has_its_step(bench):
    problem = stalling(bench, "float32")
    trajectory = bench.train(problem)
    moving = trajectory.w.copy()
    moving[:7, 1] += 1
    remark = stagnation(problem, replace(trajectory, w=moving))
    assert remark is not None
    assert remark.startswith(f"stalls from step {trajectory.recorded_steps[7]}: ")


def test_the_same_training_in_float64_does_not_stall(bench):
    problem = stalling(bench, "float64", steps=200)
    assert stagnation(problem, bench.train(problem)) is None


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_that_has_come_to_rest_does_not_stall(bench, dtype):
    problem = small(bench, dtype, l2=0.3, learning_rate=1.0, steps=400)
    trajectory = bench.train(problem)
    assert (trajectory.w[-1, 0] == trajectory.w[-1, 1]).any()  # it does rest
    assert stagnation(problem, trajectory) is None


def test_mini_batches_are_not_said_to_stall(bench):
    problem = replace(stalling(bench, "float32", steps=50), batch_size=2)
    assert stagnation(problem, bench.train(problem)) is None
