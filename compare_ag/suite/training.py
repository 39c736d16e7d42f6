"""The correctness pass: every backend trains in a worker of its own, as many at a time as there are CPUs for.

Only the pass as a whole is timed, so workers may share the machine. Each backend trains, answers at the host's points,
repeats its first steps, trains again through its own `step` if it has one, and is asked for its graph. Its numbers are
collected in a `Training` and judged elsewhere (`judge`): this module knows no reference.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.crew import in_parallel, open_session, workers_at_a_time
from compare_ag.host.failures import ProtocolFailure, WorkerFailure, host_fault
from compare_ag.host.launch import Launch
from compare_ag.host.process import WorkerProcess
from compare_ag.host.session import Evaluation, Recording, Session
from compare_ag.records import file_stem
from compare_ag.suite.observer import Observer

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.records.graphs import GraphNode
    from compare_ag.verify.probes import Probes
    from compare_ag.worker.messages import Loaded, Mutation, Observed

REPEATED_STEPS = 1000
"""steps of the second run that shows whether the first one is repeated bit by bit"""


@dataclass
class Training:
    """The numbers that one backend sent, or its failure with those before it."""

    offer: Offer
    hash_seed: int
    recording: Recording = field(default_factory=Recording)
    fused: Recording | None = None
    """the second pass, through the backend's own `step`, where it overrides it"""
    repeated: Recording | None = None
    """the first `REPEATED_STEPS` steps once more"""
    probes: Probes | None = None
    """the points at which it was asked; None where there was no reference to choose them by"""
    answers: list[Evaluation] = field(default_factory=list)
    """at the points of each route, in the order of `Probes.routes`"""
    fused_answers: list[Evaluation] = field(default_factory=list)
    """the same through the backend's own `step`"""
    loaded: Loaded | None = None
    observed: Observed | None = None
    graph: list[GraphNode] | None = None
    """of its loss at the start of the training; None where it offers no graph, or was not asked"""
    failure: WorkerFailure | None = None
    logs: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Conditions:
    """What all workers of a run share."""

    problem: Problem
    recorded_steps: list[int]
    """the k at which weights are recorded as pairs (k, k+1)"""
    log_folder: Path
    timeout: float
    hash_seed: int
    cancel: threading.Event
    probes: Callable[[int], Probes | None] = lambda _: None
    """gives the points to ask at, for a seed; waits for the reference, on which they depend"""
    mutations: Mapping[str, Mutation] = field(default_factory=dict)
    """mistakes to plant in some backends, by the name they run under"""
    graphs: bool = False
    """whether to ask for the graph of the loss too"""
    memory_limit: int | None = None
    """bytes of resident memory of each worker with all that it starts; None: a share of what is free"""
    shares: int = 0
    """number of such shares; see `Launch`"""
    address_space: int | None = None
    """bytes of each process; None: no limit"""
    caches: Path | None = None
    """where the backends' frameworks keep compiled code; see `host.compile_cache`"""

    def launch(self, name: str, stage: str) -> Launch:
        """How to start a worker for this backend and stage."""
        label = f"{file_stem(name)}.{stage}"
        part = "timing" if stage.startswith("time") else "training"
        cache = None if self.caches is None else self.caches / part / file_stem(name)
        return Launch(
            label,
            self.log_folder,
            self.problem.threads,
            self.hash_seed,
            self.timeout,
            memory_limit=self.memory_limit,
            shares=self.shares,
            address_space=self.address_space,
            cache=cache,
        )


