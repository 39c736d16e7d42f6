"""The graph of the loss as the backend recorded it: checked for form, put in order, cut to size.

People read graphs, a page and not a gigabyte. Long arrays are therefore reduced here, before the graph crosses: to
their first numbers, their 2-norm and their sum, which together still show a wrong component. The host judges whether
values and gradients are *right*.
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

    Raises `MalformedError` where `Backend.graph` returned no graph.
    """
    answer: object = trainee.backend.graph(trainee.weights(w, b), trainee.batch(step))
    if answer is None:
        return Graphed(False, []), {}
    nodes = _in_order(_check_nodes(answer))
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
        inputs = [position[node_id] for node_id in dict.fromkeys(node.inputs)]
        facts.append(NodeFacts(node.operation, node.role, inputs, node.arrival, *shapes))
        if node.value is not None and node.gradient is not None and shapes[0] != shapes[1]:
            value, gradient = (tuple(shape or ()) for shape in shapes)
            raise MalformedError(f"{_name_of(node)}: its gradient has shape {gradient}, its value {value}")
    return Graphed(True, facts), {**arrays, "totals": totals}


def _check_nodes(answer: object) -> list[Node]:
    """Check that each node is well-formed and that all together are one graph of one loss; return them."""
    if not isinstance(answer, list | tuple):
        raise MalformedError(f"graph must return a list of Node or None, got {type(answer).__name__}")
    if not 0 < len(answer) <= MOST_NODES:
        raise MalformedError(f"graph: {len(answer)} nodes; a graph to look at has 1 to {MOST_NODES}")
    nodes = [_check_node(node) for node in answer]
    known = {node.id for node in nodes}
    if len(known) != len(nodes):
        twice = next(node for i, node in enumerate(nodes) if any(node.id == earlier.id for earlier in nodes[:i]))
        raise MalformedError(f"graph: two nodes have the id {twice.id[:MOST_NAME]!r}")
    for node in nodes:
        for input_id in node.inputs:
            if input_id not in known:
                raise MalformedError(
                    f"{_name_of(node)}: its input {str(input_id)[:MOST_NAME]!r} is no node of the graph"
                )
    if sum(len(node.inputs) for node in nodes) > MOST_EDGES:
        raise MalformedError(f"graph: more than {MOST_EDGES} edges")
    losses = [node for node in nodes if node.role == "loss"]
    if len(losses) != 1 or np.shape(losses[0].value if losses[0].value is not None else 0.0) != ():
        raise MalformedError(f"graph: exactly one node must have the role 'loss', of shape (); {len(losses)} have it")
    return nodes


def _check_node(answer: object) -> Node:
    if not isinstance(answer, Node):
        raise MalformedError(f"graph must return a list of Node, got one that holds {type(answer).__name__}")
    node: Any = answer  # whatever the annotations say
    if not isinstance(node.id, str) or not isinstance(node.operation, str):
        raise MalformedError("graph: id and operation of a node must be strings")
    if not isinstance(node.inputs, Sequence) or not all(isinstance(node_id, str) for node_id in node.inputs):
        raise MalformedError(f"{_name_of(node)}: inputs must be a list of ids, got {type(node.inputs).__name__}")
    if node.role not in ROLES:
        raise MalformedError(
            f"{_name_of(node)}: its role is {str(node.role)[:MOST_NAME]!r}, not one of {', '.join(ROLES)}"
        )
    if node.arrival is not None and (type(node.arrival) is not int or not 0 <= node.arrival < 1 << 31):
        raise MalformedError(f"{_name_of(node)}: arrival must be a small number or None")
    if len(node.operation) > MOST_NAME:
        return answer._replace(operation=answer.operation[: MOST_NAME - 1] + "…")
    return answer


def _in_order(nodes: list[Node]) -> list[Node]:
    """Each node after its inputs, else in the given order. Raises `MalformedError` where there is a cycle."""
    waiting = {node.id: set(node.inputs) for node in nodes}
    consumers: dict[str, list[str]] = {node.id: [] for node in nodes}
    for node in nodes:
        for node_id in waiting[node.id]:
            consumers[node_id].append(node.id)
    by_id = {node.id: node for node in nodes}
    ready = [node.id for node in nodes if not waiting[node.id]]
    ordered: list[Node] = []
    while ready:
        node_id = ready.pop(0)
        ordered.append(by_id[node_id])
        for consumer in consumers[node_id]:
            waiting[consumer].discard(node_id)
            if not waiting[consumer]:
                ready.append(consumer)
    if len(ordered) < len(nodes):
        stuck = next(node for node in nodes if waiting[node.id])
        raise MalformedError(f"{_name_of(stuck)} is computed from itself: the graph has a cycle")
    return ordered


def _numbers(node: Node, name: str) -> Array | None:
    """Value or gradient as float32 or float64. Raises `MalformedError` where it is no array of numbers."""
    array: object = getattr(node, name)
    if array is None:
        return None
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "fiub":
        what = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise MalformedError(f"{_name_of(node)}: its {name} must be a numpy array of real numbers or None, got {what}")
    return np.asarray(array, dtype=array.dtype if array.dtype in (np.float32, np.float64) else np.float64)


def _totals(array: Array) -> tuple[float, float]:
    """2-norm and sum, each rounded once or twice; NaN where they are not finite."""
    numbers = array.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        squares = numbers * numbers
        if not np.isfinite(squares).all():
            return float("nan"), float("nan")
        return math.sqrt(math.fsum(squares.tolist())), math.fsum(numbers.tolist())


def _name_of(node: Any) -> str:
    return f"graph: node {str(node.id)[:MOST_NAME]!r} ({str(node.operation)[:MOST_NAME]})"
