"""From a run directory to a `Run` and back: the only module that reads a directory and decides whether it is intact.

A directory may come from somebody else, from another version, or from a run that was killed. It is read completely or
refused with the first fault; `load_run` with ``salvage`` shows what can be read, with a warning for each fault.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from compare_ag.records import ranges
from compare_ag.records.base import RENAMED, SCHEMA_MAJOR, SCHEMA_NAME, WITH_SUMS, Schema, replace
from compare_ag.records.documents import BackendRecord, Manifest
from compare_ag.records.files import Array, RecordError, array_bytes, is_inside, read_json, record_bytes
from compare_ag.records.names import file_stem, old_stem
from compare_ag.records.run import Run
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

    A damaged directory is refused. salvage: read what can be read of it; each fault becomes a warning of the run. A
    backend whose record cannot be read then has no result, and arrays that cannot be read are missing.
    """
    folder = run_folder(path)
    faults: list[str] = []
    sums = _sums(folder, faults)
    if not salvage:
        _refuse(faults)
    manifest = _manifest(folder / MANIFEST)
    faults += _find_uncovered(folder, manifest, sums)
    faults += [f"{folder / MANIFEST} is damaged: {fault}" for fault in ranges.manifest_faults(manifest)]
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
    """The run directory, given its path or that of its manifest. Raises `RecordError` for a path that is neither."""
    folder = Path(path)
    # not pathlib's: it raises for names that are too long
    if folder.name == MANIFEST and os.path.isfile(folder):
        folder = folder.parent
    if not os.path.isfile(folder / MANIFEST):
        raise RecordError(f"{folder} is not a run directory: it contains no {MANIFEST}")
    return folder


def _within(folder: Path, fault: str) -> str:
    """A sentence with files named relative to the run directory: a report must not show paths of a machine."""
    return fault.replace(f"{folder}{os.sep}", "")


def _refuse(faults: list[str]) -> None:
    if faults:
        number = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise RecordError(f"{faults[0]}{number}; `compare-ag show --salvage` shows what is readable")


def _sums(folder: Path, faults: list[str]) -> Sums | None:
    """The sums; damaged files, and damage of the sums themselves, are added to ``faults``."""
    try:
        sums = read_sums(folder)
    except RecordError as error:
        faults.append(str(error))
        return Sums()
    if sums is not None:
        faults += damages(folder, sums)
    return sums


def _find_uncovered(folder: Path, manifest: Manifest, sums: Sums | None) -> Iterator[str]:
    """Faults of files without a line in the sums; in a run that has not ended the newest file may have none."""
    if sums is None:
        if manifest.schema.minor >= WITH_SUMS and manifest.state != "running":
            yield f"{folder / SUMS} is missing: whether the run is intact cannot be known"
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
    manifest: Manifest = read_json(path, Manifest, _renamed(schema))
    return manifest


def _renamed(schema: Schema) -> dict[str, str]:
    """The keys that have other names in a document of this schema."""
    return RENAMED if schema.minor < WITH_SUMS else {}


def _backend(folder: Path, name: str, manifest: Manifest) -> BackendRecord:
    """The record of one backend. Raises `RecordError`."""
    path = folder / record_name(name)
    if manifest.schema.minor < WITH_SUMS and is_inside(old := f"{old_stem(name)}.json") and len(Path(old).parts) == 1:
        path = folder / "records" / old
    if not os.path.lexists(path) and manifest.state != "complete":
        return _without_record(name, "the run ended before its turn")
    record: BackendRecord = read_json(path, BackendRecord, _renamed(manifest.schema))
    if record.name != name:
        raise RecordError(f"{path} is damaged: it is the record of {record.name!r}, not of {name!r}")
    for fault in ranges.record_faults(record, manifest):
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
