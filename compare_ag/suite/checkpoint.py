"""The checkpoint from whose neighbourhood steps are timed: a step and the weights of the reference trajectory there.

Late steps can cost more than early ones (denormal numbers, saturated examples), so every backend is timed near the same
weights of the same training. Callers perturb them before they leave the host (`speed.schedule.perturb`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.problem import recorded_steps
from compare_ag.verify import reference_trajectory

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.verify import Reference
    from compare_ag.worker.messages import Array


def choose_checkpoint(
    reference: Reference, recorded: Sequence[int], problem: Problem, where: str = "middle"
) -> tuple[int, Array, Array]:
    """Step and weights w (d,), b () at "start", "middle" or "end" of the reference trajectory.

    recorded: the steps of ``reference.weights``. Where weights overflow the problem's dtype on the way there, the last
    finite ones before are chosen.
    """
    with np.errstate(over="ignore"):
        w, b = problem.layout.parts(reference.weights[:, 0].astype(problem.dtype))
    finite = np.isfinite(w).all(axis=-1) & np.isfinite(b)
    last = max(0, int(np.argmin(finite)) - 1 if not finite.all() else len(finite) - 1)
    index = {"start": 0, "middle": min(len(recorded) // 2, last), "end": last}[where]
    return recorded[index], w[index], b[index]


def compute_checkpoint(problem: Problem, where: str = "middle") -> tuple[int, Array, Array]:
    """The same where no run has computed a reference: trains the reference first."""
    return choose_checkpoint(reference_trajectory(problem), recorded_steps(problem.steps), problem, where)
