"""How far a correct run may lie from the reference: a rounding bound that is derived, without a chosen epsilon.

Knows the problem, the reference's magnitudes, and the unit roundoff of the tested dtype; never the tested run.

Notation. θ = (w, b), x̃ᵢ = (xᵢ, 1), m = d + 1, n examples in the batch, z = X̃θ, p = σ(z), r = p - y,
g = X̃ᵀr/n + l2 (w, 0); u the unit roundoff (2⁻²⁴, 2⁻⁵³) and γₖ = ku/(1 - ku) [Higham, Accuracy and Stability, 3.1].
R = max‖x̃ᵢ‖; S ≥ ‖|X̃|‖₂/√n is the root mean square of the ‖x̃ᵢ‖ (Frobenius), or R for mini-batches, so that for
vectors v: ‖|X̃|ᵀ|v|‖/n ≤ S rms(v) and rms(X̃v) ≤ S‖v‖. L is the problem's bound on the curvature.
θ̂ is the reference, θ̃ the tested run, θ* the trajectory in exact arithmetic. E bounds ‖θ̃ - θ̂‖.

**One step's own error δ** (any summation order, with or without fused multiply-add, by hand or by AD), at θ̃:

  z    d products and d sums: |Δzᵢ| ≤ γ_m |x̃ᵢ|ᵀ|θ̃|, so rms Δz ≤ γ_m S‖θ̃‖.
  p    σ' = p (1 - p) ≤ min(¼, |r|) multiplies Δz, where |r| grows by exp|Δz| at most on the way:
       min(¼ rms Δz, rms r max|Δz| exp max|Δz|, 1), max|Δz| ≤ γ_m R‖θ̃‖. The evaluation of σ costs κ_σ u,
       κ_σ = κ_exp + 2: an exponential good to 4 ulp = 8 u (κ_exp = 8), a sum and a quotient. This bound is taken
       absolute (p ≤ 1), so that tanh, and p - y with its cancellation, are covered.
  r    the subtraction, and what an AD tool's chain of products adds: (1 + κ_AD) u|r|, κ_AD = 8 elementary operations.
       rms r at θ̃ is at most rms r at θ̂ + ¼SE, or times exp(RE), and at most 1.
  g    n products, n-1 sums, and division by n or product with a rounded 1/n: Γ = γ_{n+2} in every case, or
       Γ = λ√(n+2) u/(1 - (n+2)u) with probability 1 - 2(n+2) exp(-λ²/2) for each of the m components, if the
       roundings inside one sum are mean-independent [Higham and Mary 2019]; the smaller counts. λ follows from
       one false alarm in 10⁹ verdicts: 2 (n+2) m (T+1) exp(-λ²/2) = 10⁻⁹, about 9. Errors of *different* steps
       are dependent (the sign of a stalled weight's rounding persists), and are never assumed independent.
       The penalty costs at most 4 u l2‖w‖ (½, 2, l2 and the product) and its addition u‖g‖:
       ‖Δg‖ ≤ S (rms Δr + Γ (rms r + rms Δr)) + u‖g‖ + 4 u l2‖θ̃‖, ‖g(θ̃)‖ ≤ ‖g(θ̂)‖ + LE.
  w'   the product with η, with one more for a fused or re-associated η: 2uη‖g‖; the difference: u‖θ̃'‖.

  δ = η (‖Δg‖ + 2u‖g̃‖) + u‖θ̃'‖, times 1.01 for products of two rounding errors and for this computation's own.
  Underflow: gradual or to zero, one operation loses at most `tiny`, the smallest normal number. A logit has m of
  them, a residual a handful (each then meets S), a gradient n, an update a few, which η/n multiplies by nS at most:
  (1 + η)(1 + S)(n + m + 16) tiny.

**Accumulation.** Φ(θ) = θ - ηg(θ) has the Jacobian I - ηH, and between θ̃ and θ*, both within E = e + ê of θ̂,
e' = q e + δ with q = max(1 - ημ, ηL - 1), for μ ≤ λmin(H) ≤ λmax(H) ≤ L on that segment. So errors fade where the
objective is strongly convex (e stays below δ/(ημ) by itself), add up where it is flat, and may grow where ηL > 2.

  `curvature` bounds μ: on the segment |zᵢ| ≤ max|z(θ̂)| + RE, and H ⪰ exp(-RE) H(θ̂).

**Loss** at the tested weights, with V = mean(ℓ + 2|z|) ≥ mean(softplus(z) + y|z|), 3-Lipschitz in z:

  |Δf| ≤ ‖g‖E + ½LE² + rms r · γ_m S‖θ̃‖ + ((κ_exp + 4) u + γ_{n+2}) V + γ_{m+3} ½ l2‖θ̃‖² + u f.
  softplus costs an exponential and a logarithm; its cancelling form logaddexp(0, z) - yz is covered by |z| in V.

**Probability form**, followed literally, p = 1/(1 + exp(-z)): |Δp| ≤ u p (2 + κ_exp (1 - p)), two roundings besides
the exponential, whose error counts for little where exp(-z) is small. So 1 - p has the relative error
ε = u (2/(1 - p) + κ_exp + 1), its logarithm and its reciprocal ε/(1 - ε) more, and differentiating as written
gives |Δrᵢ| ≤ |rᵢ|(ε/(1 - ε) + (1 + κ_AD) u): for y = 1 the first part is about 2u, for y = 0 it grows like 1/(1 - p).
Where ε ≥ 1, p may round to 1; where z < ½ log tiny, p², a factor of p' as written, may underflow: from the first step
at which an example *may* get there, rounding and E included, the form is saturated and nothing can be decided.

**Overflow.** From the first step at which a number of a legitimate program *may* leave the format, rounding and E
included, inf and NaN are correct results in this format, and nothing can be decided. The numbers are those of `points`,
here in norms: R‖θ̃‖, n V, n S rms r̃ and η times that, ‖θ̃‖² and l2‖θ̃‖², ‖θ̃‖ + η‖g̃‖.

The reference's own error ê is the same bound with u = 2⁻⁵³ and the stable form, and is added to e. Where the exact
trajectory is known, ê is not added; it only widens the magnitudes, which are those of θ̂.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compare_ag.model.arithmetic import K_AD, K_EXP, K_SIGMOID, SECOND_ORDER, Arithmetic
from compare_ag.problem import Problem
from compare_ag.problem.core import Array, squared_lengths
from compare_ag.verify.curvature import anchored_curvature, uniform_curvature
from compare_ag.verify.reference import Magnitudes, Reference

LOST = 1e100
"""A bound of this size is called infinite before it overflows."""


@dataclass(frozen=True)
class Tolerance:
    """The largest deviation from the reference that rounding can explain; inf where nothing can be decided."""

    weights: Array
    """(T+1,): bound on ‖θ̃ - θ̂‖₂, w and b together, after k updates"""
    loss: Array
    """(T+1,): bound on the deviation of losses[k]"""
    full_loss: Array
    """(K,): the same for the loss over all data, at the recorded k"""
    saturated_from: int | None
    """first step at which a probability may round to 0 or 1; loss and later weights are inf from there"""
    overflowing_from: int | None
    """first step at which a number may leave the format; loss and later weights are inf from there"""
    uninformative_from: int | None
    """first step at which the bound exceeds the weights themselves, so that every run would meet it;
    everything is inf from there"""
    expansive: bool
    """ηL > 2: rounding errors may grow from step to step"""

    @property
    def undecidable_from(self) -> int | None:
        """The first step whose loss cannot be judged, for any of the reasons."""
        reasons = (self.saturated_from, self.overflowing_from, self.uninformative_from)
        return min((k for k in reasons if k is not None), default=None)


@dataclass(frozen=True)
class Geometry:
    """The constants of a problem: R, S, L, κ, η, l2 and m of the module's notation."""

    longest: float
    spread: float
    curvature: float
    kappa: float
    rate: float
    l2: float
    parameters: int

    @classmethod
    def of(cls, problem: Problem) -> Geometry:
        """The constants of ``problem``."""
        squares = squared_lengths(problem.X)
        longest, l2 = math.sqrt(float(squares.max())), float(problem.l2)
        full = problem.batch_size is None
        return cls(
            longest=longest,
            spread=math.sqrt(float(squares.mean())) if full else longest,
            curvature=float(problem.curvature),
            kappa=uniform_curvature(problem),
            rate=float(problem.learning_rate),
            l2=l2,
            parameters=problem.layout.size,
        )

    def contraction(self, anchored: float, reach: float, shift: float) -> float:
        """q, for λmin(H) ≥ ``anchored`` and |z| ≤ ``reach``, both at θ̂, from where the logits move by ``shift``."""
        # with a = max|z(θ̂)| + RE: σ'(a) = decay/(1 + decay)², and μ is the larger bound of `curvature`
        decay = math.exp(-min(reach + shift, 9999.0))
        mu = max(anchored * math.exp(-shift), 4.0 * self.kappa * decay / (1.0 + decay) ** 2)
        # q = max(1 - ημ, ηL - 1)
        return max(1.0 - self.rate * mu, self.rate * self.curvature - 1.0)

    def square(self, norm: float) -> float:
        """The largest number of a penalty at weights of this norm: l2‖w‖², or ‖w‖² on the way to it."""
        return norm * norm * max(1.0, self.l2)


