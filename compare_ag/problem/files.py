"""People's own data: one function that reads a file of any supported format and says what it found.

The format follows from the extension; each has its reader (`files_csv`, `files_npz`, `files_libsvm`), which returns a
`Table` or raises one `ProblemError` that names the file, the spot and the remedy.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag.problem.checks import printable, quoted
from compare_ag.problem.core import Data, ProblemError
from compare_ag.problem.features import STANDARDISED, feature_warnings, standardise
from compare_ag.problem.files_csv import read_csv
from compare_ag.problem.files_libsvm import read_libsvm
from compare_ag.problem.files_npz import read_npz
from compare_ag.problem.memory import available_memory
from compare_ag.problem.table import shape_in_words

if TYPE_CHECKING:
    from compare_ag.problem.memory import Available
    from compare_ag.problem.table import Table

CSV = (".csv", ".tsv", ".txt", ".data")
NPZ = (".npz",)
LIBSVM = (".libsvm", ".svm", ".svmlight")
EXTENSIONS = CSV + NPZ + LIBSVM
"""What can be read, by the end of a file's name in lower case."""


def load_file(
    path: str | os.PathLike[str],
    target: str | int | None = None,
    standardize: bool = False,
    *,
    available: Available = available_memory,
) -> Data:
    """Read a data set from a CSV, .npz or LIBSVM file.

    target: for CSV, the column of the labels: its name in the header, or its number (from 0; negative from the
    end). Where a text could be both, a name that stands in the header wins. The other formats have no choice.
    standardize: bring each feature to mean 0 and standard deviation 1; constant ones are only centred.
    available: returns the bytes of memory that may be used.

    Labels may be any two values and become 0 and 1 in sorted order (`Data.label_names`). Raises `ProblemError` for
    everything that is not a finite, rectangular, two-class data set that fits into memory.
    """
    path = Path(path)
    _require_regular(path)
    try:
        table = _read(path, target, available)
    except OSError as error:
        raise ProblemError(f"{printable(str(path))}: cannot be read: {error.strerror or error}") from error
    features = standardise(table.X)
    warnings = feature_warnings(features, table.feature_names, kept=standardize)
    return Data(
        X=features.X if standardize else table.X,
        y=table.y,
        name=printable(path.name),
        description=f"{shape_in_words(table.X)} from {printable(path.name)} ({table.detail})"
        + (f"; {STANDARDISED}" if standardize else ""),
        label_names=table.label_names,
        feature_names=table.feature_names,
        warnings=warnings,
    )


def _require_regular(path: Path) -> None:
    shown = printable(str(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ProblemError(f"{shown}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ProblemError(f"{shown}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        raise ProblemError(f"{shown}: is a directory; name a file in it")
    if not stat.S_ISREG(mode):
        raise ProblemError(f"{shown}: is not a regular file; data are read more than once, so save them to one")


def _read(path: Path, target: str | int | None, available: Available) -> Table:
    extension = path.suffix.lower()
    if extension in CSV:
        return read_csv(path, target, available)
    if extension not in EXTENSIONS:
        raise ProblemError(
            f"{printable(str(path))}: unknown extension {quoted(extension)}; known are CSV ({', '.join(CSV)}), "
            f"NumPy ({', '.join(NPZ)}) and LIBSVM ({', '.join(LIBSVM)})"
        )
    if target is not None:
        raise ProblemError(
            f"{printable(path.name)}: leave out --target: "
            + (
                "the labels of an .npz file are its array y"
                if extension in NPZ
                else "a LIBSVM line begins with its label"
            )
        )
    return read_npz(path, available) if extension in NPZ else read_libsvm(path, available)
