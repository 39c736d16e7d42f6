"""Which known mistakes explain the numbers that are out of tolerance?

A diagnosis helps people to find their mistake; no verdict rests on it. Each mistake predicts the report of a backend
that makes it. A mistake is named only if it explains *all* wrong answers of one kind (`faults` has the rule) and leaves
the right answers right. Of mistakes that explain the same numbers, those with the fewest unknowns are named
(`mistakes`), at most three in all. Sentences on the size of errors come last (`formats`), because any error of the
right size meets them, and only where the errors have no pattern, as rounding errors have none.

Pure: samples in, sentences out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify import formats
from compare_ag.verify.course import course
from compare_ag.verify.faults import FITTED, AnsweredPoint, Examples, Kind, WrongAnswer
from compare_ag.verify.mistakes import GRADIENT, LOSS, UPDATE, Tiers
from compare_ag.verify.oracle import Exact, ExactEvaluation, Oracle
from compare_ag.verify.points import point_tolerance, update_tolerance
from compare_ag.verify.reference import Reference
from compare_ag.verify.samples import Sample, Test, TestResult
from compare_ag.verify.tolerance import Tolerance
from compare_ag.verify.trajectory import Trajectory

MOST_SENTENCES = 3
MOST_FAULTS = 24
"""of one kind"""
MOST_PAIRS = 2
"""of faults close to each other that are added: rounding errors change between them, those of a formula do not"""
MOST_COMPARED = 200
"""faults among which such pairs are looked for"""
FEWEST_FAULTS = 4
AFFORDABLE_CELLS = 200_000
"""examples x weights that are evaluated exactly for one kind, some 0.1 s, unless that is fewer than `FEWEST_FAULTS`"""

LARGE = 16.0
"""a logit from which on float32's 1 - p is 0: NaN or inf at smaller logits has another cause"""
MOST_FINITE = 200
"""finite answers that bound the logit from which on answers are not finite"""

AGAIN = "evaluated again"
"""how `probes` calls the second of two answers for the same tensors"""

COARSE: Tiers = ((formats.inaccurate_function,), (formats.consistent,))
"""any error of the right size meets these: they are tried where no other mistake explains a fault"""
# A step without a reported gradient may have a wrong gradient or a wrong update: tier by tier, both kinds of mistakes.
STEP: Tiers = [(*update, *gradient) for update, gradient in itertools.zip_longest(UPDATE, GRADIENT, fillvalue=())]
TIERS: dict[Kind, Tiers] = {"gradient": GRADIENT, "update": UPDATE, "step": STEP, "loss": LOSS}


def diagnose(
    problem: Problem,
    oracle: Oracle,
    samples: Sequence[Sample],
    results: Mapping[Test, TestResult],
    trajectory: Trajectory | None = None,
    reference: Reference | None = None,
    tolerance: Tolerance | None = None,
) -> tuple[str, ...]:
    """Short sentences without a full stop, the most specific first; empty where no known mistake explains a fault.

    samples: all judged samples, in the order in which they were answered. results: those of each test on them.
    trajectory, reference, tolerance: to judge the start, and whether the training is one step early or late.
    """
    case = _Case(oracle, samples, results)
    faults = {kind: case.faults(kind) for kind in TIERS}
    right = {kind: case.right(kind) if faults[kind] else [] for kind in TIERS}
    families = [_explanations(wrong, right[kind], TIERS[kind]) for kind, wrong in faults.items()]
    if trajectory is not None:
        families.insert(0, course(problem, trajectory, results, reference, tolerance))
    if not any(families):
        families = [_explanations(wrong, right[kind], COARSE) for kind, wrong in faults.items()]
    families += [_not_finite(samples, kind, wrong) for kind, wrong in faults.items()]
    in_turns = itertools.chain.from_iterable(itertools.zip_longest(*families))
    return tuple(dict.fromkeys(sentence for sentence in in_turns if sentence is not None))[:MOST_SENTENCES]


def _explanations(faults: Sequence[WrongAnswer], right: Sequence[WrongAnswer], tiers: Tiers) -> list[str]:
    """The sentences of the first tier with a mistake that explains the faults of one kind and the right answers.

    A mistake that contradicts a right answer is not named, unless it is made in second answers only.
    """
    finite = [fault for fault in faults if np.isfinite(fault.excess).all()]
    if not finite:
        return []
    second = all(fault.kind != "update" and fault.sample.where.endswith(AGAIN) for fault in finite)
    same = [fault for fault in right if fault.sample.where.endswith(AGAIN) or not second]
    # an update follows only the second answer, and a check may ask for second answers alone
    repeated = second and len(finite) > 1 and len(same) < len(right)
    with np.errstate(all="ignore"):
        for tier in tiers:
            sentences = [sentence for explain in tier if (sentence := explain([*finite, *same])) is not None]
            if sentences:
                return [
                    f"{sentence}, but only in the second of two answers" if repeated else sentence
                    for sentence in sentences
                ]
    return []


