"""The evidence that `verify` judges, from what a worker sent: arrays alone, without messages and sessions.

`verify` knows no worker, and the training pass does not judge; the answers of the two are joined here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.session import Evaluation, Recording, concatenate
from compare_ag.problem import recorded_steps
from compare_ag.records import Repetition, real
from compare_ag.verify import Evidence, Probes, Sample, Trajectory, probe_samples

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.suite.training import Training
    from compare_ag.verify import Tolerance
    from compare_ag.worker.messages import Array


def make_evidence(problem: Problem, training: Training) -> Evidence:
    """The evidence of a training that ran to its end, through forward, backward and update."""
    recording, repeated = training.recording, training.repeated
    samples = _samples(training.probes, training.answers)
    return Evidence(
        make_trajectory(problem, recording),
        _gradients(problem, recording),
        samples,
        broken_protocol=find_broken_rules(training),
        repeated=None if repeated is None else make_trajectory(problem, repeated),
        repeated_gradients={} if repeated is None else _gradients(problem, repeated),
    )


def make_fused_evidence(problem: Problem, training: Training) -> Evidence:
    """The evidence of the second pass, through the backend's own step."""
    assert training.fused is not None
    trajectory = make_trajectory(problem, training.fused)
    return Evidence(trajectory, {}, _samples(training.probes, training.fused_answers))


def make_trajectory(problem: Problem, recording: Recording) -> Trajectory:
    """The trajectory of a complete recording, with the pairs of weights (k, k+1) that it holds."""
    d, dtype = problem.features, problem.dtype
    row = {step: i for i, step in enumerate(recording.weight_steps)}
    pairs = [k for k in recorded_steps(problem.steps) if k in row and k + 1 in row]
    first, second = [row[k] for k in pairs], [row[k + 1] for k in pairs]
    w, b = concatenate(recording.w, dtype, (d,)), concatenate(recording.b, dtype)
    losses = concatenate(recording.losses, dtype)
    full_losses = concatenate(recording.full_losses, dtype)
    if problem.batch_size is None:
        full_losses = losses[pairs]
    assert recording.final_w is not None
    assert recording.final_b is not None
    return Trajectory(
        losses=losses,
        recorded_steps=np.array(pairs, dtype=np.int64),
        w=np.stack([w[first], w[second]], axis=1),
        b=np.stack([b[first], b[second]], axis=1),
        full_losses=full_losses,
        final_w=recording.final_w,
        final_b=recording.final_b,
    )


def _gradients(problem: Problem, recording: Recording) -> dict[int, Array]:
    """Recorded step -> reported gradient (m,)."""
    w = concatenate(recording.gradient_w, problem.dtype, (problem.features,))
    b = concatenate(recording.gradient_b, problem.dtype)
    return dict(zip(recording.gradient_steps, problem.layout.flat((w, b)), strict=False))


def _samples(probes: Probes | None, answers: list[Evaluation]) -> list[Sample]:
    """The answers along all routes, in the order in which they were given."""
    routes = () if probes is None else probes.routes
    samples = []
    for route, answer in zip(routes, answers, strict=False):  # no answers where the backend failed before
        samples += probe_samples(route, answer.loss, answer.gradient, answer.following)
    return samples


def find_broken_rules(training: Training) -> list[str]:
    """A clause for each rule of the contract that the backend broke, as its answers at points show."""
    if training.probes is None:
        return []
    broken = []
    reading = sorted({name for answers in training.answers for name in answers.changed_by_reading})
    if reading:
        broken.append(f"to_numpy writes into {', '.join(reading)}")
    if any(answers.data_written for answers in training.answers):
        broken.append("forward, backward or update writes into X or y")
    for route, answers in zip(training.probes.routes, training.answers, strict=False):
        changed = answers.changed_points(route.weights)
        if changed.size:
            point = f"at the point '{route.names[changed[0]]}'{route.on}"
            broken.append(f"forward or backward writes into the weights, {point}")
            break
    return broken


def compare_repetition(training: Training, tolerance: Tolerance) -> Repetition | None:
    """How the losses of the second run differ from the first one's; None where there was no second run."""
    if training.repeated is None:
        return None
    second = np.concatenate(training.repeated.losses)
    first = np.concatenate(training.recording.losses)[: len(second)]
    # bits are compared, so that two equal NaN do not differ
    differing = np.flatnonzero(first.view(f"u{first.itemsize}") != second.view(f"u{second.itemsize}"))
    allowed = tolerance.loss[differing]
    with np.errstate(all="ignore"):
        ratios = np.abs(first[differing].astype(np.float64) - second[differing]) / allowed
    decided = ratios[np.isfinite(allowed)]
    return Repetition(
        steps=len(second),
        differing=len(differing),
        first=int(differing[0]) if len(differing) else None,
        ratio=real(float(np.nan_to_num(decided, nan=np.inf).max())) if len(decided) else None,
    )
