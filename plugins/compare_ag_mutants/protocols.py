"""Mistakes against the contract itself: shapes, dtypes, inputs that are written to, answers that are not computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compare_ag import Backend, Batch, Weights
from compare_ag_mutants.tools import Array, Base, Collection, Make, each, read, remake

collection = Collection()
add = collection.add


@add(
    "replayed-for-equal-weights", "protocol", "answers are remembered for weights that agree to size", 1e-2, 1e-4, 1e-8
)
def _replayed(base: Base, size: float) -> type[Backend]:
    class Replayed(base):  # type: ignore[misc]  # a class that is only known at run time
        memory: Any = None

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            self.memory = self.memory or {}
            values = np.append(read(self, weights.w), read(self, weights.b)).astype(float)
            key = tuple(np.round(values / size).tolist())
            loss, tape = super().forward(weights, batch)
            if key not in self.memory:
                self.memory[key] = read(self, loss), [read(self, v) for v in super().backward(tape)]
            return remake(self, loss, lambda _: self.memory[key][0]), key

        def backward(self, tape: Any) -> Weights:
            return Weights(*(self.make_tensor(value) for value in self.memory[tape][1]))

    return Replayed


@add("trajectory-cached", "protocol", "the gradients of the first steps are remembered by the number of the call")
def _cached(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Cached(base):  # type: ignore[misc]  # a class that is only known at run time
        gradients: Any = None
        calls = 0

        def backward(self, tape: Any) -> Weights:
            self.gradients = self.gradients or []
            right = super().backward(tape)
            if len(self.gradients) < 400:
                self.gradients.append([read(self, v) for v in right])
                return Weights(*(self.make_tensor(v) for v in self.gradients[-1]))
            self.calls += 1
            return Weights(*(self.make_tensor(v) for v in self.gradients[(self.calls - 1) % 400]))

    return Cached


def _unwrap(tensor: Any) -> Any:
    """The element of a one-element list; any other value itself."""
    return tensor[0] if isinstance(tensor, list) else tensor


@add("writes-into-weights", "protocol", "forward scales the weights that it is given by 1 + size", 1e-3, 1e-8)
def _writes(base: Base, size: float) -> type[Backend]:
    class Writes(base):  # type: ignore[misc]  # a class that is only known at run time
        def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Any:
            return [super().make_tensor(array, requires_grad=requires_grad), requires_grad]

        def to_numpy(self, tensor: Any) -> Array:
            return np.asarray(super().to_numpy(_unwrap(tensor)))

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            w, b = weights
            answer = super().forward(Weights(w[0], b[0]), Batch(batch.X[0], batch.y[0]))
            moved = super().to_numpy(w[0]) * (1 + size)
            w[0] = super().make_tensor(np.asarray(moved, dtype=moved.dtype), requires_grad=True)
            return answer[0], answer[1]

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            inner = (Weights(*map(_unwrap, group)) for group in (weights, gradient))
            return Weights(*([v, True] for v in super().update(*inner, learning_rate)))

        def synchronize(self, *tensors: Any) -> None:
            super().synchronize(*map(_unwrap, tensors))

    return Writes


def _writable(backend: Backend, tensor: Any) -> bool:
    """Whether `to_numpy` returns the tensor's own storage, as for numpy, autograd and torch on the CPU."""
    view = backend.to_numpy(tensor)
    return bool(view.flags.writeable and np.shares_memory(view, backend.to_numpy(tensor)))


