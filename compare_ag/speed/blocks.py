"""Timed blocks of one backend in one launch, and what they amount to: one number, from the undisturbed ones alone.

A block in which another program ran says how long that program ran. Whether one did is known without looking at the
block's time: the kernel counts involuntary context switches, and the process's CPU time falls behind the wall's. Such
blocks are left out by that, and never by their length: a rule that drops what is slow would make its backend fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LEAST_CLEAN = 3
"""undisturbed rounds of an instance, below which it has no median"""
LEAST_SHARE = 0.25
"""of a launch's blocks must be undisturbed, else the launch is disturbed: what is left may be an odd choice"""
CPU_SHARE = 0.9
"""a block whose process had its CPU for less of the time was held up by the hypervisor or by interrupts"""
AGREEMENT = 0.05
"""by how much the block's wall time may differ from its steps' median, for the latter to be a step's time"""


@dataclass(frozen=True)
class Blocks:
    """The blocks of M instances with R rounds each."""

    time_ns: Array
    """(M, R): nanoseconds per step"""
    clean: Array
    """(M, R) bool: no other program ran"""

    @property
    def instances(self) -> Array:
        """(M,) bool: those with a median; none where the launch is disturbed."""
        enough = np.count_nonzero(self.clean, axis=1) >= min(LEAST_CLEAN, self.clean.shape[1])
        return np.asarray(enough & (bool(self.clean.size) and float(np.mean(self.clean)) >= LEAST_SHARE))

    def log_time(self) -> float:
        """Log of seconds per step: the median over an instance's clean rounds, the mean over instances; NaN for none.

        The median, because what disturbs a block may leave no trace; the mean, because memory layout is a property of
        each instance that a user meets as well.
        """
        medians = [
            float(np.median(np.log(times[clean])))
            for times, clean, usable in zip(self.time_ns, self.clean, self.instances, strict=True)
            if usable
        ]
        return float(np.mean(medians)) + math.log(1e-9) if medians else math.nan


def log_ratio(mine: Blocks, other: Blocks) -> float:
    """One launch's log of time(mine) / time(other), of the instances that both have; NaN for none.

    Round by round where both blocks are clean: they lie milliseconds apart and start from the same weights.
    """
    return Blocks(mine.time_ns / other.time_ns, mine.clean & other.clean).log_time() - math.log(1e-9)


def undisturbed(switches: Array, waits: Array, cpu_ns: Array, span_ns: Array, threads: int) -> Array:
    """Which blocks no other program ran in, from what the kernel counted; all arrays alike.

    Involuntary switches are other programs. CPU time below wall time is what no counter names (interrupts, the
    hypervisor), unless the process gave its CPU away itself or has threads, whose waiting is their own.
    """
    held_up = (cpu_ns < CPU_SHARE * span_ns) & (waits == 0) & (threads == 1)
    return np.asarray((switches == 0) & ~held_up)
