"""What is read, and what all readers share: numbers and the words for what is none, choosing columns, labels.

Any two values may serve as labels. Numbers are compared as numbers, exactly ("1" and "1.0" are one class), and sorted
as such; everything else is text and sorted as text. The lesser becomes 0.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from compare_ag.problem.checks import did_you_mean, listed, printable, quoted
from compare_ag.problem.core import Array, ProblemError
from compare_ag.problem.estimate import require_memory

MISSING = frozenset({"", "?", "-", "na", "n/a", "null", "none"})
"""Feature cells that say, in lower case, that a value is missing. ("nan" is a number that is not finite.)"""

THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:([,.'’_ \u00a0\u202f])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]+)?")
"""Numbers that may have been written with thousands separators: ``1,234``, ``1.234.567,5``."""

SHOWN_CLASSES = 5
"""With more classes than this a reader need not go on: the message would show no more of them."""

NAMELESS = re.compile(r"|Unnamed: [0-9]+|__index_level_[0-9]+__")
"""What an index is called that was saved with the data."""

NOWHERE = -1
"""The column of the labels where they stand apart from the features."""

Rows = list[list[str]]
"""The cells or words of each row."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class Source(NamedTuple):
    """A file or a data frame, and what the user says about it; see `files.load_file`."""

    name: str
    """what messages call it"""
    memory: int
    """the bytes that may be used"""
    target: str | int | None = None
    features: Sequence[str | int] = ()
    drop: Sequence[str | int] = ()
    header: bool | None = None
    delimiter: str | None = None

    def error(self, message: str, *place: str) -> ProblemError:
        """Return the error that says where in the source something is wrong."""
        return ProblemError(f"{', '.join((self.name, *place))}: {message}")

    def require(self, condition: bool, message: str, *place: str) -> None:
        """Raise this error unless the condition holds."""
        if not condition:
            raise self.error(message, *place)

    def require_memory(self, cells: int) -> None:
        """Raise `ProblemError` if so many features do not fit."""
        require_memory(self.name, cells, lambda: self.memory)

    def require_target(self, names: Sequence[str], words: str) -> None:
        """Ask for the column of the labels, if the user has not said it."""
        if self.target is None:
            listing = f"{words} {columns_listed(names)}"
            raise self.error(f"say which column holds the labels: --target NAME or NUMBER; {listing}")

    def refuse(self, why: str, *options: str) -> None:
        """Raise `ProblemError` for an option that the format has no use for."""
        for option in options:
            if getattr(self, option) is not None:
                raise self.error(f"leave out --{option}: {why}")


class Table(NamedTuple):
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


def read_in_order(read: Callable[..., tuple[Array, ...]], lines: list[int], rows: Rows) -> tuple[Array, ...]:
    """Return what ``read`` makes of the rows in these lines; what is wrong in the first wrong row is raised."""
    try:
        return read(lines, rows)
    except ProblemError:
        for line, row in zip(lines, rows, strict=True):
            read([line], [row])
        raise