def tolerance(problem: Problem, reference: Reference) -> Tolerance:
    """The tolerance of ``problem``'s dtype and loss form against ``reference``, whose own error is included."""
    exact, recorded = reference.exact, reference.recorded_steps
    with np.errstate(all="ignore"):
        geometry = Geometry.of(problem)
        along, full = reference.magnitudes, reference.full_magnitudes
        anchored = anchored_curvature(problem, reference, geometry.longest)
        bounds = ErrorBounds(problem, geometry, along, anchored, geometry.parameters * len(anchored))
        if exact is None:
            weights, loss = bounds.against_reference()
        else:
            weights, loss = bounds.against_exact(exact.weights.radius, exact.losses.radius)
        probability = bounds.probability
        full_loss = _loss_error(
            geometry, bounds.tested, full, weights[recorded], bounds.own[recorded], probability=probability
        )
        full_loss += _evaluation_error(geometry, bounds.double, full, np.zeros_like(full_loss))
    saturated, overflowing = bounds.saturated_from, bounds.overflowing_from
    ends = saturated if overflowing is None else overflowing
    uninformative = _uninformative_from(geometry, weights, along.weights, ends)
    if overflowing is not None:
        full_loss[recorded >= overflowing] = np.inf
    if uninformative is not None:
        weights[uninformative:] = loss[uninformative:] = np.inf
        full_loss[recorded >= uninformative] = np.inf
    return Tolerance(
        weights=weights,
        loss=loss,
        full_loss=_finite_or_inf(full_loss),
        saturated_from=saturated,
        overflowing_from=overflowing,
        uninformative_from=uninformative,
        expansive=geometry.rate * geometry.curvature > 2.0 * (1.0 + 1e-9),
    )


