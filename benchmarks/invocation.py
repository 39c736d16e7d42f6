"""One invocation of compare-ag as somebody makes it: a process of its own, with its wall time and the run it leaves.

The training is short and the timing stops on its budget alone, so that nearly all of the wall time is timing and an
invocation can be given as much of it as another tool takes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compare_ag.records import BackendRecord, Run, load_run

STEPS = 20
"""of the training, whose middle is timed"""
LEAST_LAUNCHES = 3
TARGET = 1e-9
"""half-width at which it stops: never reached, so that the budget decides"""
SMALLEST_BUDGET = 0.1
PROGRAM = """
import dataclasses, json, sys
from figures import problem_of
import compare_ag
from compare_ag.speed.schedule import MODES

asked = json.loads(sys.argv[1])
settings = dataclasses.replace(MODES["quick"], **asked["settings"])
problem = problem_of(asked["size"], steps=asked["steps"])
compare_ag.run(asked["backends"], problem, timing=settings, output=asked["folder"], report=False)
"""


@dataclass(frozen=True)
class Answer:
    """What one invocation of a tool said of time(A) / time(B), and how long it took."""

    ratio: float | None
    """None where it gave none"""
    wall: float
    """seconds of the whole process"""
    low: float | None = None
    high: float | None = None
    disturbed: bool = False
    """it said that other programs kept it from answering, or gave a ratio without an interval"""
    launches: int = 0

    @property
    def half(self) -> float | None:
        """Half-width of the interval, of logs; None where there is none."""
        return None if self.low is None or self.high is None else math.log(self.high / self.low) / 2


def invoke(
    backends: Sequence[str],
    size: str,
    folder: Path,
    budget: float,
    *,
    steps: int = STEPS,
    least_launches: int = LEAST_LAUNCHES,
) -> tuple[Run, float]:
    """Run compare-ag once in a fresh process; return its run, read back from ``folder``, and its wall seconds.

    budget: seconds for the timing part. Ends the program with the process's last words where it leaves no run.
    """
    settings = {"budget_seconds": max(SMALLEST_BUDGET, budget), "target": TARGET, "least_launches": least_launches}
    asked = {"backends": list(backends), "size": size, "steps": steps, "folder": str(folder), "settings": settings}
    command = [sys.executable, "-c", PROGRAM, json.dumps(asked)]
    return started(command, folder)


def started(command: Sequence[str], folder: Path) -> tuple[Run, float]:
    """Run a command that leaves a run in ``folder``; return the run and the wall seconds of the whole process."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    began = time.monotonic()
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    wall = time.monotonic() - began
    if not (folder / "manifest.json").exists() or done.returncode < 0:
        sys.exit(f"compare-ag ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    run = load_run(folder)
    if run.manifest.state != "complete":
        sys.exit(f"compare-ag did not finish: {done.stderr[-2000:]}")
    return run, wall


def answer_of(run: Run, wall: float, name: str, baseline: str) -> Answer:
    """What a run says of time(name) / time(baseline); where it ranks them not, the ratio of the times that it gives."""
    sides = [run[name].cost, run[baseline].cost]
    launches = run.manifest.speed.launches if run.manifest.speed is not None else 0
    disturbed = any(cost is not None and cost.disturbed for cost in sides)
    pair = run.manifest.speed.pair(name, baseline) if run.manifest.speed is not None else None
    if pair is not None:
        # so few undisturbed launches, of a pair or of twins, that there is no interval
        disturbed = disturbed or pair.ratio.low is None
        return Answer(pair.ratio.value, wall, pair.ratio.low, pair.ratio.high, disturbed, launches)
    if sides[0] is not None and sides[1] is not None:
        return Answer(sides[0].step.value / sides[1].step.value, wall, disturbed=disturbed, launches=launches)
    return Answer(None, wall, disturbed=disturbed, launches=launches)


def why_unranked(record: BackendRecord) -> str:
    """Why a backend has no rank in a run: its own words; empty where it has one."""
    if record.cost is None:
        return f"{record.status}: {record.reason or record.timing_note or 'not timed'}"
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    return record.cost.unranked
