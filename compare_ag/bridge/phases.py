"""What a benchmark times: one phase of a step, or the step as a whole, every round from the problem's start.

`backward` consumes its tape, `update` and `step` their weights: each round is one call on what an untimed setup has
just made, and waits until its results exist. Before it times, a benchmark checks the backend's numbers at the start and
after a hundred updates (`bridge.training`), and afterwards those of its last round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import psutil
import pytest

from compare_ag.backend import Weights
from compare_ag.bridge.formula import point, require
from compare_ag.suite.judging import problem_record
from compare_ag.worker.load import framework_versions
from compare_ag.worker.observe import thread_pools

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from compare_ag.bridge.training import Training
    from compare_ag.host.discovery import Offer

PHASES = ("make_tensor", "forward", "backward", "update", "step")
WARM_UP = 20
LEAST_ROUNDS, MOST_ROUNDS = 20, 2000
SECONDS = 0.15
"""what all rounds of one benchmark may take, about"""


class Task(NamedTuple):
    """How to time a phase and how to check what it gave."""

    target: Callable[..., Any]
    setup: Callable[[], tuple[Any, ...]]
    check: Callable[[Any], None]


class PhaseBenchmark:
    """The fixture `ag_benchmark` for one backend and one problem."""

    def __init__(
        self,
        benchmark: Callable[[], BenchmarkFixture],
        offer: Offer,
        training: Training,
        seen: dict[str, dict[str, Any]],
        machine: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._get_benchmark = benchmark
        self._offer = offer
        self._seen = seen
        self._machine = machine
        self.training = training

    def __call__(self, phase: str = "step", *, rounds: int | None = None) -> None:
        """Check the numbers, time ``phase`` for ``rounds`` (default: as many as fit into 0.15 s), check again.

        Raises AssertionError where a number is farther from the exact one than rounding explains. Skips a phase that
        has no time of its own.
        """
        if phase not in PHASES:
            raise ValueError(f"ag_benchmark({phase!r}): expected one of {', '.join(PHASES)}")
        if phase in ("forward", "backward") and not self.training.backend.splits:
            pytest.skip("gives loss and gradient in one call (splits = False): only the whole step has a time")
        with self._machine():
            self._check_and_time(phase, rounds)

    def _check_and_time(self, phase: str, rounds: int | None) -> None:
        """Do both while no other timing and no training of compare-ag runs on this machine."""
        loss = self.training.check_training()
        task = self._task(phase)
        problem = self.training.problem
        record = problem_record(problem)
        size = "" if problem.data.name == "seed" else f" {problem.examples}x{problem.features}"
        benchmark = self._get_benchmark()  # not before: pytest-benchmark warns about a fixture that was never used
        benchmark.group = f"{phase} {problem.data.name}{size}"
        benchmark.extra_info["compare_ag"] = {
            "backend": self._offer.name,
            "phase": phase,
            "problem": record.digest,
            "final_loss": loss,
        }
        pedantic: Callable[..., Any] = benchmark.pedantic  # pytest-benchmark leaves it untyped
        chosen = rounds or self._rounds(task)
        result = pedantic(task.target, setup=lambda: (task.setup(), {}), rounds=chosen, warmup_rounds=WARM_UP)
        task.check(result)
        self._seen["problems"][record.digest] = msgspec.to_builtins(record)
        self._seen["backends"][self._offer.name] = self._facts()

    def _rounds(self, task: Task) -> int:
        """As many as fit, from a few calls that do not count."""
        taken = []
        for _ in range(3):
            arguments = task.setup()
            start = time.perf_counter()
            task.target(*arguments)
            taken.append(time.perf_counter() - start)
        return max(LEAST_ROUNDS, min(MOST_ROUNDS, int(SECONDS / max(sorted(taken)[1], 1e-9))))

    def _facts(self) -> dict[str, Any]:
        """Who was timed, and the threads that this process had: it is everybody's, so they may be another's."""
        offer, backend = self._offer, type(self.training.backend)
        return {
            "module": offer.module,
            "distribution": offer.distribution,
            "version": offer.version,
            "versions": framework_versions(offer.module),
            "backend_class": backend.__name__,
            "dtypes": list(backend.dtypes),
            "splits": backend.splits,
            "pools": thread_pools(),
            "os_threads": psutil.Process().num_threads(),
        }

    # --- the phases ---

    def _task(self, phase: str) -> Task:
        tasks: dict[str, Callable[[], Task]] = {
            "make_tensor": self._make_tensor,
            "forward": self._forward,
            "backward": self._backward,
            "update": self._update,
            "step": self._step,
        }
        return tasks[phase]()

    def _make_tensor(self) -> Task:
        """X, copied from numpy into a tensor."""
        training, X = self.training, self.training.problem.X

        def make_tensor() -> Any:
            tensor = training.backend.make_tensor(X)
            training.backend.synchronize(tensor)
            return tensor

        def check(tensor: Any) -> None:
            if not np.array_equal(training.read("X", tensor, X.shape), X):
                raise AssertionError("make_tensor: its values differ from the array's")

        return Task(make_tensor, tuple, check)

    def _forward(self) -> Task:
        """The loss, and the tape on the way."""
        training, backend, weights = self.training, self.training.backend, self.training.weights()

        def forward() -> Any:
            loss, tape = backend.forward(weights, training.batch)
            backend.synchronize(loss)
            return loss, tape

        def check(result: Any) -> None:
            require("forward: loss", self._start().loss, training.read("loss", result[0], ()))

        return Task(forward, tuple, check)

    def _backward(self) -> Task:
        """From the tape to the gradient."""
        training, backend, weights = self.training, self.training.backend, self.training.weights()

        def fresh_tape() -> tuple[Any, ...]:
            loss, tape = backend.forward(weights, training.batch)
            backend.synchronize(loss)
            return (tape,)

        def backward(tape: Any) -> Weights:
            gradient = backend.backward(tape)
            backend.synchronize(*gradient)
            return gradient

        def check(gradient: Any) -> None:
            w, b = training.read_weights("gradient", gradient)
            require("backward: gradient w", self._start().w, w)
            require("backward: gradient b", self._start().b, b)

        return Task(backward, fresh_tape, check)

    def _update(self) -> Task:
        """One step down the gradient."""
        training, backend, rate = self.training, self.training.backend, self.training.problem.learning_rate

        def fresh_gradient() -> tuple[Any, ...]:
            weights = training.weights()
            _, tape = backend.forward(weights, training.batch)
            gradient = backend.backward(tape)
            backend.synchronize(*gradient)
            return weights, gradient

        def update(weights: Weights, gradient: Weights) -> Weights:
            updated = backend.update(weights, gradient, rate)
            backend.synchronize(*updated)
            return updated

        return Task(update, fresh_gradient, lambda updated: self._require_one_step("update", updated))

    def _step(self) -> Task:
        """Forward, backward and update in one call."""
        training, backend, rate = self.training, self.training.backend, self.training.problem.learning_rate

        def step(weights: Weights) -> tuple[Any, Weights]:
            loss, updated = backend.step(weights, training.batch, rate)
            backend.synchronize(loss, *updated)
            return loss, updated

        def check(result: Any) -> None:
            require("step: loss", self._start().loss, training.read("loss", result[0], ()))
            self._require_one_step("step", result[1])

        return Task(step, lambda: (training.weights(),), check)

    def _start(self) -> Any:
        problem = self.training.problem
        return point(problem, problem.w0, problem.b0)

    def _require_one_step(self, verb: str, weights: Weights) -> None:
        """Fail unless these are the weights after one update from the problem's start."""
        w, b = self.training.read_weights(verb, weights)
        require(f"{verb}: w", self._start().next_w, w)
        require(f"{verb}: b", self._start().next_b, b)
