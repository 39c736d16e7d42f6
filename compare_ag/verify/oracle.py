"""The oracle: the exact trajectory, and exact single steps from any weights, each number with a proven radius.

It starts from the bits that the backends got, so that only the backend's own rounding separates a correct run from it.
It knows no backend, and no worker receives its numbers. It reads the formula of `objective` in the cheapest arithmetic
whose radius is below `NEGLIGIBLE` of the tolerance:

    float64     at all points at once, as any correct float64 program would, for tolerances of float32
    float64     with error-free products, and a bound on the error of this reading
    80 bits     the same with eleven binary digits more, where the machine has such numbers
    balls       a midpoint with a radius that is proven to contain the real number [Johansson, Arb: efficient
                arbitrary-precision midpoint-radius interval arithmetic, 2017; here through python-flint]

**The trajectory's radius.** Iterating balls naively loses a bit every few hundred steps, because intervals ignore that
the errors of coordinates are related. The step Φ(θ) = θ - η∇f(θ) has the Jacobian I - ηH with 0 ⪯ H ⪯ L, so it is
Lipschitz with q = max(1, ηL - 1) in the 2-norm. Each step therefore starts from midpoints, and with ρₖ the 2-norm of
the radii that step k produced

    ‖midpoints - exact trajectory‖ at k+1 ≤ q · (the same at k) + ρₖ,

some 2⁻ᵇ‖θ‖ more for each step at b bits while ηL ≤ 2. A loss at such weights is off by ‖∇f‖e + ½Le² besides its ball.

**Large numbers cost bits.** A logit is known to 2⁻ᵇ times the size (|X̃||θ|)ᵢ of its products, however much of them
cancels, and σ needs it to an absolute error. So log₂ max (|X̃||θ|)ᵢ bits are added. Where a radius is not negligible
beside the tolerance, the evaluation is repeated with more bits; a point that needs more than `MOST_POINT_BITS` is
undecided.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from flint import arb, ctx
from threadpoolctl import threadpool_limits

from compare_ag.model.arithmetic import SECOND_ORDER, Arithmetic, Array, Extended, Known
from compare_ag.model.rules import Ball, Balls, Bounded
from compare_ag.problem import Problem, batches, recorded_steps
from compare_ag.problem.estimate import MOST_EXACT_CELLS
from compare_ag.verify.objective import Objective, Step, join_entries
from compare_ag.verify.points import PointTolerance, read_points, tolerances
from compare_ag.verify.readings import NumberReading, Reader

RADIUS = 1e-30
"""The largest error of the exact trajectory's weights, and of the logits at them."""
BITS = 160
"""of a first attempt: 48 digits, of which 10⁴ steps use up four"""
MOST_BITS = 2048
"""of a trajectory"""
MOST_POINT_BITS = 8192
"""of one evaluation; sums of products of any float64 are exact in 4,300"""
NEGLIGIBLE = 0.01
"""A radius of more than this share of a tolerance decides nothing."""
KNOWN: tuple[Known, ...] = (Known.here(), *([Extended.here()] if Extended.available() else []))
"""arithmetics of growing cost whose every operation is known"""
LIPSCHITZ_SLACK = 1e-9
"""relative error allowed to the problem's L, a float64 eigenvalue"""
AFFORDABLE_SECONDS = 1.5
"""the longest time of an exact trajectory, by the model of `trajectory_seconds`"""
MOST_SECONDS = 4.0 * AFFORDABLE_SECONDS
"""the longest time of a further attempt with more bits"""

MOST_KNOWN = 1 << 19
"""weights of all points whose exact answers are kept: ten numbers for each, 40 MB in all"""
MOST_READ = 1 << 19
"""weights of the points that are read at a time, with some hundred bytes for each"""
MOST_BATCH_CELLS = 200_000
"""examples x weights of the batches that are kept as balls, some 50 MB"""
PRECISION_LOCK = threading.RLock()
"""python-flint has one global precision"""


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
        """Where a deviation can be compared with ``tolerance``: all is finite, and the radius is negligible."""
        with np.errstate(all="ignore"):
            known = np.isfinite(self.high) & (np.asarray(self.radius) <= NEGLIGIBLE * tolerance)
        decidable: Array = known & np.isfinite(tolerance)
        return decidable

    def followed_by(self, following: Exact) -> Exact:
        """These numbers (S, m), and ``following`` (m,) as a last row."""
        radius = np.maximum(self.radius, following.radius)
        return Exact(np.vstack([self.high, following.high]), np.vstack([self.low, following.low]), radius)


