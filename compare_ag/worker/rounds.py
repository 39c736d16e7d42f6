"""Rounds of one phase of a step, for pytest-benchmark: each is one call with arguments that an untimed setup has made.

`backward` consumes its tape, `update` and `step` their weights, so every round begins from the problem's start. A round
ends when its results exist.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns  # bound now: a plugin may replace time's own
from typing import Any, NamedTuple

import numpy as np

from compare_ag.worker.training import Array, Trainee

WARM_UP = 20
"""rounds that are not timed"""


class _Task(NamedTuple):
    """How to make a phase's arguments, how to call it, and how to read its results."""

    setup: Callable[[], tuple[Any, ...]]
    call: Callable[..., Any]
    read: Callable[[Any], dict[str, Array]]


def rounds(trainee: Trainee, phase: str, count: int, learning_rate: float) -> dict[str, Array]:
    """Time ``count`` rounds after `WARM_UP` others: wall_ns (count,), and the numbers of the last round.

    Those are X of make_tensor; loss () of forward; w (d,), b () of backward and update; all three of step.
    """
    task = _tasks(trainee, learning_rate)[phase]
    trainee.board.enter(phase)
    wall, result = np.zeros(count, dtype=np.int64), None
    for i in range(-WARM_UP, count):
        arguments = task.setup()
        start = perf_counter_ns()
        result = task.call(*arguments)
        end = perf_counter_ns()
        if i >= 0:
            wall[i] = end - start
    return {"wall_ns": wall, **task.read(result)}


def _tasks(trainee: Trainee, rate: float) -> dict[str, _Task]:
    backend, batch, inputs = trainee.backend, trainee.data, trainee.inputs
    start = trainee.weights(inputs.w0, inputs.b0)
    trainee.synchronize(start)

    def fresh_weights() -> tuple[Any, ...]:
        weights = trainee.weights(inputs.w0, inputs.b0)
        trainee.synchronize(weights)
        return (weights,)

    def fresh_tape() -> tuple[Any, ...]:
        loss, tape = trainee.forward(start, batch)
        backend.synchronize(loss)
        return (tape,)

    def fresh_gradient() -> tuple[Any, ...]:
        (weights,) = fresh_weights()
        _, tape = trainee.forward(weights, batch)
        gradient = backend.backward(tape)
        trainee.synchronize(gradient)
        return weights, gradient

    def make_tensor() -> Any:
        tensor = backend.make_tensor(inputs.X)
        backend.synchronize(tensor)
        return tensor

    def forward() -> Any:
        loss, tape = backend.forward(start, batch)
        backend.synchronize(loss)
        return loss, tape

    def backward(tape: Any) -> Any:
        gradient = backend.backward(tape)
        backend.synchronize(*gradient)
        return gradient

    def update(weights: Any, gradient: Any) -> Any:
        updated = backend.update(weights, gradient, rate)
        backend.synchronize(*updated)
        return updated

    def step(weights: Any) -> Any:
        loss, updated = backend.step(weights, batch, rate)
        backend.synchronize(loss, *updated)
        return loss, updated

    def read_pair(name: str) -> Callable[[Any], dict[str, Array]]:
        return lambda pair: dict(zip(("w", "b"), trainee.read_weights(pair, name), strict=True))

    def read_loss(result: Any) -> dict[str, Array]:
        return {"loss": trainee.read("loss", result[0], ())}

    return {
        "make_tensor": _Task(tuple, make_tensor, lambda tensor: {"X": trainee.read("X", tensor, inputs.X.shape)}),
        "forward": _Task(tuple, forward, read_loss),
        "backward": _Task(fresh_tape, backward, read_pair("gradient")),
        "update": _Task(fresh_gradient, update, read_pair("weights")),
        "step": _Task(fresh_weights, step, lambda result: {**read_loss(result), **read_pair("weights")(result[1])}),
    }
