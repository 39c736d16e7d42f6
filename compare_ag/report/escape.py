"""Strangers' text on its way into Markdown and spreadsheets: it arrives as text and does nothing.

Names, versions, reasons and data columns come from plugins, files and other people's run directories. `text.printable`
makes control, bidirectional and invisible characters visible first, as on the terminal; each form has traps of its own.
"""

from __future__ import annotations

import re

from compare_ag.text import printable, without_paths

_PLAIN = re.compile(
    r"""(?:[^\W_]|[ ,;()%'+=≤≥±×·–−→-]
    | (?<=\w)_(?=\w) | (?<=\w)\[\d+\](?![(\[:]) | (?<=\d)[./](?=\d)  # within a word or number
    | [.:](?=\s|$))*""",
    re.X,
)
"""text in which no renderer of Markdown finds anything to do: no emphasis, link, mention, entity, emoji or HTML"""
_BACKTICKS = re.compile("`+")
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""what a spreadsheet takes for the start of a formula, the wide forms of East Asian keyboards too"""


def clean(text: str) -> str:
    """One line of visible characters that names no place on anybody's machine."""
    return printable(" ".join(without_paths(text).split()))


def markdown(text: str) -> str:
    """Text for a line or a table cell of Markdown: as it is where that is harmless, else as a code span.

    Inside a code span nothing is markup, neither HTML nor links nor mentions. Only a pipe would still end a table's
    cell, and renderers disagree on how to escape it there, so that it becomes a broken bar.
    """
    shown = clean(text)
    if _PLAIN.fullmatch(shown):
        return shown
    shown = shown.replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def cell(value: str | float | int | None) -> str:
    """A cell of a table for spreadsheets: numbers with all their digits, text that is no formula.

    Text that would be taken for a formula gets an apostrophe, which spreadsheets read as "this is text"; numbers, also
    negative ones, stay numbers.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    risky = value.lstrip(" ").startswith(_FORMULA) and not _is_number(value)
    return f"'{clean(value)}" if risky else clean(value)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None
