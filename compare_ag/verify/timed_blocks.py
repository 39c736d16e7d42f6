"""Timed blocks: did each of them make all its updates correctly?

A timed block starts from weights whose bits the host knows and makes a number s of updates of gradient descent, of
which update j uses the batch ``batches[j % len(batches)]``. It reports the loss of its last batch before the last
update, and the weights after it. Here they are compared with float64 gradient descent from the same start, within the
bound of `tolerance`. All distinct starts descend together: a step of R starts is two products with the (n, m) matrix A.

**One bound for all starts.** The recursion of `tolerance` is scalar, 4 µs a step; a recursion for each start would take
longer than the training of a small problem. The bound grows with every size that enters it (and with a falling lowest
logit). So the largest size over all starts gives a bound that holds for every start. It is hardly larger than each
start's own bound where the starts lie near one checkpoint.

**Right, wrong, not judged.** The bound decides which blocks are wrong. It does not show that the updates were made:
where rounding may move the weights as far as the updates do, unchanged weights are within the bound. So a block within
the bound is right only if its weights lie nearer to those after s updates than `LARGEST_SHARE` of the last update and
`LARGEST_SHARE_OF_MOVE` of the whole move: then it made exactly s updates. Otherwise it is not judged. A block that
moves the weights by 10 tolerances and is within one tolerance is always within the second share; where the bound is too
wide for that, the deviation itself may still show that the updates were made.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeAlias

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.objective import Objective
from compare_ag.verify.oracle import AFFORDABLE_SECONDS, Exact, Oracle, trajectory_seconds
from compare_ag.verify.reference import BLOCK_CELLS, BLOCK_STEPS, Magnitudes, join, measure
from compare_ag.verify.step_errors import Geometry, PathRecorder, StepPath
from compare_ag.verify.tolerance import ErrorBounds
from compare_ag.verify.verdict import worst_coordinate

BlockStatus: TypeAlias = Literal["right", "wrong", "not judged"]

LARGEST_SHARE = 0.5
"""of the last update, by which the weights of a right block may be off: with one update missing or too many it is 1"""
LARGEST_SHARE_OF_MOVE = 0.1
"""of the distance between the weights before and after the block"""
EXACT_CELL_SECONDS = 4e-7
"""the time to make a number of the data exact; the exact number occupies 180 bytes"""
FEWEST_STARTS = 8
"""starts that descend together, however large the data are: products with fewer starts take as long"""
GROUP_CELLS = 1 << 18
"""numbers of an array (R, n) or (R, m) for more starts than that"""


@dataclass(frozen=True)
class Claim:
    """The start of one timed block, and the numbers that it reports; m weights in the problem's dtype.

    Claims that start from the same weights share one trajectory of the reference; grouping them is fastest where they
    share the array too.
    """

    start: Array
    """(m,)"""
    updates: int
    """s, at least 1, the untimed ones of the lead-in included"""
    loss: Array
    """(): of the last update's batch, at the weights before that update"""
    weights: Array
    """(m,): after all updates"""


@dataclass(frozen=True)
class BlockVerdict:
    """The judgement of one block."""

    status: BlockStatus
    ratio: float
    """deviation / tolerance, the larger of loss and weights; above 1 is out of tolerance, inf is not finite"""
    quantity: Literal["loss", "weights"]
    """to which the ratio and the figures below belong"""
    coordinate: str | None
    """the weight that deviates most, where weights are wrong: "w[3]", "b" """
    observed: float
    """the deviation: of the loss, or ‖deviation‖₂ of the weights"""
    tolerance: float
    """inf where nothing can be decided"""
    moved: float
    """how far s right updates move the weights, in tolerances of the weights; 0 where these are inf"""
    share: float
    """‖deviation‖₂ of the weights by ‖the last right update‖₂: 1 where that update is missing; NaN where it is 0"""
    undone: float
    """‖deviation‖₂ of the weights by the distance that right updates move them: 1 where the weights are unchanged"""
    exact: bool = False
    """compared with the exact trajectory, not with the reference"""


