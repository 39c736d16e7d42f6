"""The reference: float64 gradient descent from the bits of the problem, in numpy, by the textbook.

Where `oracle` can afford the exact trajectory, that is what runs are compared with, and this one gives the sizes that
enter the tolerance; where it cannot, runs are compared with this one, whose own rounding error is bounded and added.

It starts from the same quantised X, y, w0, b0, learning rate and l2 as every backend, replays the same
batches, and records on the way the magnitudes from which `tolerance` bounds its own rounding errors and the
tested run's. It must not know a backend: the judge is never a contestant.

With x̃ᵢ = (xᵢ, 1), θ = (w, b) and the margin μᵢ = (2yᵢ - 1) x̃ᵢᵀθ (positive where the model is right), both loss
forms are the same function ℓᵢ = softplus(-μᵢ), |rᵢ| = |pᵢ - yᵢ| = 1 / (1 + exp μᵢ), and

    ∇f = -Aᵀ|r| / n + l2 (w, 0),    A = rows (2yᵢ - 1) x̃ᵢ,

so the signs are folded into the data once. |r| comes out with a small *relative* error for every μ, where
p - y would cancel. A step therefore costs two matrix-vector products and one exponential; losses and
magnitudes are worked out afterwards for a block of steps at a time (for four examples a step of its own
would cost twenty calls, 15 µs, as much again as the training).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from compare_ag.problem import Problem, batches, recorded_steps
from compare_ag.problem.core import Array
from compare_ag.verify.oracle import Exact, ExactTrajectory

BLOCK_STEPS = 512
"""Steps of a block at most: how often `observe` is called for a small problem."""
BLOCK_CELLS = 1 << 15
"""Margins of a block (more only where one batch has more): its scratch arrays stay in the cache."""


@dataclass(frozen=True)
class Magnitudes:
    """Sizes at a sequence of S points of the trajectory, each with its own batch; every array is (S,)."""

    loss: Array
    """the objective, mean ℓ + ½ l2 ‖w‖²"""
    examples: Array
    """n of the batch"""
    weights: Array
    """‖θ‖₂"""
    gradient: Array
    """‖∇f‖₂"""
    residual: Array
    """root mean square of p - y"""
    volume: Array
    """mean of ℓ + 2|z|: what the terms of the loss, summed without cancelling, amount to"""
    highest_logit: Array
    """max z"""
    lowest_logit: Array
    """min z"""
    odds_mean: Array
    """mean of 1/(1 - p) over the examples with y = 0, counting the others as 1; probability form only, else 1"""
    odds_rms: Array
    """root mean square of the same"""


@dataclass(frozen=True)
class Reference:
    """The trajectory in float64, for T steps, m weights and K recorded steps."""

    losses: Array
    """(T+1,): the loss of step k's batch at the weights after k updates"""
    recorded_steps: Array
    """(K,) integers: the k at which the weights of steps k and k+1 are kept"""
    weights: Array
    """(K, 2, m): at k and at k+1"""
    full_losses: Array
    """(K,): the loss over all data at the recorded k"""
    final_weights: Array
    """(m,), after T updates"""
    magnitudes: Magnitudes
    """at the steps 0…T, on each step's batch"""
    full_magnitudes: Magnitudes
    """at the recorded k, on all data"""
    exact: ExactTrajectory | None = None
    """the exact trajectory, where it was affordable: runs are then compared with it, and the rest gives sizes"""

    def pairs(self, count: int) -> Exact:
        """The weights to compare with at the first ``count`` recorded pairs, (2 count, m)."""
        if self.exact is not None:
            high, low, radius = self.exact.weights
            m = high.shape[2]
            return Exact(high[:count].reshape(-1, m), low[:count].reshape(-1, m), radius)
        weights = self.weights[:count].reshape(-1, self.weights.shape[2])
        return Exact(weights, np.zeros_like(weights), 0.0)

    def final(self) -> Exact:
        """The final weights to compare with, (m,)."""
        if self.exact is not None:
            return self.exact.final
        return Exact(self.final_weights, np.zeros_like(self.final_weights), 0.0)

    def loss_deviation(self, losses: Array) -> Array:
        """How far each of ``losses`` (T'+1,) is from the one to compare with."""
        count = len(losses)
        if self.exact is None:
            return np.asarray(np.abs(losses.astype(np.float64) - self.losses[:count]))
        high, low, radius = self.exact.losses
        return Exact(high[:count], low[:count], radius).deviation(losses)


