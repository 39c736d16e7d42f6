"""CSV files: a column of labels among columns of numbers.

The first lines settle the layout, by rules:

* delimiter: of those in `DELIMITERS`, the one that splits the lines into equally many cells, more than one; between
  several such, the one that leaves no torn quotes and makes most cells numbers;
* header: the first line is one if a cell outside the target column is neither a number nor missing, or if a column is
  asked for by a name in it. A first line of numbers is one if it counts the columns (0, 1, 2, …) and is of another
  kind than the rows below; where it only may be one, the user is asked;
* decimal comma: the decimal sign, if it is met in the first lines and no point is.

The lines are then read block by block: by numpy where a block holds nothing but plain numbers and known labels, else
by the csv module, whose rows are checked here. Both give the numbers of float(), to the bit. Blank lines and spaces
around a cell are skipped.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, pairwise

import numpy as np

from compare_ag.problem.checks import listed, quoted
from compare_ag.problem.core import BLOCK_CELLS, Array, ProblemError
from compare_ag.problem.table import (
    MISSING,
    THOUSANDS,
    Columns,
    Labels,
    Rows,
    Source,
    Table,
    column_number,
    load_plain,
    not_a_number,
    parse_number,
    parse_numbers,
    read_in_order,
    separate,
)

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "blanks"}
"""In the order of preference where nothing else decides."""

SNIFFED_LINES = 100
"""What the layout is settled by."""


def read_csv(lines: Iterator[str], size: int | None, source: Source) -> Table:
    """Read the lines of a CSV file of ``size`` bytes (None: not known)."""
    sample = list(islice(lines, SNIFFED_LINES))
    while not "".join(sample).strip() and (more := list(islice(lines, SNIFFED_LINES))):
        sample += more
    delimiter = parse_delimiter(source.delimiter) if source.delimiter else sniff_delimiter(sample)
    rows = _sample_rows(sample, delimiter)
    if not rows:  # empty, or the careful reading says what is wrong
        next(_rows(chain(sample, lines), delimiter, source.name), None)
        raise source.error("the file is empty")
    if size is not None:
        source.require_memory(int(sum(map(len, rows)) * size / sum(map(len, sample))))
    return _Reader(source, delimiter, rows).read(chain(sample, lines))


def parse_delimiter(text: str) -> str:
    """Return the delimiter that a user names: by its word in `DELIMITERS`, or as one character."""
    words = {word: character for character, word in DELIMITERS.items()} | {"\\t": "\t", "blank": " ", "space": " "}
    character = words.get(text.lower(), text)
    if len(character) != 1 or character.isalnum() or character in "\"'+-._\r\n\0":
        choice = f"one of {', '.join(DELIMITERS.values())}, or one character that is no part of a number"
        raise ProblemError(f"delimiter {quoted(text)}: give {choice}")
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
    rows = Rows()
    with suppress(ProblemError):  # the reading proper will say what is wrong, and in which line
        rows.extend([cell.strip() for cell in row] for _, _, row in _rows(sample, delimiter, strict=False))
    return rows


def _rows(
    lines: Iterable[str], delimiter: str, source: str = "", first: int = 1, strict: bool = True
) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (its line, the line after it, its cells) for each row that is not blank; the first line has number first.

    With blanks as delimiters, those around the line count for nothing, and a tab is a blank.
    """
    if delimiter == " ":
        lines = (line.strip().replace("\t", " ") for line in lines)
    reader, line = csv.reader(lines, delimiter=delimiter, strict=strict, skipinitialspace=True), first
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                yield line, first + reader.line_num, row
            line = first + reader.line_num
    except csv.Error as error:
        trouble = f"wrong quoting ({error}): a quote inside a quoted cell is written twice"
        if "field larger" in str(error):
            trouble = f"a cell of more than {csv.field_size_limit():,} characters: is a quote never closed?"
        elif "unexpected end" in str(error):
            trouble = "a quote is opened here and never closed"
        raise ProblemError(f"{source}, line {line}: {trouble}") from error


