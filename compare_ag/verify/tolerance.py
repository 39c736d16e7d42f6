"""How far a correct run may lie from the reference: a rounding bound that is derived, without a chosen epsilon.

Knows the problem, the reference's weights, and the unit roundoff of the tested dtype; never the tested run.

Notation. θ = (w, b), x̃ᵢ = (xᵢ, 1), m = d + 1, n examples in the batch, z = X̃θ, p = σ(z), r = p - y,
g = X̃ᵀr/n + l2 (w, 0); u the unit roundoff (2⁻²⁴, 2⁻⁵³) and γₖ = ku/(1 - ku) [Higham, Accuracy and Stability, 3.1].
R = max‖x̃ᵢ‖; S ≥ ‖|X̃|‖₂/√n is the root mean square of the ‖x̃ᵢ‖ (Frobenius), or R for mini-batches. L is the problem's
bound on the curvature. θ̂ is the reference, θ̃ the tested run, θ* the trajectory in exact arithmetic. E bounds ‖θ̃ - θ̂‖.

**One step's own error δ**, at θ̃, and the error of its loss are readings of the formula (`step_errors`). They cover any
order of summation, with or without fused multiply-add, by hand or by AD. Errors of *different* steps are dependent (the
sign of a stalled weight's rounding persists), and are never assumed independent.

**Accumulation.** Φ(θ) = θ - ηg(θ) has the Jacobian I - ηH, and between θ̃ and θ*, both within E = e + ê of θ̂,
e' = q e + δ with q = max(1 - ημ, ηL - 1), for μ ≤ λmin(H) ≤ λmax(H) ≤ L on that segment. So errors fade where the
objective is strongly convex (e stays below δ/(ημ) by itself), add up where it is flat, and may grow where ηL > 2.

  `curvature` bounds μ: on the segment |zᵢ| ≤ max|z(θ̂)| + RE, and H ⪰ exp(-RE) H(θ̂).

δ grows with E, and E with the δ of earlier steps. So δ is read in balls whose radius E is expected not to reach; from
the first step at which E reaches it, δ is read again in larger balls.

**Loss** at the tested weights: ‖g‖E + ½LE² besides the error of its evaluation there.

**Saturation, overflow.** Nothing can be decided from the first step at which the probability form *may* have lost all
digits, or a number of a legitimate program *may* leave the format, rounding and E included: the readings are infinite.

The reference's own error ê is the same bound with u = 2⁻⁵³ and the stable form, and is added to e. Where the exact
trajectory is known, ê is not added; it only widens the balls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compare_ag.model.arithmetic import Arithmetic
from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.curvature import anchored_curvature
from compare_ag.verify.objective import STABLE, Objective
from compare_ag.verify.reference import Magnitudes, Reference
from compare_ag.verify.step_errors import Geometry, StepErrorReader, StepErrors, StepPath

FIRST_SHIFT = 2.0**-6
"""the change of a logit by the first expected E: balls of this size make δ a percent larger"""
GROWTH = 4.0
"""how much larger than E the next expected E is"""
MOST_SHIFT = 100.0
"""the change of a logit by an expected E beyond which a larger ball changes nothing: all residuals have reached 1"""


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


def tolerance(problem: Problem, reference: Reference) -> Tolerance:
    """The tolerance of ``problem``'s dtype and loss form against ``reference``, whose own error is included."""
    exact, recorded = reference.exact, reference.recorded_steps
    with np.errstate(all="ignore"):
        geometry, along = Geometry.of(problem), reference.magnitudes
        anchored = anchored_curvature(
            problem,
            reference.recorded_steps,
            reference.weights[:, 0],
            reference.path.travelled,
            geometry.longest,
        )
        bounds = ErrorBounds(problem, geometry, along, reference.path, anchored, geometry.parameters * len(anchored))
        if exact is None:
            weights, loss = bounds.against_reference()
        else:
            weights, loss = bounds.against_exact(exact.weights.radius, exact.losses.radius)
        full_loss = loss[recorded] if problem.batch_size is None else bounds.full_loss(reference, weights[recorded])
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
        full_loss=full_loss,
        saturated_from=saturated,
        overflowing_from=overflowing,
        uninformative_from=uninformative,
        expansive=geometry.rate * geometry.curvature > 2.0 * (1.0 + 1e-9),
    )


