"""Answers out of tolerance, and what it means that a mistake explains them.

A mistake predicts by how much each wrong number should be off: its *excess*, reported minus exact. Excesses are small
and exactly known, so that a prediction in plain float64 is good to sixteen digits of the *error*, not of the number.
A mistake explains the faults if it leaves, at every one of them, no more than rounding may leave of a computation that
makes this mistake and no other.

Updates are judged in units of a gradient: a step from θ to θ' by a gradient g seems to have used (θ - θ')/η, and the
excess is that minus g. So a wrong learning rate and a wrongly scaled gradient are one prediction about two quantities.
Knows no list of mistakes (`mistakes`, `formats`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array, designs
from compare_ag.verify.objective import Objective
from compare_ag.verify.points import point_tolerance
from compare_ag.verify.readings import Reading
from compare_ag.verify.samples import Sample

COMPUTED = 2.0
"""tolerances that a prediction without fitted constants may miss by: the backend's rounding, and float64's in ours"""
FITTED = 4.0
"""the same where a constant was fitted to those numbers"""
REMAINDER = 1 / 3
"""what may be left of the largest excess: an explanation that leaves more has not explained"""

Kind: TypeAlias = Literal["loss", "gradient", "update", "step"]
"""as the tests of `samples`; a step is judged where no gradient was reported, and stands for both"""


class Examples:
    """The examples of a problem in float64, and readings of its objective on them; those of all the data are kept."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.objective = Objective(problem)
        self._full: ExampleBatch | None = None

    def batch(self, rows: Array | None, *, inverted: bool = False) -> ExampleBatch:
        """A batch; inverted: with each label as the other one."""
        if rows is not None or inverted:
            return self._read(rows, inverted)
        if self._full is None:
            self._full = self._read(None, inverted=False)
        return self._full

    def _read(self, rows: Array | None, inverted: bool) -> ExampleBatch:
        data, examples = self.objective.data(rows)
        if inverted:
            data["y"] = 1.0 - data["y"]
        return ExampleBatch(data["X"], data["y"].astype(np.float64), self.objective.details_reader.on(data, examples))


@dataclass
class ExampleBatch:
    """Some examples."""

    X: Array
    """(n, d), in the problem's dtype"""
    y: Array
    """(n,)"""
    reading: Reading
    """of the objective's details there"""

    @cached_property
    def design(self) -> Array:
        """X̃ (n, m), whose last column is 1."""
        ((_, design),) = designs(self.X, len(self.X))
        return design


class AnsweredPoint:
    """The objective in float64 at θ (m,) on one batch of n examples."""

    def __init__(self, data: Examples, theta: Array, rows: Array | None, *, inverted: bool = False) -> None:
        self.data, self.rows = data, rows
        self.theta = np.asarray(theta, dtype=np.float64)
        self.batch = data.batch(rows, inverted=inverted)
        self.y = self.batch.y
        self.examples, self.layout = len(self.y), data.problem.layout
        with np.errstate(all="ignore"):
            self.details = data.objective.details(self.theta, self.batch.reading)
        self.logits, self.wrongness = self.details.logits, self.details.wrongness
        self.losses, self.residual = self.details.losses, self.details.residual
        self.shrinkage, self.penalty = self.details.shrinkage, self.details.penalty
        self.gradient, self.loss = self.details.gradient, self.details.loss

    @property
    def design(self) -> Array:
        """X̃ (n, m) of its batch."""
        return self.batch.design


class Prediction(NamedTuple):
    """What a mistake would have made of one answer."""

    excess: Array
    """(q,)"""
    growth: Array | float = 1.0
    """by what the mistake also multiplies the rounding errors"""


@dataclass(frozen=True)
class WrongAnswer:
    """One answer of q numbers against its tolerance, out of it unless it is a right one: q = 1 for a loss, else m."""

    kind: Kind
    point: AnsweredPoint
    sample: Sample
    before: Sample | None
    """what was answered just before, where that is known"""
    last_update: Sample | None
    """whose update was made just before this one, where that is known"""
    observed: Array
    """(q,): what was reported; the new weights of an update or step"""
    right: Array
    """(q,): the exact loss or gradient, or the gradient that an update was given"""
    excess: Array
    """(q,): of a loss or gradient, or of the gradient that an update seems to have used"""
    tolerance: Array
    """(q,)"""
    twin: str | None = None
    """where else the very same bits were reported, although another answer is right there"""
    reported: Array | None = None
    """(P, q): the answers of this kind at all points on the same batch, right ones too"""

    @property
    def is_wrong(self) -> bool:
        """Whether a number is out of its tolerance."""
        return not bool((np.abs(self.excess) <= self.tolerance).all())

    @property
    def subject(self) -> str:
        """What the sentences are about."""
        return "the loss" if self.kind == "loss" else "the gradient"

    @property
    def roundoff(self) -> float:
        """u of the problem's dtype."""
        return float(np.finfo(self.point.data.problem.dtype).eps) / 2

    @property
    def penalty(self) -> Array:
        """What the L2 penalty contributes, (q,)."""
        return self.point.shrinkage if self.kind != "loss" else np.array([self.point.penalty])

    @property
    def terms(self) -> Array:
        """What each example contributes, (n, q)."""
        return self.spread(self.point.losses, self.point.residual)

    def spread(self, losses: Array, residuals: Array) -> Array:
        """What changes of the examples' losses (n,) or residuals (n,) contribute, each alone, (n, q)."""
        point = self.point
        changes = losses[:, None] if self.kind == "loss" else residuals[:, None] * point.design
        return np.asarray(changes / point.examples)

    def of(self, point: AnsweredPoint) -> Array:
        """The same quantity elsewhere."""
        return np.array([point.loss]) if self.kind == "loss" else point.gradient

    def instead(self, point: AnsweredPoint) -> Prediction:
        """The answer for another point was given for this one."""
        problem = self.point.data.problem
        there = point_tolerance(problem, point.theta.astype(problem.dtype), point.rows)
        tolerance = np.array([there.loss]) if self.kind == "loss" else there.gradient
        with np.errstate(all="ignore"):
            growth = np.maximum(1.0, np.nan_to_num(tolerance / self.tolerance, nan=1.0, posinf=np.inf))
        return Prediction(self.of(point) - self.right, growth)

    def at(self, sample: Sample) -> AnsweredPoint:
        """The point of another sample."""
        return AnsweredPoint(self.point.data, sample.weights, sample.rows)

    def in_tolerances(self, values: Array) -> float:
        """The largest of |values| (q,) in units of their tolerances; NaN counts as infinite."""
        with np.errstate(all="ignore"):
            ratios = np.abs(values) / self.tolerance
        return float(np.nan_to_num(ratios, nan=np.inf, posinf=np.inf).max())


