"""The sha256 sums of a cell's files, as `sha256sum -c SHA256SUMS` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from compare_ag.records import RecordError, write_bytes

NAME = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the sums of every other file in the folder and below. Raises `SaveError`."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in _files(folder)]
    write_bytes(folder / NAME, "".join(lines).encode())


def read_sums(folder: Path) -> dict[str, str]:
    """The recorded sum of each file, by its path. Raises `RecordError`."""
    path = folder / NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise RecordError(f"{path} is missing or damaged") from None
    sums = {}
    for line in lines:
        digest, blanks, name = line.partition("  ")
        if not blanks or len(digest) != 64:
            raise RecordError(f"{path} is damaged: {line!r} is no line of sha256sum")
        sums[name] = digest
    return sums


def check_sums(folder: Path) -> dict[str, str]:
    """The sums, where they are those of the files. Raises `RecordError` that names the first file that differs."""
    sums, files = read_sums(folder), list(_files(folder))
    for name in sorted({*sums, *files}):
        if name not in sums:
            raise RecordError(f"{folder / name} is not in {NAME}: it was added after the cell had been measured")
        if name not in files:
            raise RecordError(f"{folder / name} is missing, though {NAME} names it")
        if _sha256(folder / name) != sums[name]:
            raise RecordError(f"{folder / name} was changed: its sha256 is not the one in {NAME}")
    return sums


def _files(folder: Path) -> Iterator[str]:
    """Paths of the files below, relative to the folder, sorted; without the sums themselves."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    yield from sorted(path for path in paths if path != NAME)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