@dataclass(frozen=True)
class _Plan:
    """The P distinct pairs of a start and a number of updates that the claims need."""

    starts: Array
    """(R, m) float64, those with the most updates first"""
    updates: Array
    """(P,) integers"""
    start: Array
    """(P,): row of ``starts``"""
    pair: list[int]
    """for each claim its pair"""

    @classmethod
    def of(cls, claims: Sequence[Claim]) -> _Plan:
        by_bits: dict[bytes, int] = {}
        by_array: dict[int, int] = {}
        first_with: list[Array] = []
        pairs: dict[tuple[int, int], int] = {}
        pair = []
        for claim in claims:
            if id(claim.start) not in by_array:  # the bits of 100,000 weights take as long as a step
                row = by_bits.setdefault(claim.start.tobytes(), len(first_with))
                by_array[id(claim.start)] = row
                if row == len(first_with):
                    first_with.append(claim.start)
            key = (by_array[id(claim.start)], claim.updates)
            pair.append(pairs.setdefault(key, len(pairs)))
        start, updates = (np.array(column) for column in zip(*pairs, strict=True))
        most = np.zeros(len(first_with), dtype=np.int64)
        np.maximum.at(most, start, updates)
        order = np.argsort(-most, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(np.stack(first_with).astype(np.float64)[order], updates, place[start], pair)


@dataclass(frozen=True)
class _Expected:
    """The reference's numbers for P pairs, and how far off a right block may be."""

    weights: Array
    """(P, m)"""
    loss: Array
    """(P,)"""
    weights_tolerance: Array
    """(P,): tolerance in the 2-norm"""
    loss_tolerance: Array
    """(P,)"""
    exact_weights_tolerance: Array
    """(P,): the same beside exact numbers"""
    exact_loss_tolerance: Array
    """(P,)"""
    move: Array
    """(P,): ‖weights - start‖₂"""
    last_update: Array
    """(P,): ‖weights - weights one update before‖₂"""


class BlockJudge:
    """Judges the blocks of one problem. Holds the data in float64 and the parts of the bound that all claims share.

    batches: the row indices of each batch that the clock cycles through, or None for all data. Raises `ValueError`
    where it is None for a problem with mini-batches, or not None for any other: the bounds differ. oracle: an existing
    oracle of the same problem, to share its exact data of 180 bytes a number.
    """

    def __init__(self, problem: Problem, batches: Sequence[Array] | None, oracle: Oracle | None = None) -> None:
        if (batches is None) != (problem.batch_size is None) or (batches is not None and not len(batches)):
            raise ValueError("batches must be given for a problem with mini-batches, and for no other")
        self.problem = problem
        self.batches: Sequence[Array | None] = [None] if batches is None else list(batches)
        self.objective = Objective(problem)
        self.oracle = oracle or Oracle(problem)
        with np.errstate(all="ignore"):
            self.geometry = Geometry.of(problem)
        self.readings = [self.objective.on(self.objective.slopes, rows) for rows in self.batches]
        """of logits and gradient on each batch"""
        y = np.asarray(problem.y, dtype=np.float64)
        self.labels = [y if rows is None else y[rows] for rows in self.batches]

    def exact_seconds(self, updates: int) -> float | None:
        """About how long it takes to judge a first block exactly; None where that is too long, and is not done.

        A further block takes less where all data are one batch: the data have been made exact by then.
        """
        seconds = trajectory_seconds(self.problem, updates)
        if self.problem.batch_size is None:  # those of batches are part of the model
            seconds += EXACT_CELL_SECONDS * self.problem.X.size
        return seconds if seconds <= AFFORDABLE_SECONDS else None

    def judge(self, claims: Sequence[Claim], exactly: Collection[int] = ()) -> list[BlockVerdict]:
        """A verdict for each claim, in order.

        exactly: indices of claims to compare with the exact trajectory, where `exact_seconds` allows it and the bits
        suffice; ``exact`` of the verdict is True where it was done. Raises `ValueError` for a claim of the wrong form:
        the caller checks claims from a worker before.
        """
        if not claims:
            return []
        for claim in claims:
            self._require_form(claim)
        with np.errstate(all="ignore"):
            plan = _Plan.of(claims)
            expected = self._compute_expected(plan, sum(claim.updates for claim in claims))
            weights_deviation, loss_deviation = self._deviations(claims, plan.pair, expected)
            weights_tolerance = expected.weights_tolerance[plan.pair]
            loss_tolerance = expected.loss_tolerance[plan.pair]
            by_weight: dict[int, Array] = {}
            for i in exactly:
                pair = plan.pair[i]
                allowed = float(expected.exact_weights_tolerance[pair]), float(expected.exact_loss_tolerance[pair])
                exact = self._exactly(claims[i], *allowed)
                if exact is not None:
                    loss, weights = exact
                    by_weight[i] = weights.deviation(claims[i].weights)
                    weights_deviation[i] = np.linalg.norm(by_weight[i])
                    loss_deviation[i] = loss.deviation(claims[i].loss)
                    weights_tolerance[i], loss_tolerance[i] = allowed
        move, last_update = expected.move[plan.pair], expected.last_update[plan.pair]
        columns = (weights_deviation, weights_tolerance, loss_deviation, loss_tolerance, move, last_update)
        verdicts = []
        for i, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            verdict = _verdict(*row, exact=i in by_weight)
            if verdict.status == "wrong" and verdict.quantity == "weights":
                if i not in by_weight:
                    by_weight[i] = np.abs(claims[i].weights - expected.weights[plan.pair[i]])
                verdict = replace(verdict, coordinate=worst_coordinate(self.problem.layout, by_weight[i]))
            verdicts.append(verdict)
        return verdicts

    def _require_form(self, claim: Claim) -> None:
        dtype, m = np.dtype(self.problem.dtype), self.problem.layout.size
        parts = (("start", claim.start, (m,)), ("loss", claim.loss, ()), ("weights", claim.weights, (m,)))
        for name, array, shape in parts:
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(f"{name}: expected {dtype} of shape {shape}, got {array.dtype} of shape {array.shape}")
        if claim.updates < 1:
            raise ValueError(f"updates: expected at least 1, got {claim.updates}")

    def _compute_expected(self, plan: _Plan, updates: int) -> _Expected:
        """The numbers of right blocks; ``updates``: of all claims together, for the false-alarm probability."""
        pairs, m = len(plan.updates), self.problem.layout.size
        expected = _Expected(np.empty((pairs, m)), *(np.empty(pairs) for _ in range(7)))
        size = max(FEWEST_STARTS, GROUP_CELLS // max(m, max(map(len, self.labels))))
        for first in range(0, len(plan.starts), size):
            starts = plan.starts[first : first + size]
            chosen = np.flatnonzero((plan.start >= first) & (plan.start < first + len(starts)))
            group = replace(plan, starts=starts, updates=plan.updates[chosen], start=plan.start[chosen] - first)
            along, path = _Descent(self, group).run(expected, chosen)
            after = group.updates
            bounds = ErrorBounds(self.problem, self.geometry, along, path, np.zeros(len(along.weights)), m * updates)
            weights, loss = bounds.against_reference()
            expected.weights_tolerance[chosen] = weights[after]
            expected.loss_tolerance[chosen] = loss[after - 1]
            # `Exact.decides` requires radii that are negligible beside these
            weights, loss = bounds.against_exact(0.0, 0.0)
            expected.exact_weights_tolerance[chosen] = weights[after]
            expected.exact_loss_tolerance[chosen] = loss[after - 1]
            for chunk in _chunks(len(chosen), m):
                moves = expected.weights[chosen[chunk]] - starts[group.start[chunk]]
                expected.move[chosen[chunk]] = _norms(moves)
        return expected

    def _deviations(self, claims: Sequence[Claim], pair: list[int], expected: _Expected) -> tuple[Array, Array]:
        """‖deviation‖₂ of the weights and |deviation| of the loss, from the reference, of each claim."""
        weights_deviation = np.empty(len(claims))
        for chunk in _chunks(len(claims), self.problem.layout.size):
            observed = np.stack([claim.weights for claim in claims[chunk]])
            weights_deviation[chunk] = _norms(observed - expected.weights[pair[chunk]])
        loss = np.array([claim.loss for claim in claims], dtype=np.float64)
        return weights_deviation, np.abs(loss - expected.loss[pair])

    def _exactly(self, claim: Claim, weights_tolerance: float, loss_tolerance: float) -> tuple[Exact, Exact] | None:
        """The exact loss and weights of a block; None where they are too expensive, or a tolerance is infinite."""
        if self.exact_seconds(claim.updates) is None or not np.isfinite([weights_tolerance, loss_tolerance]).all():
            return None

        def decides(loss: Exact, weights: Exact) -> bool:
            known = weights.decides(np.asarray(weights_tolerance))
            return bool(loss.decides(np.asarray(loss_tolerance)) and known.all())

        batches = [self.batches[j % len(self.batches)] for j in range(claim.updates)]
        return self.oracle.descend(claim.start, batches, decides)


class _Descent:
    """Float64 gradient descent from R starts at once, a few steps at a time; each start ends with its claims."""

    def __init__(self, judge: BlockJudge, plan: _Plan) -> None:
        self.objective, self.readings, self.labels = judge.objective, judge.readings, judge.labels
        self.batches = judge.batches
        self.rate = float(judge.problem.learning_rate)
        self.plan = plan
        self.steps = int(plan.updates.max())
        count, m = plan.starts.shape
        self.last = np.zeros(count, dtype=np.int64)
        """(R,): the updates that each start needs; they fall"""
        np.maximum.at(self.last, plan.start, plan.updates)
        cells = count * max(map(len, self.labels))
        self.rows = max(1, min(BLOCK_STEPS, self.steps, BLOCK_CELLS // max(cells, count * m)))
        self.logits, self.label = np.empty(self.rows * cells), np.empty(self.rows * cells)
        self.theta, self.gradient = np.empty((self.rows + 1, count, m)), np.empty((self.rows, count, m))
        self.theta[0] = plan.starts
        self.path = PathRecorder(self.steps, m)
        """of the first start, with its distance from all others"""

    def run(self, expected: _Expected, chosen: Array) -> tuple[Magnitudes, StepPath]:
        """Fill in the weights and losses of the pairs, rows ``chosen`` of ``expected``.

        Returns sizes at the points 0…S that are at least as large as those of every start that gets there
        (``lowest_logit``: at most as large), and their path. At S, where no loss is evaluated, only the size of the
        weights counts.
        """
        updates, start = self.plan.updates, self.plan.start
        parts: list[Magnitudes] = []
        before = 0.0
        for first in range(0, self.steps, self.rows):
            active = int(np.count_nonzero(self.last > first))
            count = min(self.rows, self.steps - first)
            sizes = self._advance(first, count, active)
            ending = np.flatnonzero((updates > first) & (updates <= first + count))
            expected.weights[chosen[ending]] = self.theta[updates[ending] - first, start[ending]]
            # an update is η times the gradient before it
            before_last = (updates[ending] - first - 1) * active + start[ending]
            expected.last_update[chosen[ending]] = self.rate * sizes.gradient[before_last]
            expected.loss[chosen[ending]] = sizes.loss[before_last]
            largest = _dominating(sizes, count)
            self._keep(first, count + (first + count == self.steps), active)
            # starts whose claims ended before this step ended at these weights, on which their bound depends
            largest.weights[0] = np.maximum(largest.weights[0], before)
            before = float(np.max(_norms(self.theta[count, :active])))
            self.theta[0, :active] = self.theta[count, :active]
            parts.append(largest)
        parts.append(replace(_last(parts[-1]), weights=np.array([before])))
        along, batch = join(parts), np.arange(self.steps + 1) % len(self.batches)
        return along, self.path.finish(self.rate * along.gradient, batch, self.batches)

    def _keep(self, first: int, count: int, active: int) -> None:
        """Record the path of so many steps, and how far from it the other ``active`` starts are."""
        theta = self.theta[:count, :active]
        self.path.keep(first, theta[:, 0])
        for i, starts in enumerate(theta):
            self.path.spread[first + i] = _norms(starts - starts[0]).max()

    def _advance(self, first: int, count: int, active: int) -> Magnitudes:
        """Make so many steps of the ``active`` first starts; the sizes before each, (count * active,)."""
        objective, begin, examples = self.objective, 0, []
        for i in range(count):
            batch = (first + i) % len(self.labels)
            labels = self.labels[batch]
            end = begin + active * len(labels)
            theta, following, gradient = self.theta[i, :active], self.theta[i + 1, :active], self.gradient[i, :active]
            logits, *slopes = self.readings[batch].at(objective.parameters(theta))
            self.logits[begin:end] = logits.ravel()
            self.label[begin:end].reshape(active, -1)[:] = labels
            gradient[:] = objective.problem.layout.flat(slopes)
            np.multiply(gradient, self.rate, out=following)
            np.subtract(theta, following, out=following)
            examples += [len(labels)] * active
            begin = end
        m = self.theta.shape[2]
        return measure(
            objective,
            self.logits[:begin],
            self.label[:begin],
            np.array(examples),
            self.theta[:count, :active].reshape(-1, m),
            self.gradient[:count, :active].reshape(-1, m),
        )


def _dominating(sizes: Magnitudes, count: int) -> Magnitudes:
    """The largest of each size over the starts (the lowest for ``lowest_logit``), (count,) from (count * R,)."""

    def of(name: str, values: Array) -> Array:
        rows = values.reshape(count, -1)
        return np.asarray(rows.min(axis=1) if name == "lowest_logit" else rows.max(axis=1))

    return Magnitudes(**{field.name: of(field.name, getattr(sizes, field.name)) for field in fields(Magnitudes)})


def _last(sizes: Magnitudes) -> Magnitudes:
    return Magnitudes(**{field.name: getattr(sizes, field.name)[-1:] for field in fields(Magnitudes)})


def _chunks(count: int, width: int) -> Iterator[slice]:
    """Rows of a (count, width) array, a few at a time, so that results computed from them stay in the cache."""
    size = max(1, BLOCK_CELLS // width)
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))


def _norms(rows: Array) -> Array:
    """‖·‖₂ of each row (R,) of (R, m)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))


def _verdict(
    weights_deviation: float,
    weights_tolerance: float,
    loss_deviation: float,
    loss_tolerance: float,
    move: float,
    last_update: float,
    *,
    exact: bool,
) -> BlockVerdict:
    """The verdict from the deviations of weights and loss, which may be NaN, and their tolerances, which may be inf."""
    weights_ratio, loss_ratio = _ratio(weights_deviation, weights_tolerance), _ratio(loss_deviation, loss_tolerance)
    status: BlockStatus = "not judged"
    if max(weights_ratio, loss_ratio) > 1.0:
        status = "wrong"
    elif math.isfinite(weights_tolerance) and math.isfinite(loss_tolerance):
        # 0 where the block starts at the optimum
        limit = min(LARGEST_SHARE * last_update, LARGEST_SHARE_OF_MOVE * move)
        status = "right" if weights_deviation <= limit and limit > 0.0 else "not judged"
    moved = _ratio(move, weights_tolerance)
    share = weights_deviation / last_update if last_update > 0.0 else math.nan
    # wrong weights make a wrong loss, too
    by_weights = weights_ratio >= loss_ratio
    return BlockVerdict(
        status,
        ratio=weights_ratio if by_weights else loss_ratio,
        quantity="weights" if by_weights else "loss",
        coordinate=None,
        observed=weights_deviation if by_weights else loss_deviation,
        tolerance=weights_tolerance if by_weights else loss_tolerance,
        moved=moved,
        share=share,
        undone=weights_deviation / move if move > 0.0 else math.nan,
        exact=exact,
    )


def _ratio(deviation: float, tolerance: float) -> float:
    """The deviation in units of its tolerance; 0 for an infinite tolerance, else inf for a deviation that is NaN."""
    if not math.isfinite(tolerance):
        return 0.0
    if not math.isfinite(deviation):
        return math.inf
    return deviation / tolerance if tolerance else math.inf if deviation else 0.0
