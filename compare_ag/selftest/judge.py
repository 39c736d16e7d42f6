"""Run mutants as backends and count: which are caught, from which size on, and whether anything right is accused.

The claim that is checked is not "all are caught": an error of one hundredth of a tolerance is rounding to any observer.
It is that every mutant whose *effect* at a probed point is at least `EFFECT` tolerances is caught, where the effect is
the distance between the mutant's answer and the correct backend's at that point.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.process import HostFault
from compare_ag.problem import Problem, problem_by_name, recorded_steps
from compare_ag.selftest import peers
from compare_ag.selftest.population import Specimen
from compare_ag.suite.judging import Judge
from compare_ag.suite.observer import Observer
from compare_ag.suite.training import Conditions, Training, TrainingPass
from compare_ag.verify import Probes, Verdict
from compare_ag.verify.points import point_tolerance

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem.core import DType, LossForm
    from compare_ag.worker.protocol import Array

EFFECT = 10.0
"""tolerances that an error must amount to somewhere for the claim to cover it"""
PROBLEM = "synthetic:n=40,d=4"
STEPS = 400
LEARNING_RATE = 0.05
L2 = 0.05
TIMEOUT = 60.0
CORRECT = "the correct backend"


@dataclass(frozen=True)
class Subject:
    """A problem on which specimens are tried. Strongly convex: it passes from mid-training to the optimum."""

    dtype: DType
    loss: LossForm

    def problem(self) -> Problem:
        """Build it."""
        return problem_by_name(
            PROBLEM, dtype=self.dtype, loss=self.loss, l2=L2, steps=STEPS, learning_rate=LEARNING_RATE
        )


@dataclass(frozen=True)
class Outcome:
    """One specimen on one subject."""

    specimen: Specimen
    subject: Subject
    caught: bool
    by: tuple[str, ...]
    """the tests that caught it; or the status of a worker that failed"""
    message: str
    effect: float
    """its largest effect at a probed point, in tolerances; inf where it gave no numbers"""
    effect_middle: float
    """the same at the point near the middle of the training"""
    effect_end: float
    """the same near the optimum"""
    caught_middle: bool
    caught_end: bool
    allclose: bool
    """`numpy.allclose` at 1e-5 on the final weights would have caught it"""
    gradcheck: bool
    """the tolerances of torch's gradcheck would have caught it; float64 only"""


