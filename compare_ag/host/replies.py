"""Whether a reply is a possible answer to the last request. Every message of a worker passes this module.

A plugin shares its process with our half of the protocol, so that a well-formed frame may have any content. A
`Conversation` follows the requests and derives from each how many bytes its reply may have and which messages, array
shapes, counts, durations and texts are possible. No reply that passes can raise an exception in the host. Whether its
numbers are *right* is for `verify`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np

from compare_ag.contract.backend import API_VERSION, Role
from compare_ag.contract.mutant import PLACES
from compare_ag.worker import frames, messages
from compare_ag.worker.board import TailRead, TailRoom

Arrays: TypeAlias = Mapping[str, messages.Array]

SLACK = 1.1
SLACK_NS = 100_000_000
"""a duration may exceed the host's own time from request to reply by this factor and these nanoseconds"""
MOST_CPU_PER_WALL = 1e6
MOST_THREADS = 1 << 20
MOST_SWITCHES = 1 << 40
MOST_IDLE_NS = 1e15
"""most CPU seconds between two blocks: eleven days on each CPU"""
MOST_INTEGER = 1 << 53
"""largest integer in evidence; larger integers are floats"""
DROPPED_NOTE = 60
"""most characters of the note on how much more an answer printed"""


class ImpossibleReplyError(Exception):
    """The reply cannot answer the request; the message is a clause with the worker as its subject."""


class Conversation:
    """The requests to one worker so far, and the replies that are possible now."""

    def __init__(self) -> None:
        self.request: Any = None
        self.points = 0
        self.examples = 0
        """P of an `Evaluate`"""
        self.dtype = "float64"
        self.features = 0
        self.splits = True
        self.training = Progress([], 0, batched=False, fused=False)
        self.most_ns = 0.0
        """most nanoseconds that can have passed since the request"""
        self._batched = False
        self._last_step = 0

    def ask(self, request: messages.Message, arrays: Arrays) -> None:
        """Record a request that is about to be sent."""
        self.request = request
        last_step = 0
        if isinstance(request, messages.Prepare):
            self.dtype, self.features = request.setting["dtype"], request.setting["features"]
            self.examples = request.setting.get("examples", 0)
            self._batched = request.batch_size is not None
        elif isinstance(request, messages.Train):
            last_step = request.steps
            self.training = Progress(request.record, last_step, batched=self._batched, fused=request.fused)
        elif isinstance(request, messages.Evaluate):
            self.points = len(arrays["b"])
            last_step = request.first + self.points
        elif isinstance(request, messages.Exchange | messages.RecordGraph):
            last_step = request.step
        self._last_step = max(self._last_step, last_step)

    @property
    def itemsize(self) -> int:
        """Bytes of a number of the problem's dtype."""
        return np.dtype(self.dtype).itemsize

    @property
    def tail_room(self) -> TailRoom:
        """The shape of a training's tail."""
        return TailRoom(self.features, self.dtype)

    @property
    def limit(self) -> int:
        """Bytes of arrays that the next frame may have."""
        return _RULES[type(self.request)].limit(self)

    def possible_step(self, step: int | None) -> int | None:
        """The step that a worker reports; None where it was not asked for so many steps."""
        return step if step is not None and 0 <= step <= self._last_step else None

    def check(self, message: messages.Message, arrays: Arrays, nanoseconds: int) -> None:
        """Raise `ImpossibleReplyError` unless this can answer the last request, so many nanoseconds after it."""
        self.most_ns = SLACK * nanoseconds + SLACK_NS
        if isinstance(message, messages.Failed):
            self._check_failed(message, arrays)
            return
        rule = _RULES[type(self.request)]
        if not isinstance(message, rule.kinds):
            due = " or ".join(kind.__name__ for kind in rule.kinds)
            raise ImpossibleReplyError(f"answered {type(message).__name__} where {due or 'nothing'} was due")
        rule.check(self, message, arrays)
        if isinstance(message, messages.Loaded):
            self.splits = message.splits

    def _check_failed(self, message: messages.Failed, arrays: Arrays) -> None:
        if message.status not in messages.FAILURES:
            raise ImpossibleReplyError(
                f"reported the status {_cut(message.status)}; it may report {', '.join(messages.FAILURES)} only"
            )
        _check_text("Failed.reason", message.reason, messages.MOST_REASON)
        _check_choice("Failed.phase", message.phase, messages.PHASES)
        if message.step is not None and self.possible_step(message.step) is None:
            raise ImpossibleReplyError(f"sent Failed.step = {_cut(message.step)}: it was not asked for so many steps")
        _check_arrays(arrays, {}, self.dtype)