class ExactEvaluation(NamedTuple):
    """Everything exact about one point on one batch."""

    loss: Exact
    """()"""
    gradient: Exact
    """(m,)"""
    following: Exact
    """(m,): the weights after one step"""

    def decides(self, allowed: PointTolerance) -> bool:
        """Whether the numbers are known well enough for every finite tolerance."""
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
    """Exact evaluations of one problem's objective at any finite weights.

    All points on one batch are read at once in float64, with a bound on the error of this reading. Where that bound is
    not negligible beside the tolerance, the point is read again in balls.
    """

    def __init__(self, problem: Problem, bits: int = BITS) -> None:
        self.problem = problem
        self.bits = bits
        self.objective = Objective(problem)
        self.parameters = problem.layout.size
        self.largest = float(max(problem.X.max(), -problem.X.min()))
        self._batches: dict[bytes | None, _Batch] = {}
        """by `batch_key`"""
        self._known: dict[tuple[bytes, bytes | None, int], tuple[PointTolerance, ExactEvaluation]] = {}

    def judge_all(
        self, weights: Array, rows: Array | None, judged: int, until: float = math.inf
    ) -> list[tuple[PointTolerance, ExactEvaluation] | None]:
        """Tolerance and exact answers at each of ``weights`` (P, m) on the examples ``rows`` (None: all).

        A point is evaluated once, however often it is asked for. judged: as for `point_tolerance`. until: the time of
        `time.thread_time` after which no evaluation in balls begins; points that would need one give None.
        """
        batch = batch_key(rows)
        keys = [(point.tobytes(), batch, judged) for point in weights]
        new = {key: point for key, point in zip(keys, weights, strict=True) if key not in self._known}
        if new:
            if (len(self._known) + len(new)) * self.parameters > MOST_KNOWN:
                self._known = {key: self._known[key] for key in keys if key in self._known}
            points = np.stack(list(new.values()))
            allowed: list[PointTolerance] = []
            evaluations: list[ExactEvaluation] = []
            count = max(1, MOST_READ // self.parameters)
            for first in range(0, len(points), count):
                for tolerance, evaluation in zip(*self._read(points[first : first + count], rows, judged), strict=True):
                    allowed.append(tolerance)
                    evaluations.append(evaluation)
            for key, point, tolerance, evaluation in zip(new, points, allowed, evaluations, strict=True):
                if evaluation.decides(tolerance):
                    self._known[key] = tolerance, evaluation
                elif self._cells(rows) <= MOST_EXACT_CELLS and time.thread_time() < until:
                    self._known[key] = tolerance, self.at(point, rows, tolerance)
        return [self._known.get(key) for key in keys]

    def _read(
        self, points: Array, rows: Array | None, judged: int
    ) -> tuple[list[PointTolerance], list[ExactEvaluation]]:
        """The tolerances at points (P, m), and the numbers there, by the cheapest arithmetic that decides."""
        with threadpool_limits(1, "blas"):  # one thread is three times as fast as two that contend
            tested = read_points(self.problem, points, rows, judged=judged)
            allowed = tolerances(tested)
            evaluations = self._plainly(tested, rows)
            for known in KNOWN:
                unsettled = [i for i, evaluation in enumerate(evaluations) if not evaluation.decides(allowed[i])]
                if unsettled:
                    step = self.objective.step(points[unsettled], rows, known)
                    for i, evaluation in zip(unsettled, _evaluations(step, lambda part: part.error), strict=True):
                        decided = evaluation.decides(allowed[i])
                        evaluations[i] = evaluation if decided else self._unrounded(evaluation, points[i])
        return allowed, evaluations

    def _unrounded(self, evaluation: ExactEvaluation, weights: Array) -> ExactEvaluation:
        """The evaluation with a step from ``weights`` (m,) that has no rounding error of its own."""
        slope, rate = evaluation.gradient, float(self.problem.learning_rate)
        if not np.isfinite(slope.high).all():
            return evaluation
        exact = self.update(weights, slope.high)
        with np.errstate(over="ignore", invalid="ignore"):  # a radius of inf: undecided
            # of η times the gradient's low part, and of low itself
            rounding = 2.0**-52 * (np.abs(exact.low) + np.abs(rate * slope.low))
            radius = SECOND_ORDER * (rate * np.asarray(slope.radius) + rounding) + exact.radius
            return evaluation._replace(following=Exact(exact.high, exact.low - rate * slope.low, radius))

    def _cells(self, rows: Array | None) -> int:
        return self.problem.features * (self.problem.examples if rows is None else len(rows))

    def _plainly(self, tested: Step, rows: Array | None) -> list[ExactEvaluation]:
        """The float64 numbers of a reading with bounds, which is itself a correct program in float64.

        Every bound grows at least in proportion to u, so that the bound in a coarser format, times the ratio of both u,
        holds for float64. The statistical Γ is at least γ/√(n + 2).
        """
        n = self.problem.examples if rows is None else len(rows)
        # u of float64 / u of the tested format, times √(n + 2) for Γ
        ratio = Known.here().u / Arithmetic.of(self.problem.dtype).u * math.sqrt(n + 2.0)
        return _evaluations(tested, lambda part: ratio * np.asarray(part.error))

    def at(self, weights: Array, rows: Array | None = None, allowed: PointTolerance | None = None) -> ExactEvaluation:
        """Loss, gradient and the weights after one step, at ``weights`` (m,), on the examples ``rows`` (None: all).

        In balls. allowed: the tolerance for which the numbers must be known well enough; more bits are taken until they
        are, `MOST_POINT_BITS` at most.
        """
        bits = self.bits + bits_of_sums(self.largest, weights)
        while True:
            evaluation = self._in_balls(weights, rows, bits)
            if allowed is None or bits >= MOST_POINT_BITS or evaluation.decides(allowed):
                return evaluation
            bits *= 2

    def _in_balls(self, weights: Array, rows: Array | None, bits: int) -> ExactEvaluation:
        layout, count = self.problem.layout, len(self.problem.layout.names)
        with PRECISION_LOCK, ctx.workprec(bits):
            loss, *parts = self._batch(rows).read(self.objective.step_reader).at(self._parameters(balls(weights)))
            slope, after = (join_entries(part) for part in (parts[:count], parts[count:]))
            return ExactEvaluation(
                enclose(loss.entries, ()), enclose(slope, (layout.size,)), enclose(after, (layout.size,))
            )

    def _parameters(self, entries: list[Ball]) -> dict[str, Balls]:
        layout = self.problem.layout
        pieces = layout.pieces(entries)
        return {
            name: Balls(list(part), shape)
            for name, part, shape in zip(layout.names, pieces, layout.shapes, strict=True)
        }

    def update(self, weights: Array, gradient: Array) -> Exact:
        """weights - η gradient for given arrays (m,): the exact update by a reported gradient."""
        with PRECISION_LOCK, ctx.workprec(self.bits):
            rate = arb(float(self.problem.learning_rate))
            steps = [value - rate * slope for value, slope in zip(balls(weights), balls(gradient), strict=True)]
            return enclose(steps, (len(steps),))

    def descend(
        self, weights: Array, batches: Sequence[Array | None], decides: Callable[[Exact, Exact], bool]
    ) -> tuple[Exact, Exact] | None:
        """Steps on ``batches`` from ``weights`` (m,): the loss () before the last step, and the weights (m,) after it.

        The weights' radius is one number, in the 2-norm. decides: whether loss and weights are known well enough; more
        bits are taken until they are. None where `MOST_BITS` are not enough.
        """
        bits = self.bits + bits_of_sums(self.largest, weights)
        bits += math.ceil(min(len(batches) * math.log2(_lipschitz(self.problem)), MOST_BITS))
        while bits <= MOST_BITS:
            with PRECISION_LOCK, ctx.workprec(bits):
                for step in self._steps(balls(weights), map(self._batch, batches)):
                    last = step
                loss = enclose([last.loss], ())._replace(radius=last.radius_of_loss)
                after = enclose(last.after, weights.shape)._replace(radius=last.radius_after)
            if decides(loss, after):
                return loss, after
            bits *= 2
        return None

    def _batch(self, rows: Array | None) -> _Batch:
        """The data of a batch as balls; those of all data are kept, and as many others as `MOST_BATCH_CELLS` allows."""
        key = batch_key(rows)
        if key not in self._batches:
            cells = sum(batch.examples for name, batch in self._batches.items() if name is not None)
            count = self.problem.examples if rows is None else len(rows)
            if rows is not None and (cells + count) * self.parameters > MOST_BATCH_CELLS:
                # their memory is freed before the next batch is made
                self._batches = {name: batch for name, batch in self._batches.items() if name is None}
            self._batches[key] = _Batch(self.problem, rows)
        return self._batches[key]

    def trajectory(self, observe: Callable[[int], None] | None = None) -> ExactTrajectory | None:
        """The whole training in the precision at hand; None where a loss or its radius is not finite."""
        problem, m = self.problem, self.parameters
        pairs = recorded_steps(problem.steps)
        wanted = {k + side for k in pairs for side in (0, 1)} | {problem.steps}
        entries: dict[int, list[Ball]] = {}
        high, low, radii = (np.empty(problem.steps + 1) for _ in range(3))
        distance = largest = 0.0
        whole = problem.batch_size is None
        rows_of = (self._batch(None if whole else rows) for rows in batches(problem))
        for k, step in enumerate(self._steps(balls(problem.initial), rows_of)):
            if k in wanted:
                entries[k] = step.before
                largest, distance = max(largest, step.radius_before), step.radius_before
            high[k], low[k] = _split(step.loss)
            radii[k] = step.radius_of_loss
            if not (math.isfinite(high[k]) and math.isfinite(radii[k])):
                return None
            if observe is not None and k % 256 == 0:
                observe(k)
        weights = enclose([entry for k in pairs for side in (0, 1) for entry in entries[k + side]], (len(pairs), 2, m))
        final = enclose(entries[problem.steps], (m,))
        return ExactTrajectory(
            losses=Exact(high, low, radii),
            weights=weights._replace(radius=largest),
            final=final._replace(radius=distance),
            radius=distance,
            bits=ctx.prec,
        )

    def _steps(self, theta: list[Ball], batches: Iterable[_Batch]) -> Iterator[_ExactStep]:
        """Gradient descent from exact weights ``theta`` (m,), one step for each batch."""
        problem, reader = self.problem, self.objective.gradient_reader
        q, curvature, rate = _lipschitz(problem), problem.curvature, arb(float(problem.learning_rate))
        distance = 0.0
        for batch in batches:
            value, *slopes = batch.read(reader).at(self._parameters(theta))
            (loss,), gradient = value.entries, join_entries(slopes)
            # 1.01 covers the rounding of float64 in radii
            slope = _norm(abs(float(entry)) for entry in gradient) * 1.01
            # ‖∇f‖e + ½Le², ∇f at the midpoints
            of_loss = float(loss.rad()) * 1.01 + (slope + curvature * distance) * distance
            following = [entry - rate * by for entry, by in zip(theta, gradient, strict=True)]
            # e at k+1 ≤ q e + ρₖ
            after = q * distance + 1.01 * _norm(float(entry.rad()) for entry in following)
            yield _ExactStep(theta, distance, loss, of_loss, following, after)
            theta, distance = [entry.mid() for entry in following], after


def _evaluations(step: Step, radius: Callable[[Bounded], Array | float]) -> list[ExactEvaluation]:
    """The numbers of each of the P points, and how far off they may be."""
    parts: list[tuple[Array, Array, Array]] = []
    with np.errstate(all="ignore"):  # numbers beyond float64 become inf, which decides nothing
        for part in step:
            off = np.broadcast_to(SECOND_ORDER * np.asarray(radius(part)), part.value.shape).astype(np.float64)
            high = part.value.astype(np.float64)
            parts.append((high, (part.value - high).astype(np.float64), off))
    points = range(len(step.loss.value))
    return [ExactEvaluation(*(Exact(high[i], low[i], off[i]) for high, low, off in parts)) for i in points]


def batch_key(rows: Array | None) -> bytes | None:
    """A digest of the batch's rows, independent of their integer type; None for all data."""
    if rows is None:
        return None
    return hashlib.blake2b(np.ascontiguousarray(rows, dtype=np.int64).data, digest_size=16).digest()


def bits_of_sums(largest: float, weights: Array) -> int:
    """log₂ of a bound on (|X̃||θ|)ᵢ, for features of ``largest`` size at most; 0 where that is below 1."""
    weight = float(np.abs(weights).max(initial=0.0))
    exponents = [math.frexp(value)[1] for value in (max(1.0, largest), weight, float(len(weights)))]
    return max(0, sum(exponents))


def trajectory_seconds(problem: Problem, steps: int) -> float:
    """About the time of so many exact steps: 18 µs a step for 4 examples x 2 features where this was measured."""
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
            trajectory = Oracle(problem, bits).trajectory(observe)
        if trajectory is not None and trajectory.radius <= wanted:
            return trajectory
        bits += bits if trajectory is None else math.ceil(math.log2(trajectory.radius / wanted)) + 16
    return None


def _lipschitz(problem: Problem) -> float:
    """q: how much Φ can lengthen a distance."""
    return max(1.0, float(problem.learning_rate) * problem.curvature * (1.0 + LIPSCHITZ_SLACK) - 1.0)


class _Batch:
    """The data of one batch as exact balls, and readings on them."""

    def __init__(self, problem: Problem, rows: Array | None) -> None:
        X, y = (problem.X, problem.y) if rows is None else (problem.X[rows], problem.y[rows])
        self.examples = len(y)
        self._data = {
            "X": Balls(balls(X), X.shape),
            "y": Balls(balls(y), y.shape),
            "l2": Balls(balls(np.asarray(problem.l2)), ()),
            "rate": Balls(balls(np.asarray(problem.learning_rate)), ()),
        }
        self._readings: dict[tuple[Reader, int], NumberReading[Balls]] = {}

    def read(self, reader: Reader) -> NumberReading[Balls]:
        """The reading of the reader's expressions on these data, in the precision at hand."""
        key = reader, ctx.prec
        if key not in self._readings:
            self._readings[key] = reader.exactly(self._data, self.examples)
        return self._readings[key]


class _ExactStep(NamedTuple):
    """One exact step: the loss and the weights (m,) before and after it, as balls or the midpoints of balls.

    Each radius bounds the distance from the exact trajectory, of weights in the 2-norm.
    """

    before: list[Ball]
    radius_before: float
    loss: Ball
    radius_of_loss: float
    after: list[Ball]
    radius_after: float


def balls(values: Array) -> list[Ball]:
    """Exact balls: every float32 and float64 is a binary number of at most 53 bits."""
    return [arb(value) for value in np.asarray(values, dtype=np.float64).ravel().tolist()]


def _split(ball: Ball) -> tuple[float, float]:
    """The midpoint as high + low."""
    middle = ball.mid()
    high = float(middle)
    return high, float(middle - arb(high)) if math.isfinite(high) else 0.0


def enclose(entries: list[Ball], shape: tuple[int, ...]) -> Exact:
    """Balls in C order as float64 pairs of this shape, each with its radius."""
    parts = np.array([(*_split(ball), float(ball.rad())) for ball in entries], dtype=np.float64).reshape(-1, 3)
    high, low, radius = (parts[:, i].reshape(shape) for i in range(3))
    return Exact(high, low, radius)


def _norm(values: Iterable[float]) -> float:
    return math.hypot(*values)
