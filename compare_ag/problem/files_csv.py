"""CSV files: a column of labels among columns of numbers.

The standard library's csv module splits the lines (strictly: a quote that is never closed is an error);
what it does not know, the delimiter and the header, is settled here by two rules:

* delimiter: of comma, semicolon and tab, the one that splits the first lines into equally many cells, more
  than one; between several such, the one that leaves no torn quotes and makes most cells numbers;
* header: the first line is one if a cell outside the target column is neither a number nor empty, or if
  the target is named and stands in it.

Blank lines are skipped, spaces around a cell belong to nobody, the decimal sign is the point.
"""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections import Counter
from contextlib import closing
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare_ag.problem.checks import did_you_mean, printable, quoted
from compare_ag.problem.core import ProblemError
from compare_ag.problem.files_text import text_lines
from compare_ag.problem.memory import require_memory
from compare_ag.problem.table import MISSING, Labels, Table, columns_listed, not_a_number, parse_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from compare_ag.problem.memory import Available

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
"""In the order of preference where nothing else decides."""

HEAD_BYTES = 1 << 20
"""What is looked at before the file is read: to find the delimiter and to estimate the size."""

SNIFFED_LINES = 100

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class Layout(NamedTuple):
    """Where things stand in a line."""

    source: str
    names: tuple[str, ...]
    """the header's cells, or the columns' numbers"""
    target: int
    header: bool

    def column(self, index: int) -> str:
        """Say which column this is, as the user knows it."""
        return f"column {quoted(self.names[index])}" if self.header else f"column {index} (counted from 0)"

    def feature_column(self, feature: int) -> int:
        """Return the column of the file that feature (column of X) comes from."""
        return feature if feature < self.target else feature + 1


def read_csv(path: Path, target: str | int | None, available: Available) -> Table:
    """Read a CSV file whose column ``target`` (a header's name, or a number from 0, negative from the end) is y."""
    source = printable(path.name)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    text = head.decode("utf-8-sig", "replace")
    delimiter = sniff_delimiter(text if len(head) < HEAD_BYTES else text[: text.rfind("\n")])
    # Quoted delimiters count as cells: an estimate may be too large by them.
    density = (text.count(delimiter) + text.count("\n") + 1) / max(len(head), 1)
    require_memory(source, int(density * path.stat().st_size), available)

    with closing(text_lines(path)) as lines:
        rows = _rows(lines, delimiter, source)
        first = next(rows, None)
        if first is None:
            raise ProblemError(f"{source}: the file is empty")
        layout = _layout([cell.strip() for cell in first[1]], target, source)
        table = _read_rows(rows if layout.header else chain([first], rows), layout)
    header = "a header line" if layout.header else "no header line"
    return table._replace(
        detail=f"delimiter {DELIMITERS[delimiter]}, {header}, labels in {layout.column(layout.target)}"
    )


def sniff_delimiter(text: str) -> str:
    """Return the delimiter of the text by the rule above; a comma where there is none."""

    def merit(delimiter: str) -> tuple[bool, bool, float, int]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        try:
            rows = [row for row in islice(reader, SNIFFED_LINES) if len(row) > 1 or (row and row[0].strip())]
        except csv.Error:  # the reading proper will say what is wrong, and in which line
            rows = []
        width, lines = Counter(map(len, rows)).most_common(1)[0] if rows else (1, 0)
        if width == 1:
            return (False, False, 0.0, 0)
        cells = [cell for row in rows for cell in row]
        torn = any(cell.count('"') % 2 for cell in cells)
        # 1,5 counts as a number: the message about it should not be about the delimiter.
        numbers = sum(parse_number(cell.replace(",", ".", 1)) is not None for cell in cells)
        return (lines == len(rows), not torn, numbers / len(cells), width)

    return max(DELIMITERS, key=merit)  # max keeps the first of equals


def _rows(lines: Iterable[str], delimiter: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row begins, cells), without blank lines."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ProblemError(f"{source}, line {line}: {_csv_trouble(error)}") from error
        if len(row) > 1 or (row and row[0].strip()):
            yield line, row


