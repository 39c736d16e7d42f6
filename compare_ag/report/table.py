"""A table as data: each column is declared once, with heading, unit, alignment, value and text; renderers draw it.

    terminal      `grid.draw_table`            as wide as the terminal, no number broken
    page          the macro `table` of page.html
    Markdown      `markdown.pipe_table`
    spreadsheet   `spreadsheet.csv_text`       values with all their digits, and the ends of intervals

Texts are as they are recorded, a plugin's own words included; each renderer escapes them for its own medium.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from compare_ag.records import Interval

R = TypeVar("R")
Value: TypeAlias = str | float | int | Interval | None

GOOD, BAD, OPEN = "good", "bad", "open"
TONES = {
    "ok": GOOD, "imported": GOOD, "undecidable": OPEN, "cancelled": OPEN, "not-run": OPEN,
    "equivalent": GOOD, "inconclusive": OPEN,
}  # fmt: skip
"""how a status or a verdict on speed is coloured: good, bad or open"""


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column of a table whose rows are of type R."""

    head: str
    value: Callable[[R], Value]
    """the number itself, or a text; None: not known"""
    shown: Callable[[Any], str] = str
    """the value as people read it"""
    text: Callable[[R], str] | None = None
    """the whole cell, where it contains more than the value"""
    unit: str = ""
    """of the value, for the head in a spreadsheet"""
    key: str = ""
    """the head in a spreadsheet, where it must differ: a spreadsheet has all columns in one wide table"""
    ends: bool = False
    """the value is an interval: in a spreadsheet its ends follow it"""
    left: bool = False
    """aligned left, as words are; numbers are aligned right"""
    prose: bool = False
    """running text, which may be broken into lines"""
    tone: Callable[[R], str] | None = None
    """good, bad or open; always beside a word, so that colour is never the only sign"""
    share: Callable[[R], float | None] | None = None
    """0 to 1: length of the bar under an observed/tolerance"""
    section: str = ""
    """section of the glossary, where it is not the table's"""
    named: bool = False
    """the head is a plugin's name, which the glossary does not have"""

    def cell(self, row: R) -> str:
        """The cell's text; n/a where the value is not known."""
        if self.text is not None:
            return self.text(row)
        value = self.value(row)
        return "n/a" if value is None else self.shown(value)

    def tone_of(self, row: R) -> str:
        """The cell's tone: good, bad or open; empty in most cells."""
        return "" if self.tone is None else self.tone(row)

    def share_of(self, row: R) -> float | None:
        """The length of the cell's bar; None for a cell without one."""
        return None if self.share is None else self.share(row)


@dataclass(frozen=True)
class Table(Generic[R]):
    """One table. The first column names the row."""

    id: str
    caption: str
    section: str
    """section of the glossary that explains its heads"""
    columns: Sequence[Column[R]]
    rows: Sequence[R]
    notes: Sequence[str] = field(default_factory=list)
    """sentences below it"""

    def texts(self) -> list[list[str]]:
        """The cells' texts, row by row."""
        return [[column.cell(row) for column in self.columns] for row in self.rows]
