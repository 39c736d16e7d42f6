"""The training that a worker reports. Untrusted until `malformation` has returned None.

A comparison that starts with `allclose` lets (3,) broadcast against (1,), empty agree with empty and NaN with NaN.
So this module checks type, dtype and shape before any number is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compare_ag.problem import Problem, recorded_steps
from compare_ag.problem.core import Array


@dataclass(frozen=True)
class Trajectory:
    """Losses and weights as recorded, all in the problem's dtype; T' ≤ T where a run broke off, K pairs."""

    losses: Array
    """(T'+1,): the loss of step k's batch after k updates"""
    recorded_steps: Array
    """(K,) integers: the k of the pairs (k, k+1) below, in the host's order; at most those with k+1 ≤ T'"""
    w: Array
    """(K, 2, d): at k and k+1"""
    b: Array
    """(K, 2)"""
    full_losses: Array
    """(K,): the loss over all data at k; with the full batch it may be empty, because it would repeat ``losses``"""
    final_w: Array | None
    """(d,): after T updates; None, with ``final_b``, only where the run broke off"""
    final_b: Array | None
    """()"""

    @property
    def steps(self) -> int:
        """T': the updates made before the last recorded loss."""
        return len(self.losses) - 1


def malformation(problem: Problem, trajectory: Trajectory) -> str | None:
    """The first thing wrong with the form of ``trajectory``, as a clause for people, or None."""
    return (
        _bad_losses(problem, trajectory) or _bad_pairs(problem, trajectory) or _bad_final(problem, trajectory)
    )  # fmt: skip  # in this order: later checks rely on earlier checks


def _bad_losses(problem: Problem, trajectory: Trajectory) -> str | None:
    losses: object = trajectory.losses
    count = len(losses) if isinstance(losses, np.ndarray) and losses.ndim == 1 else 0
    if not 1 <= count <= problem.steps + 1:
        return f"losses: expected at most {problem.steps + 1} values, got {_describe(losses)}"
    return _bad("losses", losses, (count,), problem.dtype)


def _bad_pairs(problem: Problem, trajectory: Trajectory) -> str | None:
    expected = recorded_steps(problem.steps)
    steps: object = trajectory.recorded_steps
    if not isinstance(steps, np.ndarray) or steps.ndim != 1 or (steps.size and steps.dtype.kind not in "iu"):
        return f"recorded steps: expected a list of integers, got {_describe(steps)}"
    count, reached = len(steps), sum(k < trajectory.steps for k in expected)
    if steps.tolist() != expected[:count] or count > reached or (_complete(problem, trajectory) and count < reached):
        return f"recorded steps: expected {_abridge(expected[:reached])}, got {_abridge(steps.tolist())}"
    full: object = trajectory.full_losses
    may_be_empty = problem.batch_size is None and isinstance(full, np.ndarray) and full.size == 0
    return (
        _bad("w", trajectory.w, (count, 2, problem.features), problem.dtype)
        or _bad("b", trajectory.b, (count, 2), problem.dtype)
        or _bad("full-data losses", full, (0 if may_be_empty else count,), problem.dtype)
    )


def _bad_final(problem: Problem, trajectory: Trajectory) -> str | None:
    w, b = trajectory.final_w, trajectory.final_b
    if w is None and b is None and not _complete(problem, trajectory):
        return None
    return _bad("final w", w, (problem.features,), problem.dtype) or _bad("final b", b, (), problem.dtype)


def _complete(problem: Problem, trajectory: Trajectory) -> bool:
    return trajectory.steps == problem.steps


def _bad(name: str, array: object, shape: tuple[int, ...], dtype: str) -> str | None:
    if isinstance(array, np.ndarray | np.generic) and array.shape == shape and array.dtype == np.dtype(dtype):
        return None
    return f"{name}: expected {dtype} of shape {shape}, got {_describe(array)}"


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def _abridge(steps: list[int]) -> str:
    if len(steps) <= 6:
        return str(steps)
    return f"[{', '.join(map(str, steps[:3]))}, …, {steps[-1]}] ({len(steps)} steps)"
