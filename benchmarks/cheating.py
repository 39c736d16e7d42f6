"""Ways to look fast without doing the work where it is timed: numpy's backend with a `step` of its own.

Each is right in the correctness pass, where its numbers are compared with the reference, and cheats only where it has
reason to believe that it is timed: `compare_ag` binds a timed worker to as many CPUs as it has threads, here to one.
Some give wrong results then; others give right ones, computed where no clock runs. None of them may have a rank.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from compare_ag_numpy import NumpyBackend

from compare_ag import Batch, Setting, Weights

Array = np.ndarray[Any, Any]
AHEAD = 4096
"""steps that are computed at once by those that work ahead, unless they know how many are wanted"""
NEAR = 0.05
"""weights that differ by less, relatively, are taken for the start of a block that was answered before"""


def bound_to_one_cpu() -> bool:
    """What distinguishes a timed worker from one whose numbers are judged, on a machine with several CPUs."""
    return len(os.sched_getaffinity(0)) == 1


class Cheat(NamedTuple):
    """One of them."""

    name: str
    meaning: str
    """a clause with the backend as its subject"""
    backend: str
    """name of the class"""


CHEATS: list[Cheat] = []


def cheat(name: str, meaning: str) -> Callable[[type[NumpyBackend]], type[NumpyBackend]]:
    """Offer a class under a name."""

    def keep(backend: type[NumpyBackend]) -> type[NumpyBackend]:
        CHEATS.append(Cheat(name, meaning, backend.__name__))
        return backend

    return keep


def copied(weights: Weights) -> Weights:
    """Weights of their own: numpy's backend descends in place."""
    return Weights(*(np.array(value) for value in weights))


class Honest(NumpyBackend):
    """numpy's step as it is, in one method that a cheat can call."""

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        """Loss before the update, and the weights after it."""
        loss, tape = self.forward(weights, batch)
        return loss, self.update(weights, self.backward(tape), learning_rate)


# --- wrong results ------------------------------------------------------------------------------------------


class Idle(Honest):
    """Does nothing where `idle` says that it is timed: the loss that it knows, the weights that it was given."""

    last: Any = np.zeros(())

    def idle(self) -> bool:
        """Whether this step may be left out."""
        return bound_to_one_cpu()

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        """The honest step, or none."""
        if self.idle():
            return self.last, weights
        self.last, weights = super().step(weights, batch, learning_rate)
        return self.last, weights


@cheat("one-cpu", "does nothing where its process is bound to one CPU")
class OneCpu(Idle):
    """As `Idle` has it."""


@cheat("unread", "does nothing where no value was read since its last step")
class Unread(Idle):
    """In the correctness pass every loss is read before the next step, in a block none is."""

    read = True

    def to_numpy(self, tensor: Any) -> Array:
        """Read, and remember it."""
        self.read = True
        return super().to_numpy(tensor)

    def idle(self) -> bool:
        """Whether this step and the last one come without a look between them."""
        read, self.read = self.read, False
        return not read


@cheat("call-stack", "does nothing where a function of the clock's module calls it")
class CallStack(Idle):
    """It looks at the frames above it."""

    def idle(self) -> bool:
        """Whether the clock is among the callers."""
        frame: Any = sys._getframe(1)
        while frame is not None:
            if frame.f_globals.get("__name__") == "compare_ag.worker.clock":
                return True
            frame = frame.f_back
        return False


@cheat("every-second", "leaves out every second step where it is timed")
class EverySecond(Idle):
    """Half the time of numpy, and half the way."""

    turn = 0

    def idle(self) -> bool:
        """Whether it is an odd step of a timed process."""
        self.turn += 1
        return bound_to_one_cpu() and self.turn % 2 == 1


