"""The results of a run: immutable records and arrays in a directory, and how they are written and read.

    RUN/
      manifest.json           problem, environment, options, order of the backends, exit code, state
      records/NAME.json       one for each backend that was asked for, failed ones included
      arrays/NAME.npz         losses and recorded weights
      arrays/NAME.timing.npz  raw timing blocks
      arrays/control.timing.npz  those of the twins
      graph.json              the graph of the loss at the start, of each backend that offers one
      arrays/reference.npz    reference losses and weights with their tolerances
      arrays/NAME.evidence.npz  what its verdicts follow from: points, answers, the second run
      logs/                   what the workers printed
      SHA256SUMS              the hash of every file (see `records.sums`)

Everything that shows or compares runs reads these files and nothing else, so it needs no framework. Each record carries
the sha256 of its array files. NAME is `file_stem` of a backend's name.

    base       the base of all records;  costs, verdicts  records of measurements and of verdicts
    documents  the manifest and the record of a backend;  graphs, sweeps  documents of their own
    ranges     the values that fields may have;  shapes  those of arrays;  schema  the JSON Schema
    files      writing and reading files;  names  their names;  sums  their hashes
    reading    from a directory to a `Run` and back;  run  the `Run`

Schema history
    1.0  first version
    1.1  four tests for each verdict, diagnoses, the reference's description
    1.2  cost and speed, with intervals over launches, in place of timing (which had one launch and is not read)
    1.3  memory
    1.4  settings of the machine, thread variables
    1.5  graph.json: the graph of the loss as each backend recorded it (see `records.graphs`)
    1.6  how a second run differs from the first; examples that were decided
    1.7  blocks of each backend's own length, judged; disturbed and unranked timings; a twin of each backend in turn
    1.8  SHA256SUMS; evidence of the verdicts, so that they can be derived again; names of files from any text;
         left_out_share, limited_by_noise_floor, further_exit_codes, which were preempted, held_back, other_codes

A reader of version 1.x reads every 1.y and ignores fields that it does not know; it refuses another major version, and
names it.
"""

from __future__ import annotations

from compare_ag.records.base import (
    SCHEMA_MAJOR,
    SCHEMA_MINOR,
    SCHEMA_NAME,
    Real,
    Schema,
    in_notebook,
    real,
    replace,
    show_in_notebooks,
)
from compare_ag.records.costs import Cost, Interval, Memory, PairRecord, SpeedRecord, StabilityWarning
from compare_ag.records.documents import (
    DTYPES,
    FAILED,
    JUDGED,
    STATUSES,
    BackendRecord,
    Environment,
    Manifest,
    ProblemRecord,
    decisive,
)
from compare_ag.records.files import (
    Array,
    RecordError,
    SaveError,
    array_bytes,
    is_inside,
    read_arrays,
    read_json,
    record_bytes,
    remove_leftovers,
    write_bytes,
)
from compare_ag.records.names import file_stem, legible
from compare_ag.records.reading import (
    document,
    load_run,
    record_name,
    run_folder,
    write_arrays,
    write_backend,
    write_manifest,
)
from compare_ag.records.run import Run
from compare_ag.records.sums import save_file, seal
from compare_ag.records.verdicts import ConvergenceRecord, PublishedRow, Repetition, TestRecord, VerdictRecord

__all__ = [
    "DTYPES", "FAILED", "JUDGED", "SCHEMA_MAJOR", "SCHEMA_MINOR", "SCHEMA_NAME", "STATUSES", "Array", "BackendRecord",
    "ConvergenceRecord", "Cost", "Environment", "Interval", "Manifest", "Memory", "PairRecord", "ProblemRecord",
    "PublishedRow", "Real", "RecordError", "Repetition", "Run", "SaveError", "Schema", "SpeedRecord",
    "StabilityWarning", "TestRecord", "VerdictRecord", "array_bytes", "decisive", "document", "file_stem",
    "in_notebook", "is_inside", "legible", "load_run", "read_arrays", "read_json", "real", "record_bytes",
    "record_name", "remove_leftovers", "replace", "run_folder", "save_file", "seal", "show_in_notebooks",
    "write_arrays", "write_backend", "write_bytes", "write_manifest",
]  # fmt: skip
