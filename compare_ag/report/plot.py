"""A plot of letters: several courses over the steps of a training, as wide as the terminal, readable at 80 columns.

Each course has a mark and a colour. Where courses lie on top of each other a mark for "several" shows that they
coincide. Marks are ASCII; lines turn into ASCII where a terminal lacks the box-drawing characters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MARKS = "ox+*vsz^"
STYLES = ("blue", "red", "green", "magenta", "yellow", "cyan")
SEVERAL = "#"
BOUND = "─"
HEIGHT = 9
LEAST_WIDTH = 24
MOST_WIDTH = 76
SIDE_BY_SIDE = 112
"""columns from which on two plots stand beside each other"""


class Plot:
    """Courses over steps 0…T.

    courses: name → values (T+1,), drawn in this order. bound: a line that is drawn below them. log: a log scale, which
    leaves out values that are not positive. peaks: of the steps that share a column the largest is drawn, not the
    first.
    """

    def __init__(
        self,
        title: str,
        courses: Mapping[str, Array],
        bound: Array | None = None,
        *,
        log: bool = False,
        peaks: bool = False,
    ) -> None:
        self._title = title
        self._courses = {name: np.asarray(values, dtype=np.float64) for name, values in courses.items()}
        self._bound = None if bound is None else np.asarray(bound, dtype=np.float64)
        self._log = log
        self._peaks = peaks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(LEAST_WIDTH, min(MOST_WIDTH, options.max_width))
        lines = self._lines(width)
        yield Text(self._title, style="bold")
        yield from lines

    def _lines(self, width: int) -> list[Text]:
        """The plot's rows, its axis, and the legend."""
        length = max((len(values) for values in self._courses.values()), default=0)
        room = width - 9
        if not length:
            return [Text("nothing to draw", style="dim")]
        drawn = {name: self._scale_values(values, length, room) for name, values in self._courses.items()}
        bound = None if self._bound is None else self._scale_values(self._bound, length, room)
        everything = np.concatenate([*drawn.values(), *([] if bound is None else [bound])])
        finite = everything[np.isfinite(everything)]
        if not len(finite):
            return [Text("nothing to draw: no difference" if self._log else "nothing to draw", style="dim")]
        low, high = float(finite.min()), float(finite.max())
        rows = self._cells(drawn, bound, low, high, room)
        labels = {0: high, HEIGHT // 2: low / 2 + high / 2, HEIGHT - 1: low}
        lines = []
        for number, row in enumerate(rows):
            label = self._label(labels[number]) if number in labels and (high > low or number == 0) else ""
            lines.append(Text(f"{label:>7} ", style="dim").append("┤" if label else "│").append_text(row))
        axis = Text(f"{'':8}└{'─' * room}", style="dim")
        ends = Text(f"{'':9}0{length - 1:>{room - 1}}", style="dim")
        return [*lines, axis, ends, *self._legend(width)]

    def _scale_values(self, values: Array, length: int, room: int) -> Array:
        """One value for each column: of evenly spaced steps, or the largest of the steps that share the column."""
        padded = np.full(length, np.nan)
        padded[: len(values)] = values
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.log10(np.where(padded > 0, padded, np.nan)) if self._log else padded
        shown = np.where(np.isfinite(shown), shown, np.nan)
        if not self._peaks or length <= room:
            return np.asarray(shown[np.linspace(0, length - 1, room).round().astype(int)])
        return np.array(
            [np.nanmax(stretch) if np.isfinite(stretch).any() else np.nan for stretch in np.array_split(shown, room)]
        )

    def _cells(self, drawn: Mapping[str, Array], bound: Array | None, low: float, high: float, room: int) -> list[Text]:
        letters = [[" "] * room for _ in range(HEIGHT)]
        styles = [["" for _ in range(room)] for _ in range(HEIGHT)]

        def row(value: float) -> int:
            return HEIGHT - 1 - (round((value - low) / (high - low) * (HEIGHT - 1)) if high > low else 0)

        if bound is not None:
            for column in np.flatnonzero(np.isfinite(bound)):
                letters[row(bound[column])][column], styles[row(bound[column])][column] = BOUND, "dim"
        for number, values in enumerate(drawn.values()):
            for column in np.flatnonzero(np.isfinite(values)):
                place = row(values[column])
                taken = letters[place][column] not in (" ", BOUND)
                letters[place][column] = SEVERAL if taken else mark(number)
                styles[place][column] = "" if taken else STYLES[number % len(STYLES)]
        return [Text.assemble(*zip(line, style, strict=True)) for line, style in zip(letters, styles, strict=True)]

    def _label(self, value: float) -> str:
        number = 10.0 ** min(value, 308.25) if self._log else value  # the largest float64, but for rounding
        return f"{number:.0e}" if self._log else f"{number:.3g}"

    def _legend(self, width: int) -> list[Text]:
        words = [
            Text(f"{mark(number)} {name}", style=STYLES[number % len(STYLES)])
            for number, name in enumerate(self._courses)
        ]
        if len(words) > 1:
            words.append(Text(f"{SEVERAL} several"))
        if self._bound is not None:
            words.append(Text(f"{BOUND} tolerance", style="dim"))
        lines = [Text(" " * 9)]
        for word in words:
            if lines[-1].cell_len > 9 and lines[-1].cell_len + word.cell_len > width:
                lines.append(Text(" " * 9))
            lines[-1].append_text(word).append("  ")
        for line in lines:
            line.rstrip()
        return lines


def mark(number: int) -> str:
    """The mark of the course of this number."""
    return MARKS[number % len(MARKS)]


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


def scale_of(values: Sequence[Array]) -> bool:
    """Whether losses need a log scale: all positive, and spread over more than a factor of 50."""
    finite = [array[np.isfinite(array)] for array in values]
    low = min((float(array.min()) for array in finite if len(array)), default=0.0)
    high = max((float(array.max()) for array in finite if len(array)), default=0.0)
    return low > 0 and math.isfinite(high) and high > 50 * low
