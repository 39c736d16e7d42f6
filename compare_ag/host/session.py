"""The conversation with one worker, in the terms of a run: load, prepare, train, time.

Turns frames into arrays and facts. `host.replies` has checked that they fit the request; `verify` judges their numbers
afterwards. This module has no access to the reference.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.failures import ProtocolFailure, WorkerFailure
from compare_ag.host.process import EXIT_GRACE_SECONDS, WorkerProcess
from compare_ag.problem.core import digest_arrays
from compare_ag.records import real
from compare_ag.records.graphs import GraphNode, Numbers
from compare_ag.worker import messages

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem


@dataclass
class Recording:
    """The results of a training pass in the order of arrival; complete, or the prefix before a failure."""

    losses: list[messages.Array] = field(default_factory=list)
    weight_steps: list[int] = field(default_factory=list)
    w: list[messages.Array] = field(default_factory=list)
    b: list[messages.Array] = field(default_factory=list)
    full_losses: list[messages.Array] = field(default_factory=list)
    gradient_steps: list[int] = field(default_factory=list)
    gradient_w: list[messages.Array] = field(default_factory=list)
    gradient_b: list[messages.Array] = field(default_factory=list)
    final_w: messages.Array | None = None
    final_b: messages.Array | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """A backend's results at P points, each visited twice (V = 2) on the same tensors; m as in `Problem.layout`."""

    loss: messages.Array
    """(P, 2)"""
    gradient: messages.Array | None
    """(P, 2, m); None for the fused step"""
    following: messages.Array
    """(P, r, m): the weights after one step, r = 2 for the fused step and 1 for the phases"""
    kept: messages.Array | None
    """(P, m): the weight tensors after forward and backward"""
    data_kept: bool
    """X and y were unchanged afterwards"""
    changed_by_reading: tuple[messages.Read, ...] = ()
    """the arrays that `to_numpy` changed; sorted"""

    @classmethod
    def empty(cls, points: int, weights: int, dtype: str, *, fused: bool) -> Evaluation:
        """Arrays for the results at so many points of so many weights, m."""
        visits = 2 if fused else 1
        return cls(
            np.empty((points, 2), dtype),
            None if fused else np.empty((points, 2, weights), dtype),
            np.empty((points, visits, weights), dtype),
            None if fused else np.empty((points, weights), dtype),
            data_kept=True,
        )

    def fill(self, rows: slice, arrays: dict[str, messages.Array]) -> None:
        """Copy the arrays of an `Evaluated` reply to these points."""
        self.loss[rows] = arrays["loss"]
        for name, joined in (("gradient", self.gradient), ("next", self.following), ("kept", self.kept)):
            if joined is not None:
                joined[rows, ..., :-1] = arrays[f"{name}_w"]
                joined[rows, ..., -1] = arrays[f"{name}_b"]

    def changed_points(self, weights: messages.Array) -> messages.Array:
        """The points (k,), of the points ``weights`` (P, m), at which forward or backward wrote into the weights."""
        if self.kept is None or "the weights" in self.changed_by_reading:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero((self.kept != weights).any(axis=1))

    @property
    def data_written(self) -> bool:
        """Whether a method other than `to_numpy` wrote into X or y."""
        return not self.data_kept and "X or y" not in self.changed_by_reading


@dataclass(frozen=True)
class TimedBlock:
    """A block as its worker timed it, and how long the host waited for it."""

    timed: messages.Timed
    host_ns: int
    """from request to reply, by the host's clock"""
    steps: int
    lead_in: int
    step_ns: messages.Array
    """(k,): each step; empty for a phased block, and for a block of very many steps"""
    probe_ns: messages.Array
    """(segments + 1,): the CPU's speed before each segment and after the last, see `clock.probe`; empty likewise"""
    segment: int = 0
    """steps in a segment; 0: all"""


