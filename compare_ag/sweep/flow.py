"""A sweep from its grid to its last cell: what is left to do, in which order, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare_ag.exit_codes import ExitCode
from compare_ag.records import RecordError
from compare_ag.records.sweeps import CellRecord
from compare_ag.suite import Terminated
from compare_ag.sweep.engines import ClusterLostError, Done
from compare_ag.sweep.estimate import Forecast
from compare_ag.sweep.grid import Planned
from compare_ag.sweep.ledger import Ledger, State, check_cell
from compare_ag.text import clock_time

WRONG = frozenset({"disagree", "non-finite", "undecidable"})
"""statuses of a backend whose numbers are wrong, or could not be certified"""

Engine = Callable[[Ledger, Sequence[Planned], Callable[[Planned | None, str], object]], Iterator[Done]]


@dataclass
class Result:
    """What one call of a sweep did."""

    counts: Counter[str] = field(default_factory=Counter)
    """cells of each status that ran or were skipped now; "elsewhere": those that another process has"""
    lost: str = ""
    """why the cluster could not be reached any more"""
    interrupt: KeyboardInterrupt | None = None
    """what ended it before its last cell"""

    @property
    def complete(self) -> bool:
        """Whether every cell had its turn."""
        return self.interrupt is None and not self.lost


def left(states: Sequence[State], only: frozenset[str] = frozenset()) -> list[Planned]:
    """The cells to run: those that are not done, or of these the ones in a state of ``only``."""
    return [state.planned for state in states if state.state != "ok" and (not only or state.state in only)]


def run_cells(
    ledger: Ledger,
    planned: Sequence[Planned],
    engine: Engine,
    tell: Callable[[str], object],
    result: Result | None = None,
) -> Result:
    """Run these cells and keep what comes, one by one.

    tell: hears which cell is at work, at which stage, how many are done and the time left. Raises `SaveError`.
    """
    result = result or Result()
    ledger.remove_leftovers()
    forecast = Forecast([item.cell for item in planned])
    done = 0

    def show(current: Planned | None, stage: str) -> None:
        if current is None:
            tell(stage)
            return
        words = f"cell {done + 1}/{len(planned)} ({current.cell.label}), about {clock_time(forecast.seconds)} left"
        tell(f"{words}; {stage}" if stage else words)

    try:
        for outcome in engine(ledger, planned, show):
            done += 1
            record = None if outcome.scratch is None else _keep(ledger, outcome.planned, outcome.scratch)
            forecast.finish(outcome.planned.cell, record.seconds if record and record.status != "skipped" else None)
            result.counts["elsewhere" if record is None else record.status] += 1
    except KeyboardInterrupt as interrupt:
        result.interrupt = interrupt
    except ClusterLostError as error:
        result.lost = str(error)
    return result


def _keep(ledger: Ledger, planned: Planned, scratch: Path) -> CellRecord:
    """Move a cell into its place. Raises `SaveError`, and `RecordError` where its files changed on their way."""
    record = check_cell(scratch)
    if record.key != planned.key:
        raise RecordError(f"the cell {planned.key} came back as {record.key}")
    ledger.accept(scratch, planned.key)
    return record


def exit_code(result: Result, records: Iterable[CellRecord]) -> ExitCode:
    """What a sweep exits with. records: of its cells, now."""
    codes, measured = [ExitCode.OK], False
    if result.interrupt is not None:
        codes.append(ExitCode.TERMINATED if isinstance(result.interrupt, Terminated) else ExitCode.INTERRUPTED)
    if result.lost:
        codes.append(ExitCode.BACKEND_FAILED)
    for record in records:
        measured |= any(row.status == "ok" for row in record.rows)
        codes += [ExitCode.BACKEND_FAILED] if record.status == "failed" else []
        codes += [ExitCode.DISAGREE for row in record.rows if row.status in WRONG]
    if not measured:
        codes.append(ExitCode.DISAGREE)
    return ExitCode.worst(codes)
