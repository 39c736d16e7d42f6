"""Mistakes against the contract itself: shapes, dtypes, inputs that are written to, answers that are not computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag import Backend, Batch, Weights
from compare_ag_mutants.tools import Array, Base, Collection, each, read, remade

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
            return remade(self, loss, lambda _: self.memory[key][0]), key

        def backward(self, tape: Any) -> Weights:
            return Weights(*(self.make_tensor(value) for value in self.memory[tape][1]))

    return Replayed


@add("trajectory-cached", "protocol", "the gradients of the first steps are remembered by the number of the call")
def _cached(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Cached(base):  # type: ignore[misc]  # a class that is only known at run time
        kept: Any = None
        calls = 0

        def backward(self, tape: Any) -> Weights:
            self.kept = self.kept or []
            right = super().backward(tape)
            if len(self.kept) < 400:
                self.kept.append([read(self, v) for v in right])
                return Weights(*(self.make_tensor(v) for v in self.kept[-1]))
            self.calls += 1
            return Weights(*(self.make_tensor(v) for v in self.kept[(self.calls - 1) % 400]))

    return Cached


@add("writes-into-weights", "protocol", "forward scales the weights that it is given by 1 + size", 1e-3, 1e-8)
def _writes(base: Base, size: float) -> type[Backend]:
    class Writes(base):  # type: ignore[misc]  # a class that is only known at run time
        def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Any:
            return [super().make_tensor(array, requires_grad=requires_grad), requires_grad]

        def to_numpy(self, tensor: Any) -> Array:
            return np.asarray(super().to_numpy(tensor[0] if isinstance(tensor, list) else tensor))

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            w, b = weights
            answer = super().forward(Weights(w[0], b[0]), Batch(batch.X[0], batch.y[0]))
            moved = super().to_numpy(w[0]) * (1 + size)
            w[0] = super().make_tensor(np.asarray(moved, dtype=moved.dtype), requires_grad=True)
            return answer[0], answer[1]

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            inner = (Weights(*(v[0] if isinstance(v, list) else v for v in group)) for group in (weights, gradient))
            return Weights(*([v, True] for v in super().update(*inner, learning_rate)))

        def synchronize(self, *tensors: Any) -> None:
            super().synchronize(*(v[0] if isinstance(v, list) else v for v in tensors))

    return Writes


@add("writes-into-data", "protocol", "backward scales the X that it was given by the factor 1 + size", 1e-3, 1e-8)
def _scales(base: Base, size: float) -> type[Backend]:
    class Scales(base):  # type: ignore[misc]  # a class that is only known at run time
        first: Any = None
        factor = 1.0

        def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Any:
            tensor = super().make_tensor(array, requires_grad=requires_grad)
            if array.ndim == 2 and self.first is None:
                self.first = tensor
            return tensor

        def to_numpy(self, tensor: Any) -> Array:
            values = np.asarray(super().to_numpy(tensor))
            return np.asarray(values * self.factor, values.dtype) if tensor is self.first else values

        def backward(self, tape: Any) -> Weights:
            self.factor = 1 + size
            return Weights(*super().backward(tape))

    return Scales


@add("dtype-wrong", "protocol", "the gradient comes in the other dtype")
def _dtype(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Dtype(base):  # type: ignore[misc]  # a class that is only known at run time
        def backward(self, tape: Any) -> Weights:
            def other(values: Array) -> Any:
                return self.make_tensor(values.astype("float32" if values.dtype == np.float64 else "float64"))

            return Weights(*(other(read(self, v)) for v in super().backward(tape)))

    return Dtype


@add("shape-wrong", "protocol", "the gradient of w is a column (d, 1)")
def _shape(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Shape(base):  # type: ignore[misc]  # a class that is only known at run time
        def backward(self, tape: Any) -> Weights:
            w, b = super().backward(tape)
            return Weights(self.make_tensor(read(self, w)[:, None]), b)

    return Shape


@add("bias-broadcast", "protocol", "the gradient of b has the shape (1,), which broadcasts")
def _broadcast(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Broadcast(base):  # type: ignore[misc]  # a class that is only known at run time
        def backward(self, tape: Any) -> Weights:
            w, b = super().backward(tape)
            return Weights(w, self.make_tensor(np.atleast_1d(read(self, b))))

    return Broadcast


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
