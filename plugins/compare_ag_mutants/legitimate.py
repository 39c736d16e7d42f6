"""Legitimate ways to compute the same thing differently: none may be accused.

Each variant replaces one ingredient of the textbook program (the sum, the logits, the sigmoid, the loss, the gradient's
product, the update) by an equally valid one. They compute in numpy, in the tested dtype, between the base's tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from compare_ag import Backend, Batch, Setting, Weights
from compare_ag_mutants.tools import Array, Base, Collection, read

collection = Collection()


class Recipe:
    """The ingredients of one step on arrays; every method may be replaced."""

    def total(self, values: Array) -> Any:
        """Σ values."""
        return values.sum()

    def mean(self, values: Array) -> Any:
        """Σ values / n."""
        return self.total(values) / len(values)

    def logits(self, X: Array, w: Array, b: Array) -> Array:
        """X w + b."""
        return np.asarray(X @ w + b)

    def sigmoid(self, z: Array) -> Array:
        """σ(z)."""
        decay = np.exp(-np.abs(z))
        return np.asarray(np.where(z >= 0, 1, decay) / (1 + decay))

    def losses(self, z: Array, y: Array) -> Array:
        """softplus((1 - 2y) z)."""
        s = (1 - 2 * y) * z
        return np.asarray(np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))))

    def slope(self, X: Array, r: Array) -> Array:
        """Xᵀr / n."""
        return np.asarray(X.T @ r / len(r))

    def update(self, value: Array, slope: Array, rate: float) -> Array:
        """value - rate · slope."""
        return np.asarray(value - rate * slope)

    def penalty(self, w: Array, l2: float) -> Any:
        """½ l2 ‖w‖²."""
        return l2 / 2 * (w @ w)


def _probability_losses(z: Array, y: Array) -> tuple[Array, Array]:
    """The other form of the loss is followed literally: p is 1/(1 + exp(-z))."""
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)), p


def variant(name: str, part: Any, meaning: str) -> Callable[[type[Recipe]], type[Recipe]]:
    """Offer a recipe as a legitimate mutant."""

    def keep(recipe: type[Recipe]) -> type[Recipe]:
        @collection.add(name, part, meaning, legitimate=True)
        def make(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
            return _cooked(base, recipe())

        return recipe

    return keep


def _cooked(base: Base, recipe: Recipe) -> type[Backend]:
    class Cooked(base):  # type: ignore[misc]  # a class that is only known at run time
        def prepare(self, setting: Setting) -> None:
            self.setting = setting
            super().prepare(setting)

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            w, b, X, y = (read(self, tensor) for tensor in (*weights, *batch))
            kind, l2 = w.dtype.type, self.setting.l2
            with np.errstate(all="ignore"):
                z = recipe.logits(X, w, b)
                if self.setting.loss == "logits":
                    losses, p = recipe.losses(z, y), recipe.sigmoid(z)
                else:
                    losses, p = _probability_losses(z, y)
                loss = recipe.mean(losses) + recipe.penalty(w, l2)
                r = p - y
                gradient = recipe.slope(X, r) + kind(l2) * w, recipe.mean(r)
            return self.make_tensor(np.asarray(loss, w.dtype)), [np.asarray(v, w.dtype) for v in gradient]

        def backward(self, tape: Any) -> Weights:
            return Weights(*(self.make_tensor(value) for value in tape))

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            pairs = zip(weights, gradient, strict=True)
            values = (recipe.update(read(self, v), read(self, g), learning_rate) for v, g in pairs)
            return Weights(*(self.make_tensor(np.asarray(v, self.setting.dtype), requires_grad=True) for v in values))

    return Cooked


# --- the order of a sum


@variant("sum-reversed", "gradient", "sums the examples from the last to the first")
class Reversed(Recipe):
    def total(self, values: Array) -> Any:
        return values[::-1].cumsum()[-1]

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray((X[::-1] * r[::-1, None]).cumsum(axis=0)[-1] / len(r))


@variant("sum-one-by-one", "gradient", "adds one example after the other")
class OneByOne(Recipe):
    def total(self, values: Array) -> Any:
        return values.cumsum()[-1]

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray((X * r[:, None]).cumsum(axis=0)[-1] / len(r))


@variant("sum-pairwise", "gradient", "sums halves of halves")
class Pairwise(Recipe):
    def total(self, values: Array) -> Any:
        return values[0] if len(values) == 1 else self.total(values[::2]) + (self.total(values[1::2]))

    def slope(self, X: Array, r: Array) -> Array:
        return np.array([self.total(column * r) for column in X.T], X.dtype) / len(r)


@variant("sum-sorted", "gradient", "sums from the smallest to the largest magnitude")
class Sorted(Recipe):
    def total(self, values: Array) -> Any:
        return values[np.argsort(np.abs(values))].cumsum()[-1]

    def slope(self, X: Array, r: Array) -> Array:
        return np.array([self.total(column * r) for column in X.T], X.dtype) / len(r)


@variant("sum-in-blocks", "gradient", "sums blocks of seven first")
class Blocks(Recipe):
    def total(self, values: Array) -> Any:
        return np.add.reduceat(values, np.arange(0, len(values), 7)).sum()

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(np.add.reduceat(X * r[:, None], np.arange(0, len(r), 7)).sum(axis=0) / len(r))


@variant("sum-compensated", "gradient", "Kahan's sum, which carries its own rounding errors along")
class Kahan(Recipe):
    def total(self, values: Array) -> Any:
        total = lost = values.dtype.type(0)
        for value in values:
            corrected = value - lost
            new = total + corrected
            lost, total = (new - total) - corrected, new
        return total


@variant("sum-exact", "gradient", "math.fsum: the exact sum, rounded once")
class Fsum(Recipe):
    def total(self, values: Array) -> Any:
        return values.dtype.type(math.fsum(values.tolist()))

    def slope(self, X: Array, r: Array) -> Array:
        return np.array([self.total(column * r) for column in X.T], X.dtype) / len(r)


@variant("sum-in-float64", "gradient", "accumulates in float64, rounds at the end")
class Wide(Recipe):
    def total(self, values: Array) -> Any:
        return values.dtype.type(values.sum(dtype=np.float64))

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray((X.T.astype(np.float64) @ r / len(r)).astype(X.dtype))


# --- products


@variant("mean-first", "gradient", "divides every residual by n, then sums")
class MeanFirst(Recipe):
    def mean(self, values: Array) -> Any:
        return self.total(values / len(values))

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(X.T @ (r / len(r)))


@variant("mean-by-reciprocal", "gradient", "multiplies by a rounded 1/n")
class Reciprocal(Recipe):
    def mean(self, values: Array) -> Any:
        return self.total(values) * values.dtype.type(1 / len(values))

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray((X.T @ r) * r.dtype.type(1 / len(r)))


@variant("row-times-matrix", "gradient", "r X instead of Xᵀ r")
class RowTimes(Recipe):
    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(r @ X / len(r))


@variant("einsum", "gradient", "all products by einsum")
class Einsum(Recipe):
    def logits(self, X: Array, w: Array, b: Array) -> Array:
        return np.asarray(np.einsum("ij,j->i", X, w) + b)

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(np.einsum("ij,i->j", X, r) / len(r))


@variant("fortran-order", "gradient", "a column-major copy of X, for which BLAS takes another path")
class Fortran(Recipe):
    def logits(self, X: Array, w: Array, b: Array) -> Array:
        return np.asarray(np.asfortranarray(X) @ w + b)

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(np.ascontiguousarray(X.T) @ r / len(r))


@variant("augmented-matrix", "gradient", "b is the last weight of a column of ones")
class Augmented(Recipe):
    def logits(self, X: Array, w: Array, b: Array) -> Array:
        return np.asarray(np.column_stack([X, np.ones_like(X[:, 0])]) @ np.append(w, b))


@variant("bias-first", "gradient", "the sum of the logits begins with b")
class BiasFirst(Recipe):
    def logits(self, X: Array, w: Array, b: Array) -> Array:
        z = np.full(len(X), b)
        for j in range(len(w)):
            z = z + X[:, j] * w[j]
        return z


@variant("column-by-column", "gradient", "one dot product for each component")
class Columns(Recipe):
    def slope(self, X: Array, r: Array) -> Array:
        return np.array([np.dot(np.ascontiguousarray(column), r) for column in X.T], X.dtype) / len(r)


# --- formulas


@variant("sigmoid-tanh", "gradient", "σ(z) = ½ + ½ tanh(z/2)")
class Tanh(Recipe):
    def sigmoid(self, z: Array) -> Array:
        return np.asarray((1 + np.tanh(z / 2)) / 2)


@variant("sigmoid-plain", "gradient", "σ(z) = 1/(1 + exp(-z)), without a branch")
class Plain(Recipe):
    def sigmoid(self, z: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-z)))


@variant("sigmoid-logaddexp", "gradient", "σ(z) = exp(-log(1 + exp(-z)))")
class ByLogarithm(Recipe):
    def sigmoid(self, z: Array) -> Array:
        return np.asarray(np.exp(-np.logaddexp(np.zeros_like(z), -z)))


@variant("sigmoid-expm1", "gradient", "σ(z) = ½ (2 + expm1(z)) / … by expm1")
class ByExpm1(Recipe):
    def sigmoid(self, z: Array) -> Array:
        grown = np.expm1(-np.abs(z))
        return np.asarray(np.where(z >= 0, 1, 1 + grown) / (2 + grown))


@variant("loss-logaddexp", "loss", "log(1 + exp z) - y z, which cancels")
class LogAddExp(Recipe):
    def losses(self, z: Array, y: Array) -> Array:
        return np.asarray(np.logaddexp(np.zeros_like(z), z) - y * z)


@variant("loss-softplus-of-margin", "loss", "logaddexp(0, -margin)")
class Margin(Recipe):
    def losses(self, z: Array, y: Array) -> Array:
        return np.asarray(np.logaddexp(np.zeros_like(z), -(2 * y - 1) * z))


@variant("loss-max-form", "loss", "max(z, 0) - y z + log1p(exp(-|z|))")
class MaxForm(Recipe):
    def losses(self, z: Array, y: Array) -> Array:
        return np.asarray(np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z))))


@variant("penalty-as-norm", "loss", "½ l2 (‖w‖)² by the norm")
class NormPenalty(Recipe):
    def penalty(self, w: Array, l2: float) -> Any:
        return l2 / 2 * np.linalg.norm(w) ** 2


@variant("update-fused", "update", "value - rate · slope with one rounding, as a fused multiply-add")
class FusedUpdate(Recipe):
    def update(self, value: Array, slope: Array, rate: float) -> Array:
        wide = value.astype(np.longdouble) - np.longdouble(rate) * slope
        return np.asarray(wide.astype(value.dtype))


@variant("update-added", "update", "value + (-rate) · slope")
class Added(Recipe):
    def update(self, value: Array, slope: Array, rate: float) -> Array:
        return np.asarray((-rate) * slope + value)


@collection.add("own-step", "update", "a fused step of its own that does the same", legitimate=True)
def own_step(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    """`step` overridden, as compilers do."""

    class OwnStep(base):  # type: ignore[misc]  # a class that is only known at run time
        def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
            loss, tape = self.forward(weights, batch)
            return loss, self.update(weights, self.backward(tape), learning_rate)

    return OwnStep
