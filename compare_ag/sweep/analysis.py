"""What is computed of all cells together: cost models, and where the fastest backend changes along a line of sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from compare_ag.records import Interval
from compare_ag.records.sweeps import (
    Analysis,
    CellRecord,
    CostRecord,
    CrossoverRecord,
    Ranking,
    SweepCell,
    latest,
    rank,
)
from compare_ag.sweep import costs
from compare_ag.sweep.crossover import Crossover, Ratio, find_crossover
from compare_ag.sweep.flow import Engine, Result, run_cells
from compare_ag.sweep.grid import Planned, cell_key
from compare_ag.sweep.ledger import Ledger
from compare_ag.sweep.machine import this_machine
from compare_ag.sweep.shares import Limits, limits_of, measure_missing_limits

Axis = Literal["n", "d"]


class Line(NamedTuple):
    """The grid's cells that differ in one size alone, on one machine."""

    axis: Axis
    fixed: int
    cells: dict[int, CellRecord]
    """by size, ascending"""


class _StoppedError(Exception):
    """The search was interrupted; the result says by what."""


def analyse(records: Sequence[CellRecord], limits: Limits, crossovers: list[CrossoverRecord]) -> Analysis:
    """What is computed of these cells; crossovers: those that were searched for."""
    return Analysis(models=fit_models(records), limits=limits_of(records, limits), crossovers=crossovers)


# --- cost models ----------------------------------------------------------------------------------------------


def fit_models(records: Iterable[CellRecord]) -> list[CostRecord]:
    """A model for each backend, machine, loss, dtype and number of threads with enough timed sizes."""
    groups: dict[tuple[str, str, str, int, str], list[costs.Cell]] = {}
    for record in records:
        cell = record.cell
        for row in record.rows:
            if row.ranked and row.launches:
                group = (record.machine.id, cell.loss, cell.dtype, cell.threads, row.name)
                groups.setdefault(group, []).append(costs.Cell(cell.n, cell.d, row.launches))
    models = []
    for (machine, loss, dtype, threads, backend), cells in groups.items():
        if len({(cell.n, cell.d) for cell in cells}) < costs.LEAST_SIZES:
            continue
        model = costs.fit_costs(cells)
        models.append(
            CostRecord(
                machine=machine,
                backend=backend,
                loss=loss,
                dtype=dtype,
                threads=threads,
                fixed=_interval(model.fixed),
                per_example=_interval(model.per_example),
                per_element=_interval(model.per_element),
                cells=model.cells,
                error_median=model.median_error,
                error_largest=model.largest_error,
                confounded=model.confounded,
            )
        )
    return models


def _interval(term: costs.Term) -> Interval:
    return Interval(value=term.value, low=term.low, high=term.high)


# --- crossovers -----------------------------------------------------------------------------------------------


def measure_beyond_cells(
    ledger: Ledger,
    versions: dict[str, str],
    engine: Engine,
    tell: Callable[[str], object],
    result: Result,
    *,
    crossovers: bool,
) -> tuple[bool, list[CrossoverRecord] | None]:
    """Measure the machine's limits where they are missing, and the crossovers where they are wanted.

    Returns whether limits were measured, and the crossovers, None where none were searched for. An interrupt is kept
    in ``result``.
    """
    try:
        limits = measure_missing_limits(ledger, tell)
        return limits, search_crossovers(ledger, versions, engine, tell, result) if crossovers else None
    except KeyboardInterrupt as interrupt:
        result.interrupt = interrupt
        return False, None


def search_crossovers(
    ledger: Ledger, versions: dict[str, str], engine: Engine, tell: Callable[[str], object], result: Result
) -> list[CrossoverRecord]:
    """Measure on this machine where the fastest backend changes, along every line of the grid's cells.

    Each size that is measured is a cell of the ledger, of the two backends alone; one that is there is not run again.
    An interrupt ends the search and is kept in ``result``; what was found before is returned.
    """
    machine = this_machine().id
    records = latest(ledger.records())
    own = [record for record in records if record.machine.id == machine and record.purpose == "grid"]
    crossovers: list[CrossoverRecord] = []
    for line in lines(own):
        for first, second, low, high in rivals(line):
            try:
                crossover = _search(line, first, second, (low, high), ledger, versions, engine, tell, result)
            except _StoppedError:
                return crossovers
            crossovers.append(_record(line, crossover))
    return crossovers