@add("writes-into-data", "protocol", "backward scales the X that it was given by the factor 1 + size", 1e-3, 1e-8)
def _scales(base: Base, size: float) -> type[Backend]:
    """In place; where a framework's tensors are read-only, X is a list that holds a tensor and receives another."""

    class Scales(base):  # type: ignore[misc]  # a class that is only known at run time
        step = Backend.step  # the base's own step would accept neither the list nor the changed `backward`

        def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Any:
            tensor = super().make_tensor(array, requires_grad=requires_grad)
            return tensor if array.ndim < 2 or _writable(self, tensor) else [tensor]

        def to_numpy(self, tensor: Any) -> Array:
            return np.asarray(super().to_numpy(_unwrap(tensor)))

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            loss, tape = super().forward(weights, Batch(_unwrap(batch.X), batch.y))
            return loss, (tape, batch.X)

        def backward(self, tape: Any) -> Weights:
            tape, X = tape
            right = super().backward(tape)
            if isinstance(X, list):
                X[:] = remake(self, X, lambda values: values * (1 + size))
            else:
                values = self.to_numpy(X)
                values *= 1 + size
            return Weights(*right)

        def synchronize(self, *tensors: Any) -> None:
            super().synchronize(*map(_unwrap, tensors))

    return Scales


def _in_other_dtype(backend: Backend, tensor: Any) -> Any:
    values = read(backend, tensor)
    return backend.make_tensor(values.astype("float32" if values.dtype == np.float64 else "float64"))


def _malformed(change: Callable[[Backend, Weights], Weights]) -> Make:
    """A mutation that reports a gradient of another form, and converts it back to update with it."""

    def make(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
        class Malformed(base):  # type: ignore[misc]  # a class that is only known at run time
            def backward(self, tape: Any) -> Weights:
                return change(self, super().backward(tape))

            def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
                pairs = [(read(self, value), read(self, slope)) for value, slope in zip(weights, gradient, strict=True)]
                restored = (slope.reshape(value.shape).astype(value.dtype) for value, slope in pairs)
                return Weights(*super().update(weights, Weights(*map(self.make_tensor, restored)), learning_rate))

        return Malformed

    return make


add("dtype-wrong", "protocol", "the gradient comes in the other dtype")(
    _malformed(lambda backend, g: Weights(*(_in_other_dtype(backend, v) for v in g)))
)
add("shape-wrong", "protocol", "the gradient of w is a column (d, 1)")(
    _malformed(lambda backend, g: Weights(backend.make_tensor(read(backend, g.w)[:, None]), g.b))
)
add("bias-broadcast", "protocol", "the gradient of b has the shape (1,), which broadcasts")(
    _malformed(lambda backend, g: Weights(g.w, backend.make_tensor(read(backend, g.b)[None])))
)


@add("loss-shape-wrong", "protocol", "the loss has the shape (1,)")
def _loss_shape(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class LossShape(base):  # type: ignore[misc]  # a class that is only known at run time
        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            loss, tape = super().forward(weights, batch)
            return self.make_tensor(read(self, loss)[None]), tape

    return LossShape


@add("loss-dtype-wrong", "protocol", "the loss comes in the other dtype")
def _loss_dtype(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class LossDtype(base):  # type: ignore[misc]  # a class that is only known at run time
        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            loss, tape = super().forward(weights, batch)
            return _in_other_dtype(self, loss), tape

    return LossDtype


@add("first-batch-for-all", "protocol", "every batch is taken for the first one")
def _first(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class First(base):  # type: ignore[misc]  # a class that is only known at run time
        batch: Any = None

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            self.batch = self.batch or batch
            loss, tape = super().forward(weights, self.batch)
            return loss, tape

    return First


@add(
    "gradient-shared",
    "protocol",
    "the second answer on the same tensors is scaled by 1 + size",
    1.0,
    1e-6,
)
def _second(base: Base, size: float) -> type[Backend]:
    class Second(base):  # type: ignore[misc]  # a class that is only known at run time
        seen: Any = None

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            again = self.seen is weights.w
            self.seen = weights.w
            loss, tape = super().forward(weights, batch)
            return loss, (tape, again)

        def backward(self, tape: Any) -> Weights:
            tape, again = tape
            right = super().backward(tape)
            return each(self, right, lambda v: v * (1 + size)) if again else right

    return Second
