"""The known mistakes in a loss, a gradient or an update, each with its effect on the numbers.

In order of specificity: first mistakes without unknowns, then those with a fitted size, last those with another size at
every point. The lists `LOSS`, `GRADIENT` and `UPDATE` hold these tiers; `diagnosis` stops at the first tier that
explains the faults. q, m, r, X̃, η as in `faults` and `points`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from compare_ag.problem.core import Array
from compare_ag.verify import formats, limits, searches
from compare_ag.verify.faults import (
    AnsweredPoint,
    Explain,
    Prediction,
    WrongAnswer,
    WrongAnswers,
    explains_faults,
    fit,
    fitted_mistake,
    format_number,
    mistake,
    wrong_answers,
)
from compare_ag.verify.oracle import batch_key

Tiers: TypeAlias = Sequence[Sequence[Explain]]


# --- the size


def _times(factor: Callable[[WrongAnswer], float], *, penalised: bool = True) -> Callable[[WrongAnswer], Prediction]:
    """Everything is multiplied, or everything but the penalty."""

    def predict(fault: WrongAnswer) -> Prediction:
        c = factor(fault)
        return Prediction((c - 1.0) * (fault.right - (0.0 if penalised else fault.penalty)), max(1.0, abs(c)))

    return predict


def _size(factor: Callable[[WrongAnswer], float], sentence: str) -> tuple[Explain, ...]:
    """A factor that depends on the batch: of the whole answer, and of the mean over the examples alone."""
    return (mistake(_times(factor), sentence), _if_penalised(mistake(_times(factor, penalised=False), sentence)))


def _if_penalised(explain: Explain) -> Explain:
    """Try the mistake only where there is a penalty: elsewhere it would repeat another mistake's sentence."""
    return lambda faults: explain(faults) if faults[0].point.data.problem.l2 else None


def _n(fault: WrongAnswer) -> float:
    return float(fault.point.examples)


def _of_all(fault: WrongAnswer) -> float:
    return fault.point.examples / fault.point.data.problem.examples


def _of_nominal(fault: WrongAnswer) -> float:
    return fault.point.examples / (fault.point.data.problem.batch_size or fault.point.examples)


def _always_zero(faults: WrongAnswers) -> str | None:
    """Every answer is 0, the right answers too."""
    if any(fault.reported is not None and fault.reported.any() for fault in faults):
        return None
    return mistake(_times(lambda _: 0.0), "{subject} is always 0")(faults)


SIZES: tuple[Explain, ...] = (
    _always_zero,
    mistake(_times(lambda _: -1.0), "{subject} has the wrong sign"),
    *_size(_n, "{subject} is a sum over the examples instead of their mean"),
    *_size(lambda f: _n(f) / (_n(f) + 1.0), "{subject} is a mean over n + 1 instead of n"),
    *_size(lambda f: _n(f) / (_n(f) - 1.0 or 1.0), "{subject} is a mean over n - 1 instead of n"),
    *_size(lambda f: 1.0 / _n(f), "{subject} is divided by n twice"),
    *_size(_of_all, "{subject} of a batch is divided by the number of all examples"),
    *_size(_of_nominal, "{subject} of a short batch is divided by the full batch size"),
    *_size(lambda _: 2.0, "{subject} is twice what it should be"),
    *_size(lambda _: 0.5, "{subject} is half of what it should be"),
)
SCALED: Explain = fitted_mistake(
    lambda f: f.right, lambda subject, c: f"{subject} is {format_number(1.0 + c)} times what it should be"
)


# --- the penalty


def _bias_penalty(fault: WrongAnswer) -> Array:
    l2, layout = float(fault.point.data.problem.l2), fault.point.layout
    _, b = layout.parts(fault.point.theta)
    return np.array([l2 / 2.0 * b * b]) if fault.kind == "loss" else layout.repeat(0.0, l2 * float(b))


def _weights_only(fault: WrongAnswer) -> Array:
    return fault.point.layout.only("w", fault.point.theta)


