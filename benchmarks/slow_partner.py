"""Does a slow partner change a fast backend's time? numpy beside a backend that takes 600 times as long.

    python benchmarks/slow_partner.py --rounds 8

Short runs alternate: numpy with autograd, numpy with a backend that is right and computes everything 600 times
(`slow_backend.py`), each in a process of its own, in random order in every round. The figure is numpy's time per step
beside the slow one over its time beside autograd.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from pathlib import Path

from figures import Section, finish, parser, ratio_of
from invocation import STEPS, invoke, why_unranked
from offered import offered, source

from compare_ag.records import Cost

SLOW, USUAL = "slow", "autograd"


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--rounds", type=int, default=8, help="runs of both kinds (default: 8)")
    options.add_argument("--seconds", type=float, default=8.0, help="timing budget of a run (default: 8)")
    options.add_argument("--steps", type=int, default=STEPS, help=f"of the training (default: {STEPS})")
    asked = options.parse_args()
    began = time.monotonic()
    logs: list[float] = []
    costs: dict[str, list[Cost]] = {SLOW: [], USUAL: []}
    ratios: list[float] = []
    section = Section(f"A slow partner: numpy's time per step at {asked.size} beside one 600 times as slow")
    plugin = source("from slow_backend import SlowBackend", "SlowBackend")
    with tempfile.TemporaryDirectory(prefix="compare-ag-slow-") as name, offered({SLOW: plugin}):
        for i in range(asked.rounds):
            found: dict[str, Cost] = {}
            for partner in random.sample([SLOW, USUAL], 2):
                folder = Path(name) / f"{partner}{i}"
                run, _ = invoke(["numpy", partner], asked.size, folder, asked.seconds, steps=asked.steps)
                cost, beside = run["numpy"].cost, run[partner].cost
                if cost is None or beside is None:
                    why = [f"{name}: {why_unranked(record)}" for name, record in run.records.items()]
                    sys.exit(f"not timed: {'; '.join(why)}")
                found[partner] = cost
                if partner == SLOW:
                    ratios.append(math.log(beside.step.value / cost.step.value))
            if any(cost.disturbed for cost in found.values()):
                section.notes.append(f"round {i + 1} is left out: numpy was disturbed in it")
                continue
            for partner, cost in found.items():
                costs[partner].append(cost)
            logs.append(math.log(found[SLOW].step.value / found[USUAL].step.value))
    section.add("the partner's time per step over numpy's", ratio_of(ratios))
    for partner, kept in costs.items() if logs else []:
        times = ratio_of([math.log(cost.step.value) for cost in kept])
        section.add(f"numpy beside {partner}", times, "µs", scale=1e6)
        steps = sum(cost.steps_per_block for cost in kept) / len(kept)
        section.notes.append(f"numpy beside {partner}: {steps:.3g} steps in a block")
    if logs:
        ratio = ratio_of(logs)
        section.add(f"numpy beside {SLOW} / beside {USUAL}", ratio)
        section.add("its distance from 1", [abs(ratio[0] - 1)], "%", scale=100, most=2)
    return finish(section, began, asked.json)


if __name__ == "__main__":
    sys.exit(main())