WrongAnswers: TypeAlias = Sequence[WrongAnswer]
"""wrong answers first, then right ones, which a mistake must leave right"""


def wrong_ones(faults: WrongAnswers) -> list[WrongAnswer]:
    """Those that are out of tolerance."""
    return [fault for fault in faults if fault.is_wrong]


Explain: TypeAlias = Callable[[WrongAnswers], str | None]
"""The sentence of a mistake that explains the faults, or None"""


def explained(faults: WrongAnswers, predictions: Iterable[Prediction | None], constants: int = 0) -> bool:
    """Whether the predictions meet every fault; None says nothing about one. They may be lazy: the first miss ends it.

    ``constants`` were fitted or searched for: that many more numbers must be off by more than the slack, for as many
    are met whatever the mistake.
    """
    slack = FITTED if constants else COMPUTED
    informative, largest, left, known = 0, 0.0, 0.0, 0
    for fault, prediction in zip(faults, predictions, strict=True):
        if prediction is None:
            continue
        known += 1
        remainder = fault.excess - prediction.excess
        allowed = slack * prediction.growth * (fault.tolerance + fault.roundoff * np.abs(prediction.excess))
        if not (np.abs(remainder) <= allowed).all():
            return False
        informative += int((np.abs(fault.excess) > slack * fault.tolerance).sum())
        largest, left = max(largest, fault.in_tolerances(fault.excess)), max(left, fault.in_tolerances(remainder))
    enough = known >= min(2, len(wrong_ones(faults))) and informative > constants
    return enough and left <= REMAINDER * largest


def fit(faults: WrongAnswers, directions: Sequence[Array | None]) -> float:
    """The c for which c · directions comes closest to the excesses, each number weighted by its tolerance."""
    above = below = 0.0
    with np.errstate(all="ignore"):
        for fault, direction in zip(faults, directions, strict=True):
            if direction is not None:
                scaled = direction / fault.tolerance
                above += float(scaled @ (fault.excess / fault.tolerance))
                below += float(scaled @ scaled)
    return above / below if below > 0 else float("nan")


def named(predict: Callable[[WrongAnswer], Prediction | Array | None], sentence: str) -> Explain:
    """A mistake without constants; ``{subject}`` in its sentence is "the loss" or "the gradient"."""

    def explain(faults: WrongAnswers) -> str | None:
        found = (predict(fault) for fault in faults)
        predictions = (Prediction(p) if isinstance(p, np.ndarray) else p for p in found)
        return sentence.format(subject=faults[0].subject) if explained(faults, predictions) else None

    return explain


def fitted(direction: Callable[[WrongAnswer], Array | None], sentence: Callable[[str, float], str]) -> Explain:
    """A mistake with one unknown size c: the excess is c times the direction. ``sentence`` gets the subject and c."""

    def explain(faults: WrongAnswers) -> str | None:
        directions = [direction(fault) for fault in faults]
        c = size(faults, directions, constants=1)
        return None if c is None else sentence(faults[0].subject, c)

    return explain


def size(faults: WrongAnswers, directions: Sequence[Array | None], constants: int) -> float | None:
    """The roundest c for which c · directions explains the faults: people write 0.01, and rounding adds the rest."""
    best = fit(faults, directions)
    for c in (*(float(f"{best:.{digits}e}") for digits in range(4)), best):
        if explained(faults, [None if d is None else Prediction(c * d, 1.0 + abs(c)) for d in directions], constants):
            return c
    return None


def number(value: float) -> str:
    """A constant near or far from 1, with three digits of what distinguishes it from 1."""
    off = abs(value - 1.0)
    if 0.0 < off < 1e-7:
        return f"1 {'+' if value > 1.0 else '-'} {off:.3g}"
    if 0.0 < off < 0.1:
        return f"{value:.{2 - int(np.floor(np.log10(off)))}f}".rstrip("0")
    return f"{value:.4g}"
