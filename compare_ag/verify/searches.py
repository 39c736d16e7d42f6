"""Mistakes that have to be searched for: which example, which component, which limit.

What a search finds it also fits, so that each asks for more numbers than it chose, as `faults.explained` counts them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compare_ag.problem.core import Array
from compare_ag.verify.faults import COMPUTED, Fault, Faults, Prediction, explained, fitted, size
from compare_ag.verify.faults import number as written
from compare_ag.verify.samples import coordinate

MOST_CELLS = 1_000_000
"""examples x components up to which every example is suspected in turn"""
CLAMPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 2.0**-23, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 2.0**-52, 1e-16, math.exp(-100.0))
"""what people keep a probability away from 0 by before its logarithm; torch's BCELoss clamps the logarithm at -100"""


# --- the examples


def one_example(faults: Faults) -> str | None:
    """One example counts 1 + c times instead of once: a row of the data, or a place in every batch."""
    if any(fault.point.examples * len(fault.right) > MOST_CELLS for fault in faults):
        return None
    rows = [np.arange(f.point.examples) if f.point.rows is None else f.point.rows for f in faults]
    places = [np.arange(f.point.examples) for f in faults]
    batched = any(fault.point.rows is not None for fault in faults)
    for keys, name in ((rows, "example {}"), *(((places, "example {} of each batch"),) if batched else ())):
        index = _suspect(faults, keys)
        directions = [fault.terms[key == index].sum(axis=0) for fault, key in zip(faults, keys, strict=True)]
        c = size(faults, directions, constants=2)
        if c is not None:
            meaning = {-1.0: "is left out of", 1.0: "counts twice in"}.get(c, f"counts {written(1.0 + c)} times in")
            return f"{name.format(index)} {meaning} {faults[0].subject}"
    return None


def _suspect(faults: Faults, keys: Sequence[Array]) -> int:
    """The example that comes closest to explaining all faults; ``keys`` name the examples of each fault."""
    count = 1 + max(int(key.max()) for key in keys)
    above, below, left = np.zeros(count), np.zeros(count), np.zeros(count)
    with np.errstate(all="ignore"):
        for fault, key in zip(faults, keys, strict=True):
            scaled = fault.terms / fault.tolerance
            above[key] += scaled @ (fault.excess / fault.tolerance)
            below[key] += np.einsum("ij,ij->i", scaled, scaled)
        shares = above / below
        for fault, key in zip(faults, keys, strict=True):
            gap = np.full(count, np.inf)  # what is not in this batch cannot explain its fault
            gap[key] = (np.abs(fault.excess - shares[key, None] * fault.terms) / fault.tolerance).max(axis=1)
            left = np.maximum(left, gap)
    return int(np.argmin(np.nan_to_num(left, nan=np.inf)))


def mean_without_one(faults: Faults) -> str | None:
    """One example is left out of sum and count alike: every term but one, times n/(n - 1)."""
    if any(fault.point.examples * len(fault.right) > MOST_CELLS or fault.point.rows is not None for fault in faults):
        return None
    worst = max(faults, key=lambda fault: fault.in_tolerances(fault.excess))

    def predicted(fault: Fault) -> Array:
        return np.asarray((fault.terms.sum(axis=0) - fault.point.examples * fault.terms) / (fault.point.examples - 1.0))

    gaps = np.abs(worst.excess - predicted(worst)) / worst.tolerance
    index = int(np.argmin(gaps.max(axis=1)))
    found = explained(faults, [Prediction(predicted(fault)[index]) for fault in faults], constants=2)
    return f"example {index} is left out of {faults[0].subject}, a mean over n - 1" if found else None


# --- the components


def one_component(faults: Faults) -> str | None:
    """One component is c times what it should be, all others are right."""
    ratios = np.max([np.abs(fault.excess) / fault.tolerance for fault in faults], axis=0)
    j, m = int(np.argmax(ratios)), len(ratios)

    def alone(fault: Fault) -> Array:
        return np.where(np.arange(m) == j, fault.right, 0.0)

    def sentence(_: str, c: float) -> str:
        what = "update" if faults[0].kind == "update" else "gradient"
        return f"the {what} of {coordinate(j, m)} is {written(1.0 + c)} times what it should be, the others are right"

    return fitted(alone, sentence)(faults) if m > 2 or j < m - 1 or len(faults) > 1 else None


