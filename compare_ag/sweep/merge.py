"""Several folders of one grid become one: for batch systems that have a shell and nothing else.

Every file of every cell is compared with its sum, every cell with its key, and every row with the run that it was taken
from: a cell with an edited number is refused. Cells of two machines stay apart.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from compare_ag.records import RecordError, load_run, write_bytes
from compare_ag.records.sums import read_sums
from compare_ag.records.sweeps import CellRecord
from compare_ag.sweep.cell import summary
from compare_ag.sweep.grid import cell_key
from compare_ag.sweep.ledger import CELL_FILE, Ledger, check_cell, difference
from compare_ag.sweep.shares import FOLDER


class Merged(NamedTuple):
    """What a merge did."""

    ledger: Ledger
    added: int
    known: int
    """cells that were there already, with the same files"""
    warnings: list[str]


def merge(output: Path, folders: Sequence[Path], tell: Callable[[str, int, int], object] = lambda *_: None) -> Merged:
    """Copy every cell of the folders into ``output``, a new sweep or one of the same grid.

    Nothing is copied before everything is checked.
    tell: hears what is done, how much of it, and of how much. Raises `RecordError` for a cell that is not what was
    measured, for another grid, and where one machine measured a cell twice with different results.
    """
    sources = [Ledger.open(folder) for folder in folders]
    for source in sources[1:]:
        if source.grid != sources[0].grid:
            differences = difference(sources[0].grid, source.grid)
            raise RecordError(f"{source.folder} holds another grid than {sources[0].folder}: {differences}")
    cells = [(source, key) for source in sources for key in source.names()]
    checked: dict[Path, CellRecord] = {}
    for done, (source, key) in enumerate(cells):
        tell("checking", done, len(cells))
        checked[source.place(key)] = require_untouched(source.place(key))
    target = Ledger.create(sources[0].grid, output)
    added = known = 0
    for done, (place, record) in enumerate(checked.items()):
        tell("copying", done, len(cells))
        if _add(target, place, record):
            added += 1
        else:
            known += 1
    for source in sources:
        copy_limits(source, target)
    return Merged(target, added, known, _warnings(list(checked.values())))


def require_untouched(place: Path) -> CellRecord:
    """The record of a cell whose files, key and numbers agree with each other. Raises `RecordError`."""
    record = check_cell(place)
    if cell_key(record.cell, record.versions) != record.key or not place.name.startswith(record.key):
        raise RecordError(f"{place / CELL_FILE} was changed: its key is not that of its cell and versions")
    if record.rows:
        _require_rows(place, record)
    return record


def _require_rows(place: Path, record: CellRecord) -> None:
    """Compare what the record says of each backend with the cell's run. Raises `RecordError`."""
    expected = summary(load_run(place))
    for row, own in zip(record.rows, expected["rows"], strict=False):
        if row != own:
            raise RecordError(f"{place / CELL_FILE} was changed: what it says of {row.name} is not what its run says")
    if len(record.rows) != len(expected["rows"]) or record.pairs != expected["pairs"]:
        raise RecordError(f"{place / CELL_FILE} was changed: it does not say what its run says")


def _add(target: Ledger, place: Path, record: CellRecord) -> bool:
    """Copy a cell to its place; False where it is there. Raises `RecordError` where another result is."""
    name = record.key
    if target.place(name).exists() and target.record(name).machine.id != record.machine.id:
        name = f"{record.key}-{record.machine.id}"
    if target.place(name).exists():
        there = target.record(name)
        if _same(target.place(name), place) or (there.status == "ok" and record.status != "ok"):
            return False  # an unfinished try adds nothing to a finished cell
        if "ok" == there.status == record.status:
            raise RecordError(
                f"{place} and {target.place(name)} are one cell, measured twice on one machine with different results; "
                "leave one of them out"
            )
    with target.claim(name):
        scratch = target.scratch(name)
        shutil.copytree(place, scratch)
        target.accept(scratch, name)
    return True


def copy_limits(source: Ledger, target: Ledger) -> None:
    """Copy the limits of machines that the target does not know."""
    for path in sorted((source.folder / FOLDER).glob("*.json")):
        there = target.folder / FOLDER / path.name
        if not there.exists():
            write_bytes(there, path.read_bytes())


def _same(place: Path, other: Path) -> bool:
    return read_sums(place) == read_sums(other)


def _warnings(records: Sequence[CellRecord]) -> list[str]:
    """What the reader of a merged sweep should know: versions that are not the same everywhere."""
    warnings = []
    names = sorted({name for record in records for name in record.versions})
    for name in names:
        versions = sorted({record.versions[name] for record in records if name in record.versions})
        if len(versions) > 1:
            warnings.append(f"{name} is not the same in all cells: {', '.join(versions)}")
    return warnings
