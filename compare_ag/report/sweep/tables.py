"""The tables of a sweep's terminal summary and page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from compare_ag.records import Interval
from compare_ag.records.sweeps import (
    Analysis,
    BackendRow,
    CellRecord,
    CostRecord,
    CrossoverRecord,
    Machine,
    Ranking,
    SweepCell,
    format_count,
    rank,
)
from compare_ag.report.table import BAD, GOOD, OPEN, Column, Table
from compare_ag.report.units import seconds, size

TONES = {"ok": GOOD, "failed": BAD, "disturbed": OPEN, "skipped": OPEN}


@dataclass(frozen=True)
class Panel:
    """The cells of one machine that differ in n and d alone: one heat map."""

    machine: Machine
    loss: str
    dtype: str
    threads: int
    cells: dict[tuple[int, int], CellRecord]
    """by (n, d)"""

    @property
    def n(self) -> list[int]:
        """Sizes along n, ascending."""
        return sorted({n for n, _ in self.cells})

    @property
    def d(self) -> list[int]:
        """Sizes along d, ascending."""
        return sorted({d for _, d in self.cells})

    @property
    def backends(self) -> list[str]:
        """Every backend that one of the cells has."""
        return list(dict.fromkeys(row.name for record in self.cells.values() for row in record.rows))

    @property
    def title(self) -> str:
        """``float64, 1 thread, logits``."""
        return f"{self.dtype}, {format_count(self.threads, 'thread')}, {self.loss}"


def panels(records: Iterable[CellRecord]) -> list[Panel]:
    """The heat maps, machine by machine, of the grid's cells."""
    by_place: dict[tuple[Any, ...], Panel] = {}
    for record in (record for record in records if record.purpose == "grid"):
        cell = record.cell
        place = (record.machine.id, *cell.panel)
        panel = by_place.setdefault(place, Panel(record.machine, cell.loss, cell.dtype, cell.threads, {}))
        panel.cells[cell.n, cell.d] = record
    return list(by_place.values())


def machines(records: Iterable[CellRecord]) -> list[Machine]:
    """Every machine that a cell ran on."""
    return list({record.machine.id: record.machine for record in records}.values())


# --- the fastest backend --------------------------------------------------------------------------------------


def winner_words(record: CellRecord | None, ranking: Ranking | None) -> str:
    """``numpy 1.3×``: the fastest and how far the next one is; ``numpy ≈ torch`` for a tie."""
    if record is None:
        return "–"
    if ranking is None:
        return record.status if record.status != "ok" else "no times" if record.cell.timing_budget else "judged"
    if ranking.tied:
        return f"{ranking.fastest} {'≈' if ranking.equivalent else '≟'} {', '.join(ranking.tied)}"
    return ranking.fastest if ranking.ratio is None else f"{ranking.fastest} {ranking.ratio.value:.2g}×"


def winners(panel: Panel) -> Table[int]:
    """The fastest correct backend, a row for each n and a column for each d."""

    def words(d: int, n: int) -> str:
        record = panel.cells.get((n, d))
        return winner_words(record, None if record is None else rank(record))

    columns = [Column[int]("n", lambda n: n, shown="{:,}".format)]
    columns += [Column[int](f"d = {d:,}", partial(words, d), left=True) for d in panel.d]
    notes = ["1.3×: so much faster than the next one. ≈: within the margin. ≟: not decided."]
    return Table("winners", f"Fastest correct backend: {panel.title}", "", columns, panel.n, notes)


# --- everything of each cell ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CellEntry:
    """One backend in one cell."""

    record: CellRecord
    row: BackendRow
    ranking: Ranking | None


def entries(panel: Panel) -> list[CellEntry]:
    """Every backend of every cell, by size."""
    return [
        CellEntry(record, row, rank(record))
        for _, record in sorted(panel.cells.items(), key=lambda item: (item[0][1], item[0][0]))
        for row in record.rows
    ]