def load_plain(lines: Sequence[str], **options: Any) -> Array | None:
    """Return what `numpy.loadtxt` makes of plain numbers, those of float() to the bit; None where it objects."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a block of empty lines
            return np.loadtxt(lines, comments=None, **options)
    except (ValueError, KeyError, Warning):
        return None


def parse_number(text: str) -> float | None:
    """Return the number that ``text`` is (maybe NaN or inf), or None.

    The decimal sign is the point. What Python's float() takes beyond that (1_000, digits of other scripts)
    is a typing mistake in a data file.
    """
    if "_" in text or not text.isascii():
        return None
    with suppress(ValueError):
        return float(text)
    return None


def parse_numbers(texts: Sequence[str]) -> Array:
    """Return the numbers (m,) of `parse_number`, NaN for what is none."""
    together = "".join(texts)
    if together.isascii() and "_" not in together:
        with suppress(ValueError):
            return np.fromiter(map(float, texts), np.float64, len(texts))
    return np.array([np.nan if (number := parse_number(text)) is None else number for text in texts])


def not_a_number(text: str) -> str:
    """Say what is wrong with a cell that is not a finite number, and what to do about it."""
    text = text.strip()
    if text.lower() in MISSING:
        return f"is {quoted(text) if text else 'empty'}: a missing value; fill it in or remove the row"
    if found := THOUSANDS.fullmatch(text):
        either = " or a decimal comma" if found[1] == "," else ""
        trouble = f": a thousands separator{either}? Write numbers without separators, as 1234 or 1.234"
    elif parse_number(text) is not None:
        trouble = ", which is not finite in float64; repair or remove the row"
    elif parse_number(text.replace(",", ".", 1)) is not None:
        trouble = ", which is not a number: use the decimal point"
    else:
        trouble = ", which is not a number; features must be numeric: encode the column or leave it out"
    return f"is {quoted(text)}{trouble}"


def column_number(wanted: str | int, count: int) -> int | None:
    """Return which of ``count`` columns a number (negative from the end) means; None for what is none."""
    text = str(wanted).strip()
    return int(text) % count if _INTEGER.fullmatch(text) and -count <= int(text) < count else None


def columns_listed(names: Sequence[str]) -> str:
    """Return the columns of a source with their numbers: "0 'age', 1 'label'"."""
    return listed([f"{number} {quoted(name)}" for number, name in enumerate(names)])


def separate(wanted: Sequence[str | int], names: Sequence[str]) -> Iterator[str | int]:
    """Yield the columns that the user lists: each entry is a column, or several with commas between them."""
    for entry in wanted:
        yield from [entry] if isinstance(entry, int) or entry in names else filter(None, entry.split(","))


class Columns:
    """The columns of a source: which of them the user means, and what messages call them."""

    def __init__(self, source: Source, names: Sequence[str], *, named: bool = True) -> None:
        """named: whether ``names`` are names; False where columns only have their numbers."""
        self.source, self.names, self.named = source, names, named
        self.target = NOWHERE if source.target is None else self.find(source.target)
        chosen, dropped = ({*map(self.find, separate(them, names))} for them in (source.features, source.drop))
        message = f"{quoted(names[self.target])} holds the labels: name other columns as features"
        source.require(self.target not in chosen | dropped, message)
        self.features = sorted((chosen or {*range(len(names))}) - dropped - {self.target})
        source.require(bool(self.features), "no feature is left: choose other columns with --features or --drop")

    def find(self, wanted: str | int) -> int:
        """Return the column that is meant: a name, else a number (negative from the end)."""
        text, count = str(wanted).strip(), len(self.names)
        times = self.names.count(text) if self.named and isinstance(wanted, str) else 0
        if times == 1:
            return self.names.index(text)
        if not times and (number := column_number(wanted, count)) is not None:
            return number
        listing = f"columns are {columns_listed(self.names)}"
        if times:
            message = f"{times} columns are called {quoted(text)}: choose one by its number; the {listing}"
        elif _INTEGER.fullmatch(text):
            message = f"no column {int(text)}: there are {count}, 0 to {count - 1}"
        elif self.named:
            message = f"no column {quoted(text)}{did_you_mean(text, self.names, '.')} The {listing}"
        else:
            message = f"no column {quoted(text)}: the columns have no names; choose one by its number, 0 to {count - 1}"
        raise self.source.error(message)

    def __getitem__(self, column: int) -> str:
        name = self.names[column] if self.named else ""
        return f"column {quoted(name)}" if name else f"column {column} (counted from 0)"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What the features are called."""
        return tuple(printable(self.names[column]) for column in self.features)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning for each feature that is called as an index is which was saved with the data."""
        return tuple(
            f"column {column} (counted from 0) is called {quoted(self.names[column])}, as a saved index is; it is "
            f"trained on as a feature: --drop {column - len(self.names) * (str(column) in self.names)} leaves it out"
            for column in self.features
            if NAMELESS.fullmatch(self.names[column])
        )


def choose_columns(X: Array, source: Source, first: int, *, named: bool) -> tuple[Array, tuple[str, ...]]:
    """Return the columns of X (n, d) that the user chooses by numbers from ``first`` on, and these if any is chosen."""
    if not (source.features or source.drop):
        return X, ()
    columns = Columns(source, [str(first + column) for column in range(X.shape[1])], named=named)
    return np.take(X, columns.features, axis=1), columns.feature_names


class Labels:
    """The classes of the labels of a source, and where each was met first."""

    def __init__(self, source: Source, place: str, place_of: Callable[[int], str]) -> None:
        """place: what messages call all of the labels; place_of: and that of a line or row with this number."""
        self._source, self._place, self._place_of = source, place, place_of
        self.known: dict[str, int] = {}
        """the class of every text so far"""
        self._first: dict[Decimal | str, tuple[str, str]] = {}
        """of each class, in order: its value, with the text that was met first and the place of it"""

    def classes(self, texts: Sequence[str], numbers: Sequence[int]) -> Array:
        """Return the classes (n,) of the labels in the lines or rows with these numbers."""
        for text in dict.fromkeys(texts):
            if text not in self.known:
                self._add(text, self._place_of(numbers[texts.index(text)]))
        return np.fromiter(map(self.known.__getitem__, texts), np.int8, len(texts))

    def _add(self, text: str, place: str) -> None:
        self._source.require(bool(text), f"the label {not_a_number(text)}", place)
        value = _value(text)
        self._first.setdefault(value, (text, place))
        if len(self._first) > SHOWN_CLASSES:
            raise self._not_two()
        self.known[text] = list(self._first).index(value)

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
        """A word for a label that often means a missing one, unless it is one of + and -."""
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
        shown = ", ".join([*map(quoted, names[:SHOWN_CLASSES]), *["…"] * (len(names) > SHOWN_CLASSES)])
        first = f"{quoted(last)} first in {self._source.name}, {places[last]}"
        return self._source.error(f"more than two classes: {shown} ({first}); {remedy}", self._place)


def map_labels(values: Array, source: Source, place: str) -> tuple[Array, Labels]:
    """Return the classes (n,) of an array (n,) of numbers, bools or texts."""
    if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
        row = f"row {int(np.argmax(missing))} (counted from 0)"
        raise source.error(f"{row} is nan; fill it in or remove it", place)
    labels = Labels(source, place, lambda row: f"{place}, row {row} (counted from 0)")
    uniques, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return labels.classes([_name(value) for value in uniques], first.tolist())[inverse], labels


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