class Progress:
    """The parts of a training that have arrived, and the parts still due. The host knows all the steps."""

    def __init__(self, record: Collection[int], steps: int, *, batched: bool, fused: bool) -> None:
        pairs = sorted({k for k in record if 0 <= k <= steps})
        self._steps = steps
        self._weights = sorted({k for pair in pairs for k in (pair, pair + 1) if k <= steps})
        self._gradients = [] if fused else [k for k in pairs if k < steps]
        self._full = pairs if batched else []
        self._losses_seen = self._weights_seen = self._gradients_seen = self._full_seen = 0

    def check_chunk(self, chunk: messages.Chunk, arrays: Arrays, features: int, dtype: str) -> None:
        """Raise `ImpossibleReplyError` unless the chunk continues the chunks before it."""
        losses, full = (_length(arrays, name) for name in ("losses", "full_losses"))
        rows, slopes = len(chunk.weight_steps), len(chunk.gradient_steps)
        shapes: dict[str, tuple[int, ...]] = {
            "losses": (losses,),
            "w": (rows, features),
            "b": (rows,),
            "full_losses": (full,),
            "gradient_w": (slopes, features),
            "gradient_b": (slopes,),
        }
        _check_arrays(arrays, shapes, dtype)
        if not losses + rows + slopes:
            raise ImpossibleReplyError("sent a Chunk with nothing in it")
        if (
            max(rows, slopes, full) > messages.rows_at_a_time(features, np.dtype(dtype).itemsize)
            or losses > messages.CHUNK_LOSSES
        ):
            raise ImpossibleReplyError(f"sent a Chunk of {losses} losses, {rows} weights and {slopes} gradients")
        if chunk.first_loss != self._losses_seen:
            raise ImpossibleReplyError(
                f"sent Chunk.first_loss = {_cut(chunk.first_loss)} after {self._losses_seen} losses"
            )
        self._losses_seen += losses
        if self._losses_seen > self._steps + 1:
            raise ImpossibleReplyError(f"sent more than the {self._steps + 1} losses of {self._steps} steps")
        self._weights_seen = _follow("weight_steps", chunk.weight_steps, self._weights, self._weights_seen)
        self._gradients_seen = _follow("gradient_steps", chunk.gradient_steps, self._gradients, self._gradients_seen)
        self._full_seen += full
        if self._full_seen > min(self._weights_seen, len(self._full)):
            raise ImpossibleReplyError("sent more full-data losses than weights to compute them from")

    def unsent_chunk(self, tail: TailRead, c: Conversation) -> tuple[messages.Chunk, dict[str, messages.Array]] | None:
        """The results in a tail that have not arrived, as a chunk; None where there are none."""
        seen, arrays = (self._losses_seen, self._weights_seen, self._gradients_seen), tail.arrays
        if tail.first_loss != seen[0]:  # this tail's chunk has arrived
            return None
        weights = self._weights[seen[1] : seen[1] + len(arrays["b"])]
        gradients = self._gradients[seen[2] : seen[2] + len(arrays["gradient_b"])]
        chunk = messages.Chunk(tail.first_loss, weights, gradients)
        try:
            self.check_chunk(chunk, arrays, c.features, c.dtype)
        except ImpossibleReplyError:  # a plugin has overwritten the tail
            return None
        return chunk, arrays

    def check_complete(self) -> None:
        """Raise `ImpossibleReplyError` unless everything has arrived."""
        for name, seen, due in (
            ("losses", self._losses_seen, self._steps + 1),
            ("weights", self._weights_seen, len(self._weights)),
            ("gradients", self._gradients_seen, len(self._gradients)),
            ("full-data losses", self._full_seen, len(self._full)),
        ):
            if seen != due:
                raise ImpossibleReplyError(f"ended its training after {seen} of {due} {name}")


