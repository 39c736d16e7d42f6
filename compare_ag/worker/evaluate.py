"""Answers at points that the host chose: the call protocol, and single parts of a step.

The points arrive after the plugin was loaded, so that it cannot prepare for them. The host names the same point more
than once, with others between, and each visit is evaluated twice on the same tensors. The host judges whether the
answers are right; this process receives points, never results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compare_ag.contract.backend import Batch, Weights
from compare_ag.worker.messages import Read
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
) -> tuple[dict[str, Array], bool, list[Read]]:
    """The arrays of an `Evaluated` reply at the points w (P, d), b (P,), and its two fields.

    first: the number of the first point, for the progress board. data: X (n', d) and y (n',) instead of the prepared.
    """
    backend = trainee.backend
    sent = data if data is not None else (trainee.inputs.X, trainee.inputs.y)
    batch = trainee.data if data is None else Batch(*map(backend.make_tensor, sent))
    answers = _Answers(trainee)
    for i in range(len(b)):
        if fused:
            trainee.board.enter("step", first + i)
            _visit_fused(trainee, w[i], b[i], batch, learning_rate, answers)
        else:
            _visit(trainee, first + i, Weights(w[i], b[i]), batch, learning_rate, answers)
    trainee.board.enter("finish")
    data_unchanged = _same(_read_data(trainee, batch, sent), sent)
    if not data_unchanged and _reading_changes_data(trainee, w, b, sent, learning_rate, fused=fused):
        answers.changed_by_reading.add("X or y")
    return answers.arrays(len(b), fused=fused), data_unchanged, sorted(answers.changed_by_reading)


def exchange(
    trainee: Trainee, part: str, step: int, arrays: dict[str, Array], learning_rate: float
) -> dict[str, Array]:
    """One part of a training step: the loss () of a point, its gradient w (d,), b (), or an update of given weights.

    Or, through the backend's own step, the loss and the new weights.

    Raises `MalformedError` where the backend's answer does not have the contract's form.
    """
    backend = trainee.backend
    weights = trainee.weights(arrays["w"], arrays["b"])
    if part == "update":
        trainee.board.enter("update", step)
        gradient = Weights(backend.make_tensor(arrays["gw"]), backend.make_tensor(arrays["gb"]))
        w, b = trainee.read_weights(backend.update(weights, gradient, learning_rate))
        return {"w": w, "b": b}
    if part == "step":
        trainee.board.enter("step", step)
        loss, following = trainee.step(weights, trainee.batch(step), learning_rate)
        w, b = trainee.read_weights(following)
        return {"loss": trainee.read("loss", loss, ()), "w": w, "b": b}
    trainee.board.enter("forward", step)
    loss, tape = trainee.forward(weights, trainee.batch(step))
    trainee.board.enter("backward", step)
    gradient = backend.backward(tape)
    if part == "gradient":
        w, b = trainee.read_weights(gradient, "gradient")
        return {"w": w, "b": b}
    # read at the same time as in a training: after the update, so that a loss that changes meanwhile is noticed
    trainee.board.enter("update", step)
    backend.update(weights, gradient, learning_rate)
    return {"loss": trainee.read("loss", loss, ())}


class _Answers:
    """Collects copies of the values that a backend returns, in the order of the points."""

    def __init__(self, trainee: Trainee) -> None:
        self._trainee = trainee
        self._dtype = trainee.dtype
        self.loss: list[Array] = []
        self.gradients: list[tuple[Array, Array]] = []
        self.following: list[tuple[Array, Array]] = []
        self.kept: list[tuple[Array, Array]] = []
        self.changed_by_reading: set[Read] = set()

    def arrays(self, points: int, *, fused: bool) -> dict[str, Array]:
        d = len(self._trainee.inputs.w0)

        def both(name: str, pairs: list[tuple[Array, Array]], *shape: int) -> dict[str, Array]:
            w = np.array([pair[0] for pair in pairs], dtype=self._dtype).reshape(*shape, d)
            b = np.array([pair[1] for pair in pairs], dtype=self._dtype).reshape(*shape)
            return {f"{name}_w": w, f"{name}_b": b}

        arrays = {"loss": np.array(self.loss, dtype=self._dtype).reshape(points, 2)}
        if not fused:
            arrays |= both("gradient", self.gradients, points, 2)
            arrays |= both("kept", self.kept, points)
        return arrays | both("next", self.following, points, 2 if fused else 1)


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
    enter("to_numpy", i)
    if not _same([trainee.read("loss", loss, ())], answers.loss[-1:]):
        answers.changed_by_reading.add("the loss")
    if not _same(trainee.read_weights(gradient, "gradient"), answers.gradients[-1]):
        answers.changed_by_reading.add("the gradient")
    answers.kept.append(trainee.read_weights(weights))
    read_again = _same(trainee.read_weights(weights), answers.kept[-1])
    if not read_again or (not _same(answers.kept[-1], point) and _reading_changes_weights(trainee, i, point, batch)):
        answers.changed_by_reading.add("the weights")
    enter("update", i)
    answers.following.append(trainee.read_weights(backend.update(weights, gradient, learning_rate)))


def _visit_fused(trainee: Trainee, w: Array, b: Array, batch: Batch, learning_rate: float, answers: _Answers) -> None:
    """One point: the backend's own step twice, on fresh tensors, because it consumes them."""
    for _ in range(2):
        loss, following = trainee.step(trainee.weights(w, b), batch, learning_rate)
        answers.following.append(trainee.read_weights(following))
        answers.loss.append(trainee.read("loss", loss, ()))


