"""The oracle: the exact trajectory, and exact single steps from any weights, enclosed by ball arithmetic.

A ball is a midpoint with a radius that is proven to contain the real number [Johansson, Arb: efficient
arbitrary-precision midpoint-radius interval arithmetic, 2017; here through python-flint]. It starts from the bits
that the backends got, so that nothing but the backend's own rounding separates a correct run from it. It knows no
backend, and no worker knows it.

With the signed data A = rows (2yᵢ - 1) (xᵢ, 1) and margins μ = Aθ, both loss forms are one real function:

    ℓᵢ = softplus(-μᵢ),    |rᵢ| = 1/(1 + exp μᵢ),    ∇f = -Aᵀ|r|/n + l2 (w, 0),    Φ(θ) = θ - η∇f(θ).

**The trajectory's radius.** Iterating balls naively loses a bit every few hundred steps, for an interval does not know
that the errors of its coordinates are related. Φ does: its Jacobian is I - ηH with 0 ⪯ H ⪯ L, so it is Lipschitz with
q = max(1, ηL - 1) in the 2-norm. Each step therefore starts from midpoints, and with ρₖ the 2-norm of the radii that
this one step produced

    ‖midpoints - exact trajectory‖ at k+1 ≤ q · (the same at k) + ρₖ,

some 2⁻ᵇ‖θ‖ more for each step at b bits while ηL ≤ 2. A loss at such weights is off by ‖∇f‖e + ½Le² besides its ball.

**Large numbers cost bits.** A margin is known to 2⁻ᵇ times the size (|X̃||θ|)ᵢ of its products, however much of them
cancels, and σ needs it to an absolute error. So log₂ max (|X̃||θ|)ᵢ bits are added. A ball's radius is compared with the
tolerance, too: where it is not `NEGLIGIBLE`, the evaluation is repeated with more bits, and a number that
`MOST_POINT_BITS` do not settle is not decided.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from flint import arb, arb_mat, ctx

from compare_ag.problem import Problem, batches, recorded_steps
from compare_ag.problem.core import Array
from compare_ag.verify.points import PointTolerance, point_tolerance

Ball: TypeAlias = Any
"""flint.arb; python-flint's own annotations stop at its Cython classes"""

RADIUS = 1e-30
"""The exact trajectory's weights, and the logits at them, are known to this much, or it is not called exact."""
BITS = 160
"""of a first attempt: 48 digits, of which 10⁴ steps cost four"""
MOST_BITS = 2048
"""of a trajectory"""
MOST_POINT_BITS = 8192
"""of one evaluation; sums of products of any float64 are exact in 4,300"""
NEGLIGIBLE = 2.0**-10
"""A ball's radius of more than this share of a tolerance decides nothing."""
LIPSCHITZ_SLACK = 1e-9
"""relative error allowed to the problem's L, a float64 eigenvalue"""
AFFORDABLE_SECONDS = 1.5
"""what an exact trajectory may cost, by the model of `trajectory_seconds`"""
MOST_SECONDS = 4.0 * AFFORDABLE_SECONDS
"""what a further attempt with more bits may cost"""

MOST_KNOWN = 1 << 19
"""weights of all points whose exact answers are kept: ten numbers for each, 40 MB in all"""
MOST_DESIGN_CELLS = 200_000
"""examples x weights of the batches that are kept as balls, some 50 MB"""
PRECISION_LOCK = threading.RLock()
"""python-flint keeps the precision in one global place"""


class Exact(NamedTuple):
    """Real numbers as unevaluated sums high + low of two float64 arrays (106 bits), and how far off they may be."""

    high: Array
    low: Array
    radius: Array | float
    """of the ball of which each is the midpoint; one number, in the 2-norm, for weights of a trajectory"""

    def deviation(self, observed: Array) -> Array:
        """|observed - exact|, rounded once; NaN or inf where ``observed`` is."""
        # observed - high is exact where the two are within a factor of two, and rounded to it otherwise
        deviation: Array = np.abs((np.asarray(observed, dtype=np.float64) - self.high) - self.low)
        return deviation

    def decides(self, tolerance: Array) -> Array:
        """Where a deviation can be compared with ``tolerance``: all is finite, and the radius negligible beside it."""
        with np.errstate(all="ignore"):
            known = np.isfinite(self.high) & (np.asarray(self.radius) <= NEGLIGIBLE * tolerance)
        decidable: Array = known & np.isfinite(tolerance)
        return decidable

    def followed_by(self, other: Exact) -> Exact:
        """These (S, m) and one row more (m,)."""
        radius = np.maximum(self.radius, other.radius)
        return Exact(np.vstack([self.high, other.high]), np.vstack([self.low, other.low]), radius)


