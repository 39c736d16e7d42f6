"""The graph that PyTorch records: nodes of backward, found from the loss along `grad_fn` and `next_functions`.

A node of this graph is a *derivative*, named after the operation it belongs to: `AddmvBackward0` maps the gradient of
addmv's result to those of its arguments. The value that forward computed there is the operation's result, which the
node itself need not keep; a mode that sees every call of torch catches it. Gradients are caught on their way: hooks
before each node during one real backward pass, and the leaves' own hooks, for `torch.autograd.grad` stops short of
`AccumulateGrad`. Data and constants require no gradient and have no node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.overrides import TorchFunctionMode

from compare_ag import Backend, Batch, Node, Weights

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray[Any, Any]


class _Results(TorchFunctionMode):
    """Keeps a copy of every result that has a `grad_fn`, under that node and the number of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[tuple[Any, int], Array] = {}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            # the first result of a node is its own: a view or an alias that is made later changes nothing
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                self.of.setdefault((tensor.grad_fn, tensor.output_nr), _copied(tensor))
        return result


def recorded(backend: Backend, weights: Weights, batch: Batch) -> list[Node]:
    """Run the backend's own forward and backward, watched; return the nodes from the loss down."""
    with _Results() as results:
        _, (loss, leaves) = backend.forward(weights, batch)
    nodes = _reachable(loss.grad_fn)
    arrived: dict[Any, tuple[int, Array | None]] = {}

    def watch(node: Any) -> Callable[[Any], None]:
        def note(gradients: Any) -> None:
            first = gradients[0] if isinstance(gradients, tuple) else gradients
            arrived.setdefault(node, (len(arrived), None if first is None else _copied(first)))

        return note

    for node in nodes:
        leaf = getattr(node, "variable", None)
        hook = watch(node)
        if leaf is None:
            node.register_prehook(hook)
        else:
            leaf.register_hook(hook)
    gradient = backend.backward((loss, leaves))
    given = {id(leaf): _copied(slope) for leaf, slope in zip(leaves, gradient, strict=True)}
    return [_node(node, nodes, results, arrived, given, loss.grad_fn) for node in nodes]


def _reachable(root: Any) -> dict[Any, str]:
    """Every node from the loss down to the leaves, numbered as met."""
    found: dict[Any, str] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop(0)
        if node is not None and node not in found:
            found[node] = str(len(found))
            waiting += [following for following, _ in node.next_functions]
    return found


def _node(
    node: Any, nodes: dict[Any, str], results: _Results, arrived: dict[Any, Any], given: dict[int, Array], root: Any
) -> Node:
    inputs = list(dict.fromkeys(nodes[following] for following, _ in node.next_functions if following is not None))
    order, gradient = arrived.get(node, (None, None))
    leaf = getattr(node, "variable", None)
    if leaf is not None:  # what backward returned for it, which is what counts
        return Node(
            nodes[node], type(node).__name__, inputs, _copied(leaf), given.get(id(leaf), gradient), "parameter", order
        )
    value = results.of.get((node, 0))
    return Node(
        nodes[node], type(node).__name__, inputs, value, gradient, "loss" if node is root else "operation", order
    )


def _copied(tensor: Tensor) -> Array:
    return np.array(tensor.detach().numpy())
