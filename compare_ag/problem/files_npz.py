"""NumPy archives: X (n, d) and y (n,), read without pickle and not before their headers have been believed.

An .npz file is a zip of .npy files, whose headers announce a shape and a type. A header may lie, a few
kilobytes may unpack to terabytes, an object array would run code: so the header is read first, must match the
size in the zip's directory, and must fit into memory.
"""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compare_ag.problem.checks import did_you_mean, listed, printable, quoted
from compare_ag.problem.core import ProblemError
from compare_ag.problem.memory import require_memory
from compare_ag.problem.table import Table, map_labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compare_ag.problem.core import Array
    from compare_ag.problem.memory import Available

NUMERIC = "biuf"
"""Kinds of dtype that features may have: bool, integers, floats."""

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError),
    *(ValueError, TypeError, SyntaxError, tokenize.TokenError),
)
"""What zipfile and numpy raise for damaged, truncated, encrypted or unknown content. (A header is a Python literal.)"""


class Header(NamedTuple):
    """What a .npy member says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_npz(path: Path, available: Available) -> Table:
    """Read the arrays X (n, d) and y, (n,) or (n, 1); other arrays in the archive are ignored."""
    source = printable(path.name)
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise ProblemError(
            f"{source}: not an .npz archive ({error}); numpy.savez(file, X=X, y=y) writes one"
        ) from error
    with archive:
        X_header = _header(archive, "X", source, kinds=NUMERIC)
        y_header = _header(archive, "y", source, kinds=NUMERIC + "SU")
        n = _require_shapes(X_header.shape, y_header.shape, source)
        if n == 0:
            raise ProblemError(f"{source}: X has no rows")
        require_memory(source, math.prod(X_header.shape) + n * -(-y_header.dtype.itemsize // 8), available)
        X = _array(archive, "X", source)
        y = _array(archive, "y", source).reshape(n)
    with np.errstate(over="ignore", invalid="ignore"):  # longdouble may overflow: found by the next line
        X = np.ascontiguousarray(X, dtype=np.float64)
    _require_finite(X, source)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise ProblemError(f"{source}: y[{row}] is {y[row]} (row {row}, counted from 0); repair or remove the row")
    labels, label_names = map_labels(y, f"{source}, y")
    return Table(X, labels, label_names, (), detail="arrays X and y")


def _header(archive: zipfile.ZipFile, name: str, source: str, kinds: str) -> Header:
    """Read and check what the member says of itself, without reading its data."""
    if f"{name}.npy" not in archive.namelist():
        members = [member.removesuffix(".npy") for member in archive.namelist()]
        listing = listed([quoted(member) for member in members]) if members else "nothing"
        raise ProblemError(
            f"{source}: no array {name!r}{did_you_mean(name, members, '.')} "
            f"The archive holds {listing}; X and y are needed"
        )
    member = archive.getinfo(f"{name}.npy")
    with _reading(name, source), archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        data_size = member.file_size - file.tell()
    if dtype.hasobject:
        raise ProblemError(f"{source}: array {name} holds Python objects, which are not loaded; convert it to numbers")
    if dtype.kind not in kinds:
        raise ProblemError(f"{source}: array {name} has dtype {dtype}; real numbers are needed")
    if math.prod(shape) * dtype.itemsize != data_size:
        raise ProblemError(
            f"{source}: the header of array {name} announces {math.prod(shape) * dtype.itemsize:,} bytes "
            f"(shape {shape}, {dtype}), the file holds {data_size:,}; the file is damaged"
        )
    return Header(shape, dtype)


def _require_shapes(X: tuple[int, ...], y: tuple[int, ...], source: str) -> int:
    """Return n, or raise `ProblemError` unless X is (n, d), d >= 1, and y (n,) or (n, 1)."""
    if len(X) != 2 or X[1] < 1:
        raise ProblemError(f"{source}: X has shape {X}; (examples, features) is needed, one feature at least")
    if y not in ((X[0],), (X[0], 1)):
        raise ProblemError(f"{source}: y has shape {y}; with X of shape {X} it must be {(X[0],)} or {(X[0], 1)}")
    return X[0]


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
        raise ProblemError(f"{source}: array {name} cannot be read: {quoted(_first_line(error), 120)}") from error


def _require_finite(X: Array, source: str) -> None:
    finite = np.isfinite(X)
    if not finite.all():
        row, column = divmod(int(np.argmin(finite)), X.shape[1])
        raise ProblemError(
            f"{source}: X[{row}, {column}] is {X[row, column]} (row {row}, column {column}, counted from 0); "
            "repair or remove the row"
        )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
