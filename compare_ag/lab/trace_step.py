"""One training step in slow motion: what every backend computes in it, from the same weights, beside the exact numbers.

Everybody starts from the reference's weights after K updates, and not from where its own training had got to: the
digits that differ have then been lost in this step, and one can see where. (For many steps there is `compare-ag
bisect`.)
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
from compare_ag.suite.recorded_graphs import TIMEOUT, Asked, Place, Tell, in_workers, judged, place, undecided_reason
from compare_ag.verify import Oracle, Sample, TestResult, judge_samples
from compare_ag.worker.messages import HEAD, WHOLE

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.host.session import Session
    from compare_ag.problem import Problem
    from compare_ag.worker.messages import Array, Mutation


@dataclass
class _Walked:
    """What a worker did, as far as it got."""

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

    A backend that fails is an entry with its reason and with what it did before; one that an interrupt ended is
    *cancelled*. ``tell`` hears of progress. Raises ValueError for no such step.
    """
    if not 0 <= step < problem.steps:
        raise ValueError(f"there is no step {step}: this training has steps 0 to {problem.steps - 1}")
    tell(f"the reference up to step {step}", 0, 0)
    at = place(problem, step)
    walked = {name: _Walked() for name in offers}

    def walk(name: str, session: Session) -> Asked:
        """The step through the backend's verbs, then its graph: whatever fails, what was before is kept."""
        one = walked[name]
        one.loss = session.exchange(problem, "loss", step, w=at.w, b=at.b)["loss"]
        slope = session.exchange(problem, "gradient", step, w=at.w, b=at.b)
        one.gradient = slope["w"], slope["b"]
        moved = session.exchange(problem, "update", step, w=at.w, b=at.b, gw=slope["w"], gb=slope["b"])
        one.after = moved["w"], moved["b"]
        return Asked(session.graph(problem, step, at.w, at.b))

    with tempfile.TemporaryDirectory(prefix="compare-ag-trace-") as logs:
        said = in_workers(offers, problem, Path(logs), walk, mutations, timeout, tell)
    for name, answer in said.items():
        if isinstance(answer, WorkerFailure):
            walked[name].failure = answer
    asked = {name: one if isinstance(one, Asked) else Asked(None, one) for name, one in said.items()}
    tell("judging every number", 0, 0)
    oracle = Oracle(problem)
    return TraceDocument(
        learning_rate=problem.learning_rate,
        before=_pair((at.w, at.b)),
        exact=_exact(problem, oracle, at),
        steps=[_record(problem, oracle, at, name, one) for name, one in walked.items()],
        graph=judged(problem, at, asked),
    )


def _exact(problem: Problem, oracle: Oracle, at: Place) -> StepRecord:
    layout = problem.layout
    found = oracle.at(layout.flat((at.w, at.b)), at.rows)
    with np.errstate(over="ignore"):  # the step may lead beyond float32
        loss, gradient, after = (
            np.asarray(one.high).astype(problem.dtype) for one in (found.loss, found.gradient, found.following)
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
    """What one backend did, judged: an update against its own gradient, for the rest is told by the gradient."""
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
    tests: dict[str, TestResult] = {str(test): one for test, one in judge_samples(problem, oracle, [sample]).items()}
    findings = [one for test in ("loss", "gradient", "update") if test in tests for one in tests[test].findings]
    ratios = {test: real(tests[test].ratio) if test in tests and tests[test].judged else None for test in _TESTS}
    status, message = "ok", "loss, gradient and update are right to rounding"
    if findings:
        status, message = "disagree", findings[0].message
    elif walked.failure is not None:
        status, message = walked.failure.status, walked.failure.reason
    elif None in ratios.values():
        decided = " and ".join(test for test, ratio in ratios.items() if ratio is not None)
        said = f"only the {decided} can be decided here" if decided else "nothing can be decided here"
        status, message = "undecidable", f"{said}: {undecided_reason(problem, at)}"
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