class ErrorBounds:
    """How far a run in the tested arithmetic, and the float64 reference, may lie from the exact trajectory.

    along: sizes at the points 0…T of the reference, or numbers that are at least as large for each of several
    references (``lowest_logit``: at most as large); anchored (T+1,): lower bounds of λmin(H) there; sums: the sums over
    a batch that all runs of one verdict make together, for the verdict's false-alarm probability.
    """

    def __init__(self, problem: Problem, geometry: Geometry, along: Magnitudes, anchored: Array, sums: int) -> None:
        self.geometry, self.along = geometry, along
        self.double = Arithmetic.of("float64")
        self.tested = Arithmetic.of(problem.dtype)
        self.probability = problem.loss == "probability"
        exactly = np.zeros_like(anchored)
        self.own, _, _ = _weights_error(geometry, self.double, along, anchored, exactly, sums, probability=False)
        """ê (T+1,): of the reference's weights"""
        self.error, self.saturated_from, self.overflowing_from = _weights_error(
            geometry, self.tested, along, anchored, self.own, sums, probability=self.probability
        )
        """e (T+1,): of the tested run's weights; the first step that may saturate or the first that may overflow"""

    def against_reference(self) -> tuple[Array, Array]:
        """The largest deviation from the reference, of weights and of losses, (T+1,) each; inf: undecidable."""
        return self._against(self.own, _evaluation_error(self.geometry, self.double, self.along, 0.0 * self.own))

    def against_exact(self, weights_error: Array | float, loss_error: Array | float) -> tuple[Array, Array]:
        """The same where exact numbers with these radii (of weights in the 2-norm) take the reference's place."""
        return self._against(np.broadcast_to(weights_error, self.own.shape), loss_error)

    def _against(self, weights_error: Array, loss_error: Array | float) -> tuple[Array, Array]:
        weights = self.error + weights_error
        loss = _loss_error(self.geometry, self.tested, self.along, weights, self.own, probability=self.probability)
        loss = loss + loss_error
        if self.overflowing_from is not None:
            loss[self.overflowing_from :] = np.inf
        return weights, _finite_or_inf(loss)


