"""numpy: what automatic differentiation automates, done by hand.

No framework differentiates here. The gradient is derived on paper, once for each form of the loss, and the
derivation stands beside the lines that use it. By the chain rule, with z = X w + b and rᵢ = dℓ/dzᵢ,

    ∂f/∂w = 1/n Σᵢ rᵢ xᵢ + l2 w = Xᵀr/n + l2 w          ∂f/∂b = 1/n Σᵢ rᵢ

so that the residuals r are all that `backward` needs beside its inputs: they are the tape. Both forms have
r = σ(z) - y, as they are one function of (w, b); they differ in the digits they lose.

Arrays that are not needed again are overwritten. Python's own numbers take the dtype of the array or scalar that they
are combined with (NEP 50), so everything stays in the dtype of the inputs. `X.dot(w)` takes half a microsecond less
than `X @ w`: with two of them that is 9 % of a step on four examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag import Answer, Backend, Batch, Node, NotApplicable, Setting, Weights, hookimpl

Array = np.ndarray[Any, Any]


def logits_form(z: Array, y: Array) -> tuple[Any, Array]:
    """Σ ℓ and r: ℓ = softplus(s) = max(s, 0) + log1p(e) with s = (1 - 2y) z, and r = dℓ/dz; e = exp(-|s|) serves both.

    r = (1 - 2y) σ(s) is σ(z) - y without its cancellation. σ(s) = 1/(1 + e) for s >= 0 and e/(1 + e) for
    s < 0: as e <= 1, the numerator is the larger of e and [s >= 0]. Nothing overflows.
    """
    sign = 1 - 2 * y
    s = np.multiply(sign, z, out=z)
    e = np.exp(-np.abs(s))
    r = np.maximum(e, s >= 0)
    losses = np.log1p(e)
    losses += np.maximum(s, 0, out=s)
    e += 1
    r /= e
    r *= sign
    return losses.sum(), r


def probability_form(z: Array, y: Array) -> tuple[Any, Array]:
    """Σ ℓ and r: ℓ = -(y log p + (1 - y) log(1 - p)) with p = σ(z) = 1 / (1 + exp(-z)), to the letter, and r = dℓ/dz.

    r = (-y/p + (1 - y)/(1 - p)) dp/dz = p - y, as dp/dz = p (1 - p).
    """
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    p = np.reciprocal(z, out=z)
    losses = np.log(p)
    losses *= y
    losses += (1 - y) * np.log(1 - p)
    p -= y
    return -losses.sum(), p


class NumpyBackend(Backend):
    """The derivative on paper."""

    def prepare(self, setting: Setting) -> None:
        """Choose the form of the loss.

        At large |z| p rounds to 0 or 1, or z itself overflows, and f is then inf or nan. The verdict judges that, so
        warnings at every step are switched off. That is set once for the process, like torch's threads; `errstate`
        around the formula would cost 4 % of a small step.
        """
        if (setting.model, setting.device) != ("logistic", "cpu"):
            raise NotImplementedError(f"only the logistic model on the cpu, not {setting.model} on {setting.device}")
        self.form = logits_form if setting.loss == "logits" else probability_form
        self.l2 = setting.l2
        np.seterr(over="ignore", divide="ignore", invalid="ignore")

    def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Array:  # noqa: ARG002 - nothing records
        """Copy; the arrays of numpy are this backend's tensors."""
        return np.array(array)

    def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
        """f = Σ ℓ / n + ½ l2 w·w, and the residuals."""
        w, b = weights
        X, y = batch
        z = X.dot(w)
        z += b
        total, r = self.form(z, y)
        loss = total / len(y)
        if self.l2:
            loss += self.l2 / 2 * w.dot(w)
        return loss, (X, w, r)

    def backward(self, tape: Any) -> Weights:
        """∂f/∂w = Xᵀr/n + l2 w and ∂f/∂b = Σ r / n."""
        X, w, r = tape
        r /= len(r)
        gradient = r.dot(X)
        if self.l2:
            gradient += self.l2 * w
        return Weights(gradient, r.sum())

    def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
        """Descend in place."""
        for value, slope in zip(weights, gradient):  # noqa: B905 - `strict` costs 1 % of a step on four examples
            value -= learning_rate * slope
        return weights

    def graph(self, weights: Weights, batch: Batch) -> list[Node]:
        """What `forward` really computes, operation by operation, and the gradients that the derivation knows."""
        from compare_ag_numpy.graph import recorded

        return recorded(self, weights, batch)

    def to_numpy(self, tensor: Any) -> Array:
        """A loss or a slope of b may be one of numpy's scalars; as an array it is 0-d."""
        return np.asarray(tensor)


@hookimpl
def compare_ag_backend() -> type[Backend]:
    """The backend that the entry point `numpy` names."""
    return NumpyBackend


@hookimpl
def compare_ag_answers() -> list[Answer | NotApplicable]:
    """What `compare-ag explain` runs; imported here, so that training does not pay for it."""
    from compare_ag_numpy.answers import ANSWERS

    return ANSWERS
