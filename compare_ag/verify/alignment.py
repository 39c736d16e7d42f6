"""Which quantity does a node carry, and are its numbers right? A node is recognised by its numbers, not by its name.

A node matches a quantity, or its negative, if their shapes are equal and every number of its value lies within the
quantity's tolerance. Where several quantities match (at zero weights p and 1 - p are both ½), the gradient decides,
then the formula: the quantity that is made in the fewest steps from those of the node's inputs. A node that shares only
the value of a quantity, and neither its gradient nor its origins, is not matched: at the start b is 0, and so are many
other numbers. The role alone names the loss and the parameters. The gradient of a matched node is compared with the
quantity's. The fault begins at a node whose gradient is wrong although the gradients of all nodes made from it are
right: the rule between them is wrong.

Of a long array the first numbers, the 2-norm and the sum are compared, as many as the worker sent. With τ the
tolerances, the norm may be off by ‖τ‖₂ and the sum by Σ τ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import msgspec
import numpy as np

from compare_ag.problem.core import Array
from compare_ag.records import real
from compare_ag.records.graphs import BackendGraph, GraphNode, Numbers, Quantity, numbers_of
from compare_ag.verify.oracle import Exact
from compare_ag.verify.quantities import NamedQuantity, negate

INFORMATIVE = 0.25
"""a tolerance beyond this share of the numbers themselves (in the 2-norm) is met by anything"""
UNRELATED = 100
"""steps between quantities without a path from the first to the second"""
ITSELF = 3
"""steps from a quantity to itself: such a node changes nothing, which is rare"""
FORCED = ("loss", "parameter")
"""roles that name the quantity"""
TOTALS = 8 * 2.0**-53
"""relative rounding error of a norm or a sum in float64, on both sides"""


class Aligned(NamedTuple):
    """Several graphs on the same quantities."""

    quantities: list[Quantity]
    """the quantities that the nodes carry, in the order of forward"""
    graphs: dict[str, BackendGraph]


def align(
    graphs: dict[str, list[GraphNode]],
    quantities: Sequence[NamedQuantity],
    whole: int,
    head: int,
    dtype: str,
    reason: str,
) -> Aligned:
    """Name and judge the nodes of all backends.

    whole, head: how many numbers of an array are kept (see `Numbers`). reason: why a number cannot be decided, if one
    cannot.
    """
    catalogue = _Catalogue(quantities)
    signed = catalogue.signed
    named_graphs = {name: _name_nodes(nodes, catalogue) for name, nodes in graphs.items()}
    used = sorted({node.quantity for nodes in named_graphs.values() for node in nodes if node.quantity is not None})
    place = dict(zip(used, count(), strict=False))
    judged = {
        name: _judge_graph(
            name,
            [
                msgspec.structs.replace(node, quantity=None if node.quantity is None else place[node.quantity])
                for node in nodes
            ],
            [signed[i].symbol for i in used],
            reason,
        )
        for name, nodes in named_graphs.items()
    }
    return Aligned([_record(signed[i], whole, head, dtype) for i in used], judged)


# --- recognising --------------------------------------------------------------------------------------------


class _Catalogue:
    """The quantities with either sign, and how many steps of a formula lie between two of them."""

    def __init__(self, quantities: Sequence[NamedQuantity]) -> None:
        self.signed: list[NamedQuantity] = []
        self._plain: list[int] = []
        known = {quantity.symbol for quantity in quantities}
        for i, quantity in enumerate(quantities):
            opposite = negate(quantity)
            both = [quantity] if opposite.symbol in known else [quantity, opposite]
            self.signed += both
            self._plain += [i] * len(both)
        self._steps = _steps(quantities)

    def negative(self, i: int) -> bool:
        """Whether this is the negative of a quantity."""
        return i > 0 and self._plain[i] == self._plain[i - 1]

    def steps(self, origins: set[int], i: int) -> int:
        """The steps of the formula from all ``origins`` to ``i``; a change of sign counts as a step."""
        end = self._plain[i]
        total = 0
        for origin in origins:
            start = self._plain[origin]
            turned = self.negative(origin) != self.negative(i)
            total += int(turned) if start == end and turned else ITSELF if start == end else self._steps[start][end]
        return total


def _steps(quantities: Sequence[NamedQuantity]) -> list[list[int]]:
    """[i][j]: the fewest steps from quantity i to quantity j."""
    place = {quantity.symbol: i for i, quantity in enumerate(quantities)}
    fewest = [[UNRELATED] * len(quantities) for _ in quantities]
    for i in range(len(quantities)):
        fewest[i][i] = 0
    for j, quantity in enumerate(quantities):  # its origins stand before it
        for origin in (place[symbol] for symbol in quantity.made_from):
            for row in fewest:
                row[j] = min(row[j], row[origin] + 1, UNRELATED)
    return fewest


def _name_nodes(nodes: Sequence[GraphNode], catalogue: _Catalogue) -> list[GraphNode]:
    """The nodes with the quantities that they carry, each as a position in the catalogue."""
    signed = catalogue.signed
    named: list[GraphNode] = []
    for node in nodes:
        fits = _positions_by_role(node, signed)
        if fits is None:
            fits = [i for i, quantity in enumerate(signed) if _carries(node, quantity)]
        if not fits:
            named.append(node)
            continue
        inputs = {position for position in (named[index].quantity for index in node.inputs) if position is not None}
        best = min(fits, key=lambda i: _rank(node, catalogue, inputs, i))
        if node.role not in FORCED and _coincidence(node, catalogue, inputs, best):
            named.append(node)
            continue
        value = None if node.value is None else ratio(node.value, signed[best].value, signed[best].value_tolerance)
        slope = _slope_ratio(node, signed[best])
        named.append(
            msgspec.structs.replace(
                node,
                quantity=best,
                value_ratio=None if value is None else real(value),
                gradient_ratio=None if slope is None else real(slope),
            )
        )
    return named


def _rank(node: GraphNode, catalogue: _Catalogue, inputs: set[int], i: int) -> tuple[int, int, bool, bool, int]:
    """Smaller is likelier; an operation's name counts last, where |s| and max(s, 0) are the same numbers."""
    quantity = catalogue.signed[i]
    spoken = any(hint in node.operation.lower() for hint in quantity.hints)
    return _gradient_rank(node, quantity), catalogue.steps(inputs, i), not spoken, catalogue.negative(i), i


