"""The records of a run, one struct for each thing that is kept.

All are immutable and ignore fields that they do not know, which a later minor version may have added. JSON has no NaN
or infinity, and msgspec would write them as null: scalars that may be either are `Real`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np

Real: TypeAlias = float | str
"""A float that may be non-finite: written as a number, or as "nan", "inf", "-inf". `float()` reads both."""

SCHEMA_NAME = "compare-ag/run"
SCHEMA_MAJOR = 1
SCHEMA_MINOR = 8
WITH_SUMS = 8
"""the minor version since which a run directory has its SHA256SUMS, and the evidence of its verdicts"""

STATUSES = (
    "ok", "disagree", "undecidable", "non-finite", "crashed", "timeout", "oom", "malformed", "import-error",
    "unsupported", "cancelled", "not-run", "imported",
)  # fmt: skip
"""What can become of a backend. "ok": it ran and its numbers agree with the reference; "imported":
it was timed elsewhere (`compare_ag.pytest_benchmark`)."""

DTYPES = ("float32", "float64")

FAILED = frozenset({"crashed", "timeout", "oom", "malformed", "import-error", "unsupported"})
JUDGED = frozenset({"ok", "disagree", "undecidable", "non-finite"})

_R = TypeVar("_R", bound="_Record")
_T = TypeVar("_T")


def real(value: float) -> Real:
    """Make a float safe for JSON."""
    value = float(value)
    return value if np.isfinite(value) else repr(value)


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable, unknown fields of later minor versions are ignored."""


def replace(record: _R, **changes: Any) -> _R:
    """The record with some fields changed."""
    return msgspec.structs.replace(record, **changes)


class Schema(_Record, frozen=True, kw_only=True):
    """Name and version of the layout."""

    name: str = SCHEMA_NAME
    major: int = SCHEMA_MAJOR
    minor: int = SCHEMA_MINOR


class ProblemRecord(_Record, frozen=True, kw_only=True):
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


class Environment(_Record, frozen=True, kw_only=True):
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


class Interval(_Record, frozen=True, kw_only=True):
    """An estimate with its 95 % confidence interval over launches; no ends where one launch alone was measured."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of_logs(cls, mean: float, half: float) -> Interval:
        """The ratio or time whose log is ``mean`` ± ``half``; an infinite half-width gives no ends."""
        if not np.isfinite(half):
            return cls(value=math.exp(mean), low=None, high=None)
        return cls(value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))

    def inverse(self) -> Interval:
        """The ratio the other way round."""
        low, high = (None if end is None else 1 / end for end in (self.high, self.low))
        return Interval(value=1 / self.value, low=low, high=high)


class Cost(_Record, frozen=True, kw_only=True):
    """What one backend costs. Seconds; intervals are of the mean over launches. None: not measured."""

    step: Interval
    """one whole step in the steady state"""
    phases: dict[str, Interval] | None
    """forward, backward, update; None where the backend does not split"""
    closure: Interval | None
    """(forward + backward + update) / step"""
    gradient_ratio: Interval | None
    """(forward + backward) / forward: theory allows about 4 to 5, however many weights there are"""
    import_seconds: float | None = None
    """of plugin and framework in a bare process; None where that was not measured"""
    construct_seconds: Interval | None = None
    """building the backend and `prepare`"""
    make_tensor_seconds: Interval | None = None
    first_step_seconds: Interval | None = None
    """the first step of a fresh process, compilation included"""
    steps_to_steady: int | None = None
    """steps before the times stay within 5 % of the steady ones; None where they did not settle while watched"""
    cold_seconds: float | None = None
    """what is paid before the steady state: import, construct, make_tensor, and what the first steps take beyond it"""
    interface_seconds: float | None = None
    """of each step, what the loop and the contract cost with a backend that does nothing"""
    pending_share: float | None = None
    """work left over when the clock of a block stopped, as share of the block: a lazy backend's"""
    cpu_per_wall: float | None = None
    preempted: float | None = None
    """share of blocks that do not count: another program interrupted or slowed them"""
    pinned: list[int]
    threads_observed: int
    """largest numerical thread pool seen after warm-up, at least 1"""
    steady: bool | None = None
    """first and last third of a launch agree within 3 %"""
    timed_by: str = "blocks"
    """what a step's time is: the median of the steps of a block ("steps"), or its wall time by its steps ("blocks");
    of a launch's undisturbed blocks the lower quintile"""
    block_gap: float | None = None
    """how much longer a step takes by the usual block's wall time over its steps, as share; None where not known"""
    steps_per_block: int = 0
    """on average; 0 in records before 1.7, where all backends had the `SpeedRecord`'s"""
    lead_in: int = 0
    """untimed steps before a block, on average"""
    fused: bool = False
    """`step` is the backend's own: its phases need not add up to it"""
    disturbed: bool = False
    """other programs interrupted or slowed so many of its blocks that there is no verdict on its speed"""
    unranked: str = ""
    """why it has no rank although it was timed: a clause with the backend as its subject; empty where it has one"""
    blocks_judged: int = 0
    """timed blocks whose final loss and weights were compared with the reference"""
    blocks_exact: int = 0
    """of these, with the exact trajectory"""
    blocks_not_judged: int = 0
    """timed blocks that moved the weights by less than 10 tolerances: right results would prove nothing"""
    untimed_ratio: float | None = None
    """time per step outside the clock, restoring the weights included, over the time inside"""
    host_ratio: float | None = None
    """what the worker claims of the time that the host saw pass, 1 where nothing is missing"""
    others_cpu_seconds: float = 0.0
    """CPU time of other processes that it started"""
    control: Interval | None = None
    """its ratio to a twin that has imported and allocated something else before"""

    @property
    def ranked(self) -> bool:
        """Whether its speed may be compared with others'."""
        return not (self.disturbed or self.unranked)


