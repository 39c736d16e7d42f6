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
    """What became of comparing two backends step by step."""

    faults: dict[str, Fault]
    """backend -> its first fault; empty where both are right"""
    first_bits: str
    """where their weights first differ in any bit, as a clause for people; "" where they never do"""
    undecided: int | None
    """the first step of which something cannot be decided"""
    reproducers: dict[str, Reproducer]
    """backend -> the script that shows its fault; none where a worker failed outside of the verbs of a step"""
    undecided_reason: str = ""
    interrupted: str = ""
    """how far an interrupt let it come, as a clause for people; empty where it came to the end"""

    @property
    def message(self) -> str:
        """Who is wrong, where, by how much."""
        if self.interrupted and not self.faults:
            return f"interrupted: {self.interrupted}, and nothing is wrong in these"
        if not self.faults:
            every = "every step" if self.undecided is None else "every step that can be decided"
            said = f"both are right: {every} lies within its tolerance; {self.first_bits or 'they agree in every bit'}"
            horizon = f"; undecidable from step {self.undecided}: {self.undecided_reason}"
            return said if self.undecided is None else said + horizon
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

    folder: where reproducers are written; None writes none. Raises `TooLongError` where the recording would not fit.
    """
    hear = observer or Observer()
    hear.begin(list(offers), problem)
    try:
        traces = screen(offers, problem, mutations, hear)
    finally:
        hear.end()
    interrupted = _interrupted(offers, traces)
    faults = {name: found.fault for name, found in traces.items() if found.fault is not None}
    reproducers = {}
    if folder is not None:
        for name, fault in faults.items():
            script = write_reproducer(folder, problem, traces[name], fault)
            if script is not None:
                reproducers[name] = script
    one, other = list(traces.values())[:2] if len(traces) > 1 else (None, None)
    bits = "" if one is None or other is None else _first_bits(problem, one, other)
    ends = [(found.undecided, found) for found in traces.values() if found.undecided is not None]
    if not ends or interrupted:
        return Divergence(faults, bits, None, reproducers, interrupted=interrupted)
    step, found = min(ends, key=lambda end: end[0])
    w, b = problem.layout.parts(found.weights[step])
    rows = next(itertools.islice(batches(problem), step, None)) if problem.batch_size is not None else None
    return Divergence(faults, bits, step, reproducers, undecided_reason(problem, Place(step, w, b, rows)))


def _interrupted(offers: Mapping[str, Offer], traces: Mapping[str, Screening]) -> str:
    """How many steps of which backend were judged, where not all of all were."""
    if len(traces) == len(offers) and not any(found.interrupted for found in traces.values()):
        return ""
    seen = [f"{max(0, len(found.weights) - 1)} steps of {name}" for name, found in traces.items()]
    missing = [name for name in offers if name not in traces]
    judged = " and ".join(seen) + (" was judged" if not seen else " were judged")
    return judged + (f", none of {' and '.join(missing)}" if missing else "")


def _first_bits(problem: Problem, one: Screening, other: Screening) -> str:
    count = min(len(one.weights), len(other.weights))
    bits = f"u{one.weights.itemsize}"  # NaNs of the same bits are the same, zeros of different signs are not
    different = (one.weights[:count].view(bits) != other.weights[:count].view(bits)).any(axis=1)
    if not different.any():
        return ""
    step = int(np.argmax(different))
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.abs(one.weights[step].astype(np.float64) - other.weights[step].astype(np.float64))
    worst = int(np.argmax(apart))
    size = f"by {apart[worst]:.2g}" if np.isfinite(apart[worst]) else "which is not finite in both"
    return f"they first differ at step {step}, in {problem.layout.coordinate(worst)}, {size}"
