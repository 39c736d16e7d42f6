"""Timed blocks and which of them count: from the blocks of a launch to its one number.

A block in which another program ran says how long that program ran. Whether one did is known without looking at the
block's time, from what the kernel counted (`undisturbed`), and such a block does not count: how long it took has no
part in that decision, for a rule that drops what is slow would make its backend fast. A program on the other half of
the same core, perhaps another machine's, leaves no trace in any counter and slows a step by a half to twice: whether
one was there the probes around the step tell (`at_full_speed`), again not the step. Of what counts:

    instance   the lower quintile of t over its clean rounds, where it has `LEAST_CLEAN` at least
    launch     the mean of its log over those instances; NaN where there is none, or where too few blocks are left: it
               is disturbed

The lower quintile, because whatever else runs on a machine only ever slows a block, and what comes and goes between two
probes leaves no trace. Where neighbours outside this machine were busy, the ratio of autograd to numpy had a standard
deviation from launch to launch of 10.2 % by medians of all blocks and 5.5 % by quintiles; with probes of 3.9 and 1.6 %
(14 launches). It is no minimum, which a single lucky reading decides. It is what a step takes where nothing slows it:
of a backend whose own time varies from block to block, the fast fifth. The mean over instances, because memory layout
is a property of each that users meet.
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
"""clean rounds without which an instance says nothing"""
QUINTILE = 0.2
"""estimated by Hyndman and Fan's eighth definition: who has fewer blocks left is not slower for that"""
LEAST_SHARE = 0.25
"""of a launch's rounds must be clean, else it is disturbed: what is left may be an odd choice"""
SLOWED = 1.3
"""times what it takes at full speed that a probe may take; where something else is on the core, it takes 1.5 to 2"""
QUICKEST = 0.05
"""quantile of a process's probes that stands for its quickest: the least of them may be a slip of the clock"""
QUICK_LAUNCHES = 0.25
"""Quantile of those over launches that stands for full speed: whole launches may share the core with something, and
the first ones may find a CPU that is allowed to clock higher for a while."""
LEAST_FULL_SPEED = 0.5
"""of a launch's segments must be at full speed, else none counts: who comes and goes so often is also there between two
probes that do not see it"""
CPU_SHARE = 0.9
"""a block whose process had its CPU for less of the time was held up by the hypervisor or by interrupts"""


@dataclass(frozen=True)
class Blocks:
    """The blocks of one backend, (..., M instances, R rounds): one launch, or several along leading axes.

    time_ns: nanoseconds per step, NaN where there was no block. clean: not interrupted, and may count.
    """

    time_ns: Array
    clean: Array

    def __post_init__(self) -> None:
        if self.time_ns.ndim < 2 or self.time_ns.shape != self.clean.shape:
            raise ValueError(f"blocks of shape {self.time_ns.shape} with marks of shape {self.clean.shape}")


def undisturbed(switches: Array, waits: Array, cpu_ns: Array, inside_ns: Array, threads: int) -> Array:
    """Which blocks no other program ran in, from what the kernel counted; all arrays alike.

    Involuntary switches are other programs. CPU time below wall time is what no counter names (interrupts, the
    hypervisor), unless the process gave its CPU away itself or has threads, whose waiting is their own. All that is of
    the timed steps alone: who is interrupted in the lead-in has the rest of it to find back.
    """
    held_up = (cpu_ns < CPU_SHARE * inside_ns) & (waits == 0) & (threads == 1)
    return np.asarray((switches == 0) & ~held_up)


def quickest(probe_ns: Array) -> float:
    """What the probe takes where a process is at its quickest, from all its probes (N,); infinite for none."""
    return float(np.quantile(probe_ns, QUICKEST)) if len(probe_ns) else math.inf


def full_speed(quickest_ns: Sequence[float]) -> float:
    """What the probe takes at full speed, from the quickest of each process of a backend; infinite for none.

    In steps of 2 %, so that another launch seldom changes what is known of those before.
    """
    if not quickest_ns:
        return math.inf
    log = math.log(float(np.quantile(quickest_ns, QUICK_LAUNCHES, method="lower")))
    return math.exp(0.02 * round(log / 0.02))


def at_full_speed(probe_ns: Array, full_ns: float) -> Array:
    """(n,) bool: which of the segments between n + 1 probes of a block had the core to themselves, as far as seen."""
    there = probe_ns <= SLOWED * full_ns
    return np.asarray(there[:-1] & there[1:])


def launch_at_full_speed(share: Array) -> Array:
    """(M, R) bool: which blocks of a launch had the core to themselves, in part at least, from their share that had."""
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
    """The log of seconds per step of each launch: (...), or an array without axes for one launch; NaN: disturbed."""
    return _mean(_of_instances(blocks)) + LOG_NANOSECOND


def launch_log_ratio(blocks: Blocks, baseline: Blocks) -> Array:
    """log(t / t_baseline) of each launch: (...), over the instances that both have; NaN where there is none.

    Raises `ValueError` where the two did not take part in the same rounds.
    """
    if blocks.time_ns.shape != baseline.time_ns.shape:
        raise ValueError(f"blocks of shapes {blocks.time_ns.shape} and {baseline.time_ns.shape} are not of one run")
    return _mean(_of_instances(blocks) - _of_instances(baseline))


def _of_instances(blocks: Blocks) -> Array:
    """(..., M): the log of the lower quintile of each instance's clean rounds; NaN where it or its launch has too few.

    A time that is no positive number cannot count.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(blocks.time_ns)
    counts = blocks.clean & np.isfinite(logs)
    rounds = counts.shape[-1]
    enough = counts.sum(axis=-1) >= max(1, min(LEAST_CLEAN, rounds))  # a schedule may have fewer rounds: then all
    enough &= (counts.mean(axis=(-2, -1)) >= LEAST_SHARE)[..., None]
    return np.where(enough, _quintile(logs, counts), np.nan)


def decisive(blocks: Blocks) -> Array:
    """(..., M, R) bool: the blocks that an instance's number rests on, its clean ones up to their lower quintile.

    What is said of where a backend's time went must hold of these: who works elsewhere in every fourth block only has
    its number from them. Where no block is clean, those of all blocks.
    """
    clean = blocks.clean if blocks.clean.any() else np.ones_like(blocks.clean)
    least = np.where(clean, blocks.time_ns, np.inf).min(axis=-1)
    bound = np.fmax(_quintile(blocks.time_ns, clean), least)  # of few, the quickest one
    return np.asarray(clean & (blocks.time_ns <= bound[..., None]))


def _quintile(values: Array, counts: Array) -> Array:
    """The lower quintile along the last axis of the values that count; 0 where none does."""
    some = np.asarray(counts.any(axis=-1))
    usable = np.where(some[..., None], np.where(counts, values, np.nan), 0.0)  # numpy warns of nothing
    found: Array = np.nanquantile(usable, QUINTILE, axis=-1, method="median_unbiased")
    return found


def _mean(values: Array) -> Array:
    """(..., M) → (...): over the instances that are no NaN; NaN where there is none."""
    known = np.isfinite(values)
    counts = known.sum(axis=-1)
    means: Array = np.where(counts > 0, np.where(known, values, 0.0).sum(axis=-1) / np.maximum(counts, 1), np.nan)
    return means
