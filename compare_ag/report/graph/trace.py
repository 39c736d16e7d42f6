"""One training step as a table: weights, forward, loss, backward, update; one column for each backend."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from compare_ag.records.graphs import BackendGraph, GraphNode, Numbers, Pair, StepRecord, TraceDocument
from compare_ag.report.digits import compare_digits, format_like, mark_digits
from compare_ag.report.graph.rows import GraphRow, heading, rows
from compare_ag.report.graph.text import STATUS
from compare_ag.report.grid import Grid
from compare_ag.report.units import fraction
from compare_ag.text import printable

ENTRIES = 8
"""values of a quantity that get a row each; a larger quantity is shown by its 2-norm"""

_LEGEND = (
    "Digits in [brackets] differ from the exact number, rounded once to {dtype}: that is rounding, and no fault, but "
    "where ✗ stands behind them: that number is out of its tolerance. An empty cell: the backend records no such thing."
)


def slow_motion(document: TraceDocument) -> RenderableType:
    """The complete report on one step for the terminal."""
    graph = document.graph
    rate = f"learning rate {document.learning_rate:.6g}"
    parts: list[RenderableType] = [
        Text(f"{heading(graph)}; step {graph.step}, {rate}", style="bold"),
        Text(
            "All start from the same weights: the reference's"
            + (f" after {graph.step} updates." if graph.step else ", before any update.")
        ),
    ]
    for step, own in zip(document.steps, graph.graphs, strict=True):
        ratios = [
            fraction(ratio) for ratio in (step.loss_ratio, step.gradient_ratio, step.update_ratio) if ratio is not None
        ]
        how = f" ({' / '.join(ratios)} of the tolerance)" if step.status == "ok" and ratios else ""
        parts.append(_message(step.backend, step.status, step.message + how))
        if own.status not in ("ok", step.status):
            parts.append(_message("", own.status, own.message))
    parts += [Text(), _table(document), Text(), *_arrivals(document)]
    parts.append(Text(_LEGEND.format(dtype=graph.dtype), style="dim"))
    return Group(*parts)


def _message(name: str, status: str, text: str) -> Text:
    return Text.assemble((printable(name), "bold"), "  ", (status, STATUS.get(status, "red")), "  ", printable(text))


def _table(document: TraceDocument) -> Grid:
    names = [step.backend for step in document.steps]
    grid = Grid("", "exact", *map(printable, names))
    blank = [""] * (1 + len(names))

    def section(title: str, lines: list[list[str | Text]]) -> None:
        grid.add_row(Text(title, style="bold underline"), *blank)
        for line in lines:
            grid.add_row(*line)

    section("weights", [[label, exact, *[""] * len(names)] for label, exact in _given_values(document.before)])
    table = rows(document.graph)
    section("forward", [line for row in table for line in _row(document, row, "value")])
    section("loss", _lines("f", document.exact.loss, [_own(step.loss, step.loss_ratio) for step in document.steps]))
    section("backward", [line for row in reversed(table) for line in _row(document, row, "gradient")])
    section("gradient", list(_pairs(document, "∂f/∂", "gradient", "gradient_ratio")))
    section("update", list(_pairs(document, "", "after", "update_ratio")))
    return grid


def _given_values(pair: Pair) -> Iterator[tuple[str, str]]:
    for symbol, numbers in (("w", pair.w), ("b", pair.b)):
        for label, value in _entries(symbol, numbers):
            yield label, format_like(value, value, numbers.dtype)


def _entries(symbol: str, numbers: Numbers) -> list[tuple[str, float]]:
    """(label, number) for each number of a small quantity, or for the norm of a large one."""
    if numbers.size > ENTRIES:
        return [(f"‖{symbol}‖", float(numbers.norm))]
    if not numbers.shape:
        return [(symbol, float(numbers.values[0]))]
    return [(f"{symbol}[{i}]", float(value)) for i, value in enumerate(numbers.values)]


Own = tuple[Numbers | None, bool]
"""numbers of a backend, and whether they are out of their tolerance"""


def _own(numbers: Numbers | None, ratio: float | str | None) -> Own:
    return numbers, ratio is not None and not float(ratio) <= 1.0


def _lines(symbol: str, exact: Numbers | None, owns: list[Own]) -> list[list[str | Text]]:
    """The rows of one quantity: label, exact, and each backend's number with its marks."""
    if exact is None:
        return []
    lines: list[list[str | Text]] = []
    for i, (label, value) in enumerate(_entries(symbol, exact)):
        cells: list[str | Text] = [label, format_like(value, value, exact.dtype)]
        for numbers, wrong in owns:
            own_value = None if numbers is None or numbers.shape != exact.shape else _entries(symbol, numbers)[i][1]
            if own_value is None:
                cells.append("")
                continue
            shown = compare_digits(own_value, value, exact.dtype)
            cells.append(mark_digits(shown, wrong=wrong and bool(shown.different)))
        lines.append(cells)
    return lines


def _row(document: TraceDocument, row: GraphRow, what: str) -> list[list[str | Text]]:
    """A quantity of forward, or its gradient in backward, without given quantities and without w and b, shown later."""
    if row.quantity is None:
        return []
    owns: list[Own] = []
    for graph in document.graph.graphs:
        nodes = [graph.nodes[i] for i in row.cells.get(graph.backend, [])]
        computed = ("operation", "loss") if what == "gradient" else ("operation",)  # the loss has a part of its own
        owns.append(_first([node for node in nodes if node.role in computed], what))
    if all(numbers is None for numbers, _ in owns):
        return []
    symbol = row.quantity.symbol
    if what == "gradient":
        symbol = f"∂f/∂{symbol}" if symbol.isalpha() else f"∂f/∂({symbol})"
    return _lines(symbol, getattr(row.quantity, what), owns)


def _first(nodes: list[GraphNode], what: str) -> Own:
    for node in nodes:
        if getattr(node, what) is not None:
            return _own(getattr(node, what), getattr(node, f"{what}_ratio"))
    return None, False


def _pairs(document: TraceDocument, before: str, what: str, ratio: str) -> Iterator[list[str | Text]]:
    for symbol in ("w", "b"):

        def part(step: StepRecord, symbol: str = symbol) -> Numbers | None:
            pair: Pair | None = getattr(step, what)
            numbers: Numbers | None = None if pair is None else getattr(pair, symbol)
            return numbers

        owns = [_own(part(step), getattr(step, ratio)) for step in document.steps]
        yield from _lines(f"{before}{symbol}", part(document.exact), owns)


def _arrivals(document: TraceDocument) -> Iterator[Text]:
    """The order in which each backend's gradients arrived."""
    for graph in document.graph.graphs:
        order = _order(graph)
        if order:
            symbols = [
                "?" if node.quantity is None else document.graph.quantities[node.quantity].symbol for node in order
            ]
            yield Text(f"gradients arrived, {printable(graph.backend)}: {' → '.join(symbols)}")


def _order(graph: BackendGraph) -> list[GraphNode]:
    counted = [(node.arrival, i) for i, node in enumerate(graph.nodes) if node.arrival is not None]
    return [graph.nodes[i] for _, i in sorted(counted)]
