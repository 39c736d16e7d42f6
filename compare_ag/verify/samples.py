"""Tests of single steps: loss, gradient, update and the whole step, each against the exact one from the same weights.

A sample is what a backend said at weights that are known bit for bit: at a recorded step of its own training, or at a
point that the host chose. Errors of earlier steps play no part, so a bug shows with its full size wherever it acts, and
the first sample out of tolerance names step, phase and coordinate:

    loss      |reported loss - f(θ)|                     forward
    gradient  |reported gradient - ∇f(θ)|                backward
    update    |reported θ' - (θ - η reported gradient)|  update
    step      |reported θ' - Φ(θ)|                       forward, backward and update together

Knows arrays alone. Finiteness comes first: a NaN deviates by infinitely much, and two of them never agree. A number is
decided where its tolerance is finite and the exact one is known far better than that (`Exact.decides`).

**Weights kept in a wider format** Θ are read as θ = Θ(1 + ε), |ε| ≤ u, when a training records them; its next step
starts from Θ. From θ it seems off by u|θ| more, in update and step alone. That is no fault, and explains no other: at
step 0 and at the host's points Θ = θ. `judge_samples` marks what the reading explains; `certificate` decides.
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
"""what float64 readings of large data may cost for one verdict, by `CELL_SECONDS`"""
BALL_SECONDS = 2.0
"""Balls of large data stop being begun after so much time of the CPU, whatever else it does: they are for points that
float64 does not know well enough."""
CELL_SECONDS = 1e-8
"""what one point costs for each number of the data, roughly"""
FEWEST_POINTS = 24
"""of large data, whatever they cost"""


@dataclass(frozen=True)
class Sample:
    """What a backend reported at known weights, in its dtype; None where it was not asked for."""

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
        """The deviation in units of its tolerance; inf for what is not finite."""
        return float(_ratios(np.asarray(self.deviation), np.asarray(self.tolerance)))

    @property
    def message(self) -> str:
        """A clause for people."""
        what = {
            "loss": "the loss",
            "gradient": f"the gradient of {self.coordinate}",
            "update": f"the update of {self.coordinate}, for the gradient that was reported,",
            "step": f"one step of {self.coordinate}",
        }.get(self.test, self.test)
        if not np.isfinite(self.observed):
            return f"{what} is {self.observed} at {self.where}"
        if not self.tolerance:
            return f"{what} is off by {self.deviation:.2g} at {self.where}, where none is allowed"
        times = f"{self.ratio:.2g} times its tolerance {self.tolerance:.2g}"
        return f"{what} is off by {self.deviation:.2g} at {self.where}, {times}"


@dataclass(frozen=True)
class TestResult:
    """What one test found over all its samples."""

    __test__ = False  # not one of pytest's

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
        """Nothing is out of tolerance."""
        return not self.findings


_Key: TypeAlias = tuple[bytes | None, ...]
"""the bits of an answer, of its point and of its batch"""


@dataclass
class _Tally:
    """A test under way."""

    test: Test
    layout: Layout
    judged: int = 0
    undecided: int = 0
    ratio: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    examples: int = 0
    undecided_examples: int = 0
    outcomes: dict[_Key, bool] = field(default_factory=dict)
    """answers without a finding: were they decided?"""

    def count(self, examples: int, *, decided: bool) -> None:
        """One more sample of so many examples."""
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
        seen = np.asarray(observed, dtype=np.float64)
        with np.errstate(all="ignore"):
            deviation = np.where(np.isfinite(seen), exact.deviation(seen), np.inf)

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
                    self.layout.coordinate(worst) if seen.ndim else None,
                    float(seen.flat[worst]),
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
        """Judge an answer by an exact one and its tolerance; an equal answer at the same point was judged before.

        basis: None for an update, whose exact one follows from the reported gradient.
        """
        entry, examples = tallies.setdefault(test, _Tally(test, problem.layout)), _examples(problem, sample)
        given = sample.gradient if basis is None else None
        key = (batch_key(sample.rows), *map(_bits, (sample.weights, observed, given)))
        if key in entry.outcomes:
            entry.count(examples, decided=entry.outcomes[key])
            return
        exact, tolerance = _update_basis(problem, oracle, sample) if basis is None else basis
        entry.add(key, sample, examples, observed, exact, tolerance, reading)

    for sample, (allowed, exact) in _evaluated(problem, oracle, samples):
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


def explained_by_reading(results: Iterable[TestResult]) -> bool:
    """Whether something is out of tolerance, and all of it by no more than the reading of wider weights explains."""
    findings = [finding for result in results for finding in result.findings]
    return bool(findings) and all(f.ratio_as_read is not None and f.ratio_as_read <= 1.0 for f in findings)


def _evaluated(
    problem: Problem, oracle: Oracle, samples: Sequence[Sample]
) -> Iterable[tuple[Sample, tuple[PointTolerance, ExactEvaluation]]]:
    """The samples at finite weights, with tolerance and exact answers: of as many points as are affordable.

    What made weights infinite is the finding.
    """
    finite = [sample for sample in samples if np.isfinite(sample.weights).all()]
    chosen = affordable(problem, finite)
    by_batch: dict[bytes | None, list[int]] = {}
    for i, sample in enumerate(chosen):
        by_batch.setdefault(batch_key(sample.rows), []).append(i)
    until = time.thread_time() + BALL_SECONDS
    answers: dict[int, tuple[PointTolerance, ExactEvaluation]] = {}
    for here in sorted(by_batch.values(), key=lambda group: _cells(problem, chosen[group[0]])):
        weights = np.stack([np.asarray(chosen[i].weights) for i in here])
        cheap = _cells(problem, chosen[here[0]]) <= CHEAP_CELLS
        found = oracle.judge_all(weights, chosen[here[0]].rows, len(samples), math.inf if cheap else until)
        answers |= {i: one for i, one in zip(here, found, strict=True) if one is not None}
    yield from ((chosen[i], answers[i]) for i in sorted(answers))


def affordable(problem: Problem, samples: Sequence[Sample]) -> list[Sample]:
    """The samples at as many distinct points as `BUDGET_SECONDS` allow, in an order whose beginnings are spread evenly.

    What costs little is always among them, as the ladders on few examples of large data; of the others at least
    `FEWEST_POINTS`, the host's points before those of the training: each kind is there once.
    """
    order = [samples[index] for index in _spread(len(samples))]
    cheap = [one for one in order if _cells(problem, one) <= CHEAP_CELLS]
    dear = [one for one in order if _cells(problem, one) > CHEAP_CELLS]

    def point(sample: Sample) -> tuple[bytes, bytes | None]:
        return np.asarray(sample.weights).tobytes(), batch_key(sample.rows)

    points: set[tuple[bytes, bytes | None]] = set()
    spent = 0.0
    for sample in sorted(dear, key=lambda one: one.step is not None):
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
    """0…count-1 with the ends first, then middles of the gaps: bit-reversed order."""
    order = sorted(range(count), key=lambda i: int(f"{i:032b}"[::-1], 2))
    return [count - 1, *(i for i in order if i != count - 1)] if count else []


def _ratios(deviation: Array, tolerance: Array) -> Array:
    """Deviation in units of its tolerance: 0 for none, inf for any where none is allowed and for NaN."""
    with np.errstate(all="ignore"):
        ratios = np.where(deviation == 0.0, 0.0, deviation / tolerance)
    return np.where(np.isnan(ratios), np.inf, ratios)
