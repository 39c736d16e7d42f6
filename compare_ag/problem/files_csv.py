"""CSV files: a column of labels among columns of numbers.

The first lines determine the layout, by rules:

* delimiter: of those in `DELIMITERS`, the one that splits the lines into equally many cells, more than one; between
  several such, the one that leaves no torn quotes and makes most cells numbers;
* header: the first line is a header if a cell outside the target column is neither a number nor missing, or if the user
  names a column by a name in it. A first line of numbers is a header if it counts the columns (0, 1, 2, …) and is of
  another kind than the rows below; where this is not certain, the user is asked;
* decimal comma: the decimal sign, if the first lines contain commas in numbers and no point.

Blocks of lines that contain only plain numbers and known labels are read by numpy, all others by the csv module, row by
row. Both give the numbers of float(), to the bit. Blank lines and spaces around a cell are skipped.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, count, islice, pairwise, starmap

import numpy as np

from compare_ag.problem.checks import MISSING, THOUSANDS, listed, not_a_number, parse_number, quoted
from compare_ag.problem.core import BLOCK_CELLS, Array, ProblemError
from compare_ag.problem.table import Columns, Content, Labels, Source, load_plain, separate

Rows = list[list[str]]

SNIFFED_LINES = 100  # they determine the layout
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "blanks"}
"""The delimiters that are recognised, in the order of preference."""


def read_csv(sample: list[str], lines: Iterable[str], size: int | None, source: Source) -> Content:
    """Read a CSV file: the first lines, which determine the layout, and the others; size: in bytes, None: not known."""
    delimiter = parse_delimiter(source.delimiter) if source.delimiter else sniff_delimiter(sample)
    first_rows = _sample_rows(sample, delimiter)
    if not first_rows:  # empty, or the strict reading raises the error
        next(_rows(chain(sample, lines), delimiter, source.name), None)
        raise source.error("the file is empty")
    if size is not None:
        source.require_memory(int(sum(map(len, first_rows)) * size / sum(map(len, sample))))
    return _Reader(source, delimiter, first_rows).read(chain(sample, lines))


def parse_delimiter(text: str) -> str:
    """Return the delimiter that a user gives: a name in `DELIMITERS`, or a character."""
    characters = {name: character for character, name in DELIMITERS.items()} | {"\\t": "\t", "blank": " ", "space": " "}
    character = characters.get(text.lower(), text)
    if len(character) != 1 or character.isalnum() or character in "\"'+-._\r\n\0":
        choice = f"one of {', '.join(DELIMITERS.values())}, or one character that is no part of a number"
        raise ProblemError(f"delimiter {quoted(text)}: give {choice}")
    return character


def sniff_delimiter(sample: Sequence[str]) -> str:
    """Return the delimiter of the lines by the rule above; a comma where no line is split."""

    def merit(delimiter: str) -> tuple[bool, bool, float, int]:
        rows = _sample_rows(sample, delimiter)
        width, lines = Counter(map(len, rows)).most_common(1)[0] if rows else (1, 0)
        if width == 1:
            return (False, False, 0.0, 0)
        cells = [cell for row in rows for cell in row]
        quotes_intact = 2 * "".join(cells).count('"') < quotes  # a quote inside a quoted cell is written twice
        return (lines == len(rows), quotes_intact, sum(map(_numeric, cells)) / len(cells), width)

    quotes = "".join(sample).count('"')
    return max(DELIMITERS, key=merit)  # max keeps the first of equals


def _numeric(cell: str) -> bool:
    """Whether the cell is a number, possibly with a decimal comma or thousands separators."""
    return parse_number(cell.replace(",", ".", 1)) is not None or THOUSANDS.fullmatch(cell.strip()) is not None


def _sample_rows(sample: Sequence[str], delimiter: str) -> Rows:
    rows = Rows()
    with suppress(ProblemError):  # reading the whole file will raise it again, with the line
        rows.extend([cell.strip() for cell in row] for _, row in _rows(sample, delimiter, strict=False))
    return rows


def _rows(
    lines: Iterable[str], delimiter: str, source: str = "", first: int = 1, count: float = math.inf, strict: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of its first line and the cells of each row that is not blank, until ``count`` lines are read.

    first: the number of the first line. With blanks as delimiters, blanks around a line are ignored, and a tab is a
    blank.
    """
    if delimiter == " ":
        lines = (line.strip().replace("\t", " ") for line in lines)
    reader, start = csv.reader(lines, delimiter=delimiter, strict=strict, skipinitialspace=True), first
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                yield start, row
            if reader.line_num >= count:
                return
            start = first + reader.line_num
    except csv.Error as error:
        fault = f"wrong quoting ({error}): a quote inside a quoted cell is written twice"
        if "field larger" in str(error):
            fault = f"a cell of more than {csv.field_size_limit():,} characters: is a quote never closed?"
        elif "unexpected end" in str(error):
            fault = "a quote is opened here and never closed"
        raise ProblemError(f"{source}, line {start}: {fault}") from error


