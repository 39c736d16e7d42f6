"""Progress below a notebook's cell: one display that is drawn anew, at most four times a second.

As in the terminal, it is drawn when the run reports progress and never by another thread, so that the timing of blocks,
between two launches, is not disturbed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.report.units import sparkline
from compare_ag.suite.display import STAGES, Display, ProgressRow, timing_words
from compare_ag.text import clock_time, printable

if TYPE_CHECKING:
    from compare_ag.problem import Problem

REDRAW_SECONDS = 0.25
SPARK_WIDTH = 14


class NotebookProgress(Display):
    """The display below a cell."""

    def __init__(self, display: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        """``display`` is IPython's: with ``display_id`` it gives a handle that can be updated."""
        super().__init__(clock)
        self._display = display
        self._handle: Any = None
        self._over = False
        self._drawn = -math.inf

    def begin(self, names: list[str], problem: Problem) -> None:
        """Show a waiting row for each backend."""
        super().begin(names, problem)
        self._handle = self._display(self, display_id=True)

    def end(self) -> None:
        """Remove the display: the run is shown instead where it is the cell's last value."""
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
        lines = [] if self._timing is None else [f"speed: {timing_words(self._timing)}"]
        lines += [f"waiting: {printable(self._waiting)}"] if self._waiting else []
        return f"<table>{rows}</table>" + "".join(f"<div>{escape(line)}</div>" for line in lines)

    def _row(self, row: ProgressRow) -> str:
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
