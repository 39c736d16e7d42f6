"""How often does the interval of a backend against itself exclude 1? It should in 5 % of the comparisons.

    python benchmarks/false_positives.py --size seed --windows 1000

The real engine makes launches of several equal pairs of numpy workers; disjoint windows of consecutive launches are the
comparisons. ``--keep FILE`` keeps every launch's log-ratios, and goes on from there where the file exists already.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from figures import Section, conditions_of, finish, parser, problem_of, rate_of

from compare_ag.speed.rates import NOMINAL, window_rates
from compare_ag.suite import select
from compare_ag.suite.engine import checkpoint
from compare_ag.suite.selfcheck import LENGTHS, Series, collect


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
    before = (
        json.loads(asked.keep.read_text()) if asked.keep and asked.keep.exists() else [[] for _ in range(asked.pairs)]
    )
    wanted = asked.windows * asked.launches

    def enough(series: Series) -> bool:
        alike = [old + new for old, new in zip(before, series.alike, strict=True)]
        if asked.keep and series.launches % 20 == 0:
            asked.keep.write_text(json.dumps(alike))
        windows = sum(len(one) // asked.launches for one in alike)
        return bool(windows * asked.launches >= wanted) or time.monotonic() - started > 60.0 * float(asked.minutes)

    problem = problem_of(asked.size)
    # another seed for each continuation: the engine's randomness starts anew
    problem = type(problem)(**{**vars(problem), "seed": len(before[0])}) if before[0] else problem
    (offer,) = select(["numpy"]).values()
    with conditions_of(problem) as conditions:
        series = collect(offer, conditions, checkpoint(problem), enough, pairs=asked.pairs, slowdown=0)
    alike = [old + new for old, new in zip(before, series.alike, strict=True)]
    if asked.keep:
        asked.keep.write_text(json.dumps(alike))
    section = Section(
        f"False positives: numpy against itself, {asked.size}, {len(alike[0])} launches of {asked.pairs} pairs"
    )
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


if __name__ == "__main__":
    sys.exit(main())
