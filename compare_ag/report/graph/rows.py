"""Several graphs on common rows: nodes that carry the same quantity stand beside each other."""

from __future__ import annotations

import heapq
from typing import NamedTuple, TypeAlias

from compare_ag.records.graphs import BackendGraph, GraphDocument, Numbers, Quantity
from compare_ag.text import printable

Key: TypeAlias = tuple[float, str, int]
"""(place, "", quantity), or (place, backend, node) of a node without a quantity, just before the nodes that use it"""

READING = (
    "One column for each backend, one row for each quantity: boxes on a row carry the same numbers, whatever they are "
    "called. Arrows go from inputs to what is made of them, the loss is at the bottom; = is the value that forward "
    "computed, ∂ the gradient of the loss with respect to it, where one flowed."
)
"""how to read it"""


class GraphRow(NamedTuple):
    """One quantity, or one node without a quantity, with the nodes of each backend in this row."""

    quantity: Quantity | None
    cells: dict[str, list[int]]


def heading(document: GraphDocument) -> str:
    """The problem and the step of the graph, in a line."""
    l2 = f", l2 {document.l2:.6g}" if document.l2 else ""
    size = f"{document.examples} examples, {document.features} features"
    when = f"after {document.step} updates" if document.step else "at the start"
    return f"{printable(document.problem)}: {size}, {document.loss} form{l2}, {document.dtype}, {when}"


def recorded_graphs(document: GraphDocument) -> list[BackendGraph]:
    """The graphs that the backends recorded."""
    return [graph for graph in document.graphs if graph.nodes]


def rows(document: GraphDocument) -> list[GraphRow]:
    """Inputs above the nodes that use them, in every graph at once; where several orders do, the order of forward.

    Where two graphs contradict each other (a node was matched to a wrong quantity), the order of forward decides.
    """
    cells: dict[Key, dict[str, list[int]]] = {}
    before: dict[Key, set[Key]] = {}
    for graph in recorded_graphs(document):
        keys = _keys(graph)
        for i, (key, node) in enumerate(zip(keys, graph.nodes, strict=True)):
            cells.setdefault(key, {}).setdefault(graph.backend, []).append(i)
            before.setdefault(key, set()).update({keys[j] for j in node.inputs} - {key})
    return [GraphRow(None if key[1] else document.quantities[key[2]], cells[key]) for key in _in_order(before)]


def _keys(graph: BackendGraph) -> list[Key]:
    """The key of each node."""
    places = [float("inf") if node.quantity is None else float(node.quantity) for node in graph.nodes]
    for i in reversed(range(len(graph.nodes))):
        for j in graph.nodes[i].inputs:
            if graph.nodes[j].quantity is None:
                places[j] = min(places[j], places[i] - 0.5)
    return [
        (place, graph.backend, i) if node.quantity is None else (place, "", node.quantity)
        for i, (place, node) in enumerate(zip(places, graph.nodes, strict=True))
    ]


def _in_order(before: dict[Key, set[Key]]) -> list[Key]:
    """Kahn's algorithm, the smallest key first; in a cycle the smallest key of all comes next."""
    after: dict[Key, list[Key]] = {key: [] for key in before}
    for key, origins in before.items():
        for origin in origins:
            after[origin].append(key)
    waiting = {key: len(origins) for key, origins in before.items()}
    ready = [key for key, count in waiting.items() if not count]
    heapq.heapify(ready)
    ordered: list[Key] = []
    done: set[Key] = set()
    while len(ordered) < len(before):
        key = heapq.heappop(ready) if ready else min(key for key in before if key not in done)
        if key in done:
            continue
        done.add(key)
        ordered.append(key)
        for following in after[key]:
            waiting[following] -= 1
            if not waiting[following]:
                heapq.heappush(ready, following)
    return ordered


# --- numbers in a graph -------------------------------------------------------------------------------------


def number(value: float | str) -> str:
    """Six significant digits, with the typographic minus."""
    text = f"{float(value):.6g}".replace("e-0", "e-").replace("e+0", "e")
    return text.replace("-", "−") if float(value) else "0"


def vector(numbers: Numbers) -> list[str]:
    """All numbers as words, rows of a matrix in brackets; of a long array the first numbers and the norm."""
    words = [number(value) for value in numbers.values]
    if not numbers.complete:
        return [*words[:3], "…", f"‖·‖ {number(numbers.norm)}"]
    if len(numbers.shape) < 2:
        return words
    width = numbers.shape[-1]
    return [f"[{' '.join(words[i : i + width])}]" for i in range(0, len(words), width or 1)]


def wrap_words(words: list[str], width: int, most: int = 20) -> list[str]:
    """Words in lines of at most ``width`` characters; a longer word is cut."""
    lines: list[str] = []
    for word in words:
        short = word if len(word) <= width else word[: width - 1] + "…"
        if lines and len(lines[-1]) + 1 + len(short) <= width:
            lines[-1] += " " + short
        else:
            lines.append(short)
    return lines if len(lines) <= most else [*lines[: most - 1], "…"]


def shape(numbers: Numbers | None) -> str:
    """``(4, 2)``, ``(4)`` or ``()``."""
    return "" if numbers is None else f"({', '.join(map(str, numbers.shape))})"


def times(ratio: float | str | None) -> str:
    """The error in tolerances."""
    return f"{float(ratio or 0):.2g} × its tolerance"


def label(text: str, width: int) -> str:
    """A plugin's name, cut to ``width``."""
    safe = printable(text)
    return safe if len(safe) <= width else safe[: width - 1] + "…"
