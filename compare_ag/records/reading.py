"""From a run directory to a `Run` and back: the one place that reads and judges what a directory says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from compare_ag.records import ranges
from compare_ag.records.files import Array, RecordError, array_bytes, is_inside, read_json, record_bytes
from compare_ag.records.names import file_stem, old_stem
from compare_ag.records.run import Run
from compare_ag.records.structs import (
    SCHEMA_MAJOR,
    SCHEMA_NAME,
    WITH_SUMS,
    BackendRecord,
    Manifest,
    Schema,
    replace,
)
from compare_ag.records.sums import SUMS, Sums, damages, read_sums, save_file, unlisted

MANIFEST = "manifest.json"
SALVAGED = "DAMAGED: {}; what is shown may be wrong"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write (again) the run's manifest."""
    save_file(folder, MANIFEST, record_bytes(manifest))


def write_backend(folder: Path, record: BackendRecord) -> None:
    """Write (again) the record of one backend."""
    save_file(folder, record_name(record.name), record_bytes(record))


def write_arrays(folder: Path, name: str, arrays: dict[str, Array]) -> str:
    """Write arrays as .npz, ``name`` relative to the run directory; return the file's sha256."""
    return save_file(folder, name, array_bytes(arrays))


def record_name(name: str) -> str:
    """The file of a backend's record, relative to the run directory."""
    return f"records/{file_stem(name)}.json"


class _SchemaOnly(msgspec.Struct):
    schema: Schema


def load_run(path: str | Path, *, salvage: bool = False) -> Run:
    """Read a run directory. Raises `RecordError` with the file and the reason.

    A damaged directory is refused. salvage: read what can be read of it all the same; each damage becomes a warning of
    the run, a record that cannot be read one of a backend without result, and arrays that cannot be read none.
    """
    folder = run_folder(path)
    faults: list[str] = []
    sums = _sums(folder, faults)
    if not salvage:
        _refuse(faults)
    manifest = _manifest(folder / MANIFEST)
    faults += _uncovered(folder, manifest, sums)
    faults += [f"{folder / MANIFEST} is damaged: {fault}" for fault in ranges.of_manifest(manifest)]
    if not salvage:
        _refuse(faults)
    records = {}
    for name in manifest.backends:
        try:
            records[name] = _backend(folder, name, manifest)
        except RecordError as error:
            if not salvage:
                raise
            faults.append(str(error))
            records[name] = _without_record(name, f"its record cannot be read: {_within(folder, str(error))}")
    warnings = [SALVAGED.format(_within(folder, fault)) for fault in dict.fromkeys(faults)] + manifest.warnings
    return Run(folder, replace(manifest, warnings=warnings), records, salvaged=salvage)


def run_folder(path: str | Path) -> Path:
    """The run directory that is meant by its path or by that of its manifest. Raises `RecordError` where it is none."""
    folder = Path(path)
    # not pathlib's: it raises for names that are too long
    if folder.name == MANIFEST and os.path.isfile(folder):
        folder = folder.parent
    if not os.path.isfile(folder / MANIFEST):
        raise RecordError(f"{folder} is no run directory: it holds no {MANIFEST}")
    return folder


def _within(folder: Path, fault: str) -> str:
    """A sentence on a file, which then is named from the run directory on: reports name no place on a machine."""
    return fault.replace(f"{folder}{os.sep}", "")


def _refuse(faults: list[str]) -> None:
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise RecordError(f"{faults[0]}{more}; `compare-ag show --salvage` shows what is readable")


def _sums(folder: Path, faults: list[str]) -> Sums | None:
    """The sums; what is damaged by them, or of them, is added to the faults."""
    try:
        sums = read_sums(folder)
    except RecordError as error:
        faults.append(str(error))
        return Sums()
    if sums is not None:
        faults += damages(folder, sums)
    return sums


def _uncovered(folder: Path, manifest: Manifest, sums: Sums | None) -> Iterator[str]:
    """Files whose lines are missing; a run that goes on, or was killed, may lack the newest."""
    if sums is None:
        if manifest.schema.minor >= WITH_SUMS and manifest.state != "running":
            yield f"{folder / SUMS} is missing: whether the run is intact cannot be told"
    elif manifest.state != "running":
        yield from unlisted(folder, sums)


def _manifest(path: Path) -> Manifest:
    schema = read_json(path, _SchemaOnly).schema
    if schema.name != SCHEMA_NAME:
        raise RecordError(f"{path} is a {schema.name!r} document, not a {SCHEMA_NAME!r}")
    if schema.major != SCHEMA_MAJOR:
        raise RecordError(
            f"{path} has schema version {schema.major}.{schema.minor}; this compare-ag reads {SCHEMA_MAJOR}.x"
        )
    manifest: Manifest = read_json(path, Manifest)
    return manifest


def _backend(folder: Path, name: str, manifest: Manifest) -> BackendRecord:
    """The record of one backend. Raises `RecordError`."""
    path = folder / record_name(name)
    if manifest.schema.minor < WITH_SUMS and is_inside(old := f"{old_stem(name)}.json") and len(Path(old).parts) == 1:
        path = folder / "records" / old
    if not os.path.lexists(path) and manifest.state != "complete":
        return _without_record(name, "the run ended before its turn")
    record: BackendRecord = read_json(path, BackendRecord)
    if record.name != name:
        raise RecordError(f"{path} is damaged: it is the record of {record.name!r}, not of {name!r}")
    for fault in ranges.of_record(record, manifest):
        raise RecordError(f"{path} is damaged: {fault}")
    return record


def _without_record(name: str, reason: str) -> BackendRecord:
    return BackendRecord(name=name, module="", distribution="", version="", status="not-run", reason=reason)


def document(run: Run) -> dict[str, Any]:
    """The run as one JSON-able document: manifest and records, for ``--json``."""
    return {
        "path": str(run.path),
        **msgspec.to_builtins(run.manifest),
        "records": [msgspec.to_builtins(record) for record in run.records.values()],
    }
