"""The hand-written tape, to look at: what the backend's own lines compute, operation by operation.

numpy records nothing. So the backend's own `forward` runs once on arrays that do: a subclass of numpy's array that
notes each operation on it, and a copy of its result, for an array may be written over later. The gradients are those
that the derivation on paper has, and no others: ∂f/∂z = r/n, into which `backward` turns the residuals of its tape, and
∂f/∂w and ∂f/∂b, which it returns. (∂f/∂f = 1 is written in: it is where a derivation begins, and nobody's result.) The
steps between z and f are passed in one go: that is what deriving by hand saves.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compare_ag import Batch, Node, Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from compare_ag_numpy import NumpyBackend

Array = np.ndarray[Any, Any]
Role = Literal["parameter", "input", "operation"]


class _Book:
    """The operations so far, and the gradients that are known."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def enter(self, operation: str, inputs: Iterable[Any], value: Any, role: Role = "operation") -> str:
        """A new node; what in ``inputs`` is no recorded array is a constant of the formula."""
        known = dict.fromkeys(one.node for one in inputs if isinstance(one, _Recorded))
        self.nodes.append(Node(str(len(self.nodes)), operation, list(known), np.array(value), None, role))
        return self.nodes[-1].id

    def change(self, node: str, **fields: Any) -> None:
        """Add to a node what became known later."""
        self.nodes[int(node)] = self.nodes[int(node)]._replace(**fields)

    def behind(self, node: str) -> list[Node]:
        """The node and all that it was computed from."""
        needed, waiting = {node}, [node]
        while waiting:
            inputs = [one for one in self.nodes[int(waiting.pop())].inputs if one not in needed]
            needed |= set(inputs)
            waiting += inputs
        return [one for one in self.nodes if one.id in needed]


class _Recorded(np.ndarray[Any, Any]):
    """An array whose operations are entered in a book; the node is that of its *present* content."""

    book: _Book
    node: str

    @classmethod
    def of(cls, array: Any, book: _Book, node: str) -> _Recorded:
        """``array`` under its node."""
        found = np.asarray(array).view(cls)
        found.book, found.node = book, node
        return found

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Every ufunc, its reductions included, and every operator."""
        out = kwargs.pop("out", ())
        options = kwargs | ({"out": tuple(map(_plain, out))} if out else {})
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        node = self.book.enter(name, inputs, result)
        if out and isinstance(out[0], _Recorded):
            out[0].node = node  # the same memory holds another value now
            return out[0]
        return _Recorded.of(result, self.book, node)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Functions that are no ufuncs, such as `np.where`."""
        result = function(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})
        return _Recorded.of(result, self.book, self.book.enter(function.__name__, args, result))

    def dot(self, other: Any) -> Any:  # type: ignore[override]  # into a new array, which is all that is needed here
        """The method, which is neither."""
        result = _plain(self).dot(_plain(other))
        return _Recorded.of(result, self.book, self.book.enter("dot", (self, other), result))


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, _Recorded) else value


def recorded(backend: NumpyBackend, weights: Weights, batch: Batch) -> list[Node]:
    """Run the backend's own forward and backward on recording arrays; return the nodes behind the loss."""
    book = _Book()

    def given(value: Array, name: str, role: Role) -> _Recorded:
        return _Recorded.of(value, book, book.enter(name, (), value, role))

    w, b = given(weights.w, "w", "parameter"), given(weights.b, "b", "parameter")
    data = Batch(given(batch.X, "X", "input"), given(batch.y, "y", "input"))
    logits: list[str] = []
    form: Callable[[Any, Any], tuple[Any, Any]] = backend.form

    def watched_form(z: Any, y: Any) -> tuple[Any, Any]:
        logits.append(z.node)  # before it is written over
        return form(z, y)

    watched = copy.copy(backend)
    watched.form = watched_form
    loss, tape = watched.forward(Weights(w, b), data)
    book.change(loss.node, role="loss", gradient=np.ones((), loss.dtype), arrival=0)  # ∂f/∂f, where the rule begins
    gradient = watched.backward(tape)
    residual = tape[2]
    arriving = [(node, residual) for node in logits] + [("0", gradient.w), ("1", gradient.b)]
    for arrival, (node, slope) in enumerate(arriving, 1):
        book.change(node, gradient=np.array(_plain(slope)), arrival=arrival)
    return book.behind(loss.node)
