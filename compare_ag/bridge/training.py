"""One backend with one problem in it, for this process, which plays the worker; and the check of its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag.backend import Backend, Batch, Setting, Weights
from compare_ag.bridge.formula import descended, point, require
from compare_ag.problem.core import Array, Problem

FINAL_STEPS = 100
"""The final loss is that after so many updates from the problem's start."""


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

    def check(self, weights: Weights) -> float:
        """Check loss, gradient and update at these weights, which stay as they are; return the loss.

        Raises AssertionError, which names the verb, where a value lies farther from the formula than rounding explains.
        """
        w, b = self.read_weights("weights", weights)
        if not (np.isfinite(w).all() and np.isfinite(b)):
            raise AssertionError("weights: not finite")
        expected = point(self.problem, w, b)
        start = self.weights_of(w, b)
        loss, tape = self.backend.forward(start, self.batch)
        value = self.read("loss", loss, ())
        require("forward: loss", expected.loss, value)
        gradient = self.backend.backward(tape)
        slope_w, slope_b = self.read_weights("gradient", gradient)
        require("backward: gradient w", expected.w, slope_w)
        require("backward: gradient b", expected.b, slope_b)
        updated = self.backend.update(start, gradient, self.problem.learning_rate)
        layout = self.problem.layout
        slope = layout.flat((slope_w, slope_b))
        if np.isfinite(slope).all():  # else the probability form has saturated, as passed above, and decides nothing
            after = descended(self.problem, layout.flat((w, b)), slope)
            new_w, new_b = self.read_weights("updated", updated)
            for name, part, new in zip(layout.names, after.parts(layout), (new_w, new_b), strict=True):
                require(f"update: {name}", part, new)
        return float(value)

    def check_training(self) -> float:
        """Check the start, train `FINAL_STEPS` updates by `step`, check the end; return the final loss."""
        weights = self.weights()
        self.check(weights)
        for _ in range(FINAL_STEPS):
            _, weights = self.backend.step(weights, self.batch, self.problem.learning_rate)
        return self.check(weights)
