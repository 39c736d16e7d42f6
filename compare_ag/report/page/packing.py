"""Arrays for the page: thinned to the resolution of a screen, as base64 of little-endian numbers.

A course of more than `MOST_POINTS` steps keeps its first hundred steps (a logarithmic axis shows each of them), its
first and last point, its first point that is not finite, and the smallest and the largest value of every further
stretch, so that no peak is lost.
"""

from __future__ import annotations

import base64
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_POINTS = 2000
HEAD = 100


def thin_places(values: Array, most: int = MOST_POINTS) -> Array:
    """Increasing places (p,) of the values (n,) to show, p ≤ most.

    >>> len(thin_places(np.arange(10.0)))
    10
    >>> spiky = np.zeros(10_001)
    >>> spiky[7777] = -1.0
    >>> places = thin_places(spiky)
    >>> bool(7777 in places), len(places) <= 2000, int(places[0]), int(places[-1])
    (True, True, 0, 10000)
    """
    n = len(values)
    if n <= most:
        return np.arange(n)
    head = min(HEAD, most // 10)
    stretches = (most - head - 3) // 2
    edges = np.linspace(head, n, stretches + 1).astype(int)
    finite = np.isfinite(values)
    places = [np.arange(head), _extremes(np.where(finite, values, np.inf), edges)]
    places += [_extremes(np.where(finite, -values, np.inf), edges), np.array([0, n - 1])]
    if not finite.all():
        places.append(np.array([int(np.argmin(finite))]))
    return np.unique(np.concatenate(places))


def _extremes(values: Array, edges: Array) -> Array:
    """Place of the smallest value of each stretch between two edges; every stretch has at least one value."""
    longest = int(np.diff(edges).max())
    places = np.minimum(edges[:-1, None] + np.arange(longest), edges[1:, None] - 1)
    smallest: Array = edges[:-1] + np.argmin(values[places], axis=1)
    return smallest


class Packer:
    """Collects arrays; a chart refers to each by its number."""

    def __init__(self) -> None:
        self.packed: list[dict[str, str]] = []

    def add(self, values: Any) -> int:
        """Store a one-dimensional array; return its number. Integers become int32, float32 stays, others float64."""
        array = np.asarray(values)
        if array.dtype.kind in "iub" and (not array.size or abs(array).max() < 2**31):
            kind, array = "i4", array.astype("<i4")
        elif array.dtype == np.float32:
            kind, array = "f4", array.astype("<f4")
        else:
            kind, array = "f8", array.astype("<f8")
        self.packed.append({"type": kind, "data": base64.b64encode(array.tobytes()).decode("ascii")})
        return len(self.packed) - 1
