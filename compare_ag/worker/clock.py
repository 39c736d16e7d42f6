"""The clock: times the steps of a block, and nothing else.

A block restores its state outside the clock, makes a lead-in of untimed steps, and then the steps that count, with a
reading of the clock after each:

    make_tensor │ lead-in │ probe │ step │ step │ probe │ … │ step │ synchronize, read loss and weights │ probe
                                start    t₁     t₂            …    t_k                                 end

end − start less the probes is the block's wall time, and the differences of the t are its single steps. An eager
backend has done a step's work when `step` returns, so that the two agree. A backend that defers work pays at the end,
so that only the block counts; the host compares the two and decides. No value is looked at before the clock has
stopped. Loops call bound methods: a pluggy hook per phase would add 5 µs to a 10 µs step, an attribute lookup nothing
measurable.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from time import perf_counter_ns, process_time_ns, sleep
from typing import Any, TypeAlias, TypeVar

import numpy as np

from compare_ag.contract.backend import Backend, Batch, Weights
from compare_ag.worker import messages
from compare_ag.worker.messages import MOST_BLOCK_STEPS, Audited, Timed
from compare_ag.worker.training import Trainee

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")

READINGS = 100
LOOKS = 3
"""the first wait has work to do, and a later wait may be interrupted: the shortest is subtracted"""
PROBED = bytes(500)
"""what a probe adds up: two microseconds, twenty times the time to read the clock"""
LOOK_SECONDS = 0.0005
REST_SECONDS = 5e-5
RESTING = 0.1
"""CPU time per wall time of a process whose threads wait; the measurement itself takes a few per cent"""
LONGEST_SETTLE_NS = 100_000_000


def timed_batches(trainee: Trainee) -> list[Batch]:
    """The batches to time on: all data, or the first few of the run's own order."""
    size = trainee.inputs.batch_size
    if size is None:
        return [trainee.data]
    return [trainee.batch(step) for step in range(messages.timed_batches(len(trainee.inputs.y), size))]


def first_steps(trainee: Trainee, learning_rate: float, most: int, nanoseconds: int) -> Array:
    """Nanoseconds of each of this process's first steps (T,).

    At most ``most`` steps, and for about so many nanoseconds after the first one. Compilation is part of the first.
    """
    step, synchronize = trainee.backend.step, trainee.backend.synchronize
    weights = trainee.weights(trainee.inputs.w0, trainee.inputs.b0)
    batch = trainee.batch(0)
    trainee.synchronize(weights, batch)
    times: list[int] = []
    deadline = 0
    while len(times) < most and (not times or perf_counter_ns() < deadline):
        start = perf_counter_ns()
        loss, weights = step(weights, batch, learning_rate)
        synchronize(loss, *weights)
        times.append(max(1, perf_counter_ns() - start))
        if len(times) == 1:
            deadline = perf_counter_ns() + nanoseconds
    return np.array(times, dtype=np.int64)


def at_depth(depth: int, call: Callable[[], T]) -> T:
    """Make ``call`` so many calls deep: each moves the C stack and Python's own by a few hundred bytes.

    The system draws the position of the stack once for each process, and it decides 1 % of a step of 12 µs: within one
    numpy process, blocks at 24 depths had a standard deviation of 1.0 %, and two halves of them agreed within 0.2 %.
    Drawn for each block, it is averaged within a launch.
    """
    # since Python 3.11 a call from Python to Python does not move the C stack, so the call goes through C's map
    return next(map(lambda _: at_depth(depth - 1, call), (None,))) if depth else call()  # noqa: C417 - through C


class _Block:
    """The frame around the steps of a block: weights restored, lead-in made, activity of the process recorded."""

    def __init__(self, trainee: Trainee, batches: list[Batch], w: Array, b: Array) -> None:
        self._trainee = trainee
        self._idle_cpu = process_time_ns() - trainee.cpu_mark if trainee.cpu_mark else 0
        self.looking = looking_ns(trainee, w, b)
        self.upcoming = cycle(batches)
        self._began = perf_counter_ns()
        self.weights = trainee.weights(w, b)
        self._made = perf_counter_ns()

    def begin(self) -> None:
        """Mark the end of the lead-in and the start of the counted steps."""
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu = process_time_ns()
        self._started = perf_counter_ns()

    def reply(self, wall: int, phases: list[int]) -> Timed:
        """The reply, built after the clock has stopped."""
        ended = perf_counter_ns()
        self._trainee.cpu_mark = process_time_ns()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Timed(
            wall_ns=max(1, wall),
            lead_ns=self._started - self._made,
            make_ns=self._made - self._began,
            span_ns=ended - self._began,
            inside_ns=ended - self._started,
            cpu_ns=self._trainee.cpu_mark - self._cpu,
            switches=usage.ru_nivcsw - self._usage.ru_nivcsw,
            waits=usage.ru_nvcsw - self._usage.ru_nvcsw,
            idle_cpu_ns=self._idle_cpu,
            phases=phases,
        )

    def results(self, loss: object, weights: tuple[object, object]) -> dict[str, Array]:
        """Copies of the arrays that `to_numpy` returned for the last loss and weights, in the contract's form."""
        check, d = self._trainee.check_array, self._trainee.inputs.w0.shape
        w, b = weights
        return {
            "loss": check("loss", loss, ()),
            "w": check("weights.w", w, d),
            "b": check("weights.b", b, ()),
        }


