"""A chart as letters: several courses over the steps of a training, as wide as the terminal, readable at 80 columns.

Each course has a mark and a colour. Where courses lie on top of each other a mark for "several" shows that they
coincide. The reference and the bound are lines below them. Marks are ASCII; lines turn into ASCII where a terminal
lacks the box-drawing characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from compare_ag.report.chart import Array, Chart, ChartSeries
from compare_ag.text import printable

MARKS = "ox+*vsz^"
STYLES = ("blue", "red", "green", "magenta", "yellow", "cyan")
SEVERAL = "#"
LINE = "─"
"""of the reference and of the bound"""
HEIGHT = 9
LEAST_WIDTH = 24
MOST_WIDTH = 76
SIDE_BY_SIDE = 112
"""columns from which on two plots stand beside each other"""


class Plot:
    """A chart of courses over steps 0…T.

    A log scale leaves out values that are not positive. Of the steps that share a column the largest value of a noisy
    course is drawn; of any other course one step is drawn.
    """

    def __init__(self, chart: Chart) -> None:
        self._chart, self._log = chart, chart.is_log
        self._drawn = [(series, LINE, "dim") for series in chart.series if series.order is None]
        self._drawn += [
            (series, MARKS[number % len(MARKS)], STYLES[number % len(STYLES)])
            for number, series in enumerate(chart.of_backends)
        ]
        """each series with its letter and its style, from the back to the front"""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(LEAST_WIDTH, min(MOST_WIDTH, options.max_width))
        title = f"{self._chart.y.title} over {self._chart.x.title}s{' (log scale)' if self._log else ''}"
        yield Text(title[:1].upper() + title[1:], style="bold")
        yield from self._lines(width)

    def _lines(self, width: int) -> list[Text]:
        """The plot's rows, its axis, and the legend."""
        length = max((len(series.y) for series in self._chart.series), default=0)
        room = width - 9
        values = [self._scale_values(series, length, room) for series, _, _ in self._drawn]
        everything = np.concatenate(values or [np.empty(0)])
        finite = everything[np.isfinite(everything)]
        if not len(finite):
            return [Text("nothing to draw", style="dim")]
        low, high = float(finite.min()), float(finite.max())
        labels = {0: high, HEIGHT // 2: low / 2 + high / 2, HEIGHT - 1: low}
        lines = []
        for number, row in enumerate(self._cells(values, low, high, room)):
            label = self._label(labels[number]) if number in labels and (high > low or number == 0) else ""
            lines.append(Text(f"{label:>7} ", style="dim").append("┤" if label else "│").append_text(row))
        axis = Text(f"{'':8}└{'─' * room}", style="dim")
        ends = Text(f"{'':9}0{length - 1:>{room - 1}}", style="dim")
        return [*lines, axis, ends, *self._legend(width)]

    def _scale_values(self, series: ChartSeries, length: int, room: int) -> Array:
        """One value for each column: of evenly spaced steps, or the largest of the steps that share the column."""
        if not length:
            return np.empty(0)
        padded = np.full(length, np.nan)
        padded[: len(series.y)] = series.y
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.log10(np.where(padded > 0, padded, np.nan)) if self._log else padded
        shown = np.where(np.isfinite(shown), shown, np.nan)
        if series.draw != "peaks" or length <= room:
            return np.asarray(shown[np.linspace(0, length - 1, room).round().astype(int)])
        return np.array(
            [np.nanmax(stretch) if np.isfinite(stretch).any() else np.nan for stretch in np.array_split(shown, room)]
        )

    def _cells(self, values: Sequence[Array], low: float, high: float, room: int) -> list[Text]:
        letters = [[" "] * room for _ in range(HEIGHT)]
        styles = [["" for _ in range(room)] for _ in range(HEIGHT)]
        for (_, letter, style), heights in zip(self._drawn, values, strict=True):
            for column in np.flatnonzero(np.isfinite(heights)):
                share = (heights[column] - low) / (high - low) if high > low else 0.0
                place = HEIGHT - 1 - round(share * (HEIGHT - 1))
                taken = letter != LINE and letters[place][column] not in (" ", LINE)
                letters[place][column] = SEVERAL if taken else letter
                styles[place][column] = "" if taken else style
        return [Text.assemble(*zip(line, style, strict=True)) for line, style in zip(letters, styles, strict=True)]

    def _label(self, value: float) -> str:
        number = 10.0 ** min(value, 308.25) if self._log else value  # the largest float64, but for rounding
        return f"{number:.0e}" if self._log else f"{number:.3g}"

    def _legend(self, width: int) -> list[Text]:
        lines = [Text(" " * 9)]
        for entry in self._entries():
            if lines[-1].cell_len > 9 and lines[-1].cell_len + entry.cell_len > width:
                lines.append(Text(" " * 9))
            lines[-1].append_text(entry).append("  ")
        for line in lines:
            line.rstrip()
        return lines

    def _entries(self) -> Iterator[Text]:
        """The entries of the legend: the courses, the mark where several coincide, the lines below them."""
        entries = [(letter, Text(f"{letter} {printable(series.name)}", style)) for series, letter, style in self._drawn]
        courses = [entry for letter, entry in entries if letter != LINE]
        yield from courses
        if len(courses) > 1:
            yield Text(f"{SEVERAL} several")
        yield from (entry for letter, entry in entries if letter == LINE)


class Beside:
    """Plots beside each other where the terminal is wide enough for it, else below each other."""

    def __init__(self, parts: Sequence[Plot]) -> None:
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < SIDE_BY_SIDE or len(self._parts) < 2:
            for number, part in enumerate(self._parts):
                if number:
                    yield Text()
                yield part
            return
        table = Table.grid(padding=(0, 3, 0, 0), expand=False)
        wide = min(MOST_WIDTH, (options.max_width - 4) // len(self._parts) - 1)
        for _ in self._parts:
            table.add_column(width=wide)
        cells: list[RenderableType] = list(self._parts)
        table.add_row(*cells)
        yield table
