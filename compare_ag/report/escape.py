"""Escapes text for Markdown and spreadsheets, so that it is shown as text and changes nothing else.

Names, versions, reasons and data columns come from plugins, files and other people's run directories. `text.printable`
first makes control, bidirectional and invisible characters visible, as on the terminal; then each format's own markup
is escaped.
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
"""text without any markup of Markdown: no emphasis, link, mention, entity, emoji or HTML"""
_BACKTICKS = re.compile("`+")
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""characters that start a formula in a spreadsheet, with the wide forms of East Asian keyboards"""


def clean(text: str) -> str:
    """One line of visible characters, without any path of the machine."""
    return printable(" ".join(without_paths(text).split()))


def markdown(text: str) -> str:
    """Text for a line or a table cell of Markdown: unchanged where it has no markup, else as a code span.

    Inside a code span neither HTML nor links nor mentions have a meaning. Only a pipe would still end the table's cell,
    and renderers disagree on how to escape it there, so that it becomes a broken bar.
    """
    shown = clean(text)
    if _PLAIN.fullmatch(shown):
        return shown
    shown = shown.replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def cell(value: str | float | int | None) -> str:
    """A cell of a table for spreadsheets: numbers with all their digits, text that cannot start a formula.

    Text that a spreadsheet would read as a formula gets an apostrophe, which marks text. Numbers stay
    numbers, also negative numbers.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    risky = value.lstrip(" ").startswith(_FORMULA) and not _is_number(value)
    return f"'{clean(value)}" if risky else clean(value)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None
