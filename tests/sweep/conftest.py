"""Sweeps of invented numbers: cells of any size without a process, and folders of real ones."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compare_ag.records import Interval, PairRecord
from compare_ag.records.sweeps import BackendRow, Cell, CellRecord, Machine
from compare_ag.sweep.cell import judge, summary
from compare_ag.sweep.grid import Grid, cell_key, make_grid
from compare_ag.sweep.ledger import Ledger, keep_record

VERSIONS = {"compare-ag": "0.2.0", "numpy": "2.4.0", "python": "3.11.7"}
MACHINE = Machine(id="0a1b2c3d", cpu="Made CPU", system="Linux x86_64", logical_cpus=2, memory_bytes=8_000_000_000)


def make_cell(n: int = 100, d: int = 3, **fields: Any) -> Cell:
    given = {
        "backends": ("numpy", "torch"), "dtype": "float64", "threads": 1, "loss": "logits", "steps": 20, "l2": 0.0,
        "seed": 0, "timing_budget": 1.0, "timeout": 60.0,
    }  # fmt: skip
    return Cell(n=n, d=d, **(given | fields))


def make_record(
    cell: Cell,
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


@pytest.fixture
def cell() -> Callable[..., Cell]:
    return make_cell


@pytest.fixture
def record() -> Callable[..., CellRecord]:
    return make_record


@pytest.fixture
def made_sweep(tmp_path: Path) -> Callable[..., Ledger]:
    """A folder with a cell for each size, of invented times: ``times(n, d)`` gives seconds by backend."""

    def make(times: Callable[[int, int], Mapping[str, float]], folder: str = "sweep", **options: Any) -> Ledger:
        machine, versions = options.pop("machine", MACHINE), options.pop("versions", VERSIONS)
        grid: Grid = make_grid(**({"backends": ["numpy", "torch"], "n": [10, 1000], "d": [2, 20]} | options))
        ledger = Ledger.create(grid, tmp_path / folder)
        for one in grid.cells():
            with ledger.claim("test"):
                ledger.write(make_record(one, times(one.n, one.d), machine=machine, versions=versions))
        return ledger

    return make


@pytest.fixture
def measured_sweep(made_sweep, make_run) -> Callable[..., Ledger]:
    """As `made_sweep`, with a run of invented numbers in each cell. more: for `made.make_run`, by (n, d)."""

    def make(times, folder: str = "sweep", more=lambda _n, _d: {}, **options: Any) -> Ledger:
        ledger = made_sweep(times, folder, **options)
        for name in ledger.names():
            old = ledger.record(name)
            cell, place = old.cell, ledger.place(name)
            problem = {"examples": cell.n, "loss": cell.loss, "digest": f"{cell.n} {cell.d}"}
            shutil.rmtree(place)
            run = make_run(
                times(cell.n, cell.d), steps=cell.steps, features=cell.d, dtype=cell.dtype, judged=True,
                path=place, problem=problem, **more(cell.n, cell.d),
            )  # fmt: skip
            told = summary(run)
            keep_record(place, msgspec.structs.replace(old, **told, status=judge(run, timed=True)[0]))
        return ledger

    return make
