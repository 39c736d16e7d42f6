"""How much of the machine's limit each step reaches. It is measured once for each machine and number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from compare_ag.host import machine_lock
from compare_ag.records import RecordError, read_json, record_bytes, write_bytes
from compare_ag.records.sweeps import BackendRow, CellRecord, Limit, format_count
from compare_ag.sweep.ledger import Ledger
from compare_ag.sweep.limits import BUDGET_SECONDS, MachineLimits, measure_limits
from compare_ag.sweep.machine import this_machine

FOLDER = "limits"
Limits = Mapping[tuple[str, int], MachineLimits]
"""by machine and threads"""


def missing_limits(ledger: Ledger) -> dict[tuple[str, int], float]:
    """Each machine and number of threads that cells were timed with and whose limits are not known.

    The values are seconds: how long measuring them may take, no longer than the cells' own timing.
    """
    spent: dict[tuple[str, int], float] = {}
    for record in ledger.records():
        if record.timed_from is not None and record.timed_until is not None:
            place = (record.machine.id, record.cell.threads)
            spent[place] = spent.get(place, 0.0) + record.timed_until - record.timed_from
    known = read_limits(ledger)
    return {place: min(BUDGET_SECONDS, seconds) for place, seconds in sorted(spent.items()) if place not in known}


def measure_missing_limits(ledger: Ledger, tell: Callable[[str], object]) -> bool:
    """Measure this machine's limits for each number of threads that it timed cells with; whether any were missing.

    Waits for the machine's lock.
    """
    machine = this_machine().id
    missing = {threads: budget for (of, threads), budget in missing_limits(ledger).items() if of == machine}
    for threads, budget in missing.items():
        tell(f"measuring the limits of this machine with {format_count(threads, 'thread')}")
        with machine_lock.hold("timing", tell=tell):
            keep_limits(ledger, machine, measure_limits(threads, ledger.grid.dtype, budget=budget))
    return bool(missing)


def keep_limits(ledger: Ledger, machine: str, limits: MachineLimits) -> None:
    """Write the limits of a machine into the sweep's folder. Raises `SaveError`."""
    write_bytes(ledger.folder / FOLDER / f"{machine}-{limits.threads}.json", record_bytes(limits))


def read_limits(ledger: Ledger) -> Limits:
    """The limits that the folder has; a damaged file counts as none."""
    known = {}
    for path in sorted((ledger.folder / FOLDER).glob("*-*.json")):
        machine, _, threads = path.stem.rpartition("-")
        try:
            limits: MachineLimits = read_json(path, MachineLimits)
        except RecordError:
            continue
        if threads.isdecimal():
            known[machine, int(threads)] = limits
    return known


def add_shares(records: Iterable[CellRecord], limits: Limits) -> list[CellRecord]:
    """The records with the share of the limit of their machine that each backend's step reaches."""
    return [
        msgspec.structs.replace(record, rows=[_add_share(row, limit) for row in record.rows])
        if (limit := limit_of(record, limits)) is not None
        else record
        for record in records
    ]


def _add_share(row: BackendRow, limit: float) -> BackendRow:
    return row if row.step is None else msgspec.structs.replace(row, limit_share=limit / row.step.value)


def limit_of(record: CellRecord, limits: Limits) -> float | None:
    """The least seconds of a step at the cell's size on its machine; None where that was not measured."""
    cell = record.cell
    known = limits.get((record.machine.id, cell.threads))
    if known is None or cell.dtype not in {rates.dtype for rates in known.rates}:
        return None
    return known.step_seconds(cell.n, cell.d, cell.dtype)


def limits_of(records: Sequence[CellRecord], limits: Limits) -> list[Limit]:
    """The limit at every size, for the curves."""
    by_size: dict[tuple[str, int, int, str, int], Limit] = {}
    for record in records:
        cell, seconds = record.cell, limit_of(record, limits)
        if seconds is not None:
            place = (record.machine.id, cell.n, cell.d, cell.dtype, cell.threads)
            by_size[place] = Limit(
                machine=place[0], n=cell.n, d=cell.d, dtype=cell.dtype, threads=cell.threads, seconds=seconds
            )
    return list(by_size.values())
