"""The tolerance at one point, component by component: how far loss, gradient and one step may be off there.

`tolerance` follows a whole trajectory in norms; here the weights are known bit for bit (a host chose them, or a worker
recorded them), nothing has accumulated, and every component has a bound of its own. That is the sharp test: it depends
neither on the number of steps nor on whether training converges. Notation and constants as derived in `tolerance`;
s = (1 - 2y) z, r = dℓ/dz = (1 - 2y) σ(s), η the learning rate:

    |Δzᵢ| ≤ γ_m (|X̃||θ|)ᵢ
    |Δrᵢ| ≤ min(1, min(¼, |rᵢ| exp|Δzᵢ|) |Δzᵢ|) + κ_σ u + (1 + κ_AD) u |rᵢ|
    |Δgⱼ| ≤ 1/n Σᵢ |x̃ᵢⱼ| (|Δrᵢ| + Γ (|rᵢ| + |Δrᵢ|)) + u|gⱼ| + 4u l2|wⱼ|
    |Δf|  ≤ mean(min(1, |rᵢ| exp|Δzᵢ|) |Δzᵢ| + (κ_exp + 4) u (ℓᵢ + 2|zᵢ|)) + Γ mean(ℓ + 2|z|) + γ_{m+3} ½ l2‖w‖² + u f
    |Δθ'ⱼ| ≤ η|Δgⱼ| + 2uη|gⱼ| + u|θ'ⱼ|

The probability form amplifies: with ε = u (2/(1 - p) + κ_exp + 1), the relative error of 1 - p, it adds |rᵢ| ε/(1 - ε)
to |Δrᵢ| and ε/(1 - ε) to an example's loss; where ε ≥ 1 it has saturated, and everything is infinite: undecidable.
**Overflow.** Let T be the largest number of the format, less a factor for the ways that compute twice a number first.
No right program can be told from a wrong one by a number that lies beyond T, or whose intermediate values may: the
products and partial sums of a logit where (|X̃||θ|)ᵢ > T, for everything; the sum over the examples before the division
by n, Σ(ℓ + 2|z|) or Σ|x̃ᵢⱼ|(|rᵢ| + |Δrᵢ|), and w·w (for 0 · inf is NaN), l2 w·w and l2|wⱼ|, for the loss or the
gradient; η times those, θ'ⱼ, and 1/η where that underflows, for the step. Their tolerance is infinite: undecidable.
**Underflow.** One operation loses at most `tiny`; where it is then multiplied by η, l2 or the data, so is that.

Γ is the one statistical part: the smaller of γ_{n+2} and λ√(n+2) u, λ from one false alarm in 10⁹ verdicts
(`arithmetic`). The examples' own errors are *not* assumed independent: equal rows err alike, and so do near ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.arithmetic import HEADROOM, K_AD, K_EXP, K_SIGMOID, SECOND_ORDER, Arithmetic


@dataclass(frozen=True)
class PointTolerance:
    """The largest deviation that rounding explains at one point; inf where nothing can be decided."""

    loss: float
    gradient: Array
    """(m,), in the order of `Problem.layout`"""
    following: Array
    """(m,): of the weights after one step"""


def point_tolerance(
    problem: Problem, weights: Array, rows: Array | None = None, *, judged: int = 1, dtype: str | None = None
) -> PointTolerance:
    """The tolerance at ``weights`` (m,), on the examples ``rows`` (None: all).

    judged: how many points the whole verdict looks at, for its one false-alarm probability. dtype: None is the
    problem's; another one tells what a computation in that dtype would look like.
    """
    X = np.asarray(problem.X if rows is None else problem.X[rows], dtype=np.float64)
    y = np.asarray(problem.y if rows is None else problem.y[rows], dtype=np.float64)
    arithmetic = Arithmetic.of(dtype or problem.dtype, probability=problem.loss == "probability")
    with np.errstate(all="ignore"):
        here = Here(X, y, np.asarray(weights, dtype=np.float64), float(problem.l2))
        loss, gradient, summed = here.errors(arithmetic, judged)
        following = float(problem.learning_rate) * gradient
        following += _step_rounding(arithmetic, problem, weights, here.gradient, summed)
    return PointTolerance(float(_or_inf(np.asarray(loss))), _or_inf(gradient), _or_inf(following))


def update_tolerance(problem: Problem, weights: Array, gradient: Array) -> Array:
    """|Δθ'ⱼ| ≤ 2uη|gⱼ| + u|θ'ⱼ| for an update from known ``weights`` (m,) by a known ``gradient`` (m,)."""
    arithmetic = Arithmetic.of(problem.dtype, probability=False)
    slope = np.asarray(gradient, dtype=np.float64)
    with np.errstate(all="ignore"):
        return _or_inf(_step_rounding(arithmetic, problem, weights, slope, np.abs(slope)))


def reading_error(problem: Problem, weights: Array) -> Array:
    """u|θⱼ| (m,): how far weights that a backend keeps in a wider format may lie from what it shows of them."""
    u = Arithmetic.of(problem.dtype, probability=False).u
    return np.asarray(SECOND_ORDER * u * np.abs(np.asarray(weights, dtype=np.float64)))


def _step_rounding(arithmetic: Arithmetic, problem: Problem, weights: Array, gradient: Array, summed: Array) -> Array:
    """2uη|gⱼ| + u|θ'ⱼ| (m,), and what may underflow; inf where η, its product with Σ… or θ' may leave the format.

    summed (m,): what the gradient's terms amount to before they are divided by n.
    """
    rate = float(problem.learning_rate)
    product = np.abs(rate * gradient)
    following = np.abs(np.asarray(weights, dtype=np.float64) - rate * gradient)
    rounding = SECOND_ORDER * arithmetic.u * (2.0 * product + following)
    rounding += 4.0 * arithmetic.tiny
    if rate < HEADROOM * problem.examples * arithmetic.tiny:  # η/n underflows, before the sum multiplies it
        rounding += 4.0 * arithmetic.tiny * summed
    largest = np.maximum(rate * summed, np.abs(np.asarray(weights, dtype=np.float64)) + product)
    return np.where((largest <= arithmetic.top) & arithmetic.invertible(rate), rounding, np.inf)


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
        """Δf, Δg (m,), and what the terms of g amount to before they are divided by n (m,)."""
        u, r, n = arithmetic.u, self.residual, self.n
        gamma = float(arithmetic.gamma_of_sum(np.array(n + 2.0), judged * self.m))
        _, in_residual, in_losses = self.example_errors(arithmetic)
        volume = self.losses + 2.0 * np.abs(self.z)
        terms = in_residual + gamma * (r + in_residual)
        shrinkage = self.l2 * np.abs(np.append(self.w, 0.0))
        in_gradient = self._over_examples(terms) / n
        in_gradient += u * np.abs(self.gradient) + 4.0 * u * shrinkage
        loss = float(self.losses.mean()) + self.penalty
        in_loss = in_losses.mean() + gamma * volume.mean() + u * loss
        in_loss += float(arithmetic.gamma(np.array(self.m + 3.0))) * self.penalty
        reach = 1.0 + np.append(np.abs(self.X).mean(axis=0), 1.0)
        underflow = (n + self.m + 16.0) * arithmetic.tiny
        # wⱼ² underflows, and l2 multiplies what is lost
        faint = (self.w != 0.0) & (np.abs(self.w) < HEADROOM * np.sqrt(arithmetic.tiny))
        in_loss = SECOND_ORDER * in_loss + underflow + self.l2 * float(faint.sum()) * arithmetic.tiny
        in_gradient = SECOND_ORDER * in_gradient + underflow * reach
        summed = self._over_examples(r + in_residual) + shrinkage
        top = arithmetic.top
        square = float(self.w @ self.w)
        if not (float(self.size.max()) <= top and (square <= top or not self.l2)):
            return np.inf, np.full(self.m, np.inf), summed
        if not max(float(volume.sum()), square, self.l2 * square) <= top:
            in_loss = np.inf
        return in_loss, np.where(summed <= top, in_gradient, np.inf), summed

    def _over_examples(self, terms: Array) -> Array:
        """Σᵢ |x̃ᵢⱼ| termsᵢ, (m,)."""
        return np.append(np.abs(self.X).T @ terms, terms.sum())

    def example_errors(self, arithmetic: Arithmetic) -> tuple[Array, Array, Array]:
        """Δz, Δr and Δℓ of each example (n,)."""
        u, r = arithmetic.u, self.residual
        in_logit = float(arithmetic.gamma(np.array(self.m))) * self.size
        carried = np.minimum(r * np.exp(np.minimum(in_logit, 99.0)), 1.0)  # softplus is 1-Lipschitz
        # two probabilities differ by 1 at most, however far off the logit is
        in_residual = np.minimum(np.minimum(0.25, carried) * in_logit, 1.0) + K_SIGMOID * u + (1.0 + K_AD) * u * r
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
