"""Legitimate ways to compute the same numbers differently, none of which may be reported as wrong.

Each variant replaces one ingredient of the textbook program (the sum, the logits, the sigmoid, the loss, the gradient's
product, the update) by an equally valid one. They compute in numpy, in the tested dtype, between the base's tensors.
The variants of the last section leave the computation to the base and change its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from compare_ag import Backend, Batch, Setting, Weights
from compare_ag_mutants.tools import Array, Base, Collection, read, remake

collection = Collection()


class Recipe:
    """The ingredients of one step on arrays; every method may be replaced."""

    literal: ClassVar[bool] = True
    """the sigmoid rounds p no worse than 1/(1 + exp(-z)): a condition for its use in the probability form"""

    def evaluate(self, w: Array, b: Array, X: Array, y: Array, setting: Setting) -> tuple[Any, Array, Any]:
        """f () and its gradient, w (d,) and b ()."""
        losses, r = self.examples(self.logits(X, w, b), y, setting.loss)
        slope, slope_b = self.slopes(X, r)
        return self.mean(losses) + self.penalty(w, setting.l2), slope + setting.l2 * w, slope_b

    def examples(self, z: Array, y: Array, form: str) -> tuple[Array, Array]:
        """ℓ(z, y) and r = dℓ/dz = σ(z) - y, each (n,)."""
        if form == "logits":
            return self.losses(z, y), self.sigmoid(z) - y
        p = self.sigmoid(z) if self.literal else Recipe.sigmoid(self, z)
        return self.likelihood(p, y), p - y

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

    def likelihood(self, p: Array, y: Array) -> Array:
        """-y log p - (1 - y) log(1 - p), the other form of the loss, as it is written."""
        return np.asarray(-(y * np.log(p) + (1 - y) * np.log(1 - p)))

    def slope(self, X: Array, r: Array) -> Array:
        """Xᵀr / n."""
        return np.asarray(X.T @ r / len(r))

    def slopes(self, X: Array, r: Array) -> tuple[Array, Any]:
        """Xᵀr / n (d,) and Σ r / n."""
        return self.slope(X, r), self.mean(r)

    def update(self, value: Array, slope: Array, rate: float) -> Array:
        """value - rate · slope."""
        return np.asarray(value - rate * slope)

    def penalty(self, w: Array, l2: float) -> Any:
        """½ l2 ‖w‖²."""
        return l2 / 2 * (w @ w)


def variant(name: str, part: Any, meaning: str) -> Callable[[type[Recipe]], type[Recipe]]:
    """Offer a recipe as a legitimate mutant."""

    def keep(recipe: type[Recipe]) -> type[Recipe]:
        @collection.add(name, part, meaning, legitimate=True)
        def make(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
            return _backend_of(base, recipe())

        return recipe

    return keep


def _backend_of(base: Base, recipe: Recipe) -> type[Backend]:
    class Cooked(base):  # type: ignore[misc]  # a class that is only known at run time
        def prepare(self, setting: Setting) -> None:
            self.setting = setting
            super().prepare(setting)

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            w, b, X, y = (read(self, tensor) for tensor in (*weights, *batch))
            with np.errstate(all="ignore"):
                loss, *gradient = recipe.evaluate(w, b, X, y, self.setting)
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
class InBlocks(Recipe):
    def total(self, values: Array) -> Any:
        return np.add.reduceat(values, np.arange(0, len(values), 7)).sum()

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(np.add.reduceat(X * r[:, None], np.arange(0, len(r), 7)).sum(axis=0) / len(r))


@variant("sum-compensated", "gradient", "Kahan's sum, which carries its own rounding errors along")
class Kahan(Recipe):
    def total(self, values: Array) -> Any:
        total = lost = np.zeros_like(values[0])
        for value in values:
            corrected = value - lost
            new = total + corrected
            lost, total = (new - total) - corrected, new
        return total

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(self.total(X * r[:, None]) / len(r))


@variant("sum-exact", "gradient", "math.fsum: the exact sum, rounded once")
class Fsum(Recipe):
    def total(self, values: Array) -> Any:
        return values.dtype.type(math.fsum(values.tolist()))

    def slope(self, X: Array, r: Array) -> Array:
        return np.array([self.total(column * r) for column in X.T], X.dtype) / len(r)


@variant("sum-in-long-double", "gradient", "accumulates in the widest format, rounds at the end")
class Wide(Recipe):
    def total(self, values: Array) -> Any:
        return values.dtype.type(values.sum(dtype=np.longdouble))

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray((X.T.astype(np.longdouble) @ r / len(r)).astype(X.dtype))


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
    def augmented(self, X: Array) -> Array:
        """(X, 1)."""
        return np.column_stack([X, np.ones_like(X[:, 0])])

    def logits(self, X: Array, w: Array, b: Array) -> Array:
        return np.asarray(self.augmented(X) @ np.append(w, b))

    def slopes(self, X: Array, r: Array) -> tuple[Array, Any]:
        both = self.augmented(X).T @ r / len(r)
        return both[:-1], both[-1]


@variant("bias-first", "gradient", "the sum of the logits begins with b")
class BiasFirst(Recipe):
    def logits(self, X: Array, w: Array, b: Array) -> Array:
        z = np.full(len(X), b)
        for j in range(len(w)):
            z = z + X[:, j] * w[j]
        return z


@variant("column-by-column", "gradient", "one dot product for each component")
class ByColumns(Recipe):
    def slope(self, X: Array, r: Array) -> Array:
        return np.array([np.dot(np.ascontiguousarray(column), r) for column in X.T], X.dtype) / len(r)


@variant("rows-padded", "gradient", "the last example repeated to fill three more rows, which count for nothing")
class Padded(Recipe):
    padding = 3

    def evaluate(self, w: Array, b: Array, X: Array, y: Array, setting: Setting) -> tuple[Any, Array, Any]:
        rows = np.minimum(np.arange(len(y) + self.padding), len(y) - 1)
        return super().evaluate(w, b, X[rows], y[rows], setting)

    def counted(self, values: Array) -> Array:
        """0 for the padding: chosen, not multiplied, so that an infinity in it cannot spoil a sum."""
        return np.where(np.arange(len(values)) < len(values) - self.padding, values, 0).astype(values.dtype)

    def mean(self, values: Array) -> Any:
        return self.total(self.counted(values)) / (len(values) - self.padding)

    def slope(self, X: Array, r: Array) -> Array:
        return np.asarray(X.T @ self.counted(r) / (len(r) - self.padding))


# --- formulas


@variant("sign-folded", "gradient", "the sign of each margin is folded into its row: no label is left in the formulas")
class Folded(Recipe):
    """With s = (1 - 2y) z the label's own probability is σ(-s), and dℓ/ds = σ(s): neither cancels."""

    def evaluate(self, w: Array, b: Array, X: Array, y: Array, setting: Setting) -> tuple[Any, Array, Any]:
        sign = 1 - 2 * y
        folded = X * sign[:, None]
        losses, r = self.examples(folded @ w + sign * b, np.zeros_like(y), setting.loss)
        gradient = self.slope(folded, r) + setting.l2 * w
        return self.mean(losses) + self.penalty(w, setting.l2), gradient, self.mean(sign * r)

    def examples(self, z: Array, y: Array, form: str) -> tuple[Array, Array]:
        losses = self.losses(z, y) if form == "logits" else -np.log(self.sigmoid(-z))
        return losses, self.sigmoid(z)


