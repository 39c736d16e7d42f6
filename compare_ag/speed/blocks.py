"""Timed blocks and which of them count: from the blocks of a launch to its one number.

A block in which another program ran measures that program too, and does not count. The kernel's counters show such
programs (`mark_undisturbed`). The block's own time has no part in the decision, because a rule that drops slow blocks
makes its backend fast. A program on the other half of the same core, perhaps of another virtual machine, leaves no
trace in any counter and makes a step 1.5 to 2 times as long. The probes around the step show it (`at_full_speed`),
again without the step's time. Of the blocks that count:

    instance   the lower quintile of t over its clean rounds, where it has `LEAST_CLEAN` at least
    launch     the mean of its log over those instances; NaN, which means disturbed, where there is no such instance, or
               where too few blocks are left

The lower quintile, because other programs can only slow a block, and those that come and go between two probes leave no
trace. Where neighbours outside this machine were busy, the ratio of autograd to numpy had a standard deviation from
launch to launch of 10.2 % by medians of all blocks and 5.5 % by quintiles; with probes 3.9 and 1.6 % (14 launches). A
minimum would depend on a single lucky reading. The quintile estimates a step's time without disturbance; where a
backend's own time varies from block to block, that of its fast fifth. The mean over instances, because users meet the
memory layout of every instance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
LOG_NANOSECOND = math.log(1e-9)
LEAST_CLEAN = 3
"""clean rounds that an instance needs for a result"""
QUINTILE = 0.2
"""estimated by Hyndman and Fan's eighth definition: fewer blocks do not make a backend slower"""
LEAST_SHARE = 0.25
"""share of a launch's rounds that must be clean, else it is disturbed: fewer rounds may not be typical"""
SLOWED = 1.2
"""a probe may take this many times its time at full speed; with another program on the core, it takes 1.2 to 2"""
QUICKEST = 0.05
"""quantile of a process's probes that estimates the quickest probe: their minimum may be a slip of the clock"""
QUICK_LAUNCHES = 0.25
"""Quantile of those over launches that estimates full speed: whole launches may share the core with another program,
and during the first launches the CPU may be allowed a higher clock rate for a while."""
LEAST_FULL_SPEED = 0.5
"""share of a launch's segments that must be at full speed, else none counts: a program that runs so often also runs
between two probes, unseen"""
CPU_SHARE = 0.9
"""if a block's process had its CPU for a smaller share of the time, the hypervisor or interrupts held it up"""
FULL_CPU_SHARE = 0.98
"""if a block's process had its CPUs for at least this share of the time, no other program slowed it by more than 2 %"""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a backend, (..., M instances, R rounds): of one launch, or of several along leading axes.

    time_ns: nanoseconds per step, NaN where there was no block. clean: whether the block was not interrupted.
    """

    time_ns: Array
    clean: Array

    def __post_init__(self) -> None:
        if self.time_ns.ndim < 2 or self.time_ns.shape != self.clean.shape:
            raise ValueError(f"blocks of shape {self.time_ns.shape} with marks of shape {self.clean.shape}")


def mark_undisturbed(
    switches: Array, waits: Array, cpu_ns: Array, inside_ns: Array, threads: int, *, pinned: bool
) -> Array:
    """Mark the blocks in which no other program ran, by the kernel's counters; all arrays of one shape.

    threads: that the backend may use; pinned: whether its process has as many CPUs and no more.

    Involuntary switches show other programs, unless the process's own threads took the CPU from each other, as those of
    a backend that hands its work to a thread do at each step. Then each such switch goes with a wait, and no other
    program can have run, because the process used all the time of all its CPUs. CPU time below wall time shows
    interrupts and the hypervisor, which have no counter, unless the process gave its CPU away itself or has threads,
    which wait for each other. The counters cover the timed steps alone: after an interruption in the lead-in, the rest
    of the lead-in warms the caches again.
    """
    among_own = pinned & (switches <= waits) & (cpu_ns >= FULL_CPU_SHARE * threads * inside_ns)
    held_up = (cpu_ns < CPU_SHARE * inside_ns) & (waits == 0) & (threads == 1)
    return np.asarray(((switches == 0) | among_own) & ~held_up)


def quickest(probe_ns: Array) -> float:
    """The probe's time where a process is quickest, from all its probes (N,); infinite for none."""
    return float(np.quantile(probe_ns, QUICKEST)) if len(probe_ns) else math.inf


