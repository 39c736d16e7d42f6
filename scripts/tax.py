"""What the contract costs, and what the whole command costs, against the same training written by hand.

    python scripts/tax.py [--only interface | --only whole]

`interface`: time per whole step through the contract (`backend.step` in a loop, as a worker trains) divided
by the hand-written loop of `bare_loops.py`. Each launch is a fresh process on one core and one thread, where
the two sides alternate in random order in short blocks that start from the same weights; a launch gives the
median of its paired ratios. Launches differ by more than rounds do, so the interval is the range of launches.

`whole`: `compare-ag run --backends torch,numpy,autograd` on the seed problem divided by the sum of the three
bare 10,001-step loops, each a fresh process with its imports; command and loops alternate.

Exit status 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from compare_ag.benchmarks.training import Training
from compare_ag.problem import make_problem, problem_by_name, synthetic
from compare_ag.worker.load import load_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from compare_ag.problem import Problem

BARE_LOOPS = Path(__file__).with_name("bare_loops.py")
BARE = runpy.run_path(str(BARE_LOOPS))
"""the names of that program: scripts are no package"""

BACKENDS = ("numpy", "torch", "autograd")
AIMS = {
    ("seed", "numpy"): 1.12,
    ("seed", "torch"): 1.09,
    ("seed", "autograd"): 1.05,
    ("10000x100", "numpy"): 1.05,
    ("10000x100", "torch"): 1.05,
    ("10000x100", "autograd"): 1.05,
}
WHOLE_AIM = 3.0
BLOCK_SECONDS = 1e-3
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def problem_of(size: str) -> Problem:
    """``seed`` as published (float32, probability form), or ``NxD`` synthetic examples in float64, logits form."""
    if size == "seed":
        return problem_by_name("seed")
    n, d = map(int, size.split("x"))
    return make_problem(synthetic(n=n, d=d))


def two_sides(name: str, size: str) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """Two functions steps -> seconds: through the contract, and by hand. Each call starts from the problem's weights.

    This process plays the worker. Each side has data of its own and makes one untimed step, to start warm.
    """
    (entry,) = entry_points(group="compare_ag", name=name)
    ours, theirs = (Training(load_backend(entry.module)(), problem_of(size)) for _ in range(2))
    rate = ours.problem.learning_rate
    bare_loop = BARE["LOOPS"][name](ours.problem.loss)

    def contract(steps: int) -> float:
        step, batch = ours.backend.step, ours.batch
        _loss, weights = step(ours.weights(), batch, rate)
        start = time.perf_counter()
        for _ in range(steps):
            _loss, weights = step(weights, batch, rate)
        return time.perf_counter() - start

    def by_hand(steps: int) -> float:
        weights = theirs.weights()
        bare_loop(*theirs.batch, *weights, rate, 1)
        start = time.perf_counter()
        bare_loop(*theirs.batch, *weights, rate, steps)
        return time.perf_counter() - start

    require_same_training(ours, bare_loop)
    return contract, by_hand


def require_same_training(training: Training, bare_loop: Callable[..., Any], steps: int = 5) -> None:
    """Stop unless both sides train alike: steps that differ by more than rounding are not the same job."""
    rate, ours, theirs = training.problem.learning_rate, training.weights(), training.weights()
    for _ in range(steps):
        _, ours = training.backend.step(ours, training.batch, rate)
    bare_loop(*training.batch, *theirs, rate, steps)
    slack = 100 * float(np.finfo(training.problem.dtype).eps)
    for a, b in zip(training.read_weights("ours", ours), training.read_weights("theirs", theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=slack, atol=slack)


def launch(name: str, size: str, rounds: int) -> dict[str, float]:
    """One launch: microseconds per step through the contract and by hand, and the median paired ratio."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    contract, by_hand = two_sides(name, size)
    contract(20), by_hand(20)
    per_step = min(by_hand(20) for _ in range(5)) / 20
    steps = max(2, round(BLOCK_SECONDS / per_step))
    seconds: dict[Callable[[int], float], list[float]] = {contract: [], by_hand: []}
    for _ in range(rounds):
        for side in random.sample((contract, by_hand), 2):
            seconds[side].append(side(steps))
    return {
        "contract": statistics.median(seconds[contract]) / steps * 1e6,
        "bare": statistics.median(seconds[by_hand]) / steps * 1e6,
        "ratio": statistics.median(a / b for a, b in zip(seconds[contract], seconds[by_hand], strict=True)),
    }


