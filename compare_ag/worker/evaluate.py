"""Answers at points that the host chose: the call protocol, and single parts of a step.

The points arrive after the plugin was loaded, so nothing about them can be prepared; the host names the same point more
than once, with others between, and each visit is evaluated twice on the same tensors. Whether the answers are right is
judged in the host: this process is given points, never results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from compare_ag.backend import Batch, Weights
from compare_ag.worker.training import Array, Trainee


def evaluate(
    trainee: Trainee,
    w: Array,
    b: Array,
    data: tuple[Array, Array] | None,
    learning_rate: float,
    *,
    fused: bool,
    first: int = 0,
) -> tuple[dict[str, Array], bool]:
    """The arrays of an `Evaluated` reply at the points w (P, d), b (P,), and whether the data tensors are unchanged.

    first: the number of the first point, for the progress board. data: X (n', d) and y (n',) instead of the prepared.
    """
    backend = trainee.backend
    X, y = data if data is not None else (trainee.inputs.X, trainee.inputs.y)
    batch = trainee.data if data is None else Batch(backend.make_tensor(X), backend.make_tensor(y))
    answers = _Answers(trainee)
    for i in range(len(b)):
        if fused:
            trainee.board.enter("step", first + i)
            _visit_fused(trainee, w[i], b[i], batch, learning_rate, answers)
        else:
            _visit(trainee, first + i, Weights(w[i], b[i]), batch, learning_rate, answers)
    trainee.board.enter("finish")
    kept = all(
        np.array_equal(trainee.read(name, tensor, sent.shape), sent)
        for name, tensor, sent in (("X", batch.X, X), ("y", batch.y, y))
    )
    return answers.arrays(len(b), fused=fused), kept


def exchange(
    trainee: Trainee, part: str, step: int, arrays: dict[str, Array], learning_rate: float
) -> dict[str, Array]:
    """One part of a training step: the loss () of a point, its gradient w (d,), b (), or an update of given weights.

    Raises `MalformedError` where the backend's answer does not have the contract's form.
    """
    backend = trainee.backend
    weights = trainee.weights(arrays["w"], arrays["b"])
    if part == "update":
        trainee.board.enter("update", step)
        gradient = Weights(backend.make_tensor(arrays["gw"]), backend.make_tensor(arrays["gb"]))
        w, b = trainee.read_weights(backend.update(weights, gradient, learning_rate))
        return {"w": w, "b": b}
    trainee.board.enter("forward", step)
    loss, tape = trainee.forward(weights, trainee.batch(step))
    trainee.board.enter("backward", step)
    gradient = backend.backward(tape)
    if part == "gradient":
        w, b = trainee.read_weights(gradient, "gradient")
        return {"w": w, "b": b}
    # read when a training reads it: after the update, so that a loss that changes meanwhile is seen
    trainee.board.enter("update", step)
    backend.update(weights, gradient, learning_rate)
    return {"loss": trainee.read("loss", loss, ())}


class _Answers:
    """Collects copies of what a backend returns, in the order of the points."""

    def __init__(self, trainee: Trainee) -> None:
        self._trainee = trainee
        self._dtype = trainee.dtype
        self.loss: list[Array] = []
        self.gradients: list[tuple[Array, Array]] = []
        self.following: list[tuple[Array, Array]] = []
        self.kept: list[tuple[Array, Array]] = []

    def arrays(self, points: int, *, fused: bool) -> dict[str, Array]:
        d = len(self._trainee.inputs.w0)

        def both(name: str, pairs: list[tuple[Array, Array]], *shape: int) -> dict[str, Array]:
            w = np.array([pair[0] for pair in pairs], dtype=self._dtype).reshape(*shape, d)
            b = np.array([pair[1] for pair in pairs], dtype=self._dtype).reshape(*shape)
            return {f"{name}_w": w, f"{name}_b": b}

        found = {"loss": np.array(self.loss, dtype=self._dtype).reshape(points, 2)}
        if not fused:
            found |= both("gradient", self.gradients, points, 2)
            found |= both("kept", self.kept, points)
        return found | both("next", self.following, points, 2 if fused else 1)


def _visit(trainee: Trainee, i: int, point: Weights, batch: Batch, learning_rate: float, answers: _Answers) -> None:
    """Point number i: forward and backward twice on the same tensors, then the update."""
    backend, weights, enter = trainee.backend, trainee.weights(*point), trainee.board.enter
    gradient: Any = None
    for _ in range(2):
        enter("forward", i)
        loss, tape = trainee.forward(weights, batch)
        enter("backward", i)
        gradient = backend.backward(tape)
        answers.loss.append(trainee.read("loss", loss, ()))
        answers.gradients.append(trainee.read_weights(gradient, "gradient"))
    answers.kept.append(trainee.read_weights(weights))
    enter("update", i)
    answers.following.append(trainee.read_weights(backend.update(weights, gradient, learning_rate)))


def _visit_fused(trainee: Trainee, w: Array, b: Array, batch: Batch, learning_rate: float, answers: _Answers) -> None:
    """One point: the backend's own step twice, on fresh tensors, for it consumes them."""
    for _ in range(2):
        loss, following = trainee.step(trainee.weights(w, b), batch, learning_rate)
        answers.following.append(trainee.read_weights(following))
        answers.loss.append(trainee.read("loss", loss, ()))
