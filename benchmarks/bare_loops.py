"""Gradient descent written by hand in each framework: what a user would type who had no need of a contract.

`benchmarks/tax.py` measures against these loops. They do the same operations as the bundled backends, as well
as a careful author would in one straight loop, and must not import compare_ag. Each maker returns a function

    loop(X, y, w, b, learning_rate, steps) -> loss before the last update

that trains w and b in place. Run as a program, it is the bare job: `python benchmarks/bare_loops.py torch`
imports one framework, makes the 10,001 updates of the seed problem in float32 and prints the last loss.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = ([[1, 1], [1, 0], [0, 1], [0, 0]], [0, 1, 0, 1], [-0.04491833, 0.8402348], 0)
"""X, y, w, b"""
SEED_RATE = 1e-2
SEED_STEPS = 10_001


def numpy_loop(form: str) -> Callable[..., Any]:
    import numpy as np

    def probability(X: Any, y: Any, w: Any, b: Any, learning_rate: float, steps: int) -> Any:
        n = len(y)
        loss = None
        for _ in range(steps):
            z = X.dot(w)
            z += b
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            p = np.reciprocal(z, out=z)
            losses = np.log(p)
            losses *= y
            losses += (1 - y) * np.log(1 - p)
            loss = -losses.sum() / n
            p -= y
            p /= n
            w -= learning_rate * p.dot(X)
            b -= learning_rate * p.sum()
        return loss

    def logits(X: Any, y: Any, w: Any, b: Any, learning_rate: float, steps: int) -> Any:
        n = len(y)
        loss = None
        for _ in range(steps):
            sign = 1 - 2 * y
            s = X.dot(w)
            s += b
            s *= sign
            e = np.exp(-np.abs(s))
            r = np.maximum(e, s >= 0)
            losses = np.log1p(e)
            losses += np.maximum(s, 0, out=s)
            loss = losses.sum() / n
            e += 1
            r /= e
            r *= sign
            r /= n
            w -= learning_rate * r.dot(X)
            b -= learning_rate * r.sum()
        return loss

    return logits if form == "logits" else probability


def autograd_loop(form: str) -> Callable[..., Any]:
    import autograd.numpy as np
    from autograd import make_vjp

    def probability(w: Any, b: Any, X: Any, y: Any) -> Any:
        p = 1 / (1 + np.exp(-(np.dot(X, w) + b)))
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def logits(w: Any, b: Any, X: Any, y: Any) -> Any:
        return np.mean(np.logaddexp(0, (1 - 2 * y) * (np.dot(X, w) + b)))

    record = make_vjp(logits if form == "logits" else probability, argnum=(0, 1))

    def loop(X: Any, y: Any, w: Any, b: Any, learning_rate: float, steps: int) -> Any:
        loss = None
        for _ in range(steps):
            pull_back, loss = record(w, b, X, y)
            slope_w, slope_b = pull_back(1.0)
            w -= learning_rate * slope_w
            b -= learning_rate * slope_b
        return loss

    return loop


def torch_loop(form: str) -> Callable[..., Any]:
    import torch
    from torch.nn.functional import softplus

    torch.set_num_threads(1)

    def probability(X: Any, y: Any, w: Any, b: Any, learning_rate: float, steps: int) -> Any:
        loss = None
        for _ in range(steps):
            p = torch.sigmoid(torch.addmv(b, X, w))
            loss = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
            slope_w, slope_b = torch.autograd.grad(loss, (w, b))
            with torch.no_grad():
                w.sub_(slope_w, alpha=learning_rate)
                b.sub_(slope_b, alpha=learning_rate)
        return loss

    def logits(X: Any, y: Any, w: Any, b: Any, learning_rate: float, steps: int) -> Any:
        loss = None
        for _ in range(steps):
            s = torch.rsub(y, 1, alpha=2) * torch.addmv(b, X, w)
            loss = softplus(s, threshold=40).mean()
            slope_w, slope_b = torch.autograd.grad(loss, (w, b))
            with torch.no_grad():
                w.sub_(slope_w, alpha=learning_rate)
                b.sub_(slope_b, alpha=learning_rate)
        return loss

    return logits if form == "logits" else probability


LOOPS: dict[str, Callable[[str], Callable[..., Any]]] = {
    "numpy": numpy_loop,
    "torch": torch_loop,
    "autograd": autograd_loop,
}


def main(framework: str) -> None:
    """The seed problem in one framework, from import to last loss."""
    loop = LOOPS[framework]("probability")
    tensors: list[Any]
    if framework == "torch":
        import torch

        tensors = [torch.tensor(values, dtype=torch.float32) for values in SEED]
        for parameter in tensors[2:]:
            parameter.requires_grad_()
    else:
        import numpy as np

        tensors = [np.array(values, dtype=np.float32) for values in SEED]
    print(loop(*tensors, SEED_RATE, SEED_STEPS).item())


if __name__ == "__main__":
    main(sys.argv[1])
