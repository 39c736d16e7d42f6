"""The engine against pyperf, pytest-benchmark and torch.utils.benchmark: a backend compared with itself, N times.

    python benchmarks/peers.py --size seed --tries 40 [--apart]

The truth is that numpy is as fast as numpy, so what a tool reports as log-ratio is its error. In every try each tool
compares once, in random order and by its own rules: `pyperf --fast` (means over its processes), pytest-benchmark
(medians, --benchmark-max-time), torch.utils.benchmark (medians, blocked_autorange). The engine makes launches for as
long as pyperf took in this try; its error at the others' wall time is that of the launches which had ended by then.
``--keep FILE`` keeps every try, and goes on from there where the file exists already.

Tools that time both sides in one process give both the same address-space layout, which is no part of their error here
and part of every next invocation. With ``--apart`` each tool compares a second time (A/A'): the second side runs in a
process of its own that has imported and allocated something else first, another draw in every try (the engine's: in
every launch).
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

import ahead
import numpy as np
from figures import Section, conditions_of, finish, parser, problem_of, rms_ratio

from compare_ag.speed.schedule import MODES
from compare_ag.speed.statistics import rms_interval
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.engine import Engine
from compare_ag.suite.launches import TWIN
from compare_ag.suite.timing_crew import LARGEST_TWIN_BLOCK, TWIN_IMPORTS, TWIN_MODULES, Contestant
from compare_ag.worker.messages import Ahead

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TWINS = ("numpy a0", "numpy b0")
OURS = "compare-ag"
APART = ", apart"
"""what the kept name of a tool ends with where its sides are apart"""
PYTEST = """
import ahead
import pytest
from peer_subject import step_of

@pytest.mark.parametrize("side", range({sides!r}))
def test_step(benchmark, side):
    step = step_of("numpy", {size!r})
    benchmark(step)
"""
TORCH = """
import ahead
import json
from torch.utils.benchmark import Timer
from peer_subject import step_of

def median():
    timer = Timer("step()", globals={{"step": step_of("numpy", {size!r})}})
    return timer.blocked_autorange(min_run_time={seconds!r}).median