def numbers(panel: Panel) -> Table[CellEntry]:
    """Every cell's numbers."""
    columns: list[Column[CellEntry]] = [
        Column("cell", lambda entry: f"n={entry.record.cell.n:,} d={entry.record.cell.d:,}", left=True),
        Column("backend", lambda entry: entry.row.name, left=True),
        Column("status", lambda entry: entry.row.status, left=True, tone=lambda entry: _tone(entry.row)),
        Column("time per step", lambda entry: entry.row.step, shown=_time),
        Column("place", _place_words, left=True),
        Column("share of the limit", lambda entry: entry.row.limit_share, shown=_percent),
        Column("first step", lambda entry: entry.row.first_step_seconds, shown=seconds),
        Column("peak memory", lambda entry: entry.row.peak_bytes, shown=size),
        Column("tape", lambda entry: entry.row.tape_bytes, shown=size),
        Column("threads seen", lambda entry: entry.row.threads_observed),
    ]
    return Table("numbers", f"Every cell: {panel.title}", "", columns, entries(panel))


def _tone(row: BackendRow) -> str:
    return GOOD if row.status == "ok" else OPEN if row.status in ("undecidable", "unsupported") else BAD


def _place_words(entry: CellEntry) -> str:
    if entry.row.disturbed:
        return "disturbed"
    if not entry.row.ranked:
        return entry.row.unranked or "n/a"
    if entry.ranking is None or entry.row.name == entry.ranking.fastest:
        return "fastest"
    return "tied" if entry.row.name in entry.ranking.tied else "slower"


def _time(step: Interval) -> str:
    if step.low is None or step.high is None:
        return seconds(step.value)
    return f"{seconds(step.value)} ±{100 * (step.high / step.low - 1) / 2:.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# --- failures -------------------------------------------------------------------------------------------------


def failures(records: Iterable[CellRecord]) -> Table[tuple[str, str, str]] | None:
    """What has no result, or a wrong one, and why; None where there is nothing to tell."""
    rows = list(_failures(records))
    if not rows:
        return None
    columns: list[Column[tuple[str, str, str]]] = [
        Column("cell", lambda row: row[0], left=True),
        Column("status", lambda row: row[1], left=True),
        Column("reason", lambda row: row[2], prose=True),
    ]
    return Table("failures", "Without a result, or with a wrong one", "", columns, rows)


def _failures(records: Iterable[CellRecord]) -> Iterator[tuple[str, str, str]]:
    for record in records:
        if record.status != "ok":
            yield record.cell.label, record.status, record.reason
        for row in record.rows:
            if row.status != "ok" and record.status != "failed":
                yield record.cell.label, f"{row.name}: {row.status}", row.reason


# --- what is computed of all cells ----------------------------------------------------------------------------


def models(analysis: Analysis, machine: Machine) -> Table[CostRecord] | None:
    """The cost models of one machine; None where there is none."""
    rows = [model for model in analysis.models if model.machine == machine.id]
    if not rows:
        return None
    columns: list[Column[CostRecord]] = [
        Column("backend", lambda model: model.backend, left=True),
        Column(
            "cells", lambda model: f"{model.dtype}, {format_count(model.threads, 'thread')}, {model.loss}", left=True
        ),
        Column("fixed", lambda model: model.fixed, shown=_cost),
        Column("per example", lambda model: model.per_example, text=lambda model: _share(model, model.per_example)),
        Column("per element", lambda model: model.per_element, text=lambda model: _share(model, model.per_element)),
        Column("leave-one-out error", lambda model: model.error_median, text=_error),
    ]
    notes = ["Seconds per step = fixed + per example · n + per element · n d: it explains, and decides nothing."]
    return Table("models", "What a step costs", "", columns, rows, notes)


def _share(model: CostRecord, value: Interval) -> str:
    """A coefficient; with one number of features alone, n and n d vary together and cannot be told apart."""
    return "not told apart" if model.confounded else _cost(value)


def _cost(value: Interval) -> str:
    if value.low is None or value.high is None:
        return seconds(value.value)
    return f"{seconds(value.value)} ({seconds(value.low)} to {seconds(value.high)})"


def _error(model: CostRecord) -> str:
    if model.error_median is None or model.error_largest is None:
        return f"not known from {model.cells} cells"
    return f"{100 * model.error_median:.0f} % median, {100 * model.error_largest:.0f} % largest, {model.cells} cells"


def crossover_words(crossovers: Sequence[CrossoverRecord], machine: Machine) -> list[str]:
    """A sentence for each crossover that was looked for on this machine."""
    return [crossover.sentence for crossover in crossovers if crossover.machine == machine.id]


# --- before it runs -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """A planned cell and what it will need."""

    key: str
    cell: SweepCell
    seconds: float
    bytes: int
    state: str
    skipped: str
    """why it cannot be measured; empty where it can"""
