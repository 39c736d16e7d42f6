"""What a sweep itself costs: a thousand cells planned, listed and resumed, the host's share of a cell, its memory.

    python benchmarks/sweeping.py [--cells 1000] [--rounds 5]

The cells are invented records of the installed versions, so that nothing is trained and what is left is the sweep's own
work. Commands are timed from outside, imports included.
"""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from figures import Section, finish, machine, parser

from compare_ag.records import Interval
from compare_ag.records.sweeps import BackendRow, CellRecord
from compare_ag.sweep.engines import Done
from compare_ag.sweep.flow import run_cells
from compare_ag.sweep.grid import Planned, SweepGrid, installed_versions, make_grid, plan
from compare_ag.sweep.ledger import Ledger, keep_record
from compare_ag.sweep.machine import this_machine

COMMAND = str(Path(sys.executable).parent / "compare-ag")
BACKENDS = ["numpy", "autograd"]
WIDTHS = [2, 3, 5, 10, 20, 30, 50, 100, 200, 300]


def grid_of(cells: int) -> SweepGrid:
    """A grid of so many cells, a multiple of ten."""
    n = [10 + 7 * i for i in range(cells // len(WIDTHS))]
    return make_grid(backends=BACKENDS, n=n, d=WIDTHS, steps=20, timing_budget=1.0)


def options_of(grid: SweepGrid) -> list[str]:
    n, d = (",".join(map(str, axis)) for axis in (grid.n, grid.d))
    return ["--backends", ",".join(BACKENDS), "--n", n, "--d", d, "--steps", "20", "--timing-budget", "1"]


def invented(planned: Planned) -> CellRecord:
    """A finished cell that nobody has measured."""
    cell = planned.cell
    step = 1e-5 + 1e-9 * cell.n * cell.d
    interval = Interval(value=step, low=0.99 * step, high=1.01 * step)
    rows = [BackendRow(name=name, status="ok", step=interval, launches=[step] * 4, ranked=True) for name in BACKENDS]
    return CellRecord(
        key=planned.key, cell=cell, versions=planned.versions, status="ok", machine=this_machine(),
        created="2026-01-31T12:00:00+00:00", seconds=1.0, rows=rows,
    )  # fmt: skip


def instant(ledger: Ledger, planned: Sequence[Planned], tell: Any) -> Iterator[Done]:
    """An engine whose cells take no time: what remains is the host's work on each of them."""
    for item in planned:
        with ledger.claim(item.key):
            tell(item, "")
            scratch = ledger.scratch(item.key)
            keep_record(scratch, invented(item))
            yield Done(item, scratch)


def timed(command: Sequence[str], rounds: int) -> tuple[float, float]:
    """Median seconds of a command, and the most memory that it held, in bytes."""
    seconds, peak = [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        script = "import resource,subprocess,sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        said = subprocess.run(
            [sys.executable, "-S", "-c", script, *command], check=True, capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - start)
        peak = max(peak, 1024 * int(re.findall(r"\d+", said.stdout)[-1]))
    return statistics.median(seconds), peak


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--cells", type=int, default=1000, help="a multiple of ten (default: 1000)")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    started = time.monotonic()
    section = Section(f"A sweep of {asked.cells} cells, without the cells' own work")
    grid = grid_of(asked.cells)
    with machine(), tempfile.TemporaryDirectory() as name:
        empty, _ = timed(["true"], asked.rounds)
        planning, _ = timed([COMMAND, "sweep", *options_of(grid), "--dry-run"], asked.rounds)
        section.add("planned and listed (--dry-run)", (planning - empty,), "s", most=1.0)
        begun, _ = timed([sys.executable, "-c", "import compare_ag.sweep.cell"], asked.rounds)
        section.add("start of a cell's process", (begun - empty,), "s", most=0.6)
        peaks = []
        for cells in (asked.cells // 10, asked.cells):
            part = grid_of(cells)
            ledger = Ledger.create(part, Path(name) / str(cells))
            planned = plan(part, installed_versions(BACKENDS))
            first = time.perf_counter()
            run_cells(ledger, planned, instant, lambda _words: None)
            per_cell = (time.perf_counter() - first) / cells
            command = [COMMAND, "sweep", *options_of(part), "-o", str(ledger.folder), "--quiet"]
            timed(command, 1)  # writes the tables and the page
            resuming, peak = timed(command, asked.rounds)
            peaks.append(peak)
        section.add("the host's work on a cell", (per_cell * 1e3,), "ms", most=20.0)
        section.add("a finished sweep resumed", (resuming - empty,), "s", most=2.0)
    section.add("peak memory beside that with a tenth of the cells", (peaks[1] / peaks[0],), most=1.5)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    section.notes.append(
        f"median of {asked.rounds} rounds; the process that starts the command, {empty:.2f} s, is subtracted; "
        f"peak {', '.join(f'{peak / 1e6:.1f}' for peak in peaks)} MB; this process, which makes all cells, {own:.0f} MB"
    )
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
