"""Sweeps of invented numbers: cells of any size without a process, and folders of real ones."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compare_ag.records.sweeps import CellRecord, SweepCell
from compare_ag.sweep.cell import judge, summary
from compare_ag.sweep.grid import SweepGrid, make_grid
from compare_ag.sweep.ledger import Ledger, keep_record

_MADE = runpy.run_path(str(Path(__file__).parents[1] / "made_sweep.py"))
VERSIONS, MACHINE = _MADE["VERSIONS"], _MADE["MACHINE"]
make_cell, make_record = _MADE["make_cell"], _MADE["make_record"]


@pytest.fixture
def cell() -> Callable[..., SweepCell]:
    return make_cell


@pytest.fixture
def record() -> Callable[..., CellRecord]:
    return make_record


@pytest.fixture
def made_sweep(tmp_path: Path) -> Callable[..., Ledger]:
    """A folder with a cell for each size, of invented times: ``times(n, d)`` gives seconds by backend."""

    def make(times: Callable[[int, int], Mapping[str, float]], folder: str = "sweep", **options: Any) -> Ledger:
        machine, versions = options.pop("machine", MACHINE), options.pop("versions", VERSIONS)
        grid: SweepGrid = make_grid(**({"backends": ["numpy", "torch"], "n": [10, 1000], "d": [2, 20]} | options))
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
