"""Reading text files line by line: packed or not, UTF-8 with or without a byte-order mark, any kind of line end.

Lines count from 1, as an editor shows them, so that a message leads to the spot.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import TYPE_CHECKING

from compare_ag.problem.checks import printable
from compare_ag.problem.core import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
    from typing import Any

PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""How packed files begin, and what unpacks them as they are read."""

LONGEST_LINE = 1 << 28
"""Characters; what is longer is no line of a table, and would fill the memory before anything could be said."""


def text_lines(path: Path, opener: Callable[..., Any] = open) -> Generator[str]:
    """Yield the lines with their ends; raise `ProblemError` for what is not UTF-8 text."""
    number = 0
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        try:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if "\0" in line or len(line) == LONGEST_LINE:
                    what = "a NUL byte" if "\0" in line else f"no line end in {LONGEST_LINE:,} characters"
                    raise ProblemError(
                        f"{printable(path.name)}, line {number}: {what}: this is a binary file or UTF-16; "
                        "save it as UTF-8 text"
                    )
                yield line
        except UnicodeDecodeError:
            number = _undecodable_line(path, opener)
            raise ProblemError(
                f"{printable(path.name)}, line {number}: not UTF-8; save the file as UTF-8 text"
            ) from None


def _undecodable_line(path: Path, opener: Callable[..., Any]) -> int:
    """The decoder reads ahead, so the line is looked for again, among the bytes."""
    number = 0
    with opener(path, "rb") as file:
        for number, line in enumerate((part for block in file for part in block.splitlines()), 1):  # noqa: B007 - returned below, after the loop
            try:
                line.decode()
            except UnicodeDecodeError:
                break
    return number
