"""CSV files: a column of labels among columns of numbers.

The first lines settle the layout, by rules:

* delimiter: of those in `DELIMITERS`, the one that splits the lines into equally many cells, more than one; between
  several such, the one that leaves no torn quotes and makes most cells numbers;
* header: the first line is one if a cell outside the target column is neither a number nor missing, or if a column is
  asked for by a name in it. A first line of numbers is one if it counts the columns (0, 1, 2, …) and is of another
  kind than the rows below; where it only may be one, the user is asked;
* decimal comma: the decimal sign, if it is met in the first lines and no point is.

numpy reads the rest block by block (its numbers are those of float(), to the bit). A block that holds anything but
plain numbers and known labels is read again row by row, strictly, by the code that has the words for it. Blank lines
and spaces around a cell are skipped.
"""

from __future__ import annotations

import csv
import re
import warnings
from array import array
from collections import Counter
from contextlib import suppress
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare_ag.problem.checks import listed, printable, quoted
from compare_ag.problem.core import BLOCK_CELLS, ProblemError
from compare_ag.problem.memory import require_memory
from compare_ag.problem.table import (
    MISSING,
    THOUSANDS,
    Labels,
    ReadOptions,
    Table,
    choose_features,
    column_number,
    columns_listed,
    find_column,
    not_a_number,
    parse_number,
    separate,
    warn_of_index,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from compare_ag.problem.core import Array
    from compare_ag.problem.memory import Available

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "blanks"}
"""In the order of preference where nothing else decides."""

SNIFFED_LINES = 100
"""What the layout is settled by."""

Rows = list[list[str]]

Block = tuple[int, "Array", "Array"]
"""The number of the line after a block, X (m, features) and the classes (m,) of its examples."""


class Layout(NamedTuple):
    """Where things stand in a line."""

    source: str
    delimiter: str
    names: tuple[str, ...]
    """the header's cells, or the columns' numbers"""
    header: bool
    target: int
    features: list[int]
    empty: int
    """columns after the last named one that hold nothing: trailing delimiters"""
    decimal_comma: bool
    warnings: tuple[str, ...]

    def column(self, index: int) -> str:
        """Say which column this is, as the user knows it."""
        named = self.header and self.names[index]
        return f"column {quoted(self.names[index])}" if named else f"column {index} (counted from 0)"


def read_csv(lines: Iterator[str], size: int | None, source: str, options: ReadOptions, available: Available) -> Table:
    """Read the lines of a CSV file of ``size`` bytes (None: not known)."""
    sample = list(islice(lines, SNIFFED_LINES))
    while not "".join(sample).strip() and (more := list(islice(lines, SNIFFED_LINES))):
        sample += more
    delimiter = parse_delimiter(options.delimiter) if options.delimiter else sniff_delimiter(sample)
    rows = [[cell.strip() for cell in row] for row in _sample_rows(sample, delimiter)]
    lines = chain(sample, lines)
    if not rows:  # empty, or the careful reading says what is wrong
        next(_rows(lines, delimiter, source, 1, len(sample)), None)
        raise ProblemError(f"{source}: the file is empty")
    if size is not None:
        require_memory(source, int(sum(map(len, rows)) * size / sum(map(len, sample))), available)
    layout = find_layout(rows, delimiter, source, options)
    table = _Reader(layout).read(lines, available)
    signs = ", decimal comma" if layout.decimal_comma else ""
    header = "a header line" if layout.header else "no header line"
    return table._replace(
        detail=f"delimiter {DELIMITERS.get(delimiter, quoted(delimiter))}{signs}, {header}, "
        f"labels in {layout.column(layout.target)}"
    )


def parse_delimiter(text: str) -> str:
    """Return the delimiter that a user names: by its word in `DELIMITERS`, or as one character."""
    words = {word: character for character, word in DELIMITERS.items()} | {"\\t": "\t", "blank": " ", "space": " "}
    character = words.get(text.lower(), text)
    if len(character) != 1 or character.isalnum() or character in "\"'+-._\r\n\0":
        raise ProblemError(
            f"delimiter {quoted(text)}: give one of {', '.join(DELIMITERS.values())}, or one character "
            "that is no part of a number"
        )
    return character


