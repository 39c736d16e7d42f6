"""Which CPU is timed, and how the host keeps off it: small helpers for everything that times workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from compare_ag.host.environment import usable_cpus


def timed_cpus(threads: int) -> list[int]:
    """The CPUs that all contestants are pinned to: the last ones, since systems do their own work on the first."""
    return usable_cpus()[-threads:]


@contextmanager
def host_on(cpus: list[int]) -> Iterator[None]:
    """Keep this thread on these CPUs, off the one that is timed; where there is no other, or no way, do nothing."""
    if not cpus or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:  # a container that forbids it
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
