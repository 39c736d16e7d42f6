"""The backend under check: its workers, opened as checks need them, and requests to them.

One worker serves all checks on the same problem; after a failure it is replaced, so that a broken rung does not hide
the next. The oracle stays in this process: no worker receives an expected result.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.crew import open_session
from compare_ag.host.launch import Launch
from compare_ag.host.session import Evaluation, Recording, Session
from compare_ag.problem import Problem, problem_by_name, recorded_steps
from compare_ag.records import file_stem
from compare_ag.suite.judge import Judge
from compare_ag.suite.recorded_graphs import GraphAnswer, Place, judge_graphs
from compare_ag.suite.training import Training
from compare_ag.text import printable
from compare_ag.verify import (
    Oracle,
    Probes,
    Route,
    Sample,
    judge_samples,
    probe_points,
    probe_samples,
    reference_trajectory,
)
from compare_ag.verify.diagnosis import diagnose
from compare_ag.verify.points import point_tolerance
from compare_ag.verify.relations import Ask, PointValues

if TYPE_CHECKING:
    from types import TracebackType

    from compare_ag.host.discovery import Offer
    from compare_ag.problem.core import Array, DType, LossForm
    from compare_ag.worker.messages import Loaded, Mutation

SECONDS = 600.0
"""the time that the worker of one problem may take in all; compiling every operation takes minutes"""
LOG_LINES = 12
"""of a failed worker's stderr that are kept"""
SMALL = "synthetic:n=24,d=3"
STEPS = 40


class CheckFailedError(Exception):
    """The backend is wrong; the message has the observed and the expected."""

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause
        """the known mistake that explains the numbers; empty where there is none"""


class CheckSkippedError(Exception):
    """The check does not apply to this backend; the message says why."""


