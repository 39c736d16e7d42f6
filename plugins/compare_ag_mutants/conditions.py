"""Mistakes that act under a condition only: at some logits, in some shapes, with two threads, in some of the calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from compare_ag import Backend, Setting, Weights
from compare_ag_mutants.tools import Array, Base, Collection, Make, each, remake, wrong_gradient, wrong_loss

collection = Collection()
add = collection.add

CLIPS = (1e-4, 1e-7, 1e-12, 1e-15)
"""bounds that programs use to keep probabilities away from 0 and 1: Keras has 1e-7"""

# --- some logits


Rule: TypeAlias = Callable[[Array, Array, float], tuple[Array, Array]]
"""(z (n,), y (n,), size) -> the loss (n,) and the residual dℓ/dz (n,) of each example"""


def _wrong_examples(rule: Rule) -> Make:
    """A mutation that takes each example's loss and residual from a rule.

    Both loss and gradient are changed by the difference from the right values; without a difference they are unchanged.
    """

    def change_gradient(backend: Any, gradient: Weights, seen: tuple[Array, ...], size: float) -> Weights:
        z, X, y = _logits(seen), seen[2], seen[3]
        change = _beyond_rounding(rule(z, y, size)[1] - _residuals(z, y), np.ones_like(z))
        return Weights(
            remake(backend, gradient.w, lambda v: v + change @ X / len(y)),
            remake(backend, gradient.b, lambda v: v + change.mean()),
        )

    def make(base: Base, size: float) -> type[Backend]:
        return wrong_loss(_change_losses(rule))(wrong_gradient(change_gradient)(base, size), size)

    return make


def _change_losses(rule: Rule) -> Callable[[Array, tuple[Array, ...], Setting, float], Any]:
    """A change for `wrong_loss`: the right loss plus the mean of the examples' changes."""

    def change_loss(loss: Array, seen: tuple[Array, ...], _: Setting, size: float) -> Any:
        z, y = _logits(seen), seen[3]
        return loss + _beyond_rounding(rule(z, y, size)[0] - _losses(z, y), _losses(z, y)).mean()

    return change_loss


def _beyond_rounding(change: Array, size: Array) -> Array:
    """The change (n,) of numbers of this size (n,), 0 where it is no more than rounding in the rule's own formula."""
    return np.where(np.abs(change) <= 16 * np.finfo(change.dtype).eps * (1 + size), 0, change)


def _losses(z: Array, y: Array) -> Array:
    """softplus((1 - 2y) z), (n,)."""
    s = (1 - 2 * y) * z
    return np.asarray(np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))))


def _residuals(z: Array, y: Array) -> Array:
    """σ(z) - y (n,) by the formula that does not cancel."""
    s = (1 - 2 * y) * z
    decay = np.exp(-np.abs(s))
    return np.asarray((1 - 2 * y) * np.where(s >= 0, 1, decay) / (1 + decay))


def _clip(z: Array, y: Array, size: float) -> tuple[Array, Array]:
    """p is kept in [size, 1 - size], in whichever precision: beyond, the loss is constant and its slope 0."""
    limit = np.log1p(-size) - np.log(size)  # the logit of 1 - size
    clipped = np.clip(z, -limit, limit).astype(z.dtype)
    return _losses(clipped, y), np.where(clipped == z, _residuals(z, y), 0)


def _clamp(z: Array, y: Array, size: float) -> tuple[Array, Array]:
    """Logarithms are kept above -100/size, as BCELoss does: beyond, the loss is constant and its slope 0."""
    losses = _losses(z, y)
    limit = z.dtype.type(100 / size)
    return np.minimum(losses, limit), np.where(losses > limit, 0, _residuals(z, y))


def _threshold(z: Array, y: Array, size: float) -> tuple[Array, Array]:
    """softplus(s) is s, with slope 1, where s exceeds 100/size, as torch's softplus with its threshold of 20."""
    s = (1 - 2 * y) * z
    beyond = s > 100 / size
    return np.where(beyond, s, _losses(z, y)), np.where(beyond, 1 - 2 * y, _residuals(z, y))


add("form-clipped", "loss", "in the probability form p is kept in [size, 1 - size]", *CLIPS, shows_in="probability")(
    _wrong_examples(_clip)
)
add("form-clipped-in-the-loss", "loss", "the same in the loss alone, as Keras does", *CLIPS, shows_in="probability")(
    wrong_loss(_change_losses(_clip))
)
add(
    "form-clamped",
    "loss",
    "in the probability form logarithms are kept above -100/size",
    5.0,
    1.0,
    shows_in="probability",
)(_wrong_examples(_clamp))
add("softplus-threshold", "loss", "softplus(s) is s where s exceeds 100/size", 20.0, 8.0, 5.0, 3.3)(
    _wrong_examples(_threshold)
)