class Evaluation(NamedTuple):
    """Everything exact about one point on one batch."""

    loss: Exact
    """()"""
    gradient: Exact
    """(m,)"""
    following: Exact
    """(m,): the weights after one step"""

    def decides(self, allowed: PointTolerance) -> bool:
        """Whether every finite tolerance can be compared with."""
        pairs = (
            (self.loss, np.asarray(allowed.loss)),
            (self.gradient, allowed.gradient),
            (self.following, allowed.following),
        )
        return all(bool((exact.decides(tolerance) | np.isinf(tolerance)).all()) for exact, tolerance in pairs)


@dataclass(frozen=True)
class ExactTrajectory:
    """The trajectory for T steps and K recorded steps, enclosed."""

    losses: Exact
    """(T+1,), each with its own radius"""
    weights: Exact
    """(K, 2, m): at the recorded k and at k+1"""
    final: Exact
    """(m,)"""
    radius: float
    """of the final weights, ‖midpoints - exact‖₂; at most `RADIUS`"""
    bits: int


class Oracle:
    """Exact evaluations of one problem's objective at any finite weights."""

    def __init__(self, problem: Problem, bits: int = BITS) -> None:
        self.problem = problem
        self.bits = bits
        self.parameters = problem.layout.size
        self.largest = float(np.abs(problem.X).max(initial=0.0))
        self._designs: dict[bytes | None, _Design] = {}
        """by the bytes of the batch's rows; None: all"""
        self._known: dict[tuple[bytes, bytes | None, int], tuple[PointTolerance, Evaluation]] = {}

    def judge_by(self, weights: Array, rows: Array | None, judged: int) -> tuple[PointTolerance, Evaluation]:
        """Tolerance and exact answers at ``weights`` (m,) on the examples ``rows`` (None: all).

        Each distinct point is evaluated once: a route visits it four times, and backends are asked at the same ladder.
        judged: as for `point_tolerance`.
        """
        key = (weights.tobytes(), batch_key(rows), judged)
        if key not in self._known:
            allowed = point_tolerance(self.problem, weights, rows, judged=judged)
            if len(self._known) * self.parameters > MOST_KNOWN:
                self._known.clear()
            self._known[key] = allowed, self.at(weights, rows, allowed)
        return self._known[key]

    def at(self, weights: Array, rows: Array | None = None, allowed: PointTolerance | None = None) -> Evaluation:
        """Loss, gradient and the weights after one step, at ``weights`` (m,), on the examples ``rows`` (None: all).

        allowed: what it will be compared with. More bits are taken until it decides, `MOST_POINT_BITS` at most.
        """
        bits = self.bits + bits_of_sums(self.largest, weights)
        while True:
            found = self._evaluated(weights, rows, bits)
            if allowed is None or bits >= MOST_POINT_BITS or found.decides(allowed):
                return found
            bits *= 2

    def _evaluated(self, weights: Array, rows: Array | None, bits: int) -> Evaluation:
        with PRECISION_LOCK, ctx.workprec(bits):
            theta = arb_mat(self.parameters, 1, balls(weights))
            design = self._design(rows)
            loss, gradient = design.evaluate(theta, _l2(self.problem))
            following = theta - gradient * arb(float(self.problem.learning_rate))
            return Evaluation(
                enclosed([loss], ()),
                enclosed(gradient.entries(), (self.parameters,)),
                enclosed(following.entries(), (self.parameters,)),
            )

    def update(self, weights: Array, gradient: Array) -> Exact:
        """weights - η gradient for given arrays (m,): what `update` should have made of a reported gradient."""
        with PRECISION_LOCK, ctx.workprec(self.bits):
            rate = arb(float(self.problem.learning_rate))
            steps = [value - rate * slope for value, slope in zip(balls(weights), balls(gradient), strict=True)]
            return enclosed(steps, (len(steps),))

    def descend(
        self, weights: Array, batches: Sequence[Array | None], decides: Callable[[Exact, Exact], bool]
    ) -> tuple[Exact, Exact] | None:
        """Steps on ``batches`` from ``weights`` (m,): the loss () before the last one, and the weights (m,) after it.

        The weights' radius is one number, in the 2-norm. decides: whether loss and weights are known well enough; more
        bits are taken until they are. None where `MOST_BITS` are not enough.
        """
        bits = self.bits + bits_of_sums(self.largest, weights)
        bits += math.ceil(min(len(batches) * math.log2(_lipschitz(self.problem)), MOST_BITS))
        while bits <= MOST_BITS:
            with PRECISION_LOCK, ctx.workprec(bits):
                theta = arb_mat(self.parameters, 1, balls(weights))
                for step in _steps(self.problem, theta, map(self._design, batches)):
                    last = step
                loss = enclosed([last.loss], ())._replace(radius=last.radius_of_loss)
                after = enclosed(last.after.entries(), weights.shape)._replace(radius=last.radius_after)
            if decides(loss, after):
                return loss, after
            bits *= 2
        return None

    def _design(self, rows: Array | None) -> _Design:
        key = batch_key(rows)
        if key not in self._designs:
            chosen = slice(None) if rows is None else rows
            X, y = self.problem.X[chosen], self.problem.y[chosen]
            kept = sum(design.examples for name, design in self._designs.items() if name is not None)
            if rows is not None and (kept + len(y)) * self.parameters > MOST_DESIGN_CELLS:
                # their memory goes before the next one comes; that of all data stays
                self._designs = {name: design for name, design in self._designs.items() if name is None}
            self._designs[key] = _Design(X, y)
        return self._designs[key]