def _weights_error(
    geometry: Geometry,
    arithmetic: Arithmetic,
    along: Magnitudes,
    anchored: Array,
    offset: Array,
    sums: int,
    *,
    probability: bool,
) -> tuple[Array, int | None, int | None]:
    """e_k ≥ ‖θ̃ₖ - θ*ₖ‖ (T+1,), and the first saturated or the first overflowing step, whichever comes first.

    ``offset`` (T+1,) bounds ‖θ̂ₖ - θ*ₖ‖; ``sums`` as for `ErrorBounds`.

    A scalar recursion over Python floats, some 4 µs a step: δ and q depend on e, which rules out an array operation.
    """
    # u, η, S, R
    u, rate, spread, longest = arithmetic.u, geometry.rate, geometry.spread, geometry.longest
    # γ_m of a logit, Γ of a sum over the batch
    gamma_logit = float(arithmetic.gamma(np.array(geometry.parameters)))
    gamma_sum = arithmetic.gamma_of_sum(along.examples + 2.0, sums)
    # (1 + η)(1 + S)(n + m + 16) tiny
    handful = along.examples + geometry.parameters + 16.0
    underflow = (1.0 + rate) * (1.0 + spread) * handful * arithmetic.tiny
    columns = (
        anchored, offset, np.append(offset[1:], 0.0), along.weights, np.append(along.weights[1:], 0.0), along.gradient,
        along.residual, along.highest_logit, along.lowest_logit, along.odds_rms, gamma_sum, underflow,
        along.examples, along.volume,
    )  # fmt: skip  # one array a line would hide that this is one row of a table
    errors = np.full(len(offset), np.inf)
    e = 0.0
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for k, row in enumerate(rows):
        mu, off, off_next, norm, norm_next, gradient, residual, high, low, odds, gamma_n, floor, n, volume = row
        # E = e + ê
        distance = e + off
        if not distance < LOST:
            break
        errors[k] = e
        # ‖θ̃‖ ≤ ‖θ̂‖ + E, and at the next step without its e', which is added last
        norm += distance
        norm_next = norm_next + off_next
        # no logit moves by more than RE
        shift = longest * distance
        # rms r̃ ≤ rms r + ¼SE, rms r exp(RE), and 1
        residual = min(residual + 0.25 * spread * distance, residual * math.exp(min(shift, 99.0)), 1.0)
        # ‖g(θ̃)‖ ≤ ‖g(θ̂)‖ + LE
        gradient += geometry.curvature * distance
        # the error of p, in units of u: κ_σ
        amplified = K_SIGMOID
        # max|Δz| ≤ γ_m R‖θ̃‖
        logit_error = gamma_logit * longest * norm
        if probability:
            reach = shift + logit_error
            # ε ≥ 1: p may round to 1
            epsilon = float(complement_error(arithmetic, high, low, reach))
            if not epsilon < 1.0:
                return errors, k, None
            # rms of |r|ε/u/(1 - ε) with ε/u = 2/(1 - p) + κ_exp + 1; |r|/(1 - p) ≤ 1/(1 - p) for y = 0, = 1 for y = 1
            amplified = (2.0 * odds * math.exp(reach) + (K_EXP + 1.0) * residual) / (1.0 - epsilon)
        # the part of rms Δr that Δz causes: ¼ rms Δz, rms r max|Δz| exp max|Δz|, or 1
        carried = min(0.25 * gamma_logit * spread * norm, residual * logit_error * math.exp(min(logit_error, 99.0)))
        carried = min(carried, 1.0)
        # rms Δr
        error_in_residual = u * ((1.0 + K_AD) * residual + amplified) + carried
        # ‖Δg‖ ≤ S (rms Δr + Γ (rms r + rms Δr)) + u‖g‖ + 4 u l2‖θ̃‖
        error_in_gradient = spread * (error_in_residual + gamma_n * (residual + error_in_residual))
        error_in_gradient += u * (gradient + 4.0 * geometry.l2 * norm)
        # δ without u‖θ̃'‖: 1.01 η (‖Δg‖ + 2u‖g̃‖), and underflow
        local = SECOND_ORDER * rate * (error_in_gradient + 2.0 * u * (gradient + error_in_gradient)) + floor
        # numbers that must fit into the format: R‖θ̃‖, nV, ‖θ̃‖² and l2‖θ̃‖², nS rms r̃
        summed = n * spread * (residual + error_in_residual) + geometry.l2 * norm
        sizes = [longest * norm, n * (volume + 3.0 * spread * distance), geometry.square(norm), summed]
        if k + 1 < len(offset):  # the last loss is not followed by an update
            sizes += [rate * summed, norm + rate * gradient]
            sizes += [] if arithmetic.invertible(rate) else [math.inf]
        if not all(size <= arithmetic.top for size in sizes):
            return errors, None, k
        q = geometry.contraction(mu, max(high, -low), shift)
        # e' = q e + δ with ‖θ̃'‖ ≤ ‖θ̂'‖ + ê' + e' in δ; solving for e' divides by 1 - u
        e = (q * e + local + SECOND_ORDER * u * norm_next) / (1.0 - SECOND_ORDER * u)
    return errors, None, None


