"""Clips, thresholds and cancellation: examples beyond some limit get another loss or another gradient.

A limit is searched for between the examples beyond it and those within it, or tried in the sizes that people choose. p
is a probability, q = exp(-ℓ) that of the right label, s = (1 - 2y) z as in `faults`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from compare_ag.problem.core import Array
from compare_ag.verify.faults import COMPUTED, AnsweredPoint, Prediction, WrongAnswer, WrongAnswers, explains_faults
from compare_ag.verify.searches import MOST_CELLS

CLAMPS = (
    1e-2,
    1e-3,
    1e-4,
    1e-5,
    1e-6,
    1e-7,
    2.0**-23,
    1e-8,
    1e-9,
    1e-10,
    1e-12,
    1e-15,
    2.0**-52,
    1e-16,
    math.exp(-100.0),
)
"""usual distances of a probability from 0 before its logarithm; torch's BCELoss clamps the logarithm at -100"""
THRESHOLDS = (20.0, 15.0, 10.0, 16.0, 18.0, 25.0, 30.0, 32.0, 33.0, 34.0, 35.0, 36.0, 40.0)
"""logits beyond which people take softplus(x) for x; torch's softplus takes 20"""


def find_clipped_gradient(faults: WrongAnswers) -> str | None:
    """Examples beyond some limit contribute no gradient: of a logit, of their loss, or of their residual.

    A clip drops nearly the whole gradient of an example that is wrong, and nearly none of an example that is right.
    """
    for measure, words in (
        (
            lambda point: np.abs(point.wrongness),
            "beyond a logit of {0:.3g} have no gradient: logits, or probabilities at {1}, are clipped",
        ),
        (lambda point: point.wrongness, "with a loss beyond {0:.3g} have no gradient: probabilities of at least {1}"),
        (lambda point: -point.wrongness, "with a residual below {1} have no gradient"),
    ):
        limits = _bracket(faults, measure, [-fault.terms for fault in faults])
        if limits is not None:
            low, high = limits
            least, most = 1.0 / (1.0 + math.exp(min(high, 700.0))), 1.0 / (1.0 + math.exp(max(low, -700.0)))
            return "examples " + words.format(max(low, 0.99 * high), _clamp_between(least, most))
    return None


def _clamp_between(least: float, most: float) -> str:
    """The size of a clip between two bounds: a usual size, if exactly one fits; else the range."""
    usual = [clamp for clamp in CLAMPS if least <= clamp <= most]
    if len(usual) == 1:
        return f"{usual[0]:.1e}"
    return f"some {least:.1e} to {most:.1e}" if most > 2.0 * least else f"some {most:.1e}"


def find_threshold(faults: WrongAnswers) -> str | None:
    """softplus(x) is x beyond a threshold, for x = s, z or -z: its loss lacks log(1 + exp(-|z|)), its slope is 1."""
    for name, sign in (("(1 - 2y) z", None), ("z", 1.0), ("-z", -1.0)):

        def measure(point: AnsweredPoint, sign: float | None = sign) -> Array:
            return point.wrongness if sign is None else sign * point.logits

        changes = []
        for fault in faults:
            point = fault.point
            decay = np.exp(-np.abs(point.logits))
            factor = 1.0 - 2.0 * point.y if sign is None else sign
            changes.append(fault.spread(-np.log1p(decay), factor * decay / (1.0 + decay)))
        limits = _bracket(faults, measure, changes)
        if limits is not None:
            usual = [threshold for threshold in THRESHOLDS if limits[0] <= threshold < limits[1]]
            if usual:
                return f"softplus(x) is taken for x beyond a threshold of {usual[0]:g}, at x = {name}"
    return None


def _bracket(
    faults: WrongAnswers, measure: Callable[[AnsweredPoint], Array], changes: Sequence[Array]
) -> tuple[float, float] | None:
    """The range of limits of ``measure`` for which changing the examples beyond explains all faults, or None.

    changes: the effect of each example's change on each fault, (n, q).
    """
    if any(fault.point.examples * len(fault.right) > MOST_CELLS for fault in faults):
        return None
    low, high, predictions = -math.inf, math.inf, []
    for fault, change in zip(faults, changes, strict=True):
        sizes = measure(fault.point)
        (beyond, within), count = _limits(fault, sizes, change)
        low, high = max(low, beyond), min(high, within)
        predictions.append(Prediction(change[np.argsort(-sizes, kind="stable")[:count]].sum(axis=0)))
    # a limit below every example changes all of them: that is another mistake
    known = -math.inf < low < high < math.inf
    return (low, high) if known and explains_faults(faults, predictions, constants=1) else None


def _limits(fault: WrongAnswer, sizes: Array, change: Array) -> tuple[tuple[float, float], int]:
    """The range of limits of ``sizes`` (n,) beyond which changed examples explain a fault, and their number."""
    order = np.argsort(-sizes, kind="stable")
    steps = np.concatenate([[math.inf], sizes[order], [-math.inf]])
    # row k: the k largest are changed; equal sizes lie on one side of a limit
    changed = np.concatenate([0.0 * change[:1], np.cumsum(change[order], axis=0)])
    met = (np.abs(fault.excess - changed) <= COMPUTED * fault.tolerance).all(axis=1) & (steps[1:] < steps[:-1])
    if not met.any():
        return (math.inf, 0.0), 0
    first, last = int(np.argmax(met)), len(met) - 1 - int(np.argmax(met[::-1]))
    return (float(steps[last + 1]), float(steps[first])), first


