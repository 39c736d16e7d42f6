"""Tests of single steps: loss, gradient, update and the whole step, each against the exact result at the same weights.

A sample is a backend's answer at weights that are known bit for bit: at a recorded step of its own training, or at a
point that the host chose. Errors of earlier steps have no effect, so a bug shows with its full size wherever it acts,
and the first sample out of tolerance names step, phase and coordinate:

    loss      |reported loss - f(θ)|                     forward
    gradient  |reported gradient - ∇f(θ)|                backward
    update    |reported θ' - (θ - η reported gradient)|  update
    step      |reported θ' - Φ(θ)|                       forward, backward and update together

Knows arrays alone. Finiteness comes first: a NaN has an infinite deviation, also from another NaN. A number is decided
where its tolerance is finite and the exact number is known far better than that (`Exact.decides`).

**Weights kept in a wider format** Θ are read as θ = Θ(1 + ε), |ε| ≤ u, when a training records them; its next step
starts from Θ. Compared with a step from θ it seems off by u|θ| more, in update and step alone. That is no fault, and
explains no other fault: at step 0 and at the host's points Θ = θ. `judge_samples` marks the findings that the reading
explains; `certificate` decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from compare_ag.model import Layout
from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.oracle import Exact, ExactEvaluation, Oracle, batch_key
from compare_ag.verify.points import PointTolerance, reading_error, update_tolerance

Test: TypeAlias = Literal["gradient", "step", "trajectory", "loss", "update", "protocol"]
Phase: TypeAlias = Literal["forward", "backward", "update", "step"]

PHASE: dict[Test, Phase] = {"loss": "forward", "gradient": "backward", "update": "update", "step": "step"}
CHEAP_CELLS = 25_000
"""examples x weights up to which an exact evaluation takes some milliseconds"""
BUDGET_SECONDS = 1.0
"""the time that float64 readings of large data may take for one verdict, by `CELL_SECONDS`"""
BALL_SECONDS = 2.0
"""of this thread's CPU time, after which no evaluation of large data in balls begins: these are for points where
float64 is not accurate enough"""
CELL_SECONDS = 1e-8
"""about the time of one point for each number of the data"""
FEWEST_POINTS = 24
"""of large data, however long they take"""


@dataclass(frozen=True)
class Sample:
    """A backend's answers at known weights, in its dtype; None where it was not asked."""

    where: str
    """for people: "step 17", "the point 'zero'" """
    weights: Array
    """(m,)"""
    loss: Array | None = None
    """()"""
    gradient: Array | None = None
    """(m,)"""
    following: Array | None = None
    """(m,): the weights after the update"""
    rows: Array | None = None
    """the examples of its batch; None: all"""
    step: int | None = None
    """the step of the training that it was taken from"""


@dataclass(frozen=True)
class Finding:
    """One number out of its tolerance."""

    test: Test
    phase: Phase
    where: str
    step: int | None
    coordinate: str | None
    """"w[3]" or "b"; None for a loss"""
    observed: float
    expected: float
    deviation: float
    tolerance: float
    ratio_as_read: float | None = None
    """the sample's largest ratio where the weights' reading may have rounded them; None where they are known exactly"""

    @property
    def ratio(self) -> float:
        """The deviation in units of its tolerance; inf for a deviation that is not finite."""
        return float(_ratios(np.asarray(self.deviation), np.asarray(self.tolerance)))

    @property
    def message(self) -> str:
        """A clause for people."""
        subject = {
            "loss": "the loss",
            "gradient": f"the gradient of {self.coordinate}",
            "update": f"the update of {self.coordinate}, for the gradient that was reported,",
            "step": f"one step of {self.coordinate}",
        }.get(self.test, self.test)
        if not np.isfinite(self.observed):
            return f"{subject} is {self.observed} at {self.where}"
        if not self.tolerance:
            return f"{subject} is off by {self.deviation:.2g} at {self.where}, where none is allowed"
        times = f"{self.ratio:.2g} times its tolerance {self.tolerance:.2g}"
        return f"{subject} is off by {self.deviation:.2g} at {self.where}, {times}"


@dataclass(frozen=True)
class TestResult:
    """The result of one test over all its samples; `records.TestRecord` holds its counts and some findings as text."""

    __test__ = False  # pytest must not collect this class

    test: Test
    judged: int
    """samples that could be decided"""
    undecided: int
    """samples whose tolerance is infinite"""
    ratio: float
    """largest observed / tolerance; above 1 is out of tolerance, inf is not finite"""
    findings: tuple[Finding, ...] = ()
    """the worst number of each sample that is out of tolerance, in the samples' order"""
    examples: int = 0
    """examples of the samples that could be decided, over all samples"""
    undecided_examples: int = 0

    @property
    def passed(self) -> bool:
        """Whether every sample is within its tolerance, or undecided."""
        return not self.findings


