"""``SHA256SUMS``: the hash of every file of a run, in the format of ``sha256sum -c``.

It is renewed with each save. A file that is replaced has both hashes while it is, as comments of `_PENDING`: so at
whatever moment a host is killed each listed file is as it was or as it was to be, and the directory says which files
are intact. ``report.html`` is derived from the others: its line is renewed where it is, and it never makes a run
unreadable.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag.records import files
from compare_ag.records.files import RecordError, is_inside, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

SUMS = "SHA256SUMS"
DERIVED = frozenset({"report.html"})
"""files that are made of the others, and can be made again"""
FOLDERS = ("records", "arrays", "logs")
SINGLE = ("manifest.json", "graph.json", "cell.json", *sorted(DERIVED))
_PENDING = "# saving: "
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\\\n]+)")


@dataclass
class Sums:
    """The hashes that a run's files may have, by their names relative to the run directory."""

    kept: dict[str, str] = field(default_factory=dict)
    pending: dict[str, list[str]] = field(default_factory=dict)
    """of a file that was being replaced when the host ended: before and after"""

    def allowed(self, name: str) -> list[str]:
        """The hashes with which a listed file is intact."""
        return [self.kept[name]] if name in self.kept else self.pending.get(name, [])

    @property
    def names(self) -> list[str]:
        """All listed files."""
        return [*self.kept, *self.pending]

    def text(self) -> str:
        """The file."""
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self.kept.items())]
        both = [f"{_PENDING}{digest}  {name}\n" for name, digests in self.pending.items() for digest in digests]
        return "".join([*lines, *both])


def sha256(data: bytes) -> str:
    """The hash of a file's content, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_sums(folder: Path) -> Sums | None:
    """The hashes of a run; None where there are none. Raises `RecordError` where the file is damaged."""
    path = folder / SUMS
    if not os.path.lexists(path):
        return None
    sums = Sums()
    for number, line in enumerate(read_file(path).decode("utf-8", "replace").splitlines(), 1):
        bare = line.removeprefix(_PENDING)
        if (match := _LINE.fullmatch(bare)) is None or not is_inside(match[2]):
            raise RecordError(f"{path} is damaged: line {number} is not a sha256 with the name of a file")
        digest, name = match[1], match[2]
        if bare == line and name in sums.kept:
            raise RecordError(f"{path} is damaged: line {number} lists {name} once more")
        if bare == line:
            sums.kept[name] = digest
        else:
            sums.pending.setdefault(name, []).append(digest)
    return sums


def _known(folder: Path) -> Sums:
    """The hashes so far, to go on from; a program that damaged them must not end the run."""
    try:
        return read_sums(folder) or Sums()
    except RecordError:
        return Sums()


def save_file(folder: Path, name: str, data: bytes) -> str:
    """Write a file of a run, ``name`` relative to its directory, and its line; return its sha256.

    Raises `SaveError`.
    """
    sums, digest = _known(folder), sha256(data)
    if name in DERIVED and not sums.names:  # a run of an older version has no sums: one line would look like damage
        files.write_bytes(folder / name, data)
        return digest
    if name in sums.kept and sums.kept[name] != digest and name not in DERIVED:
        sums.pending[name] = [sums.kept.pop(name), digest]
        _write_sums(folder, sums)
    files.write_bytes(folder / name, data)
    sums.pending.pop(name, None)
    if sums.kept.get(name) != digest:
        sums.kept[name] = digest
        _write_sums(folder, sums)
    return digest


def _write_sums(folder: Path, sums: Sums) -> None:
    files.write_bytes(folder / SUMS, sums.text().encode())


def seal(folder: Path) -> None:
    """List every file of a run as it is now, logs included. Raises `SaveError` and `RecordError`."""
    _write_sums(folder, Sums({name: sha256(read_file(folder / name)) for name in files_of(folder)}))


def files_of(folder: Path) -> list[str]:
    """The files that a run consists of, relative to its directory; what else lies there is none of ours."""
    there = [folder / name for name in SINGLE]
    for part in FOLDERS:
        there += sorted((folder / part).glob("*")) if (folder / part).is_dir() else []
    return [path.relative_to(folder).as_posix() for path in there if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    """Whether it is a file, and none that a save was writing when its host ended."""
    return (os.path.isfile(path) or path.is_symlink()) and not (
        path.name.startswith(".") and path.name.endswith(".tmp")
    )


def damages(folder: Path, sums: Sums) -> Iterator[str]:
    """One sentence for each listed file that is not what was written, those that are derived apart."""
    for name in sums.names:
        if name not in DERIVED and (fault := damage(folder, sums, name)):
            yield fault


def damage(folder: Path, sums: Sums, name: str) -> str:
    """What is wrong with a listed file; empty where it is intact."""
    path = folder / name
    if not os.path.lexists(path):  # pathlib's raises for names that are too long
        return f"{path} is missing, although {SUMS} lists it"
    try:
        data = read_file(path)
    except RecordError as error:
        return str(error)
    if sha256(data) in sums.allowed(name):
        return ""
    return f"{path} is damaged: its sha256 is not the one in {SUMS}"


def unlisted(folder: Path, sums: Sums) -> Iterator[str]:
    """One sentence for each file of a run that has ended and that no line covers."""
    for name in files_of(folder):
        if name not in DERIVED and not sums.allowed(name):
            yield f"{folder / name} is not listed in {SUMS}: whether it is damaged cannot be told"
