"""Reading and writing the files of a run; every failure is a `RecordError` that names the file.

A file appears complete under its name or not at all (temporary file, fsync, rename). Files that are read may have been
damaged or forged: nothing is unpickled, a pipe is not waited for, and an archive may not fill the memory. Knows formats
and no meaning: which files a run has is known to `reading` and `sums`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
import warnings
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


COMPRESSED_BYTES = 1 << 23
"""Arrays of at most so many bytes in all are always compressed: it takes less than a second."""
MOST_BYTES = 1 << 36
"""in an archive: no run has more, and a forged archive must not fill the memory"""
LONGEST_PREFIX = 200
"""characters of a file's name in the name of its temporary file: both stay below 255 bytes"""
LEFT_SECONDS = 1.0
"""A host locks its temporary file within microseconds; a file that is not locked so much later is a leftover."""


def is_inside(file: str) -> bool:
    """Whether a relative path stays below the folder that it starts from."""
    parts = Path(file).parts
    return bool(parts) and not Path(file).is_absolute() and ".." not in parts and "\0" not in file


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all. Raises `SaveError`.

    Follows symbolic links. Replaces regular files atomically; writes pipes and devices in place.
    """
    requested = path
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with open(path, "wb") as special:
                special.write(data)
            return
        path = Path(os.path.realpath(path))
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o644
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:LONGEST_PREFIX]}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                with contextlib.suppress(OSError):  # without locks no file is ever removed as a leftover
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(temporary, mode)
                os.replace(temporary, path)  # while it is locked: until then it is no leftover
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
        raise SaveError(f"could not save {requested}: {error.strerror or error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed hosts have left in a folder: those without a lock."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(".tmp") and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):  # in use, another user's, or gone meanwhile
                    _remove_unlocked(entry)


def _remove_unlocked(entry: os.DirEntry[str]) -> None:
    """Remove a temporary file. Raises `OSError` where its lock is held."""
    if time.time() - entry.stat(follow_symlinks=False).st_mtime < LEFT_SECONDS:
        return
    handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(entry.path)
    finally:
        os.close(handle)


def record_bytes(record: msgspec.Struct) -> bytes:
    """One record as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def array_bytes(arrays: Mapping[str, Array], *, compressed: bool = False) -> bytes:
    """Arrays as an .npz file, compressed if ``compressed`` or if they are small."""
    buffer = BytesIO()
    small = sum(array.nbytes for array in arrays.values()) <= COMPRESSED_BYTES
    (np.savez_compressed if small or compressed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub mistakes names for its allow_pickle
    return buffer.getvalue()


def read_file(path: Path) -> bytes:
    """The content of a regular file. Raises `RecordError`, also for a pipe or a device, without waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RecordError(f"{path} is damaged: it is not a regular file")
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a name that holds a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordError(f"cannot read {path}: {reason}") from None


def read_arrays(path: Path, sha256: str | None) -> dict[str, Array]:
    """Read an .npz of plain arrays of numbers. Raises `RecordError` where it is missing or not what was written."""
    data = read_file(path)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise RecordError(f"{path} is damaged: its sha256 is not the recorded one; the run must be repeated")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise RecordError(f"{path} is damaged: its contents would take more than {MOST_BYTES >> 30} GiB")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an archive that names a file twice, a header of another Python
            with np.load(BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
    except RecordError:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile, zlib and numpy raise many kinds of errors
        raise RecordError(f"{path} is not an array file: {type(error).__name__}: {error}") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.dtype.hasobject:
            raise RecordError(f"{path} is damaged: {name} is not an array of real numbers")
    return arrays


def read_json(path: Path, kind: type[Any], renamed: Mapping[str, str] | None = None) -> Any:
    """Read one JSON record. Raises `RecordError` where it is missing or damaged.

    renamed: keys of an older schema with their present names.
    """
    data = read_file(path)
    try:
        if renamed:
            return msgspec.convert(_rename_keys(msgspec.json.decode(data), renamed), kind)
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from None


def _rename_keys(value: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {renamed.get(key, key): _rename_keys(part, renamed) for key, part in value.items()}
    return [_rename_keys(part, renamed) for part in value] if isinstance(value, list) else value
