"""Run mutants as backends and count: which are caught, from which size on, and whether a right variant is rejected.

Not every mutant must be caught: an error of one hundredth of a tolerance cannot be told from rounding. The claim is
that every mutant whose *effect* is at least `EFFECT` tolerances at a point is caught. The effect is the distance
between the mutant's and the correct backend's answer at a point: at the points of the verdict, and at points that the
verdict does not use, w = 0 with b = ±1, ±2, … on all data (`scan`).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.host.failures import HostFault
from compare_ag.problem import Problem, problem_by_name, recorded_steps
from compare_ag.selftest import peers
from compare_ag.selftest.population import Specimen
from compare_ag.suite.judge import Judge
from compare_ag.suite.observer import Observer
from compare_ag.suite.training import Conditions, Training, TrainingPass
from compare_ag.verify import Probes, Route, Verdict
from compare_ag.verify.points import point_tolerance
from compare_ag.verify.probes import largest_decidable

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.host.session import Evaluation
    from compare_ag.problem.core import DType, LossForm
    from compare_ag.worker.messages import Array, MutantFacts

EFFECT = 10.0
"""tolerances: the least error at a point for which a mutant must be caught"""
SMALL = "synthetic:n=40,d=4"
LARGE = "synthetic:n=83,d=83"
"""as many examples as features; 83 is prime, so that blocks of any size leave a remainder"""
STEPS = 400
LEARNING_RATE = 0.05
L2 = 0.05
TIMEOUT = 60.0
CORRECT = "the correct backend"
SCAN = ", in the scan"
SCANNED = 120
"""the largest |b| of the scan"""


@dataclass(frozen=True)
class Candidate:
    """A problem on which specimens are tried. It is strongly convex, so that its training reaches the optimum."""

    dtype: DType
    loss: LossForm
    name: str = SMALL
    threads: int = 1

    def problem(self) -> Problem:
        """Build it."""
        facts: Any = {"dtype": self.dtype, "loss": self.loss, "l2": L2, "steps": STEPS, "threads": self.threads}
        return problem_by_name(self.name, learning_rate=LEARNING_RATE, **facts)

    def shows(self, facts: MutantFacts) -> bool:
        """Whether the mistake acts on this problem, as its author declares; small problems show legitimate variants."""
        if facts.legitimate:
            return self.name == SMALL and self.threads == 1 and (self.dtype, self.loss) != ("float32", "probability")
        place = "large" if self.name == LARGE else "threads" if self.threads > 1 else "probability"
        return facts.shows_in == ("anywhere" if self in (DOUBLE, SINGLE) else place)


DOUBLE = Candidate("float64", "logits")
SINGLE = Candidate("float32", "logits")
SUBJECTS = (
    DOUBLE,
    SINGLE,
    Candidate("float64", "probability"),
    Candidate("float32", "probability"),
    Candidate("float64", "logits", LARGE),
    Candidate("float64", "logits", threads=2),
)


@dataclass(frozen=True)
class Outcome:
    """The judgement of a specimen on a problem."""

    specimen: Specimen
    subject: Candidate
    caught: bool
    by: tuple[str, ...]
    """the tests that caught it, or the status of a worker that failed"""
    message: str
    effect: float
    """its largest effect at a probed point, in tolerances; inf where the worker failed"""
    effect_middle: float
    """the same at the point near the middle of the training"""
    effect_end: float
    """the same near the optimum"""
    caught_middle: bool
    caught_end: bool
    allclose: bool
    """whether `numpy.allclose` at 1e-5 on the final weights catches it"""
    gradcheck: bool
    """whether the tolerances of torch's gradcheck catch it; float64 only"""


@dataclass
class SelftestResult:
    """All outcomes."""

    outcomes: list[Outcome] = field(default_factory=list)
    planned: int = 0
    """the number of all trainings; after an interrupt more than were judged"""

    @property
    def interrupted(self) -> bool:
        """Whether some trainings were not judged."""
        return len(self.outcomes) < self.planned

    @property
    def mutants(self) -> list[Outcome]:
        """The outcomes of mutants."""
        return [outcome for outcome in self.outcomes if not outcome.specimen.facts.legitimate]

    @property
    def legitimate(self) -> list[Outcome]:
        """The outcomes of legitimate variants."""
        return [outcome for outcome in self.outcomes if outcome.specimen.facts.legitimate]

    @property
    def missed(self) -> list[Outcome]:
        """Mutants that had to be caught and were not: of `EFFECT` at a point, or at the middle or the end."""
        return [
            outcome
            for outcome in self.mutants
            if (outcome.effect >= EFFECT and not outcome.caught)
            or (outcome.effect_middle >= EFFECT and not outcome.caught_middle)
            or (outcome.effect_end >= EFFECT and not outcome.caught_end)
        ]

    @property
    def survivors(self) -> list[str]:
        """Mutants that were never caught, in any size on any problem; empty until all have been tried."""
        if self.interrupted:
            return []
        names = dict.fromkeys(outcome.specimen.facts.name for outcome in self.mutants)
        caught = {outcome.specimen.facts.name for outcome in self.mutants if outcome.caught}
        return [name for name in names if name not in caught]

    @property
    def false_alarms(self) -> list[Outcome]:
        """Legitimate variants that were rejected."""
        return [outcome for outcome in self.legitimate if outcome.caught]

    @property
    def passed(self) -> bool:
        """Whether mutants were tried, all were caught, and no legitimate variant was rejected."""
        faults = self.missed or self.survivors or self.false_alarms
        return bool(self.mutants) and not faults and not self.interrupted


