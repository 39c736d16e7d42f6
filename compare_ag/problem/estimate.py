"""Estimates whether a problem fits into memory, because a machine without free memory gives no error message.

Memory is required twice: before a source is read, when its size is known, and before the workers start, when their
number is known. Data that could be read but not judged are refused before they are read. Memory that does not grow with
the data or the steps (the code of a framework, for example) is not counted.

The available memory is passed as a function, so that a test can simulate a small machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from compare_ag.problem.core import ProblemError, recorded_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from compare_ag.problem.core import Problem

BYTES_PER_CELL = 8
"""A feature is held in float64, whatever dtype is tested."""

WORKER_COPIES = 4
"""Copies of X in one worker: as received, as a tensor, read back to be compared, and one for the framework's own."""

JUDGING_BYTES = 24
"""For each cell of X in the host while it judges, as measured: the data before and after rounding to the tested dtype,
and a batch of every second example. Reading takes no more: readers hold at most three copies of X."""

MOST_EXACT_CELLS = 1 << 22
"""Cells of the largest batch that is converted to exact numbers; what would need a larger one is not decided."""

EXACT_BYTES = 208
"""For each of these cells: two exact batches at a time, each with its transpose."""

WEIGHT_BYTES = 1200
"""For each weight at each recorded step, as measured with two backends: their weights, the reference, exact answers."""

STEP_BYTES = 100
"""For each step in the host: losses of the reference with their bounds, and losses of two backends at least."""

ORDER_BYTES = 8
"""For each example of each epoch: its number in 32 bits, in the host and in the message to a worker."""

Available: TypeAlias = "Callable[[], int]"
"""A function that returns the bytes of memory that may be used."""


MEMORY_INFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Return the bytes that new data may take without swapping, by the operating system and by a container's limit."""
    try:
        lines = MEMORY_INFO.read_text().splitlines()
        (available,) = (1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError):  # not Linux, or an old one
        import psutil

        available = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no limit
        return available
    return max(0, min(available, limit - used))


def require_memory(source: str, cells: int, available: Available = available_memory) -> None:
    """Raise `ProblemError` if ``cells`` features do not fit into the memory that is ``available``."""
    need, limit = bytes_to_read(cells), available()
    if need > limit:
        raise ProblemError(
            f"{source}: too large for memory: about {cells:,} cells need {size(need)} to be read and judged "
            f"({need / cells:.0f} bytes each), and {size(limit)} are available; take fewer examples or features"
        )


def bytes_to_read(cells: int) -> int:
    """Bytes that so many features take to be read and judged."""
    return cells * BYTES_PER_CELL + _judging(cells)


def bytes_to_train(cells: int, weights: int, recorded: int) -> int:
    """Bytes that the host takes to judge a training, beside the data; recorded: steps whose weights are recorded."""
    return _judging(cells) + WEIGHT_BYTES * weights * recorded


def require_memory_to_train(problem: Problem, workers: int, available: Available = available_memory) -> None:
    """Raise `ProblemError` if training does not fit into the memory that is ``available`` beside the problem itself.

    workers: how many are alive at a time, each with copies of X of its own.
    """
    in_host = bytes_to_train(problem.X.size, problem.layout.size, len(recorded_steps(problem.steps)))
    per_worker = WORKER_COPIES * problem.X.nbytes
    need, limit = in_host + workers * per_worker, available()
    if need > limit:
        plural = "s" if workers != 1 else ""
        raise ProblemError(
            f"{problem.data.name}: too large for memory: training needs about {size(need)} more ({size(in_host)} for "
            f"the reference and {size(per_worker)} in each of {workers} worker{plural} at a time), and {size(limit)} "
            "are available; take fewer examples, features or backends"
        )


def _judging(cells: int) -> int:
    return JUDGING_BYTES * cells + EXACT_BYTES * min(cells, MOST_EXACT_CELLS)


def require_memory_for_steps(
    source: str, steps: int, examples: int, batch_size: int | None, available: Available = available_memory
) -> None:
    """Raise `ProblemError` if what grows with the steps does not fit into the memory that is ``available``.

    That is the losses and their bounds, and the order of the examples where they come in batches.
    """
    epochs = steps // -(-examples // batch_size) + 1 if batch_size else 0
    need, limit = steps * STEP_BYTES + epochs * examples * ORDER_BYTES, available()
    if need > limit:
        raise ProblemError(
            f"{source}: too many steps for memory: {steps:,} steps need about {size(need)} for the losses, their "
            f"bounds and the order of the examples, and {size(limit)} are available; take fewer steps"
        )


def size(count: int) -> str:
    """Return a number of bytes as people read it: ``1.4 GiB``."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
