"""The order of a model's parameters in a flat vector, which no other module knows.

A model has named parameters, each an array of its own shape. Distances and Jacobians need all their numbers in one
vector θ (m,); backends, records and messages need them apart:

    parts   w (d,)  b ()                 W (h, d)  c (h,)  v (h,)  a ()
    flat    w₁ … w_d b                   W₁₁ W₁₂ … c₁ … v₁ … a

The parameters lie one after the other in their order, each in C order. Leading axes (points, steps) are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """The names and shapes of a model's parameters, in order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.shapes) or len(set(self.names)) != len(self.names):
            raise ValueError(f"{len(self.names)} names {self.names} for {len(self.shapes)} shapes")

    @cached_property
    def size(self) -> int:
        """m, the count of the numbers of all parameters."""
        return sum(map(math.prod, self.shapes))

    @cached_property
    def _slices(self) -> tuple[slice, ...]:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes]).tolist()
        return tuple(slice(start, end) for start, end in zip([0, *ends], ends, strict=False))

    def flat(self, parts: Sequence[Any]) -> Array:
        """(…, m), a copy, from an array (…, *shape) for each parameter, in order.

        Raises `ValueError` where shapes do not fit.
        """
        arrays = [np.asarray(part) for part in parts]
        if len(arrays) != len(self.shapes):
            raise ValueError(f"{len(arrays)} arrays for the parameters {', '.join(self.names)}")
        leading = arrays[0].shape[: arrays[0].ndim - len(self.shapes[0])]
        for name, shape, array in zip(self.names, self.shapes, arrays, strict=True):
            if array.shape != (*leading, *shape):
                raise ValueError(f"{name} has shape {array.shape}, expected {(*leading, *shape)}")
        sizes = map(math.prod, self.shapes)
        flat = [array.reshape(*leading, size) for array, size in zip(arrays, sizes, strict=True)]
        return np.concatenate(flat, axis=-1)

    def parts(self, theta: Array) -> tuple[Array, ...]:
        """An array (…, *shape) for each parameter, in order: views of ``theta`` (…, m) where numpy allows.

        Raises `ValueError` where the last axis has another length.
        """
        if theta.shape[-1:] != (self.size,):
            raise ValueError(f"a vector of shape {theta.shape}, expected (…, {self.size})")
        return tuple(
            theta[..., span].reshape((*theta.shape[:-1], *shape))
            for span, shape in zip(self._slices, self.shapes, strict=True)
        )

    def pieces(self, entries: Sequence[T]) -> list[Sequence[T]]:
        """The m entries of a sequence, split by parameter, in order."""
        return [entries[span] for span in self._slices]

    def repeat(self, *values: float) -> Array:
        """(m,) float64: a value for each parameter, in order, repeated in all of its numbers."""
        return self.flat([np.full(shape, float(value)) for value, shape in zip(values, self.shapes, strict=True)])

    def only(self, name: str, theta: Array) -> Array:
        """``theta`` (…, m) with 0 in the numbers of all other parameters."""
        of = self.repeat(*(float(parameter == name) for parameter in self.names)) > 0
        return np.where(of, theta, np.zeros_like(theta))

    def coordinate(self, index: int) -> str:
        """The name of a number: "w[3]", "W[2,1]", or "b" where the parameter is a single number."""
        if not 0 <= index < self.size:
            raise IndexError(f"{index} of {self.size} numbers")
        for name, shape, span in zip(self.names, self.shapes, self._slices, strict=True):
            if index < span.stop:
                place = np.unravel_index(index - span.start, shape) if shape else ()
                return name + (f"[{','.join(str(int(i)) for i in place)}]" if shape else "")
        raise AssertionError("unreachable")

    @property
    def coordinates(self) -> list[str]:
        """The names of all numbers."""
        return [self.coordinate(index) for index in range(self.size)]


def logistic(features: int) -> Layout:
    """The layout of logistic regression: a weight w for each feature, and the intercept b."""
    return Layout(("w", "b"), ((features,), ()))
