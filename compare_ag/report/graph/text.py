"""The graphs of several backends in a terminal: trees from the loss down, side by side where there is room."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from compare_ag.records.graphs import BackendGraph, GraphDocument, GraphNode, Numbers
from compare_ag.report.graph.rows import heading, label, number, recorded_graphs, rows, shape, times, vector, wrap_words
from compare_ag.report.grid import Grid
from compare_ag.text import printable

COLUMN = 40
"""columns below which a tree is hard to read"""
WIDEST = 60
GAP = 2
STATUS = {"ok": "green", "disagree": "bold red", "undecidable": "yellow", "not-offered": "dim"}


def graph_text(document: GraphDocument) -> RenderableType:
    """The complete report on the graphs for the terminal."""
    graphs = recorded_graphs(document)
    parts: list[RenderableType] = [Text(heading(document), style="bold"), *_messages(document), Text()]
    if graphs:
        parts += [_Trees(document, graphs), Text(), _names(document, graphs), Text(), Text(_LEGEND, style="dim")]
    return Group(*parts)


_LEGEND = (
    "Read downwards: a node is made of the next one below it on its line and of those that branch off. = is the value "
    "that forward computed, ∂ the gradient of the loss with respect to it, as it arrived in backward. The name behind "
    "the shape is the quantity whose exact numbers these are, within a computed rounding tolerance; ? is a node that "
    "carries none. ↑ and ↓ stand for nodes shown above and below."
)


def _messages(document: GraphDocument) -> Iterator[Text]:
    for graph in document.graphs:
        yield Text.assemble(
            (printable(graph.backend), "bold"), "  ", (graph.status, STATUS.get(graph.status, "red")), "  ",
            printable(graph.message),
        )  # fmt: skip  # one line of the report
    if document.note:
        yield Text(document.note, style="yellow")


class _Trees:
    """The trees in as many columns as fit."""

    def __init__(self, document: GraphDocument, graphs: list[BackendGraph]) -> None:
        self._document, self._graphs = document, graphs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = max(1, min(len(self._graphs), (options.max_width + GAP) // (COLUMN + GAP)))
        width = min(WIDEST, (options.max_width + GAP) // columns - GAP)
        for first in range(0, len(self._graphs), columns):
            if first:
                yield Text()
            table = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
            row = self._graphs[first : first + columns]
            for _ in row:
                table.add_column(width=width, no_wrap=True, overflow="ellipsis")
            table.add_row(*(Group(*_tree(self._document, graph, width)) for graph in row))
            yield table


def _tree(document: GraphDocument, graph: BackendGraph, width: int) -> Iterator[Text]:
    """A tree from the loss down, drawn as git draws history: the largest branch continues its line.

    A library's tree indents every step, and a loss is a long chain: after twelve steps no room is left on the line. A
    node that several nodes use is shown once, on the longest path to it where one of them leads to another.
    """
    yield Text(printable(graph.backend), style="bold underline")
    sizes, behind = _sizes(graph)
    seen: set[int] = set()
    waiting = [(next(i for i, node in enumerate(graph.nodes) if node.role == "loss"), "", "")]
    while waiting:  # depth first, without recursion: a plugin's graph may be deeper than Python's stack
        i, head, indent = waiting.pop()  # ~i: i is shown further down
        if i in seen or i < 0:
            node = graph.nodes[i if i >= 0 else ~i]
            yield Text.assemble((head, "dim"), "↑ " if i >= 0 else "↓ ", *_name(document, node, width - len(head) - 2))
            continue
        seen.add(i)
        node = graph.nodes[i]
        yield Text.assemble((head, "dim"), "● ", *_name(document, node, width - len(head) - 2))
        below = sorted(node.inputs, key=lambda j: (sizes[j], j))
        line = "│ " if below else "  "
        for text, style in _details(node, width - len(indent) - 2):
            yield Text.assemble((indent + line, "dim"), (text, style))
        if below:
            waiting.append((below[-1], indent, indent))
            later = behind[below[-1]]
            waiting += [
                (~j if later >> j & 1 and j not in seen else j, indent + "├─", indent + "│ ")
                for j in reversed(below[:-1])
            ]


def _sizes(graph: BackendGraph) -> tuple[list[int], list[int]]:
    """(sizes, nodes) of what each node depends on, itself included: a count, and a number whose bits are the nodes."""
    behind: list[int] = []
    for i, node in enumerate(graph.nodes):  # inputs stand before the nodes that use them
        reachable = 1 << i
        for j in node.inputs:
            reachable |= behind[j]
        behind.append(reachable)
    return [nodes.bit_count() for nodes in behind], behind


def _name(document: GraphDocument, node: GraphNode, width: int) -> list[tuple[str, str]]:
    """Operation, shape, quantity."""
    size = shape(node.value if node.value is not None else node.gradient)
    symbol = "?" if node.quantity is None else document.quantities[node.quantity].symbol
    room = max(8, width - len(size) - len(symbol) - 3)
    return [(label(node.operation, room), "bold"), (f" {size}  ", ""), (symbol, "cyan")]


def _details(node: GraphNode, width: int) -> Iterator[tuple[str, str]]:
    for mark, numbers, style in (("= ", node.value, ""), ("∂ ", node.gradient, "magenta")):
        if numbers is not None:
            for n, line in enumerate(wrap_words(vector(numbers), max(10, width - 2)) or ["(empty)"]):
                yield (mark if not n else "  ") + line, style
    for what, ratio in (("value", node.value_ratio), ("gradient", node.gradient_ratio)):
        if ratio is not None and not float(ratio) <= 1.0:
            yield f"✗ {what} off: {times(ratio)}", "bold red"


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
