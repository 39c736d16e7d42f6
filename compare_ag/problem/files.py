"""Data of users: one function reads a file of any supported format, or a data frame.

The format follows from the beginning of the file, not from its name. Each format has its reader (`files_csv`,
`files_libsvm`, `files_arrays`), which returns a `Content` or raises a `ProblemError` with the file, the place in it and
the remedy. Here remains what is the same for all formats: labels as 0 and 1, scaling, warnings, and the description.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

from compare_ag.problem.checks import printable
from compare_ag.problem.core import Data, ProblemError
from compare_ag.problem.estimate import Available, available_memory
from compare_ag.problem.features import STANDARDISED, feature_warnings, measure
from compare_ag.problem.files_arrays import read_frame, read_npz, read_parquet
from compare_ag.problem.files_csv import SNIFFED_LINES, read_csv
from compare_ag.problem.files_libsvm import looks_like_libsvm, read_libsvm
from compare_ag.problem.table import Content, Source

LONGEST_LINE = 1 << 28  # characters; a longer line is no line of a table, and would fill the memory

PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""The first bytes of packed files, and the function that unpacks them while they are read."""

UNREAD = {
    b"\x93NUMPY": "one array of NumPy; numpy.savez(file, X=X, y=y) keeps two",
    b"\x89HDF": "HDF5; save it as CSV, npz or Parquet",
    b"\x80": "a pickle, which could run code; save it as CSV, npz or Parquet",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
}
"""The first bytes of files that cannot be read, with their kind and the remedy."""


def load_file(
    path: str | os.PathLike[str] | Any,
    target: str | int | None = None,
    standardize: bool = False,
    *,
    features: str | Sequence[str | int] = (),
    drop: str | Sequence[str | int] = (),
    header: bool | None = None,
    delimiter: str | None = None,
    available: Available = available_memory,
) -> Data:
    """Read a data set from a CSV, LIBSVM (both also packed: gz, bz2, xz), .npz or Parquet file, or from a data frame.

    path: the file, or a data frame of pandas, polars or Arrow.
    target: for columns with names and CSV, the column of the labels: its name in the header, or its number (from 0;
    negative from the end). A text that is both means the name. The other formats have no choice.
    standardize: bring each feature to mean 0 and standard deviation 1; constant ones are only centred.
    features, drop: the columns to train on, or to leave out, each as ``target``; a text may list several with commas
    between them. In a LIBSVM file they are its indices. The file's order is kept.
    header: whether the first line of a CSV file is a header; None finds out, or asks.
    delimiter: of a CSV file: a character, or its name (comma, semicolon, tab, pipe, blanks); None finds out.
    available: returns the bytes of memory that may be used.

    Labels may be any two values and become 0 and 1 in sorted order (`Data.label_names`). Raises `ProblemError` for
    everything that is not a finite, rectangular, two-class data set that fits into memory.
    """
    is_frame = hasattr(path, "__arrow_c_stream__")
    name = "frame" if is_frame else printable(Path(path).name)
    options = {"features": features, "drop": drop}
    lists = {key: (value,) if isinstance(value, str) else tuple(value) for key, value in options.items()}
    source = Source(name, available(), target, header=header, delimiter=delimiter, **lists)
    table = read_frame(path, source) if is_frame else _read(Path(path), source)
    X, names = table.X, table.feature_names
    y, label_names = table.labels.finish(table.classes)
    scaling = measure(X)
    warnings = table.warnings + table.labels.warnings + feature_warnings(X, scaling, names, standardised=standardize)
    if standardize:
        scaling.apply(X)
    X.flags.writeable = False
    description = f"{X.shape[0]:,} examples × {X.shape[1]:,} features from {name} ({table.detail})"
    description += f"; {STANDARDISED}" * standardize
    return Data(X, y, name, description, label_names, warnings=warnings, feature_names=names)


def _read(path: Path, source: Source) -> Content:
    name = printable(str(path))
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            pipe = "not a regular file; data are read more than once, so save them to one"
            raise ProblemError(f"{name}: is {'a directory; name a file in it' if stat.S_ISDIR(mode) else pipe}")
        return _read_format(path, source)
    except FileNotFoundError:
        raise ProblemError(f"{name}: no such file") from None
    except ProblemError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:  # ValueError: a NUL in the name
        reason = printable(str(getattr(error, "strerror", None) or error))
        raise ProblemError(f"{name}: cannot be read: {reason}") from error


def _read_format(path: Path, source: Source) -> Content:
    with path.open("rb") as file:
        start = file.read(8)
    for magic, description in UNREAD.items():
        if start.startswith(magic):
            raise source.error(f"this is {description}")
    ending = path.suffix.lower()
    if start.startswith(b"PAR1"):
        source.refuse("in Parquet, columns have names and no delimiter", "header", "delimiter")
        return read_parquet(path, source)
    if start.startswith(b"PK") or ending == ".npz":
        source.refuse("the labels of an .npz file are its array y", "target", "header", "delimiter")
        return read_npz(path, source)
    opener = next((opener for magic, opener in PACKED.items() if start.startswith(magic)), open)
    with closing(_text_lines(path, source, opener)) as lines:
        sample = list(islice(lines, SNIFFED_LINES))
        while not "".join(sample).strip() and (further := list(islice(lines, SNIFFED_LINES))):
            sample += further
        if ending in (".libsvm", ".svm", ".svmlight") or (source.delimiter is None and looks_like_libsvm(sample)):
            source.refuse("a LIBSVM line begins with its label", "target", "header", "delimiter")
            return read_libsvm(chain(sample, lines), source)
        return read_csv(sample, lines, path.stat().st_size if opener is open else None, source)


def _text_lines(path: Path, source: Source, opener: Callable[..., Any]) -> Generator[str]:
    """Yield the lines with their ends, of any kind; raise `ProblemError` for what is not UTF-8 text."""
    number, undecoded = 0, re.compile("[\udc80-\udcff]")
    with opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        while line := file.readline(LONGEST_LINE):
            number += 1
            if not line.isascii() and undecoded.search(line):
                raise source.error("not UTF-8; save the file as UTF-8 text", f"line {number}")
            if "\0" in line or len(line) == LONGEST_LINE:
                fault = "a NUL byte" if "\0" in line else f"no line end in {LONGEST_LINE:,} characters"
                raise source.error(f"{fault}: this is a binary file or UTF-16; save it as UTF-8 text", f"line {number}")
            yield line
