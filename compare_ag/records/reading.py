"""From a run directory to a `Run` and back: the one place that reads and judges what a directory says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from compare_ag.records.files import RecordError, file_stem, is_inside, read_json, write_record
from compare_ag.records.run import Run
from compare_ag.records.structs import DTYPES, SCHEMA_MAJOR, SCHEMA_NAME, BackendRecord, Manifest, Schema


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write (again) the run's manifest."""
    write_record(folder / "manifest.json", manifest)


def write_backend(folder: Path, record: BackendRecord) -> None:
    """Write (again) the record of one backend."""
    write_record(folder / "records" / f"{file_stem(record.name)}.json", record)


class _SchemaOnly(msgspec.Struct):
    schema: Schema


def _require_usable(path: Path, manifest: Manifest) -> None:
    """What reading the numbers rests on. Other words are shown as they are: a later minor version may know more."""
    dtype, speed = manifest.problem.dtype, manifest.speed
    if dtype not in DTYPES:
        raise RecordError(f"{path} is damaged: the dtype {dtype!r} is none of {', '.join(DTYPES)}")
    if speed is None:
        return
    least = 1 if manifest.schema.minor < 7 else 0  # since then each backend's blocks have a number of their own
    if speed.steps_per_block < least or min(speed.launches, speed.rounds) < 1:
        raise RecordError(f"{path} is damaged: steps_per_block, launches and rounds must be 1 or more")


def load_run(path: str | Path) -> Run:
    """Read a run directory. Raises `RecordError` with the file and the reason."""
    folder = Path(path)
    if folder.is_file() and folder.name == "manifest.json":
        folder = folder.parent
    manifest_path = folder / "manifest.json"
    if not manifest_path.is_file():
        raise RecordError(f"{folder} is no run directory: it holds no manifest.json")
    schema = read_json(manifest_path, _SchemaOnly).schema
    if schema.name != SCHEMA_NAME:
        raise RecordError(f"{manifest_path} is a {schema.name!r} document, not a {SCHEMA_NAME!r}")
    if schema.major != SCHEMA_MAJOR:
        raise RecordError(
            f"{manifest_path} has schema version {schema.major}.{schema.minor}; this compare-ag reads {SCHEMA_MAJOR}.x"
        )
    manifest = read_json(manifest_path, Manifest)
    _require_usable(manifest_path, manifest)
    records = {}
    for name in manifest.backends:
        if not is_inside(name) or len(Path(name).parts) > 1:
            raise RecordError(f"{manifest_path} is damaged: {name!r} is no name of a backend")
        record_path = folder / "records" / f"{file_stem(name)}.json"
        if record_path.is_file() or manifest.state == "complete":
            records[name] = read_json(record_path, BackendRecord)
        else:
            records[name] = BackendRecord(
                name=name,
                module="",
                distribution="",
                version="",
                status="not-run",
                reason="the run ended before its turn",
            )
    return Run(folder, manifest, records)


def document(run: Run) -> dict[str, Any]:
    """The run as one JSON-able document: manifest and records, for ``--json``."""
    return {
        "path": str(run.path),
        **msgspec.to_builtins(run.manifest),
        "records": [msgspec.to_builtins(record) for record in run.records.values()],
    }