def _coincidence(node: GraphNode, catalogue: _Catalogue, inputs: set[int], i: int) -> bool:
    """Whether only the value matches: the gradient differs, and no step of the formula leads from the inputs to it."""
    related = bool(inputs) and catalogue.steps(inputs, i) < UNRELATED
    return _gradient_rank(node, catalogue.signed[i]) == 2 and not related


def _positions_by_role(node: GraphNode, signed: Sequence[NamedQuantity]) -> list[int] | None:
    """The catalogue's positions that the node's role allows; None where the role names no quantity."""
    shape = None if node.value is None else tuple(node.value.shape)
    if node.role == "loss":
        return [i for i, quantity in enumerate(signed) if quantity.symbol == "f"]
    if node.role == "parameter":
        return [i for i, quantity in enumerate(signed) if quantity.symbol in ("w", "b") and quantity.shape == shape]
    return None


def _carries(node: GraphNode, quantity: NamedQuantity) -> bool:
    if node.value is None or tuple(node.value.shape) != quantity.shape:
        return False
    share = ratio(node.value, quantity.value, quantity.value_tolerance)
    if share is None or not share <= 1.0:
        return False
    allowed = quantity.value_tolerance[np.isfinite(quantity.value_tolerance)]
    # whether ‖τ‖₂ > INFORMATIVE ‖q‖₂, so that any number would match
    with np.errstate(all="ignore"):  # in units of the largest number, so that no square overflows
        unit = float(np.abs(quantity.value.high).max(initial=0.0)) or 1.0
        loose = np.linalg.norm(allowed / unit) > INFORMATIVE * np.linalg.norm(quantity.value.high / unit)
    return share == 0.0 or not loose


def _gradient_rank(node: GraphNode, quantity: NamedQuantity) -> int:
    """0 where the gradients agree, 1 where there is nothing to compare, 2 where they do not."""
    share = _slope_ratio(node, quantity)
    return 1 if share is None else 0 if share <= 1.0 else 2


def _slope_ratio(node: GraphNode, quantity: NamedQuantity) -> float | None:
    if node.gradient is None or quantity.gradient is None or quantity.gradient_tolerance is None:
        return None
    if tuple(node.gradient.shape) != quantity.shape:
        return math.inf
    return ratio(node.gradient, quantity.gradient, quantity.gradient_tolerance)


def ratio(observed: Numbers, exact: Exact, tolerance: Array) -> float | None:
    """The largest observed/tolerance; None where no tolerance is finite."""
    first = len(observed.values)
    values = np.array([float(number) for number in observed.values])
    flat = Exact(exact.high.ravel()[:first], exact.low.ravel()[:first], float(np.max(exact.radius)))
    with np.errstate(all="ignore"):
        deviation, allowed = flat.deviation(values), tolerance.ravel()[:first]
        high = exact.high.ravel()
        if not observed.complete and np.isfinite(tolerance).all():
            size, norm = float(np.abs(high).sum()), float(np.linalg.norm(high))
            sums = [abs(float(observed.norm) - norm), abs(float(observed.total) - math.fsum(high.tolist()))]
            # ‖τ‖₂ for the norm and Σ τ for the sum, and the rounding of both
            bounds = [np.linalg.norm(tolerance) + TOTALS * norm, tolerance.sum() + TOTALS * size]
            deviation, allowed = np.append(deviation, sums), np.append(allowed, bounds)
        decided = np.isfinite(allowed)
        if not decided.any():
            return None
        deviation, allowed = deviation[decided], allowed[decided]
        # an exact number must be met exactly; NaN is no agreement
        share = np.where(deviation == 0.0, 0.0, deviation / allowed)
    return float(np.where(np.isnan(share), np.inf, share).max(initial=0.0))


# --- judging ------------------------------------------------------------------------------------------------