def find_clipped_loss(faults: WrongAnswers) -> str | None:
    """The loss of a probability that is kept away from 0 by a maximum or an addition, or away from 0 and 1."""
    ways = (
        ("the loss is that of {}: it is clipped", _loss_of_maximum),
        ("the loss is that of {}: it is clipped", _loss_of_sum),
        ("the loss is that of {}: it is clipped", _loss_of_clip),
    )
    for clamp in CLAMPS:
        for words, way in ways:
            predictions = [Prediction(np.array([(way(f, clamp) - f.point.losses).mean()])) for f in faults]
            if explains_faults(faults, predictions, constants=1):
                names = {_loss_of_maximum: "probabilities at least {:.1e}", _loss_of_sum: "probabilities plus {:.1e}"}
                probabilities = names.get(way, "probabilities clipped at {:.1e}, from 0 and from 1").format(clamp)
                if way is _loss_of_maximum and clamp == CLAMPS[-1]:
                    probabilities = "logarithms of at least -100"
                return words.format(probabilities)
    return None


def _loss_of_maximum(fault: WrongAnswer, clamp: float) -> Array:
    """-log max(p, c), (n,), for the probability p = exp(-ℓ) of the right label."""
    return np.asarray(np.minimum(fault.point.losses, -math.log(clamp)))


def _loss_of_sum(fault: WrongAnswer, clamp: float) -> Array:
    """-log(p + c)."""
    return np.asarray(-np.logaddexp(-fault.point.losses, math.log(clamp)))


def _loss_of_clip(fault: WrongAnswer, clamp: float) -> Array:
    """-log of the probability, which is kept between c and 1 - c in the dtype; 1 - (1 - c) is not c there."""
    y, real = fault.point.y, np.dtype(fault.point.data.problem.dtype).type
    least, most = float(real(clamp)), float(real(1) - real(clamp))
    ceiling = np.where(y == 1.0, -np.log(least), -np.log(1.0 - most))
    floor = np.where(y == 1.0, -np.log(most), -np.log1p(-least))
    return np.asarray(np.clip(fault.point.losses, floor, ceiling))


def find_softened_logarithm(faults: WrongAnswers) -> str | None:
    """The slope of a logarithm that is kept away from 0: p + c or max(p(1 - p), c) stands where p or p(1 - p) should.

    With q = exp(-ℓ), the probability of the right label, r becomes r q/(q + c), r min(1, p(1 - p)/c), or clip(p) - y.
    """
    for clamp in CLAMPS:
        for words, slope in (
            ("is that of probabilities plus {:.1e}", _increased_slope),
            ("is divided by p(1 - p) of {:.1e} at least, as torch's BCELoss", _divided_slope),
            ("is p - y of probabilities clipped at {:.1e}", _clipped_residual),
        ):
            changes = [
                fault.spread(fault.point.losses, slope(fault.point, clamp) - fault.point.residual) for fault in faults
            ]
            if explains_faults(faults, (Prediction(change.sum(axis=0)) for change in changes), constants=1):
                return f"the gradient {words.format(clamp)}"
    return None


def _increased_slope(point: AnsweredPoint, clamp: float) -> Array:
    right = np.exp(-point.losses)
    return np.asarray(point.residual * (right / (right + clamp)))


def _divided_slope(point: AnsweredPoint, clamp: float) -> Array:
    return np.asarray(point.residual * np.minimum(1.0, np.abs(point.residual) * np.exp(-point.losses) / clamp))


def _clipped_residual(point: AnsweredPoint, clamp: float) -> Array:
    """|r| is 1 - q, which a clip of p keeps between c and 1 - c."""
    return np.asarray((1.0 - 2.0 * point.y) * np.clip(np.abs(point.residual), clamp, 1.0 - clamp))


def tanh_sigmoid(faults: WrongAnswers) -> str | None:
    """p is (1 + tanh(z/2))/2, whose digits cancel where z is negative: -log p and its slope inherit the error."""
    problem = faults[0].point.data.problem
    if problem.loss != "probability":
        return None
    real = np.dtype(problem.dtype).type
    half = real(0.5)

    def predict(fault: WrongAnswer, *, literal: bool) -> Prediction | None:
        y = fault.point.y
        tanh = np.tanh(half * fault.point.logits.astype(real)).astype(np.float64)
        p = (1.0 + tanh) / 2.0
        # one ulp of tanh, and the logit's own rounding, move p by 2u and more
        reach = 2.0 * fault.roundoff / np.maximum(p, fault.roundoff)
        if fault.kind == "loss":
            losses = np.where(y == 1.0, -np.log(p), -np.log1p(-p))
            off, either = losses.mean() - fault.point.losses.mean(), np.array([(y * reach).mean()])
            return Prediction(np.array([off]), 1.0 + either / fault.tolerance)
        slope = (-y / p + (1.0 - y) / (1.0 - p)) * (1.0 - tanh * tanh) / 4.0 if literal else p - y
        off = fault.spread(slope, slope - fault.point.residual).sum(axis=0)
        either = np.abs(fault.spread(slope, reach * y)).sum(axis=0)
        return Prediction(off, 1.0 + either / fault.tolerance)

    for literal in (False, True):
        if explains_faults(faults, [predict(fault, literal=literal) for fault in faults], constants=1):
            return "the sigmoid is (1 + tanh(z/2))/2, or another that has no small numbers: its digits cancel at z < 0"
    return None
