"""What a cell will need, before it runs: bytes of memory and seconds, and whether they will suffice.

Bytes come from the same formulas that a run checks itself with. Seconds are rough, for nothing is known of a backend
before it has run: a factor of two either way on the machine that the constants were measured on. As soon as cells of a
sweep have finished, `Forecast` scales what is left by what they took.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from compare_ag.host.environment import usable_cpus
from compare_ag.problem import recorded_steps
from compare_ag.problem.estimate import WORKER_COPIES, available_memory, bytes_to_read, bytes_to_train, size
from compare_ag.records.sweeps import SweepCell
from compare_ag.text import clock_time

PROCESS_SECONDS = 0.6
"""of the cell's own process, from its start to its first worker"""
WORKER_SECONDS = 0.9
"""of CPU for each worker: Python, numpy, the plugin and a framework of usual size"""
PROCESS_BYTES = 250_000_000
"""of each worker and of the cell's process: Python, numpy and a framework"""
STEP_SECONDS, EXAMPLE_SECONDS, ELEMENT_SECONDS = 30e-6, 30e-9, 1.5e-9
"""of one step of a usual backend: fixed, for each example, for each element of X"""
JUDGED_EXAMPLE, JUDGED_ELEMENT = 2e-6, 0.4e-6
"""seconds that exact judging takes, for each example and each element of X at each recorded step"""
MOST_JUDGED = 1 << 17
"""elements of X beyond which judging takes samples"""
TRAININGS = 2
"""the pass that is judged, and its repetition"""
LAUNCHES = 4
"""of timing workers at least, the one that calibrates included"""


class Estimate(NamedTuple):
    """What one cell needs."""

    seconds: float
    bytes: int
    training_seconds: float
    """of the slowest worker's training, which its timeout limits"""


def estimate(cell: SweepCell, cpus: int | None = None) -> Estimate:
    """The time and memory of one cell on this machine. cpus: how many may be used; None: as many as usable."""
    cpus = cpus or len(usable_cpus())
    elements, backends = cell.n * cell.d, len(cell.backends)
    together = max(1, min(backends, cpus // cell.threads))
    itemsize = 4 if cell.dtype == "float32" else 8
    recorded = len(recorded_steps(cell.steps))

    step = STEP_SECONDS + EXAMPLE_SECONDS * cell.n + ELEMENT_SECONDS * elements
    training = TRAININGS * cell.steps * step
    judging = recorded * min(1.0, MOST_JUDGED / elements) * (JUDGED_EXAMPLE * cell.n + JUDGED_ELEMENT * elements)
    seconds = PROCESS_SECONDS + judging + math.ceil(backends / together) * (training + WORKER_SECONDS)
    alive = together
    if cell.timing_budget is not None:
        alive = backends + 1  # timing keeps all workers alive, the twin's too
        launches = LAUNCHES * alive * (WORKER_SECONDS / cpus + elements * itemsize * 1e-9)
        seconds += max(cell.timing_budget, launches) + backends * WORKER_SECONDS  # and memory in workers of its own

    reading = bytes_to_read(elements)
    host = elements * itemsize + bytes_to_train(elements, cell.d + 1, recorded)
    workers = alive * (PROCESS_BYTES + WORKER_COPIES * elements * itemsize)
    return Estimate(seconds, PROCESS_BYTES + max(reading, host + workers), training)


def why_skipped(cell: SweepCell, need: Estimate, available: Callable[[], int] = available_memory) -> str:
    """Why the cell cannot be measured on this machine; empty where it can."""
    free = available()
    if need.bytes > free:
        return f"memory: it needs about {size(need.bytes)}, and {size(free)} are available"
    if need.training_seconds > cell.timeout:
        took = clock_time(need.training_seconds)
        return f"time: training takes about {took}, and --timeout is {clock_time(cell.timeout)}"
    cpus = len(usable_cpus())
    if cell.threads > cpus:
        return f"threads: it needs {cell.threads} CPUs, and {cpus} may be used"
    return ""


class Forecast:
    """How long the cells that are left will take, by what finished ones took of their estimates."""

    def __init__(self, left: Sequence[SweepCell]) -> None:
        self._left = {cell: estimate(cell).seconds for cell in left}
        self._factors: list[float] = []

    def finish(self, cell: SweepCell, seconds: float | None) -> None:
        """A cell is done; seconds: what it took, None where it did not run."""
        estimated = self._left.pop(cell, None)
        if estimated and seconds is not None:
            self._factors.append(seconds / estimated)

    @property
    def seconds(self) -> float:
        """Of all cells that are left, one after the other."""
        factor = statistics.median(self._factors[-20:]) if self._factors else 1.0
        return factor * sum(self._left.values())