def _judge_graph(name: str, nodes: list[GraphNode], symbols: list[str], reason: str) -> BackendGraph:
    """The graph with its status, the nodes at which faults begin, and a message."""
    wrong = {i for i, node in enumerate(nodes) if not _right(node.gradient_ratio)}
    consumers: dict[int, list[int]] = {i: [] for i in range(len(nodes))}
    for i, node in enumerate(nodes):
        for origin in node.inputs:
            consumers[origin].append(i)
    origins = sorted(wrong - _downstream(nodes, wrong, consumers))
    values = [i for i, node in enumerate(nodes) if not _right(node.value_ratio)]
    slopes = [node for node in nodes if node.gradient is not None and node.role != "loss"]  # ∂f/∂f = 1 is no result
    judged = [float(node.gradient_ratio) for node in slopes if node.gradient_ratio is not None]
    if values or wrong:
        return BackendGraph(
            backend=name,
            status="disagree",
            message=_value_fault(nodes[values[0]]) if values else _gradient_fault(nodes, symbols, origins, consumers),
            nodes=nodes,
            origins=origins,
        )
    named = sum(node.quantity is not None for node in nodes)
    message = f"{len(nodes)} nodes, {named} carry a named quantity"
    if judged:
        worst = f"the worst at {max(judged):.2g} of its tolerance"
        every = len(judged) == len(slopes)
        which = f"all {len(slopes)}" if every else f"{len(judged)} of {len(slopes)}"
        message += f"; of the gradients that follow from ∂f/∂f = 1, {which} {'' if every else 'can be compared and '}"
        message += f"are right, {worst}"
    else:
        message += "; no gradient can be compared"
    if open_ends := _open_ends(nodes, symbols):
        message += f"; {', '.join(open_ends)} cannot be decided: {reason}"
    return BackendGraph(
        backend=name, status="undecidable" if open_ends or not judged else "ok", message=message, nodes=nodes
    )


def _open_ends(nodes: list[GraphNode], symbols: list[str]) -> list[str]:
    """Numbers of loss and parameters that the backend gave and that no finite tolerance judges."""
    undecided: list[str] = []
    for node in nodes:
        if node.role in FORCED:
            symbol = node.operation if node.quantity is None else symbols[node.quantity]
            if node.value is not None and node.value_ratio is None:
                undecided.append(symbol)
            if node.gradient is not None and node.gradient_ratio is None:
                undecided.append(f"∂f/∂{symbol}")
    return undecided


def _downstream(nodes: list[GraphNode], wrong: set[int], consumers: dict[int, list[int]]) -> set[int]:
    """Nodes that a wrong gradient reached from another wrong node, directly or through nodes without a verdict."""
    reached: set[int] = set()
    sources = set(wrong)  # nodes whose gradient makes those of their inputs wrong
    for i in reversed(range(len(nodes))):  # consumers stand behind
        if not sources.isdisjoint(consumers[i]):
            reached.add(i)
            if nodes[i].gradient_ratio is None:
                sources.add(i)
    return reached


def _right(share: float | str | None) -> bool:
    return share is None or float(share) <= 1.0


def _value_fault(node: GraphNode) -> str:
    return f"the value of the {node.role} ({node.operation}) is {_times(node.value_ratio)} off"


def _gradient_fault(
    nodes: list[GraphNode], symbols: list[str], origins: list[int], consumers: dict[int, list[int]]
) -> str:
    """Where the fault begins; the consumers are named where all of them have been checked."""

    def describe(node: GraphNode) -> str:
        symbol = "" if node.quantity is None else symbols[node.quantity]
        return node.operation if symbol in ("", node.operation) else f"{node.operation} ({symbol})"

    first = nodes[origins[0]]  # a graph has no cycle, so a wrong gradient has an origin
    message = f"the gradient that arrives at {describe(first)} is {_times(first.gradient_ratio)} off"
    behind = [nodes[i] for i in consumers[origins[0]]]
    if behind and all(node.gradient_ratio is not None for node in behind):
        names = " and ".join(dict.fromkeys(map(describe, behind)))
        message += f", while what arrives at {names} is right: look at the rule between them"
    more = sum(not _right(node.gradient_ratio) for node in nodes) - 1
    return message + (f"; {more} more are wrong" if more else "")


def _times(share: float | str | None) -> str:
    return f"{float(share or 0):.2g} times its tolerance"


# --- out ----------------------------------------------------------------------------------------------------


def _record(quantity: NamedQuantity, whole: int, head: int, dtype: str) -> Quantity:
    return Quantity(
        symbol=quantity.symbol,
        meaning=quantity.meaning,
        value=_numbers(quantity.value, whole, head, dtype),
        gradient=None if quantity.gradient is None else _numbers(quantity.gradient, whole, head, dtype),
    )


def _numbers(exact: Exact, whole: int, head: int, dtype: str) -> Numbers:
    """The exact numbers, each rounded once to ``dtype``; norm and sum are those of the numbers before that."""
    with np.errstate(over="ignore"):
        rounded = numbers_of(exact.high.astype(dtype), whole, head)
    wide = numbers_of(exact.high, whole, head)
    return msgspec.structs.replace(rounded, norm=wide.norm, total=wide.total)
