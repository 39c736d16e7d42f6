"""The graph that autograd records: the same trace, with nodes that remember what they are.

autograd's own node keeps its parents and the closure that maps a gradient back, and forgets the function and the value.
The class below keeps them too, and notes each gradient that its closure is called with. The backend stays as it is: a
copy of it runs its own forward and backward, only with another recorder. Three nodes are not in the formula: `make_vjp`
differentiates in one argument, so w and b travel as one tuple, and `container_take` takes each of them out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy
from autograd.core import VJPNode, backward_pass
from autograd.tracer import notrace_primitives, trace
from autograd.wrap_util import unary_to_nary

from compare_ag import Batch, Node, Weights

if TYPE_CHECKING:
    from compare_ag_autograd import AutogradBackend

Array = numpy.ndarray[Any, Any]


class _Remembering(VJPNode):  # type: ignore[misc]  # autograd has no annotations
    """A node of the trace that knows its function, its value and, after backward, its gradient."""

    position: int | None = None
    """0 for w, 1 for b, where the node is one of them"""
    vjp: Callable[[Any], Any]

    def __init__(self, value: Any, fun: Any, args: Any, kwargs: Any, parent_argnums: Any, parents: Any) -> None:
        super().__init__(value, fun, args, kwargs, parent_argnums, parents)
        self._remember(str(getattr(fun, "__name__", fun)), numpy.array(value))
        if self.operation == "container_take" and parents[0].is_root:
            self.position = int(args[1])

    def initialize_root(self) -> None:
        """The tuple (w, b), where the trace begins."""
        super().initialize_root()
        self._remember("(w, b)", None)
        self.is_root = True

    def _remember(self, operation: str, value: Array | None) -> None:
        self.operation, self.value, self.is_root = operation, value, False
        self.gradient: Array | None = None
        self.arrival: int | None = None

    def watch(self, order: Iterator[int]) -> None:
        """Note the gradient that the closure is called with, and when."""
        pull_back = self.vjp

        def noting(gradient: Any) -> Any:
            self.gradient, self.arrival = numpy.array(gradient), next(order)
            return pull_back(gradient)

        self.vjp = noting


notrace_primitives[_Remembering] = notrace_primitives[VJPNode]  # shapes and comparisons are no part of any trace


def recorded(backend: AutogradBackend, weights: Weights, batch: Batch) -> list[Node]:
    """Run the backend's own forward and backward with remembering nodes; return them from the loss down."""
    ends: list[_Remembering] = []

    @unary_to_nary  # type: ignore[untyped-decorator]  # autograd has no annotations
    def remember(formula: Callable[..., Any], x: Any) -> tuple[Callable[[Any], Any], Any]:
        value, end = trace(_Remembering.new_root(), formula, x)
        ends.append(end)
        return lambda factor: backward_pass(factor, end), value

    watched = copy.copy(backend)
    watched.record = remember(backend.formula, argnum=(0, 1))
    _, tape = watched.forward(weights, batch)
    nodes = _reachable(ends[-1])
    order = count()
    for node in nodes:
        if not node.is_root:
            node.watch(order)
    gradient = watched.backward(tape)
    for node in nodes:
        if node.position is not None:
            node.gradient = numpy.array(gradient[node.position])  # what backward returned is what counts
    return [
        Node(
            str(number),
            node.operation,
            [str(nodes[parent]) for parent in dict.fromkeys(node.parents)],
            node.value,
            node.gradient,
            "loss" if node is ends[-1] else "operation" if node.position is None else "parameter",
            node.arrival,
        )
        for node, number in nodes.items()
    ]


def _reachable(end: _Remembering) -> dict[_Remembering, int]:
    """Every node from the loss down to the tuple, numbered as met."""
    found: dict[_Remembering, int] = {}
    waiting = [end]
    while waiting:
        node = waiting.pop(0)
        if node not in found:
            found[node] = len(found)
            waiting += node.parents
    return found
