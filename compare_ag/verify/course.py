"""What a whole training shows beyond its single steps: a wrong start, one update too few or too many, a standstill.

The first two are mistakes, for `diagnosis`. `stagnation` is about correct runs: weights that have stopped, in float32
above all, although the mathematics would move on; a remark, never a fault.
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
"""what a stalled weight must still have before it, to be worth a remark; at rest, rounding keeps it within a few"""


def course(
    problem: Problem,
    trajectory: Trajectory,
    found: Mapping[Test, TestResult],
    reference: Reference | None,
    tolerance: Tolerance | None,
) -> list[str]:
    """Sentences on a wrong start, and on one update too few or too many that no single step shows.

    With mini-batches only the start can be told, for a training that is late there sees other batches.
    """
    if trajectory.recorded_steps[:1].tolist() == [0]:
        off = np.abs(_weights(problem, trajectory)[0, 0].astype(np.float64) - problem.initial)
        if off.any():
            return [f"the training does not start from the given weights: they are off by up to {off.max():.2g}"]
    result = found.get("trajectory")
    if reference is None or tolerance is None or problem.batch_size is not None or result is None or result.passed:
        return []
    with np.errstate(all="ignore"):
        for shift, mistake in (
            (-1, "update {} is skipped: the training is one step behind"),
            (1, "an update too many is made as number {}: the training is one step ahead"),
        ):
            updates = _shifted_from(problem, trajectory, reference, tolerance, shift)
            if updates is not None:
                number = f"{updates[0]}" if updates[0] == updates[1] else "{} to {}".format(*updates)
                return [f"{mistake.format(number)} from there on"]
    return []


def _weights(problem: Problem, trajectory: Trajectory) -> Array:
    """(K, 2, m) of the recorded pairs."""
    return problem.layout.flat((trajectory.w, trajectory.b))


def _shifted_from(
    problem: Problem, trajectory: Trajectory, reference: Reference, tolerance: Tolerance, shift: int
) -> tuple[int, int] | None:
    """The range of the update from which on step k has what step k + shift should have, shift = ±1; None: no such."""
    allowed = tolerance.loss[: len(trajectory.losses)]
    right = ~(reference.loss_deviation(trajectory.losses) > allowed)
    moved = reference.loss_deviation(np.roll(trajectory.losses, shift))
    shifted = np.roll(moved, -shift) <= np.maximum(allowed, np.roll(allowed, -shift))
    # what has no counterpart: step 0 cannot be late, and what step T + 1 should have is not known
    shifted[0 if shift < 0 else -1] = shift > 0
    if right.all():
        return None
    last = int(np.argmin(right))
    first = max(1, 1 + int(np.flatnonzero(~shifted).max(initial=-1)))
    if first > last:
        return None
    pairs = _weights(problem, trajectory).astype(np.float64)
    return (
        (first, last) if _pairs_shifted(pairs, trajectory.recorded_steps, reference, tolerance, last, shift) else None
    )


def _pairs_shifted(
    seen: Array, steps: Array, reference: Reference, tolerance: Tolerance, update: int, shift: int
) -> bool:
    """Whether the recorded weights from ``update`` on are those of ``shift`` steps later, as far as pairs can tell."""
    exact = reference.pairs(len(steps))
    high, low = exact.high.reshape(seen.shape), exact.low.reshape(seen.shape)
    mine, other = (1, 0) if shift < 0 else (0, 1)
    off = np.linalg.norm((seen[:, mine] - high[:, other]) - low[:, other], axis=1)
    bound = np.maximum(tolerance.weights[steps], tolerance.weights[steps + 1])
    after = steps + mine >= update
    return bool(after.any() and (off[after] <= bound[after]).all())


def stagnation(problem: Problem, trajectory: Trajectory) -> str | None:
    """Whether weights have stopped because their updates are below half an ulp, not because training has come to rest.

    A remark for people, or None. Full batch only: with mini-batches a weight may rest at one and move at the next.
    """
    pairs, steps = _weights(problem, trajectory), trajectory.recorded_steps
    if problem.batch_size is not None or len(steps) < 2 or not np.isfinite(pairs).all():
        return None
    if pairs.shape[2] > EIGENVALUE_LIMIT:
        return None
    data = Examples(problem)
    with np.errstate(all="ignore"):
        stalled = _stalled(data, pairs)
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


def _stalled(data: Examples, pairs: Array) -> Array:
    """Which weights (K, m) stay as they are, by an exact update too small to change them, there and ever after."""
    stalled: Array = np.asarray(pairs[:, 0] == pairs[:, 1])
    following, rate = np.ones(pairs.shape[2], dtype=bool), float(data.problem.learning_rate)
    for i in range(len(pairs) - 1, -1, -1):
        if (stalled[i] & following).any():
            update = np.abs(rate * AnsweredPoint(data, pairs[i, 0], None).gradient)
            stalled[i] &= (update > 0.0) & (update <= np.spacing(np.abs(pairs[i, 0])) / 2) & following
        following = stalled[i] = stalled[i] & following
    return stalled


def _still_to_go(point: AnsweredPoint, steps: int) -> Array:
    """How far N more steps of gradient descent would move, (m,), on the local quadratic model; 0 where that is unknown.

    Σᵢ vᵢ (vᵢᵀg) (1 - (1 - ηλᵢ)ᴺ)/λᵢ over the eigenpairs of the Hessian; ηN vᵢ (vᵢᵀg) where λᵢ = 0.
    """
    problem = point.data.problem
    hessian = gram(problem.X, point.details.bend / point.examples)
    hessian += np.diag(problem.layout.filled(float(problem.l2), 0.0))
    if not np.isfinite(hessian).all():
        return np.zeros_like(point.gradient)
    values, vectors = np.linalg.eigh(hessian)
    rate = float(problem.learning_rate)
    decayed = -np.expm1(steps * np.log1p(-np.clip(rate * values, 0.0, 0.999)))
    travelled = np.where(rate * values > 1e-12, decayed / np.where(values > 0, values, 1.0), rate * steps)
    return np.asarray(vectors @ (travelled * (vectors.T @ point.gradient)))
