"""Files of a run: written whole or not at all, read back with one clear error.

A file appears complete under its name or not at all (temporary file, fsync, rename), and each array file is recognised
by the sha256 that its record carries.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class RecordError(Exception):
    """A run directory cannot be read or written. The message says which file and what to do."""


class SaveError(RecordError):
    """A run could not be saved (disk full, read-only); the CLI exits 6."""


def is_inside(file: str) -> bool:
    """Whether a relative path stays below the folder that it starts from."""
    parts = Path(file).parts
    return bool(parts) and not Path(file).is_absolute() and ".." not in parts and "\0" not in file


def file_stem(name: str) -> str:
    """A backend's name as part of a file name: ``distribution:name`` without its colon."""
    return name.replace(":", "+")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises `SaveError`.

    A link stays one: what it points to is written. What is no file (a pipe, a device) is written to, not replaced.
    """
    shown = path
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with open(path, "wb") as special:
                special.write(data)
            return
        path = Path(os.path.realpath(path))
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o644
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SaveError(f"could not save {shown}: {error.strerror or error}") from error


def record_bytes(record: msgspec.Struct) -> bytes:
    """One record as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def write_record(path: Path, record: msgspec.Struct) -> None:
    """Write one record."""
    write_bytes(path, record_bytes(record))


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> str:
    """Write arrays as .npz; return the file's sha256."""
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub mistakes names for its allow_pickle
    data = buffer.getvalue()
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def read_arrays(path: Path, sha256: str | None) -> dict[str, Array]:
    """Read an .npz of plain arrays. Raises `RecordError` where it is missing, damaged or not what was written."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise RecordError(f"{path} is damaged: its sha256 is not the recorded one; the run must be repeated")
    try:
        with np.load(BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} is no array file: {error}") from None


def read_json(path: Path, kind: type[Any]) -> Any:
    """Read one JSON record. Raises `RecordError` where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from None
