"""Lower bounds of the objective's curvature: how fast gradient descent forgets its rounding errors.

Between two weights θ, θ' the gradient step contracts by 1 - ημ where μ ≤ λmin(H) along the segment, H = X̃ᵀDX̃/n + l2 P,
D = diag σ'(zᵢ), P = diag(1, …, 1, 0) (b is not penalised). Without a bound on μ, a tolerance grows with every
step without limit. All results are lower bounds in exact arithmetic: the errors of float64 are subtracted.

**By the largest logit.** If |zᵢ| ≤ a on the segment, with s = σ'(a) and M = X̃ᵀX̃/n: H ⪰ sM + l2 P. The least eigenvalue
is concave and 0 ≤ s ≤ ¼, hence λmin(sM + l2 P) ≥ 4s λmin(¼M + l2 P) = 4sκ. For the full batch κ is an eigenvalue;
for every batch κ ≥ l2/(R² + 4 l2), R = max‖x̃ᵢ‖: for a unit vector (v, c), c ≥ 0, and ρ² = R² - 1,
mean (xᵢᵀv + c)² ≥ ((c - ρ‖v‖)₊)². If c ≥ ρ‖v‖, the form is at least that of ((¼, -ρ/4), (-ρ/4, ρ²/4 + l2)), whose least
eigenvalue exceeds determinant/trace = l2/(R² + 4 l2); otherwise ‖v‖² > 1/R² and the penalty alone gives l2/R².

**By an anchor.** |d log σ'(z)/dz| ≤ 1, so H(θ) ⪰ exp(-max|zᵢ - zᵢ'|) H(θ') ⪰ exp(-R‖θ - θ'‖) H(θ'). The recorded
weights of the reference serve as θ' (full batch), and the length of the path, Σ η‖g‖, bounds the distance. This bound
is the sharper one as soon as the weights move slowly, because a single large logit does not lower it.
"""

from __future__ import annotations

import math

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array, gram, squared_lengths
from compare_ag.verify.objective import Objective

EIGENVALUE_LIMIT = 2048
"""parameters beyond which an eigenvalue would cost more than the training: there only l2 counts"""


def uniform_curvature(problem: Problem) -> float:
    """κ: a lower bound of λmin(¼ X̃ᵀX̃/n + l2 P) for every batch of the problem."""
    l2 = float(problem.l2)
    # κ ≥ l2/(R² + 4 l2) for every batch
    kappa = l2 / (float(squared_lengths(problem.X).max()) + 4.0 * l2)
    if problem.batch_size is None and _worth_solving(problem):
        # λmin(¼M + l2 P), M = X̃ᵀX̃/n
        kappa = max(kappa, _least_eigenvalue(problem, gram(problem.X) / (4.0 * problem.examples)))
    return kappa


def anchored_curvature(problem: Problem, steps: Array, weights: Array, travelled: Array, longest: float) -> Array:
    """A lower bound (T+1,) of λmin(H) at the reference's weights of every step, R = ``longest``; 0 for mini-batches.

    steps: those (S,) of the reference whose weights (S, m) are known. travelled: Σ η‖g‖ up to each step (T+1,).

    Computes an eigenvalue for each anchor, and takes no longer than the training: 2nm² operations each against 4nmT.
    Arithmetic limits the former, memory the latter, so that the former run four times as fast.
    """
    bound = np.zeros_like(travelled)
    count = min(len(steps), 8 * problem.steps // problem.layout.size + 1)
    if problem.batch_size is not None or not count or not _worth_solving(problem):
        return bound
    objective = Objective(problem)
    reading = objective.on(objective.bend_reader)
    for i in np.unique(np.linspace(0, len(steps) - 1, count).round().astype(int)):
        (bend,) = reading.at(objective.parameters(weights[i]))
        least = _least_eigenvalue(problem, gram(problem.X, bend))
        # ‖θ - θ'‖ ≤ distance, and λmin(H(θ)) ≥ exp(-R‖θ - θ'‖) λmin(H(θ'))
        distance = np.abs(travelled - travelled[steps[i]])
        np.fmax(bound, least * np.exp(-longest * distance), out=bound)
    return 0.99 * bound


def _worth_solving(problem: Problem) -> bool:
    """Whether an eigenvalue of H is cheap, and H is regular: there is a penalty, or there are enough examples."""
    m = problem.layout.size
    return m <= EIGENVALUE_LIMIT and (problem.l2 > 0 or m <= problem.examples)


def _least_eigenvalue(problem: Problem, products: Array) -> float:
    """A lower bound of λmin(X̃ᵀDX̃/n + l2 P), for products X̃ᵀDX̃/n (m, m) in float64.

    The largest error of float64 is subtracted: forming the matrix is wrong by γₙ‖X̃ᵀDX̃‖ in the Frobenius norm at most
    (that of the absolute values, below the trace), solving it by a modest multiple of m u ‖H‖.
    """
    n, m = problem.examples, len(products)
    form = products.copy()
    form[np.diag_indices(m)] += problem.layout.repeat(float(problem.l2), 0.0)
    if not np.isfinite(form).all():
        return 0.0
    slip = float(np.finfo(np.float64).eps) * (n + 20.0 * m) * float(np.trace(form))
    return max(0.0, math.nextafter(float(np.linalg.eigvalsh(form)[0]) - slip, -math.inf))