def batch_key(rows: Array | None) -> bytes | None:
    """What names a batch, whatever the integer type of its rows: the bytes of (1, 0) may be those of a wider (1,)."""
    return None if rows is None else np.asarray(rows, dtype=np.int64).tobytes()


class _Design:
    """The signed data A (n, m) of one batch as exact balls."""

    def __init__(self, X: Array, y: Array) -> None:
        n, d = X.shape
        signed = np.empty((n, d + 1))
        sign = 2.0 * np.asarray(y, dtype=np.float64) - 1.0
        np.multiply(X, sign[:, None], out=signed[:, :d])  # times ±1: exact
        signed[:, d] = sign
        self.examples = n
        self.signed = arb_mat(n, d + 1, balls(signed))
        self.transposed = self.signed.transpose()

    def evaluate(self, theta: Ball, l2: Ball | None) -> tuple[Ball, Ball]:
        """f and ∇f (m, 1) at θ (m, 1), as balls."""
        residuals, terms = zip(*map(_example, (self.signed * theta).entries()), strict=True)
        gradient = self.transposed * arb_mat(self.examples, 1, list(residuals)) / -self.examples
        loss = sum(terms[1:], terms[0]) / self.examples
        if l2 is not None:
            weights = theta.entries()[:-1]
            gradient += arb_mat(len(weights) + 1, 1, [l2 * w for w in weights] + [arb(0)])
            loss += l2 / 2 * sum((w * w for w in weights), arb(0))
        return loss, gradient


def bits_of_sums(largest: float, weights: Array) -> int:
    """log₂ of a bound on (|X̃||θ|)ᵢ, for features of ``largest`` size at most; 0 where that is below 1."""
    weight = float(np.abs(weights).max(initial=0.0))
    exponents = [math.frexp(value)[1] for value in (max(1.0, largest), weight, float(len(weights)))]
    return max(0, sum(exponents))


def _example(margin: Ball) -> tuple[Ball, Ball]:
    """|r| = 1/(1 + exp μ) and ℓ = softplus(-μ) of one margin μ."""
    growth = margin.exp()
    # softplus(-μ), with the exponential that does not overflow
    loss = (1 / growth).log1p() if growth > 1 else growth.log1p() - margin
    return 1 / (1 + growth), loss


def trajectory_seconds(problem: Problem, steps: int) -> float:
    """What so many exact steps cost, roughly: 18 µs a step for 4 examples x 2 features where this was measured."""
    m = problem.layout.size
    n = min(problem.batch_size or problem.examples, problem.examples)
    step = 9e-6 + 2.1e-6 * n + 6e-8 * n * m
    if problem.batch_size is not None:
        step += 2.5e-7 * n * m
    return step * steps


def exact_trajectory(problem: Problem, observe: Callable[[int], None] | None = None) -> ExactTrajectory | None:
    """The exact trajectory of ``problem``; None where it would cost too much, or more than `MOST_BITS` bits.

    ``observe(k)`` is called now and then with the number of finished steps.
    """
    seconds, lost = trajectory_seconds(problem, problem.steps + 1), problem.steps * math.log2(_lipschitz(problem))
    if seconds > AFFORDABLE_SECONDS or not lost < MOST_BITS:
        return None
    # a step from weights that are off by e moves a logit by Re, and its loss by ‖∇f‖e ≤ Re + …
    wanted = RADIUS / math.sqrt(float(np.square(problem.X.astype(np.float64)).sum(axis=1).max()) + 1.0)
    bits = BITS + math.ceil(lost - math.log2(wanted / RADIUS))
    # ten times the bits cost some five times the time
    while bits <= MOST_BITS and seconds * (1.0 + bits / 400.0) <= MOST_SECONDS:
        with PRECISION_LOCK, ctx.workprec(bits):
            found = _replay(problem, bits, observe)
        if found is not None and found.radius <= wanted:
            return found
        bits += bits if found is None else math.ceil(math.log2(found.radius / wanted)) + 16
    return None


