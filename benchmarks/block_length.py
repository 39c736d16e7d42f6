"""Does the length of the timed blocks change the ratio, and what does a block cost around its steps?

    python benchmarks/block_length.py --launches 12

In every instance of every launch, torch and numpy make blocks of several lengths side by side, the lengths in random
order within each round: of one step, of eight steps, as long as a run's (0.7 ms) and of 5 ms. The lead-in of each is
that of a run's block at least, so that no length has colder caches. A launch gives one log-ratio torch/numpy for each
length; its difference from that of a run's blocks is paired within the launch, so that what varies between processes
cancels. A length whose launches were all disturbed has no ratio and misses its aim. Both ways of timing a step are
shown: the block's wall time divided by its steps, and the median of its steps.

What surrounds a block is its wall time beyond its steps: reading the clock, waiting for the last weights and reading
them. The worker takes off what reading costs where nothing is to be waited for; printed is what is left.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from figures import Section, conditions_of, finish, parser, problem_of, ratio_of

from compare_ag.speed.blocks import Blocks, launch_log_ratio, mark_undisturbed
from compare_ag.speed.schedule import MODES, MOST_STEPS, Plan
from compare_ag.speed.statistics import interval
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.engine import Engine
from compare_ag.suite.timing_crew import Contestant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compare_ag.host.session import TimedBlock
    from compare_ag.suite.launches import Bench
    from compare_ag.suite.timing_crew import Crew

PAIR = ("torch", "numpy")
RUN = "0.7 ms"
"""the length of a run's blocks, with which the others are compared"""
ONE = "1 step"
LONG_NS = 5_000_000
WAYS = {"block": "wall / steps", "steps": "median of the steps"}
WITHIN = 0.005
"""by how much the ratio may depend on the length"""
AIMED = "10000x100"
"""the size at which it may not"""


class ManyLengths(Engine):
    """The engine with blocks of several lengths in each round, from the same weights' neighbourhood."""

    def calibrate_lengths(self) -> None:
        """Choose the run's own blocks, and those of the other lengths from the same rough times per step."""
        self.calibrate()
        rough, own = self.rough, self.plan

        def with_steps(steps: Mapping[str, int]) -> Plan:
            return replace(own, lengths={name: replace(own.lengths[name], steps=k) for name, k in steps.items()})

        self.plans = {
            RUN: own,
            ONE: with_steps(dict.fromkeys(rough, 1)),
            "8 steps": with_steps(dict.fromkeys(rough, 8)),
            "5 ms": with_steps({name: min(MOST_STEPS, max(1, round(LONG_NS / ns))) for name, ns in rough.items()}),
        }

    def _instance(self, crew: Crew, instance: int) -> None:
        if instance == 0:
            self.order: list[list[str]] = []
        self.order.append([])
        super()._instance(crew, instance)

    def _round(self, crew: Crew, number: int, *, count: bool = True, phased: bool = False) -> None:
        if phased:
            return
        own = self.plan
        for length in crew.generator.permutation(list(self.plans)).tolist():
            self.plan = self.plans[length]
            super()._round(crew, number, count=count)
            if count:
                self.order[-1].append(length)
        self.plan = own

    def chosen(self, bench: Bench, length: str) -> list[list[TimedBlock]]:
        """The blocks of this length in the last launch: M instances, R rounds."""
        return [
            [block for block, of in zip(instance, order, strict=True) if of == length]
            for instance, order in zip(bench.blocks, self.order, strict=True)
        ]


