"""The points at which every backend is asked for loss, gradient and one step, whatever its own training visits.

Training visits friendly weights only, and converged training hardly tests the gradient at all. So the host chooses:
zero, start, near middle and end of the reference, saturated logits, large weights, and random points drawn when the
plugin has been loaded. The route visits every point, then all again in the opposite order, so that each answer is
given twice with different neighbours; one random point is visited again a little moved, which tells a computation from
a table of rounded arguments; and a part of the data is used once, which tells it from a table of weights alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.verify.reference import Reference
from compare_ag.verify.samples import Sample

RANDOM_POINTS = 4
MOVE = 2.0**-10
"""relative: hundreds of tolerances in the gradient of either dtype, and less than a table would tell apart"""
BEYOND_SATURATION = 1.2
"""times (53 or 24) ln 2, the logit from which a sigmoid is 1"""
LARGE_LOGIT = 800.0
"""exp overflows in both dtypes; the logits form stays finite"""


@dataclass(frozen=True)
class Probes:
    """A route through P points."""

    seed: int
    """of the random points"""
    names: tuple[str, ...]
    weights: Array
    """(P, m) in the problem's dtype, b last"""
    part: Array
    """rows (n',) of the smaller batch"""
    part_points: tuple[int, ...]
    """the points of the route that are also visited with the smaller batch"""


def probe_points(problem: Problem, reference: Reference, seed: int) -> Probes:
    """The route for one backend. ``seed`` draws the random points; keep it, so that they can be drawn again."""
    generator = np.random.default_rng([seed, 0x9E0B35])
    m, dtype = problem.features + 1, problem.dtype

    def moved(point: Array) -> Array:
        return np.asarray(point * (1.0 + MOVE * generator.uniform(0.5, 1.0, m)))

    X = np.asarray(problem.X, dtype=np.float64)
    middle = len(reference.recorded_steps) // 2
    end = np.append(reference.final_w, reference.final_b)
    points = {"zero": np.zeros(m), "start": np.append(problem.w0, problem.b0).astype(np.float64)}
    # near, not at: a worker is never told a weight that its own training should arrive at
    if len(reference.recorded_steps):
        points["middle"] = moved(np.append(reference.w[middle, 0], reference.b[middle, 0]))
    points["end"] = moved(end)
    points |= {f"random {i + 1}": _with_logit(X, generator.standard_normal(m), 2.0**i) for i in range(RANDOM_POINTS)}
    points["random 1, moved"] = moved(points["random 1"])
    digits = np.finfo(dtype).nmant + 1
    direction = end if np.isfinite(end).all() and end.any() else generator.standard_normal(m)
    points["saturated"] = _with_logit(X, direction, BEYOND_SATURATION * digits * math.log(2.0))
    points["large weights"] = _with_logit(X, generator.standard_normal(m), LARGE_LOGIT)
    with np.errstate(over="ignore", under="ignore"):  # a point beyond the dtype is none
        points = {name: np.asarray(point).astype(dtype) for name, point in points.items()}
    kept = {name: point for name, point in points.items() if np.isfinite(point).all()}
    names = [*kept, *list(reversed(list(kept)))[1:]]
    route = np.array([kept[name] for name in names])
    part = np.arange(0, problem.examples, 2)
    visits = tuple(i for i, name in enumerate(names[: len(kept)]) if name in ("zero", "random 1", "random 2"))
    return Probes(seed, tuple(names), route, part, visits)


def probe_samples(
    probes: Probes, loss: Array, gradient: Array | None, following: Array, *, part: bool = False
) -> list[Sample]:
    """The answers as samples: loss (P, 2), gradient (P, 2, m) or None, following (P, r, m), r of 1 or 2.

    part: they were given on the smaller batch, at its points.
    """
    points = probes.part_points if part else range(len(probes.names))
    rows, on = (probes.part, ", on every second example") if part else (None, "")
    found = []
    for i, point in enumerate(points):
        for visit in range(2):
            again = ", evaluated again" if visit else ""
            # the phases update once, after their second gradient
            last = following.shape[1] - 2 + visit
            found.append(
                Sample(
                    f"the point '{probes.names[point]}'{on}{again}",
                    probes.weights[point],
                    loss[i, visit],
                    None if gradient is None else gradient[i, visit],
                    following[i, last] if last >= 0 else None,
                    rows,
                )
            )
    return found


def _with_logit(X: Array, direction: Array, logit: float) -> Array:
    """``direction`` (m,), scaled so that the largest |z| over the examples is ``logit``."""
    with np.errstate(all="ignore"):
        largest = float(np.abs(X @ direction[:-1] + direction[-1]).max())
    return direction * (logit / largest) if 0 < largest < math.inf else direction
