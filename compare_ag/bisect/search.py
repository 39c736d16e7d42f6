"""The first fault of two backends, and a script that shows it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.bisect.reproducer import Reproducer, write_reproducer
from compare_ag.bisect.screening import Fault, Screening, screen
from compare_ag.problem import batches
from compare_ag.suite.observer import Observer
from compare_ag.suite.recorded_graphs import Place, undecided_reason

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.worker.messages import Mutation


@dataclass(frozen=True)
class Divergence:
    """The result of comparing two backends step by step."""

    faults: dict[str, Fault]
    """backend -> its first fault; empty where both are right"""
    first_bits: str
    """the place where their weights first differ in any bit, as a clause for people; "" where all bits are equal"""
    undecided: int | None
    """the first step with a number that cannot be decided"""
    reproducers: dict[str, Reproducer]
    """backend -> the script that shows its fault; none where a worker failed outside of the verbs of a step"""
    undecided_reason: str = ""
    interrupted: str = ""
    """the steps that were judged before an interrupt, as a clause for people; empty without an interrupt"""

    @property
    def message(self) -> str:
        """Which backend is wrong, where, by how much."""
        if self.interrupted and not self.faults:
            return f"interrupted: {self.interrupted}, and nothing is wrong in these"
        if not self.faults:
            every = "every step" if self.undecided is None else "every step that can be decided"
            message = (
                f"both are right: {every} lies within its tolerance; {self.first_bits or 'they agree in every bit'}"
            )
            horizon = f"; undecidable from step {self.undecided}: {self.undecided_reason}"
            return message if self.undecided is None else message + horizon
        return "; ".join(f"{name} is wrong: {fault.message}" for name, fault in self.faults.items())


def bisect(
    offers: Mapping[str, Offer],
    problem: Problem,
    *,
    folder: Path | None = None,
    mutations: Mapping[str, Mutation] | None = None,
    observer: Observer | None = None,
) -> Divergence:
    """Train two backends with every step recorded, and find the first wrong step, phase and coordinate of each.

    folder: for the reproducers; None writes none. Raises `TooLongError` where the recording would not fit.
    """
    hear = observer or Observer()
    hear.begin(list(offers), problem)
    try:
        traces = screen(offers, problem, mutations, hear)
    finally:
        hear.end()
    interrupted = _describe_interrupt(offers, traces)
    faults = {name: screening.fault for name, screening in traces.items() if screening.fault is not None}
    reproducers = {}
    if folder is not None:
        for name, fault in faults.items():
            script = write_reproducer(folder, problem, traces[name], fault)
            if script is not None:
                reproducers[name] = script
    first, second = list(traces.values())[:2] if len(traces) > 1 else (None, None)
    bits = "" if first is None or second is None else _first_bits(problem, first, second)
    ends = [(screening.undecided, screening) for screening in traces.values() if screening.undecided is not None]
    if not ends or interrupted:
        return Divergence(faults, bits, None, reproducers, interrupted=interrupted)
    step, screening = min(ends, key=lambda end: end[0])
    w, b = problem.layout.parts(screening.weights[step])
    rows = next(itertools.islice(batches(problem), step, None)) if problem.batch_size is not None else None
    return Divergence(faults, bits, step, reproducers, undecided_reason(problem, Place(step, w, b, rows)))


def _describe_interrupt(offers: Mapping[str, Offer], traces: Mapping[str, Screening]) -> str:
    """How many steps of which backend were judged; empty where all steps of all backends were."""
    if len(traces) == len(offers) and not any(screening.interrupted for screening in traces.values()):
        return ""
    seen = [f"{max(0, len(screening.weights) - 1)} steps of {name}" for name, screening in traces.items()]
    missing = [name for name in offers if name not in traces]
    judged = " and ".join(seen) + (" was judged" if not seen else " were judged")
    return judged + (f", none of {' and '.join(missing)}" if missing else "")


def _first_bits(problem: Problem, first: Screening, second: Screening) -> str:
    count = min(len(first.weights), len(second.weights))
    bits = f"u{first.weights.itemsize}"  # as integers equal NaNs are equal, and zeros of different signs differ
    different = (first.weights[:count].view(bits) != second.weights[:count].view(bits)).any(axis=1)
    if not different.any():
        return ""
    step = int(np.argmax(different))
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.abs(first.weights[step].astype(np.float64) - second.weights[step].astype(np.float64))
    worst = int(np.argmax(apart))
    size = f"by {apart[worst]:.2g}" if np.isfinite(apart[worst]) else "which is not finite in both"
    return f"they first differ at step {step}, in {problem.layout.coordinate(worst)}, {size}"
