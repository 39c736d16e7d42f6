"""LIBSVM (SVMLight) files: ``label index:value … # comment``, zeros left out.

Indices count from 1 and ascend within a line; ``qid:`` of ranking files is ignored. X becomes dense, because backends
train on dense data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from compare_ag.problem.checks import not_a_number, parse_number, quoted
from compare_ag.problem.core import Array
from compare_ag.problem.table import Content, Labels, Source, choose_columns, load_plain

LARGEST_INDEX = 2**31 - 1
FIELDS_AT_A_TIME = 1 << 15
ENTRY = np.dtype([("index", np.int32), ("value", np.float64)])

_LINE = re.compile(r"[^\s:#]+(?:\s+(?:qid|[0-9]+):[^\s:]+)+\s*(?:#.*)?\s*")


def looks_like_libsvm(lines: Iterable[str]) -> bool:
    """Return whether one of the lines is a label with entries."""
    return any(map(_LINE.fullmatch, lines))


def read_libsvm(lines: Iterable[str], source: Source) -> Content:
    """Read the lines of a LIBSVM file; d is the largest index in it. ``features`` and ``drop`` are its indices."""
    labels = Labels(source, "labels", lambda line: f"line {line}")
    blocks, classes = list[tuple[Array, Array]](), list[Array]()
    n = d = count = 0
    for rows in _blocks(lines):
        block_classes, lengths, entries = _read(rows, labels, source)
        classes.append(block_classes)
        blocks.append((lengths, entries))
        n, d, count = n + len(rows), max(d, int(entries["index"].max(initial=0))), count + len(entries)
        source.require_memory(max(n * d, count))
    source.require(d > 0, "no line has a feature (index:value)" if n else "the file is empty")
    X, end = np.zeros((n, d)), n
    while blocks:  # from the end, so that their memory is free when that of X is needed
        lengths, entries = blocks.pop()
        X[np.repeat(np.arange(end - len(lengths), end), lengths), entries["index"] - 1] = entries["value"]
        end -= len(lengths)
    X, names = choose_columns(X, source, 1, named=True)
    return Content(X, np.concatenate(classes), labels, names, f"LIBSVM, {count:,} entries in the file")


def _blocks(lines: Iterable[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """Yield the numbers and the fields of lines, as many at a time as have about `FIELDS_AT_A_TIME` fields."""
    rows, count = list[tuple[int, list[str]]](), 0
    for number, line in enumerate(lines, 1):
        fields = line.partition("#")[0].split()
        if "qid:" in line:
            fields[1:] = [field for field in fields[1:] if not field.startswith("qid:")]
        if fields:
            rows.append((number, fields))
            count += len(fields)
        if count >= FIELDS_AT_A_TIME:
            yield rows
            rows, count = [], 0
    if rows:
        yield rows


def _read(rows: list[tuple[int, list[str]]], labels: Labels, source: Source) -> tuple[Array, Array, Array]:
    """Return the class and the number of entries of each row, (m,) both, and all entries, (k,) `ENTRY`."""
    lengths = np.array([len(fields) - 1 for _, fields in rows])
    texts = [text for _, fields in rows for text in fields[1:]]
    signs = min(texts, default="") < "0"  # numpy would accept +1 as an index
    entries = None if signs else load_plain(texts, delimiter=":", dtype=ENTRY, ndmin=1)
    if entries is None:
        parts = (text.partition(":") for text in texts)
        entries = np.array([(_index(key), parse_number(value)) for key, _, value in parts], ENTRY)  # None becomes NaN
    before, ends = np.roll(entries["index"], 1), lengths.cumsum()
    before[(ends - lengths)[lengths > 0]] = 0  # at the start of a row
    valid = (entries["index"] > before) & np.isfinite(entries["value"])
    wrong = int(np.argmin(np.append(valid, False)))  # the first wrong entry, or their number
    wrong_row = int(np.searchsorted(ends, wrong, side="right"))
    classes = list[int]()
    for number, fields in rows[: wrong_row + 1]:
        if ":" in fields[0]:
            raise source.error(f"the line begins with {quoted(fields[0])}; a label must come first", f"line {number}")
        classes.append(labels.find(fields[0], number))
    if wrong < len(texts):
        raise source.error(_fault(texts[wrong], int(before[wrong])), f"line {rows[wrong_row][0]}")
    return np.array(classes, np.int8), lengths, entries


def _index(key: str) -> int:
    """Return the index, or -1 for a text that is not an index."""
    return int(key) if re.fullmatch("[0-9]{1,10}", key) and int(key) <= LARGEST_INDEX else -1


def _fault(text: str, before: int) -> str:
    """Describe what is wrong with an entry that follows the index ``before``."""
    key, colon, value = text.partition(":")
    if not colon:
        return f"expected index:value, not {quoted(key)}"
    if (index := _index(key)) < 1:
        return f"feature index {quoted(key)}: indices are integers from 1{' (add 1 to all indices)' * (index == 0)}"
    if index <= before:
        return f"feature index {index} after {before}: indices must ascend within a line"
    return f"the value of feature {index} {not_a_number(value)}"
