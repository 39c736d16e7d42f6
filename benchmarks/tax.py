"""What the contract costs, and what the whole command costs, against the same training written by hand.

    python benchmarks/tax.py [--only interface | --only whole]

`interface`: time per whole step through the contract (`backend.step` in a loop, as a worker trains) divided by the
hand-written loop of `bare_loops.py`, and the engine's own block divided by the loop over `backend.step`. The engine
times a step in two ways, and both are reported: the block's wall time divided by its steps, and the median of its
steps. Each launch is a fresh process on one core and one thread, where the sides alternate in random order in blocks as
long as a run's that start from the same weights; a launch gives the median of its paired log-ratios; the interval is
over launches.

`whole`: `compare-ag run --no-timing --backends torch,numpy,autograd` on the seed problem divided by the sum of the
three bare 10,001-step loops, each a fresh process with its imports; command and loops alternate.

Exit status 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import json
import math
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
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from figures import Section, conditions_of, finish, machine, parser, problem_of, ratio_of
from in_process import Training

from compare_ag.contract.backend import Setting
from compare_ag.speed.schedule import MODES, Plan
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.engine import Engine
from compare_ag.suite.timing_crew import Contestant
from compare_ag.worker import clock
from compare_ag.worker.board import Board, shared_file
from compare_ag.worker.load import load_backend
from compare_ag.worker.training import Inputs, Trainee

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
ENGINE_AIM = 1.01
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
WAYS = {"block": "wall / steps", "steps": "median of the steps"}
"""how the engine times a step"""

Side: TypeAlias = "Callable[[int], Mapping[str, float]]"


def sides(name: str, size: str, lead_in: int) -> dict[str, Side]:
    """Functions from steps to seconds per step: through the contract, by hand, and a block of the engine in both ways.

    All start from the same weights.

    This process plays the worker. All sides use the same data tensors, or where their copies happen to lie would be
    measured (2 % at 8 MB), and make as many untimed steps before as a block of the engine does.
    """
    (entry,) = entry_points(group="compare_ag", name=name)
    backend = load_backend(entry.module)
    problem = problem_of(size)
    training, rate = Training(backend(), problem), problem.learning_rate
    bare_loop = BARE["LOOPS"][name](problem.loss)
    trainee = trainee_of(backend(), problem)
    batches = clock.timed_batches(trainee)
    (batch,) = batches

    def contract(steps: int) -> Mapping[str, float]:
        step, weights = trainee.backend.step, training.weights()
        for _ in range(lead_in):
            _loss, weights = step(weights, batch, rate)
        start = time.perf_counter()
        for _ in range(steps):
            _loss, weights = step(weights, batch, rate)
        return {"contract": (time.perf_counter() - start) / steps}

    def by_hand(steps: int) -> Mapping[str, float]:
        weights = training.weights()
        bare_loop(*batch, *weights, rate, lead_in)
        start = time.perf_counter()
        bare_loop(*batch, *weights, rate, steps)
        return {"bare": (time.perf_counter() - start) / steps}

    def block(steps: int) -> Mapping[str, float]:
        timed, arrays = clock.whole_block(trainee, batches, problem.w0, problem.b0, steps, lead_in, rate)
        return {"block": timed.wall_ns * 1e-9 / steps, "steps": float(np.median(arrays["step_ns"])) * 1e-9}

    require_same_training(training, bare_loop)
    return {"contract": contract, "bare": by_hand, "block": block}


def trainee_of(backend: Any, problem: Problem) -> Trainee:
    """What a worker times."""
    setting = Setting(
        problem.examples, problem.features, problem.dtype, threads=problem.threads, l2=problem.l2, loss=problem.loss
    )
    inputs = Inputs(problem.X, problem.y, problem.w0, problem.b0, problem.epoch_order(), problem.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        return Trainee(backend, setting, inputs, Board(shared_file(folder)))


def require_same_training(training: Training, bare_loop: Callable[..., Any], steps: int = 5) -> None:
    """Stop unless both sides train alike: steps that differ by more than rounding are not the same job."""
    rate, ours, theirs = training.problem.learning_rate, training.weights(), training.weights()
    for _ in range(steps):
        _, ours = training.backend.step(ours, training.batch, rate)
    bare_loop(*training.batch, *theirs, rate, steps)
    slack = 100 * float(np.finfo(training.problem.dtype).eps)
    for a, b in zip(training.read_weights("ours", ours), training.read_weights("theirs", theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=slack, atol=slack)


def plan_of(size: str, backends: Sequence[str]) -> Plan:
    """The blocks of each backend in a run: what a block adds is shared by its steps."""
    contestants = [Contestant(name, offer) for name, offer in select(list(backends)).items()]
    problem = problem_of(size)
    with conditions_of(problem) as conditions:
        engine = Engine(contestants, conditions, MODES["default"], compute_checkpoint(problem))
        engine.calibrate()
    return engine.plan


def launch(name: str, size: str, steps: int, lead_in: int, rounds: int) -> dict[str, float]:
    """One launch: microseconds per step on each side, and the median log-ratios.

    "tax": contract/bare. "engine block", "engine steps": the block in both ways / contract.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    timed = sides(name, size, lead_in)
    for warm_up in timed.values():
        warm_up(20)
    seconds: dict[str, list[float]] = {side: [] for side in ("contract", "bare", *WAYS)}
    for _ in range(rounds):
        for side in random.sample(list(timed), len(timed)):
            for found, per_step in timed[side](steps).items():
                seconds[found].append(per_step)

    def log_ratio(one: str, other: str) -> float:
        return statistics.median(math.log(a / b) for a, b in zip(seconds[one], seconds[other], strict=True))

    usual = {side: statistics.median(values) * 1e6 for side, values in seconds.items()}
    engine = {f"engine {way}": log_ratio(way, "contract") for way in WAYS}
    return usual | engine | {"tax": log_ratio("contract", "bare")}