def _not_finite(samples: Sequence[Sample], kind: Kind, faults: Sequence[WrongAnswer]) -> list[str]:
    """A sentence on NaN or inf: beyond which logit it appears, of which sign, and whether in the gradient alone."""
    bad = [fault for fault in faults if not np.isfinite(fault.excess).all()]
    if not bad:
        return []
    nan = any(np.isnan(fault.excess).any() for fault in bad)
    fact = f"{bad[0].subject} is {'NaN' if nan else 'infinite'} though weights and data are finite"
    finite = [fault.point for fault in faults if np.isfinite(fault.excess).all()]
    finite += [
        AnsweredPoint(bad[0].point.data, s.weights, s.rows) for s in _finite_answers(samples, kind)[:MOST_FINITE]
    ]
    measures: tuple[tuple[str, Callable[[AnsweredPoint], Array]], ...] = (
        ("logits of {:.3g} and more in size", lambda point: np.abs(point.logits)),
        ("logits (1 - 2y) z of {:.3g} and more", lambda point: point.wrongness),
        ("logits of {:.3g} and more", lambda point: point.logits),
        ("logits of -{:.3g} and less", lambda point: -point.logits),
    )
    for words, measure in measures:
        least = min(float(measure(fault.point).max()) for fault in bad)
        if least > LARGE and all(float(measure(point).max()) < least for point in finite):
            why = ": an exponential overflows, or a logarithm meets 0"
            if kind == "gradient" and all(f.sample.loss is not None and np.isfinite(f.sample.loss) for f in bad):
                why = ", where the loss is finite: the branch that `where` does not take may overflow"
            return [f"{fact}, at {words.format(least)}{why}"]
    return [fact]


def _finite_answers(samples: Sequence[Sample], kind: Kind) -> list[Sample]:
    """The samples with a finite answer of this kind."""
    answers = {"loss": "loss", "gradient": "gradient", "update": "following", "step": "following"}
    given = [(sample, getattr(sample, answers[kind])) for sample in samples if _has_answer(sample, kind)]
    return [sample for sample, answer in given if np.isfinite(answer).all()]


# --- which answers are wrong, and the answers before them


