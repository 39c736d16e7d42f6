"""What a benchmark times: one phase of a step, or the step as a whole, every round from the problem's start.

The rounds are made and timed by the backend's worker (`worker.rounds`), all in one go; pytest-benchmark then receives
them one by one, through a clock that stands still but for the durations that the worker reports. So it measures what a
loop in the worker takes, and no conversation. Before it times, a benchmark checks the backend's numbers at the start
and after a hundred updates (`pytest_benchmark.prepared`), and afterwards those of its last round.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from compare_ag.pytest_benchmark.expected import point, require
from compare_ag.suite.make_records import problem_record
from compare_ag.worker.messages import ROUND_PHASES

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from compare_ag.problem.core import Array
    from compare_ag.pytest_benchmark.prepared import PreparedBackend

PHASES = ROUND_PHASES
LEAST_ROUNDS, MOST_ROUNDS = 20, 2000
TRIED_ROUNDS = 3
SECONDS = 0.15
"""what all rounds of one benchmark may take, about"""


class WorkerClock:
    """The time that a worker's rounds have taken so far, those that have been counted."""

    def __init__(self) -> None:
        self.nanoseconds = 0
        self.waiting: list[int] = []

    def read(self) -> float:
        """In seconds."""
        return self.nanoseconds * 1e-9

    def count_next(self) -> None:
        """Count one more round; nothing where all have been counted."""
        if self.waiting:
            self.nanoseconds += self.waiting.pop(0)


class PhaseBenchmark:
    """The fixture `ag_benchmark` for one backend and one problem.

    benchmark: pytest-benchmark's fixture, made when it is needed, with the clock that it is to read.
    guard: around all questions to the worker; it turns a failure into the test's.
    """

    def __init__(
        self,
        benchmark: Callable[[Callable[[], float]], BenchmarkFixture],
        training: PreparedBackend,
        seen: dict[str, dict[str, Any]],
        machine: Callable[[], AbstractContextManager[None]],
        guard: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._get_benchmark = benchmark
        self._seen = seen
        self._machine = machine
        self._guard = guard
        self.training = training

    def __call__(self, phase: str = "step", *, rounds: int | None = None) -> None:
        """Check the numbers, time ``phase`` for ``rounds`` (default: as many as fit into 0.15 s), check again.

        Raises AssertionError where a number is farther from the exact one than rounding explains. Skips a phase that
        has no time of its own.
        """
        if phase not in PHASES:
            raise ValueError(f"ag_benchmark({phase!r}): expected one of {', '.join(PHASES)}")
        if phase in ("forward", "backward") and not self.training.loaded.splits:
            pytest.skip("gives loss and gradient in one call (splits = False): only the whole step has a time")
        with self._guard(), self._machine():
            self._check_and_time(phase, rounds)

    def _check_and_time(self, phase: str, rounds: int | None) -> None:
        """Do both while no other timing and no training of compare-ag runs on this machine."""
        training, problem = self.training, self.training.problem
        loss = training.check_training()
        record = problem_record(problem)
        size = "" if problem.data.name == "seed" else f" {problem.examples}x{problem.features}"
        clock = WorkerClock()
        # not before: pytest-benchmark warns about a fixture that was never used
        benchmark = self._get_benchmark(clock.read)
        benchmark.group = f"{phase} {problem.data.name}{size}"
        benchmark.extra_info["compare_ag"] = {
            "backend": training.offer.name,
            "phase": phase,
            "problem": record.digest,
            "final_loss": loss,
        }
        chosen = rounds or self._rounds(phase)
        made = training.rounds(phase, chosen if benchmark.enabled else 1)
        clock.waiting = made["wall_ns"].tolist()
        pedantic: Callable[..., Any] = benchmark.pedantic  # pytest-benchmark leaves it untyped
        pedantic(clock.count_next, rounds=chosen)
        self._check(phase, made)
        self._seen["problems"][record.digest] = msgspec.to_builtins(record)
        self._seen["backends"][training.offer.name] = training.facts()

    def _rounds(self, phase: str) -> int:
        """As many as fit, from a few that do not count."""
        usual = float(np.median(self.training.rounds(phase, TRIED_ROUNDS)["wall_ns"])) * 1e-9
        return max(LEAST_ROUNDS, min(MOST_ROUNDS, int(SECONDS / max(usual, 1e-9))))

    def _check(self, phase: str, made: dict[str, Array]) -> None:
        """Fail unless the last round computed what it must, from the problem's start."""
        problem = self.training.problem
        if phase == "make_tensor":
            if not np.array_equal(made["X"], problem.X):
                raise AssertionError("make_tensor: its values differ from the array's")
            return
        start = point(problem, problem.w0, problem.b0)
        if "loss" in made:
            require(f"{phase}: loss", start.loss, made["loss"])
        if phase == "backward":
            require("backward: gradient w", start.w, made["w"])
            require("backward: gradient b", start.b, made["b"])
        elif "w" in made:
            require(f"{phase}: w", start.next_w, made["w"])
            require(f"{phase}: b", start.next_b, made["b"])
