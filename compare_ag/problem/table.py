"""What all readers of tables share: the source with its error messages, the choice of columns, and the labels.

Any two values may be labels. Numbers are compared exactly ("1" and "1.0" are the same class) and sorted as numbers; all
other labels are texts and sorted as texts. The lesser label becomes 0. Knows no format: see `files`.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from compare_ag.problem.checks import MISSING, did_you_mean, listed, not_a_number, parse_number, printable, quoted
from compare_ag.problem.core import Array, ProblemError
from compare_ag.problem.estimate import require_memory

SHOWN_CLASSES = 5
"""A reader stops when it has met more classes than this: the message would show no more of them."""

_NAMELESS = re.compile(r"|Unnamed: [0-9]+|__index_level_[0-9]+__")  # names of an index that was saved with the data
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class Source(NamedTuple):
    """A file or a data frame, and the user's options for it; see `files.load_file`."""

    name: str
    """its name in messages"""
    memory: int
    """the bytes that may be used"""
    target: str | int | None = None
    features: Sequence[str | int] = ()
    drop: Sequence[str | int] = ()
    header: bool | None = None
    delimiter: str | None = None

    def error(self, message: str, *place: str) -> ProblemError:
        """Return the error with the source, the place in it, and the message."""
        return ProblemError(f"{', '.join((self.name, *place))}: {message}")

    def require(self, condition: bool, message: str, *place: str) -> None:
        """Raise `error` unless the condition holds."""
        if not condition:
            raise self.error(message, *place)

    def require_memory(self, cells: int) -> None:
        """Raise `ProblemError` if so many features do not fit."""
        require_memory(self.name, cells, lambda: self.memory)

    def require_target(self, names: Sequence[str], clause: str) -> None:
        """Raise the error that asks for the column of the labels, if the user has not given it."""
        if self.target is None:
            listing = f"{clause} {columns_listed(names)}"
            raise self.error(f"say which column holds the labels: --target NAME or NUMBER; {listing}")

    def refuse(self, reason: str, *options: str) -> None:
        """Raise `ProblemError` for an option that has no meaning in this format; reason: why."""
        for option in options:
            if getattr(self, option) is not None:
                raise self.error(f"leave out --{option}: {reason}")


class Content(NamedTuple):
    """The content of a source."""

    X: Array
    """(n, d) float64, finite"""
    classes: Array
    """(n,) integers: of each example, the class in ``labels``"""
    labels: Labels
    feature_names: tuple[str, ...]
    """as in the source, or its column numbers; empty where features have no names"""
    detail: str
    """how the source was understood, for the description of the data"""
    warnings: tuple[str, ...] = ()