@cheat("no-loss", "computes no loss where it is timed")
class NoLoss(Honest):
    """The gradient needs the residuals only; the loss that it reports is an old one."""

    last: Any = np.zeros(())

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        """The honest step, or one without logarithms."""
        if not bound_to_one_cpu():
            self.last, weights = super().step(weights, batch, learning_rate)
            return self.last, weights
        X, y = batch
        r = 1 / (1 + np.exp(-(X.dot(weights.w) + weights.b))) - y
        gradient = Weights(r.dot(X) / len(y) + self.l2 * weights.w, r.sum() / len(y))
        return self.last, self.update(weights, gradient, learning_rate)


@cheat("memo", "answers with what an earlier block from nearby weights gave")
class Memo(Honest):
    """The weights after each step of the longest block so far, and which of them comes next."""

    def prepare(self, setting: Setting) -> None:
        """Nothing is remembered yet."""
        super().prepare(setting)
        self.memory: list[tuple[Any, Weights]] = []
        self.start: Weights | None = None
        self.at = 0

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        """The honest step, or the remembered one."""
        if not bound_to_one_cpu():
            return super().step(weights, batch, learning_rate)
        goes_on = self.at > 0 and weights is self.memory[self.at - 1][1]
        if not goes_on and self.near(weights):
            self.at = 0
        elif not goes_on:
            self.start, self.memory, self.at = copied(weights), [], 0
        if self.at == len(self.memory):
            loss, new = super().step(copied(weights), batch, learning_rate)
            self.memory.append((loss, new))
        self.at += 1
        return self.memory[self.at - 1]

    def near(self, weights: Weights) -> bool:
        """Whether a block from these weights is taken for the remembered one."""
        if self.start is None:
            return False
        pairs = zip(weights, self.start, strict=True)
        return all(bool(np.all(np.abs(v - s) <= NEAR * np.abs(s) + 1e-9)) for v, s in pairs)


# --- a wrong clock ------------------------------------------------------------------------------------------


@cheat("slow-clock", "makes the worker's clock go ten times too slowly")
class SlowClock(Honest):
    """Wherever a module of the worker holds the clock's function, it gets one that claims a tenth of the time."""

    def prepare(self, setting: Setting) -> None:
        """Change the clock of this process."""
        super().prepare(setting)
        import time

        for name in ("perf_counter_ns", "monotonic_ns", "process_time_ns", "thread_time_ns"):
            real = getattr(time, name)
            slow = self.slowed(real, real())
            for module in [one for key, one in sys.modules.items() if key.startswith("compare_ag.worker")]:
                for known, value in list(vars(module).items()):
                    if value is real:
                        setattr(module, known, slow)

    @staticmethod
    def slowed(real: Callable[[], int], start: int) -> Callable[[], int]:
        """The clock, from now on ten times slower."""
        return lambda: start + (real() - start) // 10


# --- right results, computed where no clock runs --------------------------------------------------------------


class Ahead(Honest):
    """Hands out steps that were made ahead. `begin` says where: none of the clocks runs there."""

    def prepare(self, setting: Setting) -> None:
        """Nothing has been made yet."""
        super().prepare(setting)
        self.made: list[tuple[Any, Weights]] = []
        self.at = 0
        self.expected: Any = None
        """the weights whose next step is ``made[at]``"""
        self.task: tuple[Batch, float] | None = None
        """batch and rate of the last step"""
        self.run, self.longest = 0, 0
        """steps since the weights were set, and the most of them so far"""

    def trained(self, weights: Weights, batch: Batch, learning_rate: float) -> list[tuple[Any, Weights]]:
        """As many steps from these weights as were ever asked for in a row."""
        made = []
        for _ in range(max(8, min(AHEAD, self.longest + 8))):
            loss, weights = Honest.step(self, copied(weights), batch, learning_rate)
            made.append((loss, weights))
        return made

    def begin(self, weights: Weights, batch: Batch, learning_rate: float) -> None:
        """The first step from new weights, which is a lead-in's: make those to come."""
        self.made, self.at = self.trained(weights, batch, learning_rate), 0

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        """The next one that was made, where these are the weights that it starts from."""
        if not bound_to_one_cpu():
            return super().step(weights, batch, learning_rate)
        self.task = (batch, learning_rate)
        if weights.w is not self.expected:
            self.run = 0
            self.begin(weights, batch, learning_rate)
        elif self.at == len(self.made):
            self.begin(weights, batch, learning_rate)
        loss, new = self.made[self.at]
        self.at += 1
        self.run += 1
        self.longest = max(self.longest, self.run)
        self.expected = new.w
        return loss, new


