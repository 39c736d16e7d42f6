"""The contract: the class that a plugin's author writes.

A backend adapts one automatic-differentiation framework to the eight verbs below. All backends run the
same L2-regularised logistic regression; for examples X (n, d), labels y (n,) in {0, 1}, weights w (d,),
bias b () and logits z = X w + b they minimise

    f(w, b) = 1/n Σᵢ ℓ(zᵢ, yᵢ) + ½ l2 ‖w‖²          (b is not penalised)

    loss = "logits":       ℓ(z, y) = softplus((1 - 2y) z) = max(s, 0) + log1p(exp(-|s|)),  s = (1 - 2y) z
    loss = "probability":  ℓ(z, y) = -y log p - (1 - y) log(1 - p),  p = 1 / (1 + exp(-z))

by plain gradient descent. This file must not import a framework, numpy or pluggy: people and the worker read it, and
its docstrings are the author's manual.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

API_VERSION = 1
"""The version of this contract. Additions keep it; a change that breaks a plugin raises it."""

Tensor: TypeAlias = Any
"""A tensor of the framework under test: opaque to the suite."""

Tape: TypeAlias = Any
"""The data that `Backend.forward` leaves for `Backend.backward`: opaque to the suite."""

LossForm: TypeAlias = Literal["logits", "probability"]

Role: TypeAlias = Literal["parameter", "input", "constant", "operation", "loss"]
"""The role of a node in a graph: a weight, data, another given number, a computed value, the loss."""


class Weights(NamedTuple):
    """The parameters of the model, or a gradient with respect to them: w (d,) and b (), as tensors.

    Treat it as "a tuple of tensors of this type" (map over its fields), so that a later model can bring
    more fields than these two.
    """

    w: Tensor
    b: Tensor


class Batch(NamedTuple):
    """The examples of one step: X (n, d) and y (n,), as tensors. n may differ from step to step."""

    X: Tensor
    y: Tensor


class Setting(NamedTuple):
    """The static facts of a run, known before any data arrives."""

    examples: int
    """rows of X, of the whole data set"""
    features: int
    """columns of X"""
    dtype: str
    """"float32" or "float64": compute in it and return it"""
    device: str = "cpu"
    threads: int = 1
    l2: float = 0.0
    loss: LossForm = "logits"
    model: str = "logistic"


class Node(NamedTuple):
    """One node of the graph that a backend recorded for its loss; see `Backend.graph`."""

    id: str
    """any name, unique in its graph"""
    operation: str
    """the operation that made the value, in the framework's words: ``AddmvBackward0``, ``logaddexp``, ``multiply``"""
    inputs: Sequence[str]
    """ids of the nodes that it was computed from, as far as the framework recorded them"""
    value: np.ndarray[Any, Any] | None = None
    """the value that forward computed; None where the framework does not keep it"""
    gradient: np.ndarray[Any, Any] | None = None
    """∂f/∂value, of the value's shape, as it flowed through backward; None where no gradient did"""
    role: Role = "operation"
    """exactly one node is the loss; w and b are parameters"""
    arrival: int | None = None
    """when its gradient arrived in the backward pass: 0 for the loss; None where the order is not counted"""


class Backend(abc.ABC):
    """One framework, adapted. Subclass it, fill in the verbs, return the class from `compare_ag_backend`.

    The worker builds it without arguments, calls `prepare` once, and then trains. Raise any exception
    from any verb: the run reports it with the step and the verb, and the other backends go on.
    """

    api_version: ClassVar[int] = 1
    """the `API_VERSION` this plugin was written for"""

    dtypes: ClassVar[Sequence[str]] = ("float32", "float64")
    """the dtypes it really computes in, by numpy's names"""

    splits: ClassVar[bool] = True
    """False where the framework gives loss and gradient in one call: then the tape is the inputs,
    `backward` recomputes, times per phase show as n/a and only the whole step counts"""

    @abc.abstractmethod
    def prepare(self, setting: Setting) -> None:
        """Choose loss form and L2, set precision and threads, compile. Called once; timed apart."""

    @abc.abstractmethod
    def make_tensor(self, array: np.ndarray[Any, Any], *, requires_grad: bool = False) -> Tensor:
        """Copy a numpy array into a new tensor of the same dtype and shape, or raise.

        Always copy: the worker continues to use its array. `requires_grad` is True for the weights. A tensor may keep
        more digits than the dtype if `to_numpy` rounds it to the dtype.
        """

    @abc.abstractmethod
    def forward(self, weights: Weights, batch: Batch) -> tuple[Tensor, Tape]:
        """Return the loss f(weights) on this batch, and the tape that `backward` needs.

        The loss is a 0-d tensor of the framework, detached from any graph; it is not read inside the clock.
        """

    @abc.abstractmethod
    def backward(self, tape: Tape) -> Weights:
        """Return the gradient of the loss with respect to the weights, in their shapes and dtype.

        Consumes its tape: it is called at most once for each forward, before `update`. Nothing
        accumulates: a fresh forward at the same weights gives the same gradient.
        """

    @abc.abstractmethod
    def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
        """Return weights - learning_rate × gradient, ready for the next `forward`.

        Consumes both: it may reuse their storage. `learning_rate` is a Python float.
        """

    @abc.abstractmethod
    def to_numpy(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Return the tensor's values as a numpy array of the same dtype and shape; it may share storage."""

    def synchronize(self, *tensors: Tensor) -> None:  # noqa: B027 - eager frameworks have nothing to wait for
        """Wait until these tensors' values exist. Lazy and asynchronous frameworks must implement it."""

    def tape_bytes(self, weights: Weights, batch: Batch) -> int | None:  # noqa: ARG002 - a framework's to use
        """Run one forward and return the bytes that its tape keeps alive beyond weights and batch; optional.

        None, as here: let the suite ask Python's allocators, which see numpy's arrays. Override it where tensors
        live elsewhere and the framework can tell; never called inside the clock.
        """
        return None

    def graph(self, weights: Weights, batch: Batch) -> list[Node] | None:  # noqa: ARG002 - a framework's to use
        """Run one forward and one backward, and return the graph that was *really* recorded for the loss; optional.

        None, as here: not offered. Every node that the loss was computed from, in any order, with copies of values
        and gradients as numpy arrays; never called inside the clock. Report what the framework keeps, not what the
        textbook says: the host matches each node with a quantity of the textbook.
        """
        return None

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Tensor, Weights]:
        """Forward, backward and update in one call; return the loss before the update and the new weights.

        Override it only where the framework fuses the step (a compiler). It must schedule the loss also where the loss
        is not read. Both ways are timed and both are verified.
        """
        loss, tape = self.forward(weights, batch)
        return loss, self.update(weights, self.backward(tape), learning_rate)
