"""Did the training come to rest? A statement about the problem and its steps, never about a backend's correctness.

It matters to the reader of a verdict: once gradient descent has converged, final weights hardly depend on the
gradient's details any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.arithmetic import K_SIGMOID
from compare_ag.verify.reference import Objective

REDUCTION = 1e-6
"""A gradient norm reduced by this factor counts as converged, whatever the dtype can do."""


@dataclass(frozen=True)
class Convergence:
    """The full-data gradient norm ‖∇f‖₂, in float64, at the start and at the end of a training."""

    gradient_norm_start: float
    gradient_norm_end: float
    floor: float
    """the gradient norm at which the tested dtype's own rounding takes over"""
    converged: bool
    message: str


def convergence(problem: Problem, w: Array, b: Array) -> Convergence:
    """Compare the gradient at the weights w (d,), b () with the gradient at the problem's start.

    Converged: reduced by `REDUCTION`, or down to the floor at which the dtype cannot tell it from zero. A residual
    is known to κ_σ u, a logit to about √m u S‖θ‖ of which σ passes on ¼, and a sum of n products to about √n u
    times their size (roundings behave as a random walk: Higham and Mary 2019; the worst case n would call a float32
    gradient on 10,000 examples zero when it is merely small), all carried to the gradient by S = rms ‖x̃ᵢ‖:

        floor = u S (κ_σ + √n rms r + ¼ √m S ‖θ‖)
    """
    objective = Objective(problem)
    n, m = objective.signed.shape
    with np.errstate(all="ignore"):
        start = objective.at(np.append(problem.w0, problem.b0).astype(np.float64))
        end = objective.at(np.append(w, b).astype(np.float64))
        spread = math.sqrt(float(np.einsum("ij,ij->", objective.signed, objective.signed)) / n)
    u = float(np.finfo(problem.dtype).eps) / 2
    drift = 0.25 * math.sqrt(m) * spread * float(end.weights[0])
    floor = u * spread * (K_SIGMOID + math.sqrt(n) * float(end.residual[0]) + drift)
    before, after = float(start.gradient[0]), float(end.gradient[0])
    converged = after <= max(REDUCTION * before, floor)
    verb = "converged" if converged else "not converged"
    message = f"{verb}: the gradient norm went from {before:.2g} to {after:.2g}"
    return Convergence(before, after, floor, converged, message)
