"""Reading text files line by line: packed or not, UTF-8 with or without a byte-order mark, any kind of line end.

Lines count from 1, as an editor shows them, so that a message leads to the spot.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from compare_ag.problem.table import Source

PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""How packed files begin, and what unpacks them as they are read."""

LONGEST_LINE = 1 << 28
"""Characters; what is longer is no line of a table, and would fill the memory before anything could be said."""

_UNDECODED = re.compile("[\udc80-\udcff]")


def text_lines(path: Path, source: Source, opener: Callable[..., Any] = open) -> Generator[str]:
    """Yield the lines with their ends; raise `ProblemError` for what is not UTF-8 text."""
    number = 0
    with opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        while line := file.readline(LONGEST_LINE):
            number += 1
            if not line.isascii() and _UNDECODED.search(line):
                raise source.error("not UTF-8; save the file as UTF-8 text", f"line {number}")
            if "\0" in line or len(line) == LONGEST_LINE:
                what = "a NUL byte" if "\0" in line else f"no line end in {LONGEST_LINE:,} characters"
                raise source.error(f"{what}: this is a binary file or UTF-16; save it as UTF-8 text", f"line {number}")
            yield line