def find_columns(rows: Rows, source: Source) -> tuple[Columns, tuple[str, ...]]:
    """Settle header, target and features by the first rows (their cells stripped) and by what the user says."""
    first = rows[0]
    source.require_target(first, "the first line has")
    while len(first) > 1 and not any(cell for row in rows for cell in row[len(first) - 1 :]):
        first = first[:-1]
    message = "one column only: labels and at least one feature are needed; cells that are separated by something else"
    source.require(len(first) > 1, f"{message} than {', '.join(DELIMITERS.values())} are read with --delimiter")
    header, warning = (source.header, "") if source.header is not None else _find_header(first, rows[1:], source)
    columns = Columns(source, first if header else [*map(str, range(len(first)))], named=header)
    return columns, (warning,) * bool(warning) + columns.warnings


def _find_header(first: list[str], rest: Rows, source: Source) -> tuple[bool, str]:
    """Return whether the first line is a header, and a warning if that is not obvious; ask where it may be one."""
    width = len(first)
    drop, features = (list(separate(wanted, first)) for wanted in (source.drop, source.features))
    numbers = {wanted: column_number(wanted, width) for wanted in (source.target or 0, *drop, *features)}
    target, kept = numbers[source.target or 0], {numbers[wanted] for wanted in features} or set(range(width))
    kept -= {target, *(numbers[wanted] for wanted in drop)}
    cells = [cell for column, cell in enumerate(first) if column in kept]
    text = any(cell.lower() not in MISSING and not _numeric(cell) for cell in cells)
    named = any(number is None and str(wanted).strip() in first for wanted, number in numbers.items())
    shown = listed([quoted(cell) for cell in first])
    warning = f"the first line ({shown}) was taken for a header of numbers: --header no reads it as an example"
    if text or named or target is None:
        return text or named, warning if not text and all(map(_numeric, first)) else ""
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
        return True, warning
    question = "may be a header of numbers or an example: say which with --header yes or --header no"
    source.require(not (counts or (breaks and whole)), f"the first line ({shown}) {question}")
    return False, ""