def times(made: list[list[TimedBlock]], way: str, threads: int) -> Blocks:
    """Nanoseconds per step of these blocks (M, R) in one of the `WAYS`, and which count."""

    def column(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.array([[getattr(block.timed, name) for block in instance] for instance in made], dtype=np.float64)

    steps = np.array([[block.steps for block in instance] for instance in made])
    medians = [[np.median(block.step_ns) if len(block.step_ns) else np.nan for block in each] for each in made]
    time_ns = column("wall_ns") / steps if way == "block" else np.array(medians)
    clean = mark_undisturbed(
        column("switches"), column("waits"), column("cpu_ns"), column("inside_ns"), threads, pinned=True
    )
    return Blocks(time_ns, clean)


def surroundings(made: list[list[TimedBlock]], threads: int) -> tuple[float, float, float] | None:
    """Of blocks of one step: nanoseconds taken off, left over, and of the step; medians; None where none counts."""
    clean = times(made, "block", threads).clean
    blocks = [block for block, counts in zip(chain.from_iterable(made), clean.ravel(), strict=True) if counts]
    if not blocks:
        return None
    taken_off = [t.span_ns - t.make_ns - t.lead_ns - t.wall_ns for t in (block.timed for block in blocks)]
    left = [block.timed.wall_ns - int(block.step_ns[0]) for block in blocks]
    step = [int(block.step_ns[0]) for block in blocks]
    return float(np.median(taken_off)), float(np.median(left)), float(np.median(step))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", action="append", help="seed or NxD; repeat it for several (default: both)")
    options.add_argument("--launches", type=int, default=12, help="per size (default: 12)")
    asked = options.parse_args()
    started = time.monotonic()
    section = Section(f"Length of the blocks: {' / '.join(PAIR)} by blocks of one step, eight steps, 0.7 ms and 5 ms")
    for size in asked.size or ["seed", AIMED]:
        measure(section, size, asked.launches)
    return finish(section, started, asked.json)


def measure(section: Section, size: str, launches: int) -> None:
    """All figures of one size."""
    problem = problem_of(size)
    threads = problem.threads
    contestants = [Contestant(name, offer) for name, offer in select(list(PAIR)).items()]
    logs: dict[tuple[str, str], list[float]] = {}
    around: dict[str, list[tuple[float, float, float]]] = {name: [] for name in PAIR}
    with conditions_of(problem) as conditions, ExitStack() as stack:
        engine = ManyLengths(contestants, conditions, MODES["default"], compute_checkpoint(problem))
        stack.enter_context(engine)
        engine.calibrate_lengths()
        for _ in range(launches):
            launch = engine.launch()
            for failure in engine.failures.values():
                raise failure
            made = {
                (name, length): engine.chosen(launch.benches[name], length) for name in PAIR for length in engine.plans
            }
            for length in engine.plans:
                for way in WAYS:
                    mine, other = (times(made[name, length], way, threads) for name in PAIR)
                    logs.setdefault((length, way), []).append(float(launch_log_ratio(mine, other)))
            for name in PAIR:
                found = surroundings(made[name, ONE], threads)
                if found is not None:
                    around[name].append(found)
            engine.launches.clear()  # what counts has been taken from it
    for (length, way), values in logs.items():
        steps = ", ".join(f"{name} {engine.plans[length].lengths[name].steps}" for name in PAIR)
        known = [value for value in values if math.isfinite(value)]
        title = f"{size}, blocks of {length} ({steps} steps), {WAYS[way]}"
        if known:
            section.add(f"{title}: {' / '.join(PAIR)}", ratio_of(known))
    for (length, way), values in logs.items():
        if (length, way) == (RUN, "steps"):
            continue
        against = [value - run for value, run in zip(values, logs[RUN, "steps"], strict=True)]
        known = [value for value in against if math.isfinite(value)]
        if len(known) < launches:
            section.notes.append(
                f"{size}, {length}, {WAYS[way]}: {launches - len(known)} of {launches} launches disturbed"
            )
        section.add(
            f"{size}, {length}, {WAYS[way]}: ratio / that of {RUN}, {WAYS['steps']}",
            ratio_of(known) if known else [math.nan],
        )
        if size == AIMED:
            figure = section.figures[-1]
            figure.aim = f"whole interval within {100 * WITHIN:g} % of 1"
            figure.met = bool(known) and interval(known).low >= -WITHIN and interval(known).high <= WITHIN
    for name, launches_seen in around.items():
        if launches_seen:
            off, left, step = (np.array(column) for column in zip(*launches_seen, strict=True))
            section.add(f"{size}, {name}: around a block of one step, taken off", _mean(off), "µs", scale=1e-3)
            section.add(
                f"{size}, {name}: around a block of one step, left in its wall time", _mean(left), "µs", scale=1e-3
            )
            section.add(f"{size}, {name}: the same as share of the step", _mean(left / step), "%", scale=100)


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float, float]:
    """The mean over launches with its t interval."""
    found = interval(values.tolist())
    return found.mean, found.low, found.high


if __name__ == "__main__":
    sys.exit(main())
