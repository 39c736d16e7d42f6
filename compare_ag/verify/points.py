"""The tolerance at one point, component by component: how far loss, gradient and one step may be off there.

`tolerance` follows a whole trajectory in norms; here the weights are known bit for bit (a host chose them, or a worker
recorded them), nothing has accumulated, and every component has a bound of its own. That is the sharp test: it depends
neither on the number of steps nor on whether training converges. Notation and constants as derived in `tolerance`;
s = (1 - 2y) z, r = dℓ/dz = (1 - 2y) σ(s), η the learning rate:

    |Δzᵢ| ≤ γ_m (|X̃||θ|)ᵢ
    |Δrᵢ| ≤ min(¼, |rᵢ| exp|Δzᵢ|) |Δzᵢ| + κ_σ u + (1 + κ_AD) u |rᵢ|
    |Δgⱼ| ≤ 1/n Σᵢ |x̃ᵢⱼ| (|Δrᵢ| + Γ (|rᵢ| + |Δrᵢ|)) + u|gⱼ| + 4u l2|wⱼ|
    |Δf|  ≤ mean(|rᵢ| exp|Δzᵢ| |Δzᵢ| + (κ_exp + 4) u (ℓᵢ + 2|zᵢ|)) + Γ mean(ℓ + 2|z|) + γ_{m+3} ½ l2‖w‖² + u f
    |Δθ'ⱼ| ≤ η|Δgⱼ| + 2uη|gⱼ| + u|θ'ⱼ|

The probability form amplifies: with ε = u (2/(1 - p) + κ_exp + 1), the relative error of 1 - p, it adds |rᵢ| ε/(1 - ε)
to |Δrᵢ| and ε/(1 - ε) to an example's loss; where ε ≥ 1 it has saturated, and everything is infinite: undecidable.
Γ is the one statistical part: the smaller of γ_{n+2} and λ√(n+2) u, λ from one false alarm in 10⁹ verdicts
(`arithmetic`). The examples' own errors are *not* assumed independent: equal rows err alike, and so do near ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.arithmetic import K_AD, K_EXP, K_SIGMOID, SECOND_ORDER, Arithmetic


@dataclass(frozen=True)
class PointTolerance:
    """The largest deviation that rounding explains at one point; inf where nothing can be decided."""

    loss: float
    gradient: Array
    """(m,), m = d + 1, b last"""
    following: Array
    """(m,): of the weights after one step"""


def point_tolerance(
    problem: Problem, weights: Array, rows: Array | None = None, *, judged: int = 1, dtype: str | None = None
) -> PointTolerance:
    """The tolerance at ``weights`` (m,), b last, on the examples ``rows`` (None: all).

    judged: how many points the whole verdict looks at, for its one false-alarm probability. dtype: None is the
    problem's; another one tells what a computation in that dtype would look like.
    """
    X = np.asarray(problem.X if rows is None else problem.X[rows], dtype=np.float64)
    y = np.asarray(problem.y if rows is None else problem.y[rows], dtype=np.float64)
    arithmetic = Arithmetic.of(dtype or problem.dtype, probability=problem.loss == "probability")
    with np.errstate(all="ignore"):
        found = Here(X, y, np.asarray(weights, dtype=np.float64), float(problem.l2)).errors(arithmetic, judged)
        loss, gradient, slope = found
        product = float(problem.learning_rate) * slope
        following = problem.learning_rate * gradient
        following += SECOND_ORDER * arithmetic.u * (2.0 * np.abs(product) + np.abs(weights - product))
    return PointTolerance(float(_or_inf(np.asarray(loss))), _or_inf(gradient), _or_inf(following))


def update_tolerance(problem: Problem, weights: Array, gradient: Array) -> Array:
    """|Δθ'ⱼ| ≤ 2uη|gⱼ| + u|θ'ⱼ| for an update from known ``weights`` (m,) by a known ``gradient`` (m,)."""
    arithmetic = Arithmetic.of(problem.dtype, probability=False)
    with np.errstate(all="ignore"):
        product = float(problem.learning_rate) * np.asarray(gradient, dtype=np.float64)
        rounding = 2.0 * np.abs(product) + np.abs(np.asarray(weights, dtype=np.float64) - product)
        return _or_inf(SECOND_ORDER * arithmetic.u * rounding + 4.0 * arithmetic.tiny)


class Here:
    """The objective at one θ in float64, with what the bounds are made of."""

    def __init__(self, X: Array, y: Array, theta: Array, l2: float) -> None:
        self.X, self.w, self.l2 = X, theta[:-1], l2
        self.n, self.m = len(y), len(theta)
        z = X @ theta[:-1] + theta[-1]
        s = (1.0 - 2.0 * y) * z
        decay = np.exp(-np.abs(s))
        self.z = z
        self.residual = np.where(s >= 0, 1.0, decay) / (1.0 + decay)
        self.losses = np.maximum(s, 0.0) + np.log1p(decay)
        self.size = np.abs(X) @ np.abs(theta[:-1]) + abs(theta[-1])
        signed = (1.0 - 2.0 * y) * self.residual
        self.gradient = np.append(X.T @ signed / self.n + l2 * self.w, signed.mean())
        self.penalty = l2 / 2.0 * float(self.w @ self.w)

    def errors(self, arithmetic: Arithmetic, judged: int) -> tuple[float, Array, Array]:
        """Δf, Δg (m,) and g (m,)."""
        u, r = arithmetic.u, self.residual
        summed = float(arithmetic.gamma_of_sum(np.array(self.n + 2.0), judged * self.m))
        _, in_residual, in_losses = self.example_errors(arithmetic)
        volume = self.losses + 2.0 * np.abs(self.z)
        terms = in_residual + summed * (r + in_residual)
        in_gradient = np.append(np.abs(self.X).T @ terms, terms.sum()) / self.n
        in_gradient += u * np.abs(self.gradient) + 4.0 * u * self.l2 * np.abs(np.append(self.w, 0.0))
        loss = float(self.losses.mean()) + self.penalty
        in_loss = in_losses.mean() + summed * volume.mean() + u * loss
        in_loss += float(arithmetic.gamma(np.array(self.m + 3.0))) * self.penalty
        reach = 1.0 + np.append(np.abs(self.X).mean(axis=0), 1.0)
        underflow = (self.n + self.m + 16.0) * arithmetic.tiny
        return SECOND_ORDER * in_loss + underflow, SECOND_ORDER * in_gradient + underflow * reach, self.gradient

    def example_errors(self, arithmetic: Arithmetic) -> tuple[Array, Array, Array]:
        """Δz, Δr and Δℓ of each example (n,)."""
        u, r = arithmetic.u, self.residual
        in_logit = float(arithmetic.gamma(np.array(self.m))) * self.size
        carried = r * np.exp(np.minimum(in_logit, 99.0))
        in_residual = np.minimum(0.25, carried) * in_logit + K_SIGMOID * u + (1.0 + K_AD) * u * r
        in_losses = carried * in_logit + (K_EXP + 4.0) * u * (self.losses + 2.0 * np.abs(self.z))
        if arithmetic.probability:
            lost = arithmetic.complement_error(self.z, self.z, in_logit)
            lost = np.where(lost < 1.0, lost / (1.0 - np.minimum(lost, 0.999999)), np.inf)
            in_residual += r * lost  # 0 · inf, where nothing can be said, is NaN and becomes inf
            in_losses += lost
        return in_logit, in_residual, in_losses


def _or_inf(values: Array) -> Array:
    finite: Array = np.where(np.isnan(values), np.inf, values)
    return finite