def _lipschitz(problem: Problem) -> float:
    """q: how much Φ can lengthen a distance."""
    return max(1.0, float(problem.learning_rate) * problem.curvature * (1.0 + LIPSCHITZ_SLACK) - 1.0)


def _replay(problem: Problem, bits: int, observe: Callable[[int], None] | None) -> ExactTrajectory | None:
    """The trajectory with so many bits; None where they are too few to say anything, or the numbers leave float64."""
    m = problem.layout.size
    theta = arb_mat(m, 1, balls(problem.initial))
    full = _Design(problem.X, problem.y) if problem.batch_size is None else None
    designs = (full or _Design(problem.X[rows], problem.y[rows]) for rows in batches(problem))
    pairs = recorded_steps(problem.steps)
    wanted = {k + side for k in pairs for side in (0, 1)} | {problem.steps}
    kept: dict[int, list[Ball]] = {}
    high, low, radii = (np.empty(problem.steps + 1) for _ in range(3))
    distance = largest = 0.0
    for k, step in enumerate(_steps(problem, theta, designs)):
        if k in wanted:
            kept[k] = step.before.entries()
            largest, distance = max(largest, step.radius_before), step.radius_before
        high[k], low[k] = _split(step.loss)
        radii[k] = step.radius_of_loss
        if not (math.isfinite(high[k]) and math.isfinite(radii[k])):
            return None
        if observe is not None and k % 256 == 0:
            observe(k)
    weights = enclosed([entry for k in pairs for side in (0, 1) for entry in kept[k + side]], (len(pairs), 2, m))
    final = enclosed(kept[problem.steps], (m,))
    return ExactTrajectory(
        losses=Exact(high, low, radii),
        weights=weights._replace(radius=largest),
        final=final._replace(radius=distance),
        radius=distance,
        bits=bits,
    )


class _Step(NamedTuple):
    """One exact step: the loss and the weights (m, 1) before and after it, as balls or the midpoints of balls.

    Each radius bounds the distance from the exact trajectory, of weights in the 2-norm.
    """

    before: Ball
    radius_before: float
    loss: Ball
    radius_of_loss: float
    after: Ball
    radius_after: float


def _steps(problem: Problem, theta: Ball, designs: Iterable[_Design]) -> Iterator[_Step]:
    """Gradient descent from exact weights ``theta`` (m, 1), one step for each design."""
    q, curvature, rate = _lipschitz(problem), problem.curvature, arb(float(problem.learning_rate))
    l2, distance = _l2(problem), 0.0
    for design in designs:
        loss, gradient = design.evaluate(theta, l2)
        slope = _norm(abs(float(entry)) for entry in gradient.entries()) * 1.01
        of_loss = float(loss.rad()) * 1.01 + (slope + curvature * distance) * distance
        following = theta - gradient * rate
        after = q * distance + 1.01 * _norm(float(entry.rad()) for entry in following.entries())
        yield _Step(theta, distance, loss, of_loss, following, after)
        theta, distance = following.mid(), after


def _l2(problem: Problem) -> Ball | None:
    return arb(float(problem.l2)) if problem.l2 else None


def balls(values: Array) -> list[Ball]:
    """Exact balls: every float32 and float64 is a binary number of at most 53 bits."""
    return [arb(value) for value in np.asarray(values, dtype=np.float64).ravel().tolist()]


def _split(ball: Ball) -> tuple[float, float]:
    """The midpoint as high + low."""
    middle = ball.mid()
    high = float(middle)
    return high, float(middle - arb(high)) if math.isfinite(high) else 0.0


def enclosed(found: list[Ball], shape: tuple[int, ...]) -> Exact:
    """Balls in C order as float64 pairs of this shape, each with its radius."""
    parts = np.array([(*_split(ball), float(ball.rad())) for ball in found], dtype=np.float64).reshape(-1, 3)
    high, low, radius = (parts[:, i].reshape(shape) for i in range(3))
    return Exact(high, low, radius)


def _norm(values: Iterable[float]) -> float:
    return math.hypot(*values)