class Subject:
    """One backend. Use as a context manager: leaving it ends its workers."""

    def __init__(self, offer: Offer, mutation: Mutation | None = None, seconds: float = SECONDS) -> None:
        self.offer = offer
        self.mutation = mutation
        self.seconds = seconds
        self.wrote: set[str] = set()
        """clauses on inputs that the backend has changed since `begin`, although it must not"""
        self._data_changed = False
        self._stack = contextlib.ExitStack()
        self._logs = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-ag-check-")))
        self._started = 0
        self._newest: Session | None = None
        self._loaded: Loaded | None = None
        self._open: dict[str, Session] = {}
        self._probes: dict[str, Probes] = {}
        self._oracles: dict[str, Oracle] = {}
        """all three by the digest of the problem; the key of a worker without a problem is empty"""

    def __enter__(self) -> Subject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.replace_workers()
        self._stack.close()

    # --- workers ---

    @property
    def loaded(self) -> Loaded:
        """The plugin's facts from the handshake. Raises `WorkerFailure` where it cannot be loaded."""
        if self._loaded is None:
            self._open[""] = self._start(None)
        assert self._loaded is not None
        return self._loaded

    def session(self, problem: Problem) -> Session:
        """A worker in which the backend is prepared for ``problem``; each training states its number of steps."""
        key = f"{replace(problem, steps=STEPS).digest()}, {problem.threads} threads"
        if key not in self._open:
            idle = problem.threads == 1 and "" in self._open
            session = self._open.pop("") if idle else self._start(problem.dtype, problem.threads)
            try:
                session.prepare(problem)
            except BaseException:
                session.close()
                raise
            self._open[key] = session
        self._newest = self._open[key]
        return self._newest

    def _start(self, dtype: DType | None, threads: int = 1) -> Session:
        """A new worker with the plugin loaded."""
        self._started += 1
        self._newest = None
        launch = Launch(f"{file_stem(self.offer.name)}.{self._started}", self._logs, threads, 0, self.seconds)
        session = self._newest = open_session(launch, self.offer)
        try:
            self._loaded = session.load(dtype, self.mutation)
        except BaseException:
            session.close()
            raise
        return session

    def begin(self) -> None:
        """Start a check: forget the changes that an earlier check has observed."""
        if self._data_changed:  # weights are made for each visit, data once for each worker
            self.replace_workers()
        self.wrote.clear()
        self._data_changed = False

    def replace_workers(self) -> None:
        """End all workers: the next question starts new ones."""
        for session in self._open.values():
            session.close()
        self._open.clear()

    def last_words(self) -> str:
        """The last lines, or the stack, of the stderr of the worker asked last. That worker must have ended."""
        if self._newest is None:
            return ""
        path = self._logs / f"{self._newest.process.launch.label}.stderr.txt"
        text = path.read_text(errors="backslashreplace") if path.exists() else ""
        _, stack, inner_first = text.partition("Current thread ")  # faulthandler's, of a hang or a killing signal
        lines = (stack + inner_first).splitlines()[:LOG_LINES] if stack else text.splitlines()[-LOG_LINES:]
        return "\n".join(map(printable, lines))

    # --- problems ---

    @property
    def dtype(self) -> DType:
        """The dtype that most checks use: the finest that the backend declares."""
        return "float64" if "float64" in self.loaded.dtypes else "float32"

    def problem(
        self,
        *,
        loss: LossForm = "logits",
        l2: float = 0.0,
        dtype: DType | None = None,
        batch_size: int | None = None,
        name: str = SMALL,
        steps: int = STEPS,
        threads: int = 1,
    ) -> Problem:
        """A small problem. Raises `CheckSkippedError` for a dtype that the backend does not declare."""
        chosen = dtype or self.dtype
        if chosen not in self.loaded.dtypes:
            raise CheckSkippedError(f"it does not declare {chosen}")
        return problem_by_name(
            name, loss=loss, l2=l2, dtype=chosen, batch_size=batch_size, steps=steps, threads=threads
        )

    def probes(self, problem: Problem) -> Probes:
        """The host's points for this problem, drawn after the plugin has been loaded."""
        key = problem.digest()
        if key not in self._probes:
            _ = self.loaded
            seed = secrets.randbits(32)
            self._probes[key] = probe_points(problem, reference_trajectory(problem), seed)
        return self._probes[key]

    # --- questions ---

    def ask(
        self, problem: Problem, weights: Array, data: tuple[Array, Array] | None = None, *, fused: bool = False
    ) -> Evaluation:
        """The backend's answers at ``weights`` (P, m)."""
        w, b = map(np.ascontiguousarray, problem.layout.parts(weights))
        answer = self.session(problem).evaluate(problem, w, b, data, fused=fused)
        if not answer.data_kept:
            self._data_changed = True
        if answer.changed_by_reading:
            self.wrote.add(f"to_numpy writes into {', '.join(answer.changed_by_reading)}")
        if answer.data_written:
            self.wrote.add("it writes into X or y")
        if answer.changed_points(weights).size:
            self.wrote.add("it writes into the weights")
        return answer

    def asker(self, problem: Problem) -> Ask:
        """For `verify.relations`."""

        def ask(X: Array, y: Array, weights: Array) -> PointValues:
            answer = self.ask(problem, weights, (X, y))
            assert answer.gradient is not None
            return PointValues(answer.loss[:, 0], answer.gradient[:, 0])

        return ask

    def samples(self, problem: Problem, *, fused: bool = False) -> list[Sample]:
        """Its answers along the route on all data, two for each visit."""
        return self.along(problem, self.probes(problem).main, fused=fused)

    def ladders(self, problem: Problem, *, fused: bool = False) -> list[Sample]:
        """Its answers along the ladders of logits."""
        _, _, *ladders = self.probes(problem).routes
        return [sample for route in ladders for sample in self.along(problem, route, fused=fused)]

    def along(self, problem: Problem, route: Route, *, fused: bool = False) -> list[Sample]:
        """Its answers along one route."""
        data = None if route.rows is None else (problem.X[route.rows], problem.y[route.rows])
        answers = self.ask(problem, route.weights, data, fused=fused)
        return probe_samples(route, answers.loss, answers.gradient, answers.following)

    def require(self, problem: Problem, samples: list[Sample], *tests: str) -> str:
        """Judge ``samples`` by ``tests``; raise `CheckFailedError` with the worst finding, or return a sentence."""
        oracle = self._oracles.setdefault(problem.digest(), Oracle(problem))
        results = {name: result for name, result in judge_samples(problem, oracle, samples).items() if name in tests}
        for result in results.values():
            if not result.passed:
                worst = max(result.findings, key=lambda finding: finding.ratio)
                causes = diagnose(problem, oracle, samples, results)
                raise CheckFailedError(worst.message, causes[0] if causes else "")
        judged = sum(result.judged for result in results.values())
        if not judged:
            raise CheckSkippedError("nothing could be decided here")
        worst_ratio = max(result.ratio for result in results.values())
        return f"{judged} numbers or vectors judged, the worst at {worst_ratio:.2g} of its tolerance"

    def train(self, problem: Problem, *, fused: bool = False) -> str:
        """Train and certify; raise `CheckFailedError` with the verdict's message."""
        record = recorded_steps(problem.steps)
        training = Training(self.offer, 0)
        training.loaded = self.loaded
        session = self.session(problem)
        session.train(problem, record, training.recording)
        if fused:
            training.fused = Recording()
            session.train(problem, record, training.fused, fused=True)
        judge = Judge(problem, record)
        judge.prepare()
        if judge.error is not None:
            raise judge.error
        verdict, own_step = judge.certify_training(training)
        decisive = verdict if own_step is None else own_step
        if decisive.status == "undecidable":
            raise CheckSkippedError(decisive.message)
        if decisive.status != "agrees":
            raise CheckFailedError(decisive.message, decisive.diagnosis[0] if decisive.diagnosis else "")
        return decisive.message

    def graph(self, problem: Problem) -> str:
        """Judge the graph at the start; raise `CheckFailedError` with its fault, or describe it."""
        start = Place(0, problem.w0, problem.b0, None)
        asked = GraphAnswer(self.session(problem).graph(problem, 0, start.w, start.b))
        if asked.nodes is None:
            raise CheckSkippedError("it offers no graph")
        (graph,) = judge_graphs(problem, start, {self.offer.name: asked}).graphs
        if graph.status == "disagree":
            raise CheckFailedError(graph.message)
        layout = problem.layout
        weights = layout.flat((start.w, start.b))
        answer = self.ask(problem, weights[None]).gradient
        assert answer is not None
        allowed = point_tolerance(problem, weights).gradient
        slope = answer[0, 0]
        for name, shape, own, limit in zip(
            layout.names, layout.shapes, layout.parts(slope), layout.parts(allowed), strict=True
        ):
            known = (node for node in graph.nodes if node.role == "parameter" and node.value)
            nodes = [node for node in known if node.value is not None and node.value.shape == list(shape)]
            if len(nodes) != 1 or nodes[0].gradient is None:
                raise CheckFailedError(f"{len(nodes)} nodes are the parameter {name}; one must be, with its gradient")
            reported = np.array([float(value) for value in nodes[0].gradient.values]).reshape(shape)
            if not (np.abs(reported - own) <= limit).all():
                raise CheckFailedError(f"the graph's gradient of {name} is {reported}, backward returned {own}")
        return graph.message

    def overrides_step(self) -> bool:
        """Whether the backend has a fused step of its own."""
        return self.loaded.overrides_step


def with_l2(problem: Problem, l2: float) -> Problem:
    """The problem with another strength of the penalty."""
    return replace(problem, l2=float(np.dtype(problem.dtype).type(l2)))
