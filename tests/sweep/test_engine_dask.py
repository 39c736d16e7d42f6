"""Cells on a dask cluster: nothing is lost with a worker or a scheduler, and no two timings overlap."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compare_ag.records import RecordError
from compare_ag.sweep.engine_dask import unpack
from compare_ag.sweep.ledger import Ledger
from compare_ag.sweep.machine import this_machine

pytest.importorskip("distributed")
COMMAND = str(Path(sys.executable).parent / "compare-ag")
SECONDS = 120.0
PAUSE = "        __import__('time').sleep(0.03)\n        w, b = weights\n"

CLUSTER = """
import json, sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster:
        pids = {str(name): worker.process.pid for name, worker in cluster.workers.items()}
        print(json.dumps([cluster.scheduler_address, pids]), flush=True)
        sys.stdin.readline()
"""


@contextlib.contextmanager
def cluster(folder: Path, **variables: str) -> Iterator[tuple[str, dict[str, int], subprocess.Popen[str]]]:
    """A cluster of two workers: its address, the workers' process ids, the process with its scheduler."""
    script = folder / "cluster.py"
    script.write_text(CLUSTER)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
        env=os.environ | variables,
    ) as process:  # fmt: skip
        try:
            address, pids = json.loads(process.stdout.readline())
            yield address, pids, process
        finally:
            process.kill()


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [COMMAND, "sweep", "--engine", "dask", "-o", str(folder), "--d", "2", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_cells(folder: Path, count: int) -> dict[str, float]:
    """The names of the finished cells with the time of each, as soon as there are so many."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if (folder / "sweep.json").is_file():
            names = Ledger.open(folder).names()
            if len(names) >= count:
                return {name: (folder / "cells" / name).stat().st_mtime for name in names}
        time.sleep(0.05)
    raise AssertionError(f"no {count} cells in {folder}")


@pytest.mark.thorough
def test_a_local_cluster_runs_the_cells_side_by_side_and_its_timings_never_overlap(tmp_path):
    process = start(tmp_path / "s", "--backends", "numpy", "--n", "4,5", "--steps", "20", "--timing-budget", "0.2")
    said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    records = list(Ledger.open(tmp_path / "s").records())
    assert [record.cell.n for record in sorted(records, key=lambda one: one.cell.n)] == [4, 5]
    timed = sorted((record.timed_from, record.timed_until) for record in records)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(timed))
    whole = sorted((record.trained_from, record.trained_until) for record in records)
    assert any(first[1] > second[0] for first, second in itertools.pairwise(whole))


@pytest.mark.thorough
def test_a_killed_worker_costs_its_unfinished_cells_alone(tmp_path, install_plugin, good_plugin):
    install_plugin("slow", good_plugin.replace("        w, b = weights\n", PAUSE, 1))
    folder = tmp_path / "s"
    with cluster(tmp_path) as (address, pids, _process):
        sweep = start(
            folder, "--backends", "slow", "--n", "4,5,6,7,8,9", "--steps", "30", "--no-timing", "--scheduler", address
        )
        finished = wait_for_cells(folder, 2)
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        said = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, said
    assert sorted(record.cell.n for record in Ledger.open(folder).records()) == [4, 5, 6, 7, 8, 9]
    after = wait_for_cells(folder, 6)
    assert {name: after[name] for name in finished} == finished  # none of them ran again


@pytest.mark.thorough
def test_a_killed_scheduler_loses_nothing_that_has_finished(tmp_path, install_plugin, good_plugin):
    install_plugin("slow", good_plugin.replace("        w, b = weights\n", PAUSE, 1))
    folder = tmp_path / "s"
    options = ["--backends", "slow", "--n", "4,5,6,7", "--steps", "30", "--no-timing"]
    with cluster(tmp_path) as (address, pids, process):
        sweep = start(folder, *options, "--scheduler", address)
        finished = wait_for_cells(folder, 1)
        for pid in (process.pid, *pids.values()):
            os.kill(pid, signal.SIGKILL)
        _, errors = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 3, errors
    assert "the dask scheduler" in errors
    assert "Traceback" not in errors
    again = start(folder, *options)
    assert again.wait(SECONDS) == 0, again.communicate()
    again.communicate()
    after = wait_for_cells(folder, 4)
    assert {name: after[name] for name in finished} == finished


@pytest.mark.thorough
def test_cells_of_another_machine_show_their_share_of_the_limits_of_that_machine(tmp_path):
    folder, options = tmp_path / "s", ["--backends", "numpy", "--n", "4", "--steps", "20", "--timing-budget", "0.2"]
    with cluster(tmp_path, COMPARE_AG_MACHINE="another") as (address, _pids, _process):
        sweep = start(folder, *options, "--scheduler", address)
        output = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, output
    (record,) = Ledger.open(folder).records()
    assert record.machine.id != this_machine().id
    (limits,) = (folder / "limits").iterdir()
    assert limits.name == f"{record.machine.id}-1.json"
    (row,) = csv.DictReader((folder / "cells.csv").read_text().splitlines())
    assert float(row["limit_share"]) > 0


@pytest.mark.thorough
def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    sweep = start(tmp_path / "s", "--backends", "numpy", "--n", "4", "--no-timing", "--scheduler", "tcp://127.0.0.1:9")
    _, errors = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 2
    assert "error: no dask scheduler answers at tcp://127.0.0.1:9" in errors
    assert "Traceback" not in errors


def test_without_distributed_the_message_says_how_to_install_it(tmp_path):
    blocked = tmp_path / "distributed.py"
    blocked.write_text("raise ImportError('blocked')\n")
    process = subprocess.run(
        [COMMAND, "sweep", "--engine", "dask", "-o", str(tmp_path / "s"), "--backends", "numpy", "--n", "4"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert "--engine dask needs distributed: python -m pip install 'compare-ag[dask]' (blocked)" in process.stderr


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", ""])
def test_a_worker_that_sends_a_path_outside_the_cell_is_refused(tmp_path, name):
    with pytest.raises(RecordError, match="no path inside a cell"):
        unpack({name: b"x"}, tmp_path / "cell")
    assert list(tmp_path.iterdir()) == []
