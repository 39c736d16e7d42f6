"""Why tools disagree about one ratio: how a step is called, taken apart.

    python benchmarks/single_calls.py --launches 8

In fresh processes on one CPU, each with one backend, the same steps are timed in four ways that alternate:

    among steps    a loop with a reading of the clock after each step, long since warm: a training, an engine block
    waited for     the same with `synchronize` after each step: torch.utils.benchmark and pyperf of `peer_subject.py`
    a call         one call between two readings of the clock, as pytest-benchmark's pedantic mode makes it
    after a setup  such calls, each after the weights have been made anew: `ag_benchmark("step")`

A launch's number is the median of a way's steps; printed are each backend's time, and the ratio of the first backend to
the second in each way. All of that is without another process in between: what the engine's lead-in leaves of the cold
caches after a partner's block shows in `block_length.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from figures import Section, finish, parser, problem_of, ratio_of
from in_process import Training

from compare_ag import Weights
from compare_ag.suite.cpu_pinning import host_on, timed_cpus
from compare_ag.worker.load import load_backend

WAYS = ("among steps", "waited for", "a call", "after a setup")
TURNS = 20
STEPS = 40
WARM_UP = 200


def ways_of(training: Training) -> dict[str, Callable[[int], list[int]]]:
    """By name: a function that makes so many steps and gives the nanoseconds of each."""
    backend, batch, rate = training.backend, training.batch, training.problem.learning_rate
    step, synchronize = backend.step, backend.synchronize

    def call(weights: Weights) -> tuple[Any, Weights]:
        loss, updated = step(weights, batch, rate)
        synchronize(loss, *updated)
        return loss, updated

    def looped(steps: int, *, wait: bool) -> list[int]:
        weights, taken = training.weights(), []
        for i in range(WARM_UP + steps):
            start = perf_counter_ns()
            loss, weights = step(weights, batch, rate)
            if wait:
                synchronize(loss, *weights)
            if i >= WARM_UP:
                taken.append(perf_counter_ns() - start)
        return taken

    def called(steps: int, *, anew: bool) -> list[int]:
        weights, taken = training.weights(), []
        for i in range(WARM_UP + steps):
            if anew:
                weights = training.weights()
            arguments = (weights,)
            start = perf_counter_ns()
            for _ in range(1):
                _, weights = call(*arguments)
            if i >= WARM_UP:
                taken.append(perf_counter_ns() - start)
        return taken

    return {
        "among steps": lambda steps: looped(steps, wait=False),
        "waited for": lambda steps: looped(steps, wait=True),
        "a call": lambda steps: called(steps, anew=False),
        "after a setup": lambda steps: called(steps, anew=True),
    }


def launched(name: str, size: str) -> None:
    """In a process of its own: print each way's median in nanoseconds."""
    with host_on(timed_cpus(1)):
        (entry,) = entry_points(group="compare_ag", name=name)
        ways = ways_of(Training(load_backend(entry.module)(), problem_of(size)))
        taken: dict[str, list[int]] = {way: [] for way in ways}
        for _ in range(TURNS):
            for way, timed in ways.items():
                taken[way] += timed(STEPS)
    print(json.dumps({way: median(times) for way, times in taken.items()}))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--pair", default="autograd/numpy", help="A/B (default: autograd/numpy)")
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--launches", type=int, default=8, help="processes of each backend (default: 8)")
    options.add_argument("--launch", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.launch:
        launched(asked.launch, asked.size)
        return 0
    started, names = time.monotonic(), asked.pair.split("/")
    logs: dict[tuple[str, str], list[float]] = {(name, way): [] for name in names for way in WAYS}
    for _ in range(asked.launches):
        for name in names:
            command = [sys.executable, str(Path(__file__)), "--launch", name, "--size", asked.size]
            said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for way in WAYS:
                logs[name, way].append(math.log(said[way] / 1000))
    section = Section(f"One step, called in four ways: {asked.pair} at {asked.size}")
    for name in names:
        for way in WAYS:
            section.add(f"{name}, {way}", ratio_of(logs[name, way]), unit=" µs")
    for way in WAYS:
        pairs = zip(logs[names[0], way], logs[names[1], way], strict=True)
        section.add(f"{asked.pair}, {way}", ratio_of([one - other for one, other in pairs]))
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
