"""What a run tells while it goes on; the terminal's progress display listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import BackendRecord


class Observer:
    """Hears of a run's progress. Every method may be left as it is; all are called from one thread."""

    def begin(self, names: list[str], problem: Problem) -> None:
        """The run starts with these backends."""

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """A backend is at ``done`` of ``total`` in this stage ("import", "train", "time", …)."""

    def trained(self, record: BackendRecord) -> None:
        """A backend has been trained and judged, or has failed."""

    def timed(self, record: BackendRecord) -> None:
        """A backend has been timed."""

    def end(self) -> None:
        """The run is over."""
