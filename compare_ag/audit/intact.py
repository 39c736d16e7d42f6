"""The first level: every file of a run directory is as it was written."""

from __future__ import annotations

import os
from pathlib import Path

from compare_ag.audit.levels import Level, Mismatch
from compare_ag.records import RecordError, Run
from compare_ag.records.files import read_file
from compare_ag.records.sums import DERIVED, SUMS, Sums, files_of, read_sums, sha256

MISSING = "no file"
OLD = "not possible before schema 1.8: the run has no SHA256SUMS; the hashes in its records are checked alone"


def intact(folder: Path) -> Level:
    """Compare every file with its line in ``SHA256SUMS``. Raises `RecordError` where that file itself is damaged."""
    level = Level("intact")
    sums = read_sums(folder)
    if sums is None:
        level.possible = False
        level.notes.append(OLD)
        return level
    for name in sums.names:
        derived = _hash(folder, name)
        if derived not in sums.allowed(name):
            level.mismatches.append(Mismatch(name, "sha256", sums.allowed(name)[0], derived))
    level.checked = f"{len(sums.names)} files are as {SUMS} lists them"
    level.notes += _uncovered(folder, sums)
    return level


def _uncovered(folder: Path, sums: Sums) -> list[str]:
    """What a run that was killed had not listed yet; of a run that has ended, reading it refuses that."""
    return [
        f"{name} is not listed" + (": it is derived from the others" if name in DERIVED else "")
        for name in files_of(folder)
        if not sums.allowed(name)
    ]


def _hash(folder: Path, name: str) -> str:
    if not os.path.lexists(folder / name):
        return MISSING
    try:
        return sha256(read_file(folder / name))
    except RecordError as error:
        return str(error)


def recorded_hashes(run: Run) -> list[Mismatch]:
    """The hashes of array files that manifest and records carry, where they are not those of the files."""
    claims: list[tuple[str, str, str | None, str | None]] = []
    for record in run.records.values():
        place = f"the record of {record.name}"
        for field, file in (("arrays", record.arrays), ("timing_arrays", record.timing_arrays)):
            claims += [(place, f"{field}_sha256", file, getattr(record, f"{field}_sha256"))]
        claims += [(place, "evidence_sha256", record.evidence, record.evidence_sha256)]
    speed = run.manifest.speed
    if speed is not None:
        claims.append(
            ("manifest.json", "speed.control_arrays_sha256", speed.control_arrays, speed.control_arrays_sha256)
        )
    if run.manifest.reference_sha256 is not None:
        claims.append(("manifest.json", "reference_sha256", "arrays/reference.npz", run.manifest.reference_sha256))
    return [
        Mismatch(place, field, claimed, derived)
        for place, field, file, claimed in claims
        if file is not None and (derived := _hash(run.path, file)) != claimed
    ]