def reordered(faults: Faults) -> str | None:
    """The components are right, but in another order: the one that the most wrong answer shows."""
    worst = max(faults, key=lambda fault: fault.in_tolerances(fault.excess))
    m = len(worst.right)
    gaps = np.abs((worst.right + worst.excess)[:, None] - worst.right[None, :])
    order = np.where(np.abs(worst.excess) <= worst.tolerance, np.arange(m), gaps.argmin(axis=1))
    moved = np.flatnonzero(order != np.arange(m))
    if len(set(order.tolist())) < m or not moved.size:
        return None

    def predict(fault: Fault) -> Prediction:
        growth = np.maximum(1.0, fault.tolerance[order] / fault.tolerance)
        return Prediction(fault.right[order] - fault.right, growth)

    if not explained(faults, [predict(fault) for fault in faults], constants=1):
        return None
    if moved.size == 2:
        return f"the gradients of {coordinate(int(moved[0]), m)} and {coordinate(int(moved[1]), m)} are exchanged"
    backwards = order.tolist() == [*range(m - 2, -1, -1), m - 1]
    return f"the components of the gradient come in {'reverse' if backwards else 'another'} order"


def flushed(faults: Faults) -> str | None:
    """Components are right or exactly 0, and those that are 0 are the small ones."""
    predictions, lost, kept = [], 0.0, math.inf
    for fault in faults:
        gone = fault.observed == 0.0
        predictions.append(Prediction(np.where(gone, -fault.right, 0.0)))
        lost = max(lost, float(np.abs(fault.right[gone]).max(initial=0.0)))
        kept = min(kept, float(np.abs(fault.right[~gone]).min(initial=math.inf)))
    found = lost < kept < math.inf and explained(faults, predictions, constants=1)
    return f"components of the gradient below some {math.sqrt(lost * kept):.1g} are flushed to 0" if found else None


# --- clipping


def clipped(faults: Faults) -> str | None:
    """Examples with a logit beyond some limit, or wrong by more than that, contribute no gradient."""
    if any(fault.point.examples * len(fault.right) > MOST_CELLS for fault in faults):
        return None
    for name, measure in (("a logit", np.abs), ("a loss", np.asarray)):
        low, high = 0.0, math.inf
        predictions = []
        for fault in faults:
            sizes = measure(fault.point.wrongness)
            limits, index = _limits(fault, sizes)
            low, high = max(low, limits[0]), min(high, limits[1])
            predictions.append(Prediction(-fault.terms[np.argsort(-sizes)[:index]].sum(axis=0)))
        if low < high < math.inf and explained(faults, predictions, constants=1):
            what = "probabilities or logits" if name == "a logit" else "logarithms"
            return f"examples with {name} beyond some {max(low, 0.99 * high):.3g} have no gradient: clipped {what}"
    return None


def _limits(fault: Fault, sizes: Array) -> tuple[tuple[float, float], int]:
    """Between which limits of ``sizes`` (n,) dropping the larger ones explains a fault, and how many those are."""
    order = np.argsort(-sizes)
    dropped = np.cumsum(fault.terms[order], axis=0)
    met = (np.abs(fault.excess + dropped) <= COMPUTED * fault.tolerance).all(axis=1)
    if not met.any():
        return (math.inf, 0.0), 0
    first, last = int(np.argmax(met)), len(met) - 1 - int(np.argmax(met[::-1]))
    beyond = float(sizes[order[last + 1]]) if last + 1 < len(order) else 0.0
    return (beyond, float(sizes[order[first]])), first + 1


def capped(faults: Faults) -> str | None:
    """The logarithm of a probability that is kept away from 0, by a maximum or by an addition."""

    def predict(fault: Fault, ceiling: float, *, added: bool) -> Prediction:
        losses = fault.point.losses
        lower = -np.logaddexp(-losses, -ceiling) if added else np.minimum(losses, ceiling)
        return Prediction(np.array([(lower - losses).mean()]))

    for clamp in CLAMPS:
        for added, word in ((False, "at least"), (True, "plus")):
            if explained(faults, [predict(fault, -math.log(clamp), added=added) for fault in faults], constants=1):
                what = f"probabilities {word} {clamp:.1e}" if clamp > CLAMPS[-1] else "logarithms of at least -100"
                return f"the loss is that of {what}: it is clipped"
    return None
