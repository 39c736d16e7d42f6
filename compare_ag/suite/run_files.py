"""The results of one run, in memory and in its directory: saved as they come, and compared with the disk at the end.

A record is saved when its backend has been judged, and again when a later pass adds to it. Array files are saved before
the first record that names them, so that no record names a file with another hash. Backends run on the same machine
and may delete files; all results therefore stay in memory, and `find_damaged` and `write_again` repair the directory.

Knows nothing of workers, and does not judge: it receives finished records and arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag import records
from compare_ag.records import BackendRecord, Manifest, Run, SpeedRecord
from compare_ag.records.graphs import GraphDocument, write_graphs
from compare_ag.records.planes import pack
from compare_ag.records.sums import sha256
from compare_ag.suite.anonymity import anonymous
from compare_ag.suite.run_folder import FolderWriter

if TYPE_CHECKING:
    from compare_ag.records import Array


class RunFiles:
    """The records and arrays of a run by backend, each saved as soon as it is known."""

    def __init__(self, folder: Path) -> None:
        self.writer = FolderWriter(folder)
        self.records: dict[str, BackendRecord] = {}
        self.arrays: dict[str, dict[str, Array]] = {}
        """the trajectory of each backend; {} where it left none"""
        self.reference: dict[str, Array] = {}
        self._evidence: dict[str, bytes] = {}
        """the file of each backend, compressed: for wide data the arrays are large"""
        self._timing: dict[str, dict[str, Array]] = {}
        self._control: dict[str, Array] = {}

    def save_training(
        self, record: BackendRecord, arrays: dict[str, Array], evidence: Mapping[str, Array] | None = None
    ) -> None:
        """Save the arrays of a judged training and then the first version of its record."""
        name, stem = record.name, records.file_stem(record.name)
        self.arrays[name] = arrays
        if arrays:
            path, digest = self._save_arrays(f"arrays/{stem}.npz", arrays)
            record = records.replace(record, arrays=path, arrays_sha256=digest)
        if evidence:
            data = self._evidence[name] = records.array_bytes(pack(evidence), compressed=True)
            path = f"arrays/{stem}.evidence.npz"
            digest = self.writer.save(partial(records.save_file, name=path, data=data))
            record = records.replace(record, evidence=digest and path, evidence_sha256=digest)
        self.save_record(record)

    def save_record(self, record: BackendRecord) -> None:
        """Save a record in place of the version before it, without names of the machine and its owner."""
        record = anonymous(record)
        self.writer.save(partial(records.write_backend, record=record))
        self.records[record.name] = record

    def save_timing(self, record: BackendRecord, arrays: dict[str, Array]) -> BackendRecord:
        """Save the timing arrays of a backend; return its record with their file. The caller saves the record."""
        self._timing[record.name] = arrays
        path, digest = self._save_arrays(f"arrays/{records.file_stem(record.name)}.timing.npz", arrays)
        return records.replace(record, timing_arrays=path, timing_arrays_sha256=digest)

    def save_control(self, speed: SpeedRecord, arrays: dict[str, Array]) -> SpeedRecord:
        """Save the twins' blocks, if there are any; return the speed record with their file."""
        self._control = arrays
        if not arrays:
            return speed
        path, digest = self._save_arrays("arrays/control.timing.npz", arrays)
        return records.replace(speed, control_arrays=path, control_arrays_sha256=digest)

    def save_reference(self, arrays: dict[str, Array]) -> str | None:
        """Save the reference, if there is one; return the file's sha256, None where no file was written."""
        self.reference = arrays
        return self._save_arrays("arrays/reference.npz", arrays)[1] if arrays else None

    def save_graphs(self, document: GraphDocument) -> str | None:
        """Save the graphs; return the name of the file, None where it could not be written."""
        return self.writer.save(partial(write_graphs, document=document))

    def save_manifest(self, manifest: Manifest) -> None:
        """Save the manifest in place of the version before it."""
        self.writer.save(partial(records.write_manifest, manifest=manifest))

    def _save_arrays(self, path: str, arrays: dict[str, Array]) -> tuple[str | None, str | None]:
        """The path and the sha256 of the file as a record names them; both None where nothing can be saved any more."""
        digest = self.writer.save(partial(records.write_arrays, name=path, arrays=arrays))
        return digest and path, digest

    def sort(self, names: list[str]) -> None:
        """Bring the records into the order of these names."""
        self.records = {name: self.records[name] for name in names}

    def run(self, manifest: Manifest) -> Run:
        """The run with its arrays from memory: it can be shown even where the files are gone."""
        arrays = {name: {**self.arrays[name], **self._timing.get(name, {})} for name in self.records}
        shared = {"reference": self.reference, "control": self._control}
        return Run(self.writer.folder, manifest, self.records, arrays, shared)

    def find_damaged(self) -> list[str]:
        """The files of records and arrays that another program, perhaps a plugin, has deleted or changed."""
        if self.writer.gave_up:
            return []
        expected: dict[str | None, str | None] = {}
        for record in self.records.values():
            expected |= {
                records.record_name(record.name): sha256(records.record_bytes(record)),
                record.arrays: record.arrays_sha256,
                record.timing_arrays: record.timing_arrays_sha256,
                record.evidence: record.evidence_sha256,
            }
        return [path for path, digest in expected.items() if path and self._digest_on_disk(path) != digest]

    def _digest_on_disk(self, path: str) -> str:
        """The hash of a file of the run; empty where it cannot be read."""
        try:
            return sha256((self.writer.folder / path).read_bytes())
        except OSError:
            return ""

    def write_again(self) -> None:
        """Save every array file and record once more."""
        for name, record in self.records.items():
            if record.arrays:
                self._save_arrays(record.arrays, self.arrays[name])
            if record.timing_arrays:
                self._save_arrays(record.timing_arrays, self._timing[name])
            if record.evidence:
                self.writer.save(partial(records.save_file, name=record.evidence, data=self._evidence[name]))
            self.writer.save(partial(records.write_backend, record=record))
