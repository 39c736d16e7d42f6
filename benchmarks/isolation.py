"""With two threads, does torch beside numpy change numpy's time?

    python benchmarks/isolation.py --launches 20

Launches of numpy alone and of numpy with torch alternate in random order; in both every backend has two threads and the
same two CPUs. Printed is numpy's time beside torch over its time alone, over the pairs of launches of which neither was
disturbed.
"""

from __future__ import annotations

import math
import os
import random
import sys
import time

from figures import Section, conditions_of, finish, parser, problem_of, ratio_of

from compare_ag.speed.blocks import launch_log_time
from compare_ag.speed.schedule import MODES
from compare_ag.speed.statistics import interval
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.engine import Engine
from compare_ag.suite.timing_crew import Contestant


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="10000x100", help="NxD (default: 10000x100)")
    options.add_argument("--launches", type=int, default=20, help="of each kind (default: 20)")
    options.add_argument("--threads", type=int, default=2, help="of every backend (default: 2)")
    asked = options.parse_args()
    if len(os.sched_getaffinity(0)) < asked.threads:
        sys.exit(f"this machine has fewer than {asked.threads} CPUs")
    started = time.monotonic()
    problem = problem_of(asked.size, asked.threads)
    offers = select(["numpy", "torch"])
    logs: dict[str, list[float]] = {"alone": [], "beside torch": []}
    with conditions_of(problem) as conditions:
        start = compute_checkpoint(problem)
        numpy, torch = (Contestant(name, offer) for name, offer in offers.items())
        engines = {
            "alone": Engine([numpy], conditions, MODES["default"], start),
            "beside torch": Engine([numpy, torch], conditions, MODES["default"], start),
        }
        with engines["alone"], engines["beside torch"]:
            plan = None
            for engine in reversed(engines.values()):
                engine.calibrate()
                plan = plan or engine.plan
                engine.plan = plan  # both time the same blocks
            for _ in range(asked.launches):
                pair = {name: log_time(engines[name]) for name in random.sample(list(engines), 2)}
                if all(math.isfinite(value) for value in pair.values()):
                    for name, value in pair.items():
                        logs[name].append(value)
    pairs = len(logs["alone"])
    if not pairs:
        sys.exit("one launch of every pair was disturbed: nothing can be said")
    differences = [beside - alone for beside, alone in zip(logs["beside torch"], logs["alone"], strict=True)]
    section = Section(f"Isolation: numpy with {asked.threads} threads, {asked.size}")
    for name, values in logs.items():
        one = interval(values)
        section.add(name, [math.exp(x) for x in (one.mean, one.low, one.high)], "µs per step", scale=1e6)
    section.add("beside torch / alone", ratio_of(differences), most=1.05)
    section.notes.append(f"{asked.launches - pairs} of {asked.launches} pairs of launches were disturbed")
    return finish(section, started, asked.json)


def log_time(engine: Engine) -> float:
    """The log of numpy's seconds per step in a fresh launch; NaN where it was disturbed."""
    launch = engine.launch()
    for failure in engine.failures.values():
        raise failure
    blocks = engine.launches.blocks("numpy", launch)
    return math.nan if blocks is None else float(launch_log_time(blocks))


if __name__ == "__main__":
    sys.exit(main())
