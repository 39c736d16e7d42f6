"""Is a small true slowdown found, and never with the wrong sign?

    python benchmarks/detection.py --tries 40 --seconds 10

Each try is a comparison of its own: numpy against numpy with an empty loop in forward, launches of fresh workers until
the time is up, calibration included. The loop's turns are chosen beforehand from launches with a short and a long loop;
the true slowdown is the mean over the launches of all tries.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from figures import Section, conditions_of, finish, parser, problem_of, rate_of, ratio_of

from compare_ag.speed.rates import Rate
from compare_ag.speed.schedule import MODES
from compare_ag.speed.statistics import interval
from compare_ag.suite import select
from compare_ag.suite.engine import Contestant, Engine, checkpoint
from compare_ag.suite.selfcheck import PLANTED
from compare_ag.worker.protocol import Mutation

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.suite.training import Conditions

Start: TypeAlias = tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]


SHORT, LONG = 1, 41
"""turns of the two loops from which the right one is found"""
LOOKS = 20


def slowed(name: str, offer: Offer, turns: int) -> Contestant:
    """A backend that makes so many turns of an empty loop before each forward."""
    return Contestant(name, offer, Mutation(*PLANTED, float(turns)))


def turns_for(slowdown: float, offer: Offer, conditions: Conditions, start: Start) -> int:
    """The turns for this share of a step: the slowdown is a call's and a straight line above it."""
    engine = Engine(
        [Contestant("none", offer), slowed("short", offer, SHORT), slowed("long", offer, LONG)],
        conditions,
        MODES["default"],
        start,
    )
    engine.calibrate()
    launches = [engine.launch() for _ in range(LOOKS)]
    short, long = (
        math.expm1(sum(launch.log_ratio(name, "none") for launch in launches) / LOOKS) for name in ("short", "long")
    )
    return max(1, round(SHORT + (slowdown - short) * (LONG - SHORT) / (long - short)))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--tries", type=int, default=40, help="comparisons (default: 40)")
    options.add_argument("--seconds", type=float, default=10.0, help="of each comparison (default: 10)")
    options.add_argument("--slowdown", type=float, default=0.019, help="share to plant, about (default: 0.019)")
    options.add_argument("--turns", type=int, help="turns of the empty loop (default: as --slowdown needs)")
    asked = options.parse_args()
    started = time.monotonic()
    problem = problem_of(asked.size)
    (offer,) = select(["numpy"]).values()
    found, every, longest = [], [], 0.0
    with conditions_of(problem) as conditions:
        start = checkpoint(problem)
        turns = asked.turns or turns_for(asked.slowdown, offer, conditions, start)
        pair = [Contestant("numpy a0", offer), slowed("numpy s0", offer, turns)]
        for attempt in range(asked.tries):
            began = time.monotonic()
            engine = Engine(pair, conditions, MODES["default"], start)
            engine._launches = 10_000 * (attempt + 1)  # another draw of everything that is random
            engine.calibrate()
            values: list[float] = []
            slowest = 0.0
            while time.monotonic() - began + slowest < asked.seconds:
                launch = engine.launch()
                slowest = max(slowest, launch.seconds)
                values.append(launch.log_ratio("numpy s0", "numpy a0"))
            longest = max(longest, time.monotonic() - began)
            found.append(interval(values))
            every += values
    section = Section(f"A planted slowdown, {asked.size}: {turns} turns of an empty loop")
    true = [ratio - 1 for ratio in ratio_of(every)]
    section.add(f"true slowdown, from all {len(every)} launches", true, "%", scale=100)
    right, wrong = Rate.of(one.low > 0 for one in found), Rate.of(one.high < 0 for one in found)
    section.add(f"found: {right.hits} of {right.tries} tries", rate_of(right), "%", scale=100, least=100 * 12 / 13)
    section.add(f"wrong sign: {wrong.hits} of {wrong.tries} tries", rate_of(wrong), "%", scale=100, most=0)
    halves = sorted(one.half for one in found)
    section.notes.append(
        f"median half-width {100 * math.expm1(halves[len(halves) // 2]):.2f} %, "
        f"{sum(one.launches for one in found) / len(found):.0f} launches per try, longest try {longest:.1f} s"
    )
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
