"""The conversation with one worker, in the terms of a run: load, prepare, train, time.

Turns frames into arrays and facts and checks them as one checks a stranger's answer. Judges nothing: that is
`verify`'s, and the reference never comes near this file.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.graphs import GraphNode, Numbers
from compare_ag.host.process import Launch, WorkerFailure, WorkerProcess
from compare_ag.records import real
from compare_ag.worker import protocol as p

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem

PROBE_SECONDS = 60.0


@dataclass
class Recording:
    """What a training pass said, in the order it arrived; complete or the prefix before a failure."""

    losses: list[p.Array] = field(default_factory=list)
    weight_steps: list[int] = field(default_factory=list)
    w: list[p.Array] = field(default_factory=list)
    b: list[p.Array] = field(default_factory=list)
    full_losses: list[p.Array] = field(default_factory=list)
    gradient_steps: list[int] = field(default_factory=list)
    gradient_w: list[p.Array] = field(default_factory=list)
    gradient_b: list[p.Array] = field(default_factory=list)
    final_w: p.Array | None = None
    final_b: p.Array | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Answers:
    """What a backend said at P points, each visited twice (V = 2) on the same tensors; m = d + 1, b last."""

    loss: p.Array
    """(P, 2)"""
    gradient: p.Array | None
    """(P, 2, m); None for the fused step"""
    following: p.Array
    """(P, r, m): the weights after one step, r = 2 for the fused step and 1 for the phases"""
    kept: p.Array | None
    """(P, m): the weight tensors after forward and backward"""
    data_kept: bool
    """X and y were unchanged afterwards"""
    changed_by_reading: tuple[p.Read, ...] = ()
    """what `to_numpy` changed; sorted"""

    @classmethod
    def read(
        cls, problem: Problem, points: int, arrays: dict[str, p.Array], message: p.Evaluated, *, fused: bool
    ) -> Answers:
        """From an `Evaluated` reply and its arrays, whose shapes are checked. Raises `WorkerFailure`."""
        d, visits = problem.features, 2 if fused else 1
        shapes: dict[str, tuple[int, ...]] = {
            "loss": (points, 2),
            "next_w": (points, visits, d),
            "next_b": (points, visits),
        }
        if not fused:
            shapes |= {
                "gradient_w": (points, 2, d),
                "gradient_b": (points, 2),
                "kept_w": (points, d),
                "kept_b": (points,),
            }
        _require(arrays, shapes, problem.dtype)

        def joined(name: str) -> p.Array:
            return np.concatenate([arrays[f"{name}_w"], arrays[f"{name}_b"][..., None]], axis=-1)

        gradient, kept = (None, None) if fused else (joined("gradient"), joined("kept"))
        changed = tuple(sorted(set(message.changed_by_reading)))
        return cls(arrays["loss"], gradient, joined("next"), kept, message.data_kept, changed)

    def changed(self, weights: p.Array) -> p.Array:
        """The points (k,), of those at ``weights`` (P, m), at which forward or backward wrote into the weights."""
        if self.kept is None or "the weights" in self.changed_by_reading:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero((self.kept != weights).any(axis=1))

    @property
    def data_written(self) -> bool:
        """Whether a method other than `to_numpy` wrote into X or y."""
        return not self.data_kept and "X or y" not in self.changed_by_reading


def _require(arrays: dict[str, p.Array], shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    """Raise `WorkerFailure` unless exactly these arrays came, in these shapes."""
    got = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    if got != {name: (shape, dtype) for name, shape in shapes.items()}:
        raise WorkerFailure("malformed", "sent arrays that do not fit the request")


@dataclass(frozen=True)
class ProbeResult:
    """What really loading a plugin showed."""

    ok: bool
    status: str
    reason: str
    facts: dict[str, Any]
    """api_version, dtypes, splits, versions, import_seconds; empty where loading failed"""


class Session:
    """One worker with one backend. Every method raises `WorkerFailure` where the worker fails."""

    def __init__(self, offer: Offer, process: WorkerProcess) -> None:
        self.offer = offer
        self.process = process
        self.process.expect(p.Hello)

    def load(self, dtype: str | None = None, mutation: p.Mutation | None = None) -> p.Loaded:
        """Import the plugin in the worker and compare it with the contract; make ``mutation`` to its class before."""
        self.begin_load(dtype, mutation)
        return self.loaded()

    def begin_load(self, dtype: str | None = None, mutation: p.Mutation | None = None) -> None:
        """Ask for `load` without waiting, so that several workers import at the same time."""
        self.process.send(p.Load(self.offer.name, self.offer.module, dtype, mutation))

    def loaded(self) -> p.Loaded:
        """Wait for the answer to `begin_load`."""
        message, _ = self.process.expect(p.Loaded)
        loaded: p.Loaded = message
        return loaded

    def prepare(self, problem: Problem) -> p.Prepared:
        """Build the backend and send it the setting and the data, which it must have received bit for bit."""
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
        message, _ = self.process.ask(p.Prepare(setting, problem.batch_size), p.Prepared, **arrays)
        prepared: p.Prepared = message
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
    ) -> p.Trained:
        """Train from the start; ``recording`` fills as results arrive, so that a failure leaves the prefix.

        steps: fewer than the problem's, for a second look at its beginning.
        """
        self.process.send(p.Train(problem.steps if steps is None else steps, problem.learning_rate, record, fused))
        while True:
            message, arrays = self.process.receive()
            if isinstance(message, p.Chunk):
                self._add(recording, message, arrays)
                continue
            if not isinstance(message, p.Trained):
                raise WorkerFailure("malformed", f"answered {type(message).__name__} while training")
            recording.final_w, recording.final_b = arrays["w"], arrays["b"]
            recording.seconds = message.seconds
            if message.digest != self._digest:
                raise WorkerFailure(
                    "malformed", "wrote into the arrays it was given: make_tensor must copy", "make_tensor", None
                )
            return message

    @staticmethod
    def _add(recording: Recording, message: p.Chunk, arrays: dict[str, p.Array]) -> None:
        expected = {"losses", "w", "b", "full_losses", "gradient_w", "gradient_b"}
        if set(arrays) != expected or message.first_loss != sum(map(len, recording.losses)):
            raise WorkerFailure("malformed", "sent a chunk of results that does not follow the one before")
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
        w: p.Array,
        b: p.Array,
        data: tuple[p.Array, p.Array] | None = None,
        *,
        fused: bool = False,
    ) -> Answers:
        """Loss, gradient and one step at the points w (P, d), b (P,); on ``data`` = X, y instead of the problem's."""
        request = p.Evaluate(problem.learning_rate, fused)
        extra = {} if data is None else {"X": data[0], "y": data[1]}
        message, arrays = self.process.ask(request, p.Evaluated, w=w, b=b, **extra)
        return Answers.read(problem, len(b), arrays, message, fused=fused)

    def exchange(self, problem: Problem, part: str, step: int, **arrays: p.Array) -> dict[str, p.Array]:
        """One part of a training step; arrays w, b, and gw, gb for an update. Returns loss, w and b, or all."""
        _, found = self.process.ask(p.Exchange(part, step, problem.learning_rate), p.Exchanged, **arrays)
        shapes: dict[str, tuple[int, ...]] = {"loss": ()} if part in ("loss", "step") else {}
        if part != "loss":
            shapes |= {"w": (problem.features,), "b": ()}
        _require(found, shapes, problem.dtype)
        return found

    def cold(
        self, problem: Problem, most_steps: int, nanoseconds: int, *, phased: bool = False
    ) -> tuple[p.Array, list[int]]:
        """Time this process's first steps: nanoseconds of each (T,), and the phases of the first where asked for."""
        request = p.Cold(problem.learning_rate, most_steps, nanoseconds, phased)
        message, arrays = self.process.ask(request, p.FirstSteps)
        step_ns = arrays.get("step_ns")
        if step_ns is None or step_ns.dtype != np.int64 or step_ns.ndim != 1 or not len(step_ns):
            raise WorkerFailure("malformed", "sent times that do not fit the request")
        phases: list[int] = message.phases
        return step_ns, phases

    def renew(self, padding: list[int]) -> None:
        """Have the data tensors made anew; ``padding``: bytes of blocks that move what is allocated from then on."""
        self.process.ask(p.Renew(padding), p.Renewed)

    def block(self, problem: Problem, w: p.Array, b: p.Array, steps: int, lead_in: int, kind: str = "whole") -> p.Timed:
        """Time a block of steps from the weights (w, b)."""
        message, _ = self.process.ask(p.Block(steps, lead_in, problem.learning_rate, kind), p.Timed, w=w, b=b)
        timed: p.Timed = message
        return timed

    def pin(self, cpus: list[int]) -> list[int]:
        """Move the worker to these CPUs; [] where the system cannot."""
        message, _ = self.process.ask(p.Pin(cpus), p.Pinned)
        pinned: list[int] = message.cpus
        return pinned

    def hold(self, *, clear: bool = False) -> p.Held:
        """The memory that the worker holds; ``clear``: and let its peak start anew."""
        message, _ = self.process.ask(p.Hold(clear), p.Held)
        held: p.Held = message
        return held

    def tape_size(self, w: p.Array, b: p.Array) -> p.TapeSize:
        """What the tape of one forward at these weights keeps."""
        message, _ = self.process.ask(p.MeasureTape(), p.TapeSize, w=w, b=b)
        size: p.TapeSize = message
        return size

    def graph(self, problem: Problem, step: int, w: p.Array, b: p.Array) -> list[GraphNode] | None:
        """The graph that the backend records at these weights on the batch of ``step``; None where it offers none."""
        if not 0 <= step <= problem.steps:
            raise ValueError(f"step {step} of a training of {problem.steps}")
        message, arrays = self.process.ask(p.RecordGraph(step), p.Graphed, w=w, b=b)
        return graph_nodes(message, arrays) if message.offered else None

    def observe(self) -> p.Observed:
        """What the worker sees of itself."""
        message, _ = self.process.ask(p.Observe(), p.Observed)
        observed: p.Observed = message
        return observed


