"""The graph of the loss, asked of every backend at the same weights, and judged: of `compare-ag graph`, and of runs.

The weights are those of the reference after K updates, rounded to the tested dtype, for all backends alike: what then
differs between two graphs comes from this one forward and backward, not from ten thousand updates before.
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
"""hears what is being done, and how many of how many parts are"""

TIMEOUT = 60.0
"""wall-clock seconds that each worker may take"""
NOT_OFFERED = "it offers no graph"
PATIENCE = 10.0
"""seconds that naming the quantities may take; larger problems are shown without"""
RUN_PATIENCE = 1.0
"""the same, where the graph is a by-product"""


class Place(NamedTuple):
    """Where in a training everybody is asked."""

    step: int
    w: Array
    b: Array
    rows: Array | None
    """the examples of the step's batch; None: all"""


def place(problem: Problem, step: int) -> Place:
    """The reference's weights after ``step`` updates, in the problem's dtype.

    Raises ValueError for no such step, and `ProblemError` where the training has overflowed by then: where weights,
    loss or gradient are not finite, no correct backend can be told from a wrong one.
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
    at = Place(step, w, b, rows)
    if step and (what := _overflown(problem, at)):
        raise ProblemError(
            f"the reference's {what} not finite in {problem.dtype} after {step} updates: choose a smaller --step or a "
            "smaller --lr"
        )
    return at


def _overflown(problem: Problem, at: Place) -> str:
    """What is beyond the problem's dtype at the place, with its verb; or ""."""
    objective, theta = Objective(problem), problem.layout.flat((at.w, at.b)).astype(np.float64)
    with np.errstate(all="ignore"):
        here = objective.details(theta, objective.on(objective.details_reader, at.rows))
        square = here.penalty / (0.5 * problem.l2) if problem.l2 else 0.0  # w·w, on the way to the penalty
        parts = {"weights are": theta, "loss is": np.array([here.loss, square]), "gradient is": here.gradient}
        return next((what for what, one in parts.items() if not np.isfinite(one.astype(problem.dtype)).all()), "")


def undecided_reason(problem: Problem, at: Place) -> str:
    """Why a bound is infinite: where the stable form has finite ones, it is the probability form."""
    stable = point_tolerance(replace(problem, loss="logits"), problem.layout.flat((at.w, at.b)), at.rows)
    if problem.loss == "probability" and np.isfinite([stable.loss, *stable.gradient, *stable.following]).all():
        return "the probability form saturates"
    return f"numbers may leave the range of {problem.dtype}"


@dataclass(frozen=True)
class Asked:
    """What one worker answered; nodes None where it offers none."""

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
    """Ask every backend for its graph at ``step``, each in a worker of its own, and judge what comes.

    A backend that fails or offers none is an entry with its reason, one that an interrupt ended is *cancelled*.
    ``tell`` hears of progress. Raises ValueError where there is no such step.
    """
    tell(f"the reference up to step {step}", 0, 0)
    at = place(problem, step)
    with tempfile.TemporaryDirectory(prefix="compare-ag-graph-") as logs:

        def ask(_: str, session: Session) -> Asked:
            return Asked(session.graph(problem, at.step, at.w, at.b))

        said = in_workers(offers, problem, Path(logs), ask, mutations, timeout, tell)
    asked = {name: one if isinstance(one, Asked) else Asked(None, one) for name, one in said.items()}
    tell("judging every node", 0, 0)
    return judged(problem, at, asked)


def in_workers(
    offers: Mapping[str, Offer],
    problem: Problem,
    logs: Path,
    ask: Callable[[str, Session], Asked],
    mutations: Mapping[str, Mutation] | None = None,
    timeout: float = TIMEOUT,
    tell: Tell = lambda *_: None,
) -> dict[str, Asked | WorkerFailure]:
    """Prepare each backend in a worker and put ``ask`` to it; as many at a time as there are CPUs for.

    An interrupt ends the workers and keeps the answers that are there; a backend without one is *cancelled*.
    """
    cancel = threading.Event()

    def ask_one(name: str) -> Asked | WorkerFailure:
        launch = Launch(f"{file_stem(name)}.graph", logs, problem.threads, 0, timeout)

        def converse() -> Asked:
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

    answers: dict[str, Asked | WorkerFailure] = {}
    at_a_time = workers_at_a_time(problem.threads)
    with contextlib.suppress(KeyboardInterrupt):
        tell_awaited(list(offers))
        in_parallel(offers, ask_one, answers, cancel=cancel, at_a_time=at_a_time, tick=tell_awaited)
    missing = WorkerFailure("cancelled", "interrupted before it was asked")
    return {name: answers.get(name, missing) for name in offers}


def judged(problem: Problem, at: Place, asked: Mapping[str, Asked], patience: float = PATIENCE) -> GraphDocument:
    """Name and judge the nodes of all answers. patience: seconds that this may take, or nothing is compared."""
    graphs = {name: one.nodes for name, one in asked.items() if one.nodes is not None}
    examples = problem.examples if at.rows is None else len(at.rows)
    quantities, note = [], ""
    if graphs and seconds(problem, examples) <= patience:
        aligned = align(
            graphs,
            named_quantities(problem, at.w, at.b, at.rows),
            WHOLE,
            HEAD,
            problem.dtype,
            undecided_reason(problem, at),
        )
        quantities, found = aligned.quantities, aligned.graphs
    else:
        note = f"nothing was compared: exact values for {examples} examples would take too long" if graphs else ""
        found = {
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
        step=at.step,
        quantities=quantities,
        graphs=[found.get(name) or _absent(name, one) for name, one in asked.items()],
        note=note,
    )


def _absent(name: str, asked: Asked) -> BackendGraph:
    if asked.failure is None:
        return BackendGraph(backend=name, status="not-offered", message=NOT_OFFERED)
    return BackendGraph(backend=name, status=asked.failure.status, message=asked.failure.reason)
