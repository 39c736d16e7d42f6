"""One backend with one problem in it, in this process: what a loop written by hand, or another tool, times."""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag.contract.backend import Backend, Batch, Setting, Weights
from compare_ag.problem.core import Array, Problem


class Training:
    """A prepared backend, its data as tensors, and the problem they come from."""

    def __init__(self, backend: Backend, problem: Problem) -> None:
        self.backend = backend
        self.problem = problem
        backend.prepare(
            Setting(
                problem.examples,
                problem.features,
                problem.dtype,
                threads=problem.threads,
                l2=problem.l2,
                loss=problem.loss,
            )
        )
        self.batch = Batch(backend.make_tensor(problem.X), backend.make_tensor(problem.y))
        backend.synchronize(*self.batch)

    def weights(self) -> Weights:
        """Fresh tensors with the weights of the problem's start: `update` consumes what it is given."""
        return self.weights_of(self.problem.w0, self.problem.b0)

    def weights_of(self, w: Array, b: Array) -> Weights:
        """Fresh weight tensors with these values, which exist already."""
        make = self.backend.make_tensor
        weights = Weights(make(w, requires_grad=True), make(b, requires_grad=True))
        self.backend.synchronize(*weights)
        return weights

    def read(self, what: str, tensor: Any, shape: tuple[int, ...]) -> Array:
        """A copy of the tensor's values; AssertionError where dtype or shape are not the contract's."""
        value = np.array(self.backend.to_numpy(tensor))
        expected = (self.problem.dtype, shape)
        if (value.dtype.name, value.shape) != expected:
            raise AssertionError(f"{what}: {value.dtype.name} {value.shape}, not {expected}")
        return value

    def read_weights(self, what: str, weights: Weights) -> tuple[Array, Array]:
        """Copies of w (d,) and b ()."""
        w, b = weights
        return self.read(f"{what} w", w, (self.problem.features,)), self.read(f"{what} b", b, ())
