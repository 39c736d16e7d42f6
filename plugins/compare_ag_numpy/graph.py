"""The graph of the hand-written backend: what its own lines compute, operation by operation.

numpy records nothing. So the backend's own `forward` runs once on recording arrays: a subclass of numpy's array that
records each operation with a copy of its result, because an array may be overwritten later. The gradients are those of
the derivation on paper: ∂f/∂z = r/n, which `backward` computes from the residuals of its tape, and ∂f/∂w and ∂f/∂b,
which it returns. (∂f/∂f = 1 is set here: every derivation begins with it.) The nodes between z and f have no gradient:
the derivation on paper does not compute them.
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


class _Recorder:
    """The nodes of the operations so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def enter(self, operation: str, inputs: Iterable[Any], value: Any, role: Role = "operation") -> str:
        """Add a node and return its id; inputs that are not recorded arrays are constants of the formula."""
        input_nodes = dict.fromkeys(array.node for array in inputs if isinstance(array, _Recorded))
        self.nodes.append(Node(str(len(self.nodes)), operation, list(input_nodes), np.array(value), None, role))
        return self.nodes[-1].id

    def change(self, node: str, **fields: Any) -> None:
        """Set fields of a node that become known later."""
        self.nodes[int(node)] = self.nodes[int(node)]._replace(**fields)

    def behind(self, node: str) -> list[Node]:
        """The node and all nodes that it was computed from."""
        needed, waiting = {node}, [node]
        while waiting:
            inputs = [node_id for node_id in self.nodes[int(waiting.pop())].inputs if node_id not in needed]
            needed |= set(inputs)
            waiting += inputs
        return [known for known in self.nodes if known.id in needed]


class _Recorded(np.ndarray[Any, Any]):
    """An array whose operations are recorded; the node is that of its *present* content."""

    recorder: _Recorder
    node: str

    @classmethod
    def of(cls, array: Any, recorder: _Recorder, node: str) -> _Recorded:
        """``array`` under its node."""
        result = np.asarray(array).view(cls)
        result.recorder, result.node = recorder, node
        return result

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Every ufunc, its reductions included, and every operator."""
        out = kwargs.pop("out", ())
        options = kwargs | ({"out": tuple(map(_plain, out))} if out else {})
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        node = self.recorder.enter(name, inputs, result)
        if out and isinstance(out[0], _Recorded):
            out[0].node = node  # the same memory contains another value now
            return out[0]
        return _Recorded.of(result, self.recorder, node)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Functions that are no ufuncs, such as `np.where`."""
        result = function(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})
        return _Recorded.of(result, self.recorder, self.recorder.enter(function.__name__, args, result))

    def dot(self, right: Any) -> Any:  # type: ignore[override]  # into a new array, which is all that is needed here
        """The method `dot`, which is neither a ufunc nor a function."""
        result = _plain(self).dot(_plain(right))
        return _Recorded.of(result, self.recorder, self.recorder.enter("dot", (self, right), result))


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, _Recorded) else value


def recorded(backend: NumpyBackend, weights: Weights, batch: Batch) -> list[Node]:
    """Run the backend's own forward and backward on recording arrays; return the nodes that the loss depends on."""
    recorder = _Recorder()

    def enter_array(value: Array, name: str, role: Role) -> _Recorded:
        return _Recorded.of(value, recorder, recorder.enter(name, (), value, role))

    w, b = enter_array(weights.w, "w", "parameter"), enter_array(weights.b, "b", "parameter")
    data = Batch(enter_array(batch.X, "X", "input"), enter_array(batch.y, "y", "input"))
    logits: list[str] = []
    form: Callable[[Any, Any], tuple[Any, Any]] = backend.form

    def watched_form(z: Any, y: Any) -> tuple[Any, Any]:
        logits.append(z.node)  # before z is overwritten
        return form(z, y)

    watched = copy.copy(backend)
    watched.form = watched_form
    loss, tape = watched.forward(Weights(w, b), data)
    recorder.change(loss.node, role="loss", gradient=np.ones((), loss.dtype), arrival=0)  # ∂f/∂f, where the rule begins
    gradient = watched.backward(tape)
    residual = tape[2]
    arrivals = [(node, residual) for node in logits] + [("0", gradient.w), ("1", gradient.b)]
    for arrival, (node, slope) in enumerate(arrivals, 1):
        recorder.change(node, gradient=np.array(_plain(slope)), arrival=arrival)
    return recorder.behind(loss.node)
