"""A problem: data, start, hyper-parameters and seed, which determine a training run together with the backend.

A `Problem` is immutable, and its numbers are rounded already: X, y, w0, b0, the learning rate and l2 have been rounded
to the tested dtype once, so that every backend and the reference get the same bits. (The decimal 0.01 in place of
float32(0.01) alone changes the losses of the problem ``seed`` by 5e-8, as much as all rounding errors together.)

Workers import this module, so it imports little and knows no way to make a problem: see `make`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from compare_ag.model import Layout, logistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
DType: TypeAlias = Literal["float32", "float64"]
LossForm: TypeAlias = Literal["logits", "probability"]

BLOCK_CELLS = 1 << 20
"""Cells of X that are processed at a time where a copy of all of X would take too much memory."""

DTYPES: tuple[DType, ...] = ("float32", "float64")
LOSS_FORMS: tuple[LossForm, ...] = ("logits", "probability")


class ProblemError(ValueError):
    """The input is unusable. The message says what is wrong, where, and what to do; the CLI exits 2."""


@dataclass(frozen=True)
class Data:
    """A data set as it was read or made, before any rounding to the tested dtype."""

    X: Array
    """features (n, d), float64, finite"""
    y: Array
    """labels (n,), float64, each 0 or 1, both present"""
    name: str
    """as tables show it: ``seed``, ``synthetic``, a file's name without its folder"""
    description: str
    """one sentence for people: where it comes from, how it was standardised"""
    label_names: tuple[str, str] = ("0", "1")
    """the labels 0 and 1 as the source names them"""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """the parameters it was made with (synthetic only)"""
    warnings: tuple[str, ...] = ()
    """sentences on properties that are legal but often mistakes: a constant column, linear dependence"""
    feature_names: tuple[str, ...] = ()
    """names of the columns of X in the source, or their numbers there; empty where there are none: they count from 0"""


