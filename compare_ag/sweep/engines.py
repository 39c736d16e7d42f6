"""Where the cells' processes run. An engine takes planned cells and yields a `Done` for each, as they end.

    local  one cell after the other on this machine
    dask   `engine_dask`: on the workers of a cluster

An engine yields a folder beside the cell's place; whether a cell counts as done is for the ledger to say.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from compare_ag.records.sweeps import CellRecord
from compare_ag.sweep.cell import MODULE, Task
from compare_ag.sweep.estimate import estimate, why_skipped
from compare_ag.sweep.grid import Planned
from compare_ag.sweep.ledger import CELL_FILE, Ledger, keep_record
from compare_ag.sweep.machine import this_machine

TICK_SECONDS = 0.5
"""between two looks at a cell's process: the wait itself costs nothing"""
END_SECONDS = 30.0
"""that a process is given to stop its workers once it has been told to end"""
MOST_WORDS = 400
"""characters of a line"""
MOST_TAIL = 4096
"""bytes at the end of a process's output that are looked at"""


class Done(NamedTuple):
    """What became of a cell."""

    planned: Planned
    scratch: Path | None
    """a folder with the cell's record; None where another process has the cell"""


class ClusterLostError(Exception):
    """The cluster that runs the cells cannot be reached; the message says why."""


def run_local(
    ledger: Ledger,
    planned: Sequence[Planned],
    tell: Callable[[Planned | None, str], object],
    memory_limit: int | None = None,
) -> Iterator[Done]:
    """Run the cells one after the other. tell: hears twice a second which cell is at work, and at which stage.

    A cell's claim is held until the next one is asked for: the caller accepts the folder meanwhile.
    """
    for cell in planned:
        with ledger.claim(cell.key) as ours:
            if not ours:
                yield Done(cell, None)
                continue
            entry = ledger.entry(cell.key)
            if entry is not None and entry.status == "ok":  # another process has finished it since
                yield Done(cell, None)
                continue
            scratch = ledger.scratch(cell.key)
            try:
                attempt(cell, scratch, partial(tell, cell), memory_limit)
            except KeyboardInterrupt:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
            yield Done(cell, scratch)


def attempt(planned: Planned, folder: Path, tell: Callable[[str], object], memory_limit: int | None = None) -> None:
    """Leave the cell's record in the folder: of its run, or of why there is none on this machine."""
    if reason := why_skipped(planned.cell, estimate(planned.cell)):
        status = "skipped"
    elif reason := run_process(planned, folder, tell, memory_limit):
        shutil.rmtree(folder, ignore_errors=True)
        status = "failed"
    else:
        return
    record = CellRecord(
        key=planned.key,
        cell=planned.cell,
        versions=planned.versions,
        purpose=planned.purpose,
        status=status,
        reason=reason,
        machine=this_machine(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    keep_record(folder, record)


def run_process(planned: Planned, folder: Path, tell: Callable[[str], object], memory_limit: int | None = None) -> str:
    """Run one cell in a process of its own; return why it left no cell in the folder, or nothing.

    tell: hears twice a second at which stage the cell is.

    An interrupt ends the process, its workers included, before it is raised again.
    """
    task = Task(
        cell=planned.cell,
        key=planned.key,
        versions=planned.versions,
        purpose=planned.purpose,
        folder=str(folder),
        memory_limit=memory_limit,
    )
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as stages:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=stages,
            stderr=errors,
            start_new_session=True,  # an interrupt from the terminal is for this process to hand on
        )
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(task) + b"\n")
                process.stdin.flush()
            while True:
                tell(_last_line(stages))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TICK_SECONDS)
                    break
        finally:
            _end(process)
        if process.returncode == 0 and (folder / CELL_FILE).is_file():
            return ""
        words = _last_line(errors)
        how = f"exit code {process.returncode}" if process.returncode >= 0 else f"signal {-process.returncode}"
        return f"the cell's process ended with {how}" + (f": {words}" if words else "")


def _last_line(file: IO[bytes]) -> str:
    """The last line that a process wrote, without moving where it writes."""
    size = os.fstat(file.fileno()).st_size
    text = os.pread(file.fileno(), MOST_TAIL, max(0, size - MOST_TAIL)).decode(errors="replace")
    lines = text.strip().splitlines()
    return lines[-1][:MOST_WORDS] if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close its stdin, which ends a process that still runs, and wait."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
