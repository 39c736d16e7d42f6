"""How often `compare-ag pick` names a backend that an exhaustive measurement finds the fastest, or tied with it.

    python benchmarks/picking.py SWEEP [--sizes 40] [--backends numpy,numba] [--budget 20] [--seed 0]

Sizes are drawn evenly on a log scale between the smallest and the largest of the sweep, none of which the sweep has, in
each of its dtypes in turn. At each, `pick` answers as at the command line, from the sweep or by a measurement of its
own of half the budget; then all backends are measured. A tie there counts as agreement. The last line is the figure.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

from compare_ag.records.sweeps import Ranking, latest, rank
from compare_ag.sweep.engines import run_local
from compare_ag.sweep.flow import run_cells
from compare_ag.sweep.grid import SweepGrid, installed_versions, make_grid, plan
from compare_ag.sweep.ledger import Ledger
from compare_ag.sweep.pick import PickQuestion, choose, sources


def draw_sizes(grid: SweepGrid, count: int, seed: int) -> list[tuple[int, int]]:
    """Different sizes (n, d) within the grid's ends, log-uniform, none of them of the grid."""
    generator = np.random.default_rng([seed, 0x91C6])
    taken = {(n, d) for n in grid.n for d in grid.d}
    sizes: list[tuple[int, int]] = []
    while len(sizes) < count:
        n, d = (
            round(math.exp(generator.uniform(math.log(min(axis)), math.log(max(axis))))) for axis in (grid.n, grid.d)
        )
        if (n, d) not in taken:
            taken.add((n, d))
            sizes.append((n, d))
    return sizes


def measure(grid: SweepGrid, question: PickQuestion, budget: float, folder: Path) -> Ledger:
    """A sweep of one cell."""
    single = make_grid(
        backends=question.backends,
        n=[question.n],
        d=[question.d],
        dtype=[question.dtype],
        threads=[question.threads],
        loss=[question.loss],
        steps=grid.steps,
        l2=grid.l2,
        seed=grid.seed,
        timing_budget=budget,
    )
    ledger = Ledger.create(single, folder)
    run_cells(ledger, plan(single, installed_versions(question.backends)), run_local, lambda _words: None)
    return ledger


def exhaustive(ledger: Ledger) -> Ranking | None:
    """What the measurement says; None where no backend has a rank."""
    (record,) = latest(ledger.records())
    return rank(record)


def main() -> None:
    """Draw, ask, measure, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--sizes", type=int, default=40)
    parser.add_argument("--backends", help="to choose from, separated by commas; default: the sweep's")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of the exhaustive measurement of a size")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    saved = Ledger.open(options.sweep)
    grid = saved.grid
    backends = tuple(options.backends.split(",")) if options.backends else grid.backends
    agreed = asked = known = 0
    with tempfile.TemporaryDirectory() as name:
        for place, (n, d) in enumerate(draw_sizes(grid, options.sizes, options.seed)):
            question = PickQuestion(
                n=n,
                d=d,
                dtype=grid.dtype[place % len(grid.dtype)],
                threads=grid.threads[0],
                loss=grid.loss[0],
                backends=backends,
            )
            choice = choose(sources([saved], question, installed_versions), question)
            known += choice is not None
            if choice is None:
                own = measure(grid, question, options.budget / 2, Path(name) / f"pick-{place}")
                choice = choose(sources([own], question, installed_versions), question)
            ranking = exhaustive(measure(grid, question, options.budget, Path(name) / f"all-{place}"))
            if ranking is None or choice is None:
                print(f"n={n} d={d} {question.dtype}: nothing to compare", flush=True)
                continue
            asked += 1
            agrees = choice.backend in {ranking.fastest, *ranking.tied}
            agreed += agrees
            print(
                f"n={n} d={d} {question.dtype}: picked {choice.backend} ({choice.certainty}); {ranking.sentence}; "
                f"{'agrees' if agrees else 'DIFFERS'}",
                flush=True,
            )
    print(f"agreement {agreed} of {asked} ({100 * agreed / max(1, asked):.0f} %), {known} without a measurement")


if __name__ == "__main__":
    main()
