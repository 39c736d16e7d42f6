"""One backend with every step recorded: weights, loss, gradient, next weights; and the first wrong step.

The steps are screened in float64, in order. Steps near or beyond a tolerance there are judged by the exact oracle,
until one is wrong. So ten thousand steps take seconds, every fault is decided exactly, and an early fault is named
however long a single exact evaluation takes.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from compare_ag.host.failures import WorkerFailure
from compare_ag.host.session import Recording, concatenate
from compare_ag.model.arithmetic import Known
from compare_ag.problem import Problem, batches
from compare_ag.suite.observer import Observer
from compare_ag.suite.training import Conditions, Training, TrainingPass
from compare_ag.suite.training_evidence import find_broken_rules, make_evidence, make_fused_evidence
from compare_ag.verify import Finding, Oracle, Sample, judge_samples, probe_points, reference_trajectory
from compare_ag.verify.certificate import IN_SECOND_RUN, first_finding
from compare_ag.verify.objective import Objective
from compare_ag.verify.points import PointTolerance, point_tolerances, update_tolerance
from compare_ag.verify.samples import is_explained_by_reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from compare_ag.host.discovery import Offer
    from compare_ag.problem.core import Array
    from compare_ag.worker.messages import Mutation

Tell: TypeAlias = Callable[[int, int], object]
"""called with the number of screened steps and of all steps"""

TIMEOUT = 600.0
MOST_NUMBERS = 50_000_000
"""the most weights and gradients to record; longer trainings are refused with a hint"""


class TooLongError(ValueError):
    """The recording of every step of this training would be too large."""


@dataclass(frozen=True)
class Fault:
    """The first fault of a backend."""

    finding: Finding | None
    """None where the contract itself is broken, or a worker failed"""
    message: str
    step: int | None
    phase: str | None
    coordinate: str | None
    ratio: float
    """size in units of its tolerance"""
    point: Array | None = None
    """weights (m,) of the sample that shows the fault"""
    again: bool = False
    """whether it shows only when the same tensors are evaluated a second time"""
    rows: Array | None = None
    """the examples of its batch; None: all"""
    failure: WorkerFailure | None = None
    """the worker's failure, where that is the fault"""


@dataclass
class Screening:
    """One backend's training, step by step."""

    name: str
    offer: Offer
    mutation: Mutation | None
    losses: Array
    """(T+1,)"""
    weights: Array
    """(T+1, m), in the order of `Problem.layout`"""
    gradients: Array | None
    """(T, m)"""
    fault: Fault | None
    undecided: int | None = None
    """the first step with a number that cannot be decided; None where there is none"""
    failure: WorkerFailure | None = None
    warnings: list[str] = field(default_factory=list)
    interrupted: bool = False
    """whether an interrupt ended its training: the steps recorded until then were judged"""


def screen(
    offers: Mapping[str, Offer],
    problem: Problem,
    mutations: Mapping[str, Mutation] | None = None,
    observer: Observer | None = None,
) -> dict[str, Screening]:
    """Train each backend with every step recorded and find its first fault.

    An interrupt ends the trainings, and the recorded steps are judged; a second interrupt ends the judging after the
    backends judged until then. A backend without a recorded step is left out.

    Raises `TooLongError` where the recording would not fit (`MOST_NUMBERS`).
    """
    m = problem.layout.size
    if problem.steps * m * 3 > MOST_NUMBERS:
        most = MOST_NUMBERS // (3 * m)
        raise TooLongError(f"every step of this training is too much to keep; use --steps {most} or fewer")
    hear = observer or Observer()
    reference = reference_trajectory(problem)
    with tempfile.TemporaryDirectory(prefix="compare-ag-trace-") as logs:
        conditions = Conditions(
            problem,
            list(range(problem.steps)),
            Path(logs),
            TIMEOUT,
            hash_seed=0,
            cancel=threading.Event(),
            probes=lambda seed: probe_points(problem, reference, seed),
            mutations=mutations or {},
        )
        training = TrainingPass(dict(offers), conditions, hear, lambda: None)
        with contextlib.suppress(KeyboardInterrupt):
            training.run()
    screenings: dict[str, Screening] = {}
    for name, offer in offers.items():
        finished = training.finished.get(name)
        if finished is not None and (finished.recording.losses or not _was_interrupted(finished)):
            tell = partial(hear.progress, name, "screening")
            try:
                screenings[name] = _screen_backend(name, offer, conditions.mutations.get(name), problem, finished, tell)
            except KeyboardInterrupt:
                if not screenings:
                    raise
                break
    if not screenings and conditions.cancel.is_set():
        raise KeyboardInterrupt  # no step has been recorded
    return screenings


def _was_interrupted(training: Training) -> bool:
    """Whether an interrupt ended the training."""
    return training.failure is not None and training.failure.status == "cancelled"


