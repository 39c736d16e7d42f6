"""The messages between host and worker: a struct for each request and each reply, and limits of their sizes.

The docstring of a message names the arrays that travel with it and their shapes: n examples, d features, P points.
`worker.frames` turns messages into bytes; `host.replies` decides which reply can answer a request.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

PART_BYTES = 32 << 20
"""most bytes of arrays in a part of a long reply, unless a single row or point is longer"""
CHUNK_ROWS = 4096
"""most recorded weights in one `Chunk`: their step numbers are in the header"""
CHUNK_LOSSES = 1 << 20
"""most losses in one `Chunk`"""
MOST_BYTES = 1 << 50
"""bytes of memory that no process exceeds"""
MOST_REASON = 2000
"""most characters of a reason"""
MOST_WORD = 100
"""most characters of the name of a class or library, of a version or a dtype"""
MOST_LISTED = 64
"""most dtypes, versions, thread pools, sizes of a mutant"""
MOST_OFFERS = 1000
"""most mutants of a plugin, or answers"""
MOST_CODE = 20_000
"""most characters of an answer's code with its helpers"""
MOST_CHARACTERS = 4000
"""most characters of an answer's output, and of each text in its evidence"""
MOST_VALUES = 1000
"""most numbers, flags and texts in the evidence of one answer"""
MOST_DEPTH = 8
"""deepest nesting of lists in the evidence"""
MOST_WARNINGS = 5
TIMED_BATCHES = 8
"""mini-batches that the clock cycles through, made into tensors beforehand"""
MOST_BLOCK_STEPS = 1 << 12
"""most steps of a block whose times cross singly"""
WHOLE = 64
"""most numbers of a value or gradient of a graph that are all sent; of more, the first ones, the norm and the sum"""
HEAD = 8
MOST_NODES = 500
MOST_EDGES = 5000
MOST_NAME = 100
"""most characters of an operation"""
POOL_KEYS = ("user_api", "internal_api", "prefix", "version", "num_threads", "threading_layer")
"""the facts about a thread pool"""
ROUND_PHASES = ("make_tensor", "forward", "backward", "update", "step")
FAILURES = ("import-error", "malformed", "unsupported", "crashed", "oom")
"""statuses that a worker may report; all others are verdicts of the host ("ok" needs a verdict)"""

PHASES = (
    "import",
    "handshake",
    "prepare",
    "make_tensor",
    "forward",
    "backward",
    "update",
    "to_numpy",
    "synchronize",
    "step",
    "graph",
    "answer",
    "finish",
)
"""the phases of a worker, in the order of their codes on the progress board (see `worker.board`)"""


class Message(msgspec.Struct, tag=True, forbid_unknown_fields=True, frozen=True):
    """Base of all messages; the JSON carries the class name as its tag."""