class PairRecord(_Record, frozen=True, kw_only=True):
    """Time per step of one backend over that of another."""

    backend: str
    baseline: str
    ratio: Interval
    """simultaneous over all pairs of the run, and as wide as its noise floor at least; no ends where that is unknown"""
    verdict: str
    """faster, slower, equivalent or inconclusive"""
    launches_needed: int | None = None
    """for a verdict at this spread, where it is inconclusive"""
    held_back: bool = False
    """its interval would have said more than the run's own noise floor allows"""
    break_even_steps: float | None = None
    """steps after which the cheaper step has paid for the dearer start; None where it never does"""
    phases: dict[str, Interval] = {}
    """the same ratio phase by phase; each on its own, not simultaneous"""

    def turned(self) -> PairRecord:
        """The same pair the other way round."""
        return replace(
            self,
            backend=self.baseline,
            baseline=self.backend,
            ratio=self.ratio.inverse(),
            verdict={"faster": "slower", "slower": "faster"}.get(self.verdict, self.verdict),
            phases={phase: ratio.inverse() for phase, ratio in self.phases.items()},
        )


class StabilityWarning(_Record, frozen=True):
    """Something about the measurement that the reader should know."""

    id: str
    message: str
    advice: str


class SpeedRecord(_Record, frozen=True, kw_only=True):
    """How the timing of a run was made, and its verdicts."""

    mode: str
    """quick, default, precise, or pytest-benchmark for an imported run"""
    budget_seconds: float
    target: float
    """half-width (of the log-ratio) at which it stops"""
    stopped: str
    """width, budget, launches, failure, interrupt or imported"""
    margin: float
    """0.02: differences below 2 % count as equivalent"""
    level: float
    """of each pair's interval, so that all hold together with 95 %"""
    launches: int
    instances: int
    rounds: int
    """per instance, the first discarded"""
    steps_per_block: int = 0
    """the same for all before 1.7; since then each `Cost` has its own"""
    lead_in: int = 0
    checkpoint: str
    """start, middle or end of the training"""
    checkpoint_step: int
    threads: int
    hash_seeds: list[int]
    """PYTHONHASHSEED of each launch, the same for all its workers"""
    twins: list[str] = []
    """the backend that ran twice in each launch; each has its turn"""
    control_backend: str | None = None
    """the one that ran twice in every launch, before 1.7"""
    control: Interval | None
    """ratio of a backend to its twin, over all launches"""
    noise_floor: float | None
    """the farther end of that interval from 1: no verdict may rest on less"""
    pairs: list[PairRecord] = []
    warnings: list[StabilityWarning] = []
    seconds: float
    """wall time of the timing part"""
    judging_seconds: float = 0.0
    """of these, for judging what timed blocks computed"""
    timed_from: float | None = None
    timed_until: float | None = None
    """when the timing part began and ended, in seconds since 1970: those of two runs on one machine do not overlap"""
    control_arrays: str | None = None
    control_arrays_sha256: str | None = None

    def pair(self, name: str, other: str) -> PairRecord | None:
        """The pair of ``name`` over ``other``, whichever way round it was recorded; None where there is none."""
        for pair in self.pairs:
            if (pair.backend, pair.baseline) == (name, other):
                return pair
            if (pair.baseline, pair.backend) == (name, other):
                return pair.turned()
        return None


