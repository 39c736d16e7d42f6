"""A whole comparison: three backends at two sizes, with phases, against `pyperf --fast` over the same six steps.

    python benchmarks/whole.py --rounds 5

Both alternate. The suite launches until the simultaneous intervals of all totals are within 2 %; pyperf times each of
the six steps once, without phases, interleaving or an interval of a ratio. A pair without an interval (one side was
disturbed) has no half-width; the number of these is printed.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import Section, finish, machine, parser, problem_of, ratio_of
from peers import pyperf_fast

import compare_ag
from compare_ag.speed.schedule import Settings

BACKENDS = ["numpy", "autograd", "torch"]
SIZES = ("seed", "10000x100")
SETTINGS = Settings(
    "whole", budget_seconds=120.0, target=math.log1p(0.02), least_launches=5, bare_imports=1, instances=8, rounds=7
)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="of both (default: 5)")
    asked = options.parse_args()
    started = time.monotonic()
    timing, whole, peer, halves, closures, without = [], [], [], [], [], 0
    with machine(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for round_ in range(asked.rounds):
            began = time.monotonic()
            runs = [
                compare_ag.run(BACKENDS, problem_of(size), timing=SETTINGS, output=folder / f"{size}{round_}")
                for size in SIZES
            ]
            whole.append(time.monotonic() - began)
            timing.append(sum(run.manifest.speed.seconds for run in runs if run.manifest.speed))
            for run in runs:
                assert run.manifest.speed is not None
                pairs = [pair.ratio for pair in run.manifest.speed.pairs]
                known = [math.sqrt(one.high / one.low) - 1 for one in pairs if one.low and one.high]
                without += len(BACKENDS) * (len(BACKENDS) - 1) // 2 - len(known)
                halves += known
                costs = [record.cost for record in run.records.values() if record.cost]
                # a fused step is no sum of phases
                closures += [cost.closure.value for cost in costs if cost.closure and not cost.fused]
            began = time.monotonic()
            for size in SIZES:
                pyperf_fast(BACKENDS, size, folder)
            peer.append(time.monotonic() - began)
    section = Section(f"A whole comparison: {', '.join(BACKENDS)} at {' and '.join(SIZES)}, {asked.rounds} rounds")
    for title, values in (
        ("timing part", timing),
        ("whole runs, correctness included", whole),
        ("pyperf --fast", peer),
    ):
        section.add(title, ratio_of([math.log(value) for value in values]), "s")
    logs = [math.log(theirs / ours) for theirs, ours in zip(peer, timing, strict=True)]
    section.add("pyperf --fast / timing part", ratio_of(logs), least=3)
    logs = [math.log(theirs / ours) for theirs, ours in zip(peer, whole, strict=True)]
    section.add("pyperf --fast / whole runs", ratio_of(logs))
    if halves:
        section.add("widest half-width of a total", [max(halves)], "%", scale=100, most=2)
        section.notes.append(f"median half-width {100 * float(np.median(halves)):.2f} %")
    section.add("pairs without an interval", [float(without)], most=0)
    if closures:
        section.add("closure: smallest", [min(closures)], least=0.97)
        section.add("closure: largest", [max(closures)], most=1.03)
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
