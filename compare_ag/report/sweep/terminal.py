"""A sweep in the terminal: the fastest backend at each size, what has no result, what was computed of all cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from compare_ag.records.sweeps import Analysis, CellRecord, format_count
from compare_ag.report.grid import draw_table
from compare_ag.report.sweep import tables
from compare_ag.report.table import Table
from compare_ag.report.units import size
from compare_ag.text import clock_time, printable

MOST_FAILURES = 20
"""lines; the page and cells.csv have them all"""


def print_sweep(records: Sequence[CellRecord], analysis: Analysis, folder: Path, console: Console) -> None:
    """Print the summary, the sweep's folder last."""
    for part in sections(records, analysis):
        console.print(part)
        console.print()
    console.print(Text(f"Sweep kept in {printable(str(folder))}: report.html, cells.csv, cells.jsonl"), soft_wrap=True)


def sections(records: Sequence[CellRecord], analysis: Analysis) -> Iterator[RenderableType]:
    """The parts in reading order; machines apart."""
    yield Text(counts_sentence(records), style="bold")
    several = tables.machines(records)
    for machine in several:
        own = [record for record in records if record.machine.id == machine.id]
        if len(several) > 1:
            yield Text(f"On {printable(machine.label)}", style="bold underline")
        for panel in tables.panels(own):
            yield draw_table(tables.winners(panel))
        if (models := tables.models(analysis, machine)) is not None:
            yield draw_table(models)
        for sentence in tables.crossover_words(analysis.crossovers, machine):
            yield Text(printable(sentence))
    if (failures := tables.failures(records)) is not None:
        more = len(failures.rows) - MOST_FAILURES
        notes = [f"and {more} more in report.html and cells.csv"] if more > 0 else []
        yield draw_table(
            Table("failures", failures.caption, "", failures.columns, failures.rows[:MOST_FAILURES], notes)
        )


def counts_sentence(records: Sequence[CellRecord]) -> str:
    """``24 cells: 22 ok, 1 failed, 1 skipped.``"""
    counts = Counter(record.status for record in records)
    parts = [f"{counts[status]} {status}" for status in tables.TONES if counts[status]]
    return f"{format_count(len(records), 'cell')}: {', '.join(parts) or 'nothing measured'}."


def plan_lines(needs: Sequence[tables.Need]) -> Iterator[str]:
    """A line for each planned cell, and their sum."""
    for need in needs:
        note = f"skipped: {need.skipped}" if need.skipped and need.state != "ok" else need.state
        yield (
            f"{need.key}  {need.cell.label:<48}  about {clock_time(need.seconds):>8}  {size(need.bytes):>8}  {note}"
        ).rstrip()
    left = [need for need in needs if need.state != "ok" and not need.skipped]
    total = clock_time(sum(need.seconds for need in left))
    yield f"{len(needs)} cells, {len(left)} to run: about {total} on this machine, by rough estimates (a factor of 2)"
