"""Two sweeps side by side: the cells that changed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from compare_ag.records.sweeps import CellChange, SweepComparison, format_count
from compare_ag.report.escape import clean, markdown
from compare_ag.report.grid import draw_table
from compare_ag.report.markdown import pipe_table
from compare_ag.report.table import BAD, GOOD, Column, Table


def headline(comparison: SweepComparison) -> str:
    """``2 of 24 cells changed from before to after, 1 of them for the worse.``"""
    changed = [change for change in comparison.cells if change.changed]
    worse = [change for change in changed if change.regressions]
    names = f"from {clean(comparison.before)} to {clean(comparison.after)}"
    sentence = f"{len(changed)} of {format_count(len(comparison.cells), 'cell')} changed {names}"
    parts = [f"{sentence}, {len(worse)} of them for the worse." if changed else f"{sentence}."]
    for labels, words in ((comparison.gone, "not measured any more"), (comparison.new, "new")):
        if labels:
            parts.append(f"{format_count(len(labels), 'cell')} {words}.")
    return " ".join(parts)


def changed_cells(comparison: SweepComparison) -> Table[CellChange]:
    """A row for each cell that changed, the worse ones first."""
    columns: list[Column[CellChange]] = [
        Column("cell", lambda change: change.label, left=True),
        Column("fastest", lambda change: _arrow(change.fastest_before, change.fastest_after), left=True),
        Column("status", lambda change: _arrow(change.status_before, change.status_after), left=True),
        Column("what changed", _words, prose=True, tone=lambda change: BAD if change.regressions else GOOD),
    ]
    rows = sorted((change for change in comparison.cells if change.changed), key=lambda change: not change.regressions)
    return Table("changed", "Cells that changed", "", columns, rows)


def _arrow(before: str, after: str) -> str:
    return before or "n/a" if before == after else f"{before or 'n/a'} → {after or 'n/a'}"


def _words(change: CellChange) -> str:
    return "; ".join([*change.regressions, *change.improvements]) or "the fastest backend or the status alone"


def comparison_sections(comparison: SweepComparison) -> Iterator[RenderableType]:
    """For the terminal."""
    yield Text(headline(comparison), style="bold green" if comparison.exit_code == 0 else "bold red")
    if (table := changed_cells(comparison)).rows:
        yield draw_table(table, clean)


def comparison_markdown(comparison: SweepComparison) -> str:
    """For a comment on a pull request."""
    table = changed_cells(comparison)
    return f"{markdown(headline(comparison))}\n" + (f"\n{pipe_table(table)}\n" if table.rows else "")
