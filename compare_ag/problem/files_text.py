"""Reading text files line by line: UTF-8 with or without a byte-order mark, any kind of line end.

Lines count from 1, as an editor shows them, so that a message leads to the spot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compare_ag.problem.checks import printable
from compare_ag.problem.core import ProblemError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


def text_lines(path: Path) -> Generator[str]:
    """Yield the lines with their ends; raise `ProblemError` for what is not UTF-8 text."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise ProblemError(
                        f"{printable(path.name)}, line {number}: a NUL byte: this is a binary file or UTF-16; "
                        "save it as UTF-8 text"
                    )
                yield line
        except UnicodeDecodeError:
            raise ProblemError(
                f"{printable(path.name)}, line {_undecodable_line(path)}: not UTF-8; save the file as UTF-8 text"
            ) from None


def _undecodable_line(path: Path) -> int:
    """The decoder reads ahead, so the line is looked for again, among the bytes."""
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate((part for block in file for part in block.splitlines()), 1):  # noqa: B007 - returned below, after the loop
            try:
                line.decode()
            except UnicodeDecodeError:
                break
    return number
