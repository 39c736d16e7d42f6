"""The graphs of several backends side by side as one SVG: equal quantities stand on one row, the loss at the bottom.

A page may contain it: it has no script and loads nothing, classes and ids begin with ``cag-graph-``. Its colours are
CSS variables of ``.cag-graph`` for light and dark, which a page may set itself. It has its natural size in pixels and
is not scaled down; put it into an element with ``overflow-x: auto``, which lets a phone scroll. Plugins' strings are
escaped and cut.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from compare_ag.records import Run
from compare_ag.records.graphs import BackendGraph, GraphDocument, GraphNode, Numbers, Quantity, read_graphs
from compare_ag.report.graph.rows import (
    READING,
    GraphRow,
    heading,
    label,
    recorded_graphs,
    rows,
    shape,
    times,
    vector,
    wrap_words,
)
from compare_ag.text import printable

FIRST = 300
"""pixels of the column of quantities"""
BOX = 296
LINE = 15
CHARACTER = 6.7
"""of the numbers' font"""
PAD = 8
GAP = 18
LANE = 7
STYLE = """
.cag-graph{--cag-graph-ink:#1d2430;--cag-graph-soft:#5b6675;--cag-graph-paper:#fff;--cag-graph-band:#f3f5f8;
--cag-graph-box:#fff;--cag-graph-line:#a9b4c2;--cag-graph-given:#e8f0fb;--cag-graph-loss:#e9f6ec;
--cag-graph-edge:#7f8da0;--cag-graph-slope:#8a3ffc;--cag-graph-wrong:#c8102e;background:var(--cag-graph-paper)}
@media (prefers-color-scheme:dark){.cag-graph{--cag-graph-ink:#e4e9f0;--cag-graph-soft:#9aa7b8;
--cag-graph-paper:#12161c;--cag-graph-band:#191f27;--cag-graph-box:#1e252f;--cag-graph-line:#465262;
--cag-graph-given:#1c2b40;--cag-graph-loss:#1a3324;--cag-graph-edge:#7d8b9d;--cag-graph-slope:#be95ff;
--cag-graph-wrong:#ff6b7a}}
.cag-graph text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
fill:var(--cag-graph-ink);white-space:pre}
.cag-graph .cag-graph-name{font-weight:600}
.cag-graph .cag-graph-number{font-size:11px}
.cag-graph .cag-graph-soft{font-size:11px;fill:var(--cag-graph-soft)}
.cag-graph .cag-graph-slope{font-size:11px;fill:var(--cag-graph-slope)}
.cag-graph .cag-graph-alarm{font-size:11px;font-weight:600;fill:var(--cag-graph-wrong)}
.cag-graph .cag-graph-head{font-size:14px;font-weight:600}
.cag-graph .cag-graph-band{fill:var(--cag-graph-band)}
.cag-graph .cag-graph-box{fill:var(--cag-graph-box);stroke:var(--cag-graph-line)}
.cag-graph .cag-graph-given{fill:var(--cag-graph-given)}
.cag-graph .cag-graph-loss{fill:var(--cag-graph-loss)}
.cag-graph .cag-graph-wrong{stroke:var(--cag-graph-wrong);stroke-width:2.5}
.cag-graph .cag-graph-edge{fill:none;stroke:var(--cag-graph-edge);stroke-width:1.2}
.cag-graph .cag-graph-tip{fill:var(--cag-graph-edge)}
""".strip()


class _Line(NamedTuple):
    text: str
    kind: str
    right: str = ""
    """text at the other end of the box"""


class _Placed(NamedTuple):
    """A node's box."""

    lines: list[_Line]
    top: float
    height: float


def graph_svg(run: Run) -> str | None:
    """The graphs that a run recorded as one inline ``<svg>``, or None where it recorded none.

    Raises `RecordError` where the run's ``graph.json`` is damaged.
    """
    document = read_graphs(run)
    return None if document is None else draw(document)


def draw(document: GraphDocument) -> str | None:
    """One ``<svg>`` of its natural size; None where no backend has a graph."""
    graphs = recorded_graphs(document)
    if not graphs:
        return None
    table = rows(document)
    return _Drawing(document, graphs, table).text()


