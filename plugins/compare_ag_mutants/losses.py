"""Mistakes in the reported loss alone: the training itself is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag import Backend, Batch, Setting, Weights
from compare_ag_mutants.tools import Array, Base, Collection, example_losses, read, remake, wrong_loss

collection = Collection()
add = collection.add

add("loss-scaled", "loss", "the loss is too large by the factor 1 + size", 1e-3, 1e-6, 1e-9, 1e-11, 1e-13, 1e-15)(
    wrong_loss(lambda loss, _, __, size: loss * (1 + size))
)
add("loss-sum", "loss", "the sum over the examples instead of the mean")(
    wrong_loss(lambda loss, seen, _, __: loss * len(seen[3]))
)
add("loss-without-penalty", "loss", "the share size of the L2 penalty is missing from the loss", 1.0, 1e-3, 1e-6, 1e-9)(
    wrong_loss(lambda loss, seen, setting, size: loss - size * _penalty(seen[0], setting))
)
add("loss-zero-for-nan", "loss", "a loss above 1/size is reported as 0", 1e-1, 5e-1)(
    wrong_loss(lambda loss, _, __, size: 0 * loss if loss > 1 / size else loss)
)


def _penalty(w: Array, setting: Setting) -> Any:
    """½ l2 ‖w‖²."""
    return setting.l2 / 2 * (w @ w)


def _in_float32(_: Array, seen: tuple[Array, ...], setting: Setting, __: float) -> Any:
    w, b, X, y = (values.astype(np.float32) for values in seen)
    return example_losses(X, y, w, b, setting.loss).mean() + _penalty(w, setting)


def _n_plus_one(loss: Array, seen: tuple[Array, ...], setting: Setting, _: float) -> Any:
    n, penalty = len(seen[3]), _penalty(seen[0], setting)
    return (loss - penalty) * (n / (n + 1)) + penalty


def _clipped(loss: Array, seen: tuple[Array, ...], setting: Setting, size: float) -> Any:
    """BCELoss's clamped logarithm; where no logarithm is beyond the clamp, the right loss bit for bit."""
    w, b, X, y = seen
    losses = example_losses(X, y, w, b, setting.loss)
    limit = 100 / size
    return np.minimum(losses, limit).mean() + _penalty(w, setting) if (losses > limit).any() else loss


def _without_first(loss: Array, seen: tuple[Array, ...], setting: Setting, size: float) -> Any:
    w, b, X, y = seen
    return loss - size * example_losses(X[:1], y[:1], w, b, setting.loss)[0] / len(y)


add("loss-in-float32", "loss", "the loss is computed in float32, whatever the dtype")(wrong_loss(_in_float32))
add("loss-mean-n-plus-one", "loss", "the mean over n + 1 instead of n")(wrong_loss(_n_plus_one))
add("loss-clipped", "loss", "logarithms are kept above -100/size", 100.0, 20.0, 1.0)(wrong_loss(_clipped))
add("loss-example-dropped", "loss", "the share size of the first example's loss is missing", 1.0, 1e-3, 1e-6, 1e-9)(
    wrong_loss(_without_first)
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


@add("loss-after-update", "training", "the fused step reports the loss after its update")
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
            return (loss if previous is None else remake(self, loss, lambda _: previous)), tape

    return Before
