"""The drawing of several graphs, for every medium: bands of common quantities, boxes of lines, edges on lanes.

Places are counted in lines from the top; a writer decides how high a line is. `svg` and `text` write the same drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from compare_ag.records.graphs import BackendGraph, GraphDocument, GraphNode, Numbers, Quantity
from compare_ag.report.graph.rows import GraphRow, rows, times, vector, wrap_words


class TextLine(NamedTuple):
    """One line of a box."""

    text: str
    kind: str
    """name, number, slope (a gradient), soft or alarm: how a writer shows it"""


class Box(NamedTuple):
    """A node: its name in the line ``top``, then the details."""

    node: GraphNode
    top: int
    details: list[TextLine]

    @property
    def bottom(self) -> int:
        """The last line."""
        return self.top + len(self.details)


class Edge(NamedTuple):
    """From an input to the node that uses it; lane None: the boxes are neighbours, and the line is straight."""

    start: Box
    end: Box
    lane: int | None


class GraphColumn(NamedTuple):
    """The graph of one backend."""

    graph: BackendGraph
    boxes: list[Box]
    edges: list[Edge]
    lanes: int


class Band(NamedTuple):
    """The row of one quantity through all columns; without a quantity its lines are empty."""

    lines: list[TextLine]
    top: int
    height: int


class Drawing(NamedTuple):
    """Bands and columns that share their lines."""

    bands: list[Band]
    columns: list[GraphColumn]
    height: int


def lay_out(
    document: GraphDocument,
    graphs: Sequence[BackendGraph],
    room: Callable[[int], int],
    *,
    gap: int = 0,
    quantity_room: int | None = None,
) -> Drawing:
    """The drawing of these graphs of the document.

    room: characters of a box beside so many lanes. gap: lines between boxes. quantity_room: characters of a quantity's
    text; None: quantities have no text.
    """
    table = [row for row in rows(document) if any(graph.backend in row.cells for graph in graphs)]
    routes = [_routes(graph, table) for graph in graphs]
    boxes: list[dict[int, Box]] = [{} for _ in graphs]
    bands, top = [], 0
    for row in table:
        lines = [] if quantity_room is None else _quantity(row.quantity, quantity_room)
        height = len(lines)
        for graph, (_, lanes), own in zip(graphs, routes, boxes, strict=True):
            place = top
            for i in row.cells.get(graph.backend, []):
                own[i] = Box(graph.nodes[i], place, list(_details(graph.nodes[i], room(lanes))))
                place = own[i].bottom + 1 + gap
            height = max(height, place - gap - top)
        bands.append(Band(lines, top, height))
        top += height + gap
    columns = [
        GraphColumn(graph, list(own.values()), [Edge(own[start], own[end], lane) for start, end, lane in edges], lanes)
        for graph, (edges, lanes), own in zip(graphs, routes, boxes, strict=True)
    ]
    return Drawing(bands, columns, top)


def _routes(graph: BackendGraph, table: Sequence[GraphRow]) -> tuple[list[tuple[int, int, int | None]], int]:
    """(edges (from, to, lane), count of lanes): short edges take the lanes next to the boxes."""
    rank = {i: place for place, i in enumerate(i for row in table for i in row.cells.get(graph.backend, []))}
    edges = sorted(
        ((j, i) for i, node in enumerate(graph.nodes) for j in node.inputs),
        key=lambda edge: abs(rank[edge[1]] - rank[edge[0]]),
    )
    taken: list[list[tuple[int, int]]] = []
    routes: list[tuple[int, int, int | None]] = []
    for start, end in edges:
        if rank[end] == rank[start] + 1:
            routes.append((start, end, None))
            continue
        span = min(rank[start], rank[end]), max(rank[start], rank[end])
        free = (k for k, used in enumerate(taken) if all(span[1] <= low or high <= span[0] for low, high in used))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(span)
        routes.append((start, end, lane))
    return routes, len(taken)


# --- content ------------------------------------------------------------------------------------------------


def _quantity(quantity: Quantity | None, width: int) -> list[TextLine]:
    if quantity is None:
        return [TextLine("?", "name"), TextLine("no named quantity", "soft")]
    lines = [TextLine(quantity.symbol, "name")]
    lines += [TextLine(line, "soft") for line in wrap_words(quantity.meaning.split(), width)]
    return [
        *lines,
        *_numbers("= ", quantity.value, "number", width),
        *_numbers("∂ ", quantity.gradient, "slope", width),
    ]


def _details(node: GraphNode, width: int) -> Iterator[TextLine]:
    """The numbers of a node, and what is wrong with them."""
    yield from _numbers("= ", node.value, "number", width)
    yield from _numbers("∂ ", node.gradient, "slope", width)
    for what, ratio in (("value", node.value_ratio), ("gradient", node.gradient_ratio)):
        if ratio is not None and not float(ratio) <= 1.0:
            yield TextLine(f"✗ {what} off: {times(ratio)}", "alarm")


def _numbers(mark: str, numbers: Numbers | None, kind: str, width: int) -> Iterator[TextLine]:
    if numbers is not None:
        for n, line in enumerate(wrap_words(vector(numbers), width - len(mark)) or ["(empty)"]):
            yield TextLine((" " * len(mark) if n else mark) + line, kind)
