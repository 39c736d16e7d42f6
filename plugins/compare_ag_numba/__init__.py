"""numba: the derivation by hand, compiled to machine code: what the machine can do with this formula.

The mathematics is that of the backend `numpy`. With z = X w + b and rᵢ = dℓ/dzᵢ = σ(zᵢ) - yᵢ,

    ∂f/∂w = 1/n Σᵢ rᵢ xᵢ + l2 w          ∂f/∂b = 1/n Σᵢ rᵢ

What differs is how often X passes through memory. X w needs each row once and Xᵀr needs it again, after its r is known:
the phases read X twice. `step` goes through X once, in blocks of rows that stay in the cache until their r has been
computed and used. Nothing but r is stored, and on four examples nothing is left of a framework but one call.

Sums may be taken in any order ("reassoc"), so that they are computed in several accumulators at a time, and a product
and a sum may be contracted to one instruction. Nothing is assumed to be finite: NaN and inf are results.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

if "OMP_NUM_THREADS" in os.environ:  # the worker's share: numba starts as many threads as its own variable says
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import numba
import numpy as np
from numba import njit, prange

from compare_ag import Backend, Batch, Setting, Weights, hookimpl
from compare_ag_numba.elementary import exp, log, log1p

Array = np.ndarray[Any, Any]

BLOCK_BYTES = 1 << 18
"""of rows of X between their two uses: a quarter of a usual second-level cache"""
ELEMENTS_PER_THREAD = 1 << 15
"""of X, at least: waking another thread takes as long as a step on so many"""

# Without a folder of its own numba would keep compiled code beside this file, for later runs as well; their first
# call would then hide what compiling costs.
CACHE = "NUMBA_CACHE_DIR" in os.environ
compiled = njit(fastmath={"reassoc", "contract"}, error_model="numpy")


@compiled
def affine(X: Array, w: Array, b: Any, z: Array) -> None:
    """z = X w + b."""
    for i in range(len(z)):
        total = b
        for j in range(len(w)):
            total += X[i, j] * w[j]
        z[i] = total


@compiled
def logits_form(z: Array, y: Array) -> Any:
    """Σ ℓ, and r in place of z: ℓ = softplus(s) = max(s, 0) + log1p(e) with s = (1 - 2y) z and e = exp(-|s|) ≤ 1.

    r = (1 - 2y) σ(s) is σ(z) - y without its cancellation: σ(s) = 1/(1 + e) for s ≥ 0 and e/(1 + e) for s < 0.
    """
    total = 0.0
    for i in range(len(z)):
        sign = 1.0 - 2.0 * y[i]
        s = sign * z[i]
        e = exp(-abs(s))
        total += (s if s > 0 else 0.0) + log1p(e)
        z[i] = sign * (1.0 if s >= 0 else e) / (1.0 + e)
    return total


@compiled
def probability_form(z: Array, y: Array) -> Any:
    """Σ ℓ, and r in place of z: ℓ = -(y log p + (1 - y) log(1 - p)), p = 1 / (1 + exp(-z)), to the letter; r = p - y.

    p and 1 - p are rounded to the dtype of z, as they are part of the formula; what lies between them is float64.
    """
    total = 0.0
    for i in range(len(z)):
        p = z.dtype.type(1.0 / (1.0 + exp(-z[i])))
        total -= y[i] * log(p) + (1.0 - y[i]) * log(z.dtype.type(1.0 - p))
        z[i] = p - y[i]
    return total


@compiled
def total_of(values: Array) -> Any:
    """Their sum; numpy's own functions would take longer to compile."""
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total


@compiled
def add_rows(X: Array, r: Array, gradient: Array) -> None:
    """Add Σᵢ rᵢ xᵢ = Xᵀr."""
    for i in range(len(r)):
        for j in range(len(gradient)):
            gradient[j] += r[i] * X[i, j]