@cheat("ahead-in-lead-in", "makes all steps of a block in the first untimed one")
class AheadInLeadIn(Ahead):
    """As `Ahead` has it."""


@cheat("ahead-now-and-then", "makes all steps of every fourth block in its first untimed one")
class AheadNowAndThen(Ahead):
    """Enough of the quickest blocks for a number that rests on those."""

    blocks = 0

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[Any, Weights]:
        """The honest step in three blocks of four."""
        fresh = weights.w is not self.expected
        self.blocks += fresh
        if not bound_to_one_cpu() or self.blocks % 4 == 0:
            return super().step(weights, batch, learning_rate)
        loss, new = Honest.step(self, copied(weights), batch, learning_rate)
        self.run = 1 if fresh else self.run + 1
        self.longest, self.expected = max(self.longest, self.run), new.w
        return loss, new


@cheat("ahead-in-make-tensor", "makes all steps of a block when it is given the weights")
class AheadInMakeTensor(Ahead):
    """The weight vector comes first, then b: with both, and with the batch of the last block, all can be made."""

    pending: Any = None
    ready: Any = None

    def make_tensor(self, array: Array, *, requires_grad: bool = False) -> Array:
        """A copy, and with the second of the weights the steps from both."""
        tensor = super().make_tensor(array, requires_grad=requires_grad)
        if requires_grad and tensor.ndim == 1:
            self.pending = tensor
        elif requires_grad and self.pending is not None and self.task is not None and bound_to_one_cpu():
            self.ready = self.pending
            self.made, self.at = self.trained(Weights(self.pending, tensor), *self.task), 0
        return tensor

    def begin(self, weights: Weights, batch: Batch, learning_rate: float) -> None:
        """Nothing where it has been done already."""
        if weights.w is not self.ready:
            super().begin(weights, batch, learning_rate)
        self.ready = None


@cheat("thread", "has a thread make all steps of a block while it waits in the first untimed one")
class Thread(Ahead):
    """Another thread's CPU time is no part of the main thread's."""

    def begin(self, weights: Weights, batch: Batch, learning_rate: float) -> None:
        """Let the thread do it, and wait for it."""

        def work() -> None:
            self.made, self.at = self.trained(weights, batch, learning_rate), 0

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


@cheat("child-process", "has a child process, on another CPU, make all steps of a block")
class ChildProcess(Ahead):
    """The child is forked at a block's first step and writes into memory that both share."""

    def begin(self, weights: Weights, batch: Batch, learning_rate: float) -> None:
        """Let a child do it, and wait for it."""
        d = len(weights.w)
        steps = max(8, min(AHEAD, self.longest + 8))
        shared = mmap.mmap(-1, steps * (d + 2) * 8)
        child = os.fork()
        if child == 0:
            self.write(shared, weights, batch, learning_rate)
            os._exit(0)
        os.waitpid(child, 0)
        table = np.frombuffer(shared, dtype=np.float64).reshape(steps, d + 2).astype(weights.w.dtype)
        self.made = [(row[0], Weights(row[2:].copy(), np.array(row[1]))) for row in table]
        self.at = 0

    def write(self, shared: mmap.mmap, weights: Weights, batch: Batch, learning_rate: float) -> None:
        """Loss, b and w of each step: (steps, d + 2)."""
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        rows = [np.concatenate(([loss, new.b], new.w)) for loss, new in self.trained(weights, batch, learning_rate)]
        shared[:] = np.array(rows, dtype=np.float64).tobytes()