def _screen_backend(
    name: str, offer: Offer, mutation: Mutation | None, problem: Problem, training: Training, tell: Tell
) -> Screening:
    interrupted = _was_interrupted(training)
    weights = _weights(problem, training.recording)
    losses = concatenate(training.recording.losses, problem.dtype)
    gradients = _gradients(problem, training.recording)
    fault = _first_fault(problem, training, losses, weights, gradients, tell, interrupted=interrupted)
    undecided = _first_undecided(problem, weights)
    return Screening(
        name,
        offer,
        mutation,
        losses,
        weights,
        gradients,
        fault,
        undecided,
        None if interrupted else training.failure,  # the backend has not failed
        training.warnings,
        interrupted,
    )


def _weights(problem: Problem, recording: Recording) -> Array:
    """(T'+1, m): the weights of each step, in order."""
    w, b = concatenate(recording.w, problem.dtype, (problem.features,)), concatenate(recording.b, problem.dtype)
    return problem.layout.flat((w, b))


def _gradients(problem: Problem, recording: Recording) -> Array | None:
    w = concatenate(recording.gradient_w, problem.dtype, (problem.features,))
    b = concatenate(recording.gradient_b, problem.dtype)
    return problem.layout.flat((w, b))


def _first_fault(
    problem: Problem,
    training: Training,
    losses: Array,
    weights: Array,
    gradients: Array | None,
    tell: Tell,
    *,
    interrupted: bool,
) -> Fault | None:
    samples = _samples(problem, losses, weights, gradients)
    oracle = Oracle(problem)
    start = problem.initial
    if len(weights) and not np.array_equal(weights[0], start):
        worst = int(np.argmax(np.abs(weights[0].astype(float) - start)))
        coordinate = problem.layout.coordinate(worst)
        size = float(abs(weights[0][worst].astype(float) - start[worst]))
        message = f"training does not begin at the start: {coordinate} is off by {size:.2g}, where none is allowed"
        return Fault(None, message, 0, "make_tensor", coordinate, np.inf, start)
    along, as_read = _first_wrong(problem, oracle, samples, tell)
    if along is not None:
        return along
    if interrupted:
        return as_read  # points, a second run and a fused step have not been visited
    if training.failure is not None:
        failure, step = training.failure, training.failure.step
        point = weights[step] if step is not None and step < len(weights) else start
        message = f"{failure.status}: {failure.reason}"
        return Fault(None, message, step, failure.phase, None, np.inf, point, failure=failure)
    if broken := find_broken_rules(training):
        return Fault(None, "; ".join(broken), None, "forward", None, np.inf, start)
    at_points = _judge_exactly(problem, oracle, list(make_evidence(problem, training).probes))
    # a fault that the reading of wider weights would explain counts where the points show a fault too
    if at_points is not None:
        return at_points if as_read is None else as_read
    return _second_run_fault(problem, training, losses) or _fused_fault(problem, training)


def _second_run_fault(problem: Problem, training: Training, losses: Array) -> Fault | None:
    """The fault of the training's second run, where its bits differ: a fault may act in a few calls only."""
    again = training.repeated
    if again is None:
        return None
    repeated = concatenate(again.losses, problem.dtype)
    if repeated.tobytes() == losses[: len(repeated)].tobytes():
        return None
    samples = _samples(problem, repeated, _weights(problem, again), _gradients(problem, again))
    samples = [replace(sample, where=f"{sample.where}, {IN_SECOND_RUN}") for sample in samples]
    return _first_wrong(problem, Oracle(problem), samples)[0]


def _fused_fault(problem: Problem, training: Training) -> Fault | None:
    """The fault of the backend's own step, along its own training and then at the host's points."""
    if training.fused is None:
        return None
    weights, oracle = _weights(problem, training.fused), Oracle(problem)
    samples = _samples(problem, concatenate(training.fused.losses, problem.dtype), weights, None)
    fault, as_read = _first_wrong(problem, oracle, samples)
    if fault is None:
        fault = _judge_exactly(problem, oracle, list(make_fused_evidence(problem, training).probes))
        fault = as_read if fault is not None and as_read is not None else fault
    return None if fault is None else replace(fault, message=f"the fused step: {fault.message}", phase="step")


def _samples(problem: Problem, losses: Array, weights: Array, gradients: Array | None) -> list[Sample]:
    """Every step as a sample."""
    rows_of = batches(problem)
    samples = []
    for k in range(len(weights)):
        batch = next(rows_of)
        rows = batch if problem.batch_size is not None else None
        gradient = gradients[k] if gradients is not None and k < len(gradients) else None
        following = weights[k + 1] if k + 1 < len(weights) else None
        loss = losses[k] if k < len(losses) else None
        samples.append(Sample(f"step {k}", weights[k], loss, gradient, following, rows, k))
    return samples


