"""LIBSVM (SVMLight) files: ``label index:value … # comment``, zeros left out.

Indices count from 1 and ascend within a line; ``qid:`` of ranking files is ignored. X comes back dense,
because that is what the backends train on.
"""

from __future__ import annotations

import math
import re
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.problem.checks import quoted
from compare_ag.problem.core import ProblemError
from compare_ag.problem.memory import require_memory
from compare_ag.problem.table import Labels, Table, choose_features, not_a_number, parse_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compare_ag.problem.memory import Available
    from compare_ag.problem.table import ReadOptions

ENTRIES_AT_A_TIME = 1 << 20

LARGEST_INDEX = 2**31 - 1

_LINE = re.compile(r"[^\s:#]+(?:\s+(?:qid|[0-9]+):[^\s:]+)+\s*(?:#.*)?\s*")


def looks_like_libsvm(lines: Iterable[str]) -> bool:
    """Return whether one of the lines is a label with entries, whatever the file is called."""
    return any(map(_LINE.fullmatch, lines))


def read_libsvm(lines: Iterable[str], source: str, options: ReadOptions, available: Available) -> Table:
    """Read the lines of a LIBSVM file; d is the largest index in it. ``features`` and ``drop`` are its indices."""
    labels, classes = Labels(f"{source}, labels"), array("b")
    ends, columns, values = array("q", [0]), array("i"), array("d")  # row i: X[i, columns[ends[i] : ends[i + 1]]] = …
    d, checked = 0, 0
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        place = f"{source}, line {number}"
        if ":" in words[0]:
            raise ProblemError(f"{place}: the line begins with {quoted(words[0])}; a label must come first")
        known = labels.known.get(words[0])
        classes.append(labels.add(words[0], place) if known is None else known)
        previous = 0
        for entry in words[1:]:
            key, colon, text = entry.partition(":")
            if key == "qid" and colon:
                continue
            if not colon:
                raise ProblemError(f"{place}: expected index:value, not {quoted(entry)}")
            previous = _index(key, previous, place)
            value = parse_number(text)
            if value is None or not math.isfinite(value):
                raise ProblemError(f"{place}: the value of feature {previous} {not_a_number(text)}")
            columns.append(previous - 1)
            values.append(value)
        ends.append(len(values))
        d = max(d, previous)
        if len(values) - checked >= ENTRIES_AT_A_TIME:
            checked = len(values)
            require_memory(source, max(len(classes) * d, checked), available)
    n = len(classes)
    if n == 0 or d == 0:
        raise ProblemError(f"{source}: " + ("no line has a feature (index:value)" if n else "the file is empty"))
    require_memory(source, n * d, available)
    y, label_names = labels.finish(np.array(classes))
    X, where, what = np.zeros((n, d)), np.frombuffer(columns, np.int32), np.frombuffer(values)
    for row, (start, end) in enumerate(pairwise(ends)):
        X[row, where[start:end]] = what[start:end]
    names: tuple[str, ...] = ()
    if options.features or options.drop:
        names = tuple(str(index) for index in range(1, d + 1))
        kept = choose_features(options, names, source, named=True)
        X, names = np.ascontiguousarray(X[:, kept]), tuple(names[column] for column in kept)
    return Table(X, y, label_names, names, f"LIBSVM, {len(values):,} entries in the file", labels.warnings)


def _index(key: str, previous: int, place: str) -> int:
    index = int(key) if key.isascii() and key.isdigit() and len(key) <= len(str(LARGEST_INDEX)) else -1
    if not 1 <= index <= LARGEST_INDEX:
        hint = " (add 1 to all indices)" if index == 0 else ""
        raise ProblemError(f"{place}: feature index {quoted(key)}: indices are integers from 1{hint}")
    if index <= previous:
        raise ProblemError(f"{place}: feature index {index} after {previous}: indices must ascend within a line")
    return index
