"""The reports of a run while it goes on, which progress displays receive (`display`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import Array, BackendRecord


class TimingProgress(NamedTuple):
    """The progress of the timing part, after each launch."""

    launches: int
    seconds: float
    """since it began"""
    seconds_left: float
    """a forecast: the width is expected to fall with the square root of the launches"""
    half_width: float
    """of the widest interval, as log-ratio; infinite after one launch"""
    target: float


class Observer:
    """Receives the progress of a run. A subclass overrides the methods it needs; all are called from one thread."""

    def begin(self, names: list[str], problem: Problem) -> None:
        """The run starts with these backends."""

    def waiting(self, reason: str) -> None:
        """The run waits for the machine, because another process is timing or training; "" once it goes on."""

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """A backend is at ``done`` of ``total`` in this stage.

        "import", "prepare" and other phases without steps; "train"; "points", where it is asked at the host's points;
        "repeat", its first steps once more; "fused", its own step; "trained"; and then "memory", "import", "timing".
        """

    def losses(self, name: str, losses: Array) -> None:
        """Losses of the training pass that have arrived since the last call, (n,), in order."""

    def trained(self, record: BackendRecord) -> None:
        """A backend has been trained and judged, or has failed."""

    def timing(self, progress: TimingProgress) -> None:
        """A launch of all timing workers has ended."""

    def timed(self, record: BackendRecord) -> None:
        """A backend has been timed."""

    def end(self) -> None:
        """The run is over."""
