"""Did the training come to rest? A statement about the problem and its steps, never about a backend's correctness.

It matters to the reader of a verdict: once gradient descent has converged, final weights hardly depend on the
gradient's details any more.

A small gradient alone shows little: a coarse format cannot tell even a large gradient from zero, and where examples are
saturated a small gradient may lead far. So the end of a training must meet two conditions:

**Small gradient.** ‖∇f‖ has been reduced by `REDUCTION`, or is at most the floor below which the dtype cannot tell it
from zero. A residual is known to κ_σ u, a logit to about √m u S‖θ‖ of which σ passes on ¼, and a sum of n products to
about √n u times their size (roundings behave as a random walk: Higham and Mary 2019; the worst case n would take a
small float32 gradient on 10,000 examples for zero). S = rms ‖x̃ᵢ‖ carries all of these to the gradient:

    floor = u S (κ_σ + √n rms r + ¼ √m S ‖θ‖)

**Nothing left to gain.** Newton's step would lower the loss by ½ ∇fᵀH⁻¹∇f, half the squared Newton decrement [Boyd and
Vandenberghe, Convex Optimization, 9.5], which is at most `REMAINING` of the loss itself. This quantity does not depend
on the scales of features and weights. It is infinite where the gradient points along a direction without curvature (a
saturated example that is wrong). On separable data, whose loss has no minimum, it is about half the loss, however long
the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from compare_ag.model.arithmetic import K_SIGMOID
from compare_ag.problem import Problem
from compare_ag.problem.core import Array, designs, gram, squared_lengths
from compare_ag.records import ConvergenceRecord, real
from compare_ag.verify.curvature import EIGENVALUE_LIMIT
from compare_ag.verify.objective import Objective
from compare_ag.verify.reference import Magnitudes, magnitudes_at

REDUCTION = 1e-6
"""A gradient norm reduced by this factor counts as small, whatever the dtype can do."""
REMAINING = 1e-6
"""A gain of at most this share of the loss counts as none."""
MOST_ITERATIONS = 200
MOST_OPERATIONS = 5e8
"""of conjugate gradients, about a second"""


def convergence(problem: Problem, w: Array, b: Array) -> ConvergenceRecord:
    """Compare the full-data objective at the weights w (d,), b () with that at the problem's start."""
    objective = Objective(problem)
    theta = problem.layout.flat((w, b)).astype(np.float64)
    with np.errstate(all="ignore"):
        start = magnitudes_at(objective, problem.initial.astype(np.float64))
        end = magnitudes_at(objective, theta)
        floor = gradient_floor(problem, end)
        before, after = float(start.gradient[0]), float(end.gradient[0])
        small = after <= max(REDUCTION * before, floor) and math.isfinite(after)
        gain = possible_gain(objective, theta) if small else None
    loss = float(end.loss[0])
    converged = gain is not None and math.isfinite(gain) and gain <= REMAINING * loss
    verb = "converged" if converged else "not converged"
    message = f"{verb}: the gradient norm went from {before:.2g} to {after:.2g}"
    if gain is not None and not converged:
        fall = f"could still fall by {gain:.2g}" if math.isfinite(gain) else "falls along a direction without curvature"
        message += f", but the loss of {loss:.2g} {fall}"
    return ConvergenceRecord(
        gradient_norm_start=real(before), gradient_norm_end=real(after), converged=converged, message=message
    )


def gradient_floor(problem: Problem, end: Magnitudes) -> float:
    """The gradient norm below which the tested dtype cannot tell it from zero, by the magnitudes at one point (m,)."""
    n, m = problem.examples, problem.layout.size
    # S = rms ‖x̃ᵢ‖
    spread = math.sqrt(float(squared_lengths(problem.X).mean()))
    u = float(np.finfo(problem.dtype).eps) / 2
    # ¼ √m S ‖θ‖, the error of a logit in units of u, as σ passes it on
    drift = 0.25 * math.sqrt(m) * spread * float(end.weights[0])
    # u S (κ_σ + √n rms r + ¼ √m S ‖θ‖)
    return u * spread * (K_SIGMOID + math.sqrt(n) * float(end.residual[0]) + drift)


def possible_gain(objective: Objective, theta: Array) -> float:
    """½ gᵀH⁻¹g at θ (m,), by conjugate gradients on the diagonally scaled H: a lower bound that grows to it.

    Infinite where the gradient g has a part along a direction in which H has no curvature.
    """
    problem = objective.problem
    details = objective.details(theta)
    gradient, share = details.gradient, details.bend / problem.examples
    penalty = problem.layout.repeat(float(problem.l2), 0.0)
    curvature, diagonal = _hessian(problem.X, share)
    # with C² = diag H: gᵀH⁻¹g = ĝᵀĤ⁻¹ĝ for ĝ = C⁻¹g, Ĥ = C⁻¹HC⁻¹, whose diagonal is 1
    scale = np.sqrt(diagonal + penalty)  # C
    flat = scale == 0.0
    if (gradient[flat] != 0.0).any():
        return math.inf
    scale[flat] = 1.0
    residual = gradient / scale  # ĝ
    direction, square = residual, float(residual @ residual)
    gain, enough = 0.0, 1e-20 * square
    for _ in range(min(len(theta), MOST_ITERATIONS, 8 + int(MOST_OPERATIONS / problem.X.size))):
        if not square > enough:
            break
        moved = direction / scale
        # Ĥd and dᵀĤd
        bent = (curvature(moved) + penalty * moved) / scale
        along = float(direction @ bent)
        if not along > 0.0:
            return math.inf
        # the step α = |residual|²/(dᵀĤd) along `direction` lowers the quadratic model by ½ α |residual|²
        length = square / along
        gain += 0.5 * length * square
        residual = residual - length * bent
        before, square = square, float(residual @ residual)
        direction = residual + square / before * direction
    return gain if math.isfinite(gain) else math.inf


def _hessian(X: Array, share: Array) -> tuple[Callable[[Array], Array], Array]:
    """The product with X̃ᵀ diag(share) X̃, and its diagonal (m,): the matrix itself where that is smaller than X̃."""
    n, d = X.shape
    if d < min(n, EIGENVALUE_LIMIT):
        form = gram(X, share)
        return form.__matmul__, form.diagonal()
    ((_, design),) = designs(X, n)
    return lambda v: design.T @ (share * (design @ v)), np.einsum("ij,i,ij->j", design, share, design)
