"""What every reader returns, and what all readers share: words for cells, choosing columns, labels.

Any two values may serve as labels. Numbers are compared as numbers, exactly ("1" and "1.0" are one class), and sorted
as such; everything else is text and sorted as text. The lesser becomes 0.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare_ag.problem.checks import did_you_mean, listed, printable, quoted
from compare_ag.problem.core import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compare_ag.problem.core import Array

MISSING = frozenset({"", "?", "-", "na", "n/a", "null", "none"})
"""Feature cells that say, in lower case, that a value is missing. ("nan" is a number that is not finite.)"""

THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:([,.'’_ \u00a0\u202f])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]+)?")
"""Numbers that may have been written with thousands separators: ``1,234``, ``1.234.567,5``."""

SHOWN_CLASSES = 5
"""With more classes than this a reader need not go on: the message would show no more of them."""

NAMELESS = re.compile(r"|Unnamed: [0-9]+|__index_level_[0-9]+__")
"""What an index is called that was saved with the data."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class ReadOptions(NamedTuple):
    """What the user says about a file; see `files.load_file`."""

    target: str | int | None = None
    features: Sequence[str | int] = ()
    drop: Sequence[str | int] = ()
    header: bool | None = None
    delimiter: str | None = None


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
    warnings: tuple[str, ...] = ()


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
    if found := THOUSANDS.fullmatch(text):
        either = " or a decimal comma" if found[1] == "," else ""
        return f"is {quoted(text)}: a thousands separator{either}? Write numbers without separators, as 1234 or 1.234"
    if parse_number(text) is not None:
        return f"is {quoted(text)}, which is not finite in float64; repair or remove the row"
    if parse_number(text.replace(",", ".", 1)) is not None:
        return f"is {quoted(text)}, which is not a number: use the decimal point"
    return f"is {quoted(text)}, which is not a number; features must be numeric: encode the column or leave it out"


def column_number(wanted: str | int, count: int) -> int | None:
    """Return which of ``count`` columns a number (negative from the end) means; None for what is none."""
    text = str(wanted).strip()
    return int(text) % count if _INTEGER.fullmatch(text) and -count <= int(text) < count else None


def find_column(wanted: str | int, names: Sequence[str], source: str, *, named: bool) -> int:
    """Return the column that is meant: a name that stands in ``names``, else a number (negative from the end).

    named: whether ``names`` are names; False where columns only have their numbers.
    """
    text, count = str(wanted).strip(), len(names)
    if named and isinstance(wanted, str) and text in names:
        if names.count(text) > 1:
            raise ProblemError(
                f"{source}: {names.count(text)} columns are called {quoted(text)}: choose one by its number; "
                f"the columns are {columns_listed(names)}"
            )
        return names.index(text)
    if (number := column_number(wanted, count)) is not None:
        return number
    if _INTEGER.fullmatch(text):
        raise ProblemError(f"{source}: no column {int(text)}: there are {count}, 0 to {count - 1}")
    if named:
        end = f"{did_you_mean(text, names, '.')} The columns are {columns_listed(names)}"
    else:
        end = f": the columns have no names; choose one by its number, 0 to {count - 1}"
    raise ProblemError(f"{source}: no column {quoted(text)}{end}")


def separate(wanted: Sequence[str | int], names: Sequence[str]) -> Iterator[str | int]:
    """Yield the columns that the user lists: each entry is a column, or several with commas between them."""
    for entry in wanted:
        yield from [entry] if isinstance(entry, int) or entry in names else filter(None, entry.split(","))


def choose_features(
    options: ReadOptions, names: Sequence[str], source: str, *, named: bool, target: int | None = None
) -> list[int]:
    """Return the columns that ``features`` and ``drop`` leave, ascending; never that of the labels."""
    found = []
    for wanted in (options.features, options.drop):
        found.append({find_column(entry, names, source, named=named) for entry in separate(wanted, names)})
        if target in found[-1]:
            raise ProblemError(f"{source}: {quoted(names[target])} holds the labels: name other columns as features")
    kept = (found[0] or set(range(len(names)))) - found[1] - {target}
    if not kept:
        raise ProblemError(f"{source}: no feature is left: choose other columns with --features or --drop")
    return sorted(kept)


