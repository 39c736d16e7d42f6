"""The engine against pyperf, pytest-benchmark and torch.utils.benchmark: a backend compared with itself, N times.

    python benchmarks/peers.py --size seed --tries 40

The truth is that numpy is as fast as numpy, so what a tool reports as log-ratio is its error. In every try each tool
compares once, in random order and by its own rules: `pyperf --fast` (means over its processes), pytest-benchmark
(medians, --benchmark-max-time), torch.utils.benchmark (medians, blocked_autorange). The engine makes launches for as
long as pyperf took in this try; its error at the others' wall time is that of the launches which had ended by then.
``--keep FILE`` keeps every try, and goes on from there where the file exists already.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from figures import Section, conditions_of, finish, parser, problem_of, rms_ratio

from compare_ag.speed.schedule import MODES
from compare_ag.speed.statistics import rms_interval
from compare_ag.suite import select
from compare_ag.suite.engine import Contestant, Engine, checkpoint

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TWINS = ("numpy a0", "numpy b0")
PYTEST = """
import pytest
from peer_subject import step_of

@pytest.mark.parametrize("side", ["a", "b"])
def test_step(benchmark, side):
    step = step_of("numpy", {size!r})
    benchmark(step)
"""
TORCH = """
import json, sys
from torch.utils.benchmark import Timer
from peer_subject import step_of

def median():
    timer = Timer("step()", globals={{"step": step_of("numpy", {size!r})}})
    return timer.blocked_autorange(min_run_time={seconds!r}).median

print(json.dumps([median(), median()]))
"""


def run(command: list[str], folder: Path) -> str:
    """A peer's own process, one thread, our folder importable."""
    environment = (
        os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    )
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def pyperf_fast(backends: list[str], size: str, folder: Path) -> list[float]:
    """Mean seconds of each backend's step."""
    import pyperf

    means = []
    for i, name in enumerate(backends):
        kept = folder / f"pyperf{i}.json"
        kept.unlink(missing_ok=True)
        program = [sys.executable, str(HERE / "peer_subject.py"), "--backend", name, "--size", size]
        # pyperf's workers get none of our variables but those that it is told to pass on
        run([*program, "--fast", "--inherit-environ", ",".join([*ONE_THREAD, "PYTHONPATH"]), "-o", str(kept)], folder)
        means.append(pyperf.Benchmark.load(str(kept)).mean())
    return means


def pytest_benchmark(size: str, seconds: float, folder: Path) -> list[float]:
    """Median seconds of both sides."""
    (folder / "test_peer.py").write_text(PYTEST.format(size=size))
    kept = folder / "pytest.json"
    run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder),
         "test_peer.py", f"--benchmark-max-time={seconds}", f"--benchmark-json={kept}"],
        folder,
    )  # fmt: skip  # a command line
    return [one["stats"]["median"] for one in json.loads(kept.read_text())["benchmarks"]]


def torch_timer(size: str, seconds: float, folder: Path) -> list[float]:
    """Median seconds of both sides."""
    medians: list[float] = json.loads(run([sys.executable, "-c", TORCH.format(size=size, seconds=seconds)], folder))
    return medians


class Ours:
    """The engine for a given wall time, and what it would have said earlier."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ends: list[float] = []
        self.values: list[float] = []

    def compare(self, seconds: float) -> None:
        started = time.monotonic()
        slowest = 0.0
        self.ends, self.values = [], []
        self.engine.calibrate()
        while time.monotonic() - started + slowest < seconds:
            launch = self.engine.launch()
            slowest = max(slowest, launch.seconds)
            self.values.append(launch.log_ratio(*TWINS))
            self.ends.append(time.monotonic() - started)

    def at(self, seconds: float) -> float:
        """The mean of the launches that had ended after so long."""
        return float(np.mean([value for value, end in zip(self.values, self.ends, strict=True) if end <= seconds]))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--tries", type=int, default=40, help="comparisons by each tool (default: 40)")
    options.add_argument("--minutes", type=float, default=60.0, help="begin no further try after so long (default: 60)")
    options.add_argument("--keep", type=Path, help="keep every try here, and go on from those that it holds")
    asked = options.parse_args()
    started = time.monotonic()
    problem = problem_of(asked.size)
    (offer,) = select(["numpy"]).values()
    before = json.loads(asked.keep.read_text()) if asked.keep and asked.keep.exists() else {}
    errors: dict[str, list[float]] = before.get("errors", {})
    walls: dict[str, list[float]] = before.get("walls", {})
    ours: dict[str, list[float]] = before.get("ours", {})

    def note(tool: str, error: float, wall: float) -> None:
        errors.setdefault(tool, []).append(error)
        walls.setdefault(tool, []).append(wall)

    with tempfile.TemporaryDirectory() as name, conditions_of(problem) as conditions:
        folder = Path(name)
        contestants = [Contestant(twin, offer) for twin in TWINS]
        engine = Ours(Engine(contestants, conditions, MODES["default"], checkpoint(problem)))
        peers: dict[str, Callable[[], list[float]]] = {
            "pyperf --fast": lambda: pyperf_fast(["numpy", "numpy"], asked.size, folder),
            "pytest-benchmark": lambda: pytest_benchmark(asked.size, 12.0, folder),
            "torch.utils.benchmark": lambda: torch_timer(asked.size, 3.5, folder),
        }
        # another draw of everything that is random, for each continuation
        engine.engine._launches = 100_000 * len(walls.get("compare-ag", []))
        usual = float(np.median(walls["pyperf --fast"])) if walls else 15.0
        for _ in range(asked.tries):
            if time.monotonic() - started > 60 * asked.minutes:
                break
            took: dict[str, float] = {}
            for tool in random.sample([*peers, "compare-ag"], len(peers) + 1):
                began = time.monotonic()
                if tool == "compare-ag":
                    engine.compare(usual)
                    took[tool] = time.monotonic() - began
                    continue
                one, other = peers[tool]()
                took[tool] = time.monotonic() - began
                note(tool, math.log(other / one), took[tool])
            usual = float(np.median(walls["pyperf --fast"]))
            walls.setdefault("compare-ag", []).append(took["compare-ag"])
            for tool in peers:
                # never more time than the peer took in this try
                ours.setdefault(tool, []).append(engine.at(max(took[tool], engine.ends[0])))
            if asked.keep:
                asked.keep.write_text(json.dumps({"errors": errors, "walls": walls, "ours": ours}))
    section = Section(
        f"A/A error: numpy's step against itself, {asked.size}, {len(walls['compare-ag'])} comparisons by each tool"
    )
    for tool, values in errors.items():
        section.add(f"{tool}: rms error in {np.mean(walls[tool]):.1f} s", rms_interval(values), "%", scale=100)
        title = f"compare-ag in no more than that (at most {np.mean(walls['compare-ag']):.1f} s)"
        section.add(title, rms_interval(ours[tool]), "%", scale=100)
        most = 1 / 3 if tool.startswith("pyperf") else 1 / 5
        section.add(f"compare-ag / {tool}", rms_ratio(ours[tool], values), most=round(most, 3), by="high")
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