def _loss_error(
    geometry: Geometry, arithmetic: Arithmetic, at: Magnitudes, distance: Array, offset: Array, *, probability: bool
) -> Array:
    """|f̃(θ̃) - f(θ)|, f̃ as computed and f exact, for θ̃ within ``distance`` of a θ within ``offset`` of θ̂, all (S,)."""
    # the evaluation's own error, and ‖g‖E + ½LE² for evaluating at θ̃ instead of θ
    evaluated = _evaluation_error(geometry, arithmetic, at, distance + offset, probability=probability)
    slope = at.gradient + geometry.curvature * offset
    return np.asarray(evaluated + slope * distance + 0.5 * geometry.curvature * distance**2)


def _evaluation_error(
    geometry: Geometry, arithmetic: Arithmetic, at: Magnitudes, distance: Array, *, probability: bool = False
) -> Array:
    """The rounding error of evaluating the loss at a point within ``distance`` of θ̂, all (S,)."""
    u, spread, m = arithmetic.u, geometry.spread, np.array(geometry.parameters)
    gamma_logit = arithmetic.gamma(m)
    norm = at.weights + distance
    residual = np.minimum(at.residual + 0.25 * spread * distance, 1.0)
    volume = at.volume + 3.0 * spread * distance
    penalty = 0.5 * geometry.l2 * norm**2
    # rms r · γ_m S‖θ̃‖
    error = residual * gamma_logit * spread * norm
    # ((κ_exp + 4) u + γ_{n+2}) V
    error += ((K_EXP + 4.0) * u + arithmetic.gamma(at.examples + 2.0)) * volume
    # γ_{m+3} ½ l2‖θ̃‖² + u f
    error += arithmetic.gamma(m + 3.0) * penalty + u * (volume + penalty)
    if probability:
        shift = geometry.longest * (distance + gamma_logit * norm)
        epsilon = complement_error(arithmetic, at.highest_logit, at.lowest_logit, shift)
        # the mean of ε/(1 - ε), the relative error of log(1 - p)
        error += u * (2.0 * at.odds_mean * np.exp(shift) + K_EXP + 1.0) / (1.0 - np.minimum(epsilon, 1.0))
    square = norm**2 * max(1.0, geometry.l2)
    largest = np.maximum(np.maximum(geometry.longest * norm, at.examples * volume), square)
    error = SECOND_ORDER * error + (1.0 + geometry.l2) * (at.examples + m + 16.0) * arithmetic.tiny
    return np.where(largest <= arithmetic.top, error, np.inf)


def complement_error(
    arithmetic: Arithmetic, highest: Array | float, lowest: Array | float, shift: Array | float
) -> Array:
    """ε, the relative error of 1 - p, for logits in [lowest - shift, highest + shift]; inf where p saturates."""
    low = np.asarray(lowest - shift) > 0.5 * math.log(arithmetic.tiny)
    # ε = u (2/(1 - p) + κ_exp + 1) with 1/(1 - p) = 1 + exp z; ε exceeds 1 before z reaches 1 - log u
    top = np.minimum(np.asarray(highest + shift), 1.0 - math.log(arithmetic.u))
    error = arithmetic.u * (2.0 * (1.0 + np.exp(top)) + K_EXP + 1.0)
    return np.where(low & (error < 1.0), error, np.inf)


def _uninformative_from(geometry: Geometry, weights: Array, norms: Array, ends: int | None) -> int | None:
    """The first step at which the bound exceeds both the largest weights so far met and 1/R.

    1/R is the change of weights that moves no logit by more than 1: a smaller bound is informative even where the
    weights themselves stay near zero.
    """
    scale = np.maximum(np.fmax.accumulate(norms), 1.0 / geometry.longest)
    lost = ~(weights <= scale) | np.isinf(weights)
    if ends is not None:
        lost[ends + 1 :] = False
    return int(np.argmax(lost)) if lost.any() else None


def _finite_or_inf(values: Array) -> Array:
    finite: Array = np.where(np.isnan(values), np.inf, values)
    return finite