def _logits(seen: tuple[Array, ...]) -> Array:
    w, b, X, _ = seen
    return np.asarray(X @ w + b)


def _loss_by_tanh(loss: Array, seen: tuple[Array, ...], _: Setting, __: float) -> Any:
    """p = (1 + tanh(z/2))/2 is accurate to an absolute error only: for negative z its digits are lost."""
    z, y = _logits(seen), seen[3]
    p = (1 + np.tanh(z / 2)) / 2
    with np.errstate(all="ignore"):
        return loss + (np.where(y > 0, -np.log(p), -np.log(1 - p)) - _losses(z, y)).mean()


add("sigmoid-by-tanh", "loss", "the probability is (1 + tanh(z/2))/2", shows_in="probability")(
    wrong_loss(_loss_by_tanh)
)


def _dead_branch(backend: Any, g: Weights, seen: tuple[Array, ...], size: float) -> Weights:
    """0 · ∞ from the branch of a `where` that was not taken: NaN where exp(size s) overflows, s = (1 - 2y) z."""
    s = (1 - 2 * seen[3]) * _logits(seen) * size
    overflows = bool((s > np.log(np.finfo(s.dtype).max)).any())
    return each(backend, g, lambda v: v * np.nan) if overflows else g


add(
    "dead-branch", "gradient", "the gradient is NaN where exp(size s) overflows in a branch that is not taken", 2.0, 1.0
)(wrong_gradient(_dead_branch))

# --- some shapes and thread counts


def _scaled_if(condition: Callable[[Any, tuple[Array, ...]], bool]) -> Make:
    """A mutation whose gradient of w is too large by the factor 1 + size where a condition holds."""

    def change(backend: Any, g: Weights, seen: tuple[Array, ...], size: float) -> Weights:
        return Weights(remake(backend, g.w, lambda v: v * (1 + size)), g.b) if condition(backend, seen) else g

    return wrong_gradient(change)


def _without_tail(backend: Any, g: Weights, seen: tuple[Array, ...], size: float) -> Weights:
    """Blocks of ``size`` examples are summed; the rest is left out."""
    w, b, X, y = seen
    left = len(y) - len(y) % int(size) if len(y) > size else len(y)
    r = _residuals(X @ w + b, y)[left:]
    return Weights(remake(backend, g.w, lambda v: v - r @ X[left:] / len(y)), g.b)


def _without_features(backend: Any, g: Weights, _: tuple[Array, ...], size: float) -> Weights:
    """Blocks of ``size`` features are computed, the rest stays 0."""
    d = backend.to_numpy(g.w).size
    left = d - d % int(size) if d > size else d
    return Weights(remake(backend, g.w, lambda v: np.where(np.arange(d) < left, v, 0)), g.b)


def _transposed(backend: Any, g: Weights, seen: tuple[Array, ...], _: float) -> Weights:
    """The product with X instead of its transpose, which only a square X allows."""
    w, b, X, y = seen
    if X.shape[0] != X.shape[1]:
        return g
    r = _residuals(X @ w + b, y) / len(y)
    return Weights(remake(backend, g.w, lambda v: v - r @ X + X @ r), g.b)


add(
    "examples-beyond-a-block",
    "gradient",
    "examples after the last block of size are left out",
    64.0,
    16.0,
    shows_in="large",
)(wrong_gradient(_without_tail))
add(
    "features-beyond-a-block",
    "gradient",
    "features after the last block of size have no gradient",
    64.0,
    16.0,
    shows_in="large",
)(wrong_gradient(_without_features))
add("square-transposed", "gradient", "X instead of its transpose, where X is square", shows_in="large")(
    wrong_gradient(_transposed)
)
add(
    "second-thread",
    "gradient",
    "with two threads the gradient of w is too large by 1 + size",
    1e-2,
    1e-6,
    shows_in="threads",
)(_scaled_if(lambda backend, _: backend.setting.threads > 1))

# --- some of the calls


@add(
    "rare",
    "gradient",
    "the gradient is too large by one part in 1000 in the share size of the calls, at random",
    0.1,
    1e-2,
    2e-4,
)
def _rare(base: Base, size: float) -> type[Backend]:
    class Rare(base):  # type: ignore[misc]  # a class that is only known at run time
        def prepare(self, setting: Setting) -> None:
            self.generator = np.random.default_rng()
            super().prepare(setting)

        def backward(self, tape: Any) -> Weights:
            right = super().backward(tape)
            return each(self, right, lambda v: v * 1.001) if self.generator.random() < size else right

    return Rare
