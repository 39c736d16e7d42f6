"""Graphs of the loss: every backend is asked for its graph at the same weights, and the graphs are judged together.

The weights are those of the reference after K updates, rounded to the tested dtype. They are the same for all backends:
a difference between two graphs then comes from this forward and backward alone, not from the updates before. Used by
`compare-ag graph`, by the trace of a step (`lab`), and by runs, whose backends record their graphs while they train.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from compare_ag.host.crew import guard, in_parallel, open_session, workers_at_a_time
from compare_ag.host.failures import WorkerFailure
from compare_ag.host.launch import Launch
from compare_ag.host.session import Session
from compare_ag.problem import Problem, ProblemError, batch_rows
from compare_ag.records import file_stem
from compare_ag.records.graphs import BackendGraph, GraphDocument, GraphNode
from compare_ag.verify import reference_trajectory
from compare_ag.verify.alignment import align
from compare_ag.verify.objective import Objective
from compare_ag.verify.points import point_tolerance
from compare_ag.verify.quantities import named_quantities, seconds
from compare_ag.worker.messages import HEAD, WHOLE

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.worker.messages import Array, Mutation

Tell: TypeAlias = Callable[[str, int, int], object]
"""receives what is being done, how many parts of it are done, and how many there are"""

TIMEOUT = 60.0
"""wall-clock seconds that each worker may take"""
NOT_OFFERED = "it offers no graph"
PATIENCE = 10.0
"""seconds that naming the quantities may take; larger problems are shown without"""
RUN_PATIENCE = 1.0
"""the same, where the graph is a by-product"""


class Place(NamedTuple):
    """The step of the training and the weights at which all backends are asked."""

    step: int
    w: Array
    b: Array
    rows: Array | None
    """the examples of the step's batch; None: all"""


def choose_place(problem: Problem, step: int) -> Place:
    """The reference's weights after ``step`` updates, in the problem's dtype.

    Raises ValueError where there is no such step, and `ProblemError` where weights, loss or gradient have overflowed by
    then: a correct backend could not be distinguished from a wrong one.
    """
    if not 0 <= step <= problem.steps:
        raise ValueError(f"there is no step {step}: this training has steps 0 to {problem.steps}")
    w, b = problem.w0, problem.b0
    if step:
        reached = reference_trajectory(replace(problem, steps=step, published=()))
        with np.errstate(over="ignore"):  # beyond float32
            w, b = problem.layout.parts(reached.final_weights.astype(problem.dtype))
    rows = None
    if problem.batch_size is not None:
        rows = batch_rows(problem.epoch_order(), problem.batch_size, problem.examples, step)
    place = Place(step, w, b, rows)
    if step and (overflowing := _find_overflow(problem, place)):
        raise ProblemError(
            f"the reference's {overflowing} not finite in {problem.dtype} after {step} updates: "
            "choose a smaller --step or a smaller --lr"
        )
    return place


def _find_overflow(problem: Problem, place: Place) -> str:
    """The first of weights, loss and gradient that leaves the problem's dtype, with its verb; empty where none does."""
    objective, theta = Objective(problem), problem.layout.flat((place.w, place.b)).astype(np.float64)
    with np.errstate(all="ignore"):
        details = objective.details(theta, objective.on(objective.details_reader, place.rows))
        square = details.penalty / (0.5 * problem.l2) if problem.l2 else 0.0  # w·w, on the way to the penalty
        parts = {"weights are": theta, "loss is": np.array([details.loss, square]), "gradient is": details.gradient}
        overflowing = (name for name, part in parts.items() if not np.isfinite(part.astype(problem.dtype)).all())
        return next(overflowing, "")


def undecided_reason(problem: Problem, place: Place) -> str:
    """Why a tolerance is infinite: the probability form, if the logits form has finite tolerances there."""
    stable = point_tolerance(replace(problem, loss="logits"), problem.layout.flat((place.w, place.b)), place.rows)
    if problem.loss == "probability" and np.isfinite([stable.loss, *stable.gradient, *stable.following]).all():
        return "the probability form saturates"
    return f"numbers may leave the range of {problem.dtype}"


@dataclass(frozen=True)
class GraphAnswer:
    """The graph that one worker sent, or its failure; ``nodes`` is None where the backend offers no graph."""

    nodes: list[GraphNode] | None
    failure: WorkerFailure | None = None


