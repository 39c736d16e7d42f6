"""LIBSVM (SVMLight) files: ``label index:value … # comment``, zeros left out.

Indices count from 1 and ascend within a line; ``qid:`` of ranking files is ignored. X comes back dense,
because that is what the backends train on.
"""

from __future__ import annotations

import math
from array import array
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.problem.checks import printable, quoted
from compare_ag.problem.core import ProblemError
from compare_ag.problem.files_text import text_lines
from compare_ag.problem.memory import require_memory
from compare_ag.problem.table import Labels, Table, not_a_number, parse_number

if TYPE_CHECKING:
    from pathlib import Path

    from compare_ag.problem.core import Array
    from compare_ag.problem.memory import Available

SHORTEST_ENTRY = 4
"""Bytes of " 1:2": no file holds more entries than its size divided by this."""

MOST_DIGITS = 10
"""of an index: more than any memory can hold columns"""


class Entries:
    """The non-zero cells of X as they are met: X[rows, columns] = values."""

    def __init__(self) -> None:
        self.rows = array("q")
        self.columns = array("q")
        self.values = array("d")

    def add_line(self, row: int, entries: list[str], place: str) -> None:
        """Add one example's ``index:value`` entries."""
        previous = 0
        for entry in entries:
            key, colon, text = entry.partition(":")
            if key == "qid" and colon:
                continue
            if not colon:
                raise ProblemError(f"{place}: expected index:value, not {quoted(entry)}")
            index = _index(key, previous, place)
            value = parse_number(text)
            if value is None or not math.isfinite(value):
                raise ProblemError(f"{place}: the value of feature {index} {not_a_number(text)}")
            self.rows.append(row)
            self.columns.append(index - 1)
            self.values.append(value)
            previous = index

    def dense(self, n: int, d: int) -> Array:
        """Return X (n, d)."""
        X = np.zeros((n, d))
        X[np.frombuffer(self.rows, dtype=np.int64), np.frombuffer(self.columns, dtype=np.int64)] = np.frombuffer(
            self.values
        )
        return X


def _index(key: str, previous: int, place: str) -> int:
    index = int(key) if key.isascii() and key.isdigit() and len(key) <= MOST_DIGITS else -1
    if index < 1:
        hint = " (add 1 to all indices)" if index == 0 else ""
        raise ProblemError(f"{place}: feature index {quoted(key)}: indices are integers from 1{hint}")
    if index <= previous:
        raise ProblemError(f"{place}: feature index {index} after {previous}: indices must ascend within a line")
    return index


def read_libsvm(path: Path, available: Available) -> Table:
    """Read a LIBSVM file; d is the largest index in it."""
    source = printable(path.name)
    require_memory(source, path.stat().st_size // SHORTEST_ENTRY, available)
    labels, entries, n = Labels(f"{source}, labels"), Entries(), 0
    with closing(text_lines(path)) as lines:
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            place = f"{source}, line {number}"
            if ":" in words[0]:
                raise ProblemError(f"{place}: the line begins with {quoted(words[0])}; a label must come first")
            labels.add(words[0], place)
            entries.add_line(n, words[1:], place)
            n += 1
    if n == 0:
        raise ProblemError(f"{source}: the file is empty")
    if not entries.columns:
        raise ProblemError(f"{source}: no line has a feature (index:value)")
    d = max(entries.columns) + 1
    require_memory(source, n * d, available)
    y, label_names = labels.finish()
    return Table(entries.dense(n, d), y, label_names, (), detail=f"{len(entries.values):,} entries in the file")
