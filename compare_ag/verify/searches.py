"""Mistakes that have to be searched for: which example, which component, which column.

A search fits its choice to the faults, so that it needs more numbers than it chose, as `faults.explains_faults` counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from compare_ag.problem.core import Array
from compare_ag.verify.faults import (
    FITTED,
    AnsweredPoint,
    Prediction,
    WrongAnswer,
    WrongAnswers,
    explains_faults,
    fitted_mistake,
    format_number,
    size,
)

MOST_CELLS = 1_000_000
"""examples x components up to which every example is suspected in turn"""
MOST_COLUMNS = 20
"""weights up to which every two columns are suspected in turn"""


# --- the examples


def find_miscounted_example(faults: WrongAnswers) -> str | None:
    """One example counts 1 + c times instead of once: a row of the data, or a place in every batch."""
    if any(fault.point.examples * len(fault.right) > MOST_CELLS for fault in faults):
        return None
    rows = [np.arange(f.point.examples) if f.point.rows is None else f.point.rows for f in faults]
    places = [np.arange(f.point.examples) for f in faults]
    batched = any(fault.point.rows is not None for fault in faults)
    for keys, name in ((rows, "example {}"), *(((places, "example {} of each batch"),) if batched else ())):
        index = _suspect(faults, keys)
        if index is None:
            continue
        directions = [fault.terms[key == index].sum(axis=0) for fault, key in zip(faults, keys, strict=True)]
        c = size(faults, directions, constants=2)
        if c is not None:
            meaning = {-1.0: "is left out of", 1.0: "counts twice in"}.get(
                c, f"counts {format_number(1.0 + c)} times in"
            )
            return f"{name.format(index)} {meaning} {faults[0].subject}"
    return None


def _suspect(faults: WrongAnswers, keys: Sequence[Array]) -> int | None:
    """The example that comes closest to explaining all faults; ``keys`` name the examples of each fault.

    None where several examples explain them, as where all examples have the same logit.
    """
    count = 1 + max(int(key.max()) for key in keys)
    above, below, left = np.zeros(count), np.zeros(count), np.zeros(count)
    with np.errstate(all="ignore"):
        for fault, key in zip(faults, keys, strict=True):
            scaled = fault.terms / fault.tolerance
            above[key] += scaled @ (fault.excess / fault.tolerance)
            below[key] += np.einsum("ij,ij->i", scaled, scaled)
        shares = above / below
        for fault, key in zip(faults, keys, strict=True):
            gap = np.full(count, np.inf)  # an example outside this batch cannot explain its fault
            gap[key] = (np.abs(fault.excess - shares[key, None] * fault.terms) / fault.tolerance).max(axis=1)
            left = np.maximum(left, gap)
    left = np.nan_to_num(left, nan=np.inf)
    index = int(np.argmin(left))
    return index if np.count_nonzero(left <= max(FITTED, left[index])) == 1 else None


def find_inverted_labels(faults: WrongAnswers) -> str | None:
    """The label of one example is inverted, or the labels of two are exchanged.

    With the other label r = p - y becomes p - (1 - y), off by 2y - 1, and ℓ = softplus(s) becomes softplus(-s), off by
    -s: neither depends on the other examples.
    """
    if any(fault.point.rows is not None or fault.point.examples**2 > MOST_CELLS for fault in faults):
        return None
    y = faults[0].point.y
    each = [fault.spread(-fault.point.wrongness, 2.0 * fault.point.y - 1.0) for fault in faults]
    worst = int(np.argmax([fault.in_tolerances(fault.excess) for fault in faults]))
    target, scale = faults[worst].excess, faults[worst].tolerance

    def fits(*examples: int) -> bool:
        return explains_faults(faults, [Prediction(change[list(examples)].sum(axis=0)) for change in each], constants=1)

    gaps = [np.abs(change - fault.excess) / fault.tolerance for fault, change in zip(faults, each, strict=True)]
    index = int(np.argmin(np.nan_to_num(np.max(gaps, axis=(0, 2)), nan=np.inf)))
    if fits(index):
        return f"the label of example {index} is inverted in {faults[0].subject}"
    zeros, ones = np.flatnonzero(y == 0.0), np.flatnonzero(y == 1.0)
    if not zeros.size or not ones.size:
        return None
    off = np.zeros((zeros.size, ones.size))
    for j in range(len(target)):
        both = each[worst][zeros, None, j] + each[worst][None, ones, j]
        off = np.maximum(off, np.abs(both - target[j]) / scale[j])
    first, second = np.unravel_index(int(np.argmin(off)), off.shape)
    pair = sorted((int(zeros[first]), int(ones[second])))
    if fits(*pair):
        return f"the labels of examples {pair[0]} and {pair[1]} are exchanged in {faults[0].subject}"
    return None


def find_exchanged_columns(faults: WrongAnswers) -> str | None:
    """Two columns of X are exchanged: z is that of exchanged weights, and so are the components of Xᵀr."""
    m = len(faults[0].point.theta)
    if not 3 <= m <= MOST_COLUMNS or any(10 * fault.point.examples * m > MOST_CELLS for fault in faults):
        return None

    def predict(fault: WrongAnswer, order: list[int]) -> Prediction:
        exchanged = AnsweredPoint(fault.point.data, fault.point.theta[order], fault.point.rows)
        if fault.kind == "loss":
            return Prediction(np.array([exchanged.losses.mean() - fault.point.losses.mean()]))
        slope = (exchanged.residual @ exchanged.design / exchanged.examples)[order]
        return Prediction(slope + fault.penalty - fault.right, 2.0)

    for j, k in itertools.combinations(range(m - 1), 2):
        order = list(range(m))
        order[j], order[k] = k, j
        if explains_faults(faults, (predict(fault, order) for fault in faults), constants=1):
            return f"columns {j} and {k} of X are exchanged in {faults[0].subject}"
    return None


def find_left_out_example(faults: WrongAnswers) -> str | None:
    """One example is left out of the sum and of the count: all other terms, times n/(n - 1)."""
    if any(fault.point.examples * len(fault.right) > MOST_CELLS or fault.point.rows is not None for fault in faults):
        return None
    worst = max(faults, key=lambda fault: fault.in_tolerances(fault.excess))

    def predict(fault: WrongAnswer) -> Array:
        return np.asarray((fault.terms.sum(axis=0) - fault.point.examples * fault.terms) / (fault.point.examples - 1.0))

    gaps = np.abs(worst.excess - predict(worst)) / worst.tolerance
    index = int(np.argmin(gaps.max(axis=1)))
    explains = explains_faults(faults, [Prediction(predict(fault)[index]) for fault in faults], constants=2)
    return f"example {index} is left out of {faults[0].subject}, a mean over n - 1" if explains else None


# --- the components


def find_scaled_component(faults: WrongAnswers) -> str | None:
    """One component is c times the right component, all others are right."""
    ratios = np.max([np.abs(fault.excess) / fault.tolerance for fault in faults], axis=0)
    j, m, layout = int(np.argmax(ratios)), len(ratios), faults[0].point.layout

    def alone(fault: WrongAnswer) -> Array:
        return np.where(np.arange(m) == j, fault.right, 0.0)

    def sentence(_: str, c: float) -> str:
        subject = "update" if faults[0].kind == "update" else "gradient"
        component = f"the {subject} of {layout.coordinate(j)}"
        return f"{component} is {format_number(1.0 + c)} times what it should be, the others are right"

    return fitted_mistake(alone, sentence)(faults) if m > 2 or j < m - 1 or len(faults) > 1 else None


def find_reordered_components(faults: WrongAnswers) -> str | None:
    """The components are right, but in another order, which is read from the most wrong answer."""
    worst = max(faults, key=lambda fault: fault.in_tolerances(fault.excess))
    m = len(worst.right)
    gaps = np.abs((worst.right + worst.excess)[:, None] - worst.right[None, :])
    order = np.where(np.abs(worst.excess) <= worst.tolerance, np.arange(m), gaps.argmin(axis=1))
    moved = np.flatnonzero(order != np.arange(m))
    if len(set(order.tolist())) < m or not moved.size:
        return None

    def predict(fault: WrongAnswer) -> Prediction:
        growth = np.maximum(1.0, fault.tolerance[order] / fault.tolerance)
        return Prediction(fault.right[order] - fault.right, growth)

    if not explains_faults(faults, [predict(fault) for fault in faults], constants=1):
        return None
    if moved.size == 2:
        first, second = (worst.point.layout.coordinate(int(j)) for j in moved)
        return f"the gradients of {first} and {second} are exchanged"
    backwards = order.tolist() == [*range(m - 2, -1, -1), m - 1]
    return f"the components of the gradient come in {'reverse' if backwards else 'another'} order"


def find_flushed_components(faults: WrongAnswers) -> str | None:
    """Small components are exactly 0, all others are right."""
    predictions, lost, smallest = [], 0.0, math.inf
    for fault in faults:
        gone = (fault.observed == 0.0) & (np.abs(fault.right) > fault.tolerance)
        predictions.append(Prediction(np.where(gone, -fault.right, 0.0)))
        lost = max(lost, float(np.abs(fault.right[gone]).max(initial=0.0)))
        answers = fault.observed[None] if fault.reported is None else fault.reported
        smallest = min(smallest, float(np.abs(answers[answers != 0.0]).min(initial=math.inf)))
    explains = lost < smallest < math.inf and explains_faults(faults, predictions, constants=1)
    return (
        f"components of the gradient below some {math.sqrt(lost * smallest):.1g} are flushed to 0" if explains else None
    )
