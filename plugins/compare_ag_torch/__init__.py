"""torch: PyTorch in eager mode, the graph built anew by every forward.

What it shows: `w` and `b` are leaves that require a gradient; every operation on them adds a node; the
loss's graph is the tape. `torch.autograd.grad` walks it backwards, frees it on the way and returns the
gradient instead of adding it to `.grad`, so that there is nothing to clear between steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from compare_ag import Answer, Backend, Batch, Node, NotApplicable, Setting, Weights, hookimpl


def logits_loss(z: Tensor, y: Tensor) -> Tensor:
    """Mean of softplus(s), s = (1 - 2y) z.

    `softplus` replaces log1p(exp(s)) by s above a threshold. The default of 20 is off by e⁻²⁰ = 2e-9, ten
    million roundings of float64; above 40 the two are the same number, and exp(40) overflows in neither dtype.
    `binary_cross_entropy_with_logits` would be faster, but cancels for examples that are well classified.
    """
    sign = torch.rsub(y, 1, alpha=2)  # 1 - 2y in one kernel
    return functional.softplus(sign * z, threshold=40).mean()


def probability_loss(z: Tensor, y: Tensor) -> Tensor:
    """Mean of -(y log p + (1 - y) log(1 - p)) with p = σ(z), to the letter: no clamping near 0 and 1."""
    p = torch.sigmoid(z)
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


class TorchBackend(Backend):
    """Eager PyTorch on the CPU."""

    def prepare(self, setting: Setting) -> None:
        """Choose the form of the loss; set the threads that share one operation.

        The pool between operations serves `torch.jit.fork` alone: eager code never starts it, and its size
        can be set only once in a process, so it is left as it is.
        """
        if (setting.model, setting.device) != ("logistic", "cpu"):
            raise NotImplementedError(f"only the logistic model on the cpu, not {setting.model} on {setting.device}")
        torch.set_num_threads(setting.threads)
        self.loss = logits_loss if setting.loss == "logits" else probability_loss
        self.half_l2 = setting.l2 / 2

    def make_tensor(self, array: np.ndarray[Any, Any], *, requires_grad: bool = False) -> Tensor:
        """Copy (`from_numpy` would share); the weights become leaves."""
        return torch.tensor(array, requires_grad=requires_grad)

    def forward(self, weights: Weights, batch: Batch) -> tuple[Tensor, Any]:
        """Build the graph. The loss that is handed out is detached: attached ones would keep every graph alive."""
        w, b = weights
        X, y = batch
        z = torch.addmv(b, X, w)  # b + X w in one kernel
        loss = self.loss(z, y)
        if self.half_l2:
            loss = loss + self.half_l2 * w.dot(w)
        return loss.detach(), (loss, weights)

    def backward(self, tape: Any) -> Weights:
        """Walk the graph from the loss to the leaves, freeing it."""
        loss, weights = tape
        return Weights(*torch.autograd.grad(loss, weights))

    def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
        """Descend in place and unrecorded, so that w and b stay leaves."""
        with torch.no_grad():
            for value, slope in zip(weights, gradient, strict=True):
                value.sub_(slope, alpha=learning_rate)
        return weights

    def tape_bytes(self, weights: Weights, batch: Batch) -> int:
        """The storages of all saved tensors, each once, but for those of the weights and the batch."""
        given = {tensor.untyped_storage().data_ptr() for tensor in (*weights, *batch)}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            _loss, tape = self.forward(weights, batch)  # held, for a freed storage's address is given out again
        del tape
        return sum(size for address, size in saved.items() if address not in given)

    def graph(self, weights: Weights, batch: Batch) -> list[Node]:
        """The chain of `grad_fn` from the loss to the leaves."""
        from compare_ag_torch.graph import recorded

        return recorded(self, weights, batch)

    def to_numpy(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """A view: `detach`, because a tensor that requires a gradient refuses to be one."""
        return tensor.detach().numpy()


@hookimpl
def compare_ag_backend() -> type[Backend]:
    """The backend that the entry point `torch` names."""
    return TorchBackend


@hookimpl
def compare_ag_answers() -> list[Answer | NotApplicable]:
    """What `compare-ag explain` runs; imported here, so that training does not pay for it."""
    from compare_ag_torch.answers import ANSWERS

    return ANSWERS
