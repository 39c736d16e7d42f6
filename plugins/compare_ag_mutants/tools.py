"""Tools to make mutants: the contract's verbs and numpy alone, so that a mistake can be made to any backend.

A *mutation* is a function from a correct class and a size to a wrong class. The helpers convert a framework's tensor to
numpy and back; they copy, because the base may update in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from compare_ag import Backend, Batch, Mutant, Setting, Weights

Array: TypeAlias = np.ndarray[Any, Any]
Make: TypeAlias = Callable[[type[Backend], float], type[Backend]]
Base: TypeAlias = Any
"""a correct backend class; a class statement may only inherit from a variable without a more precise type"""


def read(backend: Backend, tensor: Any) -> Array:
    """A copy of a tensor's values."""
    return np.array(backend.to_numpy(tensor))


def remake(backend: Backend, tensor: Any, change: Callable[[Array], Any], *, requires_grad: bool = False) -> Any:
    """A new tensor with changed values, in the tensor's dtype and shape."""
    values = read(backend, tensor)
    with np.errstate(all="ignore"):
        # in C order, because torch refuses the negative strides of a reversed view
        changed = np.array(change(values.copy()), dtype=values.dtype, order="C").reshape(values.shape)
    return backend.make_tensor(changed, requires_grad=requires_grad)


def each(backend: Backend, weights: Weights, change: Callable[[Array], Any], *, requires_grad: bool = False) -> Weights:
    """`remake` for w and b."""
    return Weights(*(remake(backend, tensor, change, requires_grad=requires_grad) for tensor in weights))


class Collection:
    """Mutants in the order of their definitions."""

    def __init__(self) -> None:
        self.mutants: list[Mutant] = []

    def add(
        self, name: str, part: Any, meaning: str, *sizes: float, legitimate: bool = False, shows_in: Any = "anywhere"
    ) -> Callable[[Make], Make]:
        """Decorate a mutation; without sizes it has a single size, 1."""

        def keep(make: Make) -> Make:
            self.mutants.append(Mutant(name, part, meaning, sizes or (1.0,), make, legitimate, shows_in))
            return make

        return keep


def wrong_gradient(change: Callable[[Any, Weights, Any, float], Weights]) -> Make:
    """A mutation whose `backward` returns ``change(backend, right gradient, (weights, batch) as numpy, size)``."""

    def make(base: Base, size: float) -> type[Backend]:
        class Wrong(base):  # type: ignore[misc]  # a class that is only known at run time
            def prepare(self, setting: Setting) -> None:
                self.setting = setting
                super().prepare(setting)

            def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
                seen = tuple(read(self, tensor) for tensor in (*weights, *batch))
                loss, tape = super().forward(weights, batch)
                return loss, (tape, seen)

            def backward(self, tape: Any) -> Weights:
                tape, seen = tape
                return change(self, super().backward(tape), seen, size)

        return Wrong

    return make


def wrong_update(change: Callable[[Any, Weights, Weights, float, float], tuple[Weights, Weights, float]]) -> Make:
    """A mutation whose `update` receives ``change(backend, weights, gradient, learning rate, size)`` instead."""

    def make(base: Base, size: float) -> type[Backend]:
        class Wrong(base):  # type: ignore[misc]  # a class that is only known at run time
            def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
                return super().update(*change(self, weights, gradient, learning_rate, size))  # type: ignore[no-any-return]  # the base's

        return Wrong

    return make


def wrong_loss(change: Callable[[Array, tuple[Array, ...], Setting, float], Any]) -> Make:
    """A mutation whose `forward` returns ``change(right loss, (w, b, X, y), setting, size)``; the gradient is right."""

    def make(base: Base, size: float) -> type[Backend]:
        class Wrong(base):  # type: ignore[misc]  # a class that is only known at run time
            def prepare(self, setting: Setting) -> None:
                self.setting = setting
                super().prepare(setting)

            def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
                seen = tuple(read(self, tensor) for tensor in (*weights, *batch))
                loss, tape = super().forward(weights, batch)
                return remake(self, loss, lambda value: change(value, seen, self.setting, size)), tape

        return Wrong

    return make


def example_losses(X: Array, y: Array, w: Array, b: Array, form: str) -> Array:
    """ℓ(z, y) (n,) in the arguments' dtype; the probability form as it is written."""
    z = X @ w + b
    if form == "logits":
        s = (1 - 2 * y) * z
        return np.asarray(np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))))
    p = 1 / (1 + np.exp(-z))
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log(1 - p)))


def residuals(X: Array, y: Array, w: Array, b: Array) -> Array:
    """σ(z) - y (n,) in the arguments' dtype, without overflow."""
    z = X @ w + b
    decay = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1, decay) / (1 + decay) - y)