_Key: TypeAlias = tuple[bytes | None, ...]
"""the bits of an answer, of its point and of its batch"""


@dataclass
class _Tally:
    """The counts and findings of a test while its samples are judged."""

    test: Test
    layout: Layout
    judged: int = 0
    undecided: int = 0
    ratio: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    examples: int = 0
    undecided_examples: int = 0
    outcomes: dict[_Key, bool] = field(default_factory=dict)
    """whether each answer without a finding was decided"""

    def count(self, examples: int, *, decided: bool) -> None:
        """Count a sample of so many examples."""
        self.judged += decided
        self.undecided += not decided
        self.examples += examples * decided
        self.undecided_examples += examples * (not decided)

    def add(
        self, key: _Key, sample: Sample, examples: int, observed: Array, exact: Exact, tolerance: Array,
        reading: Array | None,
    ) -> None:  # fmt: skip  # one row of arguments
        """Judge one sample, (m,) or (). reading: u|θ| where the weights may have been rounded when they were read."""
        decidable = exact.decides(tolerance)
        decided = bool(decidable.any())
        self.count(examples, decided=decided)
        if not decided:
            self.outcomes[key] = False
            return
        values = np.asarray(observed, dtype=np.float64)
        with np.errstate(all="ignore"):
            deviation = np.where(np.isfinite(values), exact.deviation(values), np.inf)

        def ratios_within(allowed: Array) -> Array:
            return np.where(decidable, _ratios(deviation, allowed), 0.0).ravel()

        ratios = ratios_within(tolerance)
        worst = int(np.argmax(ratios))
        self.ratio = max(self.ratio, float(ratios[worst]))
        if ratios[worst] <= 1.0:
            self.outcomes[key] = True
        else:
            self.findings.append(
                Finding(
                    self.test,
                    PHASE[self.test],
                    sample.where,
                    sample.step,
                    self.layout.coordinate(worst) if values.ndim else None,
                    float(values.flat[worst]),
                    float(exact.high.flat[worst]),
                    float(deviation.flat[worst]),
                    float(tolerance.flat[worst]),
                    None if reading is None else float(ratios_within(tolerance + reading).max()),
                )
            )

    def result(self) -> TestResult:
        findings = tuple(self.findings)
        return TestResult(
            self.test, self.judged, self.undecided, self.ratio, findings, self.examples, self.undecided_examples
        )


def judge_samples(problem: Problem, oracle: Oracle, samples: Sequence[Sample]) -> dict[Test, TestResult]:
    """Judge every sample by each test it has numbers for; as many as `BUDGET_SECONDS` allow, spread evenly."""
    tallies: dict[Test, _Tally] = {}

    def tally(
        test: Test, sample: Sample, observed: Array, basis: tuple[Exact, Array] | None, reading: Array | None = None
    ) -> None:
        """Judge an answer by the exact answer and its tolerance, or count it like an equal answer at the same point.

        basis: the two; None for an update, for which they follow from the reported gradient.
        """
        entry, examples = tallies.setdefault(test, _Tally(test, problem.layout)), _examples(problem, sample)
        given = sample.gradient if basis is None else None
        key = (batch_key(sample.rows), *map(_bits, (sample.weights, observed, given)))
        if key in entry.outcomes:
            entry.count(examples, decided=entry.outcomes[key])
            return
        exact, tolerance = _update_basis(problem, oracle, sample) if basis is None else basis
        entry.add(key, sample, examples, observed, exact, tolerance, reading)

    for sample, (allowed, exact) in _evaluate(problem, oracle, samples):
        weights = np.asarray(sample.weights)
        if sample.loss is not None:
            tally("loss", sample, sample.loss, (exact.loss, np.asarray(allowed.loss)))
        if sample.gradient is not None:
            tally("gradient", sample, sample.gradient, (exact.gradient, allowed.gradient))
        if sample.following is not None:
            reading = reading_error(problem, weights) if sample.step else None
            tally("step", sample, sample.following, (exact.following, allowed.following), reading)
            if sample.gradient is not None and np.isfinite(sample.gradient).all():
                tally("update", sample, sample.following, None, reading)
    for entry in tallies.values():
        entry.findings.sort(key=lambda finding: -1 if finding.step is None else finding.step)
    return {test: entry.result() for test, entry in tallies.items()}


