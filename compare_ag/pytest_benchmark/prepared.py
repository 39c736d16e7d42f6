"""One backend with one problem in it, in a worker of its own; and the check of its numbers, in this process.

A worker that dies, hangs or breaks the protocol costs the test that asked, and the next test gets a new one.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.host.crew import open_session
from compare_ag.host.failures import WorkerFailure
from compare_ag.host.launch import Launch
from compare_ag.host.session import Recording
from compare_ag.pytest_benchmark.expected import descended, point, require
from compare_ag.records import file_stem

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem.core import Array, Problem
    from compare_ag.worker.messages import Loaded

FINAL_STEPS = 100
"""The final loss is that after so many updates from the problem's start."""
MOST_WORKERS = 4
"""kept alive for later tests"""


class UnsupportedError(Exception):
    """The backend does not compute in the problem's dtype."""


class PreparedBackend:
    """A prepared backend in its worker. Methods that ask it raise `WorkerFailure` where it fails.

    seconds: that each question may take.
    """

    def __init__(self, offer: Offer, problem: Problem, logs: Path, seconds: float) -> None:
        self.offer = offer
        self.problem = replace(problem, batch_size=None)
        self.seconds = seconds
        # the sum of all questions is not limited: each gets its own time before it is asked
        self.session = open_session(
            Launch(f"{file_stem(offer.name)}.benchmark", logs, problem.threads, 0, seconds), offer
        )
        with ExitStack() as stack:
            stack.enter_context(self.session)
            self.loaded: Loaded = self.session.load()
            if problem.dtype not in self.loaded.dtypes:
                raise UnsupportedError(
                    f"{offer.name} computes in {', '.join(self.loaded.dtypes)}, not in {problem.dtype}"
                )
            self.session.prepare(self.problem)
            stack.pop_all()

    def check(self, w: Array, b: Array) -> float:
        """Check loss, gradient and update at the weights w (d,), b (); return the loss.

        Raises AssertionError, which names the verb, where a value lies farther from the formula than rounding explains.
        """
        if not (np.isfinite(w).all() and np.isfinite(b)):
            raise AssertionError("weights: not finite")
        problem, layout = self.problem, self.problem.layout
        expected = point(problem, w, b)
        self.session.process.allow(self.seconds)
        answers = self.session.evaluate(problem, w[None], np.asarray(b)[None])
        assert answers.gradient is not None
        loss, slope, updated = answers.loss[0, 0], answers.gradient[0, 0], answers.following[0, 0]
        require("forward: loss", expected.loss, loss)
        slope_w, slope_b = layout.parts(slope)
        require("backward: gradient w", expected.w, slope_w)
        require("backward: gradient b", expected.b, slope_b)
        if np.isfinite(slope).all():  # else the probability form has saturated, as passed above, and decides nothing
            after = descended(problem, layout.flat((w, b)), slope)
            for name, part, new in zip(layout.names, after.parts(layout), layout.parts(updated), strict=True):
                require(f"update: {name}", part, new)
        return float(loss)

    def check_training(self) -> float:
        """Check the start, train `FINAL_STEPS` updates by `step`, check the end; return the final loss."""
        self.check(self.problem.w0, self.problem.b0)
        self.session.process.allow(self.seconds)
        recording = Recording()
        self.session.train(self.problem, [], recording, fused=True, steps=FINAL_STEPS)
        assert recording.final_w is not None
        assert recording.final_b is not None
        return self.check(recording.final_w, recording.final_b)

    def rounds(self, phase: str, count: int) -> dict[str, Array]:
        """Time a phase; see `worker.rounds`."""
        self.session.process.allow(self.seconds)
        return self.session.rounds(self.problem, phase, count)

    def facts(self) -> dict[str, Any]:
        """Who was timed, and the threads that its worker had."""
        self.session.process.allow(self.seconds)
        observed, offer, loaded = self.session.observe(), self.offer, self.loaded
        return {
            "module": offer.module,
            "distribution": offer.distribution,
            "version": offer.version,
            "versions": loaded.versions,
            "backend_class": loaded.backend,
            "dtypes": loaded.dtypes,
            "splits": loaded.splits,
            "pools": observed.pools,
            "os_threads": observed.os_threads,
        }


class Workers:
    """The workers of a session of pytest, the last few of which are kept for the next test of the same kind."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: OrderedDict[tuple[str, str], PreparedBackend] = OrderedDict()
        self._hung: dict[tuple[str, str], WorkerFailure] = {}
        self._stack = ExitStack()
        self._logs: Path | None = None

    def get(self, offer: Offer, problem: Problem) -> PreparedBackend:
        """The backend prepared with the problem. Raises `WorkerFailure` or `UnsupportedError`.

        One that has hung would hang again: it is not asked again, and its failure is raised at once.
        """
        key = self._key(offer, problem)
        if key in self._hung:
            raise self._hung[key]
        if self._logs is None:
            self._logs = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-ag-pytest-")))
        if key not in self._open:
            try:
                self._open[key] = PreparedBackend(offer, problem, self._logs, self._seconds)
            except WorkerFailure as failure:
                self.drop(offer, problem, failure)
                raise
        self._open.move_to_end(key)
        while len(self._open) > MOST_WORKERS:
            _, oldest = self._open.popitem(last=False)
            oldest.session.close()
        return self._open[key]

    def drop(self, offer: Offer, problem: Problem, failure: WorkerFailure) -> None:
        """A worker has failed: end what is left of it."""
        key = self._key(offer, problem)
        if failure.status == "timeout":
            self._hung[key] = failure
        if key in self._open:
            self._open.pop(key).session.close()

    def close(self) -> None:
        """End all."""
        for training in self._open.values():
            training.session.close()
        self._open.clear()
        self._stack.close()

    @staticmethod
    def _key(offer: Offer, problem: Problem) -> tuple[str, str]:
        return f"{offer.distribution}:{offer.name}", f"{problem.digest()}, {problem.threads} threads"