def lines(records: Sequence[CellRecord]) -> Iterator[Line]:
    """Every line of two cells at least, along n and along d."""
    axes: tuple[Axis, Axis] = ("n", "d")
    for axis in axes:
        groups: dict[tuple[object, ...], dict[int, CellRecord]] = {}
        for record in records:
            cell = record.cell
            fixed, size = (cell.d, cell.n) if axis == "n" else (cell.n, cell.d)
            groups.setdefault((*cell.panel, fixed), {})[size] = record
        for group, cells in groups.items():
            if len(cells) > 1:
                yield Line(axis, int(str(group[-1])), dict(sorted(cells.items())))


def rivals(line: Line) -> list[tuple[str, str, int, int]]:
    """Pairs of backends between which the fastest changes, each with the sizes around the change.

    Of a line with one winner: that one and the backend that comes closest, from end to end.
    """
    done = [(size, record) for size, record in line.cells.items() if record.status == "ok"]
    ranked = [(size, ranking) for size, record in done if (ranking := rank(record)) is not None]
    changes = [
        (before.fastest, after.fastest, low, high)
        for (low, before), (high, after) in itertools.pairwise(ranked)
        if before.fastest != after.fastest
    ]
    if changes or len(ranked) < 2:
        return changes
    closest = min((ranking for _, ranking in ranked), key=_closeness)
    if closest.ratio is None or closest.runner_up is None:
        return []
    return [(closest.fastest, closest.runner_up, ranked[0][0], ranked[-1][0])]


def _closeness(ranking: Ranking) -> float:
    """The runner-up's time over the fastest's; infinite where it is not known."""
    return float("inf") if ranking.ratio is None else ranking.ratio.value


def ratio_between(record: CellRecord, first: str, second: str) -> Ratio | None:
    """The interval of time(first)/time(second) in a cell; None where one of them has no rank or it is not known."""
    ranked = {row.name for row in record.rows if row.ranked}
    for pair in (turn for known in record.pairs for turn in (known, known.swapped())):
        if (pair.backend, pair.baseline) == (first, second) and {first, second} <= ranked:
            low, high = pair.ratio.low, pair.ratio.high
            return None if low is None or high is None else (low, high)
    return None


def _search(
    line: Line,
    first: str,
    second: str,
    ends: tuple[int, int],
    ledger: Ledger,
    versions: dict[str, str],
    engine: Engine,
    tell: Callable[[str], object],
    result: Result,
) -> Crossover:
    """One pair of backends along one line. Raises `_StoppedError`."""
    known = {size: ratio_between(record, first, second) for size, record in line.cells.items()}
    template = next(iter(line.cells.values())).cell

    def measure(size: int) -> Ratio | None:
        cell = _cell_at(template, line.axis, size, (first, second))
        planned = Planned(cell, cell_key(cell, versions), versions, "crossover")
        entry = ledger.entry(planned.key)
        if entry is None or entry.status != "ok":
            run_cells(
                ledger, [planned], engine, lambda words: tell(f"crossover of {first} and {second}: {words}"), result
            )
            if not result.complete:
                raise _StoppedError
        return ratio_between(ledger.record(planned.key), first, second) if ledger.entry(planned.key) else None

    return find_crossover(first, second, measure, *ends, known=known, guess=_guess(line, first, second, ends))


def _guess(line: Line, first: str, second: str, ends: tuple[int, int]) -> int | None:
    """Where the cost models of this line expect the change; None where they do not tell."""
    models = []
    for name in (first, second):
        timed = [
            costs.Cell(record.cell.n, record.cell.d, row.launches)
            for record in line.cells.values()
            for row in record.rows
            if row.name == name and row.ranked and row.launches
        ]
        if len(timed) < costs.LEAST_SIZES:
            return None
        models.append(costs.fit_costs(timed))
    return costs.propose(models[0], models[1], line.axis, line.fixed, *ends)


def _cell_at(template: SweepCell, axis: Axis, size: int, backends: tuple[str, str]) -> SweepCell:
    at = {"n": size} if axis == "n" else {"d": size}
    return msgspec.structs.replace(template, backends=backends, **at)


def _record(line: Line, crossover: Crossover) -> CrossoverRecord:
    sample = next(iter(line.cells.values()))
    return CrossoverRecord(
        machine=sample.machine.id,
        axis=line.axis,
        fixed=line.fixed,
        loss=sample.cell.loss,
        dtype=sample.cell.dtype,
        threads=sample.cell.threads,
        first=crossover.first,
        second=crossover.second,
        low=crossover.low,
        high=crossover.high,
        crossed=bool(crossover.changes),
        points=[(point.size, point.low, point.high) for point in crossover.points],
        sentences=crossover.sentences(),
    )
