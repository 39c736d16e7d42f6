"""The verdict: does a trajectory stay within its tolerance, and if not, where does it leave it first?

Losses are compared at every step, weights at the recorded pairs and at the end; the verdict names the first of these
that is out of tolerance. Where the tolerance is infinite, nothing is judged, not even NaN, which the probability form
itself gives there. Elsewhere the order is fixed: form first (`trajectory`), then finiteness, then
``not (deviation <= tolerance)``, which is true for NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from compare_ag.model import Layout
from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.reference import Reference
from compare_ag.verify.samples import Phase, TestResult
from compare_ag.verify.tolerance import Tolerance
from compare_ag.verify.trajectory import Trajectory, malformation

Status: TypeAlias = Literal["agrees", "diverges", "non-finite", "undecidable", "malformed"]
Quantity: TypeAlias = Literal["weights", "loss", "full loss", "gradient", "step", "update", "trajectory", "protocol"]


@dataclass(frozen=True)
class Verdict:
    """The judgement of one trajectory. Figures are None where nothing could be compared.

    A run records it as `records.VerdictRecord`, which cannot take its place: diagnosis, selftest and bisect need the
    numbers and samples of `TestResult.findings`, of which the record holds sentences on the first ones only, and verify
    calculates with the figures, which JSON cannot hold where they are not finite.
    """

    status: Status
    message: str
    """a sentence for people, without the backend's name"""
    first_step: int | None = None
    """first step out of tolerance, first non-finite step, or first undecidable step"""
    quantity: Quantity | None = None
    """the subject of the two figures below"""
    coordinate: str | None = None
    """the weight that deviates most ("w[3]", "b"), where weights are at fault"""
    observed: float | None = None
    """the deviation that is out of tolerance, or else the deviation with the largest ratio"""
    tolerance: float | None = None
    worst_ratio: float = 0.0
    """largest deviation / tolerance over all judged numbers; above 1 is out of tolerance"""
    weights_error: float | None = None
    """‖deviation‖₂ of (w, b) at the last step where weights could be compared"""
    weights_tolerance: float | None = None
    phase: Phase | None = None
    """the verb at fault, where a single step shows it"""
    tests: tuple[TestResult, ...] = ()
    """the result of each test; see `certificate`"""
    diagnosis: tuple[str, ...] = ()
    """known mistakes that explain the numbers: "consistent with float32" """
    remark: str = ""
    """a note on a correct run, as that float32 has stopped the training"""


@dataclass(frozen=True)
class _Comparison:
    """One quantity at S steps."""

    quantity: Quantity
    steps: Array
    deviation: Array
    """(S,), NaN or inf where the observed value is not finite"""
    tolerance: Array
    by_weight: Array | None = None
    """|deviation| of every weight, (S, m), in the order of `Problem.layout`"""

    @property
    def ratio(self) -> Array:
        """The deviation in units of a finite tolerance, else 0; inf for NaN, and for more than a tolerance of 0."""
        against = np.where(self.tolerance > 0, self.tolerance, 1.0)
        with np.errstate(all="ignore"):
            times = self.deviation / against
        ratio = np.where(self.tolerance > 0, times, np.where(self.deviation == 0, 0.0, np.inf))
        return np.where(np.isfinite(self.tolerance), np.where(np.isnan(ratio), np.inf, ratio), 0.0)

    def first_fault(self) -> int | None:
        """Index of the first entry out of its tolerance; entries are in order of their steps."""
        out = np.isfinite(self.tolerance) & ~(self.deviation <= self.tolerance)
        return int(np.argmax(out)) if out.any() else None


def judge(problem: Problem, reference: Reference, tolerance: Tolerance, trajectory: Trajectory) -> Verdict:
    """Judge what a worker recorded for ``problem`` against ``reference`` within ``tolerance``."""
    wrong = malformation(problem, trajectory)
    if wrong is not None:
        return Verdict("malformed", f"malformed record: {wrong}")
    with np.errstate(all="ignore"):
        weights = _weights(problem, reference, tolerance, trajectory)
        comparisons = [weights, _losses(reference, tolerance, trajectory)]
        if problem.batch_size is not None:
            comparisons.append(_full_losses(reference, tolerance, trajectory))
        error, allowed = _last_weights(weights)
        worst = max(comparisons, key=lambda c: float(c.ratio.max(initial=0.0)))
        ratio = float(worst.ratio.max(initial=0.0))
    # the earliest fault; at one step that of the weights, which is the cause of a wrong loss
    faults = [
        (int(c.steps[i]), order, c, i) for order, c in enumerate(comparisons) if (i := c.first_fault()) is not None
    ]
    if faults:
        _, _, comparison, index = min(faults, key=lambda fault: fault[:2])
        verdict = _fault(problem.layout, comparison, index, trajectory)
    else:
        verdict = _no_fault(problem, reference, tolerance, trajectory, worst)
    return replace(verdict, worst_ratio=ratio, weights_error=error, weights_tolerance=allowed)


def _no_fault(
    problem: Problem, reference: Reference, tolerance: Tolerance, trajectory: Trajectory, worst: _Comparison
) -> Verdict:
    index = int(np.argmax(worst.ratio))
    observed, allowed = float(worst.deviation[index]), float(worst.tolerance[index])
    horizon = tolerance.undecidable_from
    if horizon is not None and horizon <= trajectory.steps:
        message = _undecidable(horizon, reference, tolerance, trajectory)
        return Verdict("undecidable", message, horizon, worst.quantity, None, observed, allowed)
    return Verdict("agrees", _agreement(problem, trajectory), None, worst.quantity, None, observed, allowed)