@compiled
def add_step(X: Array, y: Array, w: Array, b: Any, logits: bool, gradient: Array) -> tuple[Any, Any]:
    """Σ ℓ and Σ r, and add Xᵀr, in one pass over X."""
    total = slope = 0.0
    rows = max(1, min(len(y), BLOCK_BYTES // max(1, X.itemsize * len(w))))
    block = np.empty(rows, X.dtype)
    for start in range(0, len(y), rows):
        end = min(len(y), start + rows)
        r = block[: end - start]
        affine(X[start:end], w, b, r)
        total += logits_form(r, y[start:end]) if logits else probability_form(r, y[start:end])
        slope += total_of(r)
        add_rows(X[start:end], r, gradient)
    return total, slope


def forward(X: Array, y: Array, w: Array, b: Any, half_l2: float, logits: bool, parts: int) -> tuple[Any, Any]:
    """f = Σ ℓ / n + ½ l2 w·w, and r; the examples in so many parts at a time."""
    n = len(y)
    r, totals, bias = np.empty(n, X.dtype), np.empty(parts), b[()]
    for part in prange(parts):
        start, end = part * n // parts, (part + 1) * n // parts
        affine(X[start:end], w, bias, r[start:end])
        form = r[start:end], y[start:end]
        totals[part] = logits_form(*form) if logits else probability_form(*form)
    penalty = 0.0
    for j in range(len(w)):
        penalty += w[j] * w[j]
    return total_of(totals) / n + half_l2 * penalty, r


def backward(X: Array, r: Array, w: Array, l2: float, parts: int) -> tuple[Any, Any]:
    """∂f/∂w = Xᵀr/n + l2 w and ∂f/∂b = Σ r / n."""
    n = len(r)
    gradients, slope_w, slope_b = np.zeros((parts, len(w)), X.dtype), np.empty_like(w), np.empty((), X.dtype)
    for part in prange(parts):
        start, end = part * n // parts, (part + 1) * n // parts
        add_rows(X[start:end], r[start:end], gradients[part])
    for j in range(len(w)):
        slope_w[j] = total_of(gradients[:, j]) / n + l2 * w[j]
    slope_b[()] = total_of(r) / n
    return slope_w, slope_b


@njit(cache=CACHE)
def descend(w: Array, b: Array, slope_w: Array, slope_b: Array, learning_rate: float) -> None:
    """w and b less the learning rate times their slopes, in place."""
    for j in range(len(w)):
        w[j] -= learning_rate * slope_w[j]
    b[()] -= learning_rate * slope_b[()]


def step(X: Array, y: Array, w: Array, b: Any, l2: float, learning_rate: float, logits: bool, parts: int) -> Any:
    """f before the update; w and b are updated in place."""
    n, d = X.shape
    sums, gradients, bias = np.empty((parts, 2)), np.zeros((parts, d), X.dtype), b[()]
    for part in prange(parts):
        start, end = part * n // parts, (part + 1) * n // parts
        sums[part] = add_step(X[start:end], y[start:end], w, bias, logits, gradients[part])
    penalty = 0.0
    for j in range(d):
        penalty += w[j] * w[j]
        w[j] -= learning_rate * (total_of(gradients[:, j]) / n + l2 * w[j])
    b[()] -= learning_rate * total_of(sums[:, 1]) / n
    return total_of(sums[:, 0]) / n + l2 / 2 * penalty


@cache
def programs(parallel: bool) -> list[Any]:
    """Forward, backward and step, for one thread or for several: that code calls numba's scheduler at any number."""
    options: dict[str, Any] = {"fastmath": {"reassoc", "contract"}, "error_model": "numpy", "cache": CACHE}
    return [njit(function, parallel=parallel, **options) for function in (forward, backward, step)]


class NumbaBackend(Backend):
    """The derivative on paper, compiled."""

    def prepare(self, setting: Setting) -> None:
        """Choose the form of the loss and the number of threads. The first call compiles."""
        if (setting.model, setting.device) != ("logistic", "cpu"):
            raise NotImplementedError(f"only the logistic model on the cpu, not {setting.model} on {setting.device}")
        self.logits, self.l2 = setting.loss == "logits", setting.l2
        self.scalar = np.dtype(setting.dtype).type
        threads = min(setting.threads, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # numba sets it while it is imported
        self.parts = max(1, min(threads, setting.examples * setting.features // ELEMENTS_PER_THREAD))
        if self.parts > 1:
            numba.set_num_threads(self.parts)
        self.programs = programs(parallel=self.parts > 1)
        np.seterr(over="ignore", invalid="ignore")  # a loss beyond float32 is inf, for the verdict to judge

    def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Array:  # noqa: ARG002 - nothing records
        """Copy, row after row: one layout is one compiled program."""
        return np.array(array, order="C")

    def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
        """The loss, and the residuals as tape."""
        loss, r = self.programs[0](*batch, *weights, self.l2 / 2, self.logits, self.parts)
        return self.scalar(loss), (batch.X, r, weights.w)

    def backward(self, tape: Any) -> Weights:
        """The gradient from the residuals."""
        return Weights(*self.programs[1](*tape, self.l2, self.parts))

    def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
        """Descend in place."""
        descend(*weights, *gradient, learning_rate)
        return weights

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        """Everything in one call and one pass over X."""
        loss = self.programs[2](*batch, *weights, self.l2, learning_rate, self.logits, self.parts)
        return self.scalar(loss), weights

    def to_numpy(self, tensor: Any) -> Array:
        """The loss is one of numpy's scalars; as an array it is 0-d."""
        return np.asarray(tensor)


@hookimpl
def compare_ag_backend() -> type[Backend]:
    """The backend that the entry point `numba` names."""
    return NumbaBackend