PENALTIES: tuple[Explain, ...] = (
    mistake(lambda f: -f.penalty, "{subject} lacks the L2 penalty"),
    mistake(lambda f: f.penalty, "{subject} has twice the L2 penalty"),
    mistake(lambda f: -0.5 * f.penalty, "{subject} has half of the L2 penalty"),
    mistake(_bias_penalty, "{subject} penalises b too"),
)
PENALTY_SIZES: tuple[Explain, ...] = (
    _if_penalised(
        fitted_mistake(lambda f: f.penalty, lambda s, c: f"{s} has {format_number(1.0 + c)} times the L2 penalty")
    ),
    _if_penalised(
        fitted_mistake(_bias_penalty, lambda s, c: f"{s} penalises b too, by {format_number(c)} times the L2 penalty")
    ),
)


def _find_unasked_penalty(faults: WrongAnswers) -> str | None:
    """A penalty where none was asked for."""
    if faults[0].point.data.problem.l2:
        return None
    explain = fitted_mistake(_weights_only, lambda s, c: f"{s} has an L2 penalty of {c:.3g} that was not asked for")
    return explain(faults)


# --- a part of it


def _of_weights(fault: WrongAnswer) -> Array:
    return fault.point.layout.only("w", fault.right)


def _of_examples(fault: WrongAnswer) -> Array:
    return np.asarray(fault.right - fault.penalty)


def _of_label(label: float) -> Callable[[WrongAnswer], Array]:
    """The part of the examples of one label."""
    return lambda fault: np.asarray(fault.terms[fault.point.y == label].sum(axis=0))


def _label_smoothing(fault: WrongAnswer) -> Array:
    """A label y + ε(1 - 2y) moves r by -ε(1 - 2y) and ℓ by -ε(1 - 2y) z."""
    point = fault.point
    return np.asarray(fault.spread(-point.wrongness, 2.0 * point.y - 1.0).sum(axis=0))


def _label_counts(label: float) -> Explain:
    def sentence(subject: str, c: float) -> str:
        return f"examples of label {label:g} count {format_number(1.0 + c)} times in {subject}"

    return fitted_mistake(_of_label(label), sentence)


PARTS: tuple[Explain, ...] = (
    _if_penalised(
        fitted_mistake(
            _of_examples, lambda s, c: f"{s} is {format_number(1.0 + c)} times what it should be, its penalty is right"
        )
    ),
    _label_counts(0.0),
    _label_counts(1.0),
    fitted_mistake(_label_smoothing, lambda s, c: f"{s} is that of labels smoothed by {c:.3g}"),
    fitted_mistake(
        lambda f: np.ones_like(f.right),
        lambda s, c: f"{s} is {abs(c):.3g} too {'large' if c > 0 else 'small'} everywhere",
    ),
)


_COUNTS: tuple[tuple[Callable[[float], float], str], ...] = (
    (lambda n: n, "a sum over the examples instead of their mean"),
    (lambda n: n / (n + 1.0), "a mean over n + 1 instead of n"),
    (lambda n: n / (n - 1.0 or 1.0), "a mean over n - 1 instead of n"),
    (lambda n: 1.0 / n, "divided by n twice"),
)


def _predict_miscounted(of_b: bool, factor: Callable[[float], float]) -> Callable[[WrongAnswer], Prediction]:
    """The mean over the examples is taken with another count, in the gradient of b alone or of w alone."""

    def predict(fault: WrongAnswer) -> Prediction:
        c, part = factor(_n(fault)), fault.right - fault.penalty
        own = np.arange(len(part)) == len(part) - 1
        return Prediction(np.where(own if of_b else ~own, (c - 1.0) * part, 0.0), max(1.0, c))

    return predict


PART_SIZES: tuple[Explain, ...] = tuple(
    mistake(_predict_miscounted(of_b, factor), f"the gradient of {'b' if of_b else 'w'} is {words}, the rest is right")
    for of_b in (True, False)
    for factor, words in _COUNTS
)


