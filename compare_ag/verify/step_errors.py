"""The rounding errors of single steps along a trajectory: a reading of the formula with an axis of steps.

At weights that are known bit for bit, the bounds of `readings` are the errors of one step. The tested run, however, is
at weights θ̃ of which only ‖θ̃ - θ̂‖ ≤ D is known, θ̂ being the reference's. So the bounds must hold in a ball.

**A ball.** In it no logit moves by more than ρᵢ = ‖x̃ᵢ‖D. The errors grow with ℓᵢ, |rᵢ| and |zᵢ|, and the first two of
these with s = (1 - 2y) z. Therefore the formula is read at raised logits z^ρᵢ = zᵢ + (1 - 2yᵢ) ρᵢ: `reach` is
(1 - 2yᵢ)‖x̃ᵢ‖ and `radius` D; in the probability form, which saturates at both ends, also at -D. What this misses is of
order uD, with S of `Geometry` and g^ρ, θ^ρ' for the numbers that are read:

    z    γ_m (|X̃||θ̃|)ᵢ - γ_m (|X̃||θ̂|)ᵢ ≤ γ_m ρᵢ, which moves r by a quarter: ¼ γ_m S²D of g, γ_m S D of f
    g    |r̃ᵢ - r^ρᵢ| ≤ ¼ · 2ρᵢ, hence ‖g̃ - g^ρ‖ ≤ (½S² + l2) D, which 4u multiply, and 4u l2 D of the penalty's gradient
    θ'   ‖θ̃' - θ^ρ'‖ ≤ D + η (½S² + l2) D, which u multiplies
    f    |z̃ᵢ| ≤ |z^ρᵢ| + 2ρᵢ: (κ_exp + 4) u and Γ ≤ γ_{n+2} multiply 4 S D; γ_{m+3} multiplies l2 (‖θ̂‖ + D) D

**Groups of steps.** Where steps x examples are many, consecutive steps on one batch are read together, at the middle
step, in a ball that holds them all: the length Σ η‖g‖ of the path between two steps bounds their distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from compare_ag.model.arithmetic import K_EXP, SECOND_ORDER, Arithmetic
from compare_ag.problem import Problem
from compare_ag.problem.core import Array, squared_lengths
from compare_ag.verify.curvature import uniform_curvature
from compare_ag.verify.objective import STABLE, Objective, raised_reader

CELLS = 1 << 18
"""steps x examples up to which every step is read by itself; numbers of an array over steps that are read at once"""
FEWEST_STEPS = 16
"""that are read at once on the same data, however large these are"""
MOST_PATH = 1 << 22
"""weights of a path that are kept"""
SHIFT = 0.25
"""The largest change of a logit within a group of steps, where steps are grouped."""


@dataclass(frozen=True)
class Geometry:
    """The constants of a problem: R, S, L, κ, η, l2 and m of the notation of `tolerance`."""

    lengths: Array
    """‖x̃ᵢ‖ (n,)"""
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
        longest = math.sqrt(float(squares.max()))
        full = problem.batch_size is None
        spread = math.sqrt(float(squares.mean())) if full else longest
        return cls(
            lengths=np.sqrt(squares, out=squares),
            longest=longest,
            spread=spread,
            curvature=float(problem.curvature),
            kappa=uniform_curvature(problem),
            rate=float(problem.learning_rate),
            l2=float(problem.l2),
            parameters=problem.layout.size,
        )

    def contraction(self, anchored: float, reach: float, shift: float) -> float:
        """q, for λmin(H) ≥ ``anchored`` and |z| ≤ ``reach``, both at θ̂, from where the logits move by ``shift``."""
        # with a = max|z(θ̂)| + RE: σ'(a) = decay/(1 + decay)², and μ is the larger bound of `curvature`
        decay = math.exp(-min(reach + shift, 9999.0))
        mu = max(anchored * math.exp(-shift), 4.0 * self.kappa * decay / (1.0 + decay) ** 2)
        # q = max(1 - ημ, ηL - 1)
        return max(1.0 - self.rate * mu, self.rate * self.curvature - 1.0)


@dataclass(frozen=True)
class StepPath:
    """Weights before the steps 0…T, along which the errors of these steps are read."""

    theta: Array
    """(A, m): before the steps 0, stride, 2 stride, …"""
    stride: int
    travelled: Array
    """(T+1,): the length of the path before each step"""
    spread: Array
    """(T+1,): how far from the path other weights of the same step lie, for which the errors shall hold too"""
    batch: Array
    """(T+1,): each step's place in ``rows``"""
    rows: Sequence[Array | None]
    """the examples of each batch; None: all"""

    def groups(self, examples: int, longest: float) -> tuple[Array, Array, Array]:
        """The step at which each group is read (G,), the group of each step (T+1,), and the radius (G,) of a group.

        examples: of the largest batch; longest: R.
        """
        shifts = longest * self.travelled
        total, count, part = float(shifts[-1]), len(shifts), np.arange(len(shifts))
        if count * examples > CELLS and math.isfinite(total):
            width = min(2.0 * SHIFT, total * examples / CELLS)
            part = (shifts / max(width, math.ulp(1.0))).astype(np.int64)
        key = self.batch * (int(part.max()) + 1) + part
        order = np.argsort(key, kind="stable")
        _, group, sizes = np.unique(key, return_inverse=True, return_counts=True)
        # the middle of each group's steps, and the step whose weights are known
        middle = order[np.cumsum(sizes) - sizes + (sizes - 1) // 2]
        source = (middle // self.stride * self.stride)[group]
        # ∞ - ∞ is 0 for a step at its own weights
        apart = np.where(source == np.arange(count), 0.0, np.abs(self.travelled - self.travelled[source]))
        radius = np.zeros(len(sizes))
        np.maximum.at(radius, group, apart + self.spread)
        return middle, group, radius


class PathRecorder:
    """Collects the weights of a path while it is computed: of as many steps, evenly spaced, as `MOST_PATH` allows."""

    def __init__(self, steps: int, parameters: int) -> None:
        self.stride = 1 + (steps + 1) * parameters // MOST_PATH
        self.theta = np.empty((steps // self.stride + 1, parameters))
        self.spread = np.zeros(steps + 1)

    def keep(self, first: int, theta: Array) -> None:
        """The weights (k, m) before the steps ``first``, first + 1, …"""
        skip = -first % self.stride
        chosen = theta[skip :: self.stride]
        self.theta[(first + skip) // self.stride :][: len(chosen)] = chosen

    def finish(self, moves: Array, batch: Array, rows: Sequence[Array | None]) -> StepPath:
        """The path, from the length (T+1,) of every step; the last step's does not count."""
        # the rounding errors of the reference's own steps lengthen the path, by far less
        travelled = np.concatenate(([0.0], np.cumsum(SECOND_ORDER * moves[:-1])))
        return StepPath(self.theta, self.stride, travelled, self.spread, batch, rows)


class StepErrors(NamedTuple):
    """The largest errors at S points, ∞ where nothing is known."""

    loss: Array
    """(S,): of the loss"""
    following: Array
    """(S,): of the weights after one step, in the 2-norm"""

    def times(self, ratio: Array | float) -> StepErrors:
        """Both multiplied."""
        return StepErrors(self.loss * ratio, self.following * ratio)


@dataclass(frozen=True)
class StepErrorReader:
    """Reads the errors of steps of one problem."""

    objective: Objective
    geometry: Geometry

    def read(self, theta: Array, radius: Array, rows: Array | None, arithmetic: Arithmetic, form: str) -> StepErrors:
        """The errors within ``radius`` (S,) of each θ (S, m).

        rows: the examples (S, n) of each point's batch; None: all.
        """
        data, examples = self.objective.data(rows)
        lengths = self.geometry.lengths if rows is None else self.geometry.lengths[rows]
        reach = (1.0 - 2.0 * np.asarray(data["y"], dtype=np.float64)) * lengths
        at = data | self.objective.parameters(theta) | {"reach": reach}
        reader = raised_reader(form, self.objective.problem.features)
        loss, following = np.zeros(len(theta)), np.zeros(len(theta))
        with np.errstate(all="ignore"):
            # log(1 - p) saturates where z is large, although y = 1
            for raised in (radius,) if form == STABLE else (radius, -radius):
                f, *after = reader.bounds(at | {"radius": raised}, examples, arithmetic)
                # not a sum of squares, which may overflow
                step = np.hypot.reduce(np.asarray(self.objective.flat(after).error), axis=1)
                loss, following = np.maximum(loss, f.error), np.maximum(following, step)
            return self._in_ball(StepErrors(loss, following), theta, radius, examples, arithmetic)

    def _in_ball(
        self, errors: StepErrors, theta: Array, radius: Array, examples: int, arithmetic: Arithmetic
    ) -> StepErrors:
        """The errors with the terms of u times D."""
        g, u = self.geometry, arithmetic.u
        m, square = g.parameters, g.spread**2  # S²
        gamma_logit, gamma_sum, gamma_penalty = (float(arithmetic.gamma(k)) for k in (m + 1.0, examples + 2.0, m + 3.0))
        # of z, g and θ', multiplied by η where a gradient is
        step = 0.25 * gamma_logit * g.rate * square
        step += u * (1.0 + g.rate * (5.0 * (0.5 * square + g.l2) + 4.0 * g.l2))
        # of z and f
        loss = np.full(len(theta), g.spread * (gamma_logit + 4.0 * ((K_EXP + 4.0) * u + gamma_sum)))
        if g.l2:
            loss += gamma_penalty * g.l2 * (np.hypot.reduce(theta, axis=1) + radius)
        total = errors.loss + loss * radius, errors.following + step * radius
        return StepErrors(*(SECOND_ORDER * np.where(np.isnan(part), np.inf, part) for part in total))

    def along(self, path: StepPath, steps: Array, radius: Array, arithmetic: Arithmetic, form: str) -> StepErrors:
        """The same at the weights of ``steps`` (S,) of a path, on each step's batch, some steps at a time."""
        loss, following = np.empty(len(steps)), np.empty(len(steps))
        theta, batches = path.theta[steps // path.stride], path.batch[steps]
        size = np.array([0 if rows is None else len(rows) for rows in path.rows])[batches]
        with threadpool_limits(1, "blas"):  # as in `oracle`
            for examples in np.unique(size).tolist():
                (chosen,) = np.nonzero(size == examples)
                count = max(1 if examples else FEWEST_STEPS, CELLS // (self.geometry.parameters * max(examples, 1)))
                for first in range(0, len(chosen), count):
                    part = chosen[first : first + count]
                    rows = np.stack([path.rows[i] for i in batches[part]]) if examples else None
                    loss[part], following[part] = self.read(theta[part], radius[part], rows, arithmetic, form)
        return StepErrors(loss, following)