@variant("chain-rule", "gradient", "dℓ/dp · dp/dz, and exp(s - softplus(s)) for σ(s), as tools differentiate")
class ChainRule(Recipe):
    def examples(self, z: Array, y: Array, form: str) -> tuple[Array, Array]:
        if form == "logits":
            sign = 1 - 2 * y
            losses = self.losses(z, y)
            return losses, sign * np.exp(sign * z - losses)
        p = self.sigmoid(z)
        return self.likelihood(p, y), ((1 - y) / (1 - p) - y / p) * (p * (1 - p))


@variant("sigmoid-tanh", "gradient", "σ(z) = ½ + ½ tanh(z/2)")
class Tanh(Recipe):
    literal = False

    def sigmoid(self, z: Array) -> Array:
        return np.asarray((1 + np.tanh(z / 2)) / 2)


@variant("sigmoid-plain", "gradient", "σ(z) = 1/(1 + exp(-z)), without a branch")
class Plain(Recipe):
    def sigmoid(self, z: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-z)))


@variant("sigmoid-logaddexp", "gradient", "σ(z) = exp(-log(1 + exp(-z)))")
class ByLogarithm(Recipe):
    literal = False

    def sigmoid(self, z: Array) -> Array:
        return np.asarray(np.exp(-np.logaddexp(np.zeros_like(z), -z)))


@variant("sigmoid-expm1", "gradient", "σ(z) = 1/(2 + e) or (1 + e)/(2 + e) with e = expm1(-|z|)")
class ByExpm1(Recipe):
    literal = False

    def sigmoid(self, z: Array) -> Array:
        grown = np.expm1(-np.abs(z))
        return np.asarray(np.where(z >= 0, 1, 1 + grown) / (2 + grown))