class Objective:
    """The objective of a problem in float64: the signed data A (n, m), m = d + 1, and the penalty's diagonal."""

    def __init__(self, problem: Problem) -> None:
        n, d = problem.X.shape
        self.sign = 2.0 * problem.y.astype(np.float64) - 1.0
        self.signed = np.empty((n, d + 1))
        np.multiply(problem.X, self.sign[:, None], out=self.signed[:, :d])
        self.signed[:, d] = self.sign
        self.penalty = problem.layout.filled(float(problem.l2), 0.0)
        self.probability = problem.loss == "probability"

    def gradient(self, residual: Array, signed: Array, theta: Array, out: Array) -> None:
        """Write ∇f (m,) to ``out``, from |r| (n,), the batch's rows of A (n, m), and θ (m,).

        Of several θ (R, m) at once: ∇f (R, m) from |r| (R, n).
        """
        np.dot(residual, signed, out=out)
        out /= -residual.shape[-1]
        if self.penalty[0]:
            out += self.penalty * theta

    def at(self, theta: Array) -> Magnitudes:
        """The magnitudes over all data at one θ (m,)."""
        margin = self.signed @ theta
        growth = np.exp(margin)
        residual = 1.0 / (1.0 + growth)
        gradient = np.empty_like(theta)
        self.gradient(residual, self.signed, theta, gradient)
        sizes = np.array([len(margin)])
        return self.measure(margin, growth, residual, self.sign, sizes, theta[None], gradient[None])

    def measure(
        self, margin: Array, growth: Array, residual: Array, sign: Array, sizes: Array, theta: Array, gradient: Array
    ) -> Magnitudes:
        """The magnitudes of S steps whose batches lie end to end.

        margin μ, growth exp μ, residual |r|, sign 2y - 1: (Σ sizes,); sizes (S,); theta and gradient (S, m).
        """
        starts = np.concatenate(([0], np.cumsum(sizes[:-1])))

        def mean(values: Array) -> Array:
            return np.asarray(np.add.reduceat(values, starts) / sizes)

        # two arrays for everything: fresh pages for each intermediate result take longer than the arithmetic
        terms, scratch = np.divide(1.0, growth), np.negative(margin)
        np.minimum(growth, terms, out=terms)
        np.log1p(terms, out=terms)
        terms += np.maximum(scratch, 0.0, out=scratch)
        loss = mean(terms)
        size = mean(np.abs(margin, out=scratch))
        square = mean(np.multiply(residual, residual, out=scratch))
        logit = np.multiply(sign, margin, out=scratch)
        highest, lowest = np.maximum.reduceat(logit, starts), np.minimum.reduceat(logit, starts)
        odds_mean, odds_square = np.ones_like(loss), np.ones_like(loss)
        if self.probability:
            # exp(-μ) = exp z = p/(1-p) where y = 0
            odds = np.divide(1.0, growth, out=terms)
            odds += 1.0
            np.copyto(odds, 1.0, where=sign > 0)
            odds_mean, odds_square = mean(odds), mean(np.multiply(odds, odds, out=scratch))
        penalty = 0.5 * (theta * theta @ self.penalty) if self.penalty[0] else 0.0  # θ² may overflow: inf · 0 is NaN
        return Magnitudes(
            loss=loss + penalty,
            examples=sizes,
            weights=np.sqrt(np.einsum("ij,ij->i", theta, theta)),
            gradient=np.sqrt(np.einsum("ij,ij->i", gradient, gradient)),
            residual=np.sqrt(square),
            volume=loss + 2.0 * size,
            highest_logit=highest,
            lowest_logit=lowest,
            odds_mean=odds_mean,
            odds_rms=np.sqrt(odds_square),
        )


def reference_trajectory(problem: Problem, observe: Callable[[int], None] | None = None) -> Reference:
    """Train ``problem`` in float64. ``observe(k)`` is called now and then with the number of finished steps.

    Values that overflow (an absurd learning rate) are kept as inf or NaN, without a warning: `tolerance` says
    from which step nothing can be decided.
    """
    with np.errstate(all="ignore"):
        return _Replay(problem).run(observe)


