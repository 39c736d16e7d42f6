"""Progress below a notebook's cell: one display that is drawn anew, at most four times a second.

As in the terminal, it is drawn when the run tells something and never by a thread of its own: while blocks are timed,
between two launches, it costs them nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.report.units import sparkline
from compare_ag.suite.follow import STAGES, Row, timing_words
from compare_ag.suite.observer import Observer, TimingProgress
from compare_ag.text import clock_time, printable

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import Array, BackendRecord

REDRAW_SECONDS = 0.25
SPARK_WIDTH = 14


class NotebookProgress(Observer):
    """Each backend with its stage, step, loss and the time left; below them how far timing is."""

    def __init__(self, display: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        """``display`` is IPython's: with ``display_id`` it gives a handle that can be updated."""
        self._display, self._clock = display, clock
        self._handle: Any = None
        self._rows: dict[str, Row] = {}
        self._timing = ""
        self._waiting = ""
        self._over = False
        self._drawn = -math.inf

    # --- what the run tells ---

    def begin(self, names: list[str], problem: Problem) -> None:
        """Show a waiting row for each backend."""
        self._rows = {name: Row(name, total=problem.steps, since=self._clock()) for name in names}
        self._handle = self._display(self, display_id=True)

    def waiting(self, reason: str) -> None:
        """Show for whom the run waits."""
        self._waiting, before = reason, self._waiting
        self._draw(now=reason != before)

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """Show it, a new stage at once."""
        self._draw(now=self._rows[name].follow(stage, done, total, self._clock()))

    def losses(self, name: str, losses: Array) -> None:
        """Remember the course."""
        self._rows[name].add(losses)

    def trained(self, record: BackendRecord) -> None:
        """Show the status."""
        row = self._rows[record.name]
        row.status, row.stage, row.done, row.total = record.status, "", 0, 0
        self._draw(now=True)

    def timing(self, progress: TimingProgress) -> None:
        """One line for all."""
        self._timing = timing_words(progress)
        self._draw(now=True)

    def timed(self, record: BackendRecord) -> None:
        """Show the status again: a backend may have failed while it was timed."""
        self.trained(record)

    def end(self) -> None:
        """Take the display away: the run itself says more, and is shown where it is the cell's last value."""
        self._over = True
        self._draw(now=True)

    def _draw(self, *, now: bool) -> None:
        if self._handle is not None and (now or self._clock() - self._drawn >= REDRAW_SECONDS):
            self._drawn = self._clock()
            self._handle.update(self)

    # --- how it looks ---

    def __repr__(self) -> str:
        return "" if self._over else "; ".join(row.words(self._clock()) for row in self._rows.values())

    def _repr_html_(self) -> str:
        if self._over:
            return ""
        rows = "".join(self._row(row) for row in self._rows.values())
        lines = [f"speed: {self._timing}"] if self._timing else []
        lines += [f"waiting: {printable(self._waiting)}"] if self._waiting else []
        return f"<table>{rows}</table>" + "".join(f"<div>{escape(line)}</div>" for line in lines)

    def _row(self, row: Row) -> str:
        left = row.left(self._clock())
        bar = f'<progress value="{row.done}" max="{row.total}"></progress>' if row.counts else ""
        cells = [
            escape(printable(row.name)),
            escape(STAGES.get(row.stage, row.stage) if row.stage else row.status),
            f"{row.done}/{row.total}" if row.counts else "",
            bar,
            "" if row.loss is None else f"{row.loss:.5g}",
            sparkline(np.array(row.course), SPARK_WIDTH),
            "" if left is None else f"{clock_time(left)} left",
        ]
        return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