def _constant_vector(faults: WrongAnswers) -> str | None:
    """The excess is the same vector at all points on one batch, as where the backend uses other data."""
    if len(faults) < 3 or any(fault.point.rows is not None for fault in faults) or not _many_points(faults):
        return None
    weights = np.array([1.0 / fault.tolerance**2 for fault in faults])
    same = (weights * [fault.excess for fault in faults]).sum(axis=0) / weights.sum(axis=0)
    explains = explains_faults(faults, [Prediction(same) for _ in faults], constants=len(same))
    return f"{faults[0].subject} is off by the same amount at all points, whatever the weights" if explains else None


def _many_points(faults: WrongAnswers) -> bool:
    return len({fault.point.theta.tobytes() for fault in faults}) > 2


# --- the shape


BLOCKS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""sizes of vector registers, tiles and thread blocks, in numbers"""


def _remainder(count: int, block: int) -> int:
    """How many of ``count`` things are left over after the last full block; 0 where no block is full."""
    return count % block if count > block else 0


def _examples_left(fault: WrongAnswer, block: int) -> Array:
    terms = fault.terms
    return np.asarray(-terms[len(terms) - _remainder(len(terms), block) :].sum(axis=0))


def _examples_left_of_w(fault: WrongAnswer, block: int) -> Array:
    return fault.point.layout.only("w", _examples_left(fault, block))


def _features_left(fault: WrongAnswer, block: int) -> Array:
    d = len(fault.right) - 1
    lost = np.arange(d + 1) >= d - _remainder(d, block)
    return np.where(lost & (np.arange(d + 1) < d), -fault.right, 0.0)


def _beyond_a_block(faults: WrongAnswers) -> str | None:
    """Examples or features that are left over after blocks of one size are ignored."""
    ways: list[tuple[Callable[[WrongAnswer, int], Array], str]] = [(_examples_left, f"left out of {faults[0].subject}")]
    if faults[0].kind != "loss":
        ways += [(_examples_left_of_w, "left out of the gradient of w"), (_features_left, "without a gradient")]
    for block in BLOCKS:
        for predict, consequence in ways:
            if explains_faults(faults, (Prediction(predict(fault, block)) for fault in faults), constants=1):
                examples, features = max(f.point.design.shape for f in wrong_answers(faults))
                things, count = ("features", features - 1) if predict is _features_left else ("examples", examples)
                lost = f"the last {_remainder(count, block)} of {count} {things} are {consequence}"
                return f"{lost}, as where blocks of {block} leave a remainder"
    return None


def _untransposed_product(fault: WrongAnswer) -> Array:
    """Xr/n instead of Xᵀr/n, where X is square."""
    X, r = fault.point.design[:, :-1], fault.point.residual
    if X.shape[0] != X.shape[1]:
        return np.zeros_like(fault.right)
    return fault.point.layout.flat(((X @ r - r @ X) / len(r), 0.0))


# --- the examples


def _other_labels(fault: WrongAnswer) -> Prediction:
    return fault.instead(AnsweredPoint(fault.point.data, fault.point.theta, fault.point.rows, inverted=True))


def _all_data(fault: WrongAnswer) -> Prediction | None:
    return None if fault.point.rows is None else fault.instead(AnsweredPoint(fault.point.data, fault.point.theta, None))


# --- the call


def _before(fault: WrongAnswer) -> Prediction | None:
    return None if fault.before is None else fault.instead(fault.at(fault.before))


def _exact_before(fault: WrongAnswer) -> Array | None:
    return None if fault.before is None else fault.of(fault.at(fault.before))


def _reported_before(fault: WrongAnswer) -> Array | None:
    reported = None if fault.before is None else fault.before.gradient
    return None if reported is None else reported.astype(np.float64)


def _after_update(fault: WrongAnswer) -> Prediction | None:
    following = fault.sample.following
    if following is None or not np.isfinite(following).all():
        return None
    return fault.instead(AnsweredPoint(fault.point.data, following, fault.point.rows))


def _same_everywhere(faults: WrongAnswers) -> str | None:
    """For each batch every answer is the same although the exact answers differ."""
    answers: defaultdict[bytes | None, set[bytes]] = defaultdict(set)
    rights: defaultdict[bytes | None, set[bytes]] = defaultdict(set)
    for fault in wrong_answers(faults):
        batch = batch_key(fault.point.rows)
        given = fault.observed[None] if fault.reported is None else fault.reported
        answers[batch] |= {row.tobytes() for row in given}
        rights[batch].add(fault.right.tobytes())
    same = all(len(given) == 1 for given in answers.values()) and max(map(len, rights.values())) > 1
    same = same and any(fault.observed.any() for fault in wrong_answers(faults))  # always 0 has its own sentence
    return f"{faults[0].subject} does not depend on the weights" if same else None


def _find_replay(faults: WrongAnswers) -> str | None:
    """Every answer equals, bit for bit, an answer for other weights."""
    twins = [fault.twin for fault in wrong_answers(faults)]
    return f"{faults[0].subject} is replayed: {faults[0].sample.where} repeats {twins[0]}" if all(twins) else None


CALLS: tuple[Explain, ...] = (
    _same_everywhere,
    mistake(_other_labels, "{subject} is that of inverted labels"),
    mistake(_all_data, "{subject} ignores the batch: it is that of all the data"),
    mistake(_before, "{subject} is that of the call before"),
)


# --- the components


def _without_bias(fault: WrongAnswer) -> Array:
    return -fault.point.layout.only("b", fault.right)


# --- the update


def _rate(fault: WrongAnswer) -> float:
    return float(fault.point.data.problem.learning_rate)


def _find_rounded_rate(faults: WrongAnswers) -> str | None:
    """The learning rate was rounded to a coarser format; the finest where several give the same number."""
    for kind in formats.FORMATS:
        rate = _rate(faults[0])
        off = float(formats.round_to(np.array(rate), kind.digits)) / rate - 1.0
        if explains_faults(faults, [Prediction(off * fault.right) for fault in faults]):
            return f"the learning rate was rounded to {kind.name}"
    return None


def _find_skipped_step(faults: WrongAnswers) -> str | None:
    """The weights are unchanged, bit for bit."""
    if any((fault.observed != fault.sample.weights).any() for fault in faults):
        return None
    place = f", at {faults[0].sample.where}" if len(faults) == 1 else ""
    return f"a step is skipped: the update leaves the weights as they were{place}"


def _last_step(fault: WrongAnswer) -> Array | None:
    """The step that the call before made, as the gradient that a step in the same direction would need."""
    if fault.last_update is None or fault.last_update.following is None:
        return None
    last = np.asarray(fault.last_update.following, dtype=np.float64) - fault.last_update.weights
    return np.asarray(-last / _rate(fault))


def _old_gradient(fault: WrongAnswer) -> Array | None:
    last = None if fault.last_update is None else fault.last_update.gradient
    return None if last is None else np.asarray(last.astype(np.float64) - fault.right)


def _find_clipped_norm(faults: WrongAnswers) -> str | None:
    """g is shortened to some norm N where it is longer."""
    norms = np.array([np.linalg.norm(fault.right) for fault in faults])
    used = [float(np.linalg.norm(fault.right + fault.excess)) for fault in faults]
    limit = float(f"{np.median(used):.3g}")
    shares = np.minimum(1.0, limit / norms)
    predictions = [Prediction((c - 1.0) * fault.right) for c, fault in zip(shares, faults, strict=True)]
    explains = len(faults) > 1 and explains_faults(faults, predictions, constants=1)
    return f"the gradient's norm is clipped to {limit:.3g} before the update" if explains else None


def _lengths(faults: WrongAnswers) -> str | None:
    """Every answer has the right direction, and a length of its own."""
    faults = wrong_answers(faults)
    factors = np.array([1.0 + fit([fault], [fault.right]) for fault in faults])
    predictions = [Prediction((c - 1.0) * f.right, 1.0 + abs(c)) for c, f in zip(factors, faults, strict=True)]
    single = all(fault.point.examples == 1 for fault in faults)  # a single example's gradient has one direction only
    if (
        single
        or len(faults) < 2
        or len(faults[0].right) < 2
        or not explains_faults(faults, predictions, constants=len(faults))
    ):
        return None
    between = f"{format_number(factors.min())} to {format_number(factors.max())} times"
    if faults[0].kind == "gradient":
        return f"the gradient has the right direction, but {between} the right length"
    return f"the learning rate varies, from {between} what was given"


LOSS: Tiers = (
    (limits.tanh_sigmoid,),
    (
        *SIZES,
        mistake(_times(lambda _: 1.0 / math.log(2.0)), "{subject} has logarithms to base 2"),
        *PENALTIES,
        *CALLS,
        mistake(_after_update, "the loss is that after the update"),
        searches.find_inverted_labels,
        searches.find_exchanged_columns,
        limits.find_clipped_loss,
        limits.find_threshold,
        _beyond_a_block,
    ),
    (formats.on_grid,),
    (SCALED, *PENALTY_SIZES),
    PARTS,
    (searches.find_miscounted_example,),
    (_find_replay,),
)
"""tiers of mistakes in a loss"""

GRADIENT: Tiers = (
    (limits.tanh_sigmoid,),
    (
        *SIZES,
        mistake(_without_bias, "the gradient of b is missing"),
        *PENALTIES,
        *CALLS,
        mistake(_reported_before, "gradients accumulate: each answer contains the answer before"),
        searches.find_reordered_components,
        searches.find_left_out_example,
        searches.find_inverted_labels,
        searches.find_exchanged_columns,
        limits.find_threshold,
        *PART_SIZES,
        _beyond_a_block,
        mistake(_untransposed_product, "the gradient of w comes from X where its transpose belongs"),
    ),
    (formats.on_grid,),
    (
        SCALED,
        *PENALTY_SIZES,
        *PARTS,
        fitted_mistake(
            lambda f: f.point.layout.repeat(0.0, 1.0),
            lambda _, c: f"the gradient of b is {abs(c):.3g} too {'large' if c > 0 else 'small'} everywhere",
        ),
        fitted_mistake(
            _of_weights,
            lambda _, c: f"the gradient of w is {format_number(1.0 + c)} times what it should be, b's is right",
        ),
        _find_unasked_penalty,
        fitted_mistake(
            _exact_before, lambda _, c: f"the gradient contains {'' if c == 1.0 else f'{c:.3g} times '}the one before"
        ),
        searches.find_scaled_component,
        searches.find_miscounted_example,
        limits.find_clipped_gradient,
        searches.find_flushed_components,
    ),
    (limits.find_softened_logarithm,),
    (formats.products, _lengths, _constant_vector),
    (_find_replay,),
)
"""tiers of mistakes in a gradient"""

UPDATE: Tiers = (
    (),
    (
        _find_skipped_step,
        mistake(_times(lambda _: -1.0), "the update ascends: its sign is wrong"),
        mistake(_times(lambda _: 2.0), "the update is made twice"),
        _find_rounded_rate,
        mistake(_without_bias, "the update leaves b as it was"),
        mistake(_old_gradient, "the update uses the gradient of the call before"),
    ),
    (formats.on_grid,),
    (
        fitted_mistake(
            lambda f: f.right, lambda _, c: f"the learning rate is {format_number(1.0 + c)} times what was given"
        ),
        fitted_mistake(
            lambda f: f.point.theta / _rate(f), lambda _, c: f"weight decay: the weights lose {c:.3g} of their size"
        ),
        fitted_mistake(
            lambda f: _weights_only(f) / _rate(f), lambda _, c: f"weight decay: w loses {c:.3g} of its size"
        ),
        _find_clipped_norm,
        fitted_mistake(_last_step, lambda _, c: f"momentum: {c:.3g} of the step before is made again"),
        searches.find_scaled_component,
    ),
    (),
    (_lengths,),
)
"""tiers of mistakes in an update by a known gradient, empty where only gradients have one"""