def sniff_delimiter(sample: Sequence[str]) -> str:
    """Return the delimiter of the lines by the rule above; a comma where there is none."""

    def merit(delimiter: str) -> tuple[bool, bool, float, int]:
        rows = _sample_rows(sample, delimiter)
        width, lines = Counter(map(len, rows)).most_common(1)[0] if rows else (1, 0)
        if width == 1:
            return (False, False, 0.0, 0)
        cells = [cell for row in rows for cell in row]
        torn = any(cell.count('"') % 2 for cell in cells)
        return (lines == len(rows), not torn, sum(map(_numeric, cells)) / len(cells), width)

    return max(DELIMITERS, key=merit)  # max keeps the first of equals


def _numeric(cell: str) -> bool:
    """Whether the cell is a number, maybe with a decimal comma or thousands separators."""
    return parse_number(cell.replace(",", ".", 1)) is not None or THOUSANDS.fullmatch(cell.strip()) is not None


def _sample_rows(sample: Sequence[str], delimiter: str) -> Rows:
    rows = list[list[str]]()
    with suppress(csv.Error):  # the reading proper will say what is wrong, and in which line
        rows.extend(csv.reader(_prepared(sample, delimiter), delimiter=delimiter, skipinitialspace=True))
    return [row for row in rows if not _blank(row)]


def _prepared(lines: Iterable[str], delimiter: str) -> Iterable[str]:
    """With blanks as delimiters, those around the line and tabs are taken away."""
    return (line.strip().replace("\t", " ") for line in lines) if delimiter == " " else lines


def _blank(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())