def warn_of_index(names: Sequence[str], features: Sequence[int]) -> tuple[str, ...]:
    """Return a warning for each feature that is called as an index is which was saved with the data."""
    return tuple(
        f"column {column} (counted from 0) is called {quoted(names[column])}, as a saved index is; it is trained "
        f"on as a feature: --drop {column if str(column) not in names else column - len(names)} leaves it out"
        for column in features
        if NAMELESS.fullmatch(names[column])
    )


class Labels:
    """The classes of a target column, and the place where each was met first."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.known: dict[str, int] = {}
        """the class of every text so far"""
        self._class_of_value: dict[Decimal | str, int] = {}
        self._names: list[str] = []
        self._places: list[str] = []

    def add(self, text: str, place: str) -> int:
        """Return the class of a label; ``place`` is where it stands, for messages."""
        if not text:
            raise ProblemError(f"{place}: the label is empty: a missing value; fill it in or remove the row")
        value = _value(text)
        number = self._class_of_value.setdefault(text if value is None else value, len(self._names))
        if number == len(self._names):
            self._names.append(text)
            self._places.append(place)
        if len(self._names) > SHOWN_CLASSES:
            raise self._not_two()
        self.known[text] = number
        return number

    def finish(self, classes: Array) -> tuple[Array, tuple[str, str]]:
        """Return y (n,) of 0 and 1 for the classes (n,) of the examples, and the names of the classes 0 and 1."""
        if len(self._names) != 2:
            raise self._not_two()
        values = list(self._class_of_value)
        numeric = all(isinstance(value, Decimal) for value in values)
        signs: list[Decimal | str] = ["-", "+"]  # the other way round as text
        ordered = signs if set(values) == set(signs) else sorted(values, key=Decimal if numeric else str)
        first, second = (self._class_of_value[value] for value in ordered)
        return (classes == second).astype(np.float64), (printable(self._names[first]), printable(self._names[second]))

    @property
    def warnings(self) -> tuple[str, ...]:
        """A word for a label that often means a missing one, unless it is one of + and -."""
        odd = [] if set(self._names) == {"+", "-"} else [name for name in self._names if _means_missing(name)]
        return tuple(f"the label {quoted(name)} is a class here: remove its rows if it means none" for name in odd)

    def _not_two(self) -> ProblemError:
        if len(self._names) == 1:
            return ProblemError(f"{self._source}: every label is {quoted(self._names[0])}: training needs two classes")
        shown = [quoted(name) for name in self._names[:SHOWN_CLASSES]] + ["…"] * (len(self._names) > SHOWN_CLASSES)
        odd = [name for name in self._names if _means_missing(name)]
        last = odd[0] if odd else self._names[2]
        remedy = (
            f"if {quoted(last)} means a missing label, fill it in or remove the row"
            if odd
            else "keep the rows of two classes, or choose other labels"
        )
        return ProblemError(
            f"{self._source}: more than two classes: {', '.join(shown)} "
            f"({quoted(last)} first in {self._places[self._names.index(last)]}); {remedy}"
        )


def map_labels(values: Array, source: str) -> tuple[Array, tuple[str, str], tuple[str, ...]]:
    """Return y (n,), the names of the classes and warnings for an array (n,) of numbers, bools or texts."""
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, bool)
    if missing.any():
        raise ProblemError(f"{source}: row {int(np.argmax(missing))} (counted from 0) is nan; fill it in or remove it")
    labels = Labels(source)
    uniques, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    classes = [
        labels.add(_name(value), f"{source}, row {row} (counted from 0)")
        for value, row in zip(uniques, first, strict=True)
    ]
    return *labels.finish(np.array(classes)[inverse]), labels.warnings


def _name(value: np.generic) -> str:
    plain = value.item()
    if isinstance(plain, bytes):
        return plain.decode("utf-8", "backslashreplace").strip()
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain).strip()


def _value(text: str) -> Decimal | None:
    """The label as an exact number, so that identifiers beyond 2^53 stay apart; None for text."""
    number = parse_number(text)
    try:
        return Decimal(text) if number is not None and math.isfinite(number) else None
    except ArithmeticError:  # an exponent that Decimal does not hold
        return None


def _means_missing(label: str) -> bool:
    return label.lower() in MISSING or label.lower() == "nan"


def shape_in_words(X: Array) -> str:
    """Return "100 examples × 5 features"."""
    return f"{X.shape[0]:,} examples × {X.shape[1]:,} features"


def columns_listed(names: Sequence[str]) -> str:
    """Return the columns of a file with their numbers: "0 'age', 1 'label'"."""
    return listed([f"{number} {quoted(name)}" for number, name in enumerate(names)])
