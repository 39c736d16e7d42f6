"""The conversation with one worker, in the terms of a run: load, prepare, train, time.

Turns frames into arrays and facts and checks them as one checks a stranger's answer. Judges nothing: that is
`verify`'s, and the reference never comes near this file.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.host.process import Launch, WorkerFailure, WorkerProcess
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
    final_w: p.Array | None = None
    final_b: p.Array | None = None
    seconds: float = 0.0


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

    def load(self, dtype: str | None = None) -> p.Loaded:
        """Import the plugin in the worker and compare it with the contract."""
        message, _ = self.process.ask(p.Load(self.offer.name, self.offer.module, dtype), p.Loaded)
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

    def train(self, problem: Problem, record: list[int], recording: Recording, *, fused: bool = False) -> p.Trained:
        """Train from the start; ``recording`` fills as results arrive, so that a failure leaves the prefix."""
        self.process.send(p.Train(problem.steps, problem.learning_rate, record, fused))
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
        expected = {"losses", "w", "b", "full_losses"}
        if set(arrays) != expected or message.first_loss != sum(map(len, recording.losses)):
            raise WorkerFailure("malformed", "sent a chunk of results that does not follow the one before")
        recording.losses.append(arrays["losses"])
        recording.weight_steps.extend(message.weight_steps)
        recording.w.append(arrays["w"])
        recording.b.append(arrays["b"])
        recording.full_losses.append(arrays["full_losses"])

    def cold(self, problem: Problem) -> p.FirstStep:
        """Time the first step this process makes."""
        message, _ = self.process.ask(p.Cold(problem.learning_rate), p.FirstStep)
        first: p.FirstStep = message
        return first

    def block(
        self, problem: Problem, w: p.Array, b: p.Array, steps: int, lead_in: int, *, phased: bool = False
    ) -> p.Timed:
        """Time a burst of steps from the weights (w, b)."""
        request = p.Block(steps, lead_in, problem.learning_rate, phased)
        message, _ = self.process.ask(request, p.Timed, w=w, b=b)
        timed: p.Timed = message
        return timed

    def pin(self, cpus: list[int]) -> list[int]:
        """Move the worker to these CPUs; [] where the system cannot."""
        message, _ = self.process.ask(p.Pin(cpus), p.Pinned)
        pinned: list[int] = message.cpus
        return pinned

    def observe(self) -> p.Observed:
        """What the worker sees of itself."""
        message, _ = self.process.ask(p.Observe(), p.Observed)
        observed: p.Observed = message
        return observed


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
    from compare_ag.worker.training import digest_arrays

    if prepared.digest != digest_arrays(problem.X, problem.y, problem.w0, problem.b0):
        raise WorkerFailure(
            "malformed", "the data changed while the backend was prepared: make_tensor must copy", "prepare"
        )


def concatenate(chunks: list[p.Array], dtype: str, tail: tuple[int, ...] = ()) -> p.Array:
    """Join chunks along the first axis; an empty list gives an empty array of that dtype."""
    return np.concatenate(chunks) if chunks else np.empty((0, *tail), dtype=dtype)
