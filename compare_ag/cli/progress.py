"""Progress on stderr: a live display in a terminal, plain lines elsewhere.

The display is drawn by the run's own thread when the run reports progress, and never by another thread, so that the
timing of blocks, between two launches, is not disturbed. Each drawing uses the current width, so that it follows a
terminal that is resized; columns that do not fit are left out, the least important first.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.table import Table
from rich.text import Text

from compare_ag.cli.steps import SILENT_SECONDS
from compare_ag.report.units import sparkline
from compare_ag.suite import Observer, TimingProgress
from compare_ag.suite.display import STAGES, Display, ProgressRow, timing_words
from compare_ag.text import clock_time, printable

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import BackendRecord

REDRAW_SECONDS = 0.12
LINE_SECONDS = 10.0
"""least seconds between two lines about timing where lines stay"""
NAME_WIDTH = 20
SPARK_WIDTH = 14
BAR_WIDTHS = (6, 30)
GOOD = frozenset({"ok", "imported"})


class LineProgress(Observer):
    """A line for each finished backend, and now and then a line with the current work: for pipes, logs and dumb
    terminals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = -math.inf
        self._waiting = ""
        self._rows: dict[str, ProgressRow] = {}
        self._last_line = clock() + SILENT_SECONDS - LINE_SECONDS

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """Every ten seconds, report which backends train and how far, so that a long training does not seem to hang."""
        now = self._clock()
        row = self._rows.setdefault(name, ProgressRow(name))
        row.follow(stage, done, total, now)
        busy = [row for row in self._rows.values() if row.counts and row.done < row.total]
        if busy and now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            _say("; ".join(row.words(now) for row in busy))

    def waiting(self, reason: str) -> None:
        """Print which process the run waits for, at each change."""
        if reason and reason != self._waiting:
            _say(f"waiting: {printable(reason)}")
        self._waiting = reason

    def trained(self, record: BackendRecord) -> None:
        """Print the line."""
        self._rows.pop(record.name, None)
        took = "" if record.train_seconds is None else f" (trained in {record.train_seconds:.2f} s)"
        _say(f"{printable(record.name)}: {record.status}{took}")

    def timing(self, progress: TimingProgress) -> None:
        """Print the progress of timing, at most once in some seconds."""
        if self._clock() - self._said >= LINE_SECONDS:
            self._said = self._clock()
            _say(f"timing: {timing_words(progress)}")


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a closed stderr must not end the run
        print(line, file=sys.stderr, flush=True)


