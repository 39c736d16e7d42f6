"""Cells of invented numbers, without a process: `make_cell`, `make_record`; loaded by path, as `made.py` is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from compare_ag.records import Interval, PairRecord
from compare_ag.records.sweeps import BackendRow, CellRecord, Machine, SweepCell
from compare_ag.sweep.grid import cell_key

VERSIONS = {"compare-ag": "0.2.0", "numpy": "2.4.0", "python": "3.11.7"}
MACHINE = Machine(id="0a1b2c3d", cpu="Made CPU", system="Linux x86_64", logical_cpus=2, memory_bytes=8_000_000_000)


def make_cell(n: int = 100, d: int = 3, **fields: Any) -> SweepCell:
    given = {
        "backends": ("numpy", "torch"), "dtype": "float64", "threads": 1, "loss": "logits", "steps": 20, "l2": 0.0,
        "seed": 0, "timing_budget": 1.0, "timeout": 60.0,
    }  # fmt: skip
    return SweepCell(n=n, d=d, **(given | fields))


def make_record(
    cell: SweepCell,
    times: Mapping[str, float],
    *,
    half: float = 0.01,
    statuses: Mapping[str, str] | None = None,
    machine: Machine = MACHINE,
    versions: Mapping[str, str] = VERSIONS,
    **fields: Any,
) -> CellRecord:
    """A finished cell in which each backend took so many seconds for a step, known to ``half``; 0: not timed."""
    statuses = statuses or {}
    rows = [
        BackendRow(
            name=name,
            status=statuses.get(name, "ok"),
            step=Interval(value=t, low=t * (1 - half), high=t * (1 + half)) if t else None,
            launches=[t * (1 - half / 2), t, t * (1 + half / 2)] if t else [],
            ranked=bool(t) and statuses.get(name, "ok") == "ok",
            peak_bytes=50_000_000 + 8 * cell.n * cell.d,
            tape_bytes=8 * cell.n,
        )
        for name, t in times.items()
    ]
    ranked = [row.name for row in rows if row.ranked]
    pairs = [make_pair(one, other, times[one] / times[other], half) for one, other in itertools.combinations(ranked, 2)]
    given = {
        "key": cell_key(cell, versions), "status": "ok", "created": "2026-01-31T12:00:00+00:00", "seconds": 2.0,
        "rows": rows, "pairs": pairs, "noise_floor": 1.005,
    }  # fmt: skip
    return CellRecord(cell=cell, versions=dict(versions), machine=machine, **(given | fields))


def make_pair(one: str, other: str, ratio: float, half: float) -> PairRecord:
    low, high = ratio * (1 - 2 * half), ratio * (1 + 2 * half)
    verdict = "slower" if low > 1.02 else "faster" if high < 0.98 else "equivalent" if half < 0.005 else "inconclusive"
    return PairRecord(backend=one, baseline=other, ratio=Interval(value=ratio, low=low, high=high), verdict=verdict)
