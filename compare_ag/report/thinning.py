"""Which values of a long course a drawing shows, so that no peak is lost."""

from __future__ import annotations

import numpy as np

from compare_ag.report.chart import Array

MOST_POINTS = 2000
HEAD = 100


def thin_places(values: Array, most: int = MOST_POINTS) -> Array:
    """Increasing places (p,) of the values (n,) to show, p ≤ most.

    Beyond ``most`` values these are the first hundred (a logarithmic axis shows each of them), the first and the last,
    the first that is not finite, and the smallest and the largest value of every further stretch.

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


def peak_places(values: Array, at: Array, stretches: int) -> Array:
    """Of the places ``at`` (increasing), that of the largest finite value in each of at most ``stretches`` stretches.

    >>> peak_places(np.array([1.0, 5.0, np.nan, 2.0]), np.arange(4), 2).tolist()
    [1, 3]
    """
    known = at[np.isfinite(values[at])]
    if len(known) <= stretches:
        return known
    return np.array([part[np.argmax(values[part])] for part in np.array_split(known, stretches)])
