"""The state that a progress display shows: of each backend its stage, step, losses so far, and the time left.

It is the same in a terminal and in a notebook, which only draw it: see `cli.progress` and `notebook.progress`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compare_ag.suite.observer import Observer, TimingProgress
from compare_ag.text import clock_time, printable

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import Array, BackendRecord

MOST_LOSSES = 256
"""losses of each backend that are stored, evenly spaced"""
STAGES = {
    "train": "training",
    "repeat": "repeating",
    "points": "at points",
    "trained": "judging",
    "fused": "fused step",
    "screening": "screening",
}


@dataclass
class ProgressRow:
    """The progress of one backend."""

    name: str
    stage: str = "waiting"
    done: int = 0
    total: int = 0
    since: float = 0.0
    status: str = ""
    """once it has been judged"""
    loss: float | None = None
    course: list[float] = field(default_factory=list)
    """every `stride`-th loss"""
    stride: int = 1
    received: int = 0
    """losses so far, stored or not"""

    def add(self, losses: Array) -> None:
        """Store every `stride`-th loss; where these become too many, double the stride."""
        for value in losses[(-self.received) % self.stride :: self.stride]:
            self.course.append(float(value))
        self.received += len(losses)
        while len(self.course) > MOST_LOSSES:
            self.course, self.stride = self.course[::2], 2 * self.stride
        if len(losses):
            self.loss = float(losses[-1])

    def follow(self, stage: str, done: int, total: int, now: float) -> bool:
        """Take a report of the run; return whether its stage is new, which starts a new estimate of the time left."""
        new = self.stage != stage
        if new:
            self.stage, self.since = stage, now
        self.done, self.total = done, total
        return new

    def words(self, now: float) -> str:
        """``torch: training 1200/10001, about 0:12 left``."""
        seconds = self.left(now)
        forecast = "" if seconds is None else f", about {clock_time(seconds)} left"
        return f"{printable(self.name)}: {STAGES.get(self.stage, self.stage)} {self.done}/{self.total}{forecast}"

    @property
    def counts(self) -> bool:
        """Whether its present stage is counted in steps."""
        return self.total > 1 and self.stage != "waiting"

    def left(self, now: float) -> float | None:
        """Seconds until this stage ends, at its speed so far; None where that is not known yet."""
        elapsed = now - self.since
        if not self.counts or not self.done or elapsed < 0.3:
            return None
        return elapsed / self.done * max(0, self.total - self.done)


class Display(Observer):
    """Each backend with its state, step, loss, course and the time left; below them the progress of the timing.

    A report of the run draws it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[str, ProgressRow] = {}
        self._timing: TimingProgress | None = None
        self._waiting = ""

    @abstractmethod
    def _draw(self, *, now: bool) -> None:
        """Draw the present state. now: also where it was drawn a moment ago."""

    def begin(self, names: list[str], problem: Problem) -> None:
        """A waiting row for each backend."""
        self._rows = {name: ProgressRow(name, total=problem.steps, since=self._clock()) for name in names}

    def waiting(self, reason: str) -> None:
        """Show below the backends why the run waits."""
        self._waiting, before = reason, self._waiting
        self._draw(now=reason != before)

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """Show the progress, a new stage at once."""
        self._draw(now=self._rows[name].follow(stage, done, total, self._clock()))

    def losses(self, name: str, losses: Array) -> None:
        """Store the losses of a backend for its course."""
        self._rows[name].add(losses)

    def trained(self, record: BackendRecord) -> None:
        """Show the status."""
        row = self._rows[record.name]
        row.status, row.stage, row.done, row.total = record.status, "", 0, 0
        self._draw(now=True)

    def timing(self, progress: TimingProgress) -> None:
        """Show the progress of the timing in one line for all backends."""
        self._timing = progress
        self._draw(now=True)

    def timed(self, record: BackendRecord) -> None:
        """Show the status again: a backend may have failed while it was timed."""
        self.trained(record)


def timing_words(progress: TimingProgress) -> str:
    """``launch 3, ±1.20 % (aim ±1.00 %), about 12 s left``."""
    width = "" if math.isinf(progress.half_width) else f", ±{100 * math.expm1(progress.half_width):.2f} %"
    aim = f" (aim ±{100 * math.expm1(progress.target):.2f} %)" if width else ""
    forecast = f"about {math.ceil(progress.seconds_left)} s left" if progress.seconds_left >= 1 else "nearly done"
    return f"launch {progress.launches}{width}{aim}, {forecast}"