@variant("loss-logaddexp", "loss", "log(1 + exp z) - y z, which cancels; log1p(-p) for log(1 - p)")
class LogAddExp(Recipe):
    def losses(self, z: Array, y: Array) -> Array:
        return np.asarray(np.logaddexp(np.zeros_like(z), z) - y * z)

    def likelihood(self, p: Array, y: Array) -> Array:
        return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


@variant("loss-softplus-of-margin", "loss", "logaddexp(0, -margin), or -log σ(margin)")
class Margin(Recipe):
    def losses(self, z: Array, y: Array) -> Array:
        return np.asarray(np.logaddexp(np.zeros_like(z), -(2 * y - 1) * z))

    def examples(self, z: Array, y: Array, form: str) -> tuple[Array, Array]:
        losses, r = super().examples(z, y, form)
        return (losses if form == "logits" else -np.log(self.sigmoid((2 * y - 1) * z))), r


@variant("loss-max-form", "loss", "(1 - y) z + m + log(exp(-m) + exp(-z - m)) with m = max(-z, 0); log2 by ln 2")
class MaxForm(Recipe):
    def losses(self, z: Array, y: Array) -> Array:
        m = np.maximum(-z, 0)
        return np.asarray((1 - y) * z + m + np.log(np.exp(-m) + np.exp(-z - m)))

    def likelihood(self, p: Array, y: Array) -> Array:
        return np.asarray(-(y * np.log2(p) + (1 - y) * np.log2(1 - p)) * math.log(2))


@variant("penalty-as-norm", "loss", "½ l2 (‖w‖)² by the norm")
class NormPenalty(Recipe):
    def penalty(self, w: Array, l2: float) -> Any:
        return l2 / 2 * np.linalg.norm(w) ** 2


@variant("update-fused", "update", "value - rate · slope with one rounding, as a fused multiply-add")
class FusedUpdate(Recipe):
    def update(self, value: Array, slope: Array, rate: float) -> Array:
        wide = value.astype(np.longdouble) - np.longdouble(rate) * slope
        return np.asarray(wide.astype(value.dtype))


@variant("update-divided", "update", "value - slope / (1/rate)")
class Divided(Recipe):
    def update(self, value: Array, slope: Array, rate: float) -> Array:
        return np.asarray(value - slope / (1 / rate))


# --- around the base's own computation


