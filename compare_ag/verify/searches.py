"""Mistakes that have to be searched for: which example, which component, which limit.

What a search finds it also fits, so that each asks for more numbers than it chose, as `faults.explained` counts them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from compare_ag.problem.core import Array
from compare_ag.verify.faults import COMPUTED, FITTED, Fault, Faults, Point, Prediction, explained, fitted, size
from compare_ag.verify.faults import number as written
from compare_ag.verify.samples import coordinate

MOST_CELLS = 1_000_000
"""examples x components up to which every example is suspected in turn"""
MOST_COLUMNS = 20
"""weights up to which every two columns are suspected in turn"""
CLAMPS = (
    1e-2,
    1e-3,
    1e-4,
    1e-5,
    1e-6,
    1e-7,
    2.0**-23,
    1e-8,
    1e-9,
    1e-10,
    1e-12,
    1e-15,
    2.0**-52,
    1e-16,
    math.exp(-100.0),
)
"""what people keep a probability away from 0 by before its logarithm; torch's BCELoss clamps the logarithm at -100"""
THRESHOLDS = (20.0, 15.0, 10.0, 16.0, 18.0, 25.0, 30.0, 32.0, 33.0, 34.0, 35.0, 36.0, 40.0)
"""logits beyond which people take softplus(x) for x; torch's softplus takes 20"""


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
        if index is None:
            continue
        directions = [fault.terms[key == index].sum(axis=0) for fault, key in zip(faults, keys, strict=True)]
        c = size(faults, directions, constants=2)
        if c is not None:
            meaning = {-1.0: "is left out of", 1.0: "counts twice in"}.get(c, f"counts {written(1.0 + c)} times in")
            return f"{name.format(index)} {meaning} {faults[0].subject}"
    return None