def _rows(
    lines: Iterable[str], delimiter: str, source: str, first: int, count: int
) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (its line, the line after it, its cells) for each row of ``count`` lines; the last may end beyond them.

    first: the number of the first line.
    """
    reader = csv.reader(_prepared(lines, delimiter), delimiter=delimiter, strict=True, skipinitialspace=True)
    while reader.line_num < count:
        line = first + reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ProblemError(f"{source}, line {line}: {_csv_trouble(error)}") from error
        yield line, first + reader.line_num, row


def _csv_trouble(error: csv.Error) -> str:
    said = str(error)
    if "field larger" in said:
        return f"a cell of more than {csv.field_size_limit():,} characters: is a quote never closed?"
    if "unexpected end" in said:
        return "a quote is opened here and never closed"
    return f"wrong quoting ({said}): a quote inside a quoted cell is written twice"


def find_layout(rows: Rows, delimiter: str, source: str, options: ReadOptions) -> Layout:
    """Settle header, target and features by the first rows (their cells stripped) and by what the user says."""
    first, rest, warned = rows[0], rows[1:], list[str]()
    if options.target is None:
        raise ProblemError(
            f"{source}: say which column holds the labels: --target NAME or NUMBER; "
            f"the first line has {columns_listed(first)}"
        )
    while len(first) > 1 and not any(cell for row in rows for cell in row[len(first) - 1 :]):
        first = first[:-1]
    width = len(first)
    if width < 2:
        raise ProblemError(
            f"{source}: one column only: labels and at least one feature are needed; cells that are separated by "
            f"something else than {', '.join(DELIMITERS.values())} are read with --delimiter"
        )
    empty = max((len(row) for row in rows if not any(row[width:])), default=width) - width
    header = options.header
    if header is None:
        header, reasons = _find_header(first, rest, source, options)
        warned += reasons
    names = tuple(first) if header else tuple(map(str, range(width)))
    target = find_column(options.target, names, source, named=header)
    features = choose_features(options, names, source, named=header, target=target)
    warned += warn_of_index(names, features) if header else ()
    cells = [row[column] for row in rows[header:] for column in features if column < len(row)]
    commas = any("," in cell and _numeric(cell) and not THOUSANDS.fullmatch(cell) for cell in cells)
    points = any("." in cell and _numeric(cell) for cell in cells)
    return Layout(source, delimiter, names, header, target, features, empty, commas and not points, tuple(warned))


def _find_header(first: list[str], rest: Rows, source: str, options: ReadOptions) -> tuple[bool, list[str]]:
    """Return whether the first line is a header, and a warning where that is not obvious; ask where it may be one."""
    width = len(first)
    drop, features = (list(separate(wanted, first)) for wanted in (options.drop, options.features))
    numbers = {wanted: column_number(wanted, width) for wanted in (options.target or 0, *drop, *features)}
    target, kept = numbers[options.target or 0], {numbers[wanted] for wanted in features} or set(range(width))
    apart = {target, *(numbers[wanted] for wanted in drop)}
    text = any(
        cell.lower() not in MISSING and not _numeric(cell)
        for column, cell in enumerate(first)
        if column in kept and column not in apart
    )
    named = any(number is None and str(wanted).strip() in first for wanted, number in numbers.items())
    shown = listed([quoted(cell) for cell in first])
    said = [f"the first line ({shown}) was taken for a header of numbers: --header no reads it as an example"]
    if text or named or target is None:
        return text or named, said if not text and all(map(_numeric, first)) else []
    start = 0 if first[0] else 1  # a nameless index may stand before the numbers
    counts = first[start:] == [str(column) for column in range(width - start)]
    whole = len(set(first)) == width and all(cell.isdecimal() for cell in first[:target] + first[target + 1 :])
    labels = {row[target] for row in rest if len(row) > target}
    another_kind = {_numeric(label) for label in labels} == {not _numeric(first[target])}
    fractions = any(
        column != target and all(re.search("[.,eE]", row[column]) for row in rest if len(row) > column)
        for column in range(width * bool(rest))
    )
    breaks = another_kind or fractions or (len(labels) == 2 and first[target] not in labels)
    if breaks and (counts or (whole and not _numeric(first[target]))):
        return True, said
    if counts or (breaks and whole):
        raise ProblemError(
            f"{source}: the first line ({shown}) may be a header of numbers or an example: "
            "say which with --header yes or --header no"
        )
    return False, []


class _Reader:
    """Reads the rows of a file whose layout is settled, block by block."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.width = layout, len(layout.names)
        self.labels = Labels(f"{layout.source}, {layout.column(layout.target)}")
        self.header, self.trailing = layout.header, layout.empty > 0
        """whether the header is still to come, and whether a line has ended in a delimiter"""
        self.decimal, self.doubtful = set[int](), dict[int, str]()
        """the columns with a comma that can only be a decimal one, and those with one that may separate thousands"""
        unread = set(range(self.width)) - {layout.target, *layout.features}
        self.converters: dict[int | str, Callable[[str], float]] = {
            **dict.fromkeys(unread, lambda _: 0.0),
            **dict.fromkeys(range(self.width, self.width + layout.empty), _require_empty),
            layout.target: lambda text: self.labels.known[text.strip()],
        }
        mark = re.escape(layout.delimiter)
        cell = rf'(?:"(?:[^"\r\n]|"")*+"|[^"{mark}]*+)'
        self.well_quoted = re.compile(f"{cell}(?:{mark}{cell})*+[\r\n]*")

    def read(self, lines: Iterator[str], available: Available) -> Table:
        """Return the table of all lines, the header's included."""
        layout = self.layout
        blocks: list[Array] = []
        classes: list[Array] = []
        number, cells, count = 1, 0, SNIFFED_LINES
        while block := list(islice(lines, count)):
            after, X, y = self.read_plain(block, number) or self.read_rows(chain(block, lines), number, len(block))
            blocks.append(X)
            classes.append(y)
            number, cells, count = after, cells + X.size, max(1, BLOCK_CELLS // self.width)
            require_memory(layout.source, cells, available)
        if not cells:
            raise ProblemError(f"{layout.source}: a header line and no data")
        for column in self.doubtful.keys() - self.decimal:
            raise ProblemError(self.doubtful[column])
        y, label_names = self.labels.finish(np.concatenate(classes))
        names = tuple(printable(layout.names[column]) for column in layout.features)
        trailing = ("lines end in a delimiter: the empty column after the last one was left out",) * self.trailing
        return Table(
            np.concatenate(blocks), y, label_names, names, "", layout.warnings + trailing + self.labels.warnings
        )

    def read_plain(self, block: list[str], first: int) -> Block | None:
        """Read lines of plain numbers and known labels; None where there is anything else."""
        text, blanks = "".join(block), self.layout.delimiter == " "
        quoted_lines = [line for line in block if '"' in line] if '"' in text else []
        if self.layout.decimal_comma or (blanks and (quoted_lines or not text.isascii())):
            return None
        if not all(map(self.well_quoted.fullmatch, quoted_lines)):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # numpy warns of a block of empty lines
                table = np.loadtxt(
                    block,
                    delimiter=None if blanks else self.layout.delimiter,
                    quotechar='"',
                    comments=None,
                    converters=self.converters,
                    ndmin=2,
                )
        except (ValueError, KeyError, UserWarning):
            return None
        if table.shape[1] != self.width + self.layout.empty or not np.isfinite(table).all():
            return None
        every = self.layout.features == [*range(table.shape[1])]
        X = table if every else table[:, self.layout.features]
        return first + len(block), X, table[:, self.layout.target].astype(np.int8)

    def read_rows(self, lines: Iterator[str], first: int, count: int) -> Block:
        """Read ``count`` lines and those that end their last row; ``first`` is the number of the first."""
        layout, values, starts, classes, after = self.layout, array("d"), array("q"), array("b"), first
        for line, after, row in _rows(lines, layout.delimiter, layout.source, first, count):  # noqa: B007 - after is returned
            if self.header or _blank(row):
                self.header = self.header and _blank(row)
                continue
            while len(row) > self.width and not row[-1].strip():
                self.trailing = True
                row.pop()
            if len(row) != self.width:
                raise self.ragged(row, line)
            label = row[layout.target].strip()
            if label not in self.labels.known:
                self.labels.add(label, f"{layout.source}, line {line}, {layout.column(layout.target)}")
            classes.append(self.labels.known[label])
            values.extend(self.numbers([row[column] for column in layout.features], line))
            starts.append(line)
        X = np.frombuffer(values).reshape(len(starts), len(layout.features))
        if not (finite := np.isfinite(X)).all():
            number, feature = divmod(int(np.argmin(finite)), X.shape[1])
            raise self.bad_cell(feature, str(X[number, feature]), starts[number])
        return after, X, np.array(classes)

    def numbers(self, cells: list[str], line: int) -> list[float]:
        """Return the numbers in the feature cells of a line."""
        texts = self.with_points(cells, line) if self.layout.decimal_comma else cells
        try:
            joined = "".join(texts)
            if "_" in joined or not joined.isascii():  # float() would take 1_000 and Arabic digits
                raise ValueError
            return [*map(float, texts)]
        except ValueError:
            feature = next(index for index, text in enumerate(texts) if parse_number(text) is None)
            raise self.bad_cell(feature, cells[feature], line) from None

    def with_points(self, cells: list[str], line: int) -> list[str]:
        """Replace decimal commas; a column where each of them may separate thousands is refused at the end."""
        for feature, cell in enumerate(cells):
            if "." in cell:
                raise self.bad_cell(
                    feature, cell, line, "has a decimal point, other cells have decimal commas: use one"
                )
            if "," in cell and THOUSANDS.fullmatch(cell.strip()):
                self.doubtful.setdefault(feature, str(self.bad_cell(feature, cell, line)))
            elif "," in cell:
                self.decimal.add(feature)
        return [cell.replace(",", ".", 1) for cell in cells]

    def bad_cell(self, feature: int, cell: str, line: int, trouble: str = "") -> ProblemError:
        """Return the error for a cell that is not a finite number."""
        where = f"{self.layout.source}, line {line}, {self.layout.column(self.layout.features[feature])}"
        return ProblemError(f"{where}: " + (f"{quoted(cell)} {trouble}" if trouble else not_a_number(cell)))

    def ragged(self, row: list[str], line: int) -> ProblemError:
        """Return the error for a row of another length, with a word on thousands separators."""
        hint = "complete or remove the line"
        for left, right in pairwise(cell.strip() for cell in row):
            if len(row) > self.width and THOUSANDS.fullmatch(together := f"{left}{self.layout.delimiter}{right}"):
                hint = f"is {quoted(together)} a number with a thousands separator? Write it without"
        return ProblemError(
            f"{self.layout.source}, line {line}: {len(row)} cells where the first line has {self.width}; {hint}"
        )


def _require_empty(text: str) -> float:
    if text.strip():
        raise ValueError
    return 0.0
