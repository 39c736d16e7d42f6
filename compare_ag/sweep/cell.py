"""One cell, in a process of its own: ``python -m compare_ag.sweep.cell`` with a `Task` as one line of JSON on stdin.

A process, because a worker's parent-death signal belongs to the thread that started it, affinity to the process, and
the precision of exact arithmetic is global. The process ends with whoever started it: its stdin stays open as long as
that one lives.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from compare_ag.compare.numbers import log_times
from compare_ag.exit_codes import ExitCode
from compare_ag.problem import ProblemError, problem_by_name
from compare_ag.records import FAILED, BackendRecord, Run, decisive
from compare_ag.records.sweeps import BackendRow, CellRecord, SweepCell
from compare_ag.speed.schedule import MODES, Settings
from compare_ag.suite import Observer, Terminated, TimingProgress
from compare_ag.suite import run as run_suite
from compare_ag.suite.display import STAGES, timing_words
from compare_ag.sweep.ledger import keep_record
from compare_ag.sweep.machine import this_machine

MODULE = "compare_ag.sweep.cell"
PERMANENT = "unsupported"
"""a status of a backend that another try would not change"""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is to do."""

    cell: SweepCell
    key: str
    versions: dict[str, str]
    purpose: str = "grid"
    folder: str
    """where its run directory goes: absent, in a folder that exists"""
    memory_limit: int | None = None
    """bytes that each worker may hold; None: a fair share of what is free"""


class Stages(Observer):
    """Prints a line on stdout for each new stage of the run, for the sweep's progress, and adds up the waiting."""

    def __init__(self) -> None:
        self.waited = 0.0
        """seconds that the cell waited for the machine"""
        self._since: float | None = None
        self._line = ""

    def _print(self, line: str) -> None:
        if line != self._line:
            self._line = line
            print(line, flush=True)

    def waiting(self, reason: str) -> None:
        """Say for whom the cell waits."""
        if reason:
            self._since = time.monotonic() if self._since is None else self._since
            self._print(f"waiting: {reason}")
        elif self._since is not None:
            self.waited, self._since = self.waited + time.monotonic() - self._since, None
            self._print("goes on")

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """Say which backend is at which stage, and how far in tenths where it is counted."""
        share = f" {10 * (10 * done // total)} %" if total > 1 else ""
        self._print(f"{name}: {STAGES.get(stage, stage)}{share}")

    def timing(self, progress: TimingProgress) -> None:
        """Say how far timing is."""
        self._print(f"timing: {timing_words(progress)}")


def main() -> None:
    """Run the cell that stdin names; exit with 0 where its record is written, else with a reason on stderr.

    Stdout has a line for each stage, see `Stages`.
    """
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    signal.signal(signal.SIGTERM, _terminate)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        measure(task)
    except KeyboardInterrupt:
        shutil.rmtree(task.folder, ignore_errors=True)  # whoever started this process may be gone
        sys.exit(ExitCode.TERMINATED)
    except Exception as error:  # noqa: BLE001 - the reason goes into the cell's record
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(ExitCode.BUG)


def _terminate(_signal: int, _frame: object) -> None:
    raise Terminated


