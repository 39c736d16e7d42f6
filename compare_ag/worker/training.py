"""The training loop of the correctness pass: train one backend and record its losses, weights and gradients.

It reads every loss and copies weights, so nothing here is timed (the clock is in `worker.clock`). Values without the
contract's shape and dtype stop the run with a message that names them. The host judges whether they are *right*,
against a reference that this process never receives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, perf_counter  # bound now: a plugin may replace time's own
from typing import Any, TypeAlias

import numpy as np

from compare_ag.contract.backend import Backend, Batch, Setting, Weights
from compare_ag.problem.core import batch_rows, digest_arrays
from compare_ag.worker.board import CODE, NO_STEP, Board, Tail, TailRoom

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CHUNK_SECONDS = 0.2
"""results are sent at least this often, so that a crash loses little"""


Emit: TypeAlias = Callable[[int, list[int], list[int], dict[str, Array]], None]
"""takes the number of losses sent before, the steps of the weights, the steps of the gradients, and the arrays"""


class MalformedError(Exception):
    """The backend returned a value that the contract does not allow."""


@dataclass(frozen=True)
class Inputs:
    """The arrays as the host sent them, read-only, and their division into batches."""

    X: Array
    y: Array
    w0: Array
    b0: Array
    order: Array
    batch_size: int | None

    def digest(self) -> str:
        """sha256 of the bits, to be compared with the host's before and after training."""
        return digest_arrays(self.X, self.y, self.w0, self.b0)


class Trainee:
    """One backend with its data as tensors, ready to train or to be timed."""

    def __init__(self, backend: Backend, setting: Setting, inputs: Inputs, board: Board) -> None:
        self.backend = backend
        self.inputs = inputs
        self.board = board
        self.dtype = np.dtype(setting.dtype)
        self.threads = setting.threads
        self.cpu_mark = 0
        """CPU time of the process, in ns, at the end of its last timed block"""
        self.stamping_ns = 0
        """nanoseconds to read the clock after a step; 0 where not measured"""
        board.enter("prepare")
        start = perf_counter()
        backend.prepare(setting)
        self.prepare_seconds = perf_counter() - start
        board.enter("make_tensor")
        start = perf_counter()
        self.data = Batch(backend.make_tensor(inputs.X), backend.make_tensor(inputs.y))
        self.synchronize(self.data, self.weights(inputs.w0, inputs.b0))
        self.make_tensor_seconds = perf_counter() - start
        self._check_data()

    def renew(self) -> None:
        """Make the data tensors anew: the same values elsewhere in memory, while the old tensors still exist."""
        make = self.backend.make_tensor
        self.data = Batch(make(self.inputs.X), make(self.inputs.y))
        self.synchronize(self.data)

    def weights(self, w: Array, b: Array) -> Weights:
        """Fresh weight tensors with the values of w (d,) and b (), which may be a scalar of numpy's."""
        make = self.backend.make_tensor
        return Weights(make(w, requires_grad=True), make(np.asarray(b), requires_grad=True))

    def synchronize(self, *groups: tuple[Any, ...]) -> None:
        """Wait until every tensor of these tuples exists."""
        self.backend.synchronize(*(tensor for group in groups for tensor in group))

    def batch(self, step: int) -> Batch:
        """The batch of this step: all data, or the rows that the host's order names."""
        size = self.inputs.batch_size
        if size is None:
            return self.data
        rows = batch_rows(self.inputs.order, size, len(self.inputs.y), step)
        make = self.backend.make_tensor
        return Batch(make(self.inputs.X[rows]), make(self.inputs.y[rows]))

    def batches(self) -> Iterator[Batch]:
        """The batches of step 0, 1, 2, …"""
        step = 0
        while True:
            yield self.batch(step)
            step += 1

    def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
        """The backend's loss and tape. Raises `MalformedError` where it does not return two things."""
        return self._two("forward", "(loss, tape)", self.backend.forward(weights, batch))

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Any]:
        """The loss and the new weights of the backend's own step. Raises `MalformedError` as `forward`."""
        return self._two("step", "(loss, weights)", self.backend.step(weights, batch, learning_rate))

    @staticmethod
    def _two(verb: str, expected: str, result: Any) -> tuple[Any, Any]:
        if not isinstance(result, tuple | list) or len(result) != 2:
            got = f"{len(result)} values" if isinstance(result, tuple | list) else type(result).__name__
            raise MalformedError(f"{verb} must return {expected}, got {got}")
        return result[0], result[1]

    def read(self, name: str, tensor: Any, shape: tuple[int, ...]) -> Array:
        """A copy of the tensor's values. Raises `MalformedError` unless type, dtype and shape fit the contract."""
        return self.check_array(name, self.backend.to_numpy(tensor), shape)

    def check_array(self, name: str, value: object, shape: tuple[int, ...]) -> Array:
        """A copy of the return value of `to_numpy`. Raises `MalformedError` as `read` does."""
        if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
            raise MalformedError(f"{name}: to_numpy must return a numpy array, got {type(value).__name__}")
        if value.dtype != self.dtype or value.shape != shape:
            expected = f"{self.dtype} array of shape {shape}"
            raise MalformedError(f"{name}: expected {expected}, got {value.dtype} of shape {value.shape}")
        return np.array(value)

    def read_weights(self, weights: Weights, name: str = "weights") -> tuple[Array, Array]:
        """Copies of w (d,) and b ()."""
        try:
            w, b = weights
        except (TypeError, ValueError):
            raise MalformedError(f"{name}: expected Weights(w, b), got {type(weights).__name__}") from None
        return self.read(f"{name}.w", w, self.inputs.w0.shape), self.read(f"{name}.b", b, ())

    def _check_data(self) -> None:
        """Check that the tensors hold the values that were sent, bit for bit."""
        for name, tensor, sent in (("X", self.data.X, self.inputs.X), ("y", self.data.y, self.inputs.y)):
            values = self.read(f"make_tensor({name})", tensor, sent.shape)
            if not np.array_equal(values, sent):
                again = self.read(f"make_tensor({name})", tensor, sent.shape)
                if not np.array_equal(values, again, equal_nan=True):
                    raise MalformedError(f"to_numpy({name}): a second reading differs: it writes into what it reads")
                raise MalformedError(f"make_tensor({name}): its values differ from the array's")


