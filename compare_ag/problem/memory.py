"""Will it fit? Estimated before anything is loaded, because an overfull machine gives no error message.

The readers are given the available memory as a function, so that a test can play a small machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from compare_ag.problem.core import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

BYTES_PER_CELL = 8
"""A feature is held in float64, whatever dtype is tested."""

COPIES = 4
"""Copies of X that are alive at the worst moment: as read, standardised, inside the rank check, rounded."""

Available: TypeAlias = "Callable[[], int]"
"""A function that returns the bytes of memory that may be used."""


def available_memory() -> int:
    """Return the bytes that new data may take without swapping, as the operating system estimates them."""
    import psutil  # only the loading of real data needs it; the worker, which imports this package, does not

    return int(psutil.virtual_memory().available)


def require_memory(source: str, cells: int, available: Available = available_memory) -> None:
    """Raise `ProblemError` if ``cells`` features do not fit into the memory that is ``available``."""
    need, limit = cells * BYTES_PER_CELL * COPIES, available()
    if need > limit:
        raise ProblemError(
            f"{source}: too large for memory: about {cells:,} cells need {size(need)} "
            f"({COPIES} copies of {BYTES_PER_CELL} bytes each), and {size(limit)} are available; "
            "take fewer examples or features"
        )


def size(count: int) -> str:
    """Return a number of bytes as people read it: ``1.4 GiB``."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