class _Reader:
    """Reads the rows of a file block by block; ``rows`` are the first, which settle the layout."""

    def __init__(self, source: Source, delimiter: str, rows: Rows) -> None:
        self.source, self.delimiter = source, delimiter
        self.columns, self.warnings = find_columns(rows, source)
        target, self.features, self.width = self.columns.target, self.columns.features, len(self.columns.names)
        cells = [row[column] for row in rows[self.columns.named :] for column in self.features if column < len(row)]
        commas = any("," in cell and _numeric(cell) and not THOUSANDS.fullmatch(cell) for cell in cells)
        self.decimal_comma = commas and not any("." in cell and _numeric(cell) for cell in cells)
        self.labels = Labels(source, self.columns[target], lambda line: f"line {line}, {self.columns[target]}")
        self.header, self.trailing = self.columns.named, False
        """whether the header is still to come, and whether a line has ended in a delimiter"""
        self.decimal, self.doubtful = set[int](), dict[int, ProblemError]()
        """the features with a comma that can only be a decimal one, and those with one that may separate thousands"""
        self.converters: dict[int, Callable[[str], float]] = {
            **dict.fromkeys(set(range(self.width)) - {*self.features}, lambda _: 0.0),
            target: lambda text: self.labels.known[text.strip()],
        }
        mark = re.escape(delimiter)
        cell = rf'(?:"(?:[^"\r\n]|"")*+"|[^"{mark}]*+)'
        self.well_quoted = re.compile(f"{cell}(?:{mark}{cell})*+[\r\n]*")

    def read(self, lines: Iterator[str]) -> Table:
        """Return the table of all lines, the header's included."""
        blocks, number, cells, count = list[tuple[Array, ...]](), 1, 0, SNIFFED_LINES
        while texts := list(islice(lines, count)):
            number, block = self.read_plain(texts, number) or self.read_rows(chain(texts, lines), number, len(texts))
            blocks.append(block)
            cells, count = cells + block[0].size, max(1, BLOCK_CELLS // self.width)
            self.source.require_memory(cells)
        self.source.require(cells > 0, "a header line and no data")
        for feature in self.doubtful.keys() - self.decimal:
            raise self.doubtful[feature]
        trailing = ("lines end in a delimiter: the empty column after the last one was left out",) * self.trailing
        detail = f"delimiter {DELIMITERS.get(self.delimiter, quoted(self.delimiter))}"
        detail += ", decimal comma" * self.decimal_comma
        detail += f", {'a' if self.columns.named else 'no'} header line, labels in {self.columns[self.columns.target]}"
        X, classes = map(np.concatenate, zip(*blocks, strict=True))
        return Table(X, classes, self.labels, self.columns.feature_names, detail, self.warnings + trailing)

    def read_plain(self, block: list[str], first: int) -> tuple[int, tuple[Array, ...]] | None:
        """Read lines of plain numbers and known labels, the first of this number; None where there is anything else."""
        if self.decimal_comma or self.delimiter == " ":
            return None
        if '"' in "".join(block) and not all(map(self.well_quoted.fullmatch, block)):
            return None
        table = load_plain(block, delimiter=self.delimiter, quotechar='"', converters=self.converters, ndmin=2)
        if table is None or table.shape[1] != self.width or not np.isfinite(table).all():
            return None
        classes = table[:, self.columns.target].astype(np.int8)
        return first + len(block), (np.take(table, self.features, axis=1), classes)

    def read_rows(self, lines: Iterator[str], first: int, count: int) -> tuple[int, tuple[Array, ...]]:
        """Read ``count`` lines, and those that end their last row, as the csv module splits them."""
        starts, rows, after = list[int](), Rows(), first
        try:
            for start, after, row in _rows(lines, self.delimiter, self.source.name, first):
                if not self.header:
                    starts.append(start)
                    rows.append(row)
                self.header = False
                if after >= first + count:
                    break
        except ProblemError:
            read_in_order(self.convert, starts, rows)  # what is wrong before it comes first
            raise
        return after, read_in_order(self.convert, starts, rows)

    def convert(self, lines: list[int], rows: Rows) -> tuple[Array, ...]:
        """Return X (m, d) and the classes (m,) of the rows."""
        for line, row in zip(lines, rows, strict=True):
            self.trim(row, line)

        def place(cell: int) -> str:
            row, feature = divmod(cell, len(self.features))
            return f"line {lines[row]}, {self.columns[self.features[feature]]}"

        classes = self.labels.classes([row[self.columns.target].strip() for row in rows], lines)
        cells = [row[column] for row in rows for column in self.features]
        values = parse_numbers(self.with_points(cells, place) if self.decimal_comma else cells)
        if not (finite := np.isfinite(values)).all():
            cell = int(np.argmin(finite))
            text = str(values[cell]) if np.isinf(values[cell]) else cells[cell]
            raise self.source.error(not_a_number(text), place(cell))
        return values.reshape(len(rows), len(self.features)), classes

    def trim(self, row: list[str], line: int) -> None:
        """Remove empty cells after the last column from the row; refuse another length."""
        while len(row) > self.width and not row[-1].strip():
            self.trailing = True
            row.pop()
        if len(row) == self.width:
            return
        hint = "complete or remove the line"
        for left, right in pairwise(cell.strip() for cell in row):
            if len(row) > self.width and THOUSANDS.fullmatch(together := f"{left}{self.delimiter}{right}"):
                hint = f"is {quoted(together)} a number with a thousands separator? Write it without"
        raise self.source.error(f"{len(row)} cells where the first line has {self.width}; {hint}", f"line {line}")

    def with_points(self, cells: list[str], place: Callable[[int], str]) -> list[str]:
        """Replace decimal commas; a column where each of them may separate thousands is refused at the end."""
        for index, cell in enumerate(cells):
            feature = index % len(self.features)
            if "." in cell:
                message = f"{quoted(cell)} has a decimal point, other cells have decimal commas: use one"
                raise self.source.error(message, place(index))
            if "," in cell and THOUSANDS.fullmatch(cell.strip()):
                self.doubtful.setdefault(feature, self.source.error(not_a_number(cell), place(index)))
            elif "," in cell:
                self.decimal.add(feature)
        return [cell.replace(",", ".", 1) for cell in cells]