class Recorder:
    """Collects losses, weights and gradients in the tail that the host can read, and hands them on in chunks.

    emit: sends a chunk. require_channel: raises where the channel to the host is closed; otherwise a plugin that closes
      it would be noticed only at the next chunk, many steps later.
    """

    def __init__(
        self, trainee: Trainee, record: list[int], emit: Emit, require_channel: Callable[[], None] = lambda: None
    ) -> None:
        self._trainee = trainee
        self._pairs = frozenset(record)
        self._wanted = self._pairs | {k + 1 for k in record}
        self._emit = emit
        self._require_channel = require_channel
        self._first = 0
        self._tail = Tail(TailRoom(len(trainee.inputs.w0), trainee.dtype.name), trainee.board.descriptor)
        self._clear()

    def _clear(self) -> None:
        self._tail.clear(self._first)
        self._steps: list[int] = []
        self._gradient_steps: list[int] = []
        self._due = monotonic() + CHUNK_SECONDS

    def weights(self, step: int, weights: Weights) -> None:
        """Record the weights of this step where they are wanted, and the full-data loss at pairs' first steps."""
        if step not in self._wanted:
            return
        trainee = self._trainee
        w, b = trainee.read_weights(weights)
        self._steps.append(step)
        self._tail.add_weights(w, b)
        if trainee.inputs.batch_size is not None and step in self._pairs:
            # on copies: forward may keep references to the weights that it was given
            loss, _ = trainee.forward(trainee.weights(w, b), trainee.data)
            self._tail.add_full_loss(trainee.read("loss", loss, ()))

    def gradient(self, step: int, gradient: Weights) -> None:
        """Record the gradient of this step where it is wanted."""
        if step not in self._pairs:
            return
        w, b = self._trainee.read_weights(gradient, "gradient")
        self._gradient_steps.append(step)
        self._tail.add_gradient(w, b)

    def loss(self, loss: Any) -> None:
        """Record the loss of the next step; send the collected results when it is time."""
        self._tail.add_loss(self._trainee.read("loss", loss, ()))
        self._require_channel()
        if self._tail.is_full or monotonic() > self._due:
            self.flush()

    def flush(self) -> None:
        """Send the collected results, if there are any."""
        if not self._tail.losses and not self._steps:
            return
        self._emit(self._first, self._steps, self._gradient_steps, self._tail.copies())
        self._first += self._tail.losses
        self._clear()


def train(
    trainee: Trainee, steps: int, learning_rate: float, recorder: Recorder, *, fused: bool
) -> tuple[Array, Array]:
    """Make ``steps`` updates from the start, recording the loss before each and after the last.

    Returns the final weights w (d,) and b (). The last forward is not followed by an update.
    """
    inputs = trainee.inputs
    weights = trainee.weights(inputs.w0, inputs.b0)
    batches = trainee.batches()
    loop = _fused_steps if fused else _phased_steps
    weights = loop(trainee, weights, batches, steps, learning_rate, recorder)
    trainee.board.enter("forward", steps)
    recorder.weights(steps, weights)
    final = trainee.read_weights(weights)
    loss, _ = trainee.forward(weights, next(batches))
    recorder.loss(loss)
    recorder.flush()
    return final


def _phased_steps(
    trainee: Trainee, weights: Weights, batches: Iterator[Batch], steps: int, learning_rate: float, recorder: Recorder
) -> Weights:
    forward, backward, update = trainee.forward, trainee.backend.backward, trainee.backend.update
    cells = trainee.board.cells
    to_forward, to_backward, to_update, to_read = (CODE[p] for p in ("forward", "backward", "update", "to_numpy"))
    for step in range(steps):
        cells[1], cells[0] = step, to_forward
        recorder.weights(step, weights)
        batch = next(batches)
        loss, tape = forward(weights, batch)
        cells[0] = to_backward
        gradient = backward(tape)
        recorder.gradient(step, gradient)
        cells[0] = to_update
        weights = update(weights, gradient, learning_rate)
        cells[0] = to_read
        recorder.loss(loss)
    cells[1] = NO_STEP
    return weights


def _fused_steps(
    trainee: Trainee, weights: Weights, batches: Iterator[Batch], steps: int, learning_rate: float, recorder: Recorder
) -> Weights:
    one_step, cells = trainee.step, trainee.board.cells
    for step in range(steps):
        cells[1], cells[0] = step, CODE["step"]
        recorder.weights(step, weights)
        loss, weights = one_step(weights, next(batches), learning_rate)
        recorder.loss(loss)
    return weights
