"""Is a small true slowdown found, and never with the wrong sign?

    python benchmarks/detection.py --tries 40 --seconds 10
    python benchmarks/detection.py --load loops --slowdown 0.1 --tries 20 --seconds 10

Each try is a comparison of its own: numpy against numpy with an empty loop in forward, launches of fresh workers until
the time is up, calibration included. The loop's turns are chosen beforehand from launches with a short and a long loop;
the true slowdown is the mean over the launches of all tries.

With --load, "none" as well, a try is a whole run in a fresh process, as somebody makes it, for about as long: only a
run says that it was disturbed, and then it has found nothing and overlooked nothing. The turns are chosen before the
load begins.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from figures import Section, conditions_of, finish, parser, problem_of, rate_of, ratio_of
from invocation import Answer, answer_of, invoke
from loads import LOADS, load
from offered import mutant, offered

from compare_ag.selftest.speed import PLANTED
from compare_ag.speed.rates import Rate
from compare_ag.speed.schedule import MODES
from compare_ag.speed.statistics import interval
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.engine import Engine
from compare_ag.suite.timing_crew import Contestant
from compare_ag.worker.messages import Mutation

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.suite.training import Conditions

Start: TypeAlias = tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]


SHORT, LONG = 1, 41
"""turns of the two loops from which the right one is found"""
LOOKS = 20
SLOWED = "slowed"
TRIAL_SECONDS = 2.0
"""what a run takes beside its timing, before the first has shown it"""


def slowed(name: str, offer: Offer, turns: int) -> Contestant:
    """A backend that makes so many turns of an empty loop before each forward."""
    return Contestant(name, offer, Mutation(*PLANTED, float(turns)))


def turns_for(slowdown: float, offer: Offer, conditions: Conditions, start: Start) -> int:
    """The turns for this share of a step: the slowdown is a call's and a straight line above it."""
    contestants = [Contestant("none", offer), slowed("short", offer, SHORT), slowed("long", offer, LONG)]
    with Engine(contestants, conditions, MODES["default"], start) as engine:
        engine.calibrate()
        for _ in range(LOOKS):
            engine.launch()
    short, long = (math.expm1(float(np.mean(engine.launches.log_ratios(name, "none")))) for name in ("short", "long"))
    return max(1, round(SHORT + (slowdown - short) * (LONG - SHORT) / (long - short)))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--tries", type=int, default=40, help="comparisons (default: 40)")
    options.add_argument("--seconds", type=float, default=10.0, help="of each comparison (default: 10)")
    options.add_argument("--slowdown", type=float, default=0.019, help="share to plant, about (default: 0.019)")
    options.add_argument("--turns", type=int, help="turns of the empty loop (default: as --slowdown needs)")
    options.add_argument("--load", choices=LOADS, help="tries are whole runs, and this runs all the time")
    asked = options.parse_args()
    started = time.monotonic()
    problem = problem_of(asked.size)
    (offer,) = select(["numpy"]).values()
    with conditions_of(problem) as conditions:
        start = compute_checkpoint(problem)
        turns = asked.turns or turns_for(asked.slowdown, offer, conditions, start)
        if asked.load is not None:
            section = in_runs(asked, turns)
        else:
            section = in_launches(asked, turns, offer, conditions, start)
    return finish(section, started, asked.json)


def in_launches(asked: argparse.Namespace, turns: int, offer: Offer, conditions: Conditions, start: Start) -> Section:
    """The figures from comparisons by the engine alone."""
    found, every, longest = [], [], 0.0
    pair = [Contestant("numpy a0", offer), slowed("numpy s0", offer, turns)]
    for attempt in range(asked.tries):
        began = time.monotonic()
        slowest = 0.0
        with Engine(pair, conditions, MODES["default"], start, first=10_000 * (attempt + 1)) as engine:
            engine.calibrate()
            while time.monotonic() - began + slowest < asked.seconds:
                slowest = max(slowest, engine.launch().seconds)
        values = engine.launches.log_ratios("numpy s0", "numpy a0")
        longest = max(longest, time.monotonic() - began)
        found.append(interval(values))
        every += values
    section = Section(f"A planted slowdown, {asked.size}: {turns} turns of an empty loop")
    true = [ratio - 1 for ratio in ratio_of(every)]
    section.add(f"true slowdown, from all {len(every)} launches", true, "%", scale=100)
    right, wrong = Rate.of(one.low > 0 for one in found), Rate.of(one.high < 0 for one in found)
    section.add(f"found: {right.hits} of {right.tries} tries", rate_of(right), "%", scale=100, least=100 * 18 / 20)
    section.add(f"wrong sign: {wrong.hits} of {wrong.tries} tries", rate_of(wrong), "%", scale=100, most=0)
    halves = sorted(one.half for one in found)
    section.notes.append(
        f"median half-width {100 * math.expm1(halves[len(halves) // 2]):.2f} %, "
        f"{sum(one.launches for one in found) / len(found):.0f} launches per try, longest try {longest:.1f} s"
    )
    return section


def in_runs(asked: argparse.Namespace, turns: int) -> Section:
    """The figures from whole runs while the load goes on."""
    answers: list[Answer] = []
    spent = TRIAL_SECONDS
    with (
        tempfile.TemporaryDirectory(prefix="compare-ag-detection-") as name,
        offered({SLOWED: mutant(PLANTED[1], float(turns))}),
        load(asked.load),
    ):
        for attempt in range(asked.tries):
            budget = asked.seconds - spent
            run, wall = invoke([SLOWED, "numpy"], asked.size, Path(name) / str(attempt), budget)
            answers.append(answer_of(run, wall, SLOWED, "numpy"))
            spent = min(asked.seconds, wall - (run.manifest.speed.seconds if run.manifest.speed else 0.0))
    under = "quiet" if asked.load == "none" else f"under the load {asked.load}"
    section = Section(f"A planted slowdown, {asked.size}, in whole runs, {under}: {turns} turns of an empty loop")
    clear = [one for one in answers if not one.disturbed and one.ratio is not None]
    if len(clear) > 1:
        true = [ratio - 1 for ratio in ratio_of([math.log(one.ratio) for one in clear if one.ratio is not None])]
        section.add(f"slowdown, from the {len(clear)} undisturbed runs", true, "%", scale=100)
    found = [one for one in clear if one.low is not None and one.low > 1]
    wrong = [one for one in clear if one.high is not None and one.high < 1]
    right, disturbed, reversed_ = (
        Rate.of(one in kept for one in answers) for kept in (found, [one for one in answers if one.disturbed], wrong)
    )
    section.add(f"found: {right.hits} of {right.tries} tries", rate_of(right), "%", scale=100)
    section.add(f"disturbed: {disturbed.hits} of {disturbed.tries} tries", rate_of(disturbed), "%", scale=100)
    neither = Rate.of(one not in found and not one.disturbed for one in answers)
    section.add(f"neither: {neither.hits} of {neither.tries} tries", rate_of(neither), "%", scale=100, most=0)
    section.add(f"wrong sign: {reversed_.hits} of {reversed_.tries} tries", rate_of(reversed_), "%", scale=100, most=0)
    section.notes.append(f"a try took {statistics.median(one.wall for one in answers):.1f} s")
    return section


if __name__ == "__main__":
    sys.exit(main())
