"""LIBSVM (SVMLight) files: ``label index:value … # comment``, zeros left out.

Indices count from 1 and ascend within a line; ``qid:`` of ranking files is ignored. numpy reads many entries at a
time; where it objects, they are looked at one by one to say what is wrong. X comes back dense, because that is what the
backends train on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from compare_ag.problem.checks import quoted
from compare_ag.problem.core import Array
from compare_ag.problem.table import (
    Labels,
    Rows,
    Source,
    Table,
    choose_columns,
    load_plain,
    not_a_number,
    parse_number,
    read_in_order,
)

ENTRIES_AT_A_TIME = 1 << 15

LARGEST_INDEX = 2**31 - 1

ENTRY = np.dtype([("index", np.int32), ("value", np.float64)])

_LINE = re.compile(r"[^\s:#]+(?:\s+(?:qid|[0-9]+):[^\s:]+)+\s*(?:#.*)?\s*")


def looks_like_libsvm(lines: Iterable[str]) -> bool:
    """Return whether one of the lines is a label with entries, whatever the file is called."""
    return any(map(_LINE.fullmatch, lines))


def read_libsvm(lines: Iterable[str], source: Source) -> Table:
    """Read the lines of a LIBSVM file; d is the largest index in it. ``features`` and ``drop`` are its indices."""
    labels = Labels(source, "labels", lambda line: f"line {line}")

    def read(numbers: list[int], rows: Rows) -> tuple[Array, ...]:
        for number, (label, *_) in zip(numbers, rows, strict=True):
            if ":" in label:
                raise source.error(f"the line begins with {quoted(label)}; a label must come first", f"line {number}")
        classes = labels.classes([words[0] for words in rows], numbers)
        lengths = np.array([len(words) - 1 for words in rows])
        entries = _read_plain([entry for words in rows for entry in words[1:]], lengths)
        if entries is None:
            numbered = zip(rows, numbers, strict=True)
            entries = np.array([entry for row, number in numbered for entry in _read_row(row, number, source)], ENTRY)
        return classes, lengths, entries

    blocks, classes = list[tuple[Array, Array]](), list[Array]()
    n = d = count = 0
    for numbers, rows in _blocks(lines):
        some, lengths, entries = read_in_order(read, numbers, rows)
        classes.append(some)
        blocks.append((lengths, entries))
        n, d, count = n + len(rows), max(d, int(entries["index"].max(initial=0))), count + len(entries)
        source.require_memory(max(n * d, count))
    source.require(d > 0, "no line has a feature (index:value)" if n else "the file is empty")
    X, end = np.zeros((n, d)), n
    while blocks:  # from the end on, so that their memory is free when that of X is needed
        lengths, entries = blocks.pop()
        X[np.repeat(np.arange(end - len(lengths), end), lengths), entries["index"] - 1] = entries["value"]
        end -= len(lengths)
    X, names = choose_columns(X, source, 1, named=True)
    detail = f"LIBSVM, {count:,} entries in the file"
    return Table(X, np.concatenate(classes), labels, names, detail)


def _blocks(lines: Iterable[str]) -> Iterator[tuple[list[int], Rows]]:
    """Yield the numbers and the words of so many lines at a time that they have `ENTRIES_AT_A_TIME`."""
    numbers, rows, count = list[int](), Rows(), 0
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if "qid:" in line:
            words[1:] = [word for word in words[1:] if not word.startswith("qid:")]
        if words:
            numbers.append(number)
            rows.append(words)
            count += len(words[1:]) or 1
        if count >= ENTRIES_AT_A_TIME:
            yield numbers, rows
            numbers, rows, count = [], [], 0
    if rows:
        yield numbers, rows


def _read_plain(entries: list[str], lengths: Array) -> Array | None:
    """Return the entries of rows of these lengths; None where there are none, or something is not in order."""
    if min(entries, default="") < "0":  # numpy would take +1 for an index
        return None
    table = load_plain(entries, delimiter=":", dtype=ENTRY, ndmin=1)
    if table is None or not np.isfinite(table["value"]).all():
        return None
    before = np.append(0, table["index"][:-1])
    before[(lengths.cumsum() - lengths)[lengths > 0]] = 0  # at the start of a row
    return table if (table["index"] > before).all() else None


def _read_row(words: list[str], number: int, source: Source) -> Iterator[tuple[int, float]]:
    """Yield the entries of a row, or say what is wrong with one."""
    index, place = 0, f"line {number}"
    for entry in words[1:]:
        key, colon, text = entry.partition(":")
        if not colon:
            raise source.error(f"expected index:value, not {quoted(entry)}", place)
        before, index = index, int(key) if re.fullmatch("[0-9]{1,10}", key) else -1
        if not 1 <= index <= LARGEST_INDEX:
            hint = " (add 1 to all indices)" if index == 0 else ""
            raise source.error(f"feature index {quoted(key)}: indices are integers from 1{hint}", place)
        if index <= before:
            raise source.error(f"feature index {index} after {before}: indices must ascend within a line", place)
        value = parse_number(text)
        if value is None or not math.isfinite(value):
            raise source.error(f"the value of feature {index} {not_a_number(text)}", place)
        yield index, value
