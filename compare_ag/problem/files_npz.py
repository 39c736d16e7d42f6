"""NumPy archives: X (n, d) and y (n,), read without pickle and not before their headers have been believed.

An .npz file is a zip of .npy files, whose headers announce a shape and a type. A header may lie, a few
kilobytes may unpack to terabytes, an object array would run code: so the header is read first, must match the
size in the zip's directory, and must fit into memory.
"""

from __future__ import annotations

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.problem.checks import did_you_mean, listed, printable, quoted
from compare_ag.problem.core import ProblemError
from compare_ag.problem.memory import require_memory
from compare_ag.problem.table import ReadOptions, Table, choose_features, map_labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compare_ag.problem.core import Array
    from compare_ag.problem.memory import Available

NUMERIC = "biuf"
"""Kinds of dtype that features may have: bool, integers, floats."""

LONGEST_HEADER = 1 << 16

EXACT_INTEGERS = 2**53
"""Up to it float64 holds every integer."""

OFTEN_CALLED = {
    "X": ("x", "X_train", "x_train", "data", "features", "inputs", "arr_0"),
    "y": ("Y", "y_train", "Y_train", "target", "targets", "labels", "label", "arr_1"),
}
"""What the arrays are called where they are not X and y."""

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError),
    *(ValueError, TypeError, SyntaxError, tokenize.TokenError),
)
"""What zipfile and numpy raise for damaged, truncated, encrypted or unknown content. (A header is a Python literal.)"""


def read_npz(path: Path, options: ReadOptions, available: Available) -> Table:
    """Read the arrays X (n, d) and y, (n,) or (n, 1); other arrays in the archive are ignored."""
    source = printable(path.name)
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise ProblemError(
            f"{source}: not an .npz archive ({error}); numpy.savez(file, X=X, y=y) writes one"
        ) from error
    with archive:
        shape, _ = _header(archive, "X", source, kinds=NUMERIC)
        y_shape, y_dtype = _header(archive, "y", source, kinds=NUMERIC + "SU")
        if len(shape) != 2 or shape[1] < 1:
            raise ProblemError(f"{source}: X has shape {shape}; (examples, features) is needed, one feature at least")
        n, d = shape
        if y_shape not in ((n,), (n, 1)):
            raise ProblemError(
                f"{source}: y has shape {y_shape}; with X of shape {shape} it must be {(n,)} or {(n, 1)}"
            )
        if n == 0:
            raise ProblemError(f"{source}: X has no rows")
        require_memory(source, n * d + n * -(-y_dtype.itemsize // 8), available)
        kept = (
            choose_features(options, [str(column) for column in range(d)], source, named=False) if any(options) else []
        )
        X, y = _array(archive, "X", source), _array(archive, "y", source).reshape(n)
    X = X[:, kept] if kept else X
    with np.errstate(over="ignore", invalid="ignore"):  # longdouble may overflow: found by the next lines
        features = np.ascontiguousarray(X, dtype=np.float64)
    names = tuple(map(str, kept))
    require_finite(features, names, source)
    y, label_names, said = map_labels(y, f"{source}, y")
    return Table(features, y, label_names, names, "arrays X and y", inexact(X, names) + said)


def require_finite(X: Array, names: tuple[str, ...], source: str) -> None:
    """Raise `ProblemError` for the first number of X (n, d) that is NaN or infinite; row and column count from 0."""
    finite = np.isfinite(X)
    if not finite.all():
        row, column = divmod(int(np.argmin(finite)), X.shape[1])
        called = quoted(names[column]) if names else f"{column}"
        raise ProblemError(
            f"{source}: row {row}, column {called} (counted from 0) of X is {X[row, column]}; repair or remove the row"
        )


def inexact(X: Array, names: tuple[str, ...], first: int = 0) -> tuple[str, ...]:
    """Warn of integers in X (n, d) that float64 has to round; ``first`` is the number of its first row."""
    if X.dtype.kind not in "iu" or not (large := (X > EXACT_INTEGERS) | (X < -EXACT_INTEGERS)).any():
        return ()
    row, column = divmod(int(np.argmax(large)), X.shape[1])
    called = quoted(names[column]) if names else f"{column}"
    return (
        f"X holds integers beyond 2^53, which are rounded to float64: the first is {X[row, column]} in "
        f"row {first + row}, column {called} (counted from 0); leave out identifiers with --drop",
    )


def _header(archive: zipfile.ZipFile, name: str, source: str, kinds: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the type that a member announces, checked, without reading its data."""
    if f"{name}.npy" not in archive.namelist():
        raise ProblemError(f"{source}: no array {name!r}{_instead(archive, name)}")
    member = archive.getinfo(f"{name}.npy")
    with _reading(name, source), archive.open(member) as packed:
        file = io.BytesIO(packed.read(LONGEST_HEADER))  # no more, for a header may be a bomb as well
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    data_size, announced = member.file_size - file.tell(), math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ProblemError(f"{source}: array {name} holds Python objects, which are not loaded; convert it to numbers")
    if dtype.kind not in kinds:
        raise ProblemError(f"{source}: array {name} has dtype {dtype}; real numbers are needed")
    if announced != data_size:
        raise ProblemError(
            f"{source}: the header of array {name} announces {announced:,} bytes (shape {shape}, {dtype}), "
            f"the file holds {data_size:,}; the file is damaged"
        )
    return shape, dtype


def _instead(archive: zipfile.ZipFile, name: str) -> str:
    """Say what there is instead of an array X or y, and how to make X and y of it."""
    members = [member.removesuffix(".npy") for member in archive.namelist()]
    listing = listed([quoted(member) for member in members]) if members else "nothing"
    if "xl/workbook.xml" in members:
        return "; this is an Excel workbook: save the sheet as CSV"
    found = {
        wanted: next((other for other in others if other in members), wanted) for wanted, others in OFTEN_CALLED.items()
    }
    hint = did_you_mean(name, members, ".")
    if found[name] != name:
        pairs = ", ".join(f"{wanted}=old[{quoted(other)}]" for wanted, other in found.items())
        hint = f"; is it {quoted(found[name])}? numpy.savez(file, {pairs}) with old = numpy.load(…) renames it."
    return f"{hint} The archive holds {listing}; X and y are needed"


def _array(archive: zipfile.ZipFile, name: str, source: str) -> Array:
    with _reading(name, source), archive.open(f"{name}.npy") as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


@contextmanager
def _reading(name: str, source: str) -> Iterator[None]:
    """Turn what goes wrong inside the archive into a `ProblemError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "created on Python 2": it reads all the same
            yield
    except _DAMAGED as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ProblemError(f"{source}: array {name} cannot be read: {quoted(said, 120)}") from error