class Mutation(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which mutant, of which plugin, in which size (see `compare_ag.contract.mutant`)."""

    module: str
    name: str
    size: float


class Ahead(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a twin imports and allocates before the plugin, as another program with the same backend might do."""

    modules: list[str]
    """modules of the standard library"""
    padding: list[int]
    """bytes of blocks that stay allocated"""


class MutantFacts(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A `compare_ag.Mutant` without its function."""

    name: str
    part: str
    meaning: str
    sizes: list[float]
    legitimate: bool
    shows_in: str = "anywhere"


# --- requests: host to worker ------------------------------------------------------------------------------


class Load(Message, frozen=True):
    """Import the plugin's module, find its backend class and compare it with the contract."""

    name: str
    module: str
    dtype: str | None
    """the dtype to be used, refused early where it is not declared; None to only look"""
    mutation: Mutation | None = None
    """the mistake of a mutant, applied to the backend class before it is built"""
    before: Ahead | None = None
    """work of a twin before that"""


class Prepare(Message, frozen=True):
    """Build the backend, give it the setting, store the data. Arrays: X, y, w0, b0 and order (epochs, n)."""

    setting: dict[str, Any]
    batch_size: int | None


class Train(Message, frozen=True):
    """Train from the start and record. Answered by `Chunk`s and one `Trained`."""

    steps: int
    learning_rate: float
    record: list[int]
    """the k at which the weights of steps k and k+1 are recorded"""
    fused: bool = False
    """through `Backend.step` instead of the phases"""


class ListMutants(Message, frozen=True):
    """Import a plugin of mutants and list them."""

    module: str


class Evaluate(Message, frozen=True):
    """Evaluate loss, gradient and one step at given points. Arrays: w (P, d), b (P,): the points, in this order.

    The host asks for as many points at a time as `points_at_a_time` allows. Further arrays X (n', d) and y (n',)
    replace the prepared data; they may have fewer examples, never more.
    Answered by `Evaluated`.
    """

    learning_rate: float
    fused: bool = False
    """through `Backend.step` instead of the phases, and then without a gradient"""
    first: int = 0
    """the number of the first point on the host's route"""


class Exchange(Message, frozen=True):
    """Do one part of a training step, with numpy arrays. Arrays: w (d,), b (), and gw, gb for an update.

    Answered by `Exchanged`.
    """

    part: str
    """loss: a whole step whose loss is read at its end; gradient: forward and backward; update: on tensors made from
    given weights and a given gradient; step: the backend's own step"""
    step: int
    """of the training: it determines the batch"""
    learning_rate: float


class Pin(Message, frozen=True):
    """Run on these CPUs from now on."""

    cpus: list[int]


class Cold(Message, frozen=True):
    """Time the first steps of this process one by one, from the start of the training. Answered by `FirstSteps`."""

    learning_rate: float
    most_steps: int
    nanoseconds: int
    """continue for at most so many after the first step"""


class Renew(Message, frozen=True):
    """Make the data tensors anew: another instance, elsewhere in memory. Answered by `Renewed`."""

    padding: list[int]
    """bytes of blocks to keep until the next instance, so that later allocations are shifted"""


class Block(Message, frozen=True):
    """Time a block of steps from given weights. Arrays: w, b: a checkpoint, restored outside the clock.

    Step j, counted from the first one of the lead-in, is on timed batch j modulo their number. Answered by `Timed`.
    """

    steps: int
    lead_in: int
    learning_rate: float
    phased: bool = False
    """with a clock reading between the phases, instead of `Backend.step`"""
    depth: int = 0
    """calls deep in the stack; see `clock.at_depth`"""
    segment: int = 0
    """steps between two probes of the CPU's speed; 0: only before and after the block"""


def segments(request: Block) -> int:
    """Into how many parts the probes divide a block."""
    if not request.segment or request.steps > MOST_BLOCK_STEPS:
        return 1
    return -(-request.steps // request.segment)


class TimeRounds(Message, frozen=True):
    """Time rounds of one phase for pytest-benchmark: see `worker.rounds`. Answered by `Rounds`."""

    phase: str
    """one of `ROUND_PHASES`"""
    count: int
    learning_rate: float


class Audit(Message, frozen=True):
    """Make a block of steps, and measure the work that remains at its end. Arrays: w, b. Answered by `Audited`."""

    steps: int
    lead_in: int
    learning_rate: float


class Observe(Message, frozen=True):
    """Report the process's own threads, as far as they are visible from inside."""


class MeasureMemory(Message, frozen=True):
    """Report how much memory the process holds. Answered by `MemoryHeld`."""

    clear: bool
    """also reset the peak"""


class MeasureTape(Message, frozen=True):
    """Report how many bytes a tape keeps. Arrays: w, b: the weights of the forward. Answered by `TapeSize`."""


class RecordGraph(Message, frozen=True):
    """Return the graph that the backend records for its loss. Arrays: w (d,), b (): the weights.

    Answered by `Graphed`.
    """

    step: int
    """of the training: it determines the batch"""


class ListAnswers(Message, frozen=True):
    """Import a plugin and list the questions of the lab that it answers. Answered by `AnswerList`."""

    module: str


class Ask(Message, frozen=True):
    """Run the answer to one question. Answered by `Answered`."""

    question: str


class Bye(Message, frozen=True):
    """No further request: exit."""


Read: TypeAlias = Literal["X or y", "the weights", "the loss", "the gradient"]
"""the values that an evaluation reads through `to_numpy`"""


# --- replies: worker to host ------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """The worker is up and isolated; no plugin has been imported yet."""

    pid: int


class Loaded(Message, frozen=True):
    """The handshake passed."""

    backend: str
    api_version: int
    dtypes: list[str]
    splits: bool
    overrides_step: bool
    versions: dict[str, str]
    import_seconds: float


class Prepared(Message, frozen=True):
    """The backend is built and the data are tensors."""

    construct_seconds: float
    """building the backend and `prepare`"""
    make_tensor_seconds: float
    """making the tensors of X, y, w0 and b0, once"""
    digest: str
    """sha256 of the arrays as received, which the host compares with the arrays that it sent"""


class Evaluated(Message, frozen=True):
    """The answers at P points, each taken twice on the same tensors, because a second answer must equal the first.

    Arrays: loss (P, 2); next_w (P, r, d) and next_b (P, r): the weights after an update, r = 2 if fused, else 1; and
    unless fused gradient_w (P, 2, d), gradient_b (P, 2) and kept_w (P, d), kept_b (P,): the weight tensors after
    forward and backward, which must not have changed.
    """

    data_kept: bool
    """X and y still have the values that were sent"""
    changed_by_reading: list[Read]
    """values that `to_numpy` changed: a second reading, or a reading without any other call, gave other bits"""


class MutantList(Message, frozen=True):
    """The mutants that a plugin offers."""

    mutants: list[MutantFacts]


class Exchanged(Message, frozen=True):
    """The result of one part. Arrays: loss (), or w (d,) and b (), or all three of a step."""


class Chunk(Message, frozen=True):
    """Results so far, so that a crash keeps the prefix; never empty, with at most `rows_at_a_time` weights.

    Arrays: losses (m,), w (r, d), b (r,), full_losses (r',), gradient_w (g, d), gradient_b (g,).
    """

    first_loss: int
    weight_steps: list[int]
    gradient_steps: list[int]
    """the recorded k whose gradient, from the weights of step k, is in this chunk; empty for fused steps"""


class Trained(Message, frozen=True):
    """The trajectory is complete. Arrays: w (d,), b (): the final weights."""

    seconds: float
    digest: str
    """sha256 of the same arrays after training: it shows whether a plugin wrote into them"""


class Pinned(Message, frozen=True):
    """The CPUs that the process now runs on; empty where the system cannot pin."""

    cpus: list[int]


class FirstSteps(Message, frozen=True):
    """The first steps were made. Arrays: step_ns (T,): nanoseconds of each."""


class Renewed(Message, frozen=True):
    """The data tensors were made anew."""


class Timed(Message, frozen=True):
    """Nanoseconds of a block. Arrays, its results: loss (), w (d,), b (); unless it was phased, step_ns (k,) and
    probe_ns (segments + 1,).

    The loss is that of the last step, before its update. step_ns: each step by the clock's readings between the steps.
    probe_ns: see `clock.probe`; one before each segment and one after the block. The times of probes, of readings of
    the clock and of readings of existing values have been subtracted from everything else.
    """

    wall_ns: int
    """of the steps, from the end of the lead-in to the values of loss and weights; of phased ones their phases' sum"""
    lead_ns: int
    """of the lead-in, until its weights are there"""
    make_ns: int
    """of making tensors from the checkpoint"""
    span_ns: int
    """of all these together, by the same clock"""
    inside_ns: int
    """from the end of the lead-in to the end: the interval of the next three"""
    cpu_ns: int
    switches: int
    """involuntary context switches"""
    waits: int
    """voluntary switches: the process yielded its CPU"""
    idle_cpu_ns: int
    """CPU time of the process between its last block and this one: it reads a request, and no backend runs"""
    phases: list[int]
    """forward, backward, update; empty unless it was phased"""


class Rounds(Message, frozen=True):
    """The rounds are made. Arrays: wall_ns (count,), and the results of the last round: X (n, d), or loss (), or w (d,)
    and b (), or the last three.
    """


class Audited(Message, frozen=True):
    """Nanoseconds of work that remains after a block, and of the harness itself."""

    wall_ns: int
    pending_ns: int
    """time to read all losses and weights after the clock, beyond as many readings of values that surely exist"""
    noise_ns: int
    """difference between two such sets of readings of existing values"""
    interface_ns: int
    """time of as many steps of a backend that does nothing"""


class Observed(Message, frozen=True):
    """The process's own threads, from inside."""

    pools: list[dict[str, Any]]
    """threadpoolctl's view of the numerical thread pools"""
    os_threads: int
    cpu_per_wall: float
    """CPU seconds per wall second of the training pass: more than `threads` means more threads were used"""


class MemoryHeld(Message, frozen=True):
    """Memory of the process in bytes; see `worker.observe.memory`."""

    resident: int
    peak: int
    source: str
    cleared: bool


class TapeSize(Message, frozen=True):
    """The memory that a tape keeps alive beyond weights and batch."""

    tape_bytes: int | None
    """None where unknown: the framework's memory is invisible from outside and the plugin does not report it"""
    source: str
    """plugin: by its `tape_bytes`; tracemalloc: measured by Python's allocators"""


class NodeFacts(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A `compare_ag.Node` without its numbers; see `Graphed`."""

    operation: str
    role: str
    inputs: list[int]
    """positions of nodes before this one"""
    arrival: int | None
    value: list[int] | None
    """its shape; None where the backend keeps no value"""
    gradient: list[int] | None


class Graphed(Message, frozen=True):
    """The nodes of a graph, each after its inputs.

    Arrays: ``value3`` and ``gradient3`` for the node at position 3: (q,), all numbers in C order where there are at
    most `WHOLE` of them, else the first `HEAD`; and ``totals`` (N, 4) float64: 2-norm and sum of value and of gradient,
    NaN where there are none.
    """

    offered: bool
    """False: the backend has no `graph`"""
    nodes: list[NodeFacts]


class AnswerFacts(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A `compare_ag.Answer`, or with a reason a `compare_ag.NotApplicable`."""

    question: str
    reason: str | None


class AnswerList(Message, frozen=True):
    """The questions that a plugin answers; empty where it has no such hook."""

    answers: list[AnswerFacts]
    versions: dict[str, str]
    import_seconds: float


class RaisedError(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An exception that ended an answer."""

    kind: str
    """the name of its type"""
    line: str
    """type and message on one line"""


class Answered(Message, frozen=True):
    """The outcome of one answer."""

    code: str
    """the text that was executed"""
    helpers: str
    """the functions and classes of the answer's module that it uses"""
    evidence: dict[str, Any]
    """flags, numbers, None, lists of these; "nan", "inf" and "-inf" are numbers, texts are {"text": …}"""
    printed: str
    warned: list[str]
    raised: RaisedError | None
    flaw: str
    """why the answer is malformed; empty when it is not"""
    seconds: float


class Failed(Message, frozen=True):
    """The backend failed in a way the worker could catch."""

    status: str
    """one of `FAILURES`"""
    reason: str
    phase: str
    step: int | None


Request: TypeAlias = (
    Load | Prepare | Train | Evaluate | Exchange | ListMutants | Pin | Cold | Renew | Block | TimeRounds | Audit
    | Observe | MeasureMemory | MeasureTape | RecordGraph | ListAnswers | Ask | Bye
)  # fmt: skip
Reply: TypeAlias = (
    Hello | Loaded | Prepared | Chunk | Trained | Evaluated | Exchanged | MutantList | Pinned | FirstSteps | Renewed
    | Timed | Rounds | Audited | Observed | MemoryHeld | TapeSize | Graphed | AnswerList | Answered | Failed
)  # fmt: skip


def timed_batches(examples: int, batch_size: int) -> int:
    """How many mini-batches are timed: the first few of the run's own order, fewer where an epoch has fewer."""
    return min(TIMED_BATCHES, -(-examples // batch_size))


def rows_at_a_time(features: int, itemsize: int) -> int:
    """Most recorded weights in one `Chunk`, so that they and as many gradients stay within `PART_BYTES`."""
    return max(1, min(CHUNK_ROWS, PART_BYTES // (2 * itemsize * (features + 1))))


def points_at_a_time(features: int, itemsize: int) -> int:
    """Most points of one `Evaluate`, so that request and reply stay within `PART_BYTES`."""
    return max(1, PART_BYTES // (itemsize * (4 * (features + 1) + 2)))
