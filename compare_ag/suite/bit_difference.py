"""Arrays as differences from a forecast, bit by bit. A right forecast leaves zeros, which compress well.

`difference` is its own inverse: applied to a difference with the same forecast it gives the values, so nothing is lost.
A forecast must therefore be the same on every machine: a copy, or single operations of IEEE 754 in a fixed order.
Differences have the shape and dtype of the values, but are not numbers to calculate with.

Knows arrays alone; which forecast belongs to which array: see `evidence_arrays`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from compare_ag.worker.messages import Array


def difference(values: Array, forecast: Array) -> Array:
    """The exclusive or of the bits of ``values`` (P, …) and of ``forecast`` for their first rows."""
    bits = f"u{values.dtype.itemsize}"
    result = np.array(values, order="C").view(bits)
    forecast = np.ascontiguousarray(forecast[: len(result)])  # of a second run, which may be shorter than the first
    result[: len(forecast)] ^= forecast.view(bits)
    return result.view(values.dtype)


def rows_difference(keys: Array, values: Array) -> Array:
    """Each row of ``values`` (P, …) as difference from the first row whose key is the same; first rows as they are."""
    forecast = np.zeros_like(values)
    for i, first in enumerate(first_rows(keys)):
        if first != i:
            forecast[i] = values[first]
    return difference(values, forecast)


def restore_rows(keys: Array, differences: Array) -> Array:
    """The values from `rows_difference` for the same keys."""
    values = np.array(differences)
    for i, first in enumerate(first_rows(keys)):
        if first != i:
            values[i : i + 1] = difference(differences[i : i + 1], values[first : first + 1])
    return values


def visits_difference(keys: Array, values: Array) -> Array:
    """Values at two visits of each point (P, 2, …): the second from the first, the first as in `rows_difference`."""
    return np.stack([rows_difference(keys, values[:, 0]), difference(values[:, 1], values[:, 0])], axis=1)


def restore_visits(keys: Array, differences: Array) -> Array:
    """The values from `visits_difference` for the same keys."""
    first = restore_rows(keys, differences[:, 0])
    return np.stack([first, difference(differences[:, 1], first)], axis=1)


def first_rows(keys: Array) -> list[int]:
    """For each row of ``keys`` the index of the first row with the same bits."""
    indices: dict[bytes, int] = {}
    return [indices.setdefault(key.tobytes(), i) for i, key in enumerate(keys)]