class LiveProgress(Display):
    """The display in a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._console = console
        self._drawn = -math.inf
        self._live = Live(self, console=console, auto_refresh=False, transient=True)
        self._drawing = False
        self._width = 0
        self._lengths: list[int] = []
        """width of the lines that were drawn last"""
        self._restore: Callable[[], object] = lambda: None

    def begin(self, names: list[str], problem: Problem) -> None:
        """Show a waiting row for each backend."""
        super().begin(names, problem)
        self._watch_size()
        self._live.start()
        self._draw(now=True)

    def end(self) -> None:
        """Remove the display before the report is printed."""
        self._restore()
        with contextlib.suppress(OSError):  # a terminal that has closed must not end the run
            self._take_back_wrapped_lines()
            self._live.stop()

    def _draw(self, *, now: bool = False) -> None:
        if self._drawing or not (now or self._clock() - self._drawn >= REDRAW_SECONDS):
            return
        self._drawing = True
        try:
            self._drawn = self._clock()
            with contextlib.suppress(OSError):
                self._take_back_wrapped_lines()
                self._live.refresh()
        finally:
            self._drawing = False

    def _watch_size(self) -> None:
        """Draw anew as soon as the terminal changes its size, also while the run reports nothing."""
        if hasattr(signal, "SIGWINCH") and threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGWINCH, lambda _signal, _frame: self._draw(now=True))
            self._restore = lambda: signal.signal(signal.SIGWINCH, before)

    def _take_back_wrapped_lines(self) -> None:
        """Erase the additional lines of a terminal that became narrower and wrapped lines, which rich cannot know."""
        width = self._console.size.width
        if width < self._width:
            more = sum(math.ceil(length / width) - 1 for length in self._lengths if length)
            erase = (ControlType.ERASE_IN_LINE, 2)
            self._console.control(Control(erase, *[(ControlType.CURSOR_UP, 1), erase] * more))
        self._width = width

    # --- how it looks ---

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        names = max((Text(printable(name)).cell_len for name in self._rows), default=0)
        names = max(min(names, NAME_WIDTH, width // 4), len("speed"))
        widths = WIDTHS | {"step": 2 * max((len(str(row.total)) for row in self._rows.values()), default=1) + 1}
        columns = _columns(width - names, widths)
        bar = max(BAR_WIDTHS[0], min(BAR_WIDTHS[1], width - names - sum(widths[column] + 1 for column in columns) - 2))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis", width=names)
        for column in columns:
            wide = bar if column == "bar" else widths[column]
            table.add_column(no_wrap=True, overflow="crop", width=wide, justify=JUSTIFY.get(column, "left"))  # type: ignore[arg-type]  # left or right
        for row in self._rows.values():
            cells = {column: CELLS[column](self, row, bar) for column in columns}
            table.add_row(Text(printable(row.name)), *cells.values())
        parts: list[RenderableType] = [table]
        if self._timing is not None:
            speed = Text(f"{'speed':<{names}} {timing_words(self._timing)}", no_wrap=True, overflow="ellipsis")
            parts.append(speed)
        if self._waiting:
            parts.append(Text(f"waiting: {printable(self._waiting)}", no_wrap=True, overflow="ellipsis"))
        lines = [_strip_end(line) for part in parts for line in console.render_lines(part, options, pad=False)]
        self._lengths = [sum(segment.cell_length for segment in line) for line in lines]
        for line in lines:
            yield from line
            yield Segment.line()

    def _state(self, row: ProgressRow, _bar: int) -> Text:
        if not row.stage:
            return Text(row.status, style="green" if row.status in GOOD else "red")
        return Text(STAGES.get(row.stage, row.stage), style="dim")

    def _step(self, row: ProgressRow, _bar: int) -> Text:
        return Text(f"{row.done}/{row.total}") if row.counts else Text()

    def _loss(self, row: ProgressRow, _bar: int) -> Text:
        return Text() if row.loss is None else Text(f"{row.loss:.5g}")

    def _course(self, row: ProgressRow, _bar: int) -> Text:
        return Text(sparkline(np.array(row.course), SPARK_WIDTH), style="cyan")

    def _bar(self, row: ProgressRow, bar: int) -> Text:
        if not row.counts:
            return Text()
        full = round(bar * min(1.0, row.done / row.total))
        return Text("━" * full, style="cyan").append("─" * (bar - full), style="bright_black")

    def _left(self, row: ProgressRow, _bar: int) -> Text:
        left = row.left(self._clock())
        return Text() if left is None else Text(clock_time(left))


WIDTHS = {"state": 12, "step": 0, "bar": 6, "loss": 11, "course": SPARK_WIDTH, "left": 7}
JUSTIFY = {"step": "right", "loss": "right", "left": "right"}
CELLS: dict[str, Callable[[LiveProgress, ProgressRow, int], Text]] = {
    "state": LiveProgress._state,
    "step": LiveProgress._step,
    "bar": LiveProgress._bar,
    "loss": LiveProgress._loss,
    "course": LiveProgress._course,
    "left": LiveProgress._left,
}
IMPORTANCE = ("state", "step", "loss", "left", "course", "bar")


def _strip_end(line: list[Segment]) -> list[Segment]:
    """A line without the blanks at its end, some of which a terminal that becomes narrower would wrap."""
    segments = list(line)
    while segments and not segments[-1].text.strip():
        segments.pop()
    if segments:
        text, style, _ = segments[-1]
        segments[-1] = Segment(text.rstrip(), style)
    return segments


def _columns(room: int, widths: Mapping[str, int]) -> list[str]:
    """The columns that fit, by importance, in the order in which they are shown."""
    chosen: list[str] = []
    used = 1
    for column in IMPORTANCE:
        if used + widths[column] + 1 > room:
            break
        chosen.append(column)
        used += widths[column] + 1
    return [column for column in widths if column in chosen]


def make_progress(console: Console, *, quiet: bool) -> Observer:
    """The display that suits stderr."""
    if quiet:
        return Observer()
    return LiveProgress(console) if console.is_terminal and not console.is_dumb_terminal else LineProgress()