@dataclass(frozen=True)
class Problem:
    """Data, start and hyper-parameters, rounded to ``dtype``. Build it with `make_problem`."""

    data: Data
    X: Array
    """(n, d) in ``dtype``, C-contiguous"""
    y: Array
    """(n,) in ``dtype``"""
    w0: Array
    """(d,) in ``dtype``"""
    b0: Array
    """() in ``dtype``"""
    start: str
    """one sentence: where the start comes from"""
    dtype: DType
    loss: LossForm
    steps: int
    learning_rate: float
    """exactly representable in ``dtype``"""
    learning_rate_source: str
    """"given", "1/L" or "published": shown in the output"""
    curvature: float
    """L, an upper bound of the largest curvature of the objective (of any batch of it)"""
    l2: float
    seed: int
    threads: int
    batch_size: int | None = None
    """examples per step; None is the full batch"""
    published: tuple[tuple[int, float], ...] = ()
    """(step k, loss after k updates) pairs of a published trajectory to reproduce"""
    published_tolerance: float = 0.0

    @property
    def examples(self) -> int:
        """n, the rows of X."""
        return int(self.X.shape[0])

    @property
    def features(self) -> int:
        """d, the columns of X."""
        return int(self.X.shape[1])

    @cached_property
    def layout(self) -> Layout:
        """Which number of a flat vector θ (m,) is which parameter."""
        return logistic(self.features)

    @property
    def initial(self) -> Array:
        """The weights that training starts from, (m,) in ``dtype``."""
        return self.layout.flat((self.w0, self.b0))

    @property
    def batches_per_epoch(self) -> int:
        """Steps in one pass over the data; 1 for the full batch."""
        return -(-self.examples // self.batch_size) if self.batch_size else 1

    def epoch_order(self) -> Array:
        """The order in which each epoch visits the examples: (epochs, n) uint32, or (0, n) for the full batch.

        One permutation for each epoch that the steps 0..T touch (step T's forward included), drawn from
        the problem's seed. Fixed here, once, so that every backend sees the same batches.
        """
        if self.batch_size is None:
            return np.empty((0, self.examples), dtype=np.uint32)
        epochs = self.steps // self.batches_per_epoch + 1
        generator = np.random.default_rng([self.seed, 0x0BA7C4])
        order = np.empty((epochs, self.examples), dtype=np.uint32)
        for row in order:
            row[:] = generator.permutation(self.examples)
        return order

    def digest(self) -> str:
        """sha256 over the bits that define the run's numbers (data, start, rates), for identity."""
        facts = (self.loss, self.steps, self.learning_rate.hex(), self.l2.hex(), self.batch_size, self.seed)
        return digest_arrays(self.X, self.y, self.w0, self.b0, facts=repr(facts))


def digest_arrays(*arrays: Array, facts: str = "") -> str:
    """sha256, in hexadecimal, over dtype, shape and bits of the arrays in turn, and then over ``facts``.

    Arrays are hashed in place: only an array that is not C-contiguous is copied.
    """
    import hashlib  # here, because its import takes a tenth of numpy's time, and each worker imports this module

    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    sha.update(facts.encode())
    return sha.hexdigest()


def batch_rows(order: Array, batch_size: int, examples: int, step: int) -> Array:
    """The rows of X that step ``step`` trains on; the last short batch of an epoch is kept.

    order: what `Problem.epoch_order` gives, (epochs, n). Returns row indices (m,), 1 <= m <= batch_size.
    """
    per_epoch = -(-examples // batch_size)
    epoch, index = divmod(step, per_epoch)
    return order[epoch, index * batch_size : (index + 1) * batch_size]


def recorded_steps(steps: int, count: int = 33) -> list[int]:
    """The evenly spaced k at which weights are recorded as adjacent pairs (k, k+1), 0 and T-1 among them."""
    if steps < 1:
        return []
    return sorted({round(i * (steps - 1) / (count - 1)) for i in range(count)})


def largest_curvature(X: Array, l2: float, batch_size: int | None) -> float:
    """An upper bound L of the curvature of the objective, so that gradient descent with 1/L descends.

    The Hessian is X̃ᵀDX̃/n + l2·diag(1, …, 1, 0) with 0 ≤ D ≤ ¼ and X̃ = (X, 1), so for the full batch
    L = λmax(X̃ᵀX̃)/(4n) + l2. A mini-batch may consist of the longest example alone: max‖x̃ᵢ‖²/4 + l2.
    """
    n, d = X.shape
    if batch_size is not None and batch_size < n:
        return float(squared_lengths(X).max()) / 4 + l2
    if d < n:
        products = gram(X)
    else:
        (design,) = (block for _, block in designs(X, n))
        products = design @ design.T
    return float(np.linalg.eigvalsh(products)[-1] / (4 * n) + l2)


def blocks(X: Array, count: int = 0) -> Iterator[slice]:
    """The rows of X (n, d), ``count`` at a time (0: as many as `BLOCK_CELLS` holds)."""
    n, d = X.shape
    count = count or max(1, BLOCK_CELLS // d)
    return (slice(first, min(first + count, n)) for first in range(0, n, count))


def designs(X: Array, count: int = 0) -> Iterator[tuple[slice, Array]]:
    """X̃ = (X, 1) in float64, by `blocks`."""
    for rows in blocks(X, count):
        design = np.ones((rows.stop - rows.start, X.shape[1] + 1))
        design[:, :-1] = X[rows]
        yield rows, design


def gram(X: Array, weights: Array | None = None) -> Array:
    """X̃ᵀ diag(weights) X̃ (d+1, d+1) in float64, for weights (n,) ≥ 0; None: all 1."""
    total: Array = np.zeros((X.shape[1] + 1,) * 2)
    for rows, design in designs(X):
        if weights is not None:
            design *= np.sqrt(weights[rows])[:, None]
        total += design.T @ design
    return total


def squared_lengths(X: Array) -> Array:
    """‖x̃ᵢ‖² (n,) in float64."""
    return np.concatenate([np.einsum("ij,ij->i", design, design) for _, design in designs(X)])


def batches(problem: Problem) -> Iterator[Array]:
    """The rows of step 0, 1, …, T in turn, to replay the training."""
    if problem.batch_size is None:
        all_rows = np.arange(problem.examples, dtype=np.uint32)
        for _ in range(problem.steps + 1):
            yield all_rows
        return
    order = problem.epoch_order()
    for step in range(problem.steps + 1):
        yield batch_rows(order, problem.batch_size, problem.examples, step)
