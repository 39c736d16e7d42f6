"""Sources of arrays and columns with types: NumPy archives, Parquet files, data frames of pandas, polars or Arrow.

An .npz file is a zip of .npy files, whose headers state a shape and a type. A header may be wrong, a few kilobytes may
unpack to terabytes, and an object array would run code. So the header is read first; it must match the size in the
zip's directory and must fit into memory.

pyarrow (extra ``[arrow]``) reads all other sources. It is imported in this module only, and only to read something.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from compare_ag.problem.checks import did_you_mean, listed, not_a_number, quoted
from compare_ag.problem.core import Array, ProblemError
from compare_ag.problem.table import Columns, Content, Source, choose_columns, map_labels

NUMERIC = "biuf"  # the kinds of dtype that features may have: bool, integers, floats
TEXT = ("string", "large_string", "string_view")  # types of Arrow that labels may have as well
LONGEST_HEADER = 1 << 16  # bytes
EXACT_INTEGERS = 2**53  # float64 holds every integer up to it

OFTEN_CALLED = {
    "X": ("x", "X_train", "x_train", "data", "features", "inputs", "arr_0"),
    "y": ("Y", "y_train", "Y_train", "target", "targets", "labels", "label", "arr_1"),
}
"""Other common names of the arrays X and y."""


def read_npz(path: Path, source: Source) -> Content:
    """Read the arrays X (n, d) and y, (n,) or (n, 1); other arrays in the archive are ignored."""
    with _reading("not an .npz archive, as numpy.savez(file, X=X, y=y) writes it", source):
        archive = zipfile.ZipFile(path)
    with archive:
        shape, _ = _header(archive, "X", source, kinds=NUMERIC)
        y_shape, y_dtype = _header(archive, "y", source, kinds=NUMERIC + "SU")
        matrix = len(shape) == 2 and shape[1] > 0
        source.require(matrix, f"X has shape {shape}; (examples, features) is needed, one feature at least")
        n, d = shape
        fit = y_shape in ((n,), (n, 1))
        source.require(fit, f"y has shape {y_shape}; with X of shape {shape} it must be {(n,)} or {(n, 1)}")
        source.require(n != 0, "X has no rows")
        source.require_memory(n * d + n * -(-y_dtype.itemsize // 8))
        arrays = dict[str, Array]()
        for name in ("X", "y"):
            with _reading(f"array {name} cannot be read", source), archive.open(f"{name}.npy") as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    X, names = choose_columns(arrays.pop("X"), source, 0, named=False)
    features, warnings = to_float64(X, names, source)
    return Content(features, *map_labels(arrays["y"].reshape(n), source, "y"), names, "arrays X and y", warnings)


def _header(archive: zipfile.ZipFile, name: str, source: Source, kinds: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the type in the header of a member, checked, without reading its data."""
    if f"{name}.npy" not in archive.namelist():
        raise source.error(f"no array {name!r}{_instead(archive, name)}")
    with _reading(f"array {name} cannot be read", source), archive.open(f"{name}.npy") as packed:
        file = io.BytesIO(packed.read(LONGEST_HEADER))  # no more, because a header may unpack to terabytes too
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    objects = "holds Python objects, which are not loaded; convert it to numbers"
    source.require(not dtype.hasobject, f"array {name} {objects}")
    source.require(dtype.kind in kinds, f"array {name} has dtype {dtype}; real numbers are needed")
    size, announced = archive.getinfo(f"{name}.npy").file_size - file.tell(), math.prod(shape) * dtype.itemsize
    message = f"the header of array {name} announces {announced:,} bytes (shape {shape}, {dtype}), the file holds"
    source.require(announced == size, f"{message} {size:,}; the file is damaged")
    return shape, dtype


def _instead(archive: zipfile.ZipFile, name: str) -> str:
    """List the arrays that the archive contains in place of X or y, and how to make X and y of them."""
    members = [member.removesuffix(".npy") for member in archive.namelist()]
    if "xl/workbook.xml" in members:
        return "; this is an Excel workbook: save the sheet as CSV"
    likely = {role: next(filter(members.__contains__, names), role) for role, names in OFTEN_CALLED.items()}
    hint = did_you_mean(name, members, ".")
    if likely[name] != name:
        pairs = ", ".join(f"{role}=old[{quoted(alias)}]" for role, alias in likely.items())
        hint = f"; is it {quoted(likely[name])}? numpy.savez(file, {pairs}) with old = numpy.load(…) renames it."
    return f"{hint} The archive holds {listed([*map(quoted, members)]) or 'nothing'}; X and y are needed"


