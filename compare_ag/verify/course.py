"""Faults of a whole training that no single step shows: a wrong start, one update too few or too many, a standstill.

The first two are mistakes, for `diagnosis`. `stagnation` is about correct runs whose weights have stopped, in float32
above all, although exact gradient descent would move on; it gives a remark, never a fault.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array, gram
from compare_ag.verify.curvature import EIGENVALUE_LIMIT
from compare_ag.verify.faults import AnsweredPoint, Examples
from compare_ag.verify.reference import Reference
from compare_ag.verify.samples import Test, TestResult
from compare_ag.verify.tolerance import Tolerance
from compare_ag.verify.trajectory import Trajectory

STALLED_ULPS = 8.0
"""the least distance in ulps that a stalled weight has still to go, for a remark; at rest it has a few ulps to go"""


def course(
    problem: Problem,
    trajectory: Trajectory,
    results: Mapping[Test, TestResult],
    reference: Reference | None,
    tolerance: Tolerance | None,
) -> list[str]:
    """Sentences on a wrong start, and on a missing or additional update that no single step shows.

    With mini-batches only the start is judged: a training that is late sees other batches.
    """
    if trajectory.recorded_steps[:1].tolist() == [0]:
        off = np.abs(_weights(problem, trajectory)[0, 0].astype(np.float64) - problem.initial)
        if off.any():
            return [f"the training does not start from the given weights: they are off by up to {off.max():.2g}"]
    result = results.get("trajectory")
    if reference is None or tolerance is None or problem.batch_size is not None or result is None or result.passed:
        return []
    with np.errstate(all="ignore"):
        for shift, mistake in (
            (-1, "update {} is skipped: the training is one step behind"),
            (1, "an update too many is made as number {}: the training is one step ahead"),
        ):
            updates = _find_shift(problem, trajectory, reference, tolerance, shift)
            if updates is not None:
                number = f"{updates[0]}" if updates[0] == updates[1] else "{} to {}".format(*updates)
                return [f"{mistake.format(number)} from there on"]
    return []


def _weights(problem: Problem, trajectory: Trajectory) -> Array:
    """(K, 2, m) of the recorded pairs."""
    return problem.layout.flat((trajectory.w, trajectory.b))


def _find_shift(
    problem: Problem, trajectory: Trajectory, reference: Reference, tolerance: Tolerance, shift: int
) -> tuple[int, int] | None:
    """The range of the update after which step k has the numbers of step k + shift, shift = ±1; None: there is none."""
    allowed = tolerance.loss[: len(trajectory.losses)]
    right = ~(reference.loss_deviation(trajectory.losses) > allowed)
    moved = reference.loss_deviation(np.roll(trajectory.losses, shift))
    shifted = np.roll(moved, -shift) <= np.maximum(allowed, np.roll(allowed, -shift))
    # steps without a counterpart: step 0 cannot be late, and the numbers of step T + 1 are not known
    shifted[0 if shift < 0 else -1] = shift > 0
    if right.all():
        return None
    last = int(np.argmin(right))
    first = max(1, 1 + int(np.flatnonzero(~shifted).max(initial=-1)))
    if first > last:
        return None
    pairs = _weights(problem, trajectory).astype(np.float64)
    same = _pairs_are_shifted(pairs, trajectory.recorded_steps, reference, tolerance, last, shift)
    return (first, last) if same else None


def _pairs_are_shifted(
    pairs: Array, steps: Array, reference: Reference, tolerance: Tolerance, update: int, shift: int
) -> bool:
    """Whether the recorded weights from ``update`` on are those of ``shift`` steps later, in all pairs that show it."""
    exact = reference.pairs(len(steps))
    high, low = exact.high.reshape(pairs.shape), exact.low.reshape(pairs.shape)
    side, expected_side = (1, 0) if shift < 0 else (0, 1)
    # ‖θ̃ₖ - θ_{k + shift}‖₂
    off = np.linalg.norm((pairs[:, side] - high[:, expected_side]) - low[:, expected_side], axis=1)
    bound = np.maximum(tolerance.weights[steps], tolerance.weights[steps + 1])
    after = steps + side >= update
    return bool(after.any() and (off[after] <= bound[after]).all())


def stagnation(problem: Problem, trajectory: Trajectory) -> str | None:
    """A remark for people on weights that stopped because their updates are below half an ulp, before training ended.

    None where there are none. Full batch only: with mini-batches a weight may rest on one batch and move on the next.
    """
    pairs, steps = _weights(problem, trajectory), trajectory.recorded_steps
    if problem.batch_size is not None or len(steps) < 2 or not np.isfinite(pairs).all():
        return None
    if pairs.shape[2] > EIGENVALUE_LIMIT:
        return None
    data = Examples(problem)
    with np.errstate(all="ignore"):
        stalled = _find_stalled(data, pairs)
        lasting: Array = np.asarray(stalled[-2:].all(axis=0))
        if not lasting.any():
            return None
        since = int(steps[np.argmax(stalled, axis=0)[lasting].min()])
        ahead = np.abs(_still_to_go(AnsweredPoint(data, pairs[-1, 0], None), problem.steps - since))
    if not (ahead > STALLED_ULPS * np.spacing(np.abs(pairs[-1, 0])))[lasting].any():
        return None
    count = f"{int(lasting.sum())} of {len(lasting)} weights no longer change"
    below = f"their updates are below half an ulp of {problem.dtype}"
    return f"stalls from step {since}: {count}, {below}; the mathematics would move on"


def _find_stalled(data: Examples, pairs: Array) -> Array:
    """Which weights (K, m) stay unchanged, from this pair to the last, by exact updates too small to change them."""
    stalled: Array = np.asarray(pairs[:, 0] == pairs[:, 1])
    following, rate = np.ones(pairs.shape[2], dtype=bool), float(data.problem.learning_rate)
    for i in range(len(pairs) - 1, -1, -1):
        if (stalled[i] & following).any():
            update = np.abs(rate * AnsweredPoint(data, pairs[i, 0], None).gradient)
            stalled[i] &= (update > 0.0) & (update <= np.spacing(np.abs(pairs[i, 0])) / 2) & following
        following = stalled[i] = stalled[i] & following
    return stalled


def _still_to_go(point: AnsweredPoint, steps: int) -> Array:
    """How far N more steps of gradient descent move, (m,), on the local quadratic model; 0 where that is not finite.

    Σᵢ vᵢ (vᵢᵀg) (1 - (1 - ηλᵢ)ᴺ)/λᵢ over the eigenpairs of the Hessian; ηN vᵢ (vᵢᵀg) where λᵢ = 0.
    """
    problem = point.data.problem
    hessian = gram(problem.X, point.details.bend / point.examples)
    hessian += np.diag(problem.layout.repeat(float(problem.l2), 0.0))
    if not np.isfinite(hessian).all():
        return np.zeros_like(point.gradient)
    values, vectors = np.linalg.eigh(hessian)
    rate = float(problem.learning_rate)
    # 1 - (1 - ηλᵢ)ᴺ, then divided by λᵢ, or ηN where λᵢ = 0
    decayed = -np.expm1(steps * np.log1p(-np.clip(rate * values, 0.0, 0.999)))
    travelled = np.where(rate * values > 1e-12, decayed / np.where(values > 0, values, 1.0), rate * steps)
    return np.asarray(vectors @ (travelled * (vectors.T @ point.gradient)))
