"""What is timed: each phase of a step, and the step as a whole, every round from the problem's start.

`backward` consumes its tape, `update` and `step` their weights: each round is one call, on what an untimed setup
has just made, and waits until its results exist. Every benchmark first checks the backend's numbers against
`compare_ag.benchmarks.formula`, at the start and after a hundred updates, and at the end those of its last round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from compare_ag.backend import Weights
from compare_ag.benchmarks.formula import point, require, stepped
from compare_ag.worker.load import framework_versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from compare_ag.benchmarks.training import Training
    from compare_ag.host.discovery import Offer

ROUNDS = {"seed": 2000, "1000x20": 500, "10000x100": 100}
WARM_UP = 20


class Measure(Protocol):
    """What the fixture `measure` gives."""

    def __call__(self, phase: str, target: Callable[..., Any], setup: Callable[[], tuple[Any, ...]]) -> Any:
        """Time ``target`` on the arguments that ``setup`` gives before each round; return its last result."""


@pytest.fixture
def measure(benchmark: BenchmarkFixture, training: Training, offer: Offer, size: str) -> Measure:
    """Check the backend's numbers, say what is measured, and time it."""

    def run(phase: str, target: Callable[..., Any], setup: Callable[[], tuple[Any, ...]]) -> Any:
        benchmark.group = f"{phase} {size}"
        benchmark.extra_info.update(
            backend=offer.name,
            versions={offer.distribution: offer.version, **framework_versions(offer.module)},
            dtype=training.problem.dtype,
            final_loss=training.check_training(),
        )
        pedantic: Callable[..., Any] = benchmark.pedantic  # pytest-benchmark leaves it untyped
        return pedantic(target, setup=lambda: (setup(), {}), rounds=ROUNDS[size], warmup_rounds=WARM_UP)

    return run


def require_split(training: Training) -> None:
    """Skip where loss and gradient come in one call, so that neither phase has a time of its own."""
    if not training.backend.splits:
        pytest.skip("gives loss and gradient in one call (splits = False): only the whole step has a time")


def test_make_tensor(training: Training, measure: Measure) -> None:
    """X, copied from numpy into a tensor."""
    backend, X = training.backend, training.problem.X

    def make_tensor() -> Any:
        tensor = backend.make_tensor(X)
        backend.synchronize(tensor)
        return tensor

    tensor = measure("make_tensor", make_tensor, tuple)
    assert np.array_equal(training.read("X", tensor, X.shape), X)


def test_forward(training: Training, measure: Measure) -> None:
    """The loss, and the tape on the way."""
    require_split(training)
    backend, weights = training.backend, training.weights()

    def forward() -> Any:
        loss, tape = backend.forward(weights, training.batch)
        backend.synchronize(loss)
        return loss, tape

    loss, _ = measure("forward", forward, tuple)
    start = point(training.problem, training.problem.w0, training.problem.b0)
    require("forward: loss", start.loss, training.read("loss", loss, ()))


def test_backward(training: Training, measure: Measure) -> None:
    """From the tape to the gradient."""
    require_split(training)
    backend, weights = training.backend, training.weights()

    def fresh_tape() -> tuple[Any, ...]:
        loss, tape = backend.forward(weights, training.batch)
        backend.synchronize(loss)
        return (tape,)

    def backward(tape: Any) -> Weights:
        gradient = backend.backward(tape)
        backend.synchronize(*gradient)
        return gradient

    w, b = training.read_weights("gradient", measure("backward", backward, fresh_tape))
    start = point(training.problem, training.problem.w0, training.problem.b0)
    require("backward: gradient w", start.w, w)
    require("backward: gradient b", start.b, b)


def test_update(training: Training, measure: Measure) -> None:
    """One step down the gradient."""
    backend, rate = training.backend, training.problem.learning_rate

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

    require_one_step(training, "update", measure("update", update, fresh_gradient))


def test_step(training: Training, measure: Measure) -> None:
    """Forward, backward and update in one call."""
    backend, batch, rate = training.backend, training.batch, training.problem.learning_rate

    def step(weights: Weights) -> tuple[Any, Weights]:
        loss, updated = backend.step(weights, batch, rate)
        backend.synchronize(loss, *updated)
        return loss, updated

    loss, updated = measure("step", step, lambda: (training.weights(),))
    start = point(training.problem, training.problem.w0, training.problem.b0)
    require("step: loss", start.loss, training.read("loss", loss, ()))
    require_one_step(training, "step", updated)


def require_one_step(training: Training, verb: str, weights: Weights) -> None:
    """Fail unless these are the weights after one update from the problem's start."""
    expected_w, expected_b = stepped(training.problem, training.problem.w0, training.problem.b0)
    w, b = training.read_weights(verb, weights)
    require(f"{verb}: w", expected_w, w)
    require(f"{verb}: b", expected_b, b)
