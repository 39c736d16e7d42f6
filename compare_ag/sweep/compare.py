"""Two sweeps, cell by cell: which cells changed, with an exit code that gates CI.

A cell of one sweep is compared with the cell of the same problem in the other, as two runs are; all intervals of all
cells hold together with 95 %, so that a large sweep raises no more false alarms than a small one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from compare_ag.compare import BackendChange, ComparisonError, compare_runs
from compare_ag.records import load_run
from compare_ag.records.sweeps import CellChange, CellRecord, SweepComparison, latest, rank
from compare_ag.sweep.ledger import Ledger
from compare_ag.text import everywhere, without_paths

Place = tuple[str, str]
"""machine and problem of a cell"""


def compare_sweeps(
    before: Ledger,
    after: Ledger,
    threshold: float,
    yardstick: str | None = None,
    *,
    strict: bool = False,
    tell: Callable[[str, int, int], object] = lambda *_: None,
) -> SweepComparison:
    """What changed from one sweep to the other; the arguments are those of `compare.compare_runs`.

    Raises `ComparisonError` where the sweeps have no cell in common, `RecordError` where a cell cannot be read.
    """
    first, second = (_by_place(ledger) for ledger in (before, after))
    machines = {place[0] for place in first} | {place[0] for place in second}
    if not first.keys() & second.keys() and len(machines) == 2:
        # one machine each: numbers are compared, and `compare_runs` says why times are not
        first, second = ({("", problem): record for (_, problem), record in side.items()} for side in (first, second))
    common = [place for place in first if place in second]
    if not common:
        raise ComparisonError(f"{before.folder} and {after.folder} have no cell in common")
    timed = sum(row.step is not None for place in common for row in second[place].rows)
    changes = []
    for done, place in enumerate(common):
        tell("comparing cells", done, len(common))
        old, new = first[place], second[place]
        beside = timed - sum(row.step is not None for row in new.rows)
        changes.append(_compare_cells((before, old), (after, new), threshold, yardstick, strict=strict, beside=beside))
    return SweepComparison(
        before=before.folder.resolve().name,
        after=after.folder.resolve().name,
        threshold=threshold,
        cells=changes,
        gone=[record.cell.label for place, record in first.items() if place not in second],
        new=[record.cell.label for place, record in second.items() if place not in first],
        exit_code=int(any(change.regressions for change in changes)),
    )


def _by_place(ledger: Ledger) -> dict[Place, CellRecord]:
    """The cells by machine and problem; backends, timing and timeout may differ."""
    records = {}
    for record in latest(ledger.records()):
        cell = record.cell
        problem = f"{cell.label} {cell.steps} {cell.l2} {cell.seed}"
        records[record.machine.id, problem] = record
    return records


def _compare_cells(
    before: tuple[Ledger, CellRecord],
    after: tuple[Ledger, CellRecord],
    threshold: float,
    yardstick: str | None,
    *,
    strict: bool,
    beside: int,
) -> CellChange:
    old, new = before[1], after[1]
    regressions: list[str] = []
    improvements: list[str] = []
    if not new.rows and old.rows:
        regressions.append(f"it has no result any more: {new.status}: {new.reason}")
    elif new.rows and old.rows:
        runs = (load_run(ledger.place(_folder(ledger, record))) for ledger, record in (before, after))
        comparison = compare_runs(*runs, threshold=threshold, yardstick=yardstick, strict=strict, beside=beside)
        regressions += comparison.regressions
        improvements += [sentence for change in comparison.backends if (sentence := _improvement(change))]
    return CellChange(
        label=new.cell.label,
        key_before=old.key,
        key_after=new.key,
        status_before=old.status,
        status_after=new.status,
        fastest_before=_fastest(old),
        fastest_after=_fastest(new),
        regressions=regressions,
        improvements=improvements,
    )


def _folder(ledger: Ledger, record: CellRecord) -> str:
    """The name of a cell's folder, which has the machine's id where another machine has the key itself."""
    own = f"{record.key}-{record.machine.id}"
    return own if ledger.place(own).exists() else record.key


def _improvement(change: BackendChange) -> str:
    if change.became == "cured":
        return f"{change.name} is right again"
    if change.speed.verdict == "faster" and change.speed.ratio is not None:
        return f"{change.name} takes {change.speed.ratio.value:.3f} times as long"
    return ""


def _fastest(record: CellRecord) -> str:
    ranking = rank(record)
    return "" if ranking is None else " or ".join([ranking.fastest, *sorted(ranking.tied)])


def document(comparison: SweepComparison) -> dict[str, Any]:
    """The comparison as JSON-able values; no text in it names a place on a machine."""
    made: dict[str, Any] = everywhere(msgspec.to_builtins(comparison), without_paths)
    return made
