"""Mistakes in the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag import Backend, Batch, Setting, Weights
from compare_ag_mutants.tools import Array, Base, Collection, each, read, remake, residuals, wrong_gradient

collection = Collection()
add = collection.add

FINE = (1e-3, 1e-6, 1e-9, 1e-11, 1e-13, 1e-15)

add("gradient-sign", "gradient", "the gradient has the wrong sign")(
    wrong_gradient(lambda backend, g, _, size: each(backend, g, lambda v: -size * v))
)
add("gradient-scaled", "gradient", "the whole gradient is too large by the factor 1 + size", *FINE)(
    wrong_gradient(lambda backend, g, _, size: each(backend, g, lambda v: v * (1 + size)))
)
add("gradient-sum", "gradient", "the sum over the examples instead of the mean")(
    wrong_gradient(lambda backend, g, seen, _: each(backend, g, lambda v: v * len(seen[3])))
)
add("gradient-n-plus-one", "gradient", "the mean over n + 1 instead of n")(
    wrong_gradient(lambda backend, g, seen, _: each(backend, g, lambda v: v * (len(seen[3]) / (len(seen[3]) + 1))))
)
add("bias-gradient-missing", "gradient", "the gradient of b is 0")(
    wrong_gradient(lambda backend, g, _, size: Weights(g.w, remake(backend, g.b, lambda v: v * (1 - size))))
)
add("gradient-constant", "gradient", "the gradient is always the same")(
    wrong_gradient(lambda backend, g, _, size: each(backend, g, lambda v: np.full_like(v, 0.1 * size)))
)


def _scale_first(values: Array, factor: float) -> Array:
    values[..., 0] *= factor
    return values


add("one-component", "gradient", "the first component is too large by the factor 1 + size", *FINE)(
    wrong_gradient(lambda backend, g, _, size: Weights(remake(backend, g.w, lambda v: _scale_first(v, 1 + size)), g.b))
)
add("coordinates-swapped", "gradient", "the components of w come in the opposite order")(
    wrong_gradient(lambda backend, g, _, __: Weights(remake(backend, g.w, lambda v: v[::-1]), g.b))
)


def _penalty(backend: Any, g: Weights, seen: tuple[Array, ...], factor: float) -> Weights:
    return Weights(remake(backend, g.w, lambda v: v + factor * backend.setting.l2 * seen[0]), g.b)


add("l2-missing", "gradient", "the share size of the L2 penalty is missing", 1.0, 1e-3, 1e-6, 1e-9, 1e-11)(
    wrong_gradient(lambda backend, g, seen, size: _penalty(backend, g, seen, -size))
)
add("l2-doubled", "gradient", "the L2 penalty is too large by the factor 1 + size", 1.0, 1e-3, 1e-6, 1e-9, 1e-11)(
    wrong_gradient(lambda backend, g, seen, size: _penalty(backend, g, seen, size))
)
add("l2-on-bias", "gradient", "the penalty applies to b too, with the share size", 1.0, 1e-3, 1e-6, 1e-9, 1e-11)(
    wrong_gradient(
        lambda backend, g, seen, size: Weights(
            g.w, remake(backend, g.b, lambda v: v + size * backend.setting.l2 * seen[1])
        )
    )
)


def _without(backend: Any, g: Weights, seen: tuple[Array, ...], size: float) -> Weights:
    """The gradient with the share ``size`` of the first example's part left out."""
    w, b, X, y = seen
    r = residuals(X[:1], y[:1], w, b) * (size / len(y))
    return Weights(remake(backend, g.w, lambda v: v - r @ X[:1]), remake(backend, g.b, lambda v: v - r.sum()))


def _flipped(backend: Any, g: Weights, seen: tuple[Array, ...], size: float) -> Weights:
    """σ(z) - y with y + size (1 - 2y) instead of y for the first example."""
    _, __, X, y = seen
    r = (2 * y[:1] - 1) * (size / len(y))
    return Weights(remake(backend, g.w, lambda v: v + r @ X[:1]), remake(backend, g.b, lambda v: v + r.sum()))


add("example-dropped", "gradient", "the first example counts for 1 - size", 1.0, 1e-3, 1e-6, 1e-9, 1e-11)(
    wrong_gradient(_without)
)
add("example-doubled", "gradient", "the first example counts for 1 + size", 1.0, 1e-3, 1e-6, 1e-9)(
    wrong_gradient(lambda backend, g, seen, size: _without(backend, g, seen, -size))
)

add(
    "label-flipped", "gradient", "the first example's label is off by size: 1 is the other label", 1.0, 1e-3, 1e-6, 1e-9
)(wrong_gradient(_flipped))


def _by_formula(backend: Any, g: Weights, r: Array, X: Array, w: Array) -> Weights:
    """Xᵀr/n + l2 w and Σ r / n in the dtype of r, X and w, returned in the dtype of ``g``."""
    return Weights(
        remake(backend, g.w, lambda _: r @ X / len(r) + backend.setting.l2 * w),
        remake(backend, g.b, lambda _: r.mean()),
    )