class TrainingPass:
    """Trains all offers; ``tick`` is called while they train, so that the caller can use what is in `finished`."""

    def __init__(
        self, offers: dict[str, Offer], conditions: Conditions, observer: Observer, tick: Callable[[], None]
    ) -> None:
        self.finished: dict[str, Training] = {}
        self._tick = tick
        self._offers = offers
        self._conditions = conditions
        self._observer = observer
        self._live: dict[str, WorkerProcess] = {}
        self._stages: dict[str, tuple[str, int]] = {}
        """of each live worker: the stage of its training, and the number of its steps"""
        self._recordings: dict[str, Recording] = {}
        self._reported_chunks: dict[str, int] = {}
        """number of chunks of losses that the observer has received"""
        self._announced: set[str] = set()
        """backends whose end the observer has received"""

    def run(self) -> None:
        """Train every backend into `finished`. Whatever interrupts it ends the workers and is raised again."""
        in_parallel(
            self._offers,
            self._train,
            self.finished,
            cancel=self._conditions.cancel,
            at_a_time=workers_at_a_time(self._conditions.problem.threads),
            tick=lambda _: self._report(),
        )

    def _report(self) -> None:
        """Report the progress of all backends to the observer."""
        for name, process in list(self._live.items()):
            phase, step = process.position()
            stage, total = self._stages[name]
            self._observer.progress(name, stage or phase, step or 0, total)
        for name in self.finished.keys() - self._announced:
            self._announced.add(name)
            self._observer.progress(name, "trained", 1, 1)
        self._report_losses()
        self._tick()

    def _report_losses(self) -> None:
        """Report the losses that have arrived; the workers' threads append while this reads."""
        for name, recording in list(self._recordings.items()):
            for chunk in recording.losses[self._reported_chunks.get(name, 0) :]:
                self._reported_chunks[name] = self._reported_chunks.get(name, 0) + 1
                self._observer.losses(name, chunk)

    def _train(self, name: str) -> Training:
        conditions, offer = self._conditions, self._offers[name]
        training = Training(offer, conditions.hash_seed)
        launch = conditions.launch(name, "train")
        try:
            session = open_session(launch, offer, conditions.cancel)
        except WorkerFailure as failure:
            training.failure = failure
            return training
        with session:
            self._stages[name] = ("", 0)
            self._recordings[name] = training.recording
            self._live[name] = session.process
            try:
                self._converse(name, session, training)
                if self._record_graph(session, training):
                    session.finish()
            except WorkerFailure as failure:
                training.failure = failure
            except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the run
                training.failure = host_fault(error, launch)
            finally:
                del self._live[name]
        training.logs = session.process.log_paths
        training.warnings += session.process.warnings
        return training

    def _converse(self, name: str, session: Session, training: Training) -> None:
        problem, recorded_steps = self._conditions.problem, self._conditions.recorded_steps
        training.loaded = session.load(problem.dtype, self._conditions.mutations.get(name))
        session.prepare(problem)
        self._stages[name] = ("train", problem.steps)
        session.train(problem, recorded_steps, training.recording)
        training.observed = session.observe()
        self._stages[name] = ("points", 0)
        self._ask_at_points(session, training)
        training.repeated = Recording()
        steps = min(problem.steps, REPEATED_STEPS)
        self._stages[name] = ("repeat", steps)
        session.train(problem, [k for k in recorded_steps if k < steps], training.repeated, steps=steps)
        if training.loaded.overrides_step:
            training.fused = Recording()
            self._stages[name] = ("fused", problem.steps)
            session.train(problem, recorded_steps, training.fused, fused=True)

    def _record_graph(self, session: Session, training: Training) -> bool:
        """Ask for the graph, at the end: a failure is a warning beside numbers that are complete. Return False for it.

        A worker that breaks the protocol fails as a whole: its numbers came through the same channel.
        """
        problem = self._conditions.problem
        if self._conditions.graphs:
            try:
                training.graph = session.graph(problem, 0, problem.w0, problem.b0)
            except ProtocolFailure:
                raise
            except WorkerFailure as failure:
                training.warnings.append(f"its graph could not be recorded: {failure.reason}")
                return False
        return True

    def _ask_at_points(self, session: Session, training: Training) -> None:
        """Ask the backend at the host's points, which are drawn now: its plugin has been loaded and has trained."""
        problem, conditions = self._conditions.problem, self._conditions
        probes = training.probes = conditions.probes(secrets.randbits(32))
        if probes is None:
            return
        training.answers = ask_along(session, problem, probes)
        assert training.loaded is not None
        if training.loaded.overrides_step:
            training.fused_answers = ask_along(session, problem, probes, fused=True)


def ask_along(session: Session, problem: Problem, probes: Probes, *, fused: bool = False) -> list[Evaluation]:
    """The backend's answers at the points of each route. Raises `WorkerFailure`."""
    answers = []
    for route in probes.routes:
        w, b = map(np.ascontiguousarray, problem.layout.parts(route.weights))
        data = None if route.rows is None else (problem.X[route.rows], problem.y[route.rows])
        answers.append(session.evaluate(problem, w, b, data, fused=fused))
    return answers