def load_plain(texts: Sequence[str], **options: Any) -> Array | None:
    """Return plain numbers as `numpy.loadtxt` reads them, equal to those of float(); None where it raises or warns."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no numbers at all
            return np.loadtxt(texts, comments=None, **{"ndmin": 2} | options)
    except (ValueError, KeyError, Warning):
        return None


def columns_listed(names: Sequence[str]) -> str:
    """Return the columns of a source with their numbers: "0 'age', 1 'label'"."""
    return listed([f"{number} {quoted(name)}" for number, name in enumerate(names)])


def separate(columns: Sequence[str | int], names: Sequence[str]) -> Iterator[str | int]:
    """Yield the columns that the user lists: each entry is a column, or several with commas between them."""
    for entry in columns:
        yield from [entry] if isinstance(entry, int) or entry in names else filter(None, entry.split(","))


class Columns:
    """The columns of a source: which of them the user chooses, and their names in messages."""

    def __init__(self, source: Source, names: Sequence[str], *, named: bool = True) -> None:
        """named: whether ``names`` are names; False where columns only have their numbers."""
        self.source, self.names, self.named = source, names, named
        self.target = -1 if source.target is None else self.find(source.target)  # -1: the labels stand apart
        chosen_features = {*map(self.find, separate(source.features, names))}
        dropped = {*map(self.find, separate(source.drop, names))}
        message = f"{quoted(names[self.target])} holds the labels: name other columns as features"
        source.require(self.target not in chosen_features | dropped, message)
        self.features = sorted((chosen_features or {*range(len(names))}) - dropped - {self.target})
        source.require(bool(self.features), "no feature is left: choose other columns with --features or --drop")
        self.feature_names = tuple(printable(names[column]) for column in self.features)
        self.warnings = tuple(
            f"column {column} (counted from 0) is called {quoted(names[column])}, as a saved index is; it is trained "
            f"on as a feature: --drop {column - len(names) * (str(column) in names)} leaves it out"
            for column in self.features
            if _NAMELESS.fullmatch(names[column])
        )

    def find(self, column: str | int) -> int:
        """Return the number of a column that is given by a name, else by a number (negative from the end)."""
        text, count = str(column).strip(), len(self.names)
        times = self.names.count(text) if self.named and isinstance(column, str) else 0
        number = int(text) if _INTEGER.fullmatch(text) else None
        if times == 1:
            return self.names.index(text)
        if number is not None and not times and -count <= number < count:
            return number % count
        listing = f"columns are {columns_listed(self.names)}"
        if times:
            message = f"{times} columns are called {quoted(text)}: choose one by its number; the {listing}"
        elif number is not None:
            message = f"no column {number}: there are {count}, 0 to {count - 1}"
        elif self.named:
            message = f"no column {quoted(text)}{did_you_mean(text, self.names, '.')} The {listing}"
        else:
            message = f"no column {quoted(text)}: the columns have no names; choose one by its number, 0 to {count - 1}"
        raise self.source.error(message)

    def __getitem__(self, column: int) -> str:
        name = self.names[column] if self.named else ""
        return f"column {quoted(name)}" if name else f"column {column} (counted from 0)"


def choose_columns(X: Array, source: Source, first: int, *, named: bool) -> tuple[Array, tuple[str, ...]]:
    """Return the columns of X (n, d) that the user chooses, and their numbers as names if any is chosen.

    first: the number of the first column.
    """
    if not (source.features or source.drop):
        return X, ()
    columns = Columns(source, [str(first + column) for column in range(X.shape[1])], named=named)
    return np.take(X, columns.features, axis=1), columns.feature_names


class Labels:
    """The classes of the labels of a source, and the place where each was met first."""

    def __init__(self, source: Source, place: str, place_of: Callable[[int], str]) -> None:
        """place: of all labels, in messages; place_of: gives the place of the label in a line or row, by its number."""
        self._source, self._place, self._place_of = source, place, place_of
        self.known: dict[str, int] = {}
        """the class of every text so far"""
        self._first: dict[Decimal | str, tuple[str, str]] = {}
        """of each class, in order: its value, with its first text and the place of that text"""

    def find(self, text: str, number: int) -> int:
        """Return the class of a label in the line or row with this number."""
        if text not in self.known:
            place = self._place_of(number)
            self._source.require(bool(text), f"the label {not_a_number(text)}", place)
            value = _value(text)
            self._first.setdefault(value, (text, place))
            if len(self._first) > SHOWN_CLASSES:
                raise self._not_two()
            self.known[text] = list(self._first).index(value)
        return self.known[text]

    def finish(self, classes: Array) -> tuple[Array, tuple[str, str]]:
        """Return y (n,) of 0 and 1 for the classes (n,) of the examples, and the names of the classes 0 and 1."""
        if len(self._first) != 2:
            raise self._not_two()
        numeric = all(isinstance(value, Decimal) for value in self._first)
        ordered = sorted(self._first, key=Decimal if numeric else str)
        if ordered == ["+", "-"]:
            ordered.reverse()
        (first, _), (second, _) = (self._first[value] for value in ordered)
        return (classes == self.known[second]).astype(np.float64), (printable(first), printable(second))

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each label that often means a missing label, unless the labels are + and -."""
        odd = self._odd() if set(self._first) != {"+", "-"} else []
        return tuple(f"the label {quoted(name)} is a class here: remove its rows if it means none" for name in odd)

    def _odd(self) -> list[str]:
        return [name for name, _ in self._first.values() if name.lower() in MISSING | {"nan"}]

    def _not_two(self) -> ProblemError:
        places = dict(self._first.values())
        names = [*places]
        if len(names) == 1:
            return self._source.error(f"every label is {quoted(names[0])}: training needs two classes", self._place)
        last, remedy = names[2], "keep the rows of two classes, or choose other labels"
        if odd := self._odd():
            last, remedy = odd[0], f"if {quoted(odd[0])} means a missing label, fill it in or remove the row"
        listing = ", ".join([*map(quoted, names[:SHOWN_CLASSES]), *["…"] * (len(names) > SHOWN_CLASSES)])
        first = f"{quoted(last)} first in {self._source.name}, {places[last]}"
        return self._source.error(f"more than two classes: {listing} ({first}); {remedy}", self._place)


def map_labels(values: Array, source: Source, place: str) -> tuple[Array, Labels]:
    """Return the classes (n,) of an array (n,) of numbers, bools or texts."""
    if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
        row = f"row {int(np.argmax(missing))} (counted from 0)"
        raise source.error(f"{row} is nan; fill it in or remove it", place)
    labels = Labels(source, place, lambda row: f"{place}, row {row} (counted from 0)")
    uniques, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.array([*map(labels.find, map(_name, uniques), first.tolist())], np.int8)[inverse], labels


def _name(value: np.generic) -> str:
    plain = value.item()
    if isinstance(plain, bytes):
        return plain.decode("utf-8", "backslashreplace").strip()
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain).strip()


def _value(text: str) -> Decimal | str:
    """The label as an exact number, so that identifiers beyond 2^53 stay apart, or as text."""
    number = parse_number(text)
    try:
        return Decimal(text) if number is not None and math.isfinite(number) else text
    except ArithmeticError:  # an exponent that Decimal does not hold
        return text