@dataclass(frozen=True)
class _Case:
    """All judged samples, in the order in which they were answered."""

    oracle: Oracle
    samples: Sequence[Sample]
    results: Mapping[Test, TestResult]
    evaluations: dict[int, ExactEvaluation] = field(default_factory=dict)

    @cached_property
    def data(self) -> Examples:
        return Examples(self.oracle.problem)

    def exact(self, i: int) -> ExactEvaluation:
        """Everything exact about sample ``i``, evaluated once."""
        if i not in self.evaluations:
            weights = np.asarray(self.samples[i].weights)
            self.evaluations[i] = self.oracle.at(weights, self.samples[i].rows)
        return self.evaluations[i]

    def faults(self, kind: Kind) -> list[WrongAnswer]:
        """The samples that are out of tolerance in one kind of answer, or as many as are affordable, spread evenly."""
        result, problem = self.results.get(kind), self.oracle.problem
        if result is None or result.passed or (kind != "loss" and not problem.learning_rate):
            return []
        places = {(finding.where, finding.step) for finding in result.findings}
        suspects = [i for i, s in enumerate(self.samples) if (s.where, s.step) in places and _has_answer(s, kind)]
        chosen = self._choose_affordable(suspects)
        return [fault for i in self._with_neighbours(chosen, suspects) if (fault := self._fault(i, kind)) is not None]

    def right(self, kind: Kind) -> list[WrongAnswer]:
        """Right answers of one kind, as many as are affordable: a mistake must leave them right."""
        result = self.results.get(kind)
        if result is None or kind not in ("loss", "gradient"):
            return []
        places = {(finding.where, finding.step) for finding in result.findings}
        within_tolerance = [
            i for i, s in enumerate(self.samples) if (s.where, s.step) not in places and _has_answer(s, kind)
        ]
        answers = [self._fault(i, kind, wrong=False) for i in self._choose_affordable(within_tolerance)]
        return [answer for answer in answers if answer is not None]

    def _choose_affordable(self, indices: Sequence[int]) -> list[int]:
        """As many as are affordable, spread evenly."""
        cells = self.oracle.problem.examples * self.oracle.problem.layout.size
        most = min(len(indices), MOST_FAULTS, max(FEWEST_FAULTS, AFFORDABLE_CELLS // cells))
        return sorted({indices[i * (len(indices) - 1) // max(1, most - 1)] for i in range(most)})

    def _with_neighbours(self, chosen: Sequence[int], suspects: Sequence[int]) -> list[int]:
        """``chosen``, and pairs of suspects with close weights, the most distant pairs within `formats.CLOSE` first."""
        candidates = sorted({*chosen, *suspects[:MOST_COMPARED]})
        if not candidates:
            return []
        weights = np.array([self.samples[i].weights for i in candidates], dtype=np.float64)
        lengths = np.linalg.norm(weights, axis=1)
        pairs = []
        for k in range(len(candidates)):
            distances = np.linalg.norm(weights[k + 1 :] - weights[k], axis=1)
            near = np.flatnonzero((distances > 0.0) & (distances < formats.CLOSE * lengths[k]))
            pairs += [(-float(distances[j] / lengths[k]), candidates[k], candidates[k + 1 + int(j)]) for j in near]
        return sorted({*chosen, *(i for _, *pair in sorted(pairs)[:MOST_PAIRS] for i in pair)})

    def _fault(self, i: int, kind: Kind, *, wrong: bool = True) -> WrongAnswer | None:
        """A sample against its tolerance; None where nothing can be decided, or where it is not as ``wrong`` asks."""
        sample, problem = self.samples[i], self.oracle.problem
        with np.errstate(all="ignore"):
            answer = _judge_answer(problem, self.oracle, sample, self.exact(i), kind, len(self.samples))
            if answer is None:
                return None
            observed, right, excess, tolerance = answer
            met = bool(np.where(np.isfinite(tolerance), np.abs(excess) <= tolerance, True).all())
            if met if wrong else not (met and np.isfinite(tolerance).all()):
                return None
            point = AnsweredPoint(self.data, sample.weights, sample.rows)
        before, last_update = _before(self.samples, i)
        fault = WrongAnswer(kind, point, sample, before, last_update, observed, right, excess, tolerance)
        if not wrong:
            return fault
        return replace(fault, twin=_twin(self.samples, fault), reported=_collect_reported(self.samples, sample, kind))


def _has_answer(sample: Sample, kind: Kind) -> bool:
    """Whether the sample has an answer of this kind at weights that can be judged."""
    has = {
        "loss": sample.loss is not None,
        "gradient": sample.gradient is not None,
        "update": sample.following is not None and sample.gradient is not None,
        "step": sample.following is not None and sample.gradient is None,
    }
    return has[kind] and bool(np.isfinite(sample.weights).all())


def _judge_answer(
    problem: Problem, oracle: Oracle, sample: Sample, exact: ExactEvaluation, kind: Kind, judged: int
) -> tuple[Array, Array, Array, Array] | None:
    """The observed and the right numbers, the excess and its tolerance, (q,) each, as `WrongAnswer` has them."""
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
    """The answer and the update just before sample ``i``: at points earlier samples, in training the step before."""
    sample = samples[i]
    if sample.step is None:
        earlier = [answer for answer in samples[max(0, i - 2) : i] if answer.step is None]
        updated = [answer for answer in earlier if answer.following is not None]
        return (earlier[-1] if earlier else None), (updated[-1] if updated else None)
    step = sample.step - 1
    known = next((answer for answer in samples if answer.step == step and answer.following is not None), None)
    return known, known


def _twin(samples: Sequence[Sample], fault: WrongAnswer) -> str | None:
    """A point with another right answer at which the same bits were reported; None: there is none."""
    if fault.kind not in ("loss", "gradient"):
        return None
    answer = getattr(fault.sample, fault.kind)
    for answered in samples:
        given = getattr(answered, fault.kind)
        if given is None or not np.array_equal(given, answer) or np.array_equal(answered.weights, fault.sample.weights):
            continue
        with np.errstate(all="ignore"):
            if fault.in_tolerances(fault.of(fault.at(answered)) - fault.right) > FITTED:
                return answered.where
    return None


def _collect_reported(samples: Sequence[Sample], sample: Sample, kind: Kind) -> Array | None:
    """All losses or gradients that were reported on the batch of ``sample``, (P, q)."""
    if kind not in ("loss", "gradient"):
        return None
    same = [s for s in samples if _has_answer(s, kind) and np.array_equal(_rows(s), _rows(sample))]
    return np.array([np.atleast_1d(getattr(s, kind)) for s in same])


def _rows(sample: Sample) -> Array:
    return np.array([-1]) if sample.rows is None else sample.rows