class _Replay:
    """The training loop, a block of steps at a time."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.objective = Objective(problem)
        largest = min(problem.batch_size or problem.examples, problem.examples)
        self.rows = max(1, min(BLOCK_STEPS, BLOCK_CELLS // largest))
        cells, m = self.rows * largest, problem.layout.size
        self.margin, self.growth, self.residual = np.empty(cells), np.empty(cells), np.empty(cells)
        self.theta, self.gradient = np.empty((self.rows + 1, m)), np.empty((self.rows, m))
        if problem.batch_size is None:
            self.sign = np.tile(self.objective.sign, self.rows)
        else:
            self.sign, self.batch = np.empty(cells), np.empty((largest, m))
        self.recorded = np.array(recorded_steps(problem.steps), dtype=np.int64)
        self.pairs = np.empty((len(self.recorded), 2, m))

    def run(self, observe: Callable[[int], None] | None) -> Reference:
        problem, steps = self.problem, self.problem.steps
        self.theta[0] = problem.initial
        order = batches(problem)
        parts: list[Magnitudes] = []
        for first in range(0, steps + 1, self.rows):
            count = min(self.rows, steps + 1 - first)
            parts.append(self._block([next(order) for _ in range(count)]))
            self._keep(first, count)
            final = self.theta[count - 1].copy()
            self.theta[0] = self.theta[count]
            if observe is not None:
                observe(min(first + count, steps))
        magnitudes = joined(parts)
        full = self._full(magnitudes)
        return Reference(
            losses=magnitudes.loss,
            recorded_steps=self.recorded,
            weights=self.pairs,
            full_losses=full.loss,
            final_weights=final,
            magnitudes=magnitudes,
            full_magnitudes=full,
        )

    def _block(self, rows_of: list[Array]) -> Magnitudes:
        """Make one step for each batch, from θ = theta[0]; leave the weights before each in ``theta``."""
        objective, whole, rate = self.objective, self.problem.batch_size is None, float(self.problem.learning_rate)
        signed, begin = objective.signed, 0
        for i, rows in enumerate(rows_of):
            end = begin + len(rows)
            if not whole:
                signed = self.batch[: len(rows)]
                np.take(objective.signed, rows, axis=0, out=signed, mode="clip")
                np.take(objective.sign, rows, out=self.sign[begin:end], mode="clip")
            theta, following, gradient = self.theta[i], self.theta[i + 1], self.gradient[i]
            growth, residual = self.growth[begin:end], self.residual[begin:end]
            np.dot(signed, theta, out=self.margin[begin:end])
            np.exp(self.margin[begin:end], out=growth)
            np.add(growth, 1.0, out=residual)
            np.divide(1.0, residual, out=residual)
            objective.gradient(residual, signed, theta, gradient)
            np.multiply(gradient, rate, out=following)
            np.subtract(theta, following, out=following)
            begin = end
        sizes, count = np.array([len(rows) for rows in rows_of]), len(rows_of)
        return objective.measure(
            self.margin[:begin],
            self.growth[:begin],
            self.residual[:begin],
            self.sign[:begin],
            sizes,
            self.theta[:count],
            self.gradient[:count],
        )

    def _keep(self, first: int, count: int) -> None:
        """Copy the recorded weights among the steps first…first+count-1."""
        for side in (0, 1):
            index = self.recorded + side - first
            inside = (index >= 0) & (index < count)
            self.pairs[inside, side] = self.theta[index[inside]]

    def _full(self, magnitudes: Magnitudes) -> Magnitudes:
        """The magnitudes over all data at the recorded k: with the full batch those of the steps themselves."""
        if self.problem.batch_size is None or not len(self.recorded):
            return Magnitudes(*(getattr(magnitudes, field.name)[self.recorded] for field in fields(Magnitudes)))
        return joined([self.objective.at(theta) for theta in self.pairs[:, 0]])


def joined(parts: list[Magnitudes]) -> Magnitudes:
    """The sizes of several sequences of points, one after the other."""
    return Magnitudes(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Magnitudes)))