def _csv_trouble(error: csv.Error) -> str:
    said = str(error)
    if "field larger" in said:
        return f"a cell of more than {csv.field_size_limit():,} characters: is a quote never closed?"
    if "unexpected end" in said:
        return "a quote is opened here and never closed"
    return f"wrong quoting ({said}): a quote inside a quoted cell is written twice"


def _layout(cells: list[str], target: str | int | None, source: str) -> Layout:
    """Find the target column and the header in the first line."""
    if target is None:
        raise ProblemError(
            f"{source}: say which column holds the labels: --target NAME or NUMBER; "
            f"the first line has {columns_listed(cells)}"
        )
    if len(cells) < 2:
        raise ProblemError(f"{source}: one column only: labels and at least one feature are needed")
    name = str(target).strip()
    index = int(name) if _INTEGER.fullmatch(name) else None
    in_range = index is not None and -len(cells) <= index < len(cells)
    apart = index % len(cells) if index is not None and in_range else None
    header = _is_header(cells[:apart] + cells[apart + 1 :] if apart is not None else cells)
    if isinstance(target, str) and name in cells and (header or index is None):
        return _named(cells, name, source)
    if index is None:
        raise _no_column(cells, name, header, source)
    if apart is None:
        raise ProblemError(f"{source}: no column {index}: there are {len(cells)}, 0 to {len(cells) - 1}")
    names = cells if header else [str(number) for number in range(len(cells))]
    return Layout(source, tuple(names), apart, header)


def _is_header(cells: Sequence[str]) -> bool:
    return any(cell.lower() not in MISSING and parse_number(cell) is None for cell in cells)


def _named(cells: list[str], name: str, source: str) -> Layout:
    if cells.count(name) > 1:
        raise ProblemError(
            f"{source}: {cells.count(name)} columns are called {quoted(name)}: choose one by its number; "
            f"the columns are {columns_listed(cells)}"
        )
    return Layout(source, tuple(cells), cells.index(name), header=True)


def _no_column(cells: list[str], name: str, header: bool, source: str) -> ProblemError:
    if not header:
        return ProblemError(
            f"{source}: no column {quoted(name)}: the first line is no header; "
            f"choose by number, 0 to {len(cells) - 1} (or -1 for the last)"
        )
    return ProblemError(
        f"{source}: no column {quoted(name)}{did_you_mean(name, cells, '.')} The columns are {columns_listed(cells)}"
    )


def _read_rows(rows: Iterable[tuple[int, list[str]]], layout: Layout) -> Table:
    """Collect the numbers in one flat buffer: no object per cell outlives its line."""
    width, target, source = len(layout.names), layout.target, layout.source
    label_column = layout.column(target)
    values, starts = array("d"), array("q")
    labels = Labels(f"{source}, {label_column}")
    for line, row in rows:
        if len(row) != width:
            raise ProblemError(
                f"{source}, line {line}: {len(row)} cells where the first line has {width}; complete or remove the line"
            )
        labels.add(row.pop(target).strip(), f"{source}, line {line}, {label_column}")
        try:
            joined = "".join(row)
            if "_" in joined or not joined.isascii():  # float() would take 1_000 and Arabic digits
                raise ValueError
            values.extend(map(float, row))
        except ValueError:
            raise _bad_cell(row, line, layout) from None
        starts.append(line)
    if not starts:
        raise ProblemError(f"{source}: a header line and no data")
    X = np.frombuffer(values).reshape(len(starts), width - 1)
    finite = np.isfinite(X)
    if not finite.all():
        row_number, feature = divmod(int(np.argmin(finite)), width - 1)
        where = f"{source}, line {starts[row_number]}, {layout.column(layout.feature_column(feature))}"
        raise ProblemError(f"{where}: {not_a_number(str(X[row_number, feature]))}")
    y, label_names = labels.finish()
    names = layout.names[:target] + layout.names[target + 1 :]
    return Table(X, y, label_names, tuple(map(printable, names)), detail="")


def _bad_cell(row: list[str], line: int, layout: Layout) -> ProblemError:
    feature = next(index for index, cell in enumerate(row) if parse_number(cell) is None)
    return ProblemError(
        f"{layout.source}, line {line}, {layout.column(layout.feature_column(feature))}: {not_a_number(row[feature])}"
    )