class ErrorBounds:
    """How far a run in the tested arithmetic, and the float64 reference, may lie from the exact trajectory.

    along: sizes at the points 0…T of the reference, or numbers that are at least as large for each of several
    references (``lowest_logit``: at most as large); path: the weights there; anchored (T+1,): lower bounds of λmin(H);
    sums: the sums over a batch that all runs of one verdict make together, for the verdict's false-alarm probability.
    """

    def __init__(
        self, problem: Problem, geometry: Geometry, along: Magnitudes, path: StepPath, anchored: Array, sums: int
    ) -> None:
        self.geometry, self.along, self.path, self.form = geometry, along, path, problem.loss
        self.reader = StepErrorReader(Objective(problem), geometry)
        self.tested, self.double = Arithmetic.of(problem.dtype, sums), Arithmetic.of("float64", sums)
        self.place, self.group, self.apart = path.groups(int(along.examples.max()), geometry.longest)
        self.error, self.own, self.evaluation, self.own_evaluation = np.full((4, len(anchored)), np.inf)
        """e and ê (T+1,) in the 2-norm, of the tested run's and the reference's weights, and the errors of evaluating
        their losses"""
        self.saturated_from: int | None = None
        self.overflowing_from: int | None = None
        """the first step that may saturate or the first that may overflow, whichever comes first"""
        self._accumulate(anchored)

    def against_reference(self) -> tuple[Array, Array]:
        """The largest deviation from the reference, of weights and of losses, (T+1,) each; inf: undecidable."""
        return self._against(self.own, self.own_evaluation)

    def against_exact(self, weights_error: Array | float, loss_error: Array | float) -> tuple[Array, Array]:
        """The same where exact numbers with these radii (of weights in the 2-norm) take the reference's place."""
        return self._against(np.broadcast_to(weights_error, self.own.shape), loss_error)

    def full_loss(self, reference: Reference, weights: Array) -> Array:
        """The largest deviation (K,) of the loss over all data, for weights off by ``weights`` (K,) there."""
        own, theta, full = self.own[reference.recorded_steps], reference.weights[:, 0], reference.full_magnitudes
        if not len(theta):
            return weights

        def read(arithmetic: Arithmetic, form: str) -> StepErrors:
            return self.reader.read(theta, weights + own, None, arithmetic, form)

        tested, reading = self._both(read, full.examples)
        return self._loss(full.gradient, weights, own, tested.loss + reading.loss)

    def _against(self, weights_error: Array, loss_error: Array | float) -> tuple[Array, Array]:
        weights = self.error + weights_error
        return weights, self._loss(self.along.gradient, weights, self.own, self.evaluation + loss_error)

    def _loss(self, gradient: Array, distance: Array, offset: Array, evaluation: Array) -> Array:
        """|f̃(θ̃) - f(θ)|, f̃ as computed, for θ̃ within ``distance`` of a θ within ``offset`` of θ̂, all (S,)."""
        # ‖g‖E + ½LE², for evaluating at θ̃ instead of θ
        slope = gradient + self.geometry.curvature * offset
        error = evaluation + slope * distance + 0.5 * self.geometry.curvature * distance**2
        return np.where(np.isnan(error), np.inf, error)

    def _both(self, read: Callable[[Arithmetic, str], StepErrors], examples: Array) -> tuple[StepErrors, StepErrors]:
        """A reading for the tested run, and for the reference."""
        tested = read(self.tested, self.form)
        if self.form != STABLE:
            return tested, read(self.double, STABLE)
        if self.tested.u == self.double.u:
            return tested, tested
        # each bound grows at least in proportion to u, but for Γ, which is at least γ/√(n + 2)
        return tested, tested.times(self.double.u / self.tested.u * np.sqrt(examples + 2.0))

    # --- accumulation -------------------------------------------------------------------------------------

    def _accumulate(self, anchored: Array) -> None:
        """Fill in the errors: a scalar recursion, some 2 µs a step, because q depends on e."""
        geometry, along, last = self.geometry, self.along, len(anchored) - 1
        sizes = along.weights[np.isfinite(along.weights)]
        # a larger E is uninformative
        most = max(float(sizes.max(initial=0.0)), 1.0 / geometry.longest)
        reach = np.maximum(along.highest_logit, -along.lowest_logit).tolist()
        expected = e = own = 0.0
        for k, mu in enumerate(anchored.tolist()):
            # E = e + ê
            distance = e + own
            if not distance <= most:
                if not self._stays_finite(k, most):  # the better reason of the two
                    self._end(k, most)
                return
            if distance >= expected:
                expected = self._expect(distance, most)
                step, own_step = self._read_from(k, expected)
            self.error[k], self.own[k] = e, own
            if not (self.evaluation[k] < math.inf and (k == last or step[k] + own_step[k] < math.inf)):
                self._end(k, expected)
                return
            q = geometry.contraction(mu, reach[k], geometry.longest * distance)
            # e' = q e + δ
            e, own = q * e + step[k], q * own + own_step[k]

    def _expect(self, distance: float, most: float) -> float:
        """The E of the next balls, above ``distance``; ``most``: the largest E of all."""
        expected = max(FIRST_SHIFT / self.geometry.longest, GROWTH * distance)
        return 2.0 * most if self.geometry.longest * expected > MOST_SHIFT else expected

    def _read_from(self, first: int, expected: float) -> tuple[list[float], list[float]]:
        """δ of the tested run and of the reference at each step, read from ``first`` on for an E below ``expected``."""
        groups, place = np.unique(self.group[first:], return_inverse=True)
        steps, radius = self.place[groups], self.apart[groups] + expected

        def read(arithmetic: Arithmetic, form: str) -> StepErrors:
            return self.reader.along(self.path, steps, radius, arithmetic, form)

        tested, own = self._both(read, self.along.examples[steps])
        self.evaluation[first:], self.own_evaluation[first:] = tested.loss[place], own.loss[place]
        skipped = [math.inf] * first
        return skipped + tested.following[place].tolist(), skipped + own.following[place].tolist()

    def _end(self, k: int, expected: float) -> None:
        """Step k is the first of which nothing is known: it saturates where the stable form's bounds are finite."""
        self.evaluation[k:] = np.inf
        self.overflowing_from = k
        if self.form != STABLE and self._stays_finite(k, expected):
            self.saturated_from, self.overflowing_from = k, None

    def _stays_finite(self, k: int, distance: float) -> bool:
        """Whether no number of the stable form leaves the tested format at step k, for an E up to ``distance``."""
        steps, radius = np.array([k]), self.apart[self.group[[k]]] + distance
        return bool(np.isfinite(self.reader.along(self.path, steps, radius, self.tested, STABLE)).all())


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
