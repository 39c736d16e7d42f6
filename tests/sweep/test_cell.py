"""One cell in a process of its own: what it leaves, what it may say of speed, and that it ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from compare_ag.records import Run, load_run, replace
from compare_ag.sweep.cell import MODULE, Task, judge, summary
from compare_ag.sweep.engines import attempt, run_local, run_process
from compare_ag.sweep.flow import run_cells
from compare_ag.sweep.grid import Planned, cell_key, make_grid, plan
from compare_ag.sweep.ledger import Ledger, check_cell
from compare_ag.sweep.merge import require_untouched

VERSIONS = {"compare-ag": "0.2.0"}
SECONDS = 60.0
SLOW = "        __import__('time').sleep(0.05)\n        w, b = weights\n"


def planned_of(cell) -> Planned:
    return Planned(cell, cell_key(cell, VERSIONS), VERSIONS)


def test_a_cell_leaves_a_run_without_a_page_and_a_record_of_it(tmp_path, cell):
    planned = planned_of(cell(6, 2, backends=("numpy", "autograd"), timing_budget=0.2))
    place = tmp_path / planned.key
    assert run_process(planned, place, lambda _stage: None) == ""
    record = require_untouched(place)  # sums, key and numbers agree with the run's
    run = load_run(place)
    assert not (place / "report.html").exists()
    assert (run.manifest.problem.examples, run.manifest.problem.features) == (6, 2)
    assert [row.name for row in record.rows] == ["numpy", "autograd"]
    assert record.status in ("ok", "disturbed")
    assert record.trained_from <= record.timed_from <= record.timed_until <= record.trained_until
    assert run.manifest.speed.budget_seconds == 0.2
    numpy = record.rows[0]
    assert numpy.status == "ok"
    if numpy.ranked:
        assert numpy.step == run["numpy"].cost.step
        assert len(numpy.launches) >= 1
    assert numpy.peak_bytes == run["numpy"].memory.peak_bytes


def test_a_wrong_or_disturbed_backend_has_no_speed(make_run):
    run = make_run(
        {"numpy": 1e-5, "wrong": 1e-6, "busy": 2e-6, "odd": 3e-6},
        statuses={"wrong": "disagree"},
        disturbed={"busy": 0.9},
        unranked={"odd": "works outside the clock"},
    )
    rows = {row.name: row for row in summary(run)["rows"]}
    assert [name for name, row in rows.items() if row.ranked] == ["numpy"]
    assert [name for name, row in rows.items() if row.step is not None or row.launches] == ["numpy"]
    assert (rows["busy"].disturbed, rows["odd"].unranked) == (True, "works outside the clock")
    assert judge(run, timed=True) == ("disturbed", "other programs disturbed the timing of busy")


def test_a_backend_that_was_timed_and_is_wrong_has_no_speed(make_run):
    run = make_run({"numpy": 1e-5, "torch": 2e-5}, judged=True)
    wrong = Run(run.path, run.manifest, {**run.records, "torch": replace(run["torch"], status="disagree")}, run._cache)
    assert {row.name: (row.ranked, row.step) for row in summary(wrong)["rows"]}["torch"] == (False, None)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("disagree", "ok"), ("non-finite", "ok"), ("undecidable", "ok"), ("unsupported", "ok"), ("crashed", "failed"),
        ("timeout", "failed"), ("oom", "failed"), ("import-error", "failed"), ("not-run", "failed"),
    ],
)  # fmt: skip
def test_what_another_try_would_not_change_is_done(make_run, status, expected):
    run = make_run(
        {"numpy": 1e-5, "other": 1e-5 if expected == "ok" and status == "undecidable" else 0.0},
        statuses={"other": status},
    )
    found, reason = judge(run, timed=True)
    assert found == expected
    assert (reason.startswith(f"other: {status}")) == (expected == "failed")


def test_a_right_backend_without_a_time_is_tried_again_where_times_were_wanted(make_run):
    run = make_run({"numpy": 1e-5, "other": 0.0})
    assert judge(run, timed=True) == ("failed", "other: not timed")
    assert judge(run, timed=False) == ("ok", "")


def test_a_cell_that_cannot_fit_is_skipped_without_a_process(tmp_path, cell):
    planned = planned_of(cell(10**9, 10**6))
    attempt(planned, tmp_path / "x", lambda _stage: None)
    record = check_cell(tmp_path / "x")
    assert (record.status, record.rows) == ("skipped", [])
    assert record.reason.startswith("memory: it needs about ")


def test_a_process_that_fails_leaves_its_last_words_as_the_reason(tmp_path, cell):
    planned = planned_of(cell(6, 2, backends=("absent",)))
    attempt(planned, tmp_path / "x", lambda _stage: None)
    record = check_cell(tmp_path / "x")
    assert record.status == "failed"
    assert record.reason.startswith("the cell's process ended with exit code 4: SelectionError: no backend 'absent'")


def test_a_backend_that_crashes_fails_the_cell_and_leaves_the_others_results(
    tmp_path, cell, install_plugin, good_plugin
):
    install_plugin("crashing", good_plugin.replace("        w, b = weights\n", "        raise SystemExit(3)\n", 1))
    planned = planned_of(cell(6, 2, backends=("numpy", "crashing"), timing_budget=None))
    attempt(planned, tmp_path / "x", lambda _stage: None)
    record = check_cell(tmp_path / "x")
    assert record.status == "failed"
    assert "crashing: " in record.reason
    assert {row.name: row.status for row in record.rows}["numpy"] == "ok"


def test_the_process_and_its_workers_end_with_whoever_started_them(tmp_path, cell, install_plugin, good_plugin):
    install_plugin("slow", good_plugin.replace("        w, b = weights\n", SLOW, 1))
    planned = planned_of(cell(6, 2, backends=("slow",), steps=5000, timing_budget=None))
    task = Task(cell=planned.cell, key=planned.key, versions={}, folder=str(tmp_path / "run"))
    process = subprocess.Popen([sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + SECONDS
        while not (workers := psutil.Process(process.pid).children(recursive=True)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.stdin.close()
        assert process.wait(SECONDS) == 143
        assert not (tmp_path / "run").exists()
        psutil.wait_procs(workers, SECONDS)
        assert [one for one in workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


RUNNER = """
import sys
from pathlib import Path
from compare_ag.sweep.engines import run_local
from compare_ag.sweep.flow import left, run_cells
from compare_ag.sweep.grid import installed_versions, plan
from compare_ag.sweep.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
planned = plan(ledger.grid, installed_versions(ledger.grid.backends))
run_cells(ledger, left(ledger.states(planned)), run_local, lambda words: print(words, flush=True))
"""


def kill_and_start_again(folder: Path, kills: int, seed: int) -> tuple[set[str], list[tuple[str, float]]]:
    """Start a sweep and kill it at random moments, then let it end: keys, and each ok cell's name and time of making."""
    import random

    generator = random.Random(seed)
    made: list[tuple[str, float]] = []
    ledger = Ledger.open(folder)

    def look() -> None:
        for name in ledger.names():
            stamp = (name, ledger.place(name).stat().st_mtime)
            if stamp not in made:
                made.append(stamp)

    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", RUNNER, str(folder)], stdout=subprocess.DEVNULL) as process:
            time.sleep(generator.uniform(0.1, 4.0))
            os.kill(process.pid, signal.SIGKILL)
        look()
    subprocess.run([sys.executable, "-c", RUNNER, str(folder)], stdout=subprocess.DEVNULL, check=True)
    look()
    deadline = time.monotonic() + SECONDS
    while list(ledger.cells.glob(".*")) and time.monotonic() < deadline:
        time.sleep(0.1)  # the last killed sweep's cell may be about to end
    return set(ledger.names()), made