# --- whether reading changes the tensor that is read: evaluations repeated with other readings


def _same(arrays: Sequence[Array], expected: Sequence[Array]) -> bool:
    """Whether all have the same bits, except for signs of zeros; NaN equals NaN."""
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, expected, strict=True))


def _read_data(trainee: Trainee, batch: Batch, sent: tuple[Array, Array]) -> tuple[Array, Array]:
    return trainee.read("X", batch.X, sent[0].shape), trainee.read("y", batch.y, sent[1].shape)


def _reading_changes_weights(trainee: Trainee, i: int, point: Weights, batch: Batch) -> bool:
    """Whether weights that changed at a point were changed by `to_numpy`, not by forward or backward.

    `to_numpy` did it where weights that were only read have changed, and where forward and backward leave the weights
    unchanged while neither loss nor gradient is read.
    """
    weights = trainee.weights(*point)
    if not all(_same(trainee.read_weights(weights), point) for _ in range(2)):
        return True
    weights = trainee.weights(*point)
    for _ in range(2):
        trainee.board.enter("forward", i)
        _, tape = trainee.forward(weights, batch)
        trainee.board.enter("backward", i)
        trainee.backend.backward(tape)
    return _same(trainee.read_weights(weights), point)


def _reading_changes_data(
    trainee: Trainee, w: Array, b: Array, sent: tuple[Array, Array], learning_rate: float, *, fused: bool
) -> bool:
    """The same for X and y, which changed somewhere on the route: the route is repeated with no reading on the way."""
    make, enter = trainee.backend.make_tensor, trainee.board.enter
    batch = Batch(*map(make, sent))
    if not all(_same(_read_data(trainee, batch, sent), sent) for _ in range(2)):
        return True
    batch = Batch(*map(make, sent))
    for i in range(len(b)):
        weights = trainee.weights(w[i], np.asarray(b[i]))
        for _ in range(2):
            if fused:
                enter("step", i)
                trainee.step(trainee.weights(w[i], np.asarray(b[i])), batch, learning_rate)
                continue
            enter("forward", i)
            _, tape = trainee.forward(weights, batch)
            enter("backward", i)
            gradient = trainee.backend.backward(tape)
        if not fused:
            enter("update", i)
            trainee.backend.update(weights, gradient, learning_rate)
    return _same(_read_data(trainee, batch, sent), sent)
