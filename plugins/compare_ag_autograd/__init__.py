"""autograd: HIPS autograd, which differentiates plain numpy code by tracing it.

What it shows: the objective below is written in numpy's own words and knows nothing of derivatives.
`make_vjp` runs it on boxed arrays that record every operation; what it hands back, the closure that maps
a factor c to (c ∂f/∂w, c ∂f/∂b) by the chain rule, *is* the tape. The recording costs the same for four
examples as for ten thousand: that is where the time goes on a tiny problem.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as np
import numpy
from autograd import make_vjp

from compare_ag import Answer, Backend, Batch, Node, NotApplicable, Setting, Weights, hookimpl

Array = numpy.ndarray[Any, Any]


def logits_loss(w: Array, b: Array, X: Array, y: Array) -> Any:
    """Mean of softplus(s) = log(e⁰ + eˢ) with s = (1 - 2y)(X w + b); logaddexp shifts, so nothing overflows."""
    z = np.dot(X, w) + b
    return np.mean(np.logaddexp(0, (1 - 2 * y) * z))


def probability_loss(w: Array, b: Array, X: Array, y: Array) -> Any:
    """Mean of -(y log p + (1 - y) log(1 - p)) with p = 1 / (1 + exp(-z)), to the letter."""
    z = np.dot(X, w) + b
    p = 1 / (1 + np.exp(-z))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


class AutogradBackend(Backend):
    """Trace the formula, then pull back."""

    def prepare(self, setting: Setting) -> None:
        """Make the recorder of the objective, to be differentiated in its arguments 0 and 1.

        At large |z| p rounds to 0 or 1, or z itself overflows, and f is then inf or nan: for the verdict to judge, not
        for a warning at every step. As torch's threads, that is set once for the process.
        """
        if (setting.model, setting.device) != ("logistic", "cpu"):
            raise NotImplementedError(f"only the logistic model on the cpu, not {setting.model} on {setting.device}")
        loss = logits_loss if setting.loss == "logits" else probability_loss
        half_l2 = setting.l2 / 2

        def penalised(w: Array, b: Array, X: Array, y: Array) -> Any:
            return loss(w, b, X, y) + half_l2 * np.dot(w, w)

        self.formula = penalised if setting.l2 else loss
        self.record = make_vjp(self.formula, argnum=(0, 1))
        numpy.seterr(over="ignore", divide="ignore", invalid="ignore")

    def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Array:  # noqa: ARG002 - argnum says it
        """Copy; autograd works on numpy's own arrays."""
        return numpy.array(array)

    def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
        """Run the formula on boxes; its value comes back unboxed, beside the closure."""
        pull_back, loss = self.record(*weights, *batch)
        return loss, pull_back

    def backward(self, tape: Any) -> Weights:
        """Pull 1 = ∂f/∂f back to (∂f/∂w, ∂f/∂b)."""
        return Weights(*tape(1.0))

    def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
        """Descend in place: the weights are plain arrays, no trace sees them outside `record`."""
        for value, slope in zip(weights, gradient, strict=True):
            value -= learning_rate * slope
        return weights

    def graph(self, weights: Weights, batch: Batch) -> list[Node]:
        """The trace of the formula, with nodes that remember."""
        from compare_ag_autograd.graph import recorded

        return recorded(self, weights, batch)

    def to_numpy(self, tensor: Any) -> Array:
        """The loss may be one of numpy's scalars; as an array it is 0-d."""
        return numpy.asarray(tensor)


@hookimpl
def compare_ag_backend() -> type[Backend]:
    """The backend that the entry point `autograd` names."""
    return AutogradBackend


@hookimpl
def compare_ag_answers() -> list[Answer | NotApplicable]:
    """What `compare-ag explain` runs; imported here, so that training does not pay for it."""
    from compare_ag_autograd.answers import ANSWERS

    return ANSWERS