def _suspect(faults: Faults, keys: Sequence[Array]) -> int | None:
    """The example that comes closest to explaining all faults; ``keys`` name the examples of each fault.

    None where others do as well, as where all examples have the same logit.
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
            gap = np.full(count, np.inf)  # what is not in this batch cannot explain its fault
            gap[key] = (np.abs(fault.excess - shares[key, None] * fault.terms) / fault.tolerance).max(axis=1)
            left = np.maximum(left, gap)
    left = np.nan_to_num(left, nan=np.inf)
    index = int(np.argmin(left))
    return index if np.count_nonzero(left <= max(FITTED, left[index])) == 1 else None


def relabelled(faults: Faults) -> str | None:
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
        return explained(faults, [Prediction(change[list(examples)].sum(axis=0)) for change in each], constants=1)

    index = int(np.argmin((np.abs(each[worst] - target) / scale).max(axis=1)))
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


def columns_exchanged(faults: Faults) -> str | None:
    """Two columns of X are exchanged: z is that of exchanged weights, and so are the components of Xᵀr."""
    m = len(faults[0].point.theta)
    if not 3 <= m <= MOST_COLUMNS:
        return None

    def predict(fault: Fault, order: list[int]) -> Prediction:
        there = Point(fault.point.data, fault.point.theta[order], fault.point.rows)
        if fault.kind == "loss":
            return Prediction(np.array([there.losses.mean() - fault.point.losses.mean()]))
        slope = (there.residual @ there.design / there.examples)[order]
        return Prediction(slope + fault.penalty - fault.right, 2.0)

    for j, k in itertools.combinations(range(m - 1), 2):
        order = list(range(m))
        order[j], order[k] = k, j
        if explained(faults, (predict(fault, order) for fault in faults), constants=1):
            return f"columns {j} and {k} of X are exchanged in {faults[0].subject}"
    return None


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
        gone = (fault.observed == 0.0) & (np.abs(fault.right) > fault.tolerance)
        predictions.append(Prediction(np.where(gone, -fault.right, 0.0)))
        lost = max(lost, float(np.abs(fault.right[gone]).max(initial=0.0)))
        shown = fault.observed[None] if fault.reported is None else fault.reported
        kept = min(kept, float(np.abs(shown[shown != 0.0]).min(initial=math.inf)))
    found = lost < kept < math.inf and explained(faults, predictions, constants=1)
    return f"components of the gradient below some {math.sqrt(lost * kept):.1g} are flushed to 0" if found else None


# --- limits beyond which examples get another loss or gradient


def clipped(faults: Faults) -> str | None:
    """Examples beyond some limit contribute no gradient: of a logit, of their loss, or of their residual.

    What is dropped is nearly all of an example's gradient where it is wrong, and nearly nothing where it is right.
    """
    for measure, words in (
        (
            lambda point: np.abs(point.wrongness),
            "beyond a logit of {0:.3g} have no gradient: logits, or probabilities at {1}, are clipped",
        ),
        (lambda point: point.wrongness, "with a loss beyond {0:.3g} have no gradient: probabilities of at least {1}"),
        (lambda point: -point.wrongness, "with a residual below {1} have no gradient"),
    ):
        limits = _bracket(faults, measure, [-fault.terms for fault in faults])
        if limits is not None:
            low, high = limits
            least, most = 1.0 / (1.0 + math.exp(min(high, 700.0))), 1.0 / (1.0 + math.exp(max(low, -700.0)))
            return "examples " + words.format(max(low, 0.99 * high), _clamp_between(least, most))
    return None


def _clamp_between(least: float, most: float) -> str:
    """The size of a clip, between two bounds: of those that people choose, if it is one; else the range."""
    usual = [clamp for clamp in CLAMPS if least <= clamp <= most]
    if len(usual) == 1:
        return f"{usual[0]:.1e}"
    return f"some {least:.1e} to {most:.1e}" if most > 2.0 * least else f"some {most:.1e}"


def thresholded(faults: Faults) -> str | None:
    """softplus(x) is x beyond a threshold, for x = s, z or -z: its loss lacks log(1 + exp(-|z|)), its slope is 1."""
    for name, sign in (("(1 - 2y) z", None), ("z", 1.0), ("-z", -1.0)):

        def signed(point: Point, sign: float | None = sign) -> Array:
            return point.wrongness if sign is None else sign * point.logits

        changes = []
        for fault in faults:
            point = fault.point
            decay = np.exp(-np.abs(point.logits))
            factor = 1.0 - 2.0 * point.y if sign is None else sign
            changes.append(fault.spread(-np.log1p(decay), factor * decay / (1.0 + decay)))
        limits = _bracket(faults, signed, changes)
        if limits is not None:
            usual = [threshold for threshold in THRESHOLDS if limits[0] <= threshold < limits[1]]
            beyond = f"{usual[0]:g}" if usual else f"some {limits[0]:.3g} to {limits[1]:.3g}"
            return f"softplus(x) is taken for x beyond a threshold of {beyond}, at x = {name}"
    return None


def _bracket(faults: Faults, measure: Callable[[Point], Array], changes: Sequence[Array]) -> tuple[float, float] | None:
    """Between which limits of ``measure`` it explains all faults that the examples beyond are changed, or None.

    changes: what each example's change contributes to each fault, (n, q).
    """
    if any(fault.point.examples * len(fault.right) > MOST_CELLS for fault in faults):
        return None
    low, high, predictions = -math.inf, math.inf, []
    for fault, change in zip(faults, changes, strict=True):
        sizes = measure(fault.point)
        (beyond, within), count = _limits(fault, sizes, change)
        low, high = max(low, beyond), min(high, within)
        predictions.append(Prediction(change[np.argsort(-sizes, kind="stable")[:count]].sum(axis=0)))
    # a limit below every example's would be none: that is another mistake's
    known = -math.inf < low < high < math.inf
    return (low, high) if known and explained(faults, predictions, constants=1) else None


def _limits(fault: Fault, sizes: Array, change: Array) -> tuple[tuple[float, float], int]:
    """Between which limits of ``sizes`` (n,) changing the larger ones explains a fault, and how many those are."""
    order = np.argsort(-sizes, kind="stable")
    steps = np.concatenate([[math.inf], sizes[order], [-math.inf]])
    # row k: the k largest are changed; equal ones lie on one side of a limit
    changed = np.concatenate([0.0 * change[:1], np.cumsum(change[order], axis=0)])
    met = (np.abs(fault.excess - changed) <= COMPUTED * fault.tolerance).all(axis=1) & (steps[1:] < steps[:-1])
    if not met.any():
        return (math.inf, 0.0), 0
    first, last = int(np.argmax(met)), len(met) - 1 - int(np.argmax(met[::-1]))
    return (float(steps[last + 1]), float(steps[first])), first


def capped(faults: Faults) -> str | None:
    """The loss of a probability that is kept away from 0, by a maximum, by an addition, or away from 0 and 1."""
    ways = (
        ("the loss is that of {}: it is clipped", _at_least),
        ("the loss is that of {}: it is clipped", _increased),
        ("the loss is that of {}: it is clipped", _between),
    )
    for clamp in CLAMPS:
        for words, way in ways:
            predictions = [Prediction(np.array([(way(f, clamp) - f.point.losses).mean()])) for f in faults]
            if explained(faults, predictions, constants=1):
                names = {_at_least: "probabilities at least {:.1e}", _increased: "probabilities plus {:.1e}"}
                what = names.get(way, "probabilities clipped at {:.1e}, from 0 and from 1").format(clamp)
                if way is _at_least and clamp == CLAMPS[-1]:
                    what = "logarithms of at least -100"
                return words.format(what)
    return None


def _at_least(fault: Fault, clamp: float) -> Array:
    """-log max(p, c), (n,), for the probability p = exp(-ℓ) of the right label."""
    return np.asarray(np.minimum(fault.point.losses, -math.log(clamp)))


def _increased(fault: Fault, clamp: float) -> Array:
    """-log(p + c)."""
    return np.asarray(-np.logaddexp(-fault.point.losses, math.log(clamp)))


def _between(fault: Fault, clamp: float) -> Array:
    """-log of the probability, which is kept between c and 1 - c in the dtype; 1 - (1 - c) is not c there."""
    y, real = fault.point.y, np.dtype(fault.point.data.problem.dtype).type
    least, most = float(real(clamp)), float(real(1) - real(clamp))
    ceiling = np.where(y == 1.0, -np.log(least), -np.log(1.0 - most))
    floor = np.where(y == 1.0, -np.log(most), -np.log1p(-least))
    return np.asarray(np.clip(fault.point.losses, floor, ceiling))


def softened(faults: Faults) -> str | None:
    """The slope of a logarithm that is kept away from 0: p + c or max(p(1 - p), c) stands where p or p(1 - p) should.

    With q = exp(-ℓ), the probability of the right label, r becomes r q/(q + c) or r min(1, p(1 - p)/c).
    """
    for clamp in CLAMPS:
        for words in (
            "is that of probabilities plus {:.1e}",
            "is divided by p(1 - p) of {:.1e} at least, as torch's BCELoss",
        ):

            def predict(fault: Fault, clamp: float = clamp, words: str = words) -> Prediction:
                point = fault.point
                right = np.exp(-point.losses)
                share = right / (right + clamp)
                if "divided" in words:
                    share = np.minimum(1.0, np.abs(point.residual) * right / clamp)
                return Prediction(fault.spread(point.losses, (share - 1.0) * point.residual).sum(axis=0))

            if explained(faults, (predict(fault) for fault in faults), constants=1):
                return f"the gradient {words.format(clamp)}"
    return None


def tanh_sigmoid(faults: Faults) -> str | None:
    """p is (1 + tanh(z/2))/2, whose digits cancel where z is negative: -log p and its slope follow the few left."""
    problem = faults[0].point.data.problem
    if problem.loss != "probability":
        return None
    real = np.dtype(problem.dtype).type
    half = real(0.5)

    def predict(fault: Fault, *, literal: bool) -> Prediction | None:
        y = fault.point.y
        tanh = np.tanh(half * fault.point.logits.astype(real)).astype(np.float64)
        p = (1.0 + tanh) / 2.0
        # one ulp of tanh, and the logit's own rounding, move p by 2u and more
        reach = 2.0 * fault.roundoff / np.maximum(p, fault.roundoff)
        if fault.kind == "loss":
            losses = np.where(y == 1.0, -np.log(p), -np.log1p(-p))
            off, either = losses.mean() - fault.point.losses.mean(), np.array([(y * reach).mean()])
            return Prediction(np.array([off]), 1.0 + either / fault.tolerance)
        slope = (-y / p + (1.0 - y) / (1.0 - p)) * (1.0 - tanh * tanh) / 4.0 if literal else p - y
        off = fault.spread(slope, slope - fault.point.residual).sum(axis=0)
        either = np.abs(fault.spread(slope, reach * y)).sum(axis=0)
        return Prediction(off, 1.0 + either / fault.tolerance)

    for literal in (False, True):
        if explained(faults, [predict(fault, literal=literal) for fault in faults], constants=1):
            return "the sigmoid is (1 + tanh(z/2))/2, or another that has no small numbers: its digits cancel at z < 0"
    return None
