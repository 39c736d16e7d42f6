"""A table of numbers for terminals of any width: no number is ever broken into two lines.

Columns that do not fit beside the first are shown in a further table below, under the first column again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2
"""columns of space between two columns"""


def plain_table() -> Table:
    """A table without lines, the style of all reports."""
    return Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")


class Grid:
    """Rows under heads; the first column names the row."""

    def __init__(self, *heads: str, words: int = 1) -> None:
        self._heads = heads
        self._rows: list[list[Text]] = []
        self._words = words
        """how many of the first columns hold words (left-aligned); the others hold numbers"""

    def add_row(self, *cells: str | Text) -> None:
        """Add one row, a cell for each head; strings are taken as they are, never as markup."""
        if len(cells) != len(self._heads):
            raise ValueError(f"{len(cells)} cells under {len(self._heads)} heads")
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, columns in enumerate(self._parts(options.max_width)):
            if number:
                yield Text()
            table = plain_table()
            for index in columns:
                justify: Literal["left", "right"] = "left" if index < self._words else "right"
                table.add_column(Text(self._heads[index]), justify=justify, overflow="fold")
            for row in self._rows:
                table.add_row(*(row[index] for index in columns))
            yield table

    def _parts(self, width: int) -> Iterator[list[int]]:
        """Indices of the columns of each table: the first, and as many others as fit beside it."""
        widths = [
            max([Text(head).cell_len, *(row[index].cell_len for row in self._rows)])
            for index, head in enumerate(self._heads)
        ]
        columns, used = [0], widths[0]
        for index in range(1, len(widths)):
            if used + GAP + widths[index] > width and len(columns) > 1:
                yield columns
                columns, used = [0], widths[0]
            columns.append(index)
            used += GAP + widths[index]
        yield columns
