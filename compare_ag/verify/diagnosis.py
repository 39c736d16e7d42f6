"""Which known mistakes explain the numbers that are out of tolerance?

A diagnosis helps people to find their mistake; no verdict rests on it. Each mistake predicts what a backend that makes
it would have reported, and is named only if it explains *all* the answers of one kind that are wrong (`faults` has the
rule), at most three in all, and of mistakes that explain the same numbers those with the fewest unknowns (`mistakes`).
A sentence "consistent with …" comes last: it explains little, for every error of the right size meets it.

Pure: samples in, sentences out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify import formats
from compare_ag.verify.course import course
from compare_ag.verify.faults import Data, Fault, Kind, Point
from compare_ag.verify.mistakes import GRADIENT, LOSS, UPDATE, Tiers
from compare_ag.verify.oracle import Evaluation, Exact, Oracle
from compare_ag.verify.points import point_tolerance, update_tolerance
from compare_ag.verify.reference import Reference
from compare_ag.verify.samples import Sample, Test, TestResult
from compare_ag.verify.tolerance import Tolerance
from compare_ag.verify.trajectory import Trajectory

MOST_SENTENCES = 3
MOST_FAULTS = 24
"""of one kind"""
FEWEST_FAULTS = 4
AFFORDABLE_CELLS = 200_000
"""examples x weights that are evaluated exactly for one kind, some 0.1 s, unless that is fewer than `FEWEST_FAULTS`"""

AGAIN = "evaluated again"
"""how `probes` calls the second of two answers for the same tensors"""

COARSE: Tiers = ((formats.exponential,), (formats.consistent,))
"""any error of the right size meets the last of these: they are asked where nothing else explains anything"""
# A step without a reported gradient may be wrong in either way: tier by tier, what gradients and updates suffer from.
STEP: Tiers = [(*update, *gradient) for update, gradient in zip(UPDATE, GRADIENT, strict=True)]
TIERS: dict[Kind, Tiers] = {"gradient": GRADIENT, "update": UPDATE, "step": STEP, "loss": LOSS}


def diagnose(
    problem: Problem,
    oracle: Oracle,
    samples: Sequence[Sample],
    found: Mapping[Test, TestResult],
    trajectory: Trajectory | None = None,
    reference: Reference | None = None,
    tolerance: Tolerance | None = None,
) -> tuple[str, ...]:
    """Short sentences without a full stop, the most specific first; empty where nothing is wrong or nothing explains.

    samples: all that was judged, in the order in which they were answered. found: what each test found in them.
    trajectory, with reference and tolerance: whether it starts right, and whether it is one step early or late.
    """
    case = _Case(oracle, samples, found)
    faults = {kind: case.faults(kind) for kind in TIERS}
    families = [_not_finite(wrong) + _explanations(wrong, TIERS[kind]) for kind, wrong in faults.items()]
    if trajectory is not None:
        families.insert(0, course(problem, trajectory, found, reference, tolerance))
    if not any(families):
        families = [_explanations(wrong, COARSE) for wrong in faults.values()]
    in_turns = itertools.chain.from_iterable(itertools.zip_longest(*families))
    return tuple(dict.fromkeys(sentence for sentence in in_turns if sentence is not None))[:MOST_SENTENCES]


def _explanations(faults: Sequence[Fault], tiers: Tiers) -> list[str]:
    """What explains the faults of one kind: all of the first tier that has something to say."""
    finite = [fault for fault in faults if np.isfinite(fault.excess).all()]
    if not finite:
        return []
    # an update is only made after the second answer
    repeated = len(finite) > 1 and all(f.kind != "update" and f.sample.where.endswith(AGAIN) for f in finite)
    with np.errstate(all="ignore"):
        for tier in tiers:
            found = [sentence for explain in tier if (sentence := explain(finite)) is not None]
            if found:
                return [
                    f"{sentence}, but only in the second of two answers" if repeated else sentence for sentence in found
                ]
    return []


def _not_finite(faults: Sequence[Fault]) -> list[str]:
    """NaN or inf: whether it appears beyond some logit, where an exponential overflows or a logarithm meets 0."""

    def reach(fault: Fault) -> float:
        return float(np.abs(fault.point.logits).max())

    bad = [fault for fault in faults if not np.isfinite(fault.excess).all()]
    if not bad:
        return []
    nan = any(np.isnan(fault.excess).any() for fault in bad)
    what = f"{bad[0].subject} is {'NaN' if nan else 'infinite'} though weights and data are finite"
    least = min(reach(fault) for fault in bad)
    if least > 16.0:
        what += f", at logits of {least:.3g} and more: an exponential overflows, or a logarithm meets 0"
    return [what]


# --- which answers are wrong, and what came before them


@dataclass(frozen=True)
class _Case:
    """All that was judged, in the order in which it was answered."""

    oracle: Oracle
    samples: Sequence[Sample]
    found: Mapping[Test, TestResult]
    evaluations: dict[int, Evaluation] = field(default_factory=dict)

    @cached_property
    def data(self) -> Data:
        return Data(self.oracle.problem)

    def exact(self, i: int) -> Evaluation:
        """Everything exact about sample ``i``, evaluated once."""
        if i not in self.evaluations:
            weights = np.asarray(self.samples[i].weights)
            self.evaluations[i] = self.oracle.at(weights[:-1], weights[-1], self.samples[i].rows)
        return self.evaluations[i]

    def faults(self, kind: Kind) -> list[Fault]:
        """The samples that are out of tolerance in one kind of answer, or as many as are affordable, spread evenly."""
        result, problem = self.found.get(kind), self.oracle.problem
        if result is None or result.passed or (kind != "loss" and not problem.learning_rate):
            return []
        places = {(finding.where, finding.step) for finding in result.findings}
        suspects = [i for i, s in enumerate(self.samples) if (s.where, s.step) in places and _asked(s, kind)]
        cells = problem.examples * (problem.features + 1)
        most = min(len(suspects), MOST_FAULTS, max(FEWEST_FAULTS, AFFORDABLE_CELLS // cells))
        chosen = sorted({suspects[i * (len(suspects) - 1) // max(1, most - 1)] for i in range(most)})
        return [fault for i in chosen if (fault := self._fault(i, kind)) is not None]

    def _fault(self, i: int, kind: Kind) -> Fault | None:
        """One sample against its tolerance; None where it is met or nothing can be decided."""
        sample, problem = self.samples[i], self.oracle.problem
        with np.errstate(all="ignore"):
            answer = _judged(problem, self.oracle, sample, self.exact(i), kind, len(self.samples))
            if answer is None:
                return None
            observed, right, excess, tolerance = answer
            if np.where(np.isfinite(tolerance), np.abs(excess) <= tolerance, True).all():
                return None
            point = Point(self.data, sample.weights, sample.rows)
        before, last_update = _before(self.samples, i)
        twin = _twin(self.samples, i, kind)
        return Fault(kind, point, sample, before, last_update, observed, right, excess, tolerance, twin)


def _asked(sample: Sample, kind: Kind) -> bool:
    """Whether the sample has an answer of this kind at weights that can be judged."""
    has = {
        "loss": sample.loss is not None,
        "gradient": sample.gradient is not None,
        "update": sample.following is not None and sample.gradient is not None,
        "step": sample.following is not None and sample.gradient is None,
    }
    return has[kind] and bool(np.isfinite(sample.weights).all())


def _judged(
    problem: Problem, oracle: Oracle, sample: Sample, exact: Evaluation, kind: Kind, judged: int
) -> tuple[Array, Array, Array, Array] | None:
    """What was observed, what is right, the excess and its tolerance, (q,) each, as `Fault` has them."""
    weights, eta = np.asarray(sample.weights), float(problem.learning_rate)
    right = exact.loss.high if kind == "loss" else exact.gradient.high
    unit = -eta if kind in ("update", "step") else 1.0
    expected: Exact
    if kind == "update":
        if sample.gradient is None or not np.isfinite(sample.gradient).all():
            return None
        right, expected = sample.gradient.astype(np.float64), oracle.update(weights, sample.gradient)
        tolerance, observed = update_tolerance(problem, weights, sample.gradient), sample.following
    else:
        allowed = point_tolerance(problem, weights, sample.rows, judged=judged)
        observed, expected, tolerance = {
            "loss": (sample.loss, exact.loss, np.array([allowed.loss])),
            "gradient": (sample.gradient, exact.gradient, allowed.gradient),
            "step": (sample.following, exact.following, allowed.following),
        }[kind]
    values = np.asarray(observed, dtype=np.float64)
    excess = np.atleast_1d((values - expected.high) - expected.low) / unit
    return np.atleast_1d(np.asarray(observed)), np.atleast_1d(right), excess, tolerance / abs(unit)


def _before(samples: Sequence[Sample], i: int) -> tuple[Sample | None, Sample | None]:
    """The answer just before, and the update just before: at points the sample before, in training one step before."""
    sample = samples[i]
    if sample.step is None:
        earlier = [other for other in samples[max(0, i - 2) : i] if other.step is None]
        updated = [other for other in earlier if other.following is not None]
        return (earlier[-1] if earlier else None), (updated[-1] if updated else None)
    step = sample.step - 1
    known = next((other for other in samples if other.step == step and other.following is not None), None)
    return known, known


def _twin(samples: Sequence[Sample], i: int, kind: Kind) -> str | None:
    """Where the same bits were reported for other weights."""
    if kind not in ("loss", "gradient"):
        return None
    sample, answer = samples[i], getattr(samples[i], kind)
    for other in samples:
        given = getattr(other, kind)
        if given is not None and np.array_equal(given, answer) and not np.array_equal(other.weights, sample.weights):
            return other.where
    return None
