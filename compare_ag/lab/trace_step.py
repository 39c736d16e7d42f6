"""One training step in detail: every backend computes it from the same weights, beside the exact numbers.

All backends start from the reference's weights after K updates, not from their own weights at that step. Digits that
differ were therefore lost in this step, and the table shows in which phase. (`compare-ag bisect` covers many steps.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.failures import WorkerFailure
from compare_ag.records import real
from compare_ag.records.graphs import Pair, StepRecord, TraceDocument, numbers_of
from compare_ag.suite.recorded_graphs import (
    TIMEOUT,
    GraphAnswer,
    Place,
    Tell,
    ask_in_workers,
    choose_place,
    judge_graphs,
    undecided_reason,
)
from compare_ag.verify import Oracle, Sample, TestResult, judge_samples
from compare_ag.worker.messages import HEAD, WHOLE

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.host.session import Session
    from compare_ag.problem import Problem
    from compare_ag.worker.messages import Array, Mutation


@dataclass
class _Walked:
    """The results of a worker up to its end or failure."""

    loss: Array | None = None
    gradient: tuple[Array, Array] | None = None
    after: tuple[Array, Array] | None = None
    failure: WorkerFailure | None = None


def trace_step(
    offers: Mapping[str, Offer],
    problem: Problem,
    step: int,
    mutations: Mapping[str, Mutation] | None = None,
    *,
    timeout: float = TIMEOUT,
    tell: Tell = lambda *_: None,
) -> TraceDocument:
    """Walk step ``step`` (0 … T-1) with every backend, each in a worker of its own.

    A backend that fails is an entry with its reason and with the results before the failure; after an interrupt it is
    *cancelled*. ``tell`` receives progress. Raises ValueError where there is no such step.
    """
    if not 0 <= step < problem.steps:
        raise ValueError(f"there is no step {step}: this training has steps 0 to {problem.steps - 1}")
    tell(f"the reference up to step {step}", 0, 0)
    at = choose_place(problem, step)
    walked = {name: _Walked() for name in offers}

    def walk(name: str, session: Session) -> GraphAnswer:
        """Ask for each phase of the step, then for the graph; results before a failure are kept."""
        result = walked[name]
        result.loss = session.exchange(problem, "loss", step, w=at.w, b=at.b)["loss"]
        slope = session.exchange(problem, "gradient", step, w=at.w, b=at.b)
        result.gradient = slope["w"], slope["b"]
        moved = session.exchange(problem, "update", step, w=at.w, b=at.b, gw=slope["w"], gb=slope["b"])
        result.after = moved["w"], moved["b"]
        return GraphAnswer(session.graph(problem, step, at.w, at.b))

    with tempfile.TemporaryDirectory(prefix="compare-ag-trace-") as logs:
        replies = ask_in_workers(offers, problem, Path(logs), walk, mutations, timeout, tell)
    for name, answer in replies.items():
        if isinstance(answer, WorkerFailure):
            walked[name].failure = answer
    asked = {
        name: reply if isinstance(reply, GraphAnswer) else GraphAnswer(None, reply) for name, reply in replies.items()
    }
    tell("judging every number", 0, 0)
    oracle = Oracle(problem)
    return TraceDocument(
        learning_rate=problem.learning_rate,
        before=_pair((at.w, at.b)),
        exact=_exact(problem, oracle, at),
        steps=[_record(problem, oracle, at, name, result) for name, result in walked.items()],
        graph=judge_graphs(problem, at, asked),
    )


def _exact(problem: Problem, oracle: Oracle, at: Place) -> StepRecord:
    layout = problem.layout
    exact = oracle.at(layout.flat((at.w, at.b)), at.rows)
    with np.errstate(over="ignore"):  # the step may lead beyond float32
        loss, gradient, after = (
            np.asarray(interval.high).astype(problem.dtype)
            for interval in (exact.loss, exact.gradient, exact.following)
        )
    return StepRecord(
        backend="exact",
        status="ok",
        message=f"rounded once to {problem.dtype}",
        loss=numbers_of(loss, WHOLE, HEAD),
        gradient=_pair(layout.parts(gradient)),
        after=_pair(layout.parts(after)),
    )


def _record(problem: Problem, oracle: Oracle, at: Place, name: str, walked: _Walked) -> StepRecord:
    """Judge a backend's step: the update with the reported gradient, so that a wrong gradient does not count twice."""
    flat = problem.layout.flat
    sample = Sample(
        f"step {at.step}",
        flat((at.w, at.b)),
        walked.loss,
        None if walked.gradient is None else flat(walked.gradient),
        None if walked.after is None else flat(walked.after),
        at.rows,
        at.step,
    )
    tests: dict[str, TestResult] = {
        str(test): result for test, result in judge_samples(problem, oracle, [sample]).items()
    }
    findings = [finding for test in ("loss", "gradient", "update") if test in tests for finding in tests[test].findings]
    ratios = {test: real(tests[test].ratio) if test in tests and tests[test].judged else None for test in _TESTS}
    status, message = "ok", "loss, gradient and update are right to rounding"
    if findings:
        status, message = "disagree", findings[0].message
    elif walked.failure is not None:
        status, message = walked.failure.status, walked.failure.reason
    elif None in ratios.values():
        decided = " and ".join(test for test, ratio in ratios.items() if ratio is not None)
        scope = f"only the {decided} can be decided here" if decided else "nothing can be decided here"
        status, message = "undecidable", f"{scope}: {undecided_reason(problem, at)}"
    return StepRecord(
        backend=name,
        status=status,
        message=message,
        loss=None if walked.loss is None else numbers_of(walked.loss, WHOLE, HEAD),
        gradient=None if walked.gradient is None else _pair(walked.gradient),
        after=None if walked.after is None else _pair(walked.after),
        loss_ratio=ratios["loss"],
        gradient_ratio=ratios["gradient"],
        update_ratio=ratios["update"],
    )


_TESTS = ("loss", "gradient", "update")


def _pair(arrays: Sequence[Array]) -> Pair:
    w, b = (numbers_of(array, WHOLE, HEAD) for array in arrays)
    return Pair(w=w, b=b)
