"""Loss and gradient at one point in float64, and a bound for what a correct backend's rounding can add.

The constants and the reasoning are those of `compare_ag.verify.tolerance`; there the bound follows a whole
trajectory in norms, here it judges one point, component by component. With x̃ᵢ = (xᵢ, 1), m = d + 1, u the unit
roundoff of the tested dtype, γₖ = ku/(1 - ku), s = (1 - 2y) z, r = dℓ/dz = (1 - 2y) σ(s):

    |Δzᵢ| ≤ γ_m (|X||w| + |b|)ᵢ
    |Δrᵢ| ≤ min(¼, |rᵢ| exp|Δzᵢ|) |Δzᵢ| + κ_σ u + (1 + κ_AD) u |rᵢ|           + |rᵢ| ε/(1 - ε)  probability form
    |Δℓᵢ| ≤ |rᵢ| exp|Δzᵢ| |Δzᵢ| + (κ_exp + 4) u (ℓᵢ + 2|zᵢ|)                   + ε/(1 - ε)       probability form
    |Δgⱼ| ≤ 1/n Σᵢ |x̃ᵢⱼ| (|Δrᵢ| + γ_{n+2} (|rᵢ| + |Δrᵢ|)) + u|gⱼ| + 4u l2|wⱼ|
    |Δf|  ≤ mean|Δℓ| + γ_{n+2} mean(ℓ + 2|z|) + γ_{m+3} ½ l2‖w‖² + u f

where ε = u (2/(1 - p) + κ_exp + 1) is the relative error of 1 - p; where ε ≥ 1 the probability form has
saturated and the bound is infinite. The float64 values here have the stable form's bound of their own, added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.verify.tolerance import K_AD, K_EXP, K_SIGMOID, SECOND_ORDER

if TYPE_CHECKING:
    from compare_ag.problem.core import Array, Problem


@dataclass(frozen=True)
class Bounded:
    """A value and the largest rounding error of a correct backend, both of one shape."""

    value: Array
    tolerance: Array

    def explains(self, tested: Array) -> bool:
        """Whether the tested value lies within the bound everywhere. NaN does only where the bound is infinite."""
        if tested.shape != self.value.shape:
            return False
        with np.errstate(invalid="ignore"):
            return bool(np.all((np.abs(tested - self.value) <= self.tolerance) | np.isposinf(self.tolerance)))

    def excess(self, tested: Array) -> str:
        """The worst component in words."""
        with np.errstate(invalid="ignore"):
            distance = np.abs(np.ravel(tested) - np.ravel(self.value))
        worst = int(np.argmax(np.nan_to_num(distance / np.ravel(self.tolerance), nan=np.inf)))
        value, bound = np.ravel(self.value)[worst], np.ravel(self.tolerance)[worst]
        return f"component {worst} is {np.ravel(tested)[worst]!r}, expected {value!r} within {bound:.2g}"


@dataclass(frozen=True)
class Point:
    """The objective at one (w, b), over all examples of a problem."""

    loss: Bounded
    """()"""
    w: Bounded
    """∂f/∂w (d,)"""
    b: Bounded
    """∂f/∂b ()"""


def point(problem: Problem, w: Array, b: Array) -> Point:
    """Evaluate the objective of ``problem`` at finite w (d,) and b (), for a backend that computes in its dtype."""
    X, y, w, b = (np.asarray(array, dtype=np.float64) for array in (problem.X, problem.y, w, b))
    n, l2 = len(y), float(problem.l2)
    sign = 1 - 2 * y
    z = X @ w + b
    s = sign * z
    e = np.exp(-np.abs(s))
    r = sign * np.where(s >= 0, 1, e) / (1 + e)
    losses = np.maximum(s, 0) + np.log1p(e)
    size = np.abs(X) @ np.abs(w) + np.abs(b)

    loss = np.asarray(losses.mean() + l2 / 2 * (w @ w))
    slope_w, slope_b = X.T @ r / n + l2 * w, np.asarray(r.mean())

    def rounding(dtype: str, *, probability: bool) -> tuple[Array, Array, Array]:
        """The bounds (Δf, Δ∂f/∂w, Δ∂f/∂b) for one arithmetic."""
        u = float(np.finfo(dtype).eps) / 2
        many, m = _gamma(n + 2, u), X.shape[1] + 1
        in_z = _gamma(m, u) * size
        carried = np.abs(r) * np.exp(in_z)
        in_r = np.minimum(0.25, carried) * in_z + K_SIGMOID * u + (1 + K_AD) * u * np.abs(r)
        volume = losses + 2 * np.abs(z)
        in_losses = carried * in_z + (K_EXP + 4) * u * volume
        if probability:
            complement = _complement_error(z + in_z, z - in_z, dtype)
            in_r += np.abs(r) * complement  # 0 · inf, where nothing can be said, becomes inf below
            in_losses += complement
        summed = in_r + many * (np.abs(r) + in_r)
        in_loss = in_losses.mean() + many * volume.mean() + _gamma(m + 3, u) * l2 / 2 * (w @ w) + u * loss
        in_w = np.abs(X).T @ summed / n + u * np.abs(slope_w) + 4 * u * l2 * np.abs(w)
        in_b = summed.mean() + u * np.abs(slope_b)
        return in_loss, in_w, in_b

    with np.errstate(invalid="ignore"):
        tested = rounding(problem.dtype, probability=problem.loss == "probability")
        own = rounding("float64", probability=False)
    bounds = (SECOND_ORDER * np.asarray(a + b) for a, b in zip(tested, own, strict=True))
    values = (loss, slope_w, slope_b)
    return Point(*(Bounded(v, np.where(np.isnan(t), np.inf, t)) for v, t in zip(values, bounds, strict=True)))


def descended(dtype: str, start: Array, slope: Bounded, learning_rate: float) -> Bounded:
    """w - η g for a g within its bound: one product and one difference more, |Δw'| ≤ η|Δg| + 2u η|g| + u|w'|."""
    u = float(np.finfo(dtype).eps) / 2
    product = learning_rate * slope.value
    value = np.asarray(start, dtype=np.float64) - product
    rounding = SECOND_ORDER * u * (2 * np.abs(product) + np.abs(value))
    return Bounded(value, learning_rate * slope.tolerance + rounding)


def stepped(problem: Problem, w: Array, b: Array) -> tuple[Bounded, Bounded]:
    """The weights w (d,) and b () after one update from these."""
    here, rate = point(problem, w, b), problem.learning_rate
    return descended(problem.dtype, w, here.w, rate), descended(problem.dtype, b, here.b, rate)


def require(what: str, expected: Bounded, tested: Array) -> None:
    """Raise AssertionError, with the worst component, where rounding does not explain the tested value."""
    if not expected.explains(tested):
        raise AssertionError(f"{what}: {expected.excess(tested)}")  # raised, so that `python -O` does not drop it


def _gamma(k: int, u: float) -> float:
    return k * u / (1 - k * u)


def _complement_error(highest: Array, lowest: Array, dtype: str) -> Array:
    """ε/(1 - ε) for logits between ``lowest`` and ``highest``; inf where p, 1 - p or their product may be lost."""
    info = np.finfo(dtype)
    u = float(info.eps) / 2
    error = u * (2 * (1 + np.exp(np.minimum(highest, 100))) + K_EXP + 1)
    sound = (error < 1) & (lowest > 0.5 * np.log(float(info.tiny)))
    return np.where(sound, error / np.where(sound, 1 - error, 1), np.inf)
