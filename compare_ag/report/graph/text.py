"""The graphs of several backends in a terminal: the drawing of `layout` in letters, and the names of the quantities."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from compare_ag.records.graphs import BackendGraph, GraphDocument, GraphNode, Numbers
from compare_ag.report.graph.layout import GraphColumn, lay_out
from compare_ag.report.graph.rows import heading, label, number, recorded_graphs, rows, shape, vector
from compare_ag.report.grid import Grid
from compare_ag.text import printable

COLUMN = 40
"""characters below which a graph is hard to read"""
WIDEST = 60
GAP = 2
MOST_LANES = 12
"""beside a column; longer edges beyond it share the last lane"""
STATUS = {"ok": "green", "disagree": "bold red", "undecidable": "yellow", "not-offered": "dim"}
STYLES = {"number": "", "slope": "magenta", "alarm": "bold red"}
"""of the lines of a box, by kind"""
LEFT, RIGHT, UP, DOWN = 1, 2, 4, 8
STROKES = " ───│╯╰┴│╮╭┬│┤├┼"
"""the character that leads into the directions of a sum of these four"""


def graph_text(document: GraphDocument) -> RenderableType:
    """The complete report on the graphs for the terminal."""
    graphs = recorded_graphs(document)
    parts: list[RenderableType] = [Text(heading(document), style="bold"), *_messages(document), Text()]
    if graphs:
        parts += [_Columns(document, graphs), Text(), _names(document, graphs), Text(), Text(_LEGEND, style="dim")]
    return Group(*parts)


_LEGEND = (
    "Read downwards: a line leads from each node to the nodes that are made of it, the loss is at the bottom. = is the "
    "value that forward computed, ∂ the gradient of the loss with respect to it, as it arrived in backward. The name "
    "behind the shape is the quantity whose exact numbers these are, within a computed rounding tolerance; ? is a node "
    "that carries none."
)


def _messages(document: GraphDocument) -> Iterator[Text]:
    for graph in document.graphs:
        yield Text.assemble(
            (printable(graph.backend), "bold"), "  ", (graph.status, STATUS.get(graph.status, "red")), "  ",
            printable(graph.message),
        )  # fmt: skip  # one line of the report
    if document.note:
        yield Text(document.note, style="yellow")


class _Columns:
    """The graphs side by side, as many as fit, on common rows."""

    def __init__(self, document: GraphDocument, graphs: list[BackendGraph]) -> None:
        self._document, self._graphs = document, graphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = max(1, min(len(self._graphs), (options.max_width + GAP) // (COLUMN + GAP)))
        width = min(WIDEST, (options.max_width + GAP) // columns - GAP)
        for first in range(0, len(self._graphs), columns):
            if first:
                yield Text()
            drawing = lay_out(
                self._document, self._graphs[first : first + columns], lambda lanes: max(10, width - _gutter(lanes) - 2)
            )
            table = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
            for _ in drawing.columns:
                table.add_column(width=width, no_wrap=True, overflow="ellipsis")
            table.add_row(*(Group(*self._lines(column, drawing.height, width)) for column in drawing.columns))
            yield table

    def _lines(self, column: GraphColumn, height: int, width: int) -> Iterator[Text]:
        """The lines of one column: its edges, and on them the boxes."""
        yield Text(printable(column.graph.backend), style="bold underline")
        gutter = _gutter(column.lanes)
        edges = _edges(column, height, gutter)
        lines = [Text(line, style="dim") for line in edges]
        for box in column.boxes:
            lines[box.top] = Text.assemble((edges[box.top][:gutter], "dim"), "● ")
            lines[box.top].append_text(self._name(box.node, width - gutter - 2))
            for line, (text, kind) in enumerate(box.details, box.top + 1):
                lines[line] = Text.assemble((edges[line], "dim"), (text, STYLES[kind]))
        yield from lines

    def _name(self, node: GraphNode, width: int) -> Text:
        """Operation, shape, quantity."""
        size = shape(node.value if node.value is not None else node.gradient)
        symbol = "?" if node.quantity is None else self._document.quantities[node.quantity].symbol
        room = max(8, width - len(size) - len(symbol) - 3)
        return Text.assemble((label(node.operation, room), "bold"), f" {size}  ", (symbol, "cyan"))


def _gutter(lanes: int) -> int:
    """Characters left of the boxes."""
    return min(lanes, MOST_LANES) + bool(lanes)


def _edges(column: GraphColumn, height: int, gutter: int) -> list[str]:
    """The edges of one column as lines of `gutter` + 2 characters."""
    cells = [[0] * (gutter + 2) for _ in range(height)]

    def go_down(place: int, first: int, last: int) -> None:
        for line in range(first, last + 1):
            cells[line][place] |= UP | DOWN

    for start, end, lane in column.edges:
        if lane is None:
            go_down(gutter, start.top + 1, end.top - 1)
            continue
        place = gutter - 2 - min(lane, MOST_LANES - 1)
        first, last = sorted((start.bottom, end.top))
        cells[first][place] |= RIGHT | DOWN
        go_down(place, first + 1, last - 1)
        cells[last][place] |= RIGHT | UP
        for between in range(place + 1, gutter):
            cells[first][between] |= LEFT | RIGHT
            cells[last][between] |= LEFT | RIGHT
        if start.details:
            go_down(gutter, start.top + 1, start.bottom - 1)
            cells[start.bottom][gutter] |= UP | LEFT
    return ["".join(STROKES[cell] for cell in line) for line in cells]


def _words(numbers: Numbers) -> str:
    return " ".join(vector(numbers))


def _names(document: GraphDocument, graphs: list[BackendGraph]) -> Grid:
    """A row for each quantity, with the name that each backend gives it."""
    named = {graph.backend: graph for graph in graphs}
    grid = Grid("quantity", *(printable(name) for name in named), "exact", words=1 + len(named))
    for row in rows(document):
        cells = [
            Text(", ".join(label(graph.nodes[i].operation, 24) for i in row.cells.get(name, [])))
            for name, graph in named.items()
        ]
        for cell, (name, graph) in zip(cells, named.items(), strict=True):
            if any(graph.nodes[i].wrong for i in row.cells.get(name, [])):
                cell.stylize("bold red")
                cell.append(" ✗")
        symbol = "?" if row.quantity is None else row.quantity.symbol
        value = row.quantity.value if row.quantity is not None else None
        exact = "" if value is None else _words(value) if value.size <= 4 else f"‖·‖ {number(value.norm)}"
        grid.add_row(Text(symbol, style="cyan"), *cells, exact)
    return grid