def interface_tax(section: Section, sizes: Sequence[str], backends: Sequence[str], rounds: int, launches: int) -> None:
    """The tax of each backend at each size, and the engine's own."""
    for size in sizes:
        plan = plan_of(size, BACKENDS)
        for name in backends:
            steps, lead_in = plan.lengths[name].steps, plan.lengths[name].lead_in
            command = [sys.executable, __file__, "--launch", name, size, str(steps), str(lead_in)]
            command += ["--rounds", str(rounds)]
            taken = [json.loads(fresh_process(command)) for _ in range(launches)]
            usual = {side: statistics.median(one[side] for one in taken) for side in ("contract", "bare", *WAYS)}
            title = f"{size}, {name}: step through the contract / by hand"
            section.add(title, ratio_of([one["tax"] for one in taken]), most=AIMS.get((size, name)))
            for way, meaning in WAYS.items():
                title = f"{size}, {name}: block of the engine, {meaning} / loop over the same bound methods"
                section.add(title, ratio_of([one[f"engine {way}"] for one in taken]), most=ENGINE_AIM)
            section.notes.append(
                f"{size}, {name}: blocks of {steps} steps after {lead_in} untimed ones, as in a run; "
                f"contract {usual['contract']:.2f} µs, by hand {usual['bare']:.2f} µs, "
                f"engine {usual['block']:.2f} µs (wall / steps), {usual['steps']:.2f} µs (median of the steps)"
            )


def whole_run(section: Section, rounds: int) -> None:
    """The command's wall time over the sum of the bare loops'."""
    loops = {name: [sys.executable, str(BARE_LOOPS), name] for name in BACKENDS}
    seconds: dict[str, list[float]] = {name: [] for name in ("command", *loops)}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(rounds):
            run = [sys.executable, "-m", "compare_ag", "run", "--no-timing", "--backends", ",".join(BACKENDS)]
            jobs = {"command": [*run, "-o", str(Path(folder, str(round_)))], **loops}
            for job in random.sample(sorted(jobs), len(jobs)):
                start = time.perf_counter()
                fresh_process(jobs[job])
                seconds[job].append(time.perf_counter() - start)
    sums = [sum(parts) for parts in zip(*(seconds[name] for name in loops), strict=True)]
    logs = [math.log(ours / bare) for ours, bare in zip(seconds["command"], sums, strict=True)]
    section.add(
        "seed: compare-ag run --no-timing / the three bare loops with their imports", ratio_of(logs), most=WHOLE_AIM
    )
    bare = ", ".join(f"{name} {statistics.median(seconds[name]):.2f} s" for name in loops)
    section.notes.append(f"command {statistics.median(seconds['command']):.2f} s; bare loops: {bare}")


def fresh_process(command: list[str]) -> str:
    """Run a command with one thread for every pool; its standard output, or stop loudly."""
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--only", choices=["interface", "whole"], help="measure one part")
    options.add_argument("--size", action="append", help="seed or NxD; repeat it for several")
    options.add_argument("--backend", action="append", choices=BACKENDS, help="repeat it for several")
    options.add_argument("--rounds", type=int, default=200, help="rounds of blocks in a launch (default: 200)")
    options.add_argument("--launches", type=int, default=10, help="fresh processes per row (default: 10)")
    options.add_argument("--whole-rounds", type=int, default=5, help="rounds of the whole command (default: 5)")
    options.add_argument("--launch", nargs=4, metavar=("BACKEND", "SIZE", "STEPS", "LEAD_IN"), help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.launch:
        name, size, *counts = asked.launch
        steps, lead_in = map(int, counts)
        print(json.dumps(launch(name, size, steps, lead_in, asked.rounds)))
        return 0
    started = time.monotonic()
    section = Section("Tax: the contract, the engine and the whole command against hand-written loops")
    with machine():
        if asked.only != "whole":
            interface_tax(
                section, asked.size or ["seed", "10000x100"], asked.backend or BACKENDS, asked.rounds, asked.launches
            )
        if asked.only != "interface":
            whole_run(section, asked.whole_rounds)
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