def graph_nodes(message: p.Graphed, arrays: dict[str, p.Array]) -> list[GraphNode]:
    """The nodes of a `Graphed` reply. Raises `WorkerFailure` where they are no graph or their arrays do not fit."""
    totals = arrays.get("totals")
    if len(message.nodes) > p.MOST_NODES or totals is None or totals.shape != (len(message.nodes), 4):
        raise WorkerFailure("malformed", "sent a graph that does not fit the request", "graph")
    nodes = []
    for i, node in enumerate(message.nodes):
        if any(not 0 <= one < i for one in node.inputs) or len(node.operation) > p.MOST_NAME:
            raise WorkerFailure("malformed", "sent a graph whose nodes are not in order", "graph")
        found: list[Numbers | None] = []
        for name, shape, (norm, total) in (
            ("value", node.value, totals[i, :2]),
            ("gradient", node.gradient, totals[i, 2:]),
        ):
            array = arrays.get(f"{name}{i}")
            size = None if shape is None else math.prod(shape)
            expected = None if size is None else (size if size <= p.WHOLE else p.HEAD,)
            if (None if array is None else array.shape) != expected:
                raise WorkerFailure("malformed", "sent a graph whose numbers do not fit its shapes", "graph")
            found.append(
                None
                if array is None or shape is None
                else Numbers(
                    shape=shape,
                    dtype=array.dtype.name,
                    values=[real(one) for one in array.tolist()],
                    norm=real(norm),
                    total=real(total),
                )
            )
        nodes.append(
            GraphNode(
                operation=node.operation,
                role=node.role,
                inputs=node.inputs,
                arrival=node.arrival,
                value=found[0],
                gradient=found[1],
            )
        )
    return nodes