def find_columns(rows: Rows, source: Source) -> tuple[Columns, tuple[str, ...]]:
    """Determine header, target and features from the first rows (their cells stripped) and the user's options."""
    first = rows[0]
    source.require_target(first, "the first line has")
    while len(first) > 1 and not any(cell for row in rows for cell in row[len(first) - 1 :]):
        first = first[:-1]
    message = "one column only: labels and at least one feature are needed; cells that are separated by something else"
    source.require(len(first) > 1, f"{message} than {', '.join(DELIMITERS.values())} are read with --delimiter")
    header, warning = (source.header, "") if source.header is not None else _find_header(first, rows[1:], source)
    columns = Columns(source, first if header else [*map(str, range(len(first)))], named=header)
    return columns, (warning,) * bool(warning) + columns.warnings


def _find_header(first: list[str], below: Rows, source: Source) -> tuple[bool, str]:
    """Return whether the first line is a header, and a warning if that is not obvious; raise if it is not certain."""
    width, listing = len(first), listed([quoted(cell) for cell in first])
    warning = f"the first line ({listing}) was taken for a header of numbers: --header no reads it as an example"
    columns: Columns | None = None
    with suppress(ProblemError):  # a column that is no number must be a name
        columns = Columns(source, [*map(str, range(width))], named=False)
    features = columns.features if columns else range(width)
    text = any(first[column].lower() not in MISSING and not _numeric(first[column]) for column in features)
    if columns is None or text:
        columns_given = separate((source.target or 0, *source.drop, *source.features), first)
        header = text or any(str(column).strip() in first for column in columns_given)
        return header, warning if header and not text else ""
    target = columns.target
    start = 0 if first[0] else 1  # an index without a name may stand before the numbers
    counts = first[start:] == [*map(str, range(width - start))]
    integers = all(cell.isdecimal() for cell in first[:target] + first[target + 1 :])
    distinct_integers = len(set(first)) == width and integers
    labels = {row[target] for row in below if len(row) > target}
    another_kind = {_numeric(label) for label in labels} == {not _numeric(first[target])}
    columns_below = ([row[column] for row in below if len(row) > column] for column in range(width) if column != target)
    fractions = any(cells and all(re.search("[.,eE]", cell) for cell in cells) for cells in columns_below)
    breaks = another_kind or fractions or (len(labels) == 2 and first[target] not in labels)
    if breaks and (counts or (distinct_integers and not _numeric(first[target]))):
        return True, warning
    question = "may be a header of numbers or an example: say which with --header yes or --header no"
    source.require(not (counts or (breaks and distinct_integers)), f"the first line ({listing}) {question}")
    return False, ""


