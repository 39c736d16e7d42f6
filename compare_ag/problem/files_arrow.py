"""Parquet files and data frames of pandas, polars or Arrow: columns with names and types.

pyarrow (extra ``[arrow]``) knows all of them; it is imported here alone and when there is something to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.problem.checks import printable, quoted
from compare_ag.problem.core import ProblemError
from compare_ag.problem.files_npz import inexact, require_finite
from compare_ag.problem.memory import require_memory
from compare_ag.problem.table import Table, choose_features, columns_listed, find_column, map_labels, warn_of_index

if TYPE_CHECKING:
    from pathlib import Path

    from compare_ag.problem.core import Array
    from compare_ag.problem.memory import Available
    from compare_ag.problem.table import ReadOptions

TEXT = ("string", "large_string", "string_view")


def read_parquet(path: Path, options: ReadOptions, available: Available) -> Table:
    """Read a Parquet file."""
    source = printable(path.name)
    arrow = _arrow(f"{source} is a Parquet file")
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            rows = file.metadata.num_rows
            return _read(file.schema_arrow, rows, file.iter_batches(), source, "Parquet", options, available)
    except (arrow.ArrowException, OSError) as error:
        raise ProblemError(f"{source}: cannot be read as Parquet: {quoted(str(error), 120)}") from error


def read_frame(frame: Any, options: ReadOptions, available: Available) -> Table:
    """Read a data frame: anything with ``__arrow_c_stream__``. The index of a pandas frame is left out."""
    kind = type(frame).__module__.partition(".")[0]
    source = f"{kind} frame"
    arrow = _arrow(f"a {source} is read by way of Arrow")
    try:
        table = arrow.Table.from_pandas(frame, preserve_index=False) if kind == "pandas" else arrow.table(frame)
    except (arrow.ArrowException, TypeError, ValueError) as error:
        raise ProblemError(f"{source}: cannot be read as a table: {quoted(str(error), 120)}") from error
    return _read(table.schema, table.num_rows, table.to_batches(), source, source, options, available)


def _arrow(why: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ProblemError(
            f"{why}: this needs pyarrow, which cannot be imported ({error}); install it with "
            "`python -m pip install pyarrow` (it is also in the extra compare-ag[arrow])"
        ) from error
    return pyarrow


def _read(
    schema: Any, rows: int, batches: Any, source: str, kind: str, options: ReadOptions, available: Available
) -> Table:
    names = tuple(map(str, schema.names))
    if options.target is None:
        raise ProblemError(
            f"{source}: say which column holds the labels: --target NAME or NUMBER; there are {columns_listed(names)}"
        )
    target = find_column(options.target, names, source, named=True)
    features = choose_features(options, names, source, named=True, target=target)
    if rows == 0:
        raise ProblemError(f"{source}: there are no rows")
    require_memory(source, rows * len(features), available)
    labels: list[Array] = []
    X, rounded, row = np.empty((rows, len(features))), dict[int, str](), 0
    for batch in batches:
        for feature, column in enumerate(features):
            values = _values(batch.column(column), f"{source}, column {quoted(names[column])}", row)
            X[row : row + len(values), feature] = values
            for said in inexact(values[:, None], (names[column],), row):
                rounded.setdefault(column, said)
        labels.append(_values(batch.column(target), f"{source}, column {quoted(names[target])}", row, also=TEXT))
        row += batch.num_rows
    kept = tuple(printable(names[column]) for column in features)
    require_finite(X, kept, source)
    y, label_names, odd = map_labels(np.concatenate(labels), f"{source}, column {quoted(names[target])}")
    warnings = (*rounded.values(), *warn_of_index(names, features), *odd)
    return Table(X, y, label_names, kept, f"{kind}, labels in column {quoted(names[target])}", warnings)


def _values(column: Any, place: str, first: int, also: tuple[str, ...] = ()) -> Array:
    """Return a column of a batch, whose first row is ``first``, as numbers, or as texts if its type is in ``also``."""
    if str(column.type).startswith("dictionary"):
        column = column.dictionary_decode()
    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ProblemError(
            f"{place}, row {row} (counted from 0): is empty: a missing value; fill it in or remove the row"
        )
    kind = str(column.type)
    if kind.startswith("decimal"):  # through text, which is rounded once
        column = column.cast("string").cast("float64")
    values: Array = column.to_numpy(zero_copy_only=False)
    if kind in also:
        return values.astype(str)
    if values.dtype.kind not in "biuf":
        raise ProblemError(
            f"{place}: is of type {kind}; "
            + ("labels are numbers or text" if also else "features must be numeric: encode or leave it out")
        )
    return values
