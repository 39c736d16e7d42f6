"""The folder of a sweep: its cells are its state.

A cell is written in a folder beside its place and renamed into it, so that it is there whole or not at all. Whoever
works at a cell holds a lock on a file of its own (`claim`), which the system frees when its holder dies: several
processes, of one machine or of a cluster that shares the folder, never run a cell twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

import compare_ag
from compare_ag.records import RecordError, SaveError, Schema, read_json, record_bytes, write_bytes
from compare_ag.records.sums import SUMS, damages, read_sums, seal, unlisted
from compare_ag.records.sweeps import CELL_SCHEMA, SCHEMA, CellRecord, SweepCell
from compare_ag.sweep.grid import Planned, SweepGrid

DEFAULT_PARENT = Path("reports") / "sweeps"
SWEEP_FILE, CELL_FILE, CELLS = "sweep.json", "cell.json", "cells"
STATES = ("ok", "failed", "disturbed", "skipped", "stale", "missing")
"""of a planned cell: what has become of it, "stale" where it was measured with other versions"""


class SweepFile(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a sweep's folder."""

    schema: Schema = SCHEMA
    tool_version: str
    created: str
    grid: SweepGrid


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger needs to know of a cell on disk."""

    key: str
    cell: SweepCell
    status: str
    versions: dict[str, str]
    reason: str = ""


class State(NamedTuple):
    """Where a planned cell stands."""

    planned: Planned
    state: str
    """see `STATES`"""
    reason: str
    """why it is not done; empty where it is"""


class Ledger:
    """One sweep's folder."""

    def __init__(self, folder: Path, grid: SweepGrid) -> None:
        self.folder = folder
        self.grid = grid

    @property
    def cells(self) -> Path:
        """Where the cells are."""
        return self.folder / CELLS

    def place(self, key: str) -> Path:
        """Where the cell of this key is, or will be."""
        return self.cells / key

    # --- the folder -----------------------------------------------------------------------------------------

    @classmethod
    def create(cls, grid: SweepGrid, folder: Path | None = None) -> Ledger:
        """The ledger of this grid, new or as it was left. None: the grid's own place below reports/sweeps.

        Raises `RecordError` where the folder holds another grid or something else, `SaveError` where it cannot be made.
        """
        folder = folder or default_folder(grid)
        if (folder / SWEEP_FILE).is_file():
            ledger = cls.open(folder)
            if ledger.grid != grid:
                raise RecordError(
                    f"{folder} holds another grid: {difference(ledger.grid, grid)}; name a new folder with -o"
                )
            return ledger
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RecordError(f"{folder} is not empty and holds no sweep; name a new folder with -o")
        try:
            (folder / CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(f"could not make {folder}: {error.strerror}; choose another with -o") from error
        created = datetime.now(UTC).isoformat(timespec="seconds")
        write_bytes(
            folder / SWEEP_FILE,
            record_bytes(SweepFile(tool_version=compare_ag.__version__, created=created, grid=grid)),
        )
        return cls(folder, grid)

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """The ledger of a folder that holds a sweep. Raises `RecordError`."""
        if not (folder / SWEEP_FILE).is_file():
            raise RecordError(f"{folder} is no sweep: it holds no {SWEEP_FILE}")
        document: SweepFile = read_json(folder / SWEEP_FILE, SweepFile)
        _require_schema(folder / SWEEP_FILE, document.schema, SCHEMA)
        return cls(folder, document.grid)

    # --- reading --------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Names of the cells' folders, sorted."""
        try:
            return sorted(entry.name for entry in os.scandir(self.cells) if not entry.name.startswith("."))
        except OSError as error:
            raise RecordError(f"cannot read {self.cells}: {error.strerror}") from None

    def entry(self, key: str) -> Entry | None:
        """What is known of a cell; None where it is absent or its file is damaged, so that it is to be measured."""
        try:
            entry: Entry = read_json(self.place(key) / CELL_FILE, Entry)
        except RecordError:
            return None
        return entry

    def record(self, key: str) -> CellRecord:
        """One cell in full. Raises `RecordError` where it is missing or damaged."""
        path = self.place(key) / CELL_FILE
        record: CellRecord = read_json(path, CellRecord)
        _require_schema(path, record.schema, CELL_SCHEMA)
        return record

    def records(self) -> Iterator[CellRecord]:
        """Every cell that can be read, by key."""
        for key in self.names():
            with contextlib.suppress(RecordError):
                yield self.record(key)

    def states(self, planned: Sequence[Planned]) -> list[State]:
        """Where each planned cell stands."""
        present = frozenset(self.names())
        wanted = {item.key for item in planned}
        others = {entry.cell: entry for key in present if key not in wanted and (entry := self.entry(key)) is not None}
        known = {item.key: self.entry(item.key) for item in planned if item.key in present}
        return [_state(item, known.get(item.key), others.get(item.cell)) for item in planned]

    # --- writing --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Hold the cell meanwhile; False where another process works at it.

        Where the file system has no locks, the cell is worked at without one.
        """
        folder = self.folder / ".claims"
        try:
            folder.mkdir(exist_ok=True)
            handle = os.open(folder / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise SaveError(f"could not write into {self.folder}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass
            yield True
        finally:
            os.close(handle)

    def scratch(self, key: str) -> Path:
        """A name beside the cell's place to write it at; what earlier tries left there is removed.

        The caller holds the cell's claim.
        """
        for left in self.cells.glob(f".{key}.*"):
            shutil.rmtree(left, ignore_errors=True)
        return self.cells / f".{key}.{secrets.token_hex(4)}"

    def remove_leftovers(self) -> None:
        """Remove what ended processes left beside the cells; what another process works at stays."""
        for path in sorted(self.cells.glob(".*.*")):
            key = path.name.split(".")[1]
            with self.claim(key) as ours:
                if ours:
                    shutil.rmtree(path, ignore_errors=True)

    def accept(self, scratch: Path, key: str) -> None:
        """Move a cell into its place, over a former try. The caller holds its claim. Raises `SaveError`."""
        place = self.place(key)
        try:
            if place.exists():
                os.rename(place, self.cells / f".{key}.former")
            os.rename(scratch, place)
            _sync(self.cells)
        except OSError as error:
            raise SaveError(f"could not move the cell {key} to its place: {error.strerror}") from error
        shutil.rmtree(self.cells / f".{key}.former", ignore_errors=True)

    def write(self, record: CellRecord) -> None:
        """Keep a cell that has no run: it was skipped, or its process failed. The caller holds its claim."""
        scratch = self.scratch(record.key)
        keep_record(scratch, record)
        self.accept(scratch, record.key)


def default_folder(grid: SweepGrid) -> Path:
    """Where a grid's sweep goes unless a folder is named: the same grid finds it again."""
    return DEFAULT_PARENT / f"sweep-{grid.digest}"


def keep_record(folder: Path, record: CellRecord) -> None:
    """Write the cell's record and the sums of all files into its folder. Raises `SaveError`."""
    write_bytes(folder / CELL_FILE, record_bytes(record))
    seal(folder)


def check_cell(folder: Path) -> CellRecord:
    """A cell whose files are what was written. Raises `RecordError` that names the file."""
    sums = read_sums(folder)
    if sums is None:
        raise RecordError(f"{folder / SUMS} is missing: whether the cell is intact cannot be known")
    for fault in (*damages(folder, sums), *unlisted(folder, sums)):
        raise RecordError(fault)
    path = folder / CELL_FILE
    record: CellRecord = read_json(path, CellRecord)
    _require_schema(path, record.schema, CELL_SCHEMA)
    return record


def _require_schema(path: Path, schema: Schema, known: Schema) -> None:
    if (schema.name, schema.major) != (known.name, known.major):
        raise RecordError(
            f"{path} is {schema.name} {schema.major}.{schema.minor}; this compare-ag reads {known.name} {known.major}.x"
        )


def _state(planned: Planned, entry: Entry | None, other: Entry | None) -> State:
    if entry is not None:
        return State(planned, entry.status, "" if entry.status == "ok" else entry.reason or entry.status)
    if other is not None:
        return State(planned, "stale", f"measured as {other.key} with {changes(other.versions, planned.versions)}")
    return State(planned, "missing", "not measured yet")


def changes(before: dict[str, str], after: dict[str, str]) -> str:
    """``numpy 2.3.1, now 2.4.0``: what differs between two cells' versions."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name} {before.get(name, 'absent')}, now {after.get(name, 'absent')}" for name in sorted(names))


def difference(there: SweepGrid, asked: SweepGrid) -> str:
    """``n is 4, 1000 there and 4, 100 in this one``: the fields in which two grids differ."""
    parts = []
    for name in SweepGrid.__struct_fields__:
        before, after = getattr(there, name), getattr(asked, name)
        if before != after:
            parts.append(f"{name.replace('_', '-')} is {_words(before)} there and {_words(after)} in this one")
    return "; ".join(parts)


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else str(value)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