def _end_with_parent() -> None:
    """Wait until the parent's end of stdin closes, then end this process as SIGTERM would."""
    while os.read(0, 1):  # not through sys.stdin, whose lock a thread may not hold when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def measure(task: Task) -> CellRecord:
    """Run the cell and keep its record beside the run's files. Raises `KeyboardInterrupt` where the run was ended."""
    cell, folder = task.cell, Path(task.folder)
    began, stages = time.time(), Stages()

    def make(status: str, reason: str, **fields: Any) -> CellRecord:
        record = CellRecord(
            key=task.key,
            cell=cell,
            versions=task.versions,
            purpose=task.purpose,
            status=status,
            reason=reason,
            machine=this_machine(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.time() - began - stages.waited,
            trained_from=began,
            trained_until=time.time(),
            **fields,
        )
        keep_record(folder, record)
        return record

    try:
        run = _run(cell, folder, task.memory_limit, stages)
    except ProblemError as error:  # memory is refused before anything is loaded
        return make("skipped", str(error))
    if run.manifest.state != "complete":
        raise Terminated
    status, reason = judge(run, timed=cell.timing_budget is not None)
    return make(status, reason, **summary(run))


def _run(cell: SweepCell, folder: Path, memory_limit: int | None, observer: Observer) -> Run:
    problem = problem_by_name(
        f"synthetic:n={cell.n},d={cell.d}",
        dtype=cell.dtype,
        threads=cell.threads,
        loss=cell.loss,
        steps=cell.steps,
        l2=cell.l2,
        seed=cell.seed,
    )
    run = run_suite(
        list(cell.backends),
        problem,
        timing=False if cell.timing_budget is None else timing(cell.timing_budget),
        timeout=cell.timeout,
        output=folder,
        observer=observer,
        memory_limit=memory_limit,
    )
    if run.path != folder:
        raise OSError(f"{folder} takes no more files; the run went to a temporary directory")
    return run


def timing(budget: float) -> Settings:
    """How a cell is timed: as ``--quick``, for so many seconds."""
    return replace(MODES["quick"], mode="sweep", budget_seconds=budget)


def judge(run: Run, *, timed: bool) -> tuple[str, str]:
    """The cell's status (`records.sweeps.CELL_STATUSES`) and its reason."""
    failures = [
        f"{record.name}: {record.status}" + (f": {record.reason}" if record.reason else "")
        for record in run.records.values()
        if record.status in (FAILED - {PERMANENT}) | {"cancelled", "not-run"}
    ]
    if failures:
        return "failed", "; ".join(failures)
    if not timed:
        return "ok", ""
    right = [record for record in run.records.values() if record.status == "ok"]
    if untimed := [record for record in right if record.cost is None]:
        return "failed", "; ".join(f"{record.name}: {record.timing_note or 'not timed'}" for record in untimed)
    if disturbed := [record.name for record in right if record.cost is not None and record.cost.disturbed]:
        return "disturbed", f"other programs disturbed the timing of {', '.join(disturbed)}"
    return "ok", ""


def summary(run: Run) -> dict[str, Any]:
    """The fields of `CellRecord` that come from the run's own records."""
    speed = run.manifest.speed
    return {
        "rows": [_row(run, record) for record in run.records.values()],
        "pairs": [] if speed is None else speed.pairs,
        "noise_floor": None if speed is None else speed.noise_floor,
        "timed_from": None if speed is None else speed.timed_from,
        "timed_until": None if speed is None else speed.timed_until,
    }


def _row(run: Run, record: BackendRecord) -> BackendRow:
    """What the cell's tables show of one backend. A wrong or disturbed one has no speed."""
    verdict, cost, memory = decisive(record), record.cost, record.memory
    ranked = record.status == "ok" and cost is not None and cost.ranked
    return BackendRow(
        name=record.name,
        status=record.status,
        reason=record.reason or ("" if verdict is None or record.status == "ok" else verdict.message),
        worst_ratio=None if verdict is None else verdict.worst_ratio,
        step=cost.step if ranked and cost is not None else None,
        launches=[math.exp(log) for log in log_times(run, record.name)] if ranked else [],
        ranked=ranked,
        disturbed=cost is not None and cost.disturbed,
        unranked=record.timing_note if cost is None else cost.unranked,
        first_step_seconds=None if cost is None or cost.first_step_seconds is None else cost.first_step_seconds.value,
        cold_seconds=None if cost is None else cost.cold_seconds,
        peak_bytes=None if memory is None else memory.peak_bytes,
        training_bytes=None if memory is None else memory.training_bytes,
        tape_bytes=None if memory is None else memory.tape_bytes,
        threads_observed=record.threads_observed if cost is None else cost.threads_observed,
    )


if __name__ == "__main__":
    main()
