"""Graphs without workers: what a backend records in this process, through the worker's checks and the host's reading."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import compare_ag
from compare_ag import Batch, Setting, Weights
from compare_ag.host.session import graph_nodes
from compare_ag.problem import Problem
from compare_ag.records.graphs import GraphDocument, GraphNode
from compare_ag.suite.recorded_graphs import GraphAnswer, choose_place, judge_graphs
from compare_ag.worker.graph_nodes import graph
from compare_ag.worker.load import load_backend


class Recorder:
    """Records graphs of backends at a step of a problem, in this process."""

    def nodes(self, backend, problem: Problem, step: int = 0) -> list[GraphNode] | None:
        """backend: a name of a bundled one, or an object."""
        if isinstance(backend, str):
            backend = load_backend(f"compare_ag_{backend}")()
        n, d = problem.X.shape
        make = backend.make_tensor
        trainee = SimpleNamespace(
            backend=backend,
            weights=lambda w, b: Weights(make(w, requires_grad=True), make(b, requires_grad=True)),
            batch=lambda _: Batch(make(problem.X), make(problem.y)),
        )
        at = choose_place(problem, step)
        with np.errstate(all="ignore"):  # what plugins silence for their own process
            backend.prepare(Setting(n, d, problem.dtype, l2=problem.l2, loss=problem.loss))
            message, arrays = graph(trainee, step, at.w, at.b)
        return graph_nodes(message, arrays) if message.offered else None

    def document(self, problem: Problem, step: int = 0, **backends) -> GraphDocument:
        """The judged graphs of these backends, by the name they are shown under."""
        asked = {name: GraphAnswer(self.nodes(backend, problem, step)) for name, backend in backends.items()}
        return judge_graphs(problem, choose_place(problem, step), asked)


@pytest.fixture(scope="session")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def run_with_graph(tmp_path_factory):
    """The directory of a run of numpy, with its graph."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    compare_ag.run(["numpy"], "seed", steps=20, timing=False, output=folder)
    return folder
