"""The clock: what is timed, and nothing else inside.

Every function here restores its state outside the clock, reads the clock around complete work (`synchronize` has
returned and the results have been read), and looks at no value before the clock has stopped. Loops call bound methods:
a pluggy hook per phase would add 5 µs to a 10 µs step, an attribute lookup nothing measurable.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter_ns, process_time_ns, sleep
from typing import Any, TypeAlias

import numpy as np

from compare_ag.backend import Backend, Batch, Weights
from compare_ag.worker.protocol import Timed
from compare_ag.worker.training import Trainee

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TIMED_BATCHES = 8
"""mini-batches that the clock cycles through, made into tensors beforehand"""
READINGS = 100
LOOKS = 3
"""the first has something to warm up, and what remains may be interrupted: the shortest is subtracted"""
LOOK_SECONDS = 0.0005
RESTING = 0.1
"""CPU time per wall time of a process whose threads wait; the look itself costs a few per cent"""
LONGEST_SETTLE_NS = 100_000_000


def timed_batches(trainee: Trainee) -> list[Batch]:
    """The batches to time on: all data, or the first few of the run's own order."""
    size = trainee.inputs.batch_size
    if size is None:
        return [trainee.data]
    per_epoch = -(-len(trainee.inputs.y) // size)
    return [trainee.batch(step) for step in range(min(TIMED_BATCHES, per_epoch))]


def first_steps(
    trainee: Trainee, learning_rate: float, most: int, nanoseconds: int, *, phased: bool
) -> tuple[Array, list[int]]:
    """Nanoseconds of each of this process's first steps (T,), and of the phases of the very first if asked for.

    At most ``most`` steps, and for about so many nanoseconds after the first one. Compilation is part of the first.
    """
    step, synchronize = trainee.backend.step, trainee.backend.synchronize
    weights = trainee.weights(trainee.inputs.w0, trainee.inputs.b0)
    batch = trainee.batch(0)
    trainee.synchronize(weights, batch)
    phases: list[int] = []
    times: list[int] = []
    deadline = 0
    while len(times) < most and (not times or perf_counter_ns() < deadline):
        if phased and not times and trainee.backend.splits:
            phases = [0, 0, 0]
            weights = _phased(trainee, weights, [batch], 1, learning_rate, phases)
            times.append(max(1, sum(phases)))
        else:
            start = perf_counter_ns()
            loss, weights = step(weights, batch, learning_rate)
            synchronize(loss, *weights)
            times.append(max(1, perf_counter_ns() - start))
        if len(times) == 1:
            deadline = perf_counter_ns() + nanoseconds
    return np.array(times, dtype=np.int64), phases


def whole_block(
    trainee: Trainee, batches: list[Batch], w: Array, b: Array, steps: int, lead_in: int, learning_rate: float
) -> Timed:
    """Time ``steps`` whole steps from the checkpoint (w, b), after ``lead_in`` untimed ones.

    The last loss and weights are read inside the clock: they depend on every update, so that none can be put off. What
    reading costs where there is nothing to wait for is subtracted: it is no part of a step, and of one step of 300 µs
    it would be 2 % (numpy) to 4 % (torch).
    """
    backend = trainee.backend
    step, read = backend.step, backend.to_numpy
    weights = _lead_in(trainee, batches, w, b, lead_in, learning_rate)
    looking = looking_ns(trainee, w, b)
    loss: Any = None
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    cpu = process_time_ns()
    start = perf_counter_ns()
    for batch in islice(cycle(batches), steps):
        loss, weights = step(weights, batch, learning_rate)
    trainee.synchronize((loss,), weights)
    read(loss), read(weights[0]), read(weights[1])
    wall = perf_counter_ns() - start
    cpu = process_time_ns() - cpu
    wall, cpu = max(1, wall - looking), max(0, cpu - looking)
    return Timed(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches, [], 0, 0)


def phased_block(
    trainee: Trainee, batches: list[Batch], w: Array, b: Array, steps: int, lead_in: int, learning_rate: float
) -> Timed:
    """The same steps with a clock reading between the phases, less what reading and an empty wait cost."""
    weights = trainee.weights(w, b)
    weights = _phased(trainee, weights, batches, lead_in, learning_rate, [0, 0, 0])
    trainee.synchronize(weights)
    phases = [0, 0, 0]
    weights = _phased(trainee, weights, batches, steps, learning_rate, phases)
    overhead = steps * reading_ns(lambda: trainee.backend.synchronize(*weights))
    phases = [max(0, phase - overhead) for phase in phases]
    return Timed(max(1, sum(phases)), 0, 0, phases, 0, 0)


def audit_block(
    trainee: Trainee, batches: list[Batch], w: Array, b: Array, steps: int, lead_in: int, learning_rate: float
) -> Timed:
    """The same steps with every loss kept: is anything still to be done once the clock has stopped?

    After `synchronize`, all losses and weights are read. What that takes beyond as many reads of a tensor whose value
    is certainly there is work that was put off. Also measures the same number of steps of a backend that does nothing.
    """
    backend = trainee.backend
    step, read = backend.step, backend.to_numpy
    weights = _lead_in(trainee, batches, w, b, lead_in, learning_rate)
    losses: list[Any] = [None] * steps
    start = perf_counter_ns()
    for i, batch in enumerate(islice(cycle(batches), steps)):
        losses[i], weights = step(weights, batch, learning_rate)
    trainee.synchronize((losses[-1],), weights)
    wall = perf_counter_ns() - start
    for tensor in (*losses, *weights):
        read(tensor)
    pending = perf_counter_ns() - start - wall
    there = backend.make_tensor(b)
    backend.synchronize(there)
    read(there)
    again = perf_counter_ns()
    for _ in range(steps + len(weights)):
        read(there)
    pending -= perf_counter_ns() - again
    return Timed(max(1, wall), 0, 0, [], max(0, pending), _interface(backend, batches, steps))


def _lead_in(trainee: Trainee, batches: list[Batch], w: Array, b: Array, lead_in: int, learning_rate: float) -> Weights:
    """The checkpoint (w, b) restored and a few untimed steps made: caches and branch predictors find their state."""
    step = trainee.backend.step
    weights = trainee.weights(w, b)
    for batch in islice(cycle(batches), lead_in):
        _, weights = step(weights, batch, learning_rate)
    trainee.synchronize(weights)
    return weights


def _phased(
    trainee: Trainee, weights: Weights, batches: list[Batch], steps: int, learning_rate: float, phases: list[int]
) -> Weights:
    """Make steps by phases and add the nanoseconds of each to ``phases``."""
    backend = trainee.backend
    forward, backward, update, synchronize = backend.forward, backend.backward, backend.update, backend.synchronize
    f = g = u = 0
    for batch in islice(cycle(batches), steps):
        t0 = perf_counter_ns()
        loss, tape = forward(weights, batch)
        synchronize(loss)
        t1 = perf_counter_ns()
        gradient = backward(tape)
        synchronize(*gradient)
        t2 = perf_counter_ns()
        weights = update(weights, gradient, learning_rate)
        synchronize(*weights)
        t3 = perf_counter_ns()
        f, g, u = f + t1 - t0, g + t2 - t1, u + t3 - t2
    phases[0] += f
    phases[1] += g
    phases[2] += u
    return weights


def looking_ns(trainee: Trainee, w: Array, b: Array) -> int:
    """What it takes to wait for a loss and weights that are certainly there, and to read them.

    They are made from numpy and have been read before, so that a lazy backend has nothing left to do for them.
    """
    read = trainee.backend.to_numpy
    weights, loss = trainee.weights(w, b), trainee.backend.make_tensor(b)
    taken = []
    for _ in range(LOOKS):
        start = perf_counter_ns()
        trainee.synchronize((loss,), weights)
        read(loss), read(weights[0]), read(weights[1])
        taken.append(perf_counter_ns() - start)
    return min(taken)


def settle() -> bool:
    """Wait until this process's threads rest, at most 0.1 s; tell whether they do.

    The threads of a pool spin for milliseconds after their work, in case more of it comes, on CPUs that the next
    block, another worker's, is timed on. Which process time goes on without us shows it for any pool.
    """
    end = perf_counter_ns() + LONGEST_SETTLE_NS
    while perf_counter_ns() < end:
        cpu, wall = process_time_ns(), perf_counter_ns()
        sleep(LOOK_SECONDS)
        if process_time_ns() - cpu <= RESTING * (perf_counter_ns() - wall):
            return True
    return False


def reading_ns(wait: Callable[[], None], readings: int = READINGS) -> int:
    """What one reading of the clock and a ``wait`` for what is there already add to the interval that they end."""
    gaps = []
    for _ in range(readings):
        start = perf_counter_ns()
        wait()
        gaps.append(perf_counter_ns() - start)
    return sorted(gaps)[readings // 2]


class _Nothing(Backend):
    """A backend that does nothing: what a step costs that is no work of any framework's."""

    def prepare(self, setting: Any) -> None:
        """Nothing."""

    def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Any:  # noqa: ARG002 - the contract's
        """The array itself."""
        return array

    def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:  # noqa: ARG002 - the contract's
        """No loss, and the weights as tape."""
        return None, weights

    def backward(self, tape: Any) -> Weights:
        """The tape."""
        return Weights(*tape)

    def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:  # noqa: ARG002 - as above
        """The gradient."""
        return Weights(*gradient)

    def to_numpy(self, tensor: Any) -> Array:
        """The tensor itself."""
        array: Array = tensor
        return array


def _interface(backend: Backend, batches: list[Batch], steps: int) -> int:
    """Nanoseconds that ``steps`` steps through the contract take where nothing is computed: loop, calls, tuples."""
    if type(backend).step is not Backend.step:
        return 0  # a step of its own goes through no verb

    step = _Nothing().step
    weights = Weights(None, None)
    times = []
    for _ in range(5):
        start = perf_counter_ns()
        for batch in islice(cycle(batches), steps):
            _, weights = step(weights, batch, 0.0)
        times.append(perf_counter_ns() - start)
    return sorted(times)[len(times) // 2]