def record_graphs(
    offers: Mapping[str, Offer],
    problem: Problem,
    step: int = 0,
    mutations: Mapping[str, Mutation] | None = None,
    *,
    timeout: float = TIMEOUT,
    tell: Tell = lambda *_: None,
) -> GraphDocument:
    """Ask every backend for its graph at ``step``, each in a worker of its own, and judge the graphs.

    A backend that fails or offers no graph becomes an entry with the reason; a backend that an interrupt ended is
    *cancelled*. ``tell`` is called with the progress. Raises ValueError where there is no such step.
    """
    tell(f"the reference up to step {step}", 0, 0)
    place = choose_place(problem, step)
    with tempfile.TemporaryDirectory(prefix="compare-ag-graph-") as logs:

        def ask(_: str, session: Session) -> GraphAnswer:
            return GraphAnswer(session.graph(problem, place.step, place.w, place.b))

        replies = ask_in_workers(offers, problem, Path(logs), ask, mutations, timeout, tell)
    answers = {
        name: reply if isinstance(reply, GraphAnswer) else GraphAnswer(None, reply) for name, reply in replies.items()
    }
    tell("judging every node", 0, 0)
    return judge_graphs(problem, place, answers)


def ask_in_workers(
    offers: Mapping[str, Offer],
    problem: Problem,
    logs: Path,
    ask: Callable[[str, Session], GraphAnswer],
    mutations: Mapping[str, Mutation] | None = None,
    timeout: float = TIMEOUT,
    tell: Tell = lambda *_: None,
) -> dict[str, GraphAnswer | WorkerFailure]:
    """Prepare each backend in a worker and call ``ask`` with its session; as many at a time as there are CPUs for.

    An interrupt ends the workers; the answers so far are returned, and a backend without an answer is *cancelled*.
    """
    cancel = threading.Event()

    def ask_one(name: str) -> GraphAnswer | WorkerFailure:
        launch = Launch(f"{file_stem(name)}.graph", logs, problem.threads, 0, timeout)

        def converse() -> GraphAnswer:
            with open_session(launch, offers[name], cancel) as session:
                session.load(problem.dtype, (mutations or {}).get(name))
                session.prepare(problem)
                answer = ask(name, session)
                session.finish()
                return answer

        return guard(converse, launch)

    def tell_awaited(names: list[str]) -> None:
        if names:
            tell(f"asking {', '.join(names)}", len(offers) - len(names), len(offers))

    answers: dict[str, GraphAnswer | WorkerFailure] = {}
    at_a_time = workers_at_a_time(problem.threads)
    with contextlib.suppress(KeyboardInterrupt):
        tell_awaited(list(offers))
        in_parallel(offers, ask_one, answers, cancel=cancel, at_a_time=at_a_time, tick=tell_awaited)
    missing = WorkerFailure("cancelled", "interrupted before it was asked")
    return {name: answers.get(name, missing) for name in offers}


def judge_graphs(
    problem: Problem, place: Place, answers: Mapping[str, GraphAnswer], patience: float = PATIENCE
) -> GraphDocument:
    """Name the nodes of all graphs by exact quantities and judge their numbers.

    patience: seconds; where the exact quantities would take longer, the nodes are recorded and not compared.
    """
    graphs = {name: answer.nodes for name, answer in answers.items() if answer.nodes is not None}
    examples = problem.examples if place.rows is None else len(place.rows)
    quantities, note = [], ""
    if graphs and seconds(problem, examples) <= patience:
        aligned = align(
            graphs,
            named_quantities(problem, place.w, place.b, place.rows),
            WHOLE,
            HEAD,
            problem.dtype,
            undecided_reason(problem, place),
        )
        quantities, judged = aligned.quantities, aligned.graphs
    else:
        note = f"nothing was compared: exact values for {examples} examples would take too long" if graphs else ""
        judged = {
            name: BackendGraph(backend=name, status="undecidable", message=f"{len(nodes)} nodes", nodes=nodes)
            for name, nodes in graphs.items()
        }
    return GraphDocument(
        problem=problem.data.name,
        loss=problem.loss,
        dtype=problem.dtype,
        l2=problem.l2,
        examples=examples,
        features=problem.features,
        step=place.step,
        quantities=quantities,
        graphs=[judged.get(name) or _missing_graph(name, answer) for name, answer in answers.items()],
        note=note,
    )


def _missing_graph(name: str, answer: GraphAnswer) -> BackendGraph:
    """The entry of a backend that sent no graph."""
    if answer.failure is None:
        return BackendGraph(backend=name, status="not-offered", message=NOT_OFFERED)
    return BackendGraph(backend=name, status=answer.failure.status, message=answer.failure.reason)
