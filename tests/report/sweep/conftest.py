"""A sweep of invented numbers, with everything that a report can show."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compare_ag.records import Interval
from compare_ag.records.sweeps import Analysis, CellRecord, CostRecord, CrossoverRecord, Limit, SweepCell, latest

_MADE = runpy.run_path(str(Path(__file__).parents[2] / "made_sweep.py"))
BACKENDS = ("numpy", "torch", "slow")


@pytest.fixture
def cell() -> Callable[..., SweepCell]:
    make: Callable[..., SweepCell] = _MADE["make_cell"]
    return make


@pytest.fixture
def record() -> Callable[..., CellRecord]:
    make: Callable[..., CellRecord] = _MADE["make_record"]
    return make


@pytest.fixture
def varied() -> tuple[list[CellRecord], Analysis]:
    return make_varied()


def make_varied() -> tuple[list[CellRecord], Analysis]:
    """Two precisions, four sizes of n, two of d: winners, a tie, a wrong backend, a skipped and a failed cell."""
    make_cell, make_record, machine = _MADE["make_cell"], _MADE["make_record"], _MADE["MACHINE"].id
    records: list[CellRecord] = []
    for dtype in ("float32", "float64"):
        for d in (2, 200):
            for n in (4, 100, 10_000, 100_000):
                cell = make_cell(n, d, backends=BACKENDS, dtype=dtype)
                times = {"numpy": 1e-5 + 2e-8 * n, "torch": 6e-5 + 1e-8 * n, "slow": 1e-3 + 5e-8 * n}
                more: dict[str, Any] = {}
                if (n, d) == (100, 2):
                    more["statuses"] = {"slow": "disagree"}
                if (n, d) == (100, 200):
                    times["torch"] = 1.001 * times["numpy"]
                if (n, d) == (100_000, 200):
                    reason = "memory: it needs about 40 GiB, and 8 GiB are available"
                    more, times = {"status": "skipped", "reason": reason}, {}
                records.append(make_record(cell, times, **more))
    return latest(records), _analysis(machine)


def _analysis(machine: str) -> Analysis:
    def about(value: float) -> Interval:
        return Interval(value=value, low=0.9 * value, high=1.1 * value)

    place = {"machine": machine, "loss": "logits", "dtype": "float64", "threads": 1}
    return Analysis(
        models=[
            CostRecord(
                **place, backend="numpy", fixed=about(1e-5), per_example=about(2e-8), per_element=about(1e-9),
                cells=7, error_median=0.08, error_largest=0.3,
            )
        ],
        limits=[
            Limit(machine=machine, n=n, d=d, dtype="float64", threads=1, seconds=1e-6 + 1e-8 * n)
            for n in (4, 100, 10_000, 100_000)
            for d in (2, 200)
        ],
        crossovers=[
            CrossoverRecord(
                **place, axis="n", fixed=2, first="numpy", second="torch", low=100, high=10_000, crossed=True,
                points=[(4000, 0.9, 0.95), (4700, 1.05, 1.1)],
                sentences=["numpy is faster up to 4,000 and torch from 4,700 on: they cross between these sizes"],
            )
        ],
    )  # fmt: skip