def full_speed(quickest_ns: Sequence[float]) -> float:
    """The probe's time at full speed, from the quickest of each process of a backend; infinite for none.

    In steps of 2 %, so that another launch seldom changes the judgement of earlier launches.
    """
    if not quickest_ns:
        return math.inf
    log = math.log(float(np.quantile(quickest_ns, QUICK_LAUNCHES, method="lower")))
    return math.exp(0.02 * round(log / 0.02))


def at_full_speed(probe_ns: Array, full_ns: float) -> Array:
    """(n,) bool: whether both probes around each of a block's n segments were at full speed."""
    fast = probe_ns <= SLOWED * full_ns
    return np.asarray(fast[:-1] & fast[1:])


def launch_at_full_speed(share: Array) -> Array:
    """(M, R) bool: which blocks of a launch ran at full speed at least in part, from each block's share that did."""
    return np.asarray((share > 0) & (share.mean() >= LEAST_FULL_SPEED))


def recorded_blocks(arrays: Mapping[str, Array], steps_per_block: int) -> Blocks | None:
    """The blocks (L, M, R) in a backend's timing arrays; None where there are none.

    steps_per_block: that of the run, for arrays from before schema 1.7, which hold wall times alone: all their blocks
    count.
    """
    time_ns, clean = arrays.get("block_time_ns"), arrays.get("block_clean")
    if time_ns is None or clean is None:
        wall_ns = arrays.get("block_wall_ns")
        if wall_ns is None or steps_per_block < 1:
            return None
        time_ns, clean = wall_ns / steps_per_block, np.ones(wall_ns.shape, dtype=bool)
    if time_ns.ndim != 3 or not time_ns.size or time_ns.shape != clean.shape:
        return None
    return Blocks(time_ns.astype(np.float64), clean.astype(bool))


def launch_log_time(blocks: Blocks) -> Array:
    """The log of seconds per step of each launch: (...), without axes for a single launch; NaN: disturbed."""
    return _mean(_of_instances(blocks)) + LOG_NANOSECOND


def launch_log_ratio(blocks: Blocks, baseline: Blocks) -> Array:
    """log(t / t_baseline) of each launch: (...), over the instances of both; NaN where there is none.

    Raises `ValueError` where the two did not take part in the same rounds.
    """
    if blocks.time_ns.shape != baseline.time_ns.shape:
        raise ValueError(f"blocks of shapes {blocks.time_ns.shape} and {baseline.time_ns.shape} are not of one run")
    return _mean(_of_instances(blocks) - _of_instances(baseline))


def _of_instances(blocks: Blocks) -> Array:
    """(..., M): the log of the lower quintile of each instance's clean rounds; NaN where it or its launch has too few.

    Only positive finite times count.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(blocks.time_ns)
    counts = blocks.clean & np.isfinite(logs)
    rounds = counts.shape[-1]
    enough = counts.sum(axis=-1) >= max(1, min(LEAST_CLEAN, rounds))  # a schedule may have fewer rounds: then all
    enough &= (counts.mean(axis=(-2, -1)) >= LEAST_SHARE)[..., None]
    return np.where(enough, _quintile(logs, counts), np.nan)


def decisive(blocks: Blocks) -> Array:
    """(..., M, R) bool: the blocks that decide an instance's number, its clean blocks up to their lower quintile.

    `trust` judges these blocks: a backend that works outside the clock in every fourth block only has its number from
    them. Where no block is clean, the quintile is that of all blocks.
    """
    clean = blocks.clean if blocks.clean.any() else np.ones_like(blocks.clean)
    least = np.where(clean, blocks.time_ns, np.inf).min(axis=-1)
    bound = np.fmax(_quintile(blocks.time_ns, clean), least)  # of few blocks, the quickest
    return np.asarray(clean & (blocks.time_ns <= bound[..., None]))


def _quintile(values: Array, counts: Array) -> Array:
    """The lower quintile along the last axis of the values that count; 0 where no value counts."""
    known = np.asarray(counts.any(axis=-1))
    usable = np.where(known[..., None], np.where(counts, values, np.nan), 0.0)  # numpy warns of slices of NaN alone
    quintile: Array = np.nanquantile(usable, QUINTILE, axis=-1, method="median_unbiased")
    return quintile


def _mean(values: Array) -> Array:
    """(..., M) → (...): the mean over the finite instances; NaN where there is none."""
    known = np.isfinite(values)
    counts = known.sum(axis=-1)
    means: Array = np.where(counts > 0, np.where(known, values, 0.0).sum(axis=-1) / np.maximum(counts, 1), np.nan)
    return means