def probe() -> int:
    """Nanoseconds of a fixed piece of work that touches no data of the step, as a measure of the CPU's current speed.

    Another program on the other half of the same core, of this machine or of a virtual machine beside it, slows the
    code here by a half to twice, for a fraction of a millisecond at a time, and no counter shows it. The probes before
    and after a step show it, without use of the step's own time.

    The work is one call into C: a loop in Python took 1.27 to 1.65 µs, depending on the process, where this took 1.84
    to 1.87 µs (20 processes). And only a second pass counts, because a step with large arrays displaces this code from
    the caches: after one of 2 MB the first pass took 1.3 to 1.4 times as long, however quiet the machine was.
    """
    for _ in range(2):
        start = perf_counter_ns()
        sum(PROBED)
        taken = perf_counter_ns() - start
    return taken


def whole_block(
    trainee: Trainee,
    batches: list[Batch],
    w: Array,
    b: Array,
    steps: int,
    lead_in: int,
    learning_rate: float,
    segment: int = 0,
) -> tuple[Timed, dict[str, Array]]:
    """Time ``steps`` whole steps from the checkpoint (w, b), after ``lead_in`` untimed ones.

    segment: steps after which the CPU's speed is probed; 0: before and after the block only.

    The last loss and weights are read inside the clock: they depend on every update, so that no update can be deferred
    beyond it. The time to read values that exist already is subtracted, because it is no part of a step; of a step of
    300 µs it would be 2 % (numpy) to 4 % (torch). So is the time to read the clock after each step.
    """
    step, read, now = trainee.backend.step, trainee.backend.to_numpy, perf_counter_ns
    stamping = trainee.stamping_ns = trainee.stamping_ns or stamp_ns()
    stamps = [0] * (steps if steps <= MOST_BLOCK_STEPS else 0)
    segment = segment if segment and stamps else steps
    begun, probes = [], []
    block = _Block(trainee, batches, w, b)
    upcoming, weights = block.upcoming, block.weights
    loss: Any = None
    for batch in islice(upcoming, lead_in):
        _, weights = step(weights, batch, learning_rate)
    trainee.synchronize(weights)
    (
        read(weights[0]),
        read(weights[1]),
    )  # a lazy backend whose `synchronize` does not wait would pay for the lead-in below
    block.begin()
    for first in range(0, steps, segment):
        coming = enumerate(islice(upcoming, min(segment, steps - first)), first)
        probes.append(probe())
        begun.append(now())
        if stamps:
            for i, batch in coming:
                loss, weights = step(weights, batch, learning_rate)
                stamps[i] = now()
        else:
            for _, batch in coming:
                loss, weights = step(weights, batch, learning_rate)
    trainee.synchronize((loss,), weights)
    results = read(loss), (read(weights[0]), read(weights[1]))
    wall = now() - begun[0] - block.looking
    probes.append(probe())
    step_ns = np.empty(0, dtype=np.int64)
    if stamps:
        ends = np.array(stamps, dtype=np.int64)
        starts = np.concatenate([ends[:1], ends[:-1]])
        starts[::segment] = begun
        wall -= int((starts[1:] - ends[:-1]).sum()) + steps * stamping  # from the end of a segment to the next
        step_ns = np.maximum(ends - starts - stamping, 1)
    timed = block.reply(wall, [])
    return timed, {"step_ns": step_ns, "probe_ns": np.array(probes, dtype=np.int64), **block.results(*results)}


def phased_block(
    trainee: Trainee, batches: list[Batch], w: Array, b: Array, steps: int, lead_in: int, learning_rate: float
) -> tuple[Timed, dict[str, Array]]:
    """The same steps with a clock reading between the phases, less the time of a reading and of an empty wait."""
    read = trainee.backend.to_numpy
    block = _Block(trainee, batches, w, b)
    _, weights = _run_phases(trainee, block.weights, islice(block.upcoming, lead_in), learning_rate, [0, 0, 0])
    trainee.synchronize(weights)
    block.begin()
    phases = [0, 0, 0]
    loss, weights = _run_phases(trainee, weights, islice(block.upcoming, steps), learning_rate, phases)
    results = read(loss), (read(weights[0]), read(weights[1]))
    overhead = steps * reading_ns(lambda: trainee.backend.synchronize(*weights))
    phases = [max(0, phase - overhead) for phase in phases]
    return block.reply(sum(phases), phases), block.results(*results)


