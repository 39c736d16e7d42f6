"""The graph of the loss, as the backend says that it recorded it: checked for form, put in order, cut to size.

A graph belongs to people, who read a page of it and not a gigabyte. So what is long is reduced here, before it
crosses: to its first numbers, its 2-norm and its sum, which between them still show a wrong component. Whether values
and gradients are *right* is judged in the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from compare_ag.contract.backend import Node, Role
from compare_ag.worker.messages import HEAD, MOST_EDGES, MOST_NAME, MOST_NODES, WHOLE, Graphed, NodeFacts
from compare_ag.worker.training import Array, MalformedError, Trainee

ROLES = get_args(Role)


def graph(trainee: Trainee, step: int, w: Array, b: Array) -> tuple[Graphed, dict[str, Array]]:
    """The `Graphed` reply and its arrays, at the weights w (d,), b () on the batch of ``step``.

    Raises `MalformedError` where what `Backend.graph` returned is no graph.
    """
    said: object = trainee.backend.graph(trainee.weights(w, b), trainee.batch(step))
    if said is None:
        return Graphed(False, []), {}
    nodes = _in_order(_checked(said))
    position = {node.id: i for i, node in enumerate(nodes)}
    arrays: dict[str, Array] = {}
    totals = np.full((len(nodes), 4), np.nan)
    facts = []
    for i, node in enumerate(nodes):
        shapes: list[list[int] | None] = []
        for column, name in ((0, "value"), (2, "gradient")):
            array = _numbers(node, name)
            shapes.append(None if array is None else list(array.shape))
            if array is not None:
                arrays[f"{name}{i}"] = array.ravel()[: WHOLE if array.size <= WHOLE else HEAD]
                totals[i, column : column + 2] = _totals(array)
        inputs = [position[one] for one in dict.fromkeys(node.inputs)]
        facts.append(NodeFacts(node.operation, node.role, inputs, node.arrival, *shapes))
        if node.value is not None and node.gradient is not None and shapes[0] != shapes[1]:
            value, gradient = (tuple(shape or ()) for shape in shapes)
            raise MalformedError(f"{_named(node)}: its gradient has shape {gradient}, its value {value}")
    return Graphed(True, facts), {**arrays, "totals": totals}


def _checked(said: object) -> list[Node]:
    """The nodes, each in itself well-formed, and all together one graph of one loss."""
    if not isinstance(said, list | tuple):
        raise MalformedError(f"graph must return a list of Node or None, got {type(said).__name__}")
    if not 0 < len(said) <= MOST_NODES:
        raise MalformedError(f"graph: {len(said)} nodes; a graph to look at has 1 to {MOST_NODES}")
    nodes = [_checked_node(one) for one in said]
    known = {node.id for node in nodes}
    if len(known) != len(nodes):
        twice = next(one for i, one in enumerate(nodes) if any(one.id == other.id for other in nodes[:i]))
        raise MalformedError(f"graph: two nodes have the id {twice.id[:MOST_NAME]!r}")
    for node in nodes:
        for one in node.inputs:
            if one not in known:
                raise MalformedError(f"{_named(node)}: its input {str(one)[:MOST_NAME]!r} is no node of the graph")
    if sum(len(node.inputs) for node in nodes) > MOST_EDGES:
        raise MalformedError(f"graph: more than {MOST_EDGES} edges")
    losses = [node for node in nodes if node.role == "loss"]
    if len(losses) != 1 or np.shape(losses[0].value if losses[0].value is not None else 0.0) != ():
        raise MalformedError(f"graph: exactly one node must have the role 'loss', of shape (); {len(losses)} have it")
    return nodes


def _checked_node(said: object) -> Node:
    if not isinstance(said, Node):
        raise MalformedError(f"graph must return a list of Node, got one that holds {type(said).__name__}")
    one: Any = said  # whatever the annotations say
    if not isinstance(one.id, str) or not isinstance(one.operation, str):
        raise MalformedError("graph: id and operation of a node must be strings")
    if not isinstance(one.inputs, Sequence) or not all(isinstance(other, str) for other in one.inputs):
        raise MalformedError(f"{_named(one)}: inputs must be a list of ids, got {type(one.inputs).__name__}")
    if one.role not in ROLES:
        raise MalformedError(f"{_named(one)}: its role is {str(one.role)[:MOST_NAME]!r}, not one of {', '.join(ROLES)}")
    if one.arrival is not None and (type(one.arrival) is not int or not 0 <= one.arrival < 1 << 31):
        raise MalformedError(f"{_named(one)}: arrival must be a small number or None")
    if len(one.operation) > MOST_NAME:
        return said._replace(operation=said.operation[: MOST_NAME - 1] + "…")
    return said


def _in_order(nodes: list[Node]) -> list[Node]:
    """Each node after its inputs, else in the order given. Raises `MalformedError` where there is a cycle."""
    waiting = {node.id: set(node.inputs) for node in nodes}
    consumers: dict[str, list[str]] = {node.id: [] for node in nodes}
    for node in nodes:
        for one in waiting[node.id]:
            consumers[one].append(node.id)
    named = {node.id: node for node in nodes}
    ready = [node.id for node in nodes if not waiting[node.id]]
    ordered: list[Node] = []
    while ready:
        one = ready.pop(0)
        ordered.append(named[one])
        for consumer in consumers[one]:
            waiting[consumer].discard(one)
            if not waiting[consumer]:
                ready.append(consumer)
    if len(ordered) < len(nodes):
        stuck = next(node for node in nodes if waiting[node.id])
        raise MalformedError(f"{_named(stuck)} is computed from itself: the graph has a cycle")
    return ordered


def _numbers(node: Node, name: str) -> Array | None:
    """Value or gradient as float32 or float64. Raises `MalformedError` where it is no array of numbers."""
    array: object = getattr(node, name)
    if array is None:
        return None
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "fiub":
        what = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise MalformedError(f"{_named(node)}: its {name} must be a numpy array of real numbers or None, got {what}")
    return np.asarray(array, dtype=array.dtype if array.dtype in (np.float32, np.float64) else np.float64)


def _totals(array: Array) -> tuple[float, float]:
    """2-norm and sum, each rounded once or twice; NaN where they are not finite."""
    numbers = array.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        squares = numbers * numbers
        if not np.isfinite(squares).all():
            return float("nan"), float("nan")
        return math.sqrt(math.fsum(squares.tolist())), math.fsum(numbers.tolist())


def _named(node: Any) -> str:
    return f"graph: node {str(node.id)[:MOST_NAME]!r} ({str(node.operation)[:MOST_NAME]})"