def _follow(name: str, steps: list[int], due: list[int], seen: int) -> int:
    """Count of steps seen so far. Raises `ImpossibleReplyError` unless ``steps`` are the next steps of ``due``."""
    if steps != due[seen : seen + len(steps)]:
        raise ImpossibleReplyError(f"sent Chunk.{name} = {_cut(steps)} where {_cut(due[seen : seen + 3])} were due")
    return seen + len(steps)


# --- single values --------------------------------------------------------------------------------------------


def _cut(value: object) -> str:
    """A value as text for a message, cut to 60 characters."""
    text = repr(value[:4] if isinstance(value, str | list) and len(value) > 60 else value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN fails this comparison for every range
        raise ImpossibleReplyError(f"sent {name} = {_cut(value)}; possible are {low:g} to {high:g}")


def _check_text(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise ImpossibleReplyError(f"sent {name} of {len(text)} characters; possible are {most}")


def _check_choice(name: str, value: object, choices: Collection[object]) -> None:
    if value not in choices:
        raise ImpossibleReplyError(
            f"sent {name} = {_cut(value)}, which is none of {', '.join(map(str, choices)) or 'them'}"
        )


def _check_count(name: str, items: Collection[object], most: int, least: int = 0) -> None:
    if not least <= len(items) <= most:
        raise ImpossibleReplyError(f"sent {len(items)} values as {name}; possible are {least} to {most}")


def _check_unique(name: str, items: list[str]) -> None:
    if len(set(items)) != len(items):
        raise ImpossibleReplyError(f"sent {name} in which one value stands twice")


def _check_arrays(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
    """Check that the arrays are exactly these, in these shapes and this dtype."""
    got = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    due = {name: (shape, dtype) for name, shape in shapes.items()}
    if got != due:
        wrong = next(name for name in (*due, *got) if got.get(name) != due.get(name))
        raise ImpossibleReplyError(
            f"sent the array {_cut(wrong)} as {_form(got.get(wrong))} where {_form(due.get(wrong))} was due"
        )


def _form(form: tuple[tuple[int, ...], str] | None) -> str:
    return "nothing" if form is None else f"{form[1]} of shape {form[0]}"


def _length(arrays: Arrays, name: str) -> int:
    """The length of a vector; 0 where it is missing."""
    array = arrays.get(name)
    return 0 if array is None or array.ndim != 1 else len(array)


# --- messages -------------------------------------------------------------------------------------------------


def _check_hello(c: Conversation, message: messages.Hello, arrays: Arrays) -> None:
    _check_range("Hello.pid", message.pid, 1, 1 << 31)
    _check_arrays(arrays, {}, c.dtype)


def _check_loaded(c: Conversation, message: messages.Loaded, arrays: Arrays) -> None:
    _check_text("Loaded.backend", message.backend, messages.MOST_WORD)
    _check_choice("Loaded.api_version", message.api_version, [API_VERSION])
    _check_count("Loaded.dtypes", message.dtypes, messages.MOST_LISTED, 1)
    for dtype in message.dtypes:
        _check_text("Loaded.dtypes", dtype, messages.MOST_WORD)
    if c.request.dtype is not None:
        _check_choice("the dtype asked for", c.request.dtype, message.dtypes)
    _check_import(c, "Loaded", message.versions, message.import_seconds)
    _check_arrays(arrays, {}, c.dtype)


def _check_import(c: Conversation, name: str, versions: dict[str, str], seconds: float) -> None:
    _check_count(f"{name}.versions", versions, messages.MOST_LISTED)
    for text in (*versions, *versions.values()):
        _check_text(f"{name}.versions", text, messages.MOST_WORD)
    _check_seconds(c, f"{name}.import_seconds", seconds)


def _check_seconds(c: Conversation, name: str, seconds: float) -> None:
    _check_range(name, seconds, 0.0, 1e-9 * c.most_ns)


def _check_prepared(c: Conversation, message: messages.Prepared, arrays: Arrays) -> None:
    _check_seconds(c, "Prepared.construct_seconds", message.construct_seconds)
    _check_seconds(c, "Prepared.make_tensor_seconds", message.make_tensor_seconds)
    _check_text("Prepared.digest", message.digest, messages.MOST_WORD)
    _check_arrays(arrays, {}, c.dtype)


def _check_training(c: Conversation, message: messages.Chunk | messages.Trained, arrays: Arrays) -> None:
    if isinstance(message, messages.Chunk):
        c.training.check_chunk(message, arrays, c.features, c.dtype)
        return
    _check_seconds(c, "Trained.seconds", message.seconds)
    _check_text("Trained.digest", message.digest, messages.MOST_WORD)
    _check_arrays(arrays, {"w": (c.features,), "b": ()}, c.dtype)
    c.training.check_complete()


def _training_limit(c: Conversation) -> int:
    rows = messages.rows_at_a_time(c.features, c.itemsize)
    return c.itemsize * (messages.CHUNK_LOSSES + rows * (2 * (c.features + 1) + 1))


def _evaluated_shapes(c: Conversation) -> dict[str, tuple[int, ...]]:
    points, d, fused = c.points, c.features, c.request.fused
    visits = 2 if fused else 1
    shapes: dict[str, tuple[int, ...]] = {
        "loss": (points, 2),
        "next_w": (points, visits, d),
        "next_b": (points, visits),
    }
    if not fused:
        shapes |= {"gradient_w": (points, 2, d), "gradient_b": (points, 2), "kept_w": (points, d), "kept_b": (points,)}
    return shapes


def _check_evaluated(c: Conversation, message: messages.Evaluated, arrays: Arrays) -> None:
    _check_unique("Evaluated.changed_by_reading", [*message.changed_by_reading])
    _check_arrays(arrays, _evaluated_shapes(c), c.dtype)


def _evaluated_limit(c: Conversation) -> int:
    return c.itemsize * sum(map(math.prod, _evaluated_shapes(c).values()))


def _check_exchanged(c: Conversation, _: messages.Exchanged, arrays: Arrays) -> None:
    shapes: dict[str, tuple[int, ...]] = {"loss": ()} if c.request.part in ("loss", "step") else {}
    if c.request.part != "loss":
        shapes |= {"w": (c.features,), "b": ()}
    _check_arrays(arrays, shapes, c.dtype)


def _weights_limit(c: Conversation) -> int:
    """Bytes of w (d,), b () and a loss."""
    return c.itemsize * (c.features + 2)


def _check_mutants(c: Conversation, message: messages.MutantList, arrays: Arrays) -> None:
    _check_count("MutantList.mutants", message.mutants, messages.MOST_OFFERS)
    _check_unique("MutantList.mutants", [mutant.name for mutant in message.mutants])
    for mutant in message.mutants:
        _check_count("MutantFacts.name", mutant.name, messages.MOST_WORD, 1)
        _check_text("MutantFacts.part", mutant.part, messages.MOST_WORD)
        _check_choice("MutantFacts.shows_in", mutant.shows_in, PLACES)
        _check_text("MutantFacts.meaning", mutant.meaning, messages.MOST_REASON)
        _check_count("MutantFacts.sizes", mutant.sizes, messages.MOST_LISTED, 1)
    _check_arrays(arrays, {}, c.dtype)


def _check_pinned(c: Conversation, message: messages.Pinned, arrays: Arrays) -> None:
    for cpu in message.cpus:
        _check_choice("Pinned.cpus", cpu, c.request.cpus)
    _check_count("Pinned.cpus", message.cpus, len(set(message.cpus)))
    _check_arrays(arrays, {}, c.dtype)


def _check_first_steps(c: Conversation, _: messages.FirstSteps, arrays: Arrays) -> None:
    _check_arrays(arrays, {"step_ns": (_length(arrays, "step_ns"),)}, "int64")
    times = arrays["step_ns"].tolist()
    _check_count("step_ns", times, c.request.most_steps, 1)
    _check_range("step_ns", min(times), 1, c.most_ns)
    _check_range("the sum of step_ns", sum(times), 1, c.most_ns)


def _check_phases(c: Conversation, name: str, phases: list[int], count: int) -> None:
    """Nanoseconds of the phases; a phase that is shorter than a reading of the clock has 0."""
    _check_count(name, phases, count, count)
    for nanoseconds in phases:
        _check_range(name, nanoseconds, 0, c.most_ns)
    _check_range(f"the sum of {name}", sum(phases), 0, c.most_ns)


def _first_steps_limit(c: Conversation) -> int:
    return 8 * int(c.request.most_steps)


def _check_timed(c: Conversation, message: messages.Timed, arrays: Arrays) -> None:
    cpus = os.cpu_count() or 1
    for name, least, most in (
        ("wall_ns", 1, c.most_ns),
        ("lead_ns", 0, c.most_ns),
        ("make_ns", 0, c.most_ns),
        ("span_ns", 1, c.most_ns),
        ("inside_ns", 1, c.most_ns),
        ("cpu_ns", 0, c.most_ns * cpus),
        ("switches", 0, MOST_SWITCHES),
        ("waits", 0, MOST_SWITCHES),
        ("idle_cpu_ns", 0, MOST_IDLE_NS * cpus),
    ):
        _check_range(f"Timed.{name}", getattr(message, name), least, most)
    _check_phases(c, "Timed.phases", message.phases, 3 if c.request.phased else 0)
    expected: dict[str, tuple[int, ...]] = {}
    if not c.request.phased:
        steps = c.request.steps if c.request.steps <= messages.MOST_BLOCK_STEPS else 0
        expected = {"step_ns": (steps,), "probe_ns": (messages.segments(c.request) + 1,)}
    _check_arrays({name: arrays[name] for name in expected if name in arrays}, expected, "int64")
    for name in expected:
        times = arrays[name].tolist()
        _check_range(name, min(times, default=1), 1, c.most_ns)
        _check_range(f"the sum of {name}", sum(times), 0, c.most_ns)
    computed = {name: array for name, array in arrays.items() if name not in expected}
    _check_arrays(computed, {"loss": (), "w": (c.features,), "b": ()}, c.dtype)


def _timed_limit(c: Conversation) -> int:
    if c.request.phased:
        return _weights_limit(c)
    return 8 * (
        min(int(c.request.steps), messages.MOST_BLOCK_STEPS) + messages.segments(c.request) + 1
    ) + _weights_limit(c)


def _rounds_shapes(c: Conversation) -> dict[str, tuple[int, ...]]:
    phase = c.request.phase
    shapes: dict[str, tuple[int, ...]] = {"X": (c.examples, c.features)} if phase == "make_tensor" else {}
    if phase in ("forward", "step"):
        shapes["loss"] = ()
    if phase in ("backward", "update", "step"):
        shapes |= {"w": (c.features,), "b": ()}
    return shapes


def _check_rounds(c: Conversation, _: messages.Rounds, arrays: Arrays) -> None:
    remaining = dict(arrays)
    wall = {name: remaining.pop(name) for name in ("wall_ns",) if name in remaining}
    _check_arrays(wall, {"wall_ns": (c.request.count,)}, "int64")
    times = wall["wall_ns"].tolist()
    _check_range("wall_ns", min(times, default=0), 0, c.most_ns)
    _check_range("the sum of wall_ns", sum(times), 0, c.most_ns)
    _check_arrays(remaining, _rounds_shapes(c), c.dtype)


def _rounds_limit(c: Conversation) -> int:
    return 8 * int(c.request.count) + c.itemsize * sum(map(math.prod, _rounds_shapes(c).values()))


def _check_audited(c: Conversation, message: messages.Audited, arrays: Arrays) -> None:
    _check_range("Audited.wall_ns", message.wall_ns, 1, c.most_ns)
    for name in ("pending_ns", "noise_ns", "interface_ns"):
        _check_range(f"Audited.{name}", getattr(message, name), 0, c.most_ns)
    _check_arrays(arrays, {}, c.dtype)


def _check_observed(c: Conversation, message: messages.Observed, arrays: Arrays) -> None:
    _check_count("Observed.pools", message.pools, messages.MOST_LISTED)
    for pool in message.pools:
        for key, value in pool.items():
            _check_choice("a key of Observed.pools", key, messages.POOL_KEYS)
            if key != "num_threads" and not (
                value is None or (isinstance(value, str) and len(value) <= messages.MOST_WORD)
            ):
                raise ImpossibleReplyError(f"sent {key} = {_cut(value)} in Observed.pools")
        threads = pool.get("num_threads")
        if type(threads) is not int:
            raise ImpossibleReplyError(f"sent num_threads = {_cut(threads)} in Observed.pools")
        _check_range("num_threads of Observed.pools", threads, 1, MOST_THREADS)
    _check_range("Observed.os_threads", message.os_threads, 0, MOST_THREADS)
    _check_range("Observed.cpu_per_wall", message.cpu_per_wall, 0.0, MOST_CPU_PER_WALL)
    _check_arrays(arrays, {}, c.dtype)


def _check_held(c: Conversation, message: messages.MemoryHeld, arrays: Arrays) -> None:
    _check_range("MemoryHeld.resident", message.resident, 1, messages.MOST_BYTES)
    _check_range("MemoryHeld.peak", message.peak, 1, messages.MOST_BYTES)
    _check_choice("MemoryHeld.source", message.source, ("VmHWM", "ru_maxrss"))
    _check_choice("MemoryHeld.cleared", message.cleared, (False, c.request.clear))
    _check_arrays(arrays, {}, c.dtype)


def _check_tape_size(c: Conversation, message: messages.TapeSize, arrays: Arrays) -> None:
    _check_range("TapeSize.tape_bytes", message.tape_bytes or 0, 0, messages.MOST_BYTES)
    known = message.tape_bytes is not None
    _check_choice("TapeSize.source", message.source, ("plugin", "tracemalloc") if known else ("",))
    _check_arrays(arrays, {}, c.dtype)


def check_graph(message: messages.Graphed, arrays: Arrays) -> None:
    """Raise `ImpossibleReplyError` where the nodes form no graph or their arrays do not fit."""
    nodes = message.nodes
    _check_count("Graphed.nodes", nodes, messages.MOST_NODES if message.offered else 0, message.offered)
    _check_count("the edges of Graphed.nodes", [i for node in nodes for i in node.inputs], messages.MOST_EDGES)
    due: dict[str, tuple[int, ...]] = {"totals": (len(nodes), 4)} if message.offered else {}
    for i, node in enumerate(nodes):
        _check_text("NodeFacts.operation", node.operation, messages.MOST_NAME)
        _check_choice("NodeFacts.role", node.role, get_args(Role))
        for position in node.inputs:
            _check_range("NodeFacts.inputs", position, 0, i - 1)
        _check_count("NodeFacts.inputs", node.inputs, len(set(node.inputs)))
        _check_range("NodeFacts.arrival", node.arrival or 0, 0, (1 << 31) - 1)
        due |= _node_shapes(i, node)
    if message.offered:
        _check_choice("the number of nodes with the role 'loss'", [node.role for node in nodes].count("loss"), (1,))
    for name, array in arrays.items():
        if name == "totals":
            _check_choice("the dtype of totals", array.dtype.name, ("float64",))
        _check_choice("the dtype of a node's numbers", array.dtype.name, ("float32", "float64"))
    got = {name: array.shape for name, array in arrays.items()}
    if got != due:
        wrong = next(name for name in (*due, *got) if got.get(name) != due.get(name))
        raise ImpossibleReplyError(f"sent the array {_cut(wrong)} of a graph in a shape that does not fit its nodes")


def _node_shapes(i: int, node: messages.NodeFacts) -> dict[str, tuple[int, ...]]:
    """The arrays of node number i."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in (("value", node.value), ("gradient", node.gradient)):
        if shape is not None:
            _check_count(f"NodeFacts.{name}", shape, frames.MAX_DIMENSIONS)
            for extent in shape:
                _check_range(f"NodeFacts.{name}", extent, 0, frames.MAX_REQUEST)
            size = math.prod(shape)
            _check_range(f"the size of NodeFacts.{name}", size, 0, frames.MAX_REQUEST)
            shapes[f"{name}{i}"] = (size if size <= messages.WHOLE else messages.HEAD,)
    if node.value is not None and node.gradient is not None and node.value != node.gradient:
        raise ImpossibleReplyError("sent a node of a graph whose gradient has another shape than its value")
    return shapes


def _check_graphed(_: Conversation, message: messages.Graphed, arrays: Arrays) -> None:
    check_graph(message, arrays)


def _graph_limit(_: Conversation) -> int:
    return 8 * messages.MOST_NODES * (2 * messages.WHOLE + 4)


def _check_answer_list(c: Conversation, message: messages.AnswerList, arrays: Arrays) -> None:
    _check_count("AnswerList.answers", message.answers, messages.MOST_OFFERS)
    _check_unique("AnswerList.answers", [answer.question for answer in message.answers])
    for answer in message.answers:
        _check_text("AnswerFacts.question", answer.question, messages.MOST_WORD)
        _check_text("AnswerFacts.reason", answer.reason or "", messages.MOST_REASON)
    _check_import(c, "AnswerList", message.versions, message.import_seconds)
    _check_arrays(arrays, {}, c.dtype)


def _check_answered(c: Conversation, message: messages.Answered, arrays: Arrays) -> None:
    _check_text("Answered.code and helpers", message.code + message.helpers, messages.MOST_CODE)
    _check_text("Answered.printed", message.printed, messages.MOST_CHARACTERS + DROPPED_NOTE)
    _check_count("Answered.warned", message.warned, messages.MOST_WARNINGS)
    for warning in message.warned:
        _check_text("Answered.warned", warning, messages.MOST_REASON)
    if message.raised is not None:
        _check_text("Raised.kind", message.raised.kind, messages.MOST_WORD)
        _check_text("Raised.line", message.raised.line, messages.MOST_CHARACTERS)
    _check_text("Answered.flaw", message.flaw, messages.MOST_REASON)
    _check_seconds(c, "Answered.seconds", message.seconds)
    _check_evidence(message.evidence)
    _check_arrays(arrays, {}, c.dtype)


def _check_evidence(evidence: dict[str, Any]) -> None:
    """Raise `ImpossibleReplyError` unless all values have the forms in the docstring of `Answered.evidence`."""
    count = 0
    waiting: list[tuple[Any, int]] = [(value, 0) for value in evidence.values()]
    for name in evidence:
        _check_text("a name in Answered.evidence", name, messages.MOST_REASON)
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > messages.MOST_VALUES or depth > messages.MOST_DEPTH:
            raise ImpossibleReplyError(
                f"sent Answered.evidence of more than {messages.MOST_VALUES} values, or nested deeper"
            )
        if isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif not _is_evidence(value):
            raise ImpossibleReplyError(f"sent {_cut(value)} in Answered.evidence")


def _is_evidence(value: object) -> bool:
    if isinstance(value, dict):
        text = value.get("text")
        return len(value) == 1 and isinstance(text, str) and len(text) <= messages.MOST_CHARACTERS
    if isinstance(value, str):
        return value in ("nan", "inf", "-inf")
    if isinstance(value, int):
        return abs(value) < MOST_INTEGER
    return value is None or isinstance(value, float)


def _check_nothing(c: Conversation, _: messages.Message, arrays: Arrays) -> None:
    _check_arrays(arrays, {}, c.dtype)


def _no_arrays(_: Conversation) -> int:
    return 0


class _Rule(NamedTuple):
    kinds: tuple[type[messages.Message], ...]
    check: Callable[[Conversation, Any, Arrays], None]
    limit: Callable[[Conversation], int] = _no_arrays


_RULES: dict[type, _Rule] = {
    type(None): _Rule((messages.Hello,), _check_hello),
    messages.Load: _Rule((messages.Loaded,), _check_loaded),
    messages.Prepare: _Rule((messages.Prepared,), _check_prepared),
    messages.Train: _Rule((messages.Chunk, messages.Trained), _check_training, _training_limit),
    messages.ListMutants: _Rule((messages.MutantList,), _check_mutants),
    messages.Evaluate: _Rule((messages.Evaluated,), _check_evaluated, _evaluated_limit),
    messages.Exchange: _Rule((messages.Exchanged,), _check_exchanged, _weights_limit),
    messages.Pin: _Rule((messages.Pinned,), _check_pinned),
    messages.Cold: _Rule((messages.FirstSteps,), _check_first_steps, _first_steps_limit),
    messages.Renew: _Rule((messages.Renewed,), _check_nothing),
    messages.Block: _Rule((messages.Timed,), _check_timed, _timed_limit),
    messages.TimeRounds: _Rule((messages.Rounds,), _check_rounds, _rounds_limit),
    messages.Audit: _Rule((messages.Audited,), _check_audited),
    messages.Observe: _Rule((messages.Observed,), _check_observed),
    messages.MeasureMemory: _Rule((messages.MemoryHeld,), _check_held),
    messages.MeasureTape: _Rule((messages.TapeSize,), _check_tape_size),
    messages.RecordGraph: _Rule((messages.Graphed,), _check_graphed, _graph_limit),
    messages.ListAnswers: _Rule((messages.AnswerList,), _check_answer_list),
    messages.Ask: _Rule((messages.Answered,), _check_answered),
    messages.Bye: _Rule((), _check_nothing),
}
