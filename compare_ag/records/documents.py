"""The two documents of a run: its manifest, and the record of each backend; with the problem and the machine."""

from __future__ import annotations

from typing import Any

import msgspec

from compare_ag.records.base import Real, Record, Schema, in_notebook
from compare_ag.records.costs import Cost, Memory, SpeedRecord
from compare_ag.records.verdicts import ConvergenceRecord, PublishedRow, Repetition, VerdictRecord

STATUSES = (
    "ok", "disagree", "undecidable", "non-finite", "crashed", "timeout", "oom", "malformed", "import-error",
    "unsupported", "cancelled", "not-run", "imported",
)  # fmt: skip
"""The possible statuses of a backend. "ok": it ran and its numbers agree with the reference; "imported": another tool
timed it (`compare_ag.pytest_benchmark`)."""

DTYPES = ("float32", "float64")

FAILED = frozenset({"crashed", "timeout", "oom", "malformed", "import-error", "unsupported"})
JUDGED = frozenset({"ok", "disagree", "undecidable", "non-finite"})


class ProblemRecord(Record, frozen=True, kw_only=True):
    """The problem, without its data: enough to know what was trained and to recognise it again."""

    name: str
    description: str
    examples: int
    features: int
    dtype: str
    loss: str
    l2: float
    steps: int
    learning_rate: float
    learning_rate_source: str
    curvature: float
    seed: int
    threads: int
    batch_size: int | None
    start: str
    label_names: tuple[str, str]
    parameters: dict[str, Real]
    digest: str
    published: list[tuple[int, float]]
    published_tolerance: float


class Environment(Record, frozen=True, kw_only=True):
    """The machine and the versions, without anything that names its owner."""

    python: str
    implementation: str
    system: str
    machine: str
    cpu: str
    logical_cpus: int
    usable_cpus: list[int]
    memory_bytes: int
    libraries: dict[str, str]
    """the host's own: compare-ag, numpy, …; each backend's are in its record"""
    settings: dict[str, str] = msgspec.field(default_factory=dict)
    """of kernel, clock and container, where the system tells them: huge pages, governor, cpu.max, …"""
    thread_variables: dict[str, str] = msgspec.field(default_factory=dict)
    """environment variables that workers were started with"""


class BackendRecord(Record, frozen=True, kw_only=True):
    """Everything about one backend in one run. Every backend has a record, also if it failed or was not reached."""

    name: str
    module: str
    distribution: str
    version: str
    status: str
    reason: str = ""
    phase: str | None = None
    step: int | None = None
    """where it failed"""
    logs: list[str] = []
    """files of what it printed, relative to the run directory"""
    warnings: list[str] = []
    backend_class: str | None = None
    dtypes: list[str] = []
    splits: bool | None = None
    overrides_step: bool | None = None
    versions: dict[str, str] = {}
    hash_seed: int | None = None
    train_seconds: float | None = None
    threads_observed: int | None = None
    """largest numerical pool seen, at least 1"""
    os_threads: int | None = None
    cpu_per_wall: float | None = None
    pools: list[dict[str, Any]] = []
    verdict: VerdictRecord | None = None
    fused_verdict: VerdictRecord | None = None
    """of the backend's own `step`, where it overrides it"""
    repeatable: bool | None = None
    """whether a second run repeats the first one's losses bit by bit; None where there was none"""
    repetition: Repetition | None = None
    probe_seed: int | None = None
    """of the random points at which it was asked, drawn after its plugin had been loaded"""
    convergence: ConvergenceRecord | None = None
    published: list[PublishedRow] = []
    cost: Cost | None = None
    memory: Memory | None = None
    memory_note: str = ""
    """why memory was not measured"""
    timing_note: str = ""
    """why it was not timed"""
    arrays: str | None = None
    """file of the trajectory, relative to the run directory; written once"""
    arrays_sha256: str | None = None
    timing_arrays: str | None = None
    """file of the raw timing blocks"""
    timing_arrays_sha256: str | None = None
    evidence: str | None = None
    """file of what the verdicts follow from, beside the trajectory: see `suite.evidence_arrays`"""
    evidence_sha256: str | None = None

    def _repr_html_(self) -> str | None:
        """For notebooks: the status of the backend, and the share of its tolerance that each test used."""
        return in_notebook(self)


def decisive(record: BackendRecord) -> VerdictRecord | None:
    """The verdict that decided the status: of the fused step where only that one does not agree."""
    if record.fused_verdict is not None and record.verdict is not None and record.verdict.status == "agrees":
        return record.fused_verdict
    return record.verdict


class Manifest(Record, frozen=True, kw_only=True):
    """The run as a whole."""

    schema: Schema = Schema()
    tool_version: str
    created: str
    """UTC, ISO 8601"""
    state: str
    """running, complete or partial"""
    duration_seconds: float
    exit_code: int
    further_exit_codes: list[int] = []
    """exit codes of what no record shows: an interrupt, results that could not be saved, a bug of ours"""
    backends: list[str]
    baseline: str | None
    problem: ProblemRecord
    environment: Environment
    options: dict[str, Any]
    """what was asked for: timeout, timing"""
    warnings: list[str]
    reference_sha256: str | None = None
    max_pair_difference: Real | None = None
    """largest distance between the final weights of two backends"""
    reference: str = ""
    """what the backends were compared with, and how well it is known"""
    consensus_is_wrong: bool = False
    """all backends that could be judged agree with each other, and none with the reference"""
    speed: SpeedRecord | None = None
    graph: str | None = None
    """file of the graphs, relative to the run directory; None where no backend offered one"""