class Memory(_Record, frozen=True, kw_only=True):
    """What one backend's process holds, in bytes, measured in a worker that does nothing else; see `suite.memory`."""

    source: str
    """of the peaks: VmHWM, or ru_maxrss, which may be the parent's"""
    start_bytes: int
    """resident before the plugin is imported: Python, numpy and the worker itself"""
    import_bytes: int
    """what importing the plugin adds"""
    data_bytes: int
    """what building the backend and the data as tensors add"""
    training_bytes: int | None
    """peak while it trains, beyond what was resident before; None where the system cannot tell peaks apart"""
    peak_bytes: int
    """the largest resident set of the process's life"""
    tape_bytes: int | None
    """what a tape keeps alive between forward and backward, weights and batch apart"""
    tape_source: str
    """plugin or tracemalloc"""
    growth_bytes: float
    """what each 1,000 further steps add to the resident set; about 0 unless something is kept that should not be"""
    growth_steps: int
    """steps that this was seen over"""


class TestRecord(_Record, frozen=True, kw_only=True):
    """What one test of a verdict found; see `verify.samples` and `verify.certificate`."""

    __test__ = False  # not one of pytest's

    test: str
    """gradient, step, trajectory, loss, update"""
    judged: int
    undecided: int
    """samples whose tolerance is infinite"""
    examples: int = 0
    """examples of all samples that could be decided: one that takes part in two samples counts twice"""
    undecided_examples: int = 0
    ratio: Real
    """largest observed/tolerance; above 1 is out of tolerance"""
    findings: list[str] = []
    """sentences on the first samples that are out of tolerance"""


class Repetition(_Record, frozen=True, kw_only=True):
    """How the losses of a second run in the same process differ from those of the first one."""

    steps: int
    """losses of the second run, which may be shorter"""
    differing: int
    """losses in other bits"""
    first: int | None
    """the first step whose loss differs"""
    ratio: Real | None
    """largest difference in units of the trajectory's tolerance; None where nothing differs or can be decided"""


class VerdictRecord(_Record, frozen=True, kw_only=True):
    """The judgement of one training pass against the reference; see `verify.verdict`."""

    status: str
    message: str
    first_step: int | None
    quantity: str | None
    coordinate: str | None
    observed: Real | None
    tolerance: Real | None
    """both None where it agrees"""
    worst_ratio: Real
    """largest observed/tolerance of everything that was judged"""
    weights_error: Real | None
    weights_tolerance: Real | None
    """‖(w, b) - reference‖ and its tolerance at the last step that could be compared"""
    phase: str | None = None
    """the verb at fault, where a single step shows it"""
    diagnosis: list[str] = []
    """known mistakes that would explain the numbers"""
    remark: str = ""
    """what is worth knowing and nobody's fault"""
    tests: list[TestRecord] = []
    """each test on its own"""


class ConvergenceRecord(_Record, frozen=True, kw_only=True):
    """Whether training got anywhere: full-data gradient norms at start and end."""

    gradient_norm_start: Real
    gradient_norm_end: Real
    converged: bool
    message: str


class PublishedRow(_Record, frozen=True):
    """One loss of a published table beside the observed one."""

    step: int
    """number of updates before this loss"""
    published: float
    observed: Real
    """NaN where the run did not get so far"""
    difference: Real
    """|observed - published|"""
    reproduced: bool
    """the difference is within the tolerance that the problem states"""


class BackendRecord(_Record, frozen=True, kw_only=True):
    """Everything about one backend in one run. Always there, whatever became of the backend."""

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
    """file of what the verdicts rest on, beside the trajectory: see `suite.kept`"""
    evidence_sha256: str | None = None

    def _repr_html_(self) -> str | None:
        """For notebooks: what became of the backend, and how much of its tolerance each test used up."""
        return in_notebook(self)


def decisive(record: BackendRecord) -> VerdictRecord | None:
    """The verdict that decided the status: of the fused step where only that one does not agree."""
    if record.fused_verdict is not None and record.verdict is not None and record.verdict.status == "agrees":
        return record.fused_verdict
    return record.verdict


class Manifest(_Record, frozen=True, kw_only=True):
    """The run as a whole."""

    schema: Schema = Schema()
    tool_version: str
    created: str
    """UTC, ISO 8601"""
    state: str
    """running, complete or partial"""
    duration_seconds: float
    exit_code: int
    other_codes: list[int] = []
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


_IN_NOTEBOOKS: dict[type, Callable[[Any], str]] = {}
"""how a notebook shows a run and a record: filled by `compare_ag.notebook`, which knows the reports"""


def show_in_notebooks(kind: type[_T], make: Callable[[_T], str]) -> None:
    """Let notebooks show objects of this kind by the HTML that ``make`` gives."""
    _IN_NOTEBOOKS[kind] = make


def in_notebook(shown: object) -> str | None:
    """The HTML of a run or record; None, for which a notebook takes the text, where nothing makes any."""
    make = _IN_NOTEBOOKS.get(type(shown))
    return None if make is None else make(shown)
