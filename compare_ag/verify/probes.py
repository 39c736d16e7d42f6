"""The points at which every backend is asked for loss, gradient and one step, whatever its own training visits.

Training visits moderate weights only, and converged training hardly tests the gradient. So the host chooses *routes*:
points that are visited in an order, each route on a batch of its own.

    all data        zero, start, near middle and end of the reference, saturated logits and large weights with both
                    signs, and random points drawn after the plugin has been loaded; forward, and back in the opposite
                    order, so that each answer is given twice with different neighbours
    half the data   three of these points on every second example, which tells a computation from a table of weights
    a ladder        w = 0 and b = ±1, ±2, … up to the logit where a sigmoid rounds to 1, sparse beyond: every example
                    has the logit b, so that both labels pass through every logit with both signs, without a seed
    one example     of each label alone, at weights along its features, with logits ±L: for faults in Xw, and for faults
                    that the other examples of a batch would hide

Faults that depend on a logit (clipped probabilities, clamped logarithms, thresholds, branches that overflow) act in a
window of logits and of one sign. A ladder finds them wherever that window contains a rung; no random number decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.objective import Objective
from compare_ag.verify.points import point_tolerances
from compare_ag.verify.readings import Reading
from compare_ag.verify.reference import Reference
from compare_ag.verify.samples import Sample

RANDOM_POINTS = 4
MOVE = 2.0**-10
"""relative: hundreds of tolerances in the gradient of either dtype, and less than a table of weights distinguishes"""
BEYOND_SATURATION = 1.2
"""times (53 or 24) ln 2, the logit from which a sigmoid is 1"""
LARGE_LOGIT = 800.0
"""exp overflows in both dtypes; the logits form stays finite"""
SPARSE = 1.5
"""ratio of neighbouring logits of a ladder beyond saturation"""
COARSE_STEP = {"float32": 3, "float64": 5}
"""distance of neighbouring logits of a single example's ladder up to saturation"""
LADDER_EXAMPLES = 130
"""of a ladder's batch at most: more than a block of 128, few enough to be evaluated exactly at every rung"""
LADDER_CELLS = 20_000
"""examples x weights of a ladder's batch at most; one example of each label is always in it"""
MOST_NUMBERS = 1 << 23
"""weights of all points of the first route at most: on wide data fewer points are visited, each only once"""
MOST_LADDER_NUMBERS = 1 << 22
"""the same for each ladder"""


@dataclass(frozen=True)
class Route:
    """P points, visited in this order on one batch."""

    names: tuple[str, ...]
    weights: Array
    """(P, m) in the problem's dtype"""
    rows: Array | None = None
    """the examples of the batch; None: all"""
    on: str = ""
    """the batch as a clause after the point's name: ", on every second example" """


@dataclass(frozen=True)
class Probes:
    """All routes for one backend."""

    seed: int
    """of the random points"""
    routes: tuple[Route, ...]
    """the first route is on all data"""

    @property
    def main(self) -> Route:
        """The route on all data, forward and back."""
        return self.routes[0]