class _Reader:
    """Reads the rows of a file; ``first_rows``, their cells stripped, determine the layout."""

    def __init__(self, source: Source, delimiter: str, first_rows: Rows) -> None:
        self.source, self.delimiter = source, delimiter
        self.columns, self.warnings = find_columns(first_rows, source)
        self.features, self.width = self.columns.features, len(self.columns.names)
        rows = first_rows[self.columns.named :]
        cells = [row[column] for row in rows for column in self.features if column < len(row)]
        commas = any("," in cell and _numeric(cell) and not THOUSANDS.fullmatch(cell) for cell in cells)
        self.decimal_comma = commas and not any("." in cell and _numeric(cell) for cell in cells)
        target = self.columns[self.columns.target]
        self.labels = Labels(source, target, lambda line: f"line {line}, {target}")
        self.converters: dict[int, Callable[[str], float]] = {
            **dict.fromkeys({*range(self.width)} - {*self.features}, lambda _: 0.0),
            self.columns.target: lambda text: self.labels.known[text.strip()],
        }
        mark = re.escape(delimiter)
        cell = rf'(?:"(?:[^"\r\n]|"")*+"|[^"{mark}]*+)'
        self.well_quoted = re.compile(f"{cell}(?:{mark}{cell})*+[\r\n]*")
        self.trailing = False
        """whether a line has ended in a delimiter"""
        self.decimal, self.doubtful = set[int](), dict[int, ProblemError]()
        """features with a comma that must be a decimal comma, and features with a comma that may separate thousands"""

    def read(self, lines: Iterator[str]) -> Content:
        """Return the table of all lines, the header's included."""
        blocks, cells = list[Array](), 0
        for block in self.read_blocks(lines):
            blocks.append(block)
            cells += len(block) * len(self.features)
            self.source.require_memory(cells)
        self.source.require(cells > 0, "a header line and no data")
        for column in self.doubtful.keys() - self.decimal:
            raise self.doubtful[column]
        trailing = ("lines end in a delimiter: the empty column after the last one was left out",) * self.trailing
        detail = f"delimiter {DELIMITERS.get(self.delimiter, quoted(self.delimiter))}"
        detail += ", decimal comma" * self.decimal_comma
        detail += f", {'a' if self.columns.named else 'no'} header line, labels in {self.columns[self.columns.target]}"
        X, classes = (np.concatenate([block[:, part] for block in blocks]) for part in (slice(-1), -1))
        return Content(X, classes, self.labels, self.columns.feature_names, detail, self.warnings + trailing)

    def read_blocks(self, lines: Iterator[str]) -> Iterator[Array]:
        """Yield (features, class) of some rows at a time, (m, d + 1)."""
        first, size = 1, SNIFFED_LINES
        while block := list(islice(lines, size)):
            if (table := self.read_plain(block)) is not None:
                first += len(block)
            else:
                numbers = count(first)
                numbered = (line for line, _ in zip(chain(block, lines), numbers, strict=False))
                rows = _rows(numbered, self.delimiter, self.source.name, first, len(block))
                if first == 1 and self.columns.named:
                    next(rows)
                cells = chain.from_iterable(starmap(self.read_row, rows))
                table = np.fromiter(cells, np.float64).reshape(-1, len(self.features) + 1)
                first = next(numbers)  # a quoted cell may extend beyond the block
            yield table
            size = max(1, BLOCK_CELLS // self.width)

    def read_plain(self, lines: list[str]) -> Array | None:
        """Return (features, class) of lines of plain numbers and known labels; None where there is anything else."""
        if self.decimal_comma or ('"' in "".join(lines) and not all(map(self.well_quoted.fullmatch, lines))):
            return None
        table = load_plain(lines, delimiter=self.delimiter, quotechar='"', converters=self.converters)
        if table is None or table.shape[1] != self.width or not np.isfinite(table).all():
            return None
        return np.take(table, [*self.features, self.columns.target], axis=1)

    def read_row(self, line: int, row: list[str]) -> list[float]:
        """Return (features, class) of a row, (d + 1)."""
        while len(row) > self.width and not row[-1].strip():
            self.trailing = True
            row.pop()
        if len(row) != self.width:
            raise self.source.error(self.wrong_length(row), f"line {line}")
        label, numbers = self.labels.find(row[self.columns.target].strip(), line), list[float]()
        for column in self.features:
            number = parse_number(self.with_point(row[column], line, column) if self.decimal_comma else row[column])
            if number is None or not math.isfinite(number):
                text = str(number) if number and math.isinf(number) else row[column]
                raise self.error(not_a_number(text), line, column)
            numbers.append(number)
        return [*numbers, label]

    def wrong_length(self, row: list[str]) -> str:
        """Describe what is wrong with a row that is shorter or longer than the first."""
        hint = "complete or remove the line"
        for number, following in pairwise(cell.strip() for cell in row):
            if len(row) > self.width and THOUSANDS.fullmatch(together := f"{number}{self.delimiter}{following}"):
                hint = f"is {quoted(together)} a number with a thousands separator? Write it without"
        return f"{len(row)} cells where the first line has {self.width}; {hint}"

    def with_point(self, cell: str, line: int, column: int) -> str:
        """Replace the decimal comma; `read` refuses a column in which every comma may separate thousands."""
        if "." in cell:
            raise self.error(
                f"{quoted(cell)} has a decimal point, other cells have decimal commas: use one", line, column
            )
        if "," in cell and THOUSANDS.fullmatch(cell.strip()):
            self.doubtful.setdefault(column, self.error(not_a_number(cell), line, column))
        elif "," in cell:
            self.decimal.add(column)
        return cell.replace(",", ".", 1)

    def error(self, message: str, line: int, column: int) -> ProblemError:
        """Return the error that names the cell."""
        return self.source.error(message, f"line {line}, {self.columns[column]}")
