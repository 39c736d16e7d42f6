"""Mistakes in the update, and mistakes that only show over several steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compare_ag import Backend, Batch, Weights
from compare_ag_mutants.tools import Array, Base, Collection, each, read, remake, wrong_update

collection = Collection()
add = collection.add

FINE = (1e-3, 1e-6, 1e-9, 1e-11, 1e-13)

add("rate-scaled", "update", "the learning rate is too large by the factor 1 + size", *FINE)(
    wrong_update(lambda _, w, g, rate, size: (w, g, rate * (1 + size)))
)
add("bias-rate-scaled", "update", "the learning rate of b alone is too large by the factor 1 + size", 1e-3, 1e-6, 1e-9)(
    wrong_update(
        lambda backend, w, g, rate, size: (w, Weights(g.w, remake(backend, g.b, lambda v: v * (1 + size))), rate)
    )
)


def _round_rate(rate: float, digits: int) -> float:
    """The nearest number with ``digits`` binary digits; the next number where ``rate`` has no more digits than that."""
    mantissa, exponent = math.frexp(rate)
    scaled = math.ldexp(mantissa, digits)
    rounded = round(scaled)
    return math.ldexp(rounded + (rounded == scaled), exponent - digits)


add("rate-in-float32", "update", "the learning rate is rounded to size binary digits; float32 has 24", 10.0, 24.0)(
    wrong_update(lambda _, w, g, rate, size: (w, g, _round_rate(rate, int(size))))
)
add("weight-decay", "update", "the weights lose the share size in each step", 1e-3, 1e-6, 1e-9, 1e-12)(
    wrong_update(
        lambda backend, w, g, rate, size: (each(backend, w, lambda v: v * (1 - size), requires_grad=True), g, rate)
    )
)
add("bias-frozen", "update", "b keeps the share size of what it should lose", 1.0, 1e-3, 1e-6, 1e-9)(
    wrong_update(
        lambda backend, w, g, rate, size: (w, Weights(g.w, remake(backend, g.b, lambda v: v * (1 - size))), rate)
    )
)
add("update-sign", "update", "the update ascends")(wrong_update(lambda _, w, g, rate, __: (w, g, -rate)))


def _clip(backend: Backend, g: Weights, size: float) -> Weights:
    norm = np.sqrt(sum(float((read(backend, v).astype(float) ** 2).sum()) for v in g))
    return each(backend, g, lambda v: v * min(1.0, size / norm)) if norm > 0 else g


add("gradient-norm-clipped", "update", "the gradient's norm is clipped to size before the update", 1e-3, 1e-2, 1e-1)(
    wrong_update(lambda backend, w, g, rate, size: (w, _clip(backend, g, size), rate))
)


@add("weights-in-float32", "update", "the weights are kept in float32 between the steps, whatever the dtype")
def _narrow(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Narrow(base):  # type: ignore[misc]  # a class that is only known at run time
        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            following = super().update(weights, gradient, learning_rate)
            return each(self, following, lambda v: v.astype(np.float32), requires_grad=True)

    return Narrow


@add("momentum", "training", "the share size of the step before is made again", 1e-1, 1e-3, 1e-6, 1e-9)
def _momentum(base: Base, size: float) -> type[Backend]:
    class Momentum(base):  # type: ignore[misc]  # a class that is only known at run time
        velocity: Any = None

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            sums = [read(self, tensor) for tensor in gradient]
            if self.velocity is not None:
                sums = [new + np.asarray(size, new.dtype) * old for new, old in zip(sums, self.velocity, strict=True)]
            self.velocity = sums
            return Weights(*super().update(weights, Weights(*(self.make_tensor(v) for v in sums)), learning_rate))

    return Momentum


@add("step-skipped", "training", "update number size does nothing", 3.0, 150.0)
def _skipped(base: Base, size: float) -> type[Backend]:
    class Skipped(base):  # type: ignore[misc]  # a class that is only known at run time
        calls = 0

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            self.calls += 1
            rate = 0.0 if self.calls == size else learning_rate
            return Weights(*super().update(weights, gradient, rate))

    return Skipped


@add("step-twice", "training", "update number size is made twice", 3.0, 150.0)
def _twice(base: Base, size: float) -> type[Backend]:
    class Twice(base):  # type: ignore[misc]  # a class that is only known at run time
        calls = 0

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            self.calls += 1
            rate = 2 * learning_rate if self.calls == size else learning_rate
            return Weights(*super().update(weights, gradient, rate))

    return Twice


@add("rate-decays", "training", "the learning rate falls by the share size with each step", 1e-2, 1e-5, 1e-8, 1e-11)
def _decays(base: Base, size: float) -> type[Backend]:
    class Decays(base):  # type: ignore[misc]  # a class that is only known at run time
        calls = 0

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            self.calls += 1
            return Weights(*super().update(weights, gradient, learning_rate * (1 - size) ** self.calls))

    return Decays


@add("start-wrong", "training", "the initial weights are off by size", 1e-2, 1e-5, 1e-8, 1e-12)
def _start(base: Base, size: float) -> type[Backend]:
    class Start(base):  # type: ignore[misc]  # a class that is only known at run time
        def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Any:
            changed = np.asarray(array + size, array.dtype) if requires_grad else array
            return super().make_tensor(changed, requires_grad=requires_grad)

    return Start


@add("fused-step-wrong", "training", "the backend's own step uses a rate too large by the factor 1 + size", *FINE)
def _fused(base: Base, size: float) -> type[Backend]:
    class Fused(base):  # type: ignore[misc]  # a class that is only known at run time
        def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
            loss, following = super().step(weights, batch, learning_rate * (1 + size))
            return loss, following

    return Fused