@contextmanager
def _reading(message: str, source: Source, errors: Any = Exception) -> Iterator[None]:
    """Replace errors of these types by a `ProblemError` with this message and the first line of the error.

    For damaged content zipfile and numpy raise a dozen types of errors. (A header is a Python literal.)
    """
    try:
        with catch_warnings():
            simplefilter("ignore", UserWarning)  # "created on Python 2" is no reason not to read it
            yield
    except errors as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise source.error(f"{message}: {quoted(reason, 120)}") from error


def read_parquet(path: Path, source: Source) -> Content:
    """Read a Parquet file."""
    arrow = _arrow(f"{source.name} is a Parquet file")
    import pyarrow.parquet

    reading = _reading("cannot be read as Parquet", source, (arrow.ArrowException, OSError))
    with reading, pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        return _read_batches(file.schema_arrow, file.metadata.num_rows, file.iter_batches(), source, "Parquet")


def read_frame(frame: Any, source: Source) -> Content:
    """Read a data frame: anything with ``__arrow_c_stream__``. The index of a pandas frame is left out."""
    library = type(frame).__module__.partition(".")[0]
    source = source._replace(name=f"{library} frame")
    arrow = _arrow(f"a {source.name} is read by way of Arrow")
    with _reading("cannot be read as a table", source):
        table = arrow.Table.from_pandas(frame, preserve_index=False) if library == "pandas" else arrow.table(frame)
    return _read_batches(table.schema, table.num_rows, table.to_batches(), source, source.name)


def _arrow(purpose: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        remedy = "install it with `python -m pip install pyarrow` (it is also in the extra compare-ag[arrow])"
        raise ProblemError(f"{purpose}: this needs pyarrow, which cannot be imported ({error}); {remedy}") from error
    return pyarrow


def _read_batches(schema: Any, rows: int, batches: Any, source: Source, kind: str) -> Content:
    source.require_target(schema.names, "there are")
    columns = Columns(source, schema.names)
    source.require(rows > 0, "there are no rows")
    source.require_memory(rows * len(columns.features))
    X, labels, rounded, row = np.empty((rows, len(columns.features))), list[Array](), dict[int, tuple[str, ...]](), 0
    target = columns[columns.target]
    for batch in batches:
        end = row + batch.num_rows
        for feature, column in enumerate(columns.features):
            values = _values(batch.column(column), source, columns[column], row)[:, None]
            X[row:end, feature, None], warning = to_float64(values, (columns.names[column],), source, row)
            rounded[column] = rounded.get(column) or warning
        labels.append(_values(batch.column(columns.target), source, target, row, also=TEXT))
        row = end
    classes, class_names = map_labels(np.concatenate(labels), source, target)
    warnings = (*chain.from_iterable(rounded.values()), *columns.warnings)
    return Content(X, classes, class_names, columns.feature_names, f"{kind}, labels in {target}", warnings)


def _values(column: Any, source: Source, place: str, first: int, also: tuple[str, ...] = ()) -> Array:
    """Return a column of a batch as numbers, or as texts if its type is in ``also``; first: the batch's first row."""
    if str(column.type).startswith("dictionary"):
        column = column.dictionary_decode()
    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise source.error(not_a_number(""), place, f"row {row} (counted from 0)")
    kind = str(column.type)
    if kind.startswith("decimal"):  # by way of text, which is rounded once
        column = column.cast("string").cast("float64")
    values: Array = column.to_numpy(zero_copy_only=False)
    if kind in also:
        return values.astype(str)
    remedy = "labels are numbers or text" if also else "features must be numeric: encode or leave it out"
    source.require(values.dtype.kind in NUMERIC, f"is of type {kind}; {remedy}", place)
    return values


def to_float64(X: Array, names: tuple[str, ...], source: Source, first: int = 0) -> tuple[Array, tuple[str, ...]]:
    """Return X (n, d) in float64, and a warning if integers had to be rounded; first: the number of its first row.

    Raises `ProblemError` for NaN and infinity.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a longdouble may become infinite
        values = np.ascontiguousarray(X, dtype=np.float64)
    integers = X.dtype.kind in "iu"
    unfit = (X > EXACT_INTEGERS) | (X < -EXACT_INTEGERS) if integers else ~np.isfinite(values)
    if not unfit.any():
        return values, ()
    row, column = divmod(int(np.argmax(unfit)), X.shape[1])
    place = f"row {first + row}, column {quoted(names[column]) if names else column} (counted from 0)"
    if not integers:
        raise source.error(f"{place} of X is {X[row, column]}; repair or remove the row")
    warning = f"X holds integers beyond 2^53, which are rounded to float64: the first is {X[row, column]} in {place}"
    return values, (f"{warning}; leave out identifiers with --drop",)