def _judge_exactly(problem: Problem, oracle: Oracle, samples: Sequence[Sample]) -> Fault | None:
    """The earliest finding of the exact tests."""
    findings = [finding for result in judge_samples(problem, oracle, samples).values() for finding in result.findings]
    if not findings:
        return None
    finding = first_finding(findings)
    sample = next(sample for sample in samples if sample.where == finding.where)
    again = finding.step is None and finding.where.endswith("evaluated again")
    if again:  # a fault of the second evaluation alone differs from a fault of both
        first = finding.where.removesuffix(", evaluated again")
        again = not any(finding.where == first for finding in findings)
    return Fault(
        finding, finding.message, finding.step, finding.phase, finding.coordinate, finding.ratio, sample.weights, again,
        sample.rows,
    )  # fmt: skip  # one row


def _first_wrong(
    problem: Problem, oracle: Oracle, samples: Sequence[Sample], tell: Tell = lambda *_: None
) -> tuple[Fault | None, Fault | None]:
    """The first fault along a training, or None and the first fault that the reading of wider weights explains.

    The suspects are judged singly and in order, so that no budget can hide the earliest fault.
    """
    as_read: Fault | None = None
    for sample in _suspects(problem, samples, tell):
        if (fault := _judge_exactly(problem, oracle, [sample])) is None:
            continue
        as_read = as_read or fault
        if not is_explained_by_reading(judge_samples(problem, oracle, [sample]).values()):
            return as_read, None
    return None, as_read


CHUNK = 256
"""steps whose tolerances are read at once"""


def _first_undecided(problem: Problem, weights: Array) -> int | None:
    """The first step with a number that cannot be judged: the probability form saturates, or numbers may overflow."""
    rows_of = list(batches(problem)) if problem.batch_size is not None else None
    size = CHUNK if rows_of is None else 1
    for first in range(0, len(weights), size):
        allowed = point_tolerances(problem, weights[first : first + size], None if rows_of is None else rows_of[first])
        for k, tolerance in enumerate(allowed, first):
            last = k + 1 == len(weights)
            numbers = [np.array([tolerance.loss]), *([] if last else [tolerance.gradient, tolerance.following])]
            if not np.isfinite(np.concatenate(numbers)).all():
                return k
    return None


def _suspects(problem: Problem, samples: Sequence[Sample], tell: Tell) -> Iterator[Sample]:
    """The samples with a number that float64 finds near or beyond its tolerance, or not finite.

    The errors of this float64 evaluation are a few hundredths of a float64 tolerance, and negligible beside a float32
    tolerance; so half a tolerance is a safe limit for loss and gradient. An update is compared exactly, because a right
    update may come close to its tolerance.
    """
    objective = Objective(problem)
    size = CHUNK if problem.batch_size is None else 1
    for first in range(0, len(samples), size):
        tell(first, len(samples))
        chunk = [sample for sample in samples[first : first + size] if np.isfinite(sample.weights).all()]
        if chunk:
            weights = np.stack([sample.weights for sample in chunk]).astype(np.float64)
            allowed = point_tolerances(problem, weights, chunk[0].rows, judged=problem.steps)
            exact = objective.step(weights, chunk[0].rows, Known.here())
            yield from (
                sample
                for i, sample in enumerate(chunk)
                if _suspicious(problem, sample, exact.loss.value[i], exact.gradient.value[i], allowed[i])
            )


def _suspicious(problem: Problem, sample: Sample, loss: Array, gradient: Array, allowed: PointTolerance) -> bool:
    """Whether a number of the sample is near or beyond its tolerance; loss () and gradient (m,) in float64."""

    def out(observed: Array | None, deviation: Array, limit: Array) -> bool:
        decided = np.isfinite(limit).any() and observed is not None
        return bool(decided and not (deviation <= limit)[np.isfinite(limit)].all())

    weights = sample.weights.astype(np.float64)
    with np.errstate(all="ignore"):
        if sample.loss is not None and out(sample.loss, np.abs(sample.loss - loss), np.asarray(0.5 * allowed.loss)):
            return True
        if sample.gradient is not None:
            if out(sample.gradient, np.abs(sample.gradient - gradient), 0.5 * allowed.gradient):
                return True
            tolerance = update_tolerance(problem, weights, sample.gradient)
            gradient = sample.gradient.astype(np.float64)
        else:
            tolerance = 0.95 * allowed.following
        if sample.following is None:
            return False
        return out(sample.following, _update_deviation(problem, weights, gradient, sample.following), tolerance)


def _update_deviation(problem: Problem, weights: Array, gradient: Array, following: Array) -> Array:
    """|following - (weights - η gradient)| with an exact product and difference (Dekker 1971, Knuth's two-sum)."""
    rate = float(problem.learning_rate)
    product = rate * gradient

    def halves(value: Array | float) -> tuple[Array | float, Array | float]:
        high = value * 134217729.0  # 2²⁷ + 1
        high = high - (high - value)
        return high, value - high

    (a, b), (c, d) = halves(rate), halves(gradient)
    product_error = ((a * c - product) + a * d + b * c) + b * d
    difference = weights - product
    part = difference - weights
    difference_error = (weights - (difference - part)) + (-product - part)
    return np.asarray(np.abs((following.astype(np.float64) - difference) - (difference_error - product_error)))
