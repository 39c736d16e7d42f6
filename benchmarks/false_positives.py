"""How often does the interval of a backend against itself exclude 1? It should in 5 % of the comparisons.

    python benchmarks/false_positives.py --size seed --windows 1000

The real engine makes launches of several equal pairs of numpy workers; disjoint windows of consecutive launches are the
comparisons. ``--keep FILE`` keeps every launch's log-ratios, and goes on from there where the file exists already.
A pair's disturbed launches are left out, and their number is printed.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

from figures import Section, conditions_of, finish, parser, problem_of, rate_of

from compare_ag.selftest.speed import LENGTHS, Series, collect
from compare_ag.speed.rates import NOMINAL, window_rates
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint

PART = 48
"""launches of one engine; the next part has an engine of its own, so that the blocks of this one can be forgotten"""


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--windows", type=int, default=1000, help="comparisons of --launches launches (default: 1000)")
    options.add_argument("--launches", type=int, default=6, help="launches of a comparison (default: 6, as a run's)")
    options.add_argument("--pairs", type=int, default=4, help="equal pairs in each launch (default: 4)")
    options.add_argument("--minutes", type=float, default=60.0, help="stop after so long (default: 60)")
    options.add_argument("--keep", type=Path, help="keep every launch here")
    asked = options.parse_args()
    started = time.monotonic()
    kept: list[list[float]] = [[] for _ in range(asked.pairs)]
    if asked.keep and asked.keep.exists():
        kept = json.loads(asked.keep.read_text())

    def both(new: list[list[float]]) -> list[list[float]]:
        return [old + values for old, values in zip(kept, new, strict=True)]

    def over(made: list[list[float]]) -> bool:
        windows = sum(len(series) // asked.launches for series in undisturbed(made))
        return bool(windows >= asked.windows) or time.monotonic() - started > 60.0 * float(asked.minutes)

    def enough(series: Series) -> bool:
        return series.launches >= PART or over(both(series.alike))

    problem = problem_of(asked.size)
    (offer,) = select(["numpy"]).values()
    with conditions_of(problem) as conditions:
        start = compute_checkpoint(problem)
        while not over(kept):
            # another seed for each part: the engine's randomness starts anew
            before = len(kept[0])
            other = replace(conditions, problem=type(problem)(**{**vars(problem), "seed": problem.seed + before}))
            kept = both(collect(offer, other, start, enough, pairs=asked.pairs, slowdown=0).alike)
            if asked.keep:
                asked.keep.write_text(json.dumps(kept))
            if len(kept[0]) - before < PART:
                break  # enough, or Ctrl-C
    alike = undisturbed(kept)
    section = Section(
        f"False positives: numpy against itself, {asked.size}, {len(kept[0])} launches of {asked.pairs} pairs"
    )
    launches, left = sum(map(len, kept)), sum(map(len, alike))
    section.notes.append(f"{launches - left} of {launches} log-ratios were disturbed")
    for length in sorted({*LENGTHS, asked.launches}):
        rates = window_rates(alike, [], length)
        false, beyond = rates.false_positives, rates.beyond
        judged = length == asked.launches
        title = f"comparisons of {length} launches: interval excludes 1 ({false.hits} of {false.tries})"
        section.add(title, rate_of(false), "%", scale=100)
        if judged:
            section.figures[-1].aim, section.figures[-1].met = "contains 5", false.low <= NOMINAL <= false.high
        title = f"comparisons of {length} launches: interval beyond the margin ({beyond.hits} of {beyond.tries})"
        section.add(title, rate_of(beyond), "%", scale=100, most=0.5 if judged else None)
    return finish(section, started, asked.json)


def undisturbed(series: list[list[float]]) -> list[list[float]]:
    """The log-ratios of each pair without its disturbed launches, which have none."""
    return [[value for value in values if math.isfinite(value)] for values in series]


if __name__ == "__main__":
    sys.exit(main())