def probe(offer: Offer, log_folder: Path | None = None) -> ProbeResult:
    """Load a plugin in a worker and say what happened; nothing is trained."""
    with tempfile.TemporaryDirectory(prefix="compare-ag-probe-") as fallback:
        launch = Launch(f"{offer.name}.probe", log_folder or Path(fallback), 1, 0, PROBE_SECONDS)
        with WorkerProcess(launch) as process:
            try:
                loaded = Session(offer, process).load()
            except WorkerFailure as failure:
                return ProbeResult(False, failure.status, failure.reason, {})
            process.finish()
    facts = {
        "api_version": loaded.api_version,
        "dtypes": loaded.dtypes,
        "splits": loaded.splits,
        "versions": loaded.versions,
        "import_seconds": loaded.import_seconds,
    }
    return ProbeResult(True, "available", "", facts)


def check_digest(problem: Problem, prepared: p.Prepared) -> None:
    """Compare what the worker received with what the problem holds. Raises `WorkerFailure`."""
    from compare_ag.problem.core import digest_arrays

    if prepared.digest != digest_arrays(problem.X, problem.y, problem.w0, problem.b0):
        raise WorkerFailure(
            "malformed", "the data changed while the backend was prepared: make_tensor must copy", "prepare"
        )


def concatenate(chunks: list[p.Array], dtype: str, tail: tuple[int, ...] = ()) -> p.Array:
    """Join chunks along the first axis; an empty list gives an empty array of that dtype."""
    return np.concatenate(chunks) if chunks else np.empty((0, *tail), dtype=dtype)
