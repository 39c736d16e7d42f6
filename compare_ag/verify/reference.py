"""The reference: float64 gradient descent from the bits of the problem, in numpy, by the textbook.

Where `oracle` can afford the exact trajectory, runs are compared with that, and the reference gives the sizes that
enter the tolerance. Elsewhere runs are compared with the reference, whose own rounding error is bounded and added.

The reference starts from the same quantised X, y, w0, b0, learning rate and l2 as every backend, replays the same
batches, and records the magnitudes from which `tolerance` bounds its own rounding errors and the tested run's. It must
not know a backend: the judge is never a contestant.

A step reads the gradient of the formula (`objective`). Losses and magnitudes are read afterwards, for a block of steps
at a time, from the logits that the steps have left; computing them step by step would double the time of a training on
four examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from compare_ag.problem import Problem, batches, recorded_steps
from compare_ag.problem.core import Array, blocks
from compare_ag.verify.objective import Objective
from compare_ag.verify.oracle import Exact, ExactTrajectory
from compare_ag.verify.step_errors import PathRecorder, StepPath

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
    highest_logit: Array
    """max z"""
    lowest_logit: Array
    """min z"""


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
    path: StepPath
    """the weights at the steps 0…T, for `tolerance`"""
    exact: ExactTrajectory | None = None
    """the exact trajectory, where it was affordable: runs are then compared with it, and the fields above give sizes"""

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
        """|deviation| of each of ``losses`` (T'+1,) from the exact or the reference's loss."""
        count = len(losses)
        if self.exact is None:
            return np.asarray(np.abs(losses.astype(np.float64) - self.losses[:count]))
        high, low, radius = self.exact.losses
        return Exact(high[:count], low[:count], radius).deviation(losses)


def measure(
    objective: Objective, logits: Array, labels: Array, sizes: Array, theta: Array, gradient: Array
) -> Magnitudes:
    """The magnitudes at S points whose batches lie end to end.

    logits z and labels y (Σ sizes,); sizes (S,); theta and gradient (S, m).
    """
    problem, starts = objective.problem, np.concatenate(([0], np.cumsum(sizes[:-1])))

    def mean(values: Array) -> Array:
        return np.asarray(np.add.reduceat(values, starts) / sizes)

    losses, residual = np.empty_like(logits), np.empty_like(logits)
    for part in blocks(logits[:, None], BLOCK_CELLS):  # so that what is computed on the way stays in the cache
        of_part = objective.of_logits.on({"y": labels[part]}, part.stop - part.start)
        losses[part], residual[part] = of_part.at({"z": logits[part]})
    loss = mean(losses)
    penalty = 0.0
    if problem.l2:  # θ² may overflow: inf · 0 is NaN
        penalty = 0.5 * float(problem.l2) * np.square(problem.layout.only("w", theta)).sum(axis=1)
    return Magnitudes(
        loss=loss + penalty,
        examples=sizes,
        weights=np.sqrt(np.einsum("ij,ij->i", theta, theta)),
        gradient=np.sqrt(np.einsum("ij,ij->i", gradient, gradient)),
        residual=np.sqrt(mean(np.multiply(residual, residual, out=residual))),
        highest_logit=np.maximum.reduceat(logits, starts),
        lowest_logit=np.minimum.reduceat(logits, starts),
    )


def magnitudes_at(objective: Objective, theta: Array) -> Magnitudes:
    """The magnitudes over all data at one θ (m,)."""
    logits, *slopes = objective.on(objective.slopes).at(objective.parameters(theta))
    labels = np.asarray(objective.problem.y, dtype=np.float64)
    gradient = objective.problem.layout.flat(slopes)
    return measure(objective, logits, labels, np.array([len(labels)]), theta[None], gradient[None])


def reference_trajectory(problem: Problem, observe: Callable[[int], None] | None = None) -> Reference:
    """Train ``problem`` in float64. ``observe(k)`` is called now and then with the number of finished steps.

    Values that overflow (an absurd learning rate) stay inf or NaN, without a warning: `tolerance` gives the step from
    which nothing can be decided.
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
        m = problem.layout.size
        self.logits, self.labels = np.empty(self.rows * largest), np.empty(self.rows * largest)
        self.theta, self.gradient = np.empty((self.rows + 1, m)), np.empty((self.rows, m))
        self.whole = self.objective.on(self.objective.slopes) if problem.batch_size is None else None
        self.recorded = np.array(recorded_steps(problem.steps), dtype=np.int64)
        self.pairs = np.empty((len(self.recorded), 2, m))
        self.path = PathRecorder(problem.steps, m)

    def run(self, observe: Callable[[int], None] | None) -> Reference:
        problem, steps = self.problem, self.problem.steps
        self.theta[0] = problem.initial
        order = batches(problem)
        parts: list[Magnitudes] = []
        rows_of: list[Array | None] = [None] if self.whole else []
        for first in range(0, steps + 1, self.rows):
            count = min(self.rows, steps + 1 - first)
            rows = [next(order) for _ in range(count)]
            parts.append(self._block(rows))
            self._keep(first, count)
            self.path.keep(first, self.theta[:count])
            rows_of += [] if self.whole else rows
            final = self.theta[count - 1].copy()
            self.theta[0] = self.theta[count]
            if observe is not None:
                observe(min(first + count, steps))
        magnitudes = join(parts)
        full = self._full(magnitudes)
        rate, batch = float(problem.learning_rate), np.arange(steps + 1) % len(rows_of)
        return Reference(
            losses=magnitudes.loss,
            recorded_steps=self.recorded,
            weights=self.pairs,
            full_losses=full.loss,
            final_weights=final,
            magnitudes=magnitudes,
            full_magnitudes=full,
            path=self.path.finish(rate * magnitudes.gradient, batch, rows_of),
        )

    def _block(self, rows_of: list[Array]) -> Magnitudes:
        """Make one step for each batch, from θ = theta[0]; leave the weights before each in ``theta``."""
        objective, layout, rate = self.objective, self.problem.layout, float(self.problem.learning_rate)
        begin, y = 0, np.asarray(self.problem.y, dtype=np.float64)
        parameters, slopes = layout.parts(self.theta), layout.parts(self.gradient)
        for i, rows in enumerate(rows_of):
            end = begin + len(rows)
            reading = self.whole or objective.on(objective.slopes, rows)
            point = {name: part[i] for name, part in zip(layout.names, parameters, strict=True)}
            logits, *gradient_parts = reading.at(point)
            self.logits[begin:end], self.labels[begin:end] = logits, y if self.whole else y[rows]
            for part, slope in zip(slopes, gradient_parts, strict=True):
                part[i] = slope
            # θ' = θ - η∇f(θ)
            np.multiply(self.gradient[i], -rate, out=self.theta[i + 1])
            self.theta[i + 1] += self.theta[i]
            begin = end
        sizes, count = np.array([len(rows) for rows in rows_of]), len(rows_of)
        return measure(
            objective, self.logits[:begin], self.labels[:begin], sizes, self.theta[:count], self.gradient[:count]
        )

    def _keep(self, first: int, count: int) -> None:
        """Copy the recorded weights among the steps first…first+count-1."""
        for side in (0, 1):
            index = self.recorded + side - first
            inside = (index >= 0) & (index < count)
            self.pairs[inside, side] = self.theta[index[inside]]

    def _full(self, magnitudes: Magnitudes) -> Magnitudes:
        """The magnitudes over all data at the recorded k; with the full batch, those of the steps themselves."""
        if self.problem.batch_size is None or not len(self.recorded):
            return Magnitudes(*(getattr(magnitudes, field.name)[self.recorded] for field in fields(Magnitudes)))
        return join([magnitudes_at(self.objective, theta) for theta in self.pairs[:, 0]])


def join(parts: list[Magnitudes]) -> Magnitudes:
    """The sizes of several sequences of points, one after the other."""
    return Magnitudes(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Magnitudes)))