def probe_points(problem: Problem, reference: Reference, seed: int) -> Probes:
    """The routes for one backend. ``seed`` draws the random points; with the same seed they can be drawn again."""
    most = MOST_NUMBERS // problem.layout.size
    with np.errstate(all="ignore"):  # points beyond the dtype are left out
        points = _named_points(problem, reference, np.random.default_rng([seed, 0x9E0B35]))
        main = _route(problem, points)
        outward = list(main.names)
        names = [*outward, *outward[-2::-1]][: max(len(outward) // 2, most)]
        shared = [name for name in ("zero", "random 1", "random 2") if name in outward]
        half = np.arange(0, problem.examples, 2)
        routes = [
            _route(problem, points, order=names),
            _route(problem, points, order=shared, rows=half, on=", on every second example"),
            *ladders(problem),
        ]
    return Probes(seed, tuple(routes))


def _named_points(problem: Problem, reference: Reference, generator: np.random.Generator) -> dict[str, Array]:
    """Weights (m,) by name, in the order in which they are visited."""
    m = problem.layout.size

    def move(point: Array) -> Array:
        return np.asarray(point * (1.0 + MOVE * generator.uniform(0.5, 1.0, m)))

    logits = Objective(problem).on(Objective(problem).reader_of("z"))
    middle = len(reference.recorded_steps) // 2
    end = reference.final_weights
    points = {"zero": np.zeros(m), "start": problem.initial.astype(np.float64)}
    # near, not at: no worker receives the weights that its own training should reach
    if len(reference.recorded_steps):
        points["middle"] = move(reference.weights[middle, 0])
    points["end"] = move(end)
    points |= {
        f"random {i + 1}": _with_logit(problem, logits, generator.standard_normal(m), 2.0**i)
        for i in range(RANDOM_POINTS)
    }
    points["random 1, moved"] = move(points["random 1"])
    direction = end if np.isfinite(end).all() and end.any() else generator.standard_normal(m)
    for name, way, logit in (
        ("saturated", direction, BEYOND_SATURATION * saturation(problem.dtype)),
        ("large weights", generator.standard_normal(m), LARGE_LOGIT),
    ):
        # along one direction an example has large logits of one sign only
        points[name] = _with_logit(problem, logits, way, logit)
        points[f"{name}, other signs"] = -points[name]
    return points


def _route(
    problem: Problem,
    points: dict[str, Array],
    order: Sequence[str] | None = None,
    rows: Array | None = None,
    on: str = "",
) -> Route:
    """The route through the points that are finite in the problem's dtype; ``order``: None is that of ``points``."""
    inside = {name: np.asarray(point).astype(problem.dtype) for name, point in points.items()}
    names = tuple(name for name in order or points if np.isfinite(inside[name]).all())
    weights = np.array([inside[name] for name in names], dtype=problem.dtype)
    return Route(names, weights.reshape(len(names), problem.layout.size), rows, on)


# --- ladders of logits


def saturation(dtype: str) -> float:
    """The logit from which a sigmoid rounds to 1: 24 ln 2 in float32, 53 ln 2 in float64."""
    return (np.finfo(dtype).nmant + 1) * math.log(2.0)


def ladders(problem: Problem) -> list[Route]:
    """The ladder at w = 0 on examples of both labels, and a ladder on one example of each label alone."""
    m, y = problem.layout.size, np.asarray(problem.y)
    most = min(LADDER_EXAMPLES, max(2, LADDER_CELLS // m))
    rows = balanced_rows(y, most)
    batch = "" if rows is None else f", on {len(rows)} examples"
    at_zero = {f"w = 0, b = {logit:g}": problem.layout.repeat(0.0, logit) for logit in _rungs(problem, 1)}
    routes = [_route(problem, _thin_out(at_zero, m), rows=rows, on=batch)]
    for label in (0, 1):
        rows = np.flatnonzero(y == label)[:1]
        if len(rows):
            example = problem.layout.flat((problem.X[rows[0]].astype(np.float64), 1.0))
            scaled = example / np.abs(example).max()
            # z = θ·x̃ = L for θ = L x̃/‖x̃‖², whose terms all have one sign: nothing cancels in Xw
            unit = scaled / np.abs(example).max() / (scaled @ scaled)
            points = {f"z = {L:g}": L * unit for L in _rungs(problem, COARSE_STEP[problem.dtype])}
            routes.append(_route(problem, _thin_out(points, m), rows=rows, on=f", on example {rows[0]} alone"))
    return routes


def _thin_out(points: dict[str, Array], m: int) -> dict[str, Array]:
    """As many of the points (m,) as `MOST_LADDER_NUMBERS` allows, evenly, the first and the last among them."""
    most = max(2, MOST_LADDER_NUMBERS // m)
    if len(points) <= most:
        return points
    names = list(points)
    chosen = np.linspace(0, len(names) - 1, most).round().astype(int)
    return {names[i]: points[names[i]] for i in chosen}


def _rungs(problem: Problem, step: int) -> list[float]:
    """The logits of a ladder, from the most negative to the most positive, in the problem's dtype."""
    dtype = np.dtype(problem.dtype).type
    rungs = []
    for sign in (-1.0, 1.0):
        limit = largest_decidable(problem, sign)
        rungs += [float(dtype(sign * logit)) for logit in _logits(saturation(problem.dtype), limit, step)]
    return sorted(rungs)


def _logits(saturated: float, limit: float, step: int) -> list[float]:
    """step, 2 step, … up to ``saturated``, then in the ratio `SPARSE`; all up to ``limit``, which is the last."""
    logits = [float(logit) for logit in range(step, math.ceil(saturated) + step, step)]
    while logits[-1] < limit:
        logits.append(round(logits[-1] * SPARSE))
    return [*(logit for logit in logits if logit < limit), limit]


def largest_decidable(problem: Problem, sign: float) -> float:
    """The largest |z| on this side with finite tolerances of loss and gradient; `LARGE_LOGIT` for the logits form.

    The probability form saturates: upwards where 1 - p has no correct digit, downwards where p² underflows.
    """
    if problem.loss != "probability":
        return LARGE_LOGIT
    layout = problem.layout
    # without features the tolerance depends on the logit alone
    alone = replace(problem, X=np.zeros((2, problem.features), problem.dtype), y=np.array([0, 1], problem.dtype))

    def decide(logits: Array) -> Array:
        weights = np.stack([layout.repeat(0.0, logit) for logit in sign * logits])
        return np.array(
            [np.isfinite([allowed.loss, *allowed.gradient]).all() for allowed in point_tolerances(alone, weights)]
        )

    low, high = 0.0, LARGE_LOGIT
    while high - low > 0.005:  # a bisection with 32 points at a time
        logits = np.linspace(low, high, 34)[1:-1]
        last = int(np.count_nonzero(np.logical_and.accumulate(decide(logits))))
        low, high = (low, *logits, high)[last : last + 2]
    return float(np.floor(100.0 * low)) / 100.0


def balanced_rows(y: Array, most: int) -> Array | None:
    """At most ``most`` rows with as many of each label as there are, up to half; None: all rows are few enough."""
    if len(y) <= most:
        return None
    ones, zeros = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    of_ones = min(len(ones), max(most // 2, most - len(zeros)))
    return np.sort(np.concatenate([ones[:of_ones], zeros[: most - of_ones]]))


# --- the answers


def probe_samples(route: Route, loss: Array, gradient: Array | None, following: Array) -> list[Sample]:
    """The answers along one route: loss (P, 2), gradient (P, 2, m) or None, following (P, r, m), r of 1 or 2."""
    samples = []
    for i, name in enumerate(route.names):
        for visit in range(2):
            again = ", evaluated again" if visit else ""
            # the phases update once, after their second gradient
            last = following.shape[1] - 2 + visit
            samples.append(
                Sample(
                    f"the point '{name}'{route.on}{again}",
                    route.weights[i],
                    loss[i, visit],
                    None if gradient is None else gradient[i, visit],
                    following[i, last] if last >= 0 else None,
                    route.rows,
                )
            )
    return samples


def _with_logit(problem: Problem, logits: Reading, direction: Array, logit: float) -> Array:
    """``direction`` (m,), scaled so that the largest |z| over the examples is ``logit``."""
    with np.errstate(all="ignore"):
        (z,) = logits.at(Objective(problem).parameters(direction))
        largest = float(np.abs(z).max())
    return direction * (logit / largest) if 0 < largest < math.inf else direction
