"""The graphs of several backends side by side as one SVG: equal quantities stand on one row, the loss at the bottom.

A page may contain it: it has no script and loads nothing, classes and ids begin with ``cag-graph-``. Its colours are
CSS variables of ``.cag-graph`` for light and dark, which a page may set itself. It has its natural size in pixels and
is not scaled down; put it into an element with ``overflow-x: auto``, which lets a phone scroll. Plugins' strings are
escaped and cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from compare_ag.records import Run
from compare_ag.records.graphs import BackendGraph, GraphDocument, read_graphs
from compare_ag.report.graph.layout import Box, Edge, GraphColumn, TextLine, lay_out
from compare_ag.report.graph.rows import READING, heading, label, recorded_graphs, shape, wrap_words
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


def graph_svg(run: Run) -> str | None:
    """The graphs that a run recorded as one inline ``<svg>``, or None where it recorded none.

    Raises `RecordError` where the run's ``graph.json`` is damaged.
    """
    document = read_graphs(run)
    return None if document is None else draw(document)


def draw(document: GraphDocument) -> str | None:
    """One ``<svg>`` of its natural size; None where no backend has a graph."""
    graphs = recorded_graphs(document)
    return _Svg(document, graphs).text() if graphs else None


class _Svg:
    """Writes a drawing line by line of `LINE` pixels, the boxes of each backend in a column of their own."""

    def __init__(self, document: GraphDocument, graphs: list[BackendGraph]) -> None:
        inside, first = (int((width - 2 * PAD) / CHARACTER) for width in (BOX, FIRST))
        self.document, self.drawing = document, lay_out(document, graphs, lambda _: inside, gap=2, quantity_room=first)
        self.parts: list[str] = []
        self.head = 34 + LINE * max(len(_message(graph)) for graph in graphs) + GAP
        self.lefts: list[int] = []
        self.width = FIRST
        for column in self.drawing.columns:
            self.lefts.append(self.width + LANE * (1 + column.lanes) + 8)
            self.width = self.lefts[-1] + BOX + 10

    def text(self) -> str:
        """The complete SVG."""
        graphs = [column.graph for column in self.drawing.columns]
        title = f"The graph of the loss as {', '.join(printable(graph.backend) for graph in graphs)} recorded it"
        description = f"{heading(self.document)}. {READING} " + " ".join(
            f"{printable(graph.backend)}: {printable(graph.message)}." for graph in graphs
        )
        self._bands()
        for left, column in zip(self.lefts, self.drawing.columns, strict=True):
            self._column(left, column)
        width, height = self.width + 2, self._y(self.drawing.height)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cag-graph" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="cag-graph-title cag-graph-desc">'
            f'<title id="cag-graph-title">{escape(title)}</title><desc id="cag-graph-desc">{escape(description)}</desc>'
            f"<style>{STYLE}</style>{''.join(self.parts)}</svg>"
        )

    def _y(self, line: int) -> int:
        """The upper edge of a line in pixels."""
        return self.head + LINE * line

    def _write(self, x: int, y: int, text: str, kind: str, anchor: str = "") -> None:
        end = f' text-anchor="{anchor}"' if anchor else ""
        self.parts.append(f'<text class="cag-graph-{kind}" x="{x}" y="{y}"{end}>{escape(text)}</text>')

    def _write_lines(self, x: int, line: int, texts: Sequence[TextLine]) -> None:
        for n, (text, kind) in enumerate(texts):
            self._write(x, self._y(line + n) + PAD + 9, text, kind)

    def _bands(self) -> None:
        """Every second row tinted, with its quantity."""
        self._write(PAD, 22, "quantity, exact", "head")
        for place, band in enumerate(self.drawing.bands):
            if place % 2 == 0:
                self.parts.append(
                    f'<rect class="cag-graph-band" x="0" y="{self._y(band.top) - GAP // 2}" width="{self.width + 2}" '
                    f'height="{LINE * (band.height + 2)}"/>'
                )
            self._write_lines(PAD, band.top, band.lines)

    def _column(self, left: int, column: GraphColumn) -> None:
        graph = column.graph
        self._write(left, 22, label(graph.backend, 34), "head")
        for n, line in enumerate(_message(graph)):
            self._write(left, 22 + LINE * (n + 1), line, "alarm" if graph.status == "disagree" else "soft")
        for edge in column.edges:
            self._edge(left, edge)
        for box in column.boxes:
            self._box(left, box)

    def _bottom(self, box: Box) -> int:
        """The lower edge of a box in pixels."""
        return self._y(box.bottom + 1) + 2 * PAD - 3

    def _box(self, left: int, box: Box) -> None:
        node, top = box.node, self._y(box.top)
        given = {"parameter": " cag-graph-given", "input": " cag-graph-given", "loss": " cag-graph-loss"}
        kind = "cag-graph-box" + given.get(node.role, "") + (" cag-graph-wrong" if node.wrong else "")
        self.parts.append(
            f"<g><title>{escape(printable(node.operation))}</title>"
            f'<rect class="{kind}" x="{left}" y="{top}" width="{BOX}" height="{self._bottom(box) - top}" rx="5"/>'
        )
        size = shape(node.value if node.value is not None else node.gradient)
        self._write_lines(left + PAD, box.top, [TextLine(label(node.operation, 34 - len(size)), "name"), *box.details])
        if size:
            self._write(left + BOX - PAD, top + PAD + 9, size, "soft", "end")
        self.parts.append("</g>")

    def _edge(self, left: int, edge: Edge) -> None:
        top, bottom = self._y(edge.end.top), self._bottom(edge.start)
        if edge.lane is None:
            x = left + BOX // 2
            self.parts.append(f'<path class="cag-graph-edge" d="M{x} {bottom}V{top - 5}"/>')
            self.parts.append(f'<path class="cag-graph-tip" d="M{x - 4} {top - 7}h8l-4 7z"/>')
            return
        x, out, into = left - 10 - LANE * edge.lane, bottom - 9, top + 11
        turn = 4 if into > out else -4
        down = f"H{x + 4}Q{x} {out} {x} {out + turn}V{into - turn}"
        over = f"Q{x} {into} {x + 4} {into}H{left - 5}"
        self.parts.append(
            f'<path class="cag-graph-edge" d="M{left} {out}{down}{over}"/>'
            f'<path class="cag-graph-tip" d="M{left - 7} {into - 4}v8l7 -4z"/>'
        )


def _message(graph: BackendGraph) -> list[str]:
    return wrap_words(printable(graph.message).split(), int(BOX / CHARACTER), most=6)