class _Drawing:
    def __init__(self, document: GraphDocument, graphs: list[BackendGraph], table: list[GraphRow]) -> None:
        self.document, self.graphs, self.table = document, graphs, table
        self.parts: list[str] = []
        head = max(len(_message(graph)) for graph in graphs)
        self.tops: list[float] = []
        self.heights: list[float] = []
        self.boxes: list[list[_Placed | None]] = [[None] * len(graph.nodes) for graph in graphs]
        y = 34.0 + LINE * head + GAP
        for row in table:
            self.tops.append(y)
            height = self._place(row, y)
            self.heights.append(height)
            y += height + GAP
        self.height = y
        self.gutters = [LANE * (1 + self._lanes(graph, i)[1]) + 8 for i, graph in enumerate(graphs)]
        self.lefts: list[float] = []
        x = float(FIRST)
        for gutter in self.gutters:
            self.lefts.append(x + gutter)
            x += gutter + BOX + 10
        self.width = x + 2

    # --- layout ---

    def _place(self, row: GraphRow, y: float) -> float:
        """Put the boxes of a row under each other in their columns; return its height."""
        height = 2.0 * PAD + LINE * len(_quantity(row.quantity))
        for column, graph in enumerate(self.graphs):
            top = y
            for i in row.cells.get(graph.backend, []):
                lines = _node(graph.nodes[i])
                box = 2.0 * PAD + LINE * len(lines) - 3
                self.boxes[column][i] = _Placed(lines, top, box)
                top += box + GAP
            height = max(height, top - GAP - y)
        return height

    def _box(self, column: int, i: int) -> _Placed:
        box = self.boxes[column][i]
        assert box is not None
        return box

    def _lanes(self, graph: BackendGraph, column: int) -> tuple[list[tuple[int, int, int | None]], int]:
        """(edges (from, to, lane), count of lanes). Lane None: the boxes are neighbours, and the line is straight."""
        order = sorted(range(len(graph.nodes)), key=lambda i: self._box(column, i).top)
        rank = {i: place for place, i in enumerate(order)}
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

    # --- drawing ---

    def text(self) -> str:
        """The complete SVG."""
        names = ", ".join(printable(graph.backend) for graph in self.graphs)
        title = f"The graph of the loss as {names} recorded it"
        description = f"{heading(self.document)}. {READING} " + " ".join(
            f"{printable(graph.backend)}: {printable(graph.message)}." for graph in self.graphs
        )
        self._bands()
        for column, graph in enumerate(self.graphs):
            self._column(column, graph)
        width, height = round(self.width), round(self.height)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cag-graph" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="cag-graph-title cag-graph-desc">'
            f'<title id="cag-graph-title">{escape(title)}</title><desc id="cag-graph-desc">{escape(description)}</desc>'
            f"<style>{STYLE}</style>{''.join(self.parts)}</svg>"
        )

    def _write(self, x: float, y: float, text: str, kind: str, anchor: str = "") -> None:
        end = f' text-anchor="{anchor}"' if anchor else ""
        self.parts.append(f'<text class="cag-graph-{kind}" x="{x:.0f}" y="{y:.0f}"{end}>{escape(text)}</text>')

    def _bands(self) -> None:
        """Every second row tinted, with its quantity."""
        self._write(PAD, 22, "quantity, exact", "head")
        for place, (row, top, height) in enumerate(zip(self.table, self.tops, self.heights, strict=True)):
            if place % 2 == 0:
                self.parts.append(
                    f'<rect class="cag-graph-band" x="0" y="{top - GAP / 2:.0f}" width="{self.width:.0f}" '
                    f'height="{height + GAP:.0f}"/>'
                )
            for n, line in enumerate(_quantity(row.quantity)):
                self._write(PAD, top + PAD + 9 + LINE * n, line.text, line.kind)

    def _column(self, column: int, graph: BackendGraph) -> None:
        left = self.lefts[column]
        self._write(left, 22, label(graph.backend, 34), "head")
        for n, line in enumerate(_message(graph)):
            kind = "alarm" if graph.status == "disagree" else "soft"
            self._write(left, 22 + LINE * (n + 1), line, kind)
        edges, _ = self._lanes(graph, column)
        for start, end, lane in edges:
            self._edge(left, self._box(column, start), self._box(column, end), lane)
        for i, node in enumerate(graph.nodes):
            self._draw(left, self._box(column, i), node)

    def _draw(self, left: float, box: _Placed, node: GraphNode) -> None:
        given = {"parameter": " cag-graph-given", "input": " cag-graph-given", "loss": " cag-graph-loss"}
        kind = "cag-graph-box" + given.get(node.role, "") + (" cag-graph-wrong" if node.wrong else "")
        self.parts.append(
            f"<g><title>{escape(printable(node.operation))}</title>"
            f'<rect class="{kind}" x="{left:.0f}" y="{box.top:.0f}" width="{BOX}" height="{box.height:.0f}" rx="5"/>'
        )
        for n, line in enumerate(box.lines):
            y = box.top + PAD + 9 + LINE * n
            self._write(left + PAD, y, line.text, line.kind)
            if line.right:
                self._write(left + BOX - PAD, y, line.right, "soft", "end")
        self.parts.append("</g>")

    def _edge(self, left: float, start: _Placed, end: _Placed, lane: int | None) -> None:
        if lane is None:
            x, y = left + BOX / 2, end.top
            self.parts.append(f'<path class="cag-graph-edge" d="M{x:.0f} {start.top + start.height:.0f}V{y - 5:.0f}"/>')
            self.parts.append(f'<path class="cag-graph-tip" d="M{x - 4:.0f} {y - 7:.0f}h8l-4 7z"/>')
            return
        x, out, into = left - 10 - LANE * lane, start.top + start.height - 9, end.top + 11
        turn = 4 if into > out else -4
        down = f"H{x + 4:.0f}Q{x:.0f} {out:.0f} {x:.0f} {out + turn:.0f}V{into - turn:.0f}"
        over = f"Q{x:.0f} {into:.0f} {x + 4:.0f} {into:.0f}H{left - 5:.0f}"
        self.parts.append(
            f'<path class="cag-graph-edge" d="M{left:.0f} {out:.0f}{down}{over}"/>'
            f'<path class="cag-graph-tip" d="M{left - 7:.0f} {into - 4:.0f}v8l7 -4z"/>'
        )