def _weights(problem: Problem, reference: Reference, tolerance: Tolerance, trajectory: Trajectory) -> _Comparison:
    """Both sides of every recorded pair, and the final weights where there are any."""
    layout, count = problem.layout, len(trajectory.recorded_steps)
    steps = (reference.recorded_steps[:count, None] + np.arange(2)).ravel()
    observed = layout.flat((trajectory.w, trajectory.b)).astype(np.float64).reshape(-1, layout.size)
    expected = reference.pairs(count)
    if trajectory.final_w is not None and trajectory.final_b is not None and trajectory.steps == problem.steps:
        steps = np.append(steps, problem.steps)
        final = layout.flat((trajectory.final_w, trajectory.final_b)).astype(np.float64)
        observed = np.vstack([observed, final])
        expected = expected.followed_by(reference.final())
    by_weight = expected.deviation(observed)
    # in order of steps; k+1 may also be the next k
    return _Comparison("weights", steps, np.linalg.norm(by_weight, axis=1), tolerance.weights[steps], by_weight)


def _losses(reference: Reference, tolerance: Tolerance, trajectory: Trajectory) -> _Comparison:
    count = len(trajectory.losses)
    deviation = reference.loss_deviation(trajectory.losses)
    return _Comparison("loss", np.arange(count), deviation, tolerance.loss[:count])


def _full_losses(reference: Reference, tolerance: Tolerance, trajectory: Trajectory) -> _Comparison:
    count = len(trajectory.full_losses)
    deviation = np.abs(trajectory.full_losses.astype(np.float64) - reference.full_losses[:count])
    return _Comparison("full loss", reference.recorded_steps[:count], deviation, tolerance.full_loss[:count])


def _last_weights(weights: _Comparison) -> tuple[float | None, float | None]:
    """Deviation and tolerance of the weights at the last step where they could be compared."""
    comparable = np.flatnonzero(np.isfinite(weights.tolerance))
    if not comparable.size:
        return None, None
    last = comparable[-1]
    return float(weights.deviation[last]), float(weights.tolerance[last])


def _fault(layout: Layout, comparison: _Comparison, index: int, trajectory: Trajectory) -> Verdict:
    step, name = int(comparison.steps[index]), comparison.quantity
    deviation, allowed = float(comparison.deviation[index]), float(comparison.tolerance[index])
    coordinate = _coordinate(layout, comparison, index)
    status: Status = "diverges" if np.isfinite(deviation) else "non-finite"
    if status == "non-finite":
        message = f"first non-finite {f'weight ({coordinate})' if coordinate else name} at step {step}"
    else:
        most = f" (most of it in {coordinate})" if coordinate else ""
        times = f"{deviation / allowed:.2g} times the tolerance {allowed:.2g}" if allowed else "where none is allowed"
        message = f"leaves its tolerance at step {step}: {name} off by {deviation:.2g}{most}, {times}"
        message += _later_non_finite(trajectory, step)
    return Verdict(status, message, step, name, coordinate, deviation, allowed)


def _coordinate(layout: Layout, comparison: _Comparison, index: int) -> str | None:
    if comparison.by_weight is None:
        return None
    return worst_coordinate(layout, comparison.by_weight[index])


def worst_coordinate(layout: Layout, deviation: Array) -> str:
    """The name ("w[3]", "b") of the first weight whose deviation (m,) is not finite, else of the largest."""
    broken = ~np.isfinite(deviation)
    largest = int(np.argmax(broken if broken.any() else deviation))
    return layout.coordinate(largest)


def _later_non_finite(trajectory: Trajectory, step: int) -> str:
    """A clause on the first non-finite loss from ``step`` on, or nothing."""
    broken = np.flatnonzero(~np.isfinite(trajectory.losses[step:]))
    return f"; its loss is not finite from step {step + int(broken[0])}" if broken.size else ""


def _undecidable(horizon: int, reference: Reference, tolerance: Tolerance, trajectory: Trajectory) -> str:
    if horizon == tolerance.saturated_from:
        along = reference.magnitudes
        largest = max(float(along.highest_logit[horizon]), -float(along.lowest_logit[horizon]))
        reason = f"the probability form saturates (max |z| = {largest:.2f}); use --loss logits"
    elif horizon == tolerance.overflowing_from:
        reason = (
            f"numbers may leave the range of {trajectory.losses.dtype}, so inf and nan can be right answers; scale the "
            "data, or choose a smaller --lr or --l2"
        )
    elif tolerance.expansive:
        reason = "the learning rate exceeds 2/L, so rounding errors may grow"
    else:
        reason = "rounding errors may add up to more than the weights themselves"
    return f"undecidable from step {horizon}: {reason}{_later_non_finite(trajectory, horizon)}"


def _agreement(problem: Problem, trajectory: Trajectory) -> str:
    if trajectory.steps < problem.steps:
        return f"agrees over the {trajectory.steps} steps that it made of {problem.steps}"
    return f"agrees over all {problem.steps} steps" if problem.steps > 1 else "agrees over the one step"