print(json.dumps([median() for _ in range({sides!r})]))
"""


def drawn() -> Ahead:
    """What the second side imports and allocates first."""
    sizes = [random.randrange(1, LARGEST_TWIN_BLOCK) for _ in range(TWIN_IMPORTS)]
    return Ahead(random.sample(TWIN_MODULES, TWIN_IMPORTS), sizes)


def run(command: list[str], folder: Path, before: Ahead | None = None) -> str:
    """A peer's own process, one thread, our folder importable.

    before: what it imports and allocates first.
    """
    modules, sizes = ([], []) if before is None else (before.modules, before.padding)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": path} | ahead.environment(modules, sizes)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def pyperf_fast(backends: list[str], size: str, folder: Path, before: Ahead | None = None) -> list[float]:
    """Mean seconds of each backend's step. before: what the last one's processes import and allocate first."""
    import pyperf

    means = []
    for i, name in enumerate(backends):
        kept = folder / f"pyperf{i}.json"
        kept.unlink(missing_ok=True)
        program = [sys.executable, str(HERE / "peer_subject.py"), "--backend", name, "--size", size]
        # pyperf's workers get none of our variables but those that it is told to pass on
        passed_on = ",".join([*ONE_THREAD, "PYTHONPATH", ahead.VARIABLE])
        last = before if i == len(backends) - 1 else None
        run([*program, "--fast", "--inherit-environ", passed_on, "-o", str(kept)], folder, last)
        means.append(pyperf.Benchmark.load(str(kept)).mean())
    return means


def pytest_benchmark(
    size: str, seconds: float, folder: Path, sides: int = 2, before: Ahead | None = None
) -> list[float]:
    """Median seconds of so many sides in one process."""
    (folder / "test_peer.py").write_text(PYTEST.format(size=size, sides=sides))
    kept = folder / "pytest.json"
    run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder),
         "test_peer.py", f"--benchmark-max-time={seconds}", f"--benchmark-json={kept}"],
        folder,
        before,
    )  # fmt: skip  # a command line
    return [one["stats"]["median"] for one in json.loads(kept.read_text())["benchmarks"]]


def torch_timer(size: str, seconds: float, folder: Path, sides: int = 2, before: Ahead | None = None) -> list[float]:
    """Median seconds of so many sides in one process."""
    program = TORCH.format(size=size, seconds=seconds, sides=sides)
    medians: list[float] = json.loads(run([sys.executable, "-c", program], folder, before))
    return medians


def in_two_processes(one_side: Callable[[Ahead | None], list[float]]) -> list[float]:
    """Both sides of a tool that times in its own process: two invocations, the second after something else."""
    return [*one_side(None), *one_side(drawn())]


class Ours:
    """The engine for a given wall time, and what it would have said earlier.

    twins: the two contestants; None compares each launch's twin with its backend.
    """

    def __init__(self, engine: Engine, twins: tuple[str, str] | None) -> None:
        self.engine = engine
        self.twins = twins
        self.ends: list[float] = []
        self.values: list[float] = []

    def compare(self, seconds: float) -> None:
        started = time.monotonic()
        slowest = 0.0
        self.ends, self.values = [], []
        self.engine.launches.clear()  # an invocation knows no earlier one
        with self.engine as engine:
            engine.calibrate()
            while not self.ends or time.monotonic() - started + slowest < seconds:
                launch = engine.launch()
                for failure in engine.failures.values():
                    raise failure
                slowest = max(slowest, launch.seconds)
                one, other = self.twins or (TWIN.format(launch.twin), launch.twin)
                self.values.append(engine.launches.log_ratio(one, other, launch))
                self.ends.append(time.monotonic() - started)

    def at(self, seconds: float) -> float:
        """The mean of the undisturbed launches that had ended after so long, the first at least; NaN for none."""
        ended = max(seconds, self.ends[0])
        values = [value for value, end in zip(self.values, self.ends, strict=True) if end <= ended]
        undisturbed = [value for value in values if math.isfinite(value)]
        return float(np.mean(undisturbed)) if undisturbed else math.nan


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--tries", type=int, default=40, help="comparisons by each tool (default: 40)")
    options.add_argument("--minutes", type=float, default=60.0, help="begin no further try after so long (default: 60)")
    options.add_argument("--keep", type=Path, help="keep every try here, and go on from those that it holds")
    options.add_argument("--apart", action="store_true", help="compare with the second side apart as well")
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
        start = compute_checkpoint(problem)
        together = [Contestant(twin, offer) for twin in TWINS]
        alone = [Contestant("numpy", offer)]
        engines = {
            "": Ours(Engine(together, conditions, MODES["default"], start), TWINS),
            APART: Ours(Engine(alone, conditions, MODES["default"], start, twins=True), None),
        }
        both, size = ["numpy", "numpy"], asked.size
        peers: dict[str, Callable[[], list[float]]] = {
            "pyperf --fast": lambda: pyperf_fast(both, size, folder),
            "pytest-benchmark": lambda: pytest_benchmark(size, 12.0, folder),
            "torch.utils.benchmark": lambda: torch_timer(size, 3.5, folder),
        }
        apart: dict[str, Callable[[], list[float]]] = {
            "pyperf --fast": lambda: pyperf_fast(both, size, folder, drawn()),
            "pytest-benchmark": lambda: in_two_processes(lambda first: pytest_benchmark(size, 12.0, folder, 1, first)),
            "torch.utils.benchmark": lambda: in_two_processes(lambda first: torch_timer(size, 3.5, folder, 1, first)),
        }
        kinds = ("", APART) if asked.apart else ("",)
        jobs = dict(peers)
        if asked.apart:
            jobs |= {tool + APART: compare for tool, compare in apart.items()}
        for kind in kinds:
            # another draw of everything that is random, for each continuation
            engines[kind].engine._next_index = 100_000 * len(walls.get(OURS + kind, []))
        for _ in range(asked.tries):
            if time.monotonic() - started > 60 * asked.minutes:
                break
            took: dict[str, float] = {}
            everybody = [*jobs, *(OURS + kind for kind in kinds)]
            for job in random.sample(everybody, len(everybody)):
                began = time.monotonic()
                if job.startswith(OURS):
                    kind = job.removeprefix(OURS)
                    engines[kind].compare(float(np.median(walls.get("pyperf --fast" + kind, [15.0]))))
                    took[job] = time.monotonic() - began
                    continue
                one, other = jobs[job]()
                took[job] = time.monotonic() - began
                note(job, math.log(other / one), took[job])
            for kind in kinds:
                walls.setdefault(OURS + kind, []).append(took[OURS + kind])
                for tool in peers:
                    # never more time than the peer took in this try
                    ours.setdefault(tool + kind, []).append(engines[kind].at(took[tool + kind]))
            if asked.keep:
                asked.keep.write_text(json.dumps({"errors": errors, "walls": walls, "ours": ours}))
    section = Section(
        f"A/A error: numpy's step against itself, {asked.size}, {len(walls[OURS])} comparisons by each tool"
    )
    for job, values in sorted(errors.items()):
        kind = APART if job.endswith(APART) else ""
        undisturbed = [value for value in ours[job] if math.isfinite(value)]
        section.add(f"{job}: rms error in {np.mean(walls[job]):.1f} s", rms_interval(values), "%", scale=100)
        if len(undisturbed) < len(ours[job]):
            left_out = len(ours[job]) - len(undisturbed)
            section.notes.append(f"beside {job}: {left_out} of our {len(ours[job])} comparisons were disturbed")
        if not undisturbed:
            continue
        title = f"{OURS}{kind}, in no more than that (at most {np.mean(walls[OURS + kind]):.1f} s)"
        section.add(title, rms_interval(undisturbed), "%", scale=100)
        most = 1 / 3 if job.startswith("pyperf") else 1 / 5
        section.add(f"{OURS} / {job}", rms_ratio(undisturbed, values), most=round(most, 3), by="high")
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