@dataclass
class SelftestResult:
    """All outcomes."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def mutants(self) -> list[Outcome]:
        """The wrong ones."""
        return [outcome for outcome in self.outcomes if not outcome.specimen.facts.legitimate]

    @property
    def legitimate(self) -> list[Outcome]:
        """The right ones."""
        return [outcome for outcome in self.outcomes if outcome.specimen.facts.legitimate]

    @property
    def missed(self) -> list[Outcome]:
        """Mutants that had to be caught and were not: large enough somewhere, or at the middle or the end."""
        return [
            outcome
            for outcome in self.mutants
            if (outcome.effect >= EFFECT and not outcome.caught)
            or (outcome.effect_middle >= EFFECT and not outcome.caught_middle)
            or (outcome.effect_end >= EFFECT and not outcome.caught_end)
        ]

    @property
    def survivors(self) -> list[str]:
        """Mutants that were caught in no size on no subject."""
        names = dict.fromkeys(outcome.specimen.facts.name for outcome in self.mutants)
        caught = {outcome.specimen.facts.name for outcome in self.mutants if outcome.caught}
        return [name for name in names if name not in caught]

    @property
    def false_alarms(self) -> list[Outcome]:
        """Legitimate variants that were accused."""
        return [outcome for outcome in self.legitimate if outcome.caught]

    @property
    def passed(self) -> bool:
        """Nothing missed, nothing accused, and there was something to catch."""
        return bool(self.mutants) and not (self.missed or self.survivors or self.false_alarms)


def selftest(
    offer: Offer,
    specimens: Sequence[Specimen],
    observe: Callable[[str, int, int], None] | None = None,
) -> SelftestResult:
    """Make every mistake to the backend of ``offer`` and judge what comes of it.

    In float64 every size is tried, in float32 the largest; legitimate variants in both, with both forms of the loss.
    ``observe`` hears (label, done, total).
    """
    subjects = (Subject("float64", "logits"), Subject("float32", "logits"), Subject("float64", "probability"))
    plan = [(subject, [specimen for specimen in specimens if _tried(specimen, subject)]) for subject in subjects]
    total, result = sum(len(chosen) for _, chosen in plan), SelftestResult()
    for subject, chosen in plan:
        if chosen:
            hear = _Progress(observe, len(result.outcomes), total)
            result.outcomes += _Bench(offer, subject, chosen).run(hear)
    return result


def _tried(specimen: Specimen, subject: Subject) -> bool:
    if specimen.facts.legitimate:
        return True
    if subject.loss == "probability":
        return False
    return subject.dtype == "float64" or specimen.size == specimen.facts.sizes[0]


class _Progress(Observer):
    """Hears the workers of one subject."""

    def __init__(self, observe: Callable[[str, int, int], None] | None, before: int, total: int) -> None:
        self._observe, self._before, self._total, self._done = observe, before, total, 0

    def progress(self, name: str, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - the observer's signature
        """Count the finished ones."""
        if stage == "trained" and self._observe is not None:
            self._done += 1
            self._observe(name, self._before + self._done, self._total)


class _Bench:
    """All specimens of one subject, beside the correct backend at the same points."""

    def __init__(self, offer: Offer, subject: Subject, specimens: list[Specimen]) -> None:
        self.offer, self.subject = offer, subject
        self.specimens = {f"{specimen.label}.{i}": specimen for i, specimen in enumerate(specimens)}
        self.problem = subject.problem()
        self.judge = Judge(self.problem, recorded_steps(self.problem.steps))
        self.judge.prepare()
        if self.judge.error is not None:
            raise self.judge.error

    def run(self, observer: Observer) -> list[Outcome]:
        problem = self.problem
        with tempfile.TemporaryDirectory(prefix="compare-ag-selftest-") as logs:
            conditions = Conditions(
                problem,
                recorded_steps(problem.steps),
                Path(logs),
                TIMEOUT,
                hash_seed=0,
                cancel=threading.Event(),
                probes=self._probes,
                mutations={name: specimen.mutation for name, specimen in self.specimens.items()},
            )
            offers = dict.fromkeys([CORRECT, *self.specimens], self.offer)
            training = TrainingPass(offers, conditions, observer, lambda: None)
            training.run()
            correct = training.finished.pop(CORRECT)
            if correct.failure is not None:
                raise correct.failure
            return [self._outcome(self.specimens[name], training.finished[name], correct) for name in self.specimens]

    def _probes(self, _: int) -> Probes:
        """The same points for all, or effects could not be compared; no mutant knows them."""
        probes = self.judge.probes(20)
        assert probes is not None
        return peers.with_differences(probes)

    def _outcome(self, specimen: Specimen, training: Training, correct: Training) -> Outcome:
        failure = training.failure
        if isinstance(failure, HostFault):
            raise failure  # a bug of ours catches no mutant
        if failure is not None:
            return Outcome(
                specimen, self.subject, True, (failure.status,), failure.reason, np.inf, np.inf, np.inf, True, True,
                False, False,
            )  # fmt: skip  # one row
        verdict, fused = self.judge.verdicts(training)
        if verdict.status == "agrees" and fused is not None:
            verdict = fused
        effects = self._effects(training, correct)
        probes, answers = training.probes, training.answers
        assert probes is not None
        assert answers is not None
        assert answers.gradient is not None
        named = {name: [effects[i] for i, point in enumerate(probes.names) if point == name] for name in probes.names}
        return Outcome(
            specimen,
            self.subject,
            caught=verdict.status != "agrees",
            by=_catchers(verdict),
            message=verdict.message,
            effect=float(np.max(effects)),
            effect_middle=max(named["middle"]),
            effect_end=max(named["end"]),
            caught_middle=_caught_at(verdict, "middle"),
            caught_end=_caught_at(verdict, "end"),
            allclose=peers.allclose_sees(_final(training), _final(correct)),
            gradcheck=self.subject.dtype == "float64" and peers.gradcheck_sees(probes, answers.loss, answers.gradient),
        )

    def _effects(self, training: Training, correct: Training) -> Array:
        """The largest distance to the correct backend's answers at each visited point (P,), in tolerances."""
        probes = training.probes
        assert probes is not None
        effects = np.zeros(len(probes.names))
        pairs = [(training.answers, correct.answers), (training.fused_answers, correct.answers)]
        for i, weights in enumerate(probes.weights):
            allowed = point_tolerance(self.problem, weights)
            for mine, right in pairs:
                if mine is None or right is None:
                    continue
                effects[i] = max(effects[i], _in(mine.loss[i], right.loss[i], np.asarray(allowed.loss)))
                effects[i] = max(effects[i], _in(mine.following[i, -1], right.following[i, -1], allowed.following))
                if mine.gradient is not None and right.gradient is not None:
                    effects[i] = max(effects[i], _in(mine.gradient[i], right.gradient[i], allowed.gradient))
        return effects


def _in(mine: Array, right: Array, tolerance: Array) -> float:
    with np.errstate(all="ignore"):
        distance = np.abs(mine.astype(np.float64) - right.astype(np.float64))
        ratio = np.where(distance == 0.0, 0.0, distance / tolerance)
    return float(np.where(np.isfinite(distance), ratio, np.inf).max())


def _final(training: Training) -> Array:
    assert training.recording.final_w is not None
    assert training.recording.final_b is not None
    return np.append(training.recording.final_w, training.recording.final_b)


def _catchers(verdict: Verdict) -> tuple[str, ...]:
    by = tuple(test.test for test in verdict.tests if not test.passed)
    return by or (() if verdict.status == "agrees" else (verdict.quantity or verdict.status,))


def _caught_at(verdict: Verdict, point: str) -> bool:
    mark = f"the point '{point}'"
    return any(finding.where.startswith(mark) for test in verdict.tests for finding in test.findings)