@pytest.mark.thorough
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.thorough)])
def test_killed_at_random_moments_it_ends_in_the_same_cells_and_runs_none_twice(tmp_path, kills):
    grid = make_grid(backends=["numpy"], n=[4, 5], d=[1, 2] if kills < 10 else [1, 2, 3, 4, 5], steps=3, timing=False)
    ledger = Ledger.create(grid, tmp_path / "killed")
    keys, made = kill_and_start_again(ledger.folder, kills, seed=kills)
    from compare_ag.sweep.grid import installed_versions

    planned = plan(grid, installed_versions(grid.backends))
    assert keys == {one.key for one in planned}
    assert sorted(name for name, _ in made) == sorted(keys)  # each was made once
    assert {state.state for state in ledger.states(planned)} == {"ok"}
    assert all(check_cell(ledger.place(key)).rows[0].status == "ok" for key in keys)
    assert [path.name for path in ledger.cells.iterdir() if path.name.startswith(".")] == []


def test_a_cell_that_another_process_has_finished_meanwhile_is_not_run_again(tmp_path, monkeypatch, made_sweep):
    ledger = made_sweep(lambda *_: {"numpy": 1e-5})
    planned = plan(ledger.grid, {"compare-ag": "0.2.0", "numpy": "2.4.0", "python": "3.11.7"})
    monkeypatch.setattr("compare_ag.sweep.engines.attempt", lambda *_: pytest.fail("run again"))
    result = run_cells(ledger, planned, run_local, lambda _words: None)
    assert result.counts == {"elsewhere": 4}


HOLDER = """
import sys
from compare_ag.host.machine_lock import hold
with hold("timing"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_progress_says_at_which_stage_the_cell_is_and_for_whom_it_waits(tmp_path, cell, monkeypatch):
    monkeypatch.setenv("COMPARE_AG_LOCK", str(tmp_path / "machine.lock"))
    planned = planned_of(cell(6, 2, backends=("numpy",), timing_budget=None))
    told: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"

            def tell(stage: str) -> None:
                told.append(stage)
                if stage.startswith(f"waiting: process {holder.pid} has been timing"):
                    holder.kill()

            assert run_process(planned, tmp_path / "x", tell) == ""
        finally:
            holder.kill()
    assert any(stage.startswith("waiting: ") for stage in told)
    record = check_cell(tmp_path / "x")
    assert record.seconds < record.trained_until - record.trained_from  # without the waiting
