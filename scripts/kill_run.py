"""Kill hosts at random moments while they save: is every file whole, does the directory say so, is anything left over?

    python scripts/kill_run.py --kills 1000 --runs 20

Most hosts do nothing but save: each writes the files of a run into a new directory, again and again, as a run does it,
until SIGKILL. The others (``--runs``) are whole runs with their workers. After each kill its directory is read: counted
are corrupt files (a directory that is refused, an array or record that cannot be read), after whole runs also orphans
(descendants that live on after `GRACE` seconds), and, once a further run has been started beside them, stale files.
The exit code is 1 where any of the three is not 0.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NoReturn

import psutil

import compare_ag
from compare_ag import records
from compare_ag.records import RecordError, Run
from compare_ag.records.files import LEFT_SECONDS
from compare_ag.records.graphs import read_graphs, write_graphs
from compare_ag.report.page import write_report
from compare_ag.suite.run_folder import make_folder

LONGEST = 0.3
"""seconds until a host that only saves is killed, at most"""
LONGEST_RUN = 4.0
"""the same for a whole run"""
GRACE = 15.0
BATCH = 50
"""kills between two looks for stale files"""
WHOLE = "import sys, compare_ag; compare_ag.run(['numpy'], steps=200, timing=False, output=sys.argv[1])"


def save(run: Run, folder: Path) -> NoReturn:
    """Save a run in the order of `suite.start_run`, over and over, until the process is killed."""
    graphs = read_graphs(run)
    name, record = next(iter(run.records.items()))
    first = records.replace(run.manifest, state="running", graph=None, reference_sha256=None)
    (folder / "logs" / f"{name}.train.stderr.txt").write_text("hello")  # once: no run goes on with a listed log
    while True:
        records.write_manifest(folder, first)
        records.write_arrays(folder, record.arrays or "", run.arrays(name))
        records.write_backend(folder, records.replace(record, cost=None))
        if graphs is not None:
            write_graphs(folder, graphs)
        records.write_backend(folder, record)
        records.save_file(folder, record.evidence or "", (run.path / (record.evidence or "")).read_bytes())
        records.write_arrays(folder, "arrays/reference.npz", run.reference)
        records.seal(folder)
        records.write_manifest(folder, run.manifest)
        write_report(records.load_run(folder))


def killed_saver(run: Run, folder: Path, dice: random.Random) -> None:
    """Fork a host that saves, and kill it."""
    child = os.fork()
    if not child:
        os.close(2)
        try:
            save(run, folder)
        finally:
            os._exit(1)  # only where saving fails: the parent sees a process that has ended by itself
    time.sleep(dice.uniform(0, LONGEST))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"a host that saves ended by itself, in {folder}")


def killed_run(folder: Path, dice: random.Random) -> list[psutil.Process]:
    """Start a whole run and kill its host; return the processes below it that live on."""
    host = subprocess.Popen([sys.executable, "-c", WHOLE, str(folder)], stderr=subprocess.DEVNULL)
    time.sleep(dice.uniform(0.5, LONGEST_RUN))
    below = psutil.Process(host.pid).children(recursive=True)
    host.kill()
    host.wait()
    left: list[psutil.Process] = psutil.wait_procs(below, timeout=GRACE)[1]
    return left


def corrupt(folder: Path) -> str:
    """What is wrong with the directory that a killed host has left; empty where every file is whole."""
    if not (folder / "manifest.json").exists():
        listed = [path.name for path in folder.rglob("*.json")]
        return f"files without a manifest: {listed}" if listed else ""
    try:
        run = records.load_run(folder)
        for name, record in run.records.items():
            if record.status != "not-run" and record.arrays and (folder / record.arrays).exists():
                run.arrays(name)
        read_graphs(run)
        _ = run.reference
    except RecordError as error:
        return str(error)
    return ""


def stale(parent: Path) -> list[Path]:
    """Temporary files that a run beside the killed ones has not removed."""
    time.sleep(LEFT_SECONDS + 0.1)
    make_folder(parent / "next", "x")
    shutil.rmtree(parent / "next")
    return [path for path in parent.rglob(".*") if path.name.endswith(".tmp")]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=200, help="hosts that only save (default: 200)")
    options.add_argument("--runs", type=int, default=5, help="whole runs (default: 5)")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    dice, counts = random.Random(asked.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        parent = Path(temporary, "runs")
        run = compare_ag.run(["numpy"], steps=20, timing=False, output=Path(temporary, "base"))
        for number in range(asked.kills + asked.runs):
            folder = make_folder(parent / str(number), "x")
            if number < asked.kills:
                killed_saver(run, folder, dice)
            else:
                shutil.rmtree(folder)
                left = killed_run(folder, dice)
                counts["orphans"] += len(left)
                folder.mkdir(exist_ok=True)
            if fault := corrupt(folder):
                counts["corrupt"] += 1
                print(f"corrupt: {fault}", flush=True)
            counts["left temporary files"] += len([*folder.rglob(".*.tmp")])
            if number % BATCH == BATCH - 1 or number == asked.kills + asked.runs - 1:
                counts["stale"] += len(stale(parent))
                shutil.rmtree(parent)
    print(
        f"{asked.kills} hosts that saved and {asked.runs} whole runs killed: {counts['corrupt']} corrupt, "
        f"{counts['orphans']} orphans, {counts['stale']} stale of {counts['left temporary files']} temporary files"
    )
    return int(any(counts[kind] for kind in ("corrupt", "orphans", "stale")))


if __name__ == "__main__":
    sys.exit(main())