def _half(backend: Any, g: Weights, seen: tuple[Array, ...], _: float) -> Weights:
    w, b, X, y = seen
    half = max(1, len(y) // 2)
    return _by_formula(backend, g, residuals(X[:half], y[:half], w, b), X[:half], w)


add("half-batch", "gradient", "the mean over the first half of the batch alone")(wrong_gradient(_half))


def _in_float32(backend: Any, g: Weights, seen: tuple[Array, ...], _: float) -> Weights:
    w, b, X, y = (values.astype(np.float32) for values in seen)
    return _by_formula(backend, g, residuals(X, y, w, b), X, w)


def _coarse(bits: int) -> Any:
    """Round to ``bits`` binary digits, as TF32 (11) and bfloat16 (8) do to the factors of a product."""

    def rounded(values: Array) -> Array:
        mantissa, exponent = np.frexp(values)
        return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits), dtype=values.dtype)

    return rounded


def _product_in(kind: Any) -> Any:
    """The gradient from residuals and examples that were rounded by ``kind`` first."""

    def change(backend: Any, g: Weights, seen: tuple[Array, ...], _: float) -> Weights:
        w, b, X, y = seen
        return _by_formula(backend, g, kind(residuals(X, y, w, b)), kind(X), w)

    return wrong_gradient(change)


add("float32-inside", "gradient", "the gradient is computed in float32, whatever the dtype")(
    wrong_gradient(_in_float32)
)
add("tf32-product", "gradient", "the matrix product rounds its factors to 11 bits, as TF32")(_product_in(_coarse(11)))
add("bfloat16-product", "gradient", "the matrix product rounds its factors to 8 bits, as bfloat16")(
    _product_in(_coarse(8))
)


def _clipped(backend: Any, g: Weights, seen: tuple[Array, ...], size: float) -> Weights:
    """BCELoss's clamped logarithm: where -log p is beyond the clamp, the example contributes no gradient."""
    w, b, X, y = seen
    r = residuals(X, y, w, b)
    s = (1 - 2 * y) * (X @ w + b)
    lost = np.where(s > 100 / size, r, 0)
    return Weights(
        remake(backend, g.w, lambda v: v - lost @ X / len(y)), remake(backend, g.b, lambda v: v - lost.mean())
    )


add("logarithm-clipped", "gradient", "an example whose loss exceeds 100/size has no gradient", 100.0, 20.0, 1.0)(
    wrong_gradient(_clipped)
)


def _clip_probability(backend: Any, g: Weights, seen: tuple[Array, ...], size: float) -> Weights:
    """p is kept in [size, 1 - size], so that its derivative is 0 outside."""
    w, b, X, y = seen
    r = residuals(X, y, w, b)
    lost = np.where((r + y < size) | (r + y > 1 - size), r, 0)
    return Weights(
        remake(backend, g.w, lambda v: v - lost @ X / len(y)), remake(backend, g.b, lambda v: v - lost.mean())
    )


add("probability-clipped", "gradient", "probabilities are kept in [size, 1 - size]", 1e-1, 1e-3, 1e-7, 1e-12)(
    wrong_gradient(_clip_probability)
)
add("small-flushed-to-zero", "gradient", "components below size are flushed to 0", 1e-2, 1e-4, 1e-6)(
    wrong_gradient(lambda backend, g, _, size: each(backend, g, lambda v: np.where(np.abs(v) < size, 0, v)))
)


@add("gradient-stale", "gradient", "the gradient of the call before")
def _stale(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    class Stale(base):  # type: ignore[misc]  # a class that is only known at run time
        before: Any = None

        def backward(self, tape: Any) -> Weights:
            right = super().backward(tape)
            current = [read(self, tensor) for tensor in right]
            before, self.before = self.before, current
            return Weights(*right) if before is None else Weights(*(self.make_tensor(value) for value in before))

    return Stale


@add("gradient-accumulated", "gradient", "the share size of every gradient before is added", 1.0, 1e-3, 1e-6, 1e-9)
def _accumulated(base: Base, size: float) -> type[Backend]:
    """With size 1, the effect of PyTorch's `.grad` where it is not cleared."""

    class Accumulated(base):  # type: ignore[misc]  # a class that is only known at run time
        total: Any = (0.0, 0.0)

        def backward(self, tape: Any) -> Weights:
            right = [read(self, tensor) for tensor in super().backward(tape)]
            pairs = list(zip(right, self.total, strict=True))
            self.total = [total + size * part for part, total in pairs]
            return Weights(*(self.make_tensor(np.asarray(part + total, part.dtype)) for part, total in pairs))

    return Accumulated


@add("nan-late", "gradient", "the gradient is NaN after size calls", 1000.0, 100.0, 3.0)
def _late(base: Base, size: float) -> type[Backend]:
    class Late(base):  # type: ignore[misc]  # a class that is only known at run time
        calls = 0

        def backward(self, tape: Any) -> Weights:
            self.calls += 1
            right = super().backward(tape)
            return each(self, right, lambda v: v * np.nan) if self.calls > size else right

    return Late


@add("gradient-of-zero-weights", "gradient", "the gradient at (1 - size) times the weights", 1.0, 1e-3, 1e-6, 1e-9)
def _elsewhere(base: Base, size: float) -> type[Backend]:
    class Elsewhere(base):  # type: ignore[misc]  # a class that is only known at run time
        def prepare(self, setting: Setting) -> None:
            super().prepare(setting)

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            loss, _ = super().forward(weights, batch)
            moved = each(self, weights, lambda v: v * (1 - size), requires_grad=True)
            return loss, super().forward(moved, batch)[1]

    return Elsewhere
