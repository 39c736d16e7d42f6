"""What every file reader returns, and how the labels of a file become 0 and 1.

Any two values may serve as labels. Numbers are compared as numbers ("1" and "1.0" are one class) and
sorted as such; everything else is sorted as text. The lesser becomes 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare_ag.problem.checks import listed, printable, quoted
from compare_ag.problem.core import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compare_ag.problem.core import Array

MISSING = frozenset({"", "?", "-", "na", "n/a", "null", "none"})
"""Cells that say, in lower case, that a value is missing. ("nan" is a number that is not finite.)"""

SHOWN_CLASSES = 5
"""With more classes than this a reader need not go on: the message would show no more of them."""


class Table(NamedTuple):
    """A file's content: finite features and mapped labels."""

    X: Array
    """(n, d) float64, finite, C-contiguous"""
    y: Array
    """(n,) float64 of 0 and 1, both present"""
    label_names: tuple[str, str]
    feature_names: tuple[str, ...]
    """as in the file, or its column numbers; empty where features have no names"""
    detail: str
    """how the file was understood, for the description of the data"""


def parse_number(text: str) -> float | None:
    """Return the number that ``text`` is (maybe NaN or inf), or None.

    The decimal sign is the point. What Python's float() takes beyond that (1_000, digits of other scripts)
    is a typing mistake in a data file.
    """
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def not_a_number(text: str) -> str:
    """Say what is wrong with a cell that is not a finite number, and what to do about it."""
    text = text.strip()
    if text.lower() in MISSING:
        value = "is empty" if not text else f"is {quoted(text)}"
        return f"{value}: a missing value; fill it in or remove the row"
    if parse_number(text) is not None:
        return f"is {quoted(text)}, which is not finite in float64; repair or remove the row"
    if parse_number(text.replace(",", ".", 1)) is not None:
        return f"is {quoted(text)}, which is not a number: use the decimal point"
    return f"is {quoted(text)}, which is not a number; features must be numeric: encode the column or remove it"


class Labels:
    """The labels of a text file, added one by one."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._class_of_text: dict[str, int] = {}
        self._class_of_value: dict[float | str, int] = {}
        self._names: list[str] = []
        self._classes: list[int] = []

    def add(self, text: str, place: str) -> None:
        """Add the label of the next example; ``place`` is where it stands, for messages."""
        number = self._class_of_text.get(text)
        if number is None:
            number = self._class_of_text[text] = self._new_text(text, place)
        self._classes.append(number)

    def _new_text(self, text: str, place: str) -> int:
        value = parse_number(text)
        if text.lower() in MISSING or (value is not None and not math.isfinite(value)):
            raise ProblemError(f"{place}: the label is {quoted(text)}; fill it in or remove the row")
        number = self._class_of_value.setdefault(text if value is None else value, len(self._names))
        if number == len(self._names):
            self._names.append(text)
        if len(self._names) > SHOWN_CLASSES:
            raise _not_two(self._source, self._names)
        return number

    def finish(self) -> tuple[Array, tuple[str, str]]:
        """Return y (n,) and the names of the classes 0 and 1; raise `ProblemError` unless there are two."""
        if len(self._names) != 2:
            raise _not_two(self._source, self._names)
        values = list(self._class_of_value)
        numeric = all(isinstance(value, float) for value in values)
        ordered = sorted(values, key=float if numeric else str)
        first, second = (self._class_of_value[value] for value in ordered)
        y = (np.array(self._classes) == second).astype(np.float64)
        return y, (printable(self._names[first]), printable(self._names[second]))


def map_labels(values: Array, source: str) -> tuple[Array, tuple[str, str]]:
    """Return y (n,) and the names of the classes for an array (n,) of finite numbers, bools or texts."""
    classes = np.unique(values)
    names = [_name(value) for value in classes[: SHOWN_CLASSES + 1]]
    if len(names) != 2:
        raise _not_two(source, names)
    return (values == classes[1]).astype(np.float64), (printable(names[0]), printable(names[1]))


def _name(value: np.generic) -> str:
    plain = value.item()
    if isinstance(plain, bytes):
        return plain.decode("utf-8", "backslashreplace")
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def _not_two(source: str, names: Sequence[str]) -> ProblemError:
    if len(names) == 1:
        return ProblemError(f"{source}: every label is {quoted(names[0])}: training needs two classes")
    shown = [quoted(name) for name in names[:SHOWN_CLASSES]]
    if len(names) > SHOWN_CLASSES:
        shown.append("…")
    return ProblemError(
        f"{source}: more than two classes: {', '.join(shown)}; keep the rows of two classes, or choose other labels"
    )


def shape_in_words(X: Array) -> str:
    """Return "100 examples × 5 features"."""
    return f"{X.shape[0]:,} examples × {X.shape[1]:,} features"


def columns_listed(names: Sequence[str]) -> str:
    """Return the columns of a file with their numbers: "0 'age', 1 'label'"."""
    return listed([f"{number} {quoted(name)}" for number, name in enumerate(names)])