class Session:
    """One worker with one backend. Every method raises `WorkerFailure` where the worker fails.

    Use as a context manager: leaving it ends the worker. See `host.crew` for how to get one.
    """

    def __init__(self, offer: Offer | None, process: WorkerProcess) -> None:
        self._offer = offer
        self.process = process

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def offer(self) -> Offer:
        """The backend; there is none where the worker only lists a plugin's offers."""
        assert self._offer is not None
        return self._offer

    def close(self) -> None:
        """End the worker and everything that it started. Idempotent."""
        self.process.close()

    def finish(self, grace_seconds: float = EXIT_GRACE_SECONDS) -> float | None:
        """End a worker that did its work; see `WorkerProcess.finish`."""
        return self.process.finish(grace_seconds)

    def load(self, dtype: str | None = None, mutation: messages.Mutation | None = None) -> messages.Loaded:
        """Import the plugin in the worker and compare it with the contract; apply ``mutation`` to its class before."""
        self.begin_load(dtype, mutation)
        return self.end_load()

    def begin_load(
        self, dtype: str | None = None, mutation: messages.Mutation | None = None, before: messages.Ahead | None = None
    ) -> None:
        """Ask for `load` without waiting, so that several workers import at the same time; see `messages.Load`."""
        self.process.send(messages.Load(self.offer.name, self.offer.module, dtype, mutation, before))

    def end_load(self) -> messages.Loaded:
        """Wait for the reply to `begin_load`."""
        self.process.begin_waiting()
        message, _ = self.process.expect(messages.Loaded)
        loaded: messages.Loaded = message
        return loaded

    def prepare(self, problem: Problem) -> messages.Prepared:
        """Build the backend, send it the setting and the data, and check that the data have arrived bit for bit."""
        setting = {
            "examples": problem.examples,
            "features": problem.features,
            "dtype": problem.dtype,
            "device": "cpu",
            "threads": problem.threads,
            "l2": problem.l2,
            "loss": problem.loss,
            "model": "logistic",
        }
        arrays = {"X": problem.X, "y": problem.y, "w0": problem.w0, "b0": problem.b0, "order": problem.epoch_order()}
        message, _ = self.process.ask(messages.Prepare(setting, problem.batch_size), messages.Prepared, **arrays)
        prepared: messages.Prepared = message
        if prepared.digest != digest_arrays(problem.X, problem.y, problem.w0, problem.b0):
            reason = "the data changed while the backend was prepared: make_tensor must copy"
            raise WorkerFailure("malformed", reason, "prepare")
        self._digest = prepared.digest
        return prepared

    def train(
        self,
        problem: Problem,
        record: list[int],
        recording: Recording,
        *,
        fused: bool = False,
        steps: int | None = None,
    ) -> messages.Trained:
        """Train from the start; ``recording`` is filled as results arrive, so that a failure leaves the prefix.

        steps: fewer than the problem's, to repeat only the beginning.
        """
        self.process.send(
            messages.Train(problem.steps if steps is None else steps, problem.learning_rate, record, fused)
        )
        while True:
            try:
                message, arrays = self.process.receive()
            except ProtocolFailure:
                raise
            except WorkerFailure:
                if (unsent := self.process.unsent()) is not None:
                    self._add(recording, *unsent)
                raise
            if isinstance(message, messages.Chunk):
                self._add(recording, message, arrays)
                continue
            trained: messages.Trained = message
            recording.final_w, recording.final_b = arrays["w"], arrays["b"]
            recording.seconds = trained.seconds
            if trained.digest != self._digest:
                raise WorkerFailure(
                    "malformed", "wrote into the arrays it was given: make_tensor must copy", "make_tensor", None
                )
            return trained

    @staticmethod
    def _add(recording: Recording, message: messages.Chunk, arrays: dict[str, messages.Array]) -> None:
        recording.losses.append(arrays["losses"])
        recording.weight_steps.extend(message.weight_steps)
        recording.w.append(arrays["w"])
        recording.b.append(arrays["b"])
        recording.full_losses.append(arrays["full_losses"])
        recording.gradient_steps.extend(message.gradient_steps)
        recording.gradient_w.append(arrays["gradient_w"])
        recording.gradient_b.append(arrays["gradient_b"])

    def evaluate(
        self,
        problem: Problem,
        w: messages.Array,
        b: messages.Array,
        data: tuple[messages.Array, messages.Array] | None = None,
        *,
        fused: bool = False,
    ) -> Evaluation:
        """Loss, gradient and one step at the points w (P, d), b (P,); on ``data`` = X, y instead of the problem's.

        Many points of wide data are requested in parts, so that the size of a frame does not grow with their number.
        """
        extra = {} if data is None else {"X": data[0], "y": data[1]}
        answers = Evaluation.empty(len(b), problem.layout.size, problem.dtype, fused=fused)
        at_a_time = messages.points_at_a_time(problem.features, np.dtype(problem.dtype).itemsize)
        for first in range(0, len(b), at_a_time):
            rows = slice(first, first + at_a_time)
            request = messages.Evaluate(problem.learning_rate, fused, first)
            message, arrays = self.process.ask(request, messages.Evaluated, w=w[rows], b=b[rows], **extra)
            answers.fill(rows, arrays)
            answers = replace(
                answers,
                data_kept=answers.data_kept and message.data_kept,
                changed_by_reading=tuple(sorted({*answers.changed_by_reading, *message.changed_by_reading})),
            )
        return answers

    def exchange(self, problem: Problem, part: str, step: int, **arrays: messages.Array) -> dict[str, messages.Array]:
        """A part of a training step; arrays w, b, and gw, gb for an update. Returns loss, w and b, or all."""
        _, results = self.process.ask(
            messages.Exchange(part, step, problem.learning_rate), messages.Exchanged, **arrays
        )
        return results

    def cold(self, problem: Problem, most_steps: int, nanoseconds: int) -> messages.Array:
        """Time this process's first steps: nanoseconds of each (T,)."""
        request = messages.Cold(problem.learning_rate, most_steps, nanoseconds)
        _, arrays = self.process.ask(request, messages.FirstSteps)
        return arrays["step_ns"]

    def renew(self, padding: list[int]) -> None:
        """Have the data tensors made anew; ``padding``: bytes of blocks that shift all later allocations."""
        self.process.ask(messages.Renew(padding), messages.Renewed)

    def block(
        self,
        problem: Problem,
        w: messages.Array,
        b: messages.Array,
        steps: int,
        lead_in: int,
        *,
        phased: bool = False,
        depth: int = 0,
        segment: int = 0,
    ) -> tuple[TimedBlock, dict[str, messages.Array]]:
        """Time a block of steps from the weights (w, b); return its results too: loss (), w (d,), b ()."""
        request = messages.Block(steps, lead_in, problem.learning_rate, phased, depth, segment)
        self.process.look_between_blocks()
        asked = time.monotonic_ns()
        message, arrays = self.process.ask(request, messages.Timed, w=w, b=b)
        host_ns = time.monotonic_ns() - asked
        step_ns, probe_ns = (arrays.pop(name, np.empty(0, dtype=np.int64)) for name in ("step_ns", "probe_ns"))
        return TimedBlock(message, host_ns, steps, lead_in, step_ns, probe_ns, segment), arrays

    def rounds(self, problem: Problem, phase: str, count: int) -> dict[str, messages.Array]:
        """Time rounds of one phase: wall_ns (count,) and the results of the last round; see `messages.Rounds`."""
        _, arrays = self.process.ask(messages.TimeRounds(phase, count, problem.learning_rate), messages.Rounds)
        return arrays

    def audit(
        self, problem: Problem, w: messages.Array, b: messages.Array, steps: int, lead_in: int
    ) -> messages.Audited:
        """The work left over after a block of steps from the weights (w, b)."""
        message, _ = self.process.ask(messages.Audit(steps, lead_in, problem.learning_rate), messages.Audited, w=w, b=b)
        audited: messages.Audited = message
        return audited

    def pin(self, cpus: list[int]) -> list[int]:
        """Move the worker to these CPUs; [] where the system cannot."""
        message, _ = self.process.ask(messages.Pin(cpus), messages.Pinned)
        pinned: list[int] = message.cpus
        return pinned

    def hold(self, *, clear: bool = False) -> messages.MemoryHeld:
        """The memory that the worker holds; ``clear``: also reset its peak."""
        message, _ = self.process.ask(messages.MeasureMemory(clear), messages.MemoryHeld)
        reply: messages.MemoryHeld = message
        return reply

    def tape_size(self, w: messages.Array, b: messages.Array) -> messages.TapeSize:
        """The memory that the tape of one forward at these weights keeps."""
        message, _ = self.process.ask(messages.MeasureTape(), messages.TapeSize, w=w, b=b)
        size: messages.TapeSize = message
        return size

    def graph(self, problem: Problem, step: int, w: messages.Array, b: messages.Array) -> list[GraphNode] | None:
        """The graph that the backend records at these weights on the batch of ``step``; None where it offers none."""
        if not 0 <= step <= problem.steps:
            raise ValueError(f"step {step} of a training of {problem.steps}")
        message, arrays = self.process.ask(messages.RecordGraph(step), messages.Graphed, w=w, b=b)
        return graph_nodes(message, arrays) if message.offered else None

    def list_mutants(self, module: str) -> list[messages.MutantFacts]:
        """The mutants that a plugin's module offers."""
        message, _ = self.process.ask(messages.ListMutants(module), messages.MutantList)
        facts: list[messages.MutantFacts] = message.mutants
        return facts

    def list_answers(self) -> messages.AnswerList:
        """The questions of the lab that the backend's plugin answers."""
        message, _ = self.process.ask(messages.ListAnswers(self.offer.module), messages.AnswerList)
        listed: messages.AnswerList = message
        return listed

    def answer(self, question: str) -> messages.Answered:
        """The outcome of the plugin's answer to one question of the lab."""
        message, _ = self.process.ask(messages.Ask(question), messages.Answered)
        answered: messages.Answered = message
        return answered

    def observe(self) -> messages.Observed:
        """The worker's observations of its own process."""
        message, _ = self.process.ask(messages.Observe(), messages.Observed)
        observed: messages.Observed = message
        return observed


def graph_nodes(message: messages.Graphed, arrays: dict[str, messages.Array]) -> list[GraphNode]:
    """The nodes of a `Graphed` reply that `replies.check_graph` has accepted."""
    totals = arrays["totals"]

    def numbers(name: str, shape: list[int] | None, norm: float, total: float) -> Numbers | None:
        if shape is None:
            return None
        array = arrays[name]
        values = [real(value) for value in array.tolist()]
        return Numbers(shape=shape, dtype=array.dtype.name, values=values, norm=real(norm), total=real(total))

    return [
        GraphNode(
            operation=node.operation,
            role=node.role,
            inputs=node.inputs,
            arrival=node.arrival,
            value=numbers(f"value{i}", node.value, *totals[i, :2]),
            gradient=numbers(f"gradient{i}", node.gradient, *totals[i, 2:]),
        )
        for i, node in enumerate(message.nodes)
    ]


def concatenate(chunks: list[messages.Array], dtype: str, tail: tuple[int, ...] = ()) -> messages.Array:
    """Join chunks along the first axis; an empty list gives an empty array of that dtype."""
    return np.concatenate(chunks) if chunks else np.empty((0, *tail), dtype=dtype)
