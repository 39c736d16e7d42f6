"""How far loss and gradient of logistic regression may be off at one point, derived by hand: a witness for the rules.

s = (1 - 2y) z, r = dℓ/dz = (1 - 2y) σ(s), X̃ the data with a column of ones, m their columns:

    |Δzᵢ| ≤ γ_m (|X̃||θ|)ᵢ
    |Δrᵢ| ≤ min(1, min(¼, |rᵢ| exp|Δzᵢ|) |Δzᵢ|) + κ_σ u + (1 + κ_AD) u |rᵢ|
    |Δgⱼ| ≤ 1/n Σᵢ |x̃ᵢⱼ| (|Δrᵢ| + Γ (|rᵢ| + |Δrᵢ|)) + u|gⱼ| + 4u l2|wⱼ|
    |Δf|  ≤ mean(min(1, |rᵢ| exp|Δzᵢ|) |Δzᵢ| + (κ_exp + 4) u (ℓᵢ + 2|zᵢ|)) + Γ mean(ℓ + 2|z|) + γ_{m+3} ½ l2‖w‖² + u f

The probability form amplifies: with ε = u (2/(1 - p) + κ_exp + 1), the relative error of 1 - p, it adds |rᵢ| ε/(1 - ε)
to |Δrᵢ| and ε/(1 - ε) to an example's loss; where ε ≥ 1 it has saturated, and everything is infinite. So it is where
products and partial sums of a logit, of the sums over the examples before their division by n, or of a penalty may
leave the format.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

K_EXP, K_SIGMOID, K_AD = 8.0, 10.0, 8.0
HEADROOM = 4.0
SECOND_ORDER = 1.01
FALSE_ALARM = 1e-9


class Format(NamedTuple):
    u: float
    tiny: float
    top: float

    @classmethod
    def of(cls, dtype: str) -> Format:
        info = np.finfo(dtype)
        return cls(float(info.eps) / 2, float(info.tiny), float(info.max) / HEADROOM)

    def gamma(self, k: float) -> float:
        """γₖ; inf where k terms may lose every digit."""
        return k * self.u / (1.0 - k * self.u) if k * self.u < 1.0 else np.inf

    def gamma_of_sum(self, k: float, sums: int) -> float:
        """Γ: the worst case γₖ, or what ``sums`` sums of k terms exceed with probability `FALSE_ALARM` only."""
        multiplier = math.sqrt(2.0 * math.log(2.0 * k * sums / FALSE_ALARM))
        return min(self.gamma(k), multiplier / math.sqrt(k) * self.gamma(k))

    def error_of_complement(self, z: Any, off: Any) -> Any:
        """ε/(1 - ε) of 1 - p, for logits that are off; inf where p saturates."""
        top = np.minimum(z + off, 1.0 - math.log(self.u))
        lost = self.u * (2.0 * (1.0 + np.exp(top)) + K_EXP + 1.0)
        lost = np.where((z - off > 0.5 * math.log(self.tiny)) & (lost < 1.0), lost, np.inf)
        return np.where(lost < 1.0, lost / (1.0 - np.minimum(lost, 0.999999)), np.inf)


def tolerance(problem: Any, theta: Any) -> tuple[float, Any]:
    """Of the loss, and of the gradient (m,), at θ (m,) on all examples."""
    X, y = np.asarray(problem.X, dtype=np.float64), np.asarray(problem.y, dtype=np.float64)
    w, l2 = np.asarray(theta, dtype=np.float64)[:-1], float(problem.l2)
    a, n, m = Format.of(problem.dtype), len(y), len(theta)
    with np.errstate(all="ignore"):
        z = X @ w + theta[-1]
        s = (1.0 - 2.0 * y) * z
        decay = np.exp(-np.abs(s))
        r, losses = np.where(s >= 0, 1.0, decay) / (1.0 + decay), np.maximum(s, 0.0) + np.log1p(decay)
        volume = losses + 2.0 * np.abs(z)

        in_logit = a.gamma(m) * (np.abs(X) @ np.abs(w) + abs(theta[-1]))
        carried = np.minimum(r * np.exp(np.minimum(in_logit, 99.0)), 1.0)
        in_residual = np.minimum(np.minimum(0.25, carried) * in_logit, 1.0) + K_SIGMOID * a.u + (1.0 + K_AD) * a.u * r
        in_losses = carried * in_logit + (K_EXP + 4.0) * a.u * volume
        if problem.loss == "probability":
            lost = a.error_of_complement(z, in_logit)
            in_residual, in_losses = in_residual + r * lost, in_losses + lost

        def over_examples(terms: Any) -> Any:
            return np.append(np.abs(X).T @ terms, terms.sum())

        gamma = a.gamma_of_sum(n + 2.0, m)
        shrinkage = l2 * np.append(w, 0.0)
        slope = np.append(X.T @ ((1.0 - 2.0 * y) * r), ((1.0 - 2.0 * y) * r).sum()) / n + shrinkage
        in_slope = over_examples(in_residual + gamma * (r + in_residual)) / n
        in_slope += a.u * np.abs(slope) + 4.0 * a.u * np.abs(shrinkage)
        penalty = l2 / 2.0 * float(w @ w)
        in_loss = (
            in_losses.mean() + gamma * volume.mean() + a.u * (losses.mean() + penalty) + a.gamma(m + 3.0) * penalty
        )

        underflow = (n + m + 16.0) * a.tiny
        faint = (w != 0.0) & (np.abs(w) < HEADROOM * np.sqrt(a.tiny))
        in_loss = SECOND_ORDER * in_loss + underflow + l2 * float(faint.sum()) * a.tiny
        in_slope = SECOND_ORDER * in_slope + underflow * (1.0 + np.append(np.abs(X).mean(axis=0), 1.0))

        square, size = float(w @ w), float((np.abs(X) @ np.abs(w) + abs(theta[-1])).max())
        if not (size <= a.top and (square <= a.top or not l2)):
            return np.inf, np.full(m, np.inf)
        if not max(float(volume.sum()), square, l2 * square) <= a.top or np.isnan(in_loss):
            in_loss = np.inf
        summed = over_examples(r + in_residual) + np.abs(shrinkage)
        return float(in_loss), np.where((summed <= a.top) & ~np.isnan(in_slope), in_slope, np.inf)
