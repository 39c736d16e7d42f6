"""Does a busy neighbour spoil a comparison? The engine's A/A error with and without a CPU hog.

    python benchmarks/hog.py --launches 80

A hog computes for 60 % of the time in irregular bursts of a few milliseconds, free to run on any CPU; --load takes
another of the loads in `loads.py`. Launches with and without it alternate in random order; each compares several equal
pairs of numpy workers. Printed is the ratio of the two rms errors.
"""

from __future__ import annotations

import math
import random
import sys
import time

from figures import Section, conditions_of, finish, parser, problem_of, rms_ratio
from loads import LOADS, load

from compare_ag.speed.schedule import MODES
from compare_ag.speed.statistics import rms_interval
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.engine import Engine
from compare_ag.suite.timing_crew import Contestant


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--launches", type=int, default=80, help="with and without the hog (default: 80)")
    options.add_argument("--pairs", type=int, default=2, help="equal pairs in each launch (default: 2)")
    loads = [kind for kind in LOADS if kind != "none"]
    options.add_argument("--load", choices=loads, default="free", help="what the neighbour does (default: free)")
    asked = options.parse_args()
    started = time.monotonic()
    problem = problem_of(asked.size)
    (offer,) = select(["numpy"]).values()
    twins = [(f"numpy a{i}", f"numpy b{i}") for i in range(asked.pairs)]
    errors: dict[bool, list[float]] = {False: [], True: []}
    disturbed = {False: 0, True: 0}
    order = [False, True] * asked.launches
    random.Random(0).shuffle(order)
    with conditions_of(problem) as conditions:
        contestants = [Contestant(name, offer) for both in twins for name in both]
        with Engine(contestants, conditions, MODES["default"], compute_checkpoint(problem)) as engine:
            engine.calibrate()
            for busy in order:
                with load(asked.load if busy else "none"):
                    launch = engine.launch()
                values = [engine.launches.log_ratio(*both, launch) for both in twins]
                errors[busy] += [value for value in values if math.isfinite(value)]
                disturbed[busy] += sum(not math.isfinite(value) for value in values)
    section = Section(f"A busy neighbour: numpy against itself, {asked.size}")
    beside = "beside a loop on each CPU" if asked.load == "loops" else "beside a 60 % hog"
    for busy, name in ((False, "alone"), (True, beside)):
        title = f"{name}: rms error of {len(errors[busy])} single launches"
        section.add(title, rms_interval(errors[busy]), "%", scale=100)
        section.notes.append(f"{name}: {disturbed[busy]} launches were disturbed and have no ratio")
    section.add("with hog / alone", rms_ratio(errors[True], errors[False]), most=1.25, by="low")
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
