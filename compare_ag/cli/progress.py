"""Progress on stderr: a live display in a terminal, one line for each finished backend elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from compare_ag.suite import Observer, TimingProgress
from compare_ag.text import printable

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import BackendRecord


class LineProgress(Observer):
    """One line for each finished backend: for pipes, logs and dumb terminals."""

    def trained(self, record: BackendRecord) -> None:
        """Print the line."""
        took = "" if record.train_seconds is None else f" (trained in {record.train_seconds:.2f} s)"
        with contextlib.suppress(OSError):  # a reader that has gone must not end the run
            print(f"{printable(record.name)}: {record.status}{took}", file=sys.stderr, flush=True)


class _TimeLeft(TimeRemainingColumn):
    """The time left, where the task has no forecast of its own."""

    def render(self, task: Task) -> Text:
        """Nothing for the timing bar: its steps are not evenly spaced, and its own forecast is beside it."""
        return Text() if task.fields.get("forecast") else super().render(task)


class LiveProgress(Observer):
    """A bar for each backend with its stage, step and the time left."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[stage]}", style="dim", markup=False),
            BarColumn(),
            TextColumn("{task.fields[where]}", markup=False),
            _TimeLeft(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._timing: TaskID | None = None
        self._stages: dict[str, str] = {}

    def begin(self, names: list[str], problem: Problem) -> None:
        """Show a waiting bar for each backend."""
        for name in names:
            self._tasks[name] = self._progress.add_task(printable(name), total=problem.steps, stage="waiting", where="")
        self._progress.start()

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """Move the bar; a new stage starts its own estimate of the time left."""
        task = self._tasks[name]
        if self._stages.get(name) != stage:
            self._stages[name] = stage
            self._progress.reset(task, total=total, stage=stage, where="")
        where = f"step {done}/{total}" if stage == "train" else ""
        self._progress.update(task, completed=done, total=total, stage=stage, where=where)

    def trained(self, record: BackendRecord) -> None:
        """Show the status beside the bar."""
        self._progress.update(self._tasks[record.name], stage=record.status, where="")

    def timing(self, progress: TimingProgress) -> None:
        """One bar for all: launches so far, the widest interval, the time that is probably left."""
        if self._timing is None:
            self._timing = self._progress.add_task("speed", total=None, stage="timing", where="", forecast=True)
        width = "" if math.isinf(progress.half_width) else f"±{math.expm1(progress.half_width):.2%}"
        left = f"about {math.ceil(progress.seconds_left)} s left" if progress.seconds_left >= 1 else "nearly done"
        self._progress.update(
            self._timing,
            completed=progress.seconds,
            total=progress.seconds + progress.seconds_left,
            where=f"launch {progress.launches} {width} (aim ±{math.expm1(progress.target):.2%}), {left}",
        )

    def timed(self, record: BackendRecord) -> None:
        """Say that nothing more will come."""
        self._progress.update(self._tasks[record.name], stage="done", where="")

    def end(self) -> None:
        """Take the display away: the report follows."""
        self._progress.stop()


def make_progress(console: Console, *, quiet: bool) -> Observer:
    """The display that fits where stderr goes."""
    if quiet:
        return Observer()
    return LiveProgress(console) if console.is_terminal and not console.is_dumb_terminal else LineProgress()