def audit_block(
    trainee: Trainee, batches: list[Batch], w: Array, b: Array, steps: int, lead_in: int, learning_rate: float
) -> Audited:
    """The same steps with every loss kept: does any work remain after the clock has stopped?

    After `synchronize`, all losses and weights are read. If that takes longer than to read as many tensors whose values
    surely exist, the difference is deferred work. There are two such comparisons: fresh tensors of the same shapes,
    each also read for the first time, and the same tensors read again, since a framework may read computed tensors more
    slowly than given ones. Two sets of fresh tensors differ by noise. Also measures as many steps of a backend that
    does nothing.
    """
    backend = trainee.backend
    step = backend.step
    weights = trainee.weights(w, b)
    upcoming = cycle(batches)
    for batch in islice(upcoming, lead_in):
        _, weights = step(weights, batch, learning_rate)
    trainee.synchronize(weights)
    losses: list[Any] = [None] * steps
    start = perf_counter_ns()
    for i, batch in enumerate(islice(upcoming, steps)):
        losses[i], weights = step(weights, batch, learning_rate)
    trainee.synchronize((losses[-1],), weights)
    wall = perf_counter_ns() - start

    def reading(tensors: Sequence[Any]) -> int:
        begun = perf_counter_ns()
        for tensor in tensors:
            backend.to_numpy(tensor)
        return perf_counter_ns() - begun

    def fresh() -> list[Any]:
        made = [*(backend.make_tensor(b) for _ in range(steps)), *trainee.weights(w, b)]
        trainee.synchronize(tuple(made))
        return made

    first, again = reading([*losses, *weights]), reading([*losses, *weights])
    there = [reading(fresh()) for _ in range(2)]
    return Audited(
        wall_ns=max(1, wall),
        pending_ns=max(0, first - max(again, *there)),
        noise_ns=abs(there[1] - there[0]),
        interface_ns=_interface(backend, batches, steps),
    )


def _run_phases(
    trainee: Trainee, weights: Weights, batches: Iterable[Batch], learning_rate: float, phases: list[int]
) -> tuple[Any, Weights]:
    """Make a step on each batch by phases, add nanoseconds to ``phases``; return the last loss and weights."""
    backend = trainee.backend
    forward, backward, update, synchronize = backend.forward, backend.backward, backend.update, backend.synchronize
    f = g = u = 0
    loss: Any = None
    for batch in batches:
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
    return loss, weights


def looking_ns(trainee: Trainee, w: Array, b: Array) -> int:
    """Nanoseconds to wait for a loss and weights that surely exist, and to read them.

    They are made from numpy and have been read before, so that a lazy backend has no work left for them.
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


def stamp_ns(readings: int = READINGS) -> int:
    """A step's share of the loop and of a reading of the clock after it, measured by a loop of readings alone."""
    stamps = [0] * readings
    now = perf_counter_ns
    for i, _ in enumerate(islice(cycle([None]), readings)):
        stamps[i] = now()
    return int(np.median(np.diff(stamps)))


def let_host_rest() -> None:
    """Yield this CPU for a moment, so that the host, which shares it, can go to sleep after its request.

    A request wakes the worker before the host waits for the reply. Without the pause the scheduler would run the host
    in the middle of the block, which would count as interrupted (every fifth did).
    """
    sleep(REST_SECONDS)


def settle() -> bool:
    """Wait until this process's threads rest, at most 0.1 s; return whether they do.

    The threads of a pool spin for milliseconds after their work, waiting for more, on the CPUs on which the next block,
    of another worker, is timed. Process time that passes while this thread sleeps shows it for any pool.
    """
    end = perf_counter_ns() + LONGEST_SETTLE_NS
    while perf_counter_ns() < end:
        cpu, wall = process_time_ns(), perf_counter_ns()
        sleep(LOOK_SECONDS)
        if process_time_ns() - cpu <= RESTING * (perf_counter_ns() - wall):
            return True
    return False


def reading_ns(wait: Callable[[], None], readings: int = READINGS) -> int:
    """The time that a reading of the clock and a ``wait`` for existing values add to the interval that they end."""
    gaps = []
    for _ in range(readings):
        start = perf_counter_ns()
        wait()
        gaps.append(perf_counter_ns() - start)
    return sorted(gaps)[readings // 2]


class _Nothing(Backend):
    """A backend that does nothing: its steps measure the cost of the harness."""

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
    """Nanoseconds of ``steps`` steps through the contract without any computation: loop, calls, tuples."""
    if type(backend).step is not Backend.step:
        return 0  # a fused step calls no verb

    step = _Nothing().step
    weights = Weights(None, None)
    times = []
    for _ in range(5):
        start = perf_counter_ns()
        for batch in islice(cycle(batches), steps):
            _, weights = step(weights, batch, 0.0)
        times.append(perf_counter_ns() - start)
    return sorted(times)[len(times) // 2]
