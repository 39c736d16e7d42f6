"""Progress of a command on stderr: a line that is overwritten in a terminal, an occasional line elsewhere.

For commands without a display of their own (`cli.progress` has the display for trainings). On a pipe a command that
takes less than two seconds prints nothing; a longer one prints every ten seconds its current work, how much is done,
and the estimated time left. No thread draws, so that work which is timed meanwhile is not disturbed.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from compare_ag.cli.colour import can_rewrite
from compare_ag.text import clock_time, printable

SILENT_SECONDS = 2.0
"""seconds: shorter commands print nothing on a pipe"""
LINE_SECONDS = 10.0
"""seconds between lines that stay"""
REDRAW_SECONDS = 0.1
LEAST_SECONDS = 0.3
"""seconds of work that an estimate needs"""
ERASE = "\r\x1b[2K"


class Steps:
    """Progress of one command; a context that removes its line at the end, also after an exception."""

    def __init__(self, *, quiet: bool = False, lines: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """quiet: print nothing. lines: print on a pipe, too; not needed where results are printed one by one."""
        self._clock = clock
        self._live = not quiet and can_rewrite(sys.stderr)
        self._lines = not quiet and lines and not self._live
        self._lock = threading.Lock()  # several threads report progress
        self._begun = self._since = clock()
        self._total = 0
        self._said = self._begun + SILENT_SECONDS - LINE_SECONDS
        self._drawn = -math.inf
        self._words = ""
        self._shown = False
        self._last = ("starting", 0, 0)

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, words: str, done: int = 0, total: int = 0) -> None:
        """Report the current work, and that ``done`` of ``total`` parts are done; a new total starts a new estimate."""
        self._last = words, done, total
        with self._lock, contextlib.suppress(OSError):  # a closed stderr must not end the command
            now = self._clock()
            if total != self._total:
                self._total, self._since = total, now
            line = f"{printable(words)} …{self._progress_text(done, total, now)}"
            if self._live and (words != self._words or now - self._drawn >= REDRAW_SECONDS):
                self._words, self._drawn, self._shown = words, now, True
                import shutil  # imported late, because help and completion pay for every import

                width = shutil.get_terminal_size().columns
                print(f"{ERASE}{line[: width - 1]}", end="", file=sys.stderr, flush=True)
            elif self._lines and now - self._said >= LINE_SECONDS:
                self._said = now
                print(line, file=sys.stderr, flush=True)

    def again(self) -> None:
        """Repeat the last report with the current time."""
        self.show(*self._last)

    def clear(self) -> None:
        """Remove the line before something else is printed."""
        with self._lock:
            if self._live and self._shown:
                self._shown, self._words = False, ""
                with contextlib.suppress(OSError):
                    print(ERASE, end="", file=sys.stderr, flush=True)

    def _progress_text(self, done: int, total: int, now: float) -> str:
        if total <= 1:
            return ""
        taken = now - self._since
        if not done or taken < LEAST_SECONDS:
            return f" {done}/{total}"
        return f" {done}/{total}, about {clock_time(taken / done * (total - done))} left"
