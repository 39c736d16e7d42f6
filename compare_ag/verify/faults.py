"""Answers out of tolerance, and the condition under which a mistake explains them.

A mistake predicts by how much each wrong number should be off: its *excess*, reported minus exact. Excesses are small
and exactly known, so that a prediction in plain float64 is good to sixteen digits of the *error*, not of the number.
A mistake explains the faults if the remainder at every fault is within the rounding errors of a computation that makes
only this mistake.

Updates are judged in units of a gradient: a step from θ to θ' by a gradient g seems to have used (θ - θ')/η, and the
excess is that minus g. So a wrong learning rate and a wrongly scaled gradient are one prediction about two quantities.
The mistakes themselves are in `mistakes` and `formats`.
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
"""tolerances by which a prediction without fitted constants may miss: the backend's rounding, and its own"""
FITTED = 4.0
"""the same where a constant was fitted to those numbers"""
REMAINDER = 1 / 3
"""the largest remainder of an explanation, as a share of the largest excess"""

Kind: TypeAlias = Literal["loss", "gradient", "update", "step"]
"""as the tests of `samples`; a step is judged where no gradient was reported, and stands for both"""


class Examples:
    """The examples of a problem in float64, and readings of its objective on them; the reading of all data is kept."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.objective = Objective(problem)
        self._full: ExampleBatch | None = None

    def batch(self, rows: Array | None, *, inverted: bool = False) -> ExampleBatch:
        """A batch; inverted: with 1 - y for each label y."""
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
    """The examples of a batch."""

    X: Array
    """(n, d), in the problem's dtype"""
    y: Array
    """(n,)"""
    reading: Reading
    """of the objective's details on the batch"""

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
    """The answer of a backend that makes the mistake."""

    excess: Array
    """(q,)"""
    growth: Array | float = 1.0
    """the factor by which the mistake multiplies the rounding errors"""


@dataclass(frozen=True)
class WrongAnswer:
    """An answer of q numbers with its tolerance, which right answers meet: q = 1 for a loss, else m."""

    kind: Kind
    point: AnsweredPoint
    sample: Sample
    before: Sample | None
    """the answer just before, where that is known"""
    last_update: Sample | None
    """the sample of the update just before, where that is known"""
    observed: Array
    """(q,): the reported numbers; the new weights of an update or step"""
    right: Array
    """(q,): the exact loss or gradient, or the gradient that an update was given"""
    excess: Array
    """(q,): of a loss or gradient, or of the gradient that an update seems to have used"""
    tolerance: Array
    """(q,)"""
    twin: str | None = None
    """the name of another point at which the same bits were reported, although another answer is right there"""
    reported: Array | None = None
    """(P, q): the right and wrong answers of this kind at all points on the same batch"""

    @property
    def is_wrong(self) -> bool:
        """Whether a number is out of its tolerance."""
        return not bool((np.abs(self.excess) <= self.tolerance).all())

    @property
    def subject(self) -> str:
        """The subject of the sentences."""
        return "the loss" if self.kind == "loss" else "the gradient"

    @property
    def roundoff(self) -> float:
        """u of the problem's dtype."""
        return float(np.finfo(self.point.data.problem.dtype).eps) / 2

    @property
    def penalty(self) -> Array:
        """The part of the L2 penalty, (q,)."""
        return self.point.shrinkage if self.kind != "loss" else np.array([self.point.penalty])

    @property
    def terms(self) -> Array:
        """The part of each example, (n, q)."""
        return self.spread(self.point.losses, self.point.residual)

    def spread(self, losses: Array, residuals: Array) -> Array:
        """The effect of changes of the examples' losses (n,) or residuals (n,), each alone, (n, q)."""
        point = self.point
        changes = losses[:, None] if self.kind == "loss" else residuals[:, None] * point.design
        return np.asarray(changes / point.examples)

    def of(self, point: AnsweredPoint) -> Array:
        """The same quantity at another point."""
        return np.array([point.loss]) if self.kind == "loss" else point.gradient

    def instead(self, point: AnsweredPoint) -> Prediction:
        """The prediction that the answer for another point was given for this point."""
        problem = self.point.data.problem
        allowed = point_tolerance(problem, point.theta.astype(problem.dtype), point.rows)
        tolerance = np.array([allowed.loss]) if self.kind == "loss" else allowed.gradient
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
"""wrong answers first, then right answers, which a mistake must leave right"""


def wrong_answers(faults: WrongAnswers) -> list[WrongAnswer]:
    """The answers that are out of tolerance."""
    return [fault for fault in faults if fault.is_wrong]


Explain: TypeAlias = Callable[[WrongAnswers], str | None]
"""the sentence of a mistake that explains the faults, or None"""


def explains_faults(faults: WrongAnswers, predictions: Iterable[Prediction | None], constants: int = 0) -> bool:
    """Whether the predictions meet every fault; None predicts nothing. A lazy iterable is read up to the first miss.

    constants: how many were fitted or searched for. As many numbers are met whatever the mistake, so more numbers than
    that must be off by more than the slack.
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
    enough = known >= min(2, len(wrong_answers(faults))) and informative > constants
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


def mistake(predict: Callable[[WrongAnswer], Prediction | Array | None], sentence: str) -> Explain:
    """A mistake without constants; ``{subject}`` in its sentence is "the loss" or "the gradient"."""

    def explain(faults: WrongAnswers) -> str | None:
        answers = (predict(fault) for fault in faults)
        predictions = (Prediction(p) if isinstance(p, np.ndarray) else p for p in answers)
        return sentence.format(subject=faults[0].subject) if explains_faults(faults, predictions) else None

    return explain


def fitted_mistake(direction: Callable[[WrongAnswer], Array | None], sentence: Callable[[str, float], str]) -> Explain:
    """A mistake with one unknown size c: the excess is c times the direction. ``sentence`` gets the subject and c."""

    def explain(faults: WrongAnswers) -> str | None:
        directions = [direction(fault) for fault in faults]
        c = size(faults, directions, constants=1)
        return None if c is None else sentence(faults[0].subject, c)

    return explain


def size(faults: WrongAnswers, directions: Sequence[Array | None], constants: int) -> float | None:
    """The c with the fewest digits for which c · directions explains the faults: people write round numbers."""
    best = fit(faults, directions)
    for c in (*(float(f"{best:.{digits}e}") for digits in range(4)), best):
        if explains_faults(
            faults, [None if d is None else Prediction(c * d, 1.0 + abs(c)) for d in directions], constants
        ):
            return c
    return None


def format_number(value: float) -> str:
    """A constant near or far from 1, with three digits of what distinguishes it from 1."""
    off = abs(value - 1.0)
    if 0.0 < off < 1e-7:
        return f"1 {'+' if value > 1.0 else '-'} {off:.3g}"
    if 0.0 < off < 0.1:
        return f"{value:.{2 - int(np.floor(np.log10(off)))}f}".rstrip("0")
    return f"{value:.4g}"