@collection.add("own-step", "update", "a step of its own: one formula that uses no other verb", legitimate=True)
def own_step(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    """`step` overridden, as compilers do; the verbs are the base's."""
    recipe = ChainRule()

    class FusedStep(base):  # type: ignore[misc]  # a class that is only known at run time
        def prepare(self, setting: Setting) -> None:
            self.setting = setting
            super().prepare(setting)

        def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
            w, b, X, y = (read(self, tensor) for tensor in (*weights, *batch))
            with np.errstate(all="ignore"):
                loss, slope, slope_b = recipe.evaluate(w, b, X, y, self.setting)
                moved = w - learning_rate * slope, b - learning_rate * slope_b
            make = self.make_tensor
            following = Weights(*(make(np.asarray(v, w.dtype), requires_grad=True) for v in moved))
            return make(np.asarray(loss, w.dtype)), following

    return FusedStep


class Kept:
    """Weights, or their gradient, in a wider format than the tested dtype, with the tensor that the base receives."""

    def __init__(self, values: Array, tensor: Any) -> None:
        self.values = values
        self.tensor = tensor


def _wider(base: Base) -> Base:
    """Keeps tensors that require a gradient in float64 in a float32 run, in long double in a float64 run.

    Arguments of the base's verbs, and values that are read, are rounded to the tested dtype.
    """

    class Wider(base):  # type: ignore[misc]  # a class that is only known at run time
        def prepare(self, setting: Setting) -> None:
            self.setting = setting
            self.wide: Any = np.float64 if setting.dtype == "float32" else np.longdouble
            super().prepare(setting)

        def keep(self, values: Any) -> Kept:
            """The values with a tensor of the base beside them."""
            rounded = np.asarray(values, self.setting.dtype)
            return Kept(np.asarray(values, self.wide), super().make_tensor(rounded, requires_grad=True))

        def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Any:
            return self.keep(array.copy()) if requires_grad else super().make_tensor(array)

        def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
            slopes = (g.values if isinstance(g, Kept) else read(self, g) for g in gradient)
            rate = self.wide(learning_rate)
            with np.errstate(all="ignore"):
                return Weights(*(self.keep(v.values - rate * g) for v, g in zip(weights, slopes, strict=True)))

        def to_numpy(self, tensor: Any) -> Any:
            return super().to_numpy(tensor.tensor if isinstance(tensor, Kept) else tensor)

        def synchronize(self, *tensors: Any) -> None:
            super().synchronize(*(t.tensor if isinstance(t, Kept) else t for t in tensors))

        def graph(self, weights: Weights, batch: Batch) -> Any:
            return super().graph(Weights(*(v.tensor for v in weights)), batch)

        step = Backend.step

    return Wider


@collection.add("weights-kept-wider", "update", "float64 weights in a float32 run, rounded to be used", legitimate=True)
def weights_kept_wider(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    """The base's forward and backward at the rounded weights, as training in mixed precision does it."""

    class Master(_wider(base)):  # type: ignore[misc]  # a class that is only known at run time
        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            loss, tape = super().forward(Weights(*(v.tensor for v in weights)), batch)
            return loss, tape

    return Master


@collection.add("all-kept-wider", "update", "computes in a wider format, rounds what is read", legitimate=True)
def all_kept_wider(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    """The textbook's step in the wider format; no verb of the base computes."""
    recipe = Recipe()

    class Wide(_wider(base)):  # type: ignore[misc]  # a class that is only known at run time
        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            X, y = (read(self, tensor).astype(self.wide) for tensor in batch)
            with np.errstate(all="ignore"):
                loss, *gradient = recipe.evaluate(weights.w.values, weights.b.values, X, y, self.setting)
            return self.make_tensor(np.asarray(loss, self.setting.dtype)), gradient

        def backward(self, tape: Any) -> Weights:
            return Weights(*(self.keep(value) for value in tape))

    return Wide


def _rows(backend: Backend, batch: Batch, order: Array) -> Batch:
    """The same examples in another order."""
    return Batch(*(backend.make_tensor(read(backend, tensor)[order]) for tensor in batch))


@collection.add("rows-permuted", "gradient", "the base's own kernels on shuffled examples", legitimate=True)
def rows_permuted(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    """Always the same shuffle of as many rows."""

    class Permuted(base):  # type: ignore[misc]  # a class that is only known at run time
        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            n = len(read(self, batch.y))
            loss, tape = super().forward(weights, _rows(self, batch, np.random.default_rng(n).permutation(n)))
            return loss, tape

    return Permuted


@collection.add("averaged", "gradient", "the base's answers for both orders of the examples, averaged", legitimate=True)
def averaged(base: Base, size: float) -> type[Backend]:  # noqa: ARG001 - a mutation has a size
    """Computed twice, as replicas do."""

    class Averaged(base):  # type: ignore[misc]  # a class that is only known at run time
        def average(self, forwards: Any, backwards: Any) -> Any:
            return remake(self, forwards, lambda value: (value + read(self, backwards)) / 2)

        def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
            there, tape = super().forward(weights, batch)
            order = np.arange(len(read(self, batch.y)))[::-1]
            back, backward_tape = super().forward(weights, _rows(self, batch, order))
            return self.average(there, back), (tape, backward_tape)

        def backward(self, tape: Any) -> Weights:
            there, back = super().backward(tape[0]), super().backward(tape[1])
            return Weights(*map(self.average, there, back))

    return Averaged


@collection.add("slowed", "loss", "`size` turns of an empty loop before each forward", 16.0, legitimate=True)
def slowed(base: Base, size: float) -> type[Backend]:
    """The same numbers, later: a slowdown of known size, to test whether timing finds it.

    A whole step is the contract's with the loop written into it: a wrapper around `forward` would be one call more,
    which alone is 3 % of a step on four examples, more than the slowdown to be planted.
    """
    turns = int(size)
    forward = base.forward

    def late_forward(self: Backend, weights: Weights, batch: Batch) -> Any:
        for _ in range(turns):
            pass
        return forward(self, weights, batch)

    def late_step(self: Backend, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        for _ in range(turns):
            pass
        loss, tape = forward(self, weights, batch)
        return loss, self.update(weights, self.backward(tape), learning_rate)

    def late_own_step(self: Backend, weights: Weights, batch: Batch, learning_rate: float) -> Any:
        for _ in range(turns):
            pass
        return base.step(self, weights, batch, learning_rate)

    step = late_step if base.step is Backend.step else late_own_step
    return type("Slowed", (base,), {"forward": late_forward, "step": step})
