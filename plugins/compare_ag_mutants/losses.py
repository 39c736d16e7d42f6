"""Mistakes in the reported loss alone: training goes on as if nothing were wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag import Backend, Batch, Weights
from compare_ag_mutants.tools import Array, Base, Collection, read, remade, wrong_loss

collection = Collection()
add = collection.add

add("loss-scaled", "loss", "the loss is too large by the factor 1 + size", 1e-3, 1e-6, 1e-9, 1e-11, 1e-13, 1e-15)(
    wrong_loss(lambda loss, _, __, size: loss * (1 + size))
)
add("loss-sum", "loss", "the sum over the examples instead of the mean")(
    wrong_loss(lambda loss, seen, _, __: loss * len(seen[3]))
)
add("loss-without-penalty", "loss", "the share size of the L2 penalty is missing from the loss", 1.0, 1e-3, 1e-6, 1e-9)(
    wrong_loss(lambda loss, seen, setting, size: loss - size * setting.l2 / 2 * (seen[0] @ seen[0]))
)
add("loss-in-float32", "loss", "the loss is computed in float32, whatever the dtype")(
    wrong_loss(lambda loss, _, __, ___: np.nextafter(np.float32(loss), np.float32(9)))
)
add("loss-zero-for-nan", "loss", "a loss above 1/size is reported as 0", 1e-1, 5e-1)(
    wrong_loss(lambda loss, _, __, size: 0 * loss if loss > 1 / size else loss)
)


def _first_half(loss: Array, seen: tuple[Array, ...], _: Any, size: float) -> Any:
    """The part of the first example's loss is missing."""
    w, b, X, y = seen
    s = (1 - 2 * y[0]) * (X[0] @ w + b)
    return loss - size * (np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))) / len(y)


add("loss-example-dropped", "loss", "the share size of the first example's loss is missing", 1.0, 1e-3, 1e-6, 1e-9)(
    wrong_loss(_first_half)
)


@add("loss-lazy", "loss", "the loss is only computed when it is read, from weights that were updated meanwhile")
def _lazy(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Promise:
        def __init__(self, backend: Any, batch: Batch) -> None:
            self.backend, self.batch = backend, batch

    class Lazy(base):  # type: ignore[misc]  # a class that is only known at run time
        latest: Any = None

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            self.latest = [read(self, tensor) for tensor in weights]
            _, tape = super().forward(weights, batch)
            return Promise(self, batch), tape

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            following = super().update(weights, gradient, learning_rate)
            self.latest = [read(self, tensor) for tensor in following]
            return Weights(*following)

        def to_numpy(self, tensor: Any) -> Array:
            if isinstance(tensor, Promise):
                weights = Weights(*(self.make_tensor(value, requires_grad=True) for value in self.latest))
                tensor, _ = super().forward(weights, tensor.batch)
            return np.asarray(super().to_numpy(tensor))

    return Lazy


@add("loss-after-update", "loss", "the fused step reports the loss after its update")
def _after(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class After(base):  # type: ignore[misc]  # a class that is only known at run time
        def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
            _, following = super().step(weights, batch, learning_rate)
            copies = Weights(*(self.make_tensor(read(self, v), requires_grad=True) for v in following))
            loss, _ = super().forward(copies, batch)
            return loss, following

    return After


@add("loss-before", "loss", "the loss of the call before")
def _before(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Before(base):  # type: ignore[misc]  # a class that is only known at run time
        previous: Any = None

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            loss, tape = super().forward(weights, batch)
            previous, self.previous = self.previous, read(self, loss)
            return (loss if previous is None else remade(self, loss, lambda _: previous)), tape

    return Before