def _update_basis(problem: Problem, oracle: Oracle, sample: Sample) -> tuple[Exact, Array]:
    """The exact update by the gradient that the sample reports, and its tolerance."""
    assert sample.gradient is not None
    weights = np.asarray(sample.weights)
    return oracle.update(weights, sample.gradient), update_tolerance(problem, weights, sample.gradient)


def _bits(array: Array | None) -> bytes | None:
    return None if array is None else np.asarray(array).tobytes()


def is_explained_by_reading(results: Iterable[TestResult]) -> bool:
    """Whether there are findings, and the reading of wider weights explains them all."""
    findings = [finding for result in results for finding in result.findings]
    return bool(findings) and all(f.ratio_as_read is not None and f.ratio_as_read <= 1.0 for f in findings)


def _evaluate(
    problem: Problem, oracle: Oracle, samples: Sequence[Sample]
) -> Iterable[tuple[Sample, tuple[PointTolerance, ExactEvaluation]]]:
    """The samples at finite weights, with tolerance and exact answers: of as many points as are affordable.

    Infinite weights are findings of an earlier step.
    """
    finite = [sample for sample in samples if np.isfinite(sample.weights).all()]
    chosen = affordable(problem, finite)
    by_batch: dict[bytes | None, list[int]] = {}
    for i, sample in enumerate(chosen):
        by_batch.setdefault(batch_key(sample.rows), []).append(i)
    until = time.thread_time() + BALL_SECONDS
    answers: dict[int, tuple[PointTolerance, ExactEvaluation]] = {}
    for indices in sorted(by_batch.values(), key=lambda group: _cells(problem, chosen[group[0]])):
        weights = np.stack([np.asarray(chosen[i].weights) for i in indices])
        cheap = _cells(problem, chosen[indices[0]]) <= CHEAP_CELLS
        evaluations = oracle.judge_all(weights, chosen[indices[0]].rows, len(samples), math.inf if cheap else until)
        answers |= {i: evaluation for i, evaluation in zip(indices, evaluations, strict=True) if evaluation is not None}
    yield from ((chosen[i], answers[i]) for i in sorted(answers))


def affordable(problem: Problem, samples: Sequence[Sample]) -> list[Sample]:
    """The samples at as many distinct points as `BUDGET_SECONDS` allow, in an order whose beginnings are spread evenly.

    Cheap samples are always among them, as the ladders on few examples of large data. Of the expensive samples there
    are at least `FEWEST_POINTS`, the host's points, each of another kind, before those of the training.
    """
    order = [samples[index] for index in _spread(len(samples))]
    cheap = [sample for sample in order if _cells(problem, sample) <= CHEAP_CELLS]
    dear = [sample for sample in order if _cells(problem, sample) > CHEAP_CELLS]

    def point(sample: Sample) -> tuple[bytes, bytes | None]:
        return np.asarray(sample.weights).tobytes(), batch_key(sample.rows)

    points: set[tuple[bytes, bytes | None]] = set()
    spent = 0.0
    for sample in sorted(dear, key=lambda sample: sample.step is not None):
        spent += 0.0 if point(sample) in points else _cells(problem, sample) * CELL_SECONDS
        if spent <= BUDGET_SECONDS or len(points) < FEWEST_POINTS:
            points.add(point(sample))
    return [*cheap, *(sample for sample in dear if point(sample) in points)]


def _examples(problem: Problem, sample: Sample) -> int:
    """n of the sample's batch."""
    return problem.examples if sample.rows is None else len(sample.rows)


def _cells(problem: Problem, sample: Sample) -> int:
    """Examples x weights of the sample's batch."""
    return _examples(problem, sample) * len(sample.weights)


def _spread(count: int) -> list[int]:
    """0…count-1 with the ends first, then the middles of the gaps: bit-reversed order."""
    order = sorted(range(count), key=lambda i: int(f"{i:032b}"[::-1], 2))
    return [count - 1, *(i for i in order if i != count - 1)] if count else []


def _ratios(deviation: Array, tolerance: Array) -> Array:
    """The deviation in units of its tolerance: 0 for a deviation of 0, else inf for a tolerance of 0 and for NaN."""
    with np.errstate(all="ignore"):
        ratios = np.where(deviation == 0.0, 0.0, deviation / tolerance)
    return np.where(np.isnan(ratios), np.inf, ratios)
