"""A table of numbers for terminals of any width, which never breaks a number into two lines.

Columns that do not fit beside the first are shown in a further table below, which repeats the first column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from compare_ag.report import table as data
from compare_ag.text import printable

GAP = 2
"""columns of space between two columns"""


def plain_table() -> Table:
    """A table without lines, the style of all reports."""
    return Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")


class Grid:
    """Rows under heads; the first column names the row."""

    def __init__(self, *heads: str, words: int | Collection[int] = 1) -> None:
        self._heads = heads
        self._rows: list[list[Text]] = []
        self._words = range(words) if isinstance(words, int) else words
        """the columns that hold words (left-aligned), or how many of the first; the others hold numbers"""

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
                justify: Literal["left", "right"] = "left" if index in self._words else "right"
                table.add_column(Text(self._heads[index]), justify=justify, overflow="fold")
            for row in self._rows:
                table.add_row(*(row[index] for index in columns))
            yield table

    @property
    def width(self) -> int:
        """Columns of the terminal that one table of all columns takes."""
        return sum(self._widths()) + GAP * (len(self._heads) - 1)

    def _widths(self) -> list[int]:
        return [
            max([Text(head).cell_len, *(row[index].cell_len for row in self._rows)])
            for index, head in enumerate(self._heads)
        ]

    def _parts(self, width: int) -> Iterator[list[int]]:
        """Indices of the columns of each table: the first, and as many others as fit beside it."""
        widths = self._widths()
        columns, used = [0], widths[0]
        for index in range(1, len(widths)):
            if used + GAP + widths[index] > width and len(columns) > 1:
                yield columns
                columns, used = [0], widths[0]
            columns.append(index)
            used += GAP + widths[index]
        yield columns


STYLES = {data.GOOD: "green", data.OPEN: "yellow", data.BAD: "red"}


def draw_table(table: data.Table[Any], shown: Callable[[str], str] = printable) -> Group:
    """Draw a table of data for the terminal; ``shown`` escapes a plugin's own words."""
    return add_title(shown(table.caption), grid_of(table, shown), [shown(note) for note in table.notes])


def grid_of(table: data.Table[Any], shown: Callable[[str], str] = printable) -> Grid:
    """The columns and rows of a table, without title and notes."""
    columns = table.columns
    words = [index for index, column in enumerate(columns) if column.left or column.prose]
    grid = Grid(*(shown(column.head) for column in columns), words=words)
    for row in table.rows:
        grid.add_row(*(Text(shown(column.cell(row)), style=STYLES.get(column.tone_of(row), "")) for column in columns))
    return grid


def add_title(title: str, table: RenderableType, notes: Sequence[str] = ()) -> Group:
    """A table under its title, with notes below. They are as wide as the terminal, not only as the table."""
    parts: list[RenderableType] = [Text(title, style="bold")] if title else []
    return Group(*parts, table, *(Text(note, style="dim italic") for note in notes))