# --- content of a cell --------------------------------------------------------------------------------------


def _message(graph: BackendGraph) -> list[str]:
    return wrap_words(printable(graph.message).split(), int(BOX / CHARACTER), most=6)


def _quantity(quantity: Quantity | None) -> list[_Line]:
    width = int((FIRST - 2 * PAD) / CHARACTER)
    if quantity is None:
        return [_Line("?", "name"), _Line("no named quantity", "soft")]
    lines = [_Line(quantity.symbol, "name")]
    lines += [_Line(line, "soft") for line in wrap_words(quantity.meaning.split(), width)]
    lines += _numbers("= ", quantity.value, "number", width)
    if quantity.gradient is not None:
        lines += _numbers("∂ ", quantity.gradient, "slope", width)
    return lines


def _node(node: GraphNode) -> list[_Line]:
    width = int((BOX - 2 * PAD) / CHARACTER)
    size = shape(node.value if node.value is not None else node.gradient)
    lines = [_Line(label(node.operation, 34 - len(size)), "name", size)]
    if node.value is not None:
        lines += _numbers("= ", node.value, "number", width)
    if node.gradient is not None:
        lines += _numbers("∂ ", node.gradient, "slope", width)
    for what, ratio in (("value", node.value_ratio), ("gradient", node.gradient_ratio)):
        if ratio is not None and not float(ratio) <= 1.0:
            lines.append(_Line(f"✗ {what} off: {times(ratio)}", "alarm"))
    return lines


def _numbers(mark: str, numbers: Numbers, kind: str, width: int) -> list[_Line]:
    lines = wrap_words(vector(numbers), width - len(mark)) or ["(empty)"]
    return [_Line((mark if not n else " " * len(mark)) + line, kind) for n, line in enumerate(lines)]