def selftest(
    offer: Offer,
    specimens: Sequence[Specimen],
    observe: Callable[[str, int, int], None] | None = None,
) -> SelftestResult:
    """Build every mistake into the backend of ``offer`` and judge the results.

    In float64 every size is tried; in float32 the largest, but every size of mistakes that act in the probability form
    alone; legitimate variants in both, with both forms of the loss. ``observe(label, done, total)`` is called after
    each training. After an interrupt the result has the outcomes judged until then, if there are any.
    """
    plan = [(subject, [specimen for specimen in specimens if _is_tried(specimen, subject)]) for subject in SUBJECTS]
    total = sum(len(chosen) for _, chosen in plan)
    result = SelftestResult(planned=total)
    try:
        for subject, chosen in plan:
            if chosen:
                hear = _Progress(observe, len(result.outcomes), total)
                _Trials(offer, subject, chosen).run(hear, result.outcomes)
    except KeyboardInterrupt:
        if not result.outcomes:
            raise
    return result


def _is_tried(specimen: Specimen, subject: Candidate) -> bool:
    return subject.shows(specimen.facts) and (subject != SINGLE or specimen.size == specimen.facts.sizes[0])


class _Progress(Observer):
    """Counts the finished trainings on one problem."""

    def __init__(self, observe: Callable[[str, int, int], None] | None, before: int, total: int) -> None:
        self._observe, self._before, self._total, self._done = observe, before, total, 0

    def progress(self, name: str, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - the observer's signature
        """Count a finished training."""
        if stage == "trained" and self._observe is not None:
            self._done += 1
            self._observe(name, self._before + self._done, self._total)


class _Trials:
    """All specimens on one problem, beside the correct backend at the same points."""

    def __init__(self, offer: Offer, subject: Candidate, specimens: list[Specimen]) -> None:
        self.offer, self.subject = offer, subject
        self.specimens = {f"{specimen.label}.{i}": specimen for i, specimen in enumerate(specimens)}
        self.problem = subject.problem()
        self.judge = Judge(self.problem, recorded_steps(self.problem.steps))
        self.judge.prepare()
        if self.judge.error is not None:
            raise self.judge.error
        self.scan = scan(self.problem)
        self._tolerances: dict[int, tuple[Array, Array, Array]] = {}
        """by number of the route"""

    def run(self, observer: Observer, results: list[Outcome]) -> None:
        """Append the outcomes to ``results`` in the specimens' order; after an interrupt those judged until then."""
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
            outcomes: dict[str, Outcome] = {}

            def judge_finished() -> None:
                """Judge the finished trainings while others train."""
                correct = training.finished.get(CORRECT)
                if correct is None:
                    return
                if correct.failure is not None:
                    raise correct.failure
                for name in training.finished.keys() - outcomes.keys() - {CORRECT}:
                    outcomes[name] = self._outcome(self.specimens[name], training.finished[name], correct)

            training = TrainingPass(offers, conditions, observer, judge_finished)
            try:
                training.run()
                judge_finished()
            finally:
                results += [outcomes[name] for name in self.specimens if name in outcomes]

    def _probes(self, _: int) -> Probes:
        """The same points for all specimens, so that effects can be compared. The last, the scan, is not judged."""
        probes = self.judge.probes(20)
        assert probes is not None
        probes = peers.with_differences(probes)
        return replace(probes, routes=(*probes.routes, self.scan))

    def _outcome(self, specimen: Specimen, training: Training, correct: Training) -> Outcome:
        failure = training.failure
        if isinstance(failure, HostFault):
            raise failure  # a bug of the host is no verdict on a mutant
        if failure is not None:
            return Outcome(
                specimen, self.subject, True, (failure.status,), failure.reason, np.inf, np.inf, np.inf, True, True,
                False, False,
            )  # fmt: skip  # one row
        effects = self._effects(training, correct)
        probes = training.probes
        assert probes is not None
        training.probes = replace(probes, routes=probes.routes[:-1])  # the scan stays hidden from the verdict
        verdict, fused = self.judge.certify_training(training)
        if verdict.status == "agrees" and fused is not None:
            verdict = fused
        main, answers = probes.main, training.answers[0]
        assert answers.gradient is not None
        named = {name: [effects[0][i] for i, point in enumerate(main.names) if point == name] for name in main.names}
        return Outcome(
            specimen,
            self.subject,
            caught=verdict.status != "agrees",
            by=_catchers(verdict),
            message=verdict.message,
            effect=max(float(np.max(along)) for along in effects),
            effect_middle=max(named["middle"]),
            effect_end=max(named["end"]),
            caught_middle=_caught_at(verdict, "middle"),
            caught_end=_caught_at(verdict, "end"),
            allclose=peers.allclose_sees(_final(self.problem, training), _final(self.problem, correct)),
            gradcheck=self.subject.dtype == "float64" and peers.gradcheck_sees(main, answers.loss, answers.gradient),
        )

    def _effects(self, training: Training, correct: Training) -> list[Array]:
        """For each route the largest distance to the correct backend's answers at each point (P,), in tolerances."""
        probes = training.probes
        assert probes is not None
        effects = []
        for i, route in enumerate(probes.routes):
            along = self._effect(i, route, training.answers[i], correct.answers[i])
            if training.fused_answers:
                along = np.maximum(along, self._effect(i, route, training.fused_answers[i], correct.answers[i]))
            effects.append(along)
        return effects

    def _effect(self, i: int, route: Route, own: Evaluation, right: Evaluation) -> Array:
        """The distance at each point of the route number ``i``, (P,); in the scan the smaller of both visits.

        A mistake that acts in some calls only may act in the scan and not at the points of the verdict.
        """
        loss, gradient, following = self._tolerances_along(i, route)
        visits = _in_tolerances(own.loss[..., None], right.loss[..., None], loss)
        if own.gradient is not None and right.gradient is not None:
            visits = np.maximum(visits, _in_tolerances(own.gradient, right.gradient, gradient))
        if route.on == SCAN:
            return np.asarray(visits.min(axis=1))
        steps = _in_tolerances(own.following[:, -1:], right.following[:, -1:], following)
        return np.asarray(np.maximum(visits.max(axis=1), steps[:, 0]))

    def _tolerances_along(self, i: int, route: Route) -> tuple[Array, Array, Array]:
        """The tolerances of loss (P, 1), gradient (P, m) and next weights (P, m), computed once for all specimens."""
        if i not in self._tolerances:
            points = [point_tolerance(self.problem, weights, route.rows) for weights in route.weights]
            loss = np.array([[point.loss] for point in points])
            gradient, following = ([getattr(point, name) for point in points] for name in ("gradient", "following"))
            self._tolerances[i] = loss, np.array(gradient), np.array(following)
        return self._tolerances[i]


def scan(problem: Problem) -> Route:
    """w = 0 and b = ±1, ±2, … on all data, as far as the form of the loss can be decided; no verdict uses these."""
    top, bottom = (int(min(SCANNED, largest_decidable(problem, sign))) for sign in (1.0, -1.0))
    logits = [*range(-bottom, 0), *range(1, top + 1)]
    none, b = np.zeros((len(logits), problem.features), problem.dtype), np.array(logits, problem.dtype)
    weights = problem.layout.flat((none, b))
    return Route(tuple(f"b = {b}" for b in logits), weights, None, SCAN)


def _in_tolerances(own: Array, right: Array, tolerance: Array) -> Array:
    """The largest of |own - right| (P, V, q) in tolerances (P, q), (P, V); undecidable numbers count as 0."""
    allowed = tolerance[:, None]
    with np.errstate(all="ignore"):
        distance = np.abs(own.astype(np.float64) - right.astype(np.float64))
        ratio = np.where(distance == 0.0, 0.0, distance / allowed)
    ratio = np.where(np.isfinite(distance), ratio, np.inf)
    return np.asarray(np.where(np.isfinite(allowed), ratio, 0.0).max(axis=2))


def _final(problem: Problem, training: Training) -> Array:
    assert training.recording.final_w is not None
    assert training.recording.final_b is not None
    return problem.layout.flat((training.recording.final_w, training.recording.final_b))


def _catchers(verdict: Verdict) -> tuple[str, ...]:
    by = tuple(test.test for test in verdict.tests if not test.passed)
    return by or (() if verdict.status == "agrees" else (verdict.quantity or verdict.status,))


def _caught_at(verdict: Verdict, point: str) -> bool:
    mark = f"the point '{point}'"
    return any(finding.where.startswith(mark) for test in verdict.tests for finding in test.findings)