def interface_tax(sizes: Iterable[str], backends: Iterable[str], rounds: int, launches: int, console: Console) -> bool:
    """Print the tax of each backend at each size; whether every aim is met."""
    title = "Interface tax: a step through the contract / the same step by hand, in µs"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for heading in ("size", "backend", "contract", "bare", "ratio", "launches", "aim", ""):
        table.add_column(heading, justify="left" if heading in ("size", "backend", "") else "right")
    all_met = True
    for size in sizes:
        for name in backends:
            command = [sys.executable, __file__, "--launch", name, size, "--rounds", str(rounds)]
            taken = [json.loads(fresh_process(command)) for _ in range(launches)]
            ratios = [one["ratio"] for one in taken]
            ratio, aim = statistics.median(ratios), AIMS.get((size, name))
            met = aim is None or ratio <= aim
            all_met = all_met and met
            table.add_row(
                size,
                name,
                *(f"{statistics.median(one[side] for one in taken):.2f}" for side in ("contract", "bare")),
                f"{ratio:.3f}",
                f"{min(ratios):.3f}–{max(ratios):.3f}",
                f"{aim:.2f}" if aim else "-",
                "met" if met else "MISSED",
            )
    console.print(table)
    return all_met


def whole_run(rounds: int, console: Console) -> bool:
    """Print the command's wall time over the sum of the bare loops'; whether the aim is met."""
    loops = {name: [sys.executable, str(BARE_LOOPS), name] for name in BACKENDS}
    seconds: dict[str, list[float]] = {name: [] for name in ("command", *loops)}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(rounds):
            run = [sys.executable, "-m", "compare_ag", "run", "--backends", ",".join(("torch", "numpy", "autograd"))]
            jobs = {"command": [*run, "-o", str(Path(folder, str(round_)))], **loops}
            for job in random.sample(sorted(jobs), len(jobs)):
                start = time.perf_counter()
                fresh_process(jobs[job])
                seconds[job].append(time.perf_counter() - start)
    sums = [sum(parts) for parts in zip(*(seconds[name] for name in loops), strict=True)]
    ratios = [ours / bare for ours, bare in zip(seconds["command"], sums, strict=True)]
    ratio: float = statistics.median(ratios)
    bare = ", ".join(f"{name} {statistics.median(seconds[name]):.2f} s" for name in loops)
    console.print(
        f"Whole command {statistics.median(seconds['command']):.2f} s; bare loops with imports: {bare}.\n"
        f"Ratio {ratio:.2f} (rounds {min(ratios):.2f} to {max(ratios):.2f}), aim {WHOLE_AIM:g}: "
        f"{'met' if ratio <= WHOLE_AIM else 'MISSED'}"
    )
    return ratio <= WHOLE_AIM


def fresh_process(command: list[str]) -> str:
    """Run a command with one thread for every pool; its standard output, or stop loudly."""
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["interface", "whole"], help="measure one part")
    parser.add_argument("--size", action="append", help="seed or NxD; repeat it for several")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="repeat it for several")
    parser.add_argument("--rounds", type=int, default=300, help="pairs of blocks in a launch (default 300)")
    parser.add_argument("--launches", type=int, default=7, help="fresh processes per row (default 7)")
    parser.add_argument("--whole-rounds", type=int, default=3, help="rounds of the whole command (default 3)")
    parser.add_argument("--launch", nargs=2, metavar=("BACKEND", "SIZE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.launch:
        print(json.dumps(launch(asked.launch[0], asked.launch[1], asked.rounds)))
        return 0
    console, met = Console(), True
    if asked.only != "whole":
        sizes = asked.size or ["seed", "10000x100"]
        met &= interface_tax(sizes, asked.backend or BACKENDS, asked.rounds, asked.launches, console)
    if asked.only != "interface":
        met &= whole_run(asked.whole_rounds, console)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
