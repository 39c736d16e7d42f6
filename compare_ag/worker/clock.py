"""The clock: what is timed, and nothing else inside.

Every function here restores its state outside the clock, reads the clock around complete work (`synchronize`
has returned) and reads no value inside. Loops call bound methods: a pluggy hook per phase would add 5 µs to a
10 µs step, an attribute lookup nothing measurable.
"""

from __future__ import annotations

import resource
from itertools import cycle, islice
from time import perf_counter_ns, process_time_ns
from typing import Any, TypeAlias

import numpy as np

from compare_ag.backend import Batch, Weights
from compare_ag.worker.training import Trainee

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TIMED_BATCHES = 8
"""mini-batches that the clock cycles through, made into tensors beforehand"""


def timed_batches(trainee: Trainee) -> list[Batch]:
    """The batches to time on: all data, or the first few of the run's own order."""
    size = trainee.inputs.batch_size
    if size is None:
        return [trainee.data]
    per_epoch = -(-len(trainee.inputs.y) // size)
    return [trainee.batch(step) for step in range(min(TIMED_BATCHES, per_epoch))]


def first_step(trainee: Trainee, learning_rate: float) -> tuple[int, list[int]]:
    """Nanoseconds of this process's first step from the start, whole and by phase (empty if it does not split)."""
    backend = trainee.backend
    weights = trainee.weights(trainee.inputs.w0, trainee.inputs.b0)
    batch = trainee.batch(0)
    trainee.synchronize(weights, batch)
    if not backend.splits:
        start = perf_counter_ns()
        loss, weights = backend.step(weights, batch, learning_rate)
        trainee.synchronize((loss,), weights)
        return perf_counter_ns() - start, []
    phases = [0, 0, 0]
    _phased(trainee, weights, [batch], 1, learning_rate, phases)
    return sum(phases), phases


def burst(
    trainee: Trainee, batches: list[Batch], w: Array, b: Array, steps: int, lead_in: int, learning_rate: float
) -> tuple[int, int, int]:
    """Time ``steps`` whole steps from the checkpoint (w, b), after ``lead_in`` untimed ones.

    Returns wall nanoseconds, CPU nanoseconds and involuntary context switches.
    """
    step = trainee.backend.step
    weights = trainee.weights(w, b)
    for batch in islice(cycle(batches), lead_in):
        _, weights = step(weights, batch, learning_rate)
    trainee.synchronize(weights)
    loss: Any = None
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    cpu = process_time_ns()
    start = perf_counter_ns()
    for batch in islice(cycle(batches), steps):
        loss, weights = step(weights, batch, learning_rate)
    trainee.synchronize((loss,), weights)
    wall = perf_counter_ns() - start
    return wall, process_time_ns() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches


def phased_burst(
    trainee: Trainee, batches: list[Batch], w: Array, b: Array, steps: int, lead_in: int, learning_rate: float
) -> list[int]:
    """The same burst with a clock reading between the phases: nanoseconds of forward, backward, update."""
    weights = trainee.weights(w, b)
    weights = _phased(trainee, weights, batches, lead_in, learning_rate, [0, 0, 0])
    trainee.synchronize(weights)
    phases = [0, 0, 0]
    _phased(trainee, weights, batches, steps, learning_rate, phases)
    overhead = steps * clock_reading_ns()
    return [max(0, phase - overhead) for phase in phases]


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


def clock_reading_ns(readings: int = 200) -> int:
    """What one reading of the clock adds to the interval it ends (35 to 40 ns on current machines)."""
    gaps = sorted(-(perf_counter_ns() - perf_counter_ns()) for _ in range(readings))
    return gaps[readings // 2]
