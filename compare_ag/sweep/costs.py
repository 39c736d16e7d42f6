"""What a step costs by the size of the problem: fixed, per example, per element. It explains; it decides nothing.

    t(n, d) = a + b n + c n d,     a, b, c ≥ 0     n examples of d features

The coefficients minimise the sum of squared *relative* errors, Σ ((a + b n + c n d)/t - 1)², so that microseconds count
as much as seconds. With three unknowns the constrained minimum is found exactly, as the best of the unconstrained
minima of all subsets of the terms whose coefficients turn out not to be negative.

The time of a cell is the geometric mean of its launches. Intervals come from drawing each cell's launches again, with
replacement: they say what other launches would have given, not whether the form is right. That is what the error of
leaving each cell out says: computers have caches, so that it is often tens of percent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

LEAST_SIZES = 3
"""different sizes that a model rests on"""
DRAWS = 400
LEVEL = 0.95

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Cell(NamedTuple):
    """A size and the seconds per step of one backend in each launch, at least one and all more than 0."""

    n: int
    d: int
    seconds: Sequence[float]


class Term(msgspec.Struct, frozen=True):
    """A coefficient in seconds, with its interval over launches."""

    value: float
    low: float
    high: float


class CostModel(msgspec.Struct, frozen=True):
    """Seconds per step as fixed + per_example n + per_element n d."""

    fixed: Term
    per_example: Term
    per_element: Term
    cells: int
    median_error: float | None
    """relative error at a cell that the model was not fitted to: the median over cells; None with too few of them"""
    largest_error: float | None
    confounded: bool = False
    """n and n d vary together (a single d): per_example and per_element cannot be told apart, only their sum counts"""

    def seconds(self, n: float, d: float) -> float:
        """The cost of a step at a size, within the sizes that were measured a fair description."""
        return self.fixed.value + n * (self.per_example.value + d * self.per_element.value)


def fit_costs(cells: Sequence[Cell], seed: int = 0) -> CostModel:
    """Fit the model to the cells of one backend on one machine.

    Raises ValueError for fewer than `LEAST_SIZES` different sizes, and for times that are not positive and finite.
    """
    if len({(cell.n, cell.d) for cell in cells}) < LEAST_SIZES:
        raise ValueError(f"a cost model needs {LEAST_SIZES} different sizes at least")
    logs = []
    for cell in cells:
        seconds = np.asarray(cell.seconds, np.float64)
        if not len(seconds) or not (np.isfinite(seconds) & (seconds > 0)).all():
            raise ValueError(f"the times at {cell.n} x {cell.d} must be positive and finite, one for each launch")
        logs.append(np.log(seconds))
    design = _design(cells)
    times = np.exp([of.mean() for of in logs])
    generator = np.random.default_rng([seed, 0xC057])
    again = np.exp([generator.choice(of, (DRAWS, len(of))).mean(axis=1) for of in logs])  # (cells, DRAWS)
    drawn = np.array([_minimise(design, again[:, i]) for i in range(DRAWS)])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    terms = zip(_minimise(design, times), low, high, strict=True)
    fixed, per_example, per_element = (Term(*map(float, ends)) for ends in terms)
    errors = _errors_left_out(design, times)
    return CostModel(
        fixed,
        per_example,
        per_element,
        cells=len(cells),
        median_error=float(np.median(errors)) if len(errors) else None,
        largest_error=float(errors.max()) if len(errors) else None,
        confounded=bool(np.linalg.matrix_rank(design / times[:, None]) < design.shape[1]),
    )


def propose(one: CostModel, other: CostModel, axis: Literal["n", "d"], fixed: int, low: int, high: int) -> int | None:
    """The size along an axis, the other being ``fixed``, at which two models cost the same: where to begin to measure.

    None where that lies outside [low, high], at an end, or nowhere: models do not extrapolate.
    """
    constant = one.fixed.value - other.fixed.value
    example = one.per_example.value - other.per_example.value
    element = one.per_element.value - other.per_element.value
    # along n: constant + n (example + d element) = 0; along d: (constant + n example) + d n element = 0
    start, slope = (
        (constant, example + fixed * element) if axis == "n" else (constant + fixed * example, fixed * element)
    )
    if slope == 0:
        return None
    size = -start / slope
    return round(size) if math.isfinite(size) and low < round(size) < high else None


def _design(cells: Sequence[Cell]) -> Array:
    """(cells, 3): what each coefficient is multiplied by."""
    return np.array([(1.0, cell.n, cell.n * cell.d) for cell in cells], np.float64)


def _minimise(design: Array, times: Array) -> Array:
    """The coefficients (3,), none negative, of the least sum of squared relative errors; see above."""
    scaled = design / times[:, None]
    best, least = np.zeros(design.shape[1]), math.inf
    for count in range(1, design.shape[1] + 1):
        for subset in itertools.combinations(range(design.shape[1]), count):
            columns = scaled[:, subset]
            norms = np.linalg.norm(columns, axis=0)  # of columns that differ by many powers of ten
            solution, _, rank, _ = np.linalg.lstsq(columns / norms, np.ones(len(times)), rcond=None)
            if rank < count or (solution < 0).any():
                continue
            residual = float(np.sum((columns @ (solution / norms) - 1) ** 2))
            if residual < least * (1 - 1e-9):  # fewer terms where more explain nothing
                best, least = np.zeros(design.shape[1]), residual
                best[list(subset)] = solution / norms
    return best


def _errors_left_out(design: Array, times: Array) -> Array:
    """|prediction/time - 1| at each size, from the cells of other sizes; empty where those are too few."""
    sizes = [tuple(row) for row in design]
    errors = []
    for row, time in zip(design, times, strict=True):
        others = np.array([size != tuple(row) for size in sizes])
        if len({size for size in sizes if size != tuple(row)}) < LEAST_SIZES:
            return np.empty(0)
        errors.append(abs(float(row @ _minimise(design[others], times[others])) / float(time) - 1))
    return np.array(errors)
