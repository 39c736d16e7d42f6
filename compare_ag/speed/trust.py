"""May a backend that was timed be ranked? Not if it computes outside its clock.

There are four ways to compute outside the clock, each with its own sign. The host's clock brackets a worker's block:

    host          │ request ························································ reply │
    worker                    │ read · restore · lead-in · timed steps · read the results │

so that a claim of too little time leaves a part of the host's time unexplained. Work in advance makes the lead-in, or
restoring the weights, slow. Work between blocks, or by other processes, uses CPU time that the kernel counts. Only the
blocks that decide a backend's number are judged (`blocks.decisive`), because work outside the clock of other blocks
gains nothing. Work outside the clock takes time in every such block, a shared CPU in some of them: so a reply's
overhead is the lower quartile over the blocks, all other figures are medians, and fewer than `LEAST_BLOCKS` are not
judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LEAST_BLOCKS = 8
"""fewer blocks are not judged"""
UNTIMED = 3.0
"""A step outside the clock may take this many times a step inside: it starts with cold caches, a factor of 1.3 to 2."""
UNEXPLAINED = 0.1
"""of the time by the host's clock, beyond the overhead of undisturbed replies and its spread"""
SPREADS = 4.0
"""median absolute deviations by which a reply's overhead may exceed the least of all contestants"""
MOST_UNEXPLAINED = 0.5
"""of the time by the host's clock, however much replies vary"""
IDLE = 0.5
"""CPU time between two blocks, as share of a block, beyond the time to read a request"""
OTHERS = 0.01
"""CPU time of other processes, as share of the wall time of a launch"""


class Decisive(NamedTuple):
    """The blocks that decide a backend's number, from all of its launches: (N,) each."""

    block_ns: Array
    """wall time by the worker's claim"""
    untimed_ratio: Array
    """time per step of restoring the weights and the lead-in, over time per step inside the clock"""
    host_ns: Array
    """from request to reply"""
    reply_ns: Array
    """of that, the part outside the worker's claim"""
    idle_cpu_ns: Array
    """CPU time of the process since the block before"""


class Whereabouts(NamedTuple):
    """Where a backend's time went, medians over its decisive blocks."""

    blocks: int
    untimed_ratio: float
    """time per step of restoring the weights and the lead-in, over time per step inside the clock"""
    host_ns: float
    """from request to reply"""
    unexplained_ns: float
    """of that, the part beyond the worker's claim and the quickest contestant's overhead of a reply"""
    reply_spread_ns: float
    """median absolute deviation of the overhead of its replies"""
    idle_cpu_ns: float
    """CPU time of the process between blocks, beyond the least contestant's"""
    block_ns: float
    """a block's wall time by its claim"""
    others_cpu_seconds: float
    """of other processes that it started, while it was timed"""
    seconds: float
    """of the launches"""


def whereabouts(
    own: Decisive, contestants: Sequence[Decisive], others_cpu_seconds: float, seconds: float
) -> Whereabouts:
    """Where a contestant's time went; overhead and idle CPU time are beyond the least of all contestants."""
    reply = float(np.quantile(own.reply_ns, 0.25))
    return Whereabouts(
        blocks=len(own.block_ns),
        untimed_ratio=float(np.median(own.untimed_ratio)),
        host_ns=float(np.median(own.host_ns)),
        unexplained_ns=reply - min(float(np.quantile(blocks.reply_ns, 0.25)) for blocks in contestants),
        reply_spread_ns=float(np.median(np.abs(own.reply_ns - np.median(own.reply_ns)))),
        idle_cpu_ns=float(np.median(own.idle_cpu_ns))
        - min(float(np.median(blocks.idle_cpu_ns)) for blocks in contestants),
        block_ns=float(np.median(own.block_ns)),
        others_cpu_seconds=others_cpu_seconds,
        seconds=seconds,
    )


def why_unranked(times: Whereabouts, threads: int) -> str:
    """A clause with the backend as its subject; empty where the backend may be ranked."""
    if times.others_cpu_seconds > OTHERS * times.seconds:
        return f"let other processes compute for {times.others_cpu_seconds:.2g} s while it was timed"
    if times.blocks < LEAST_BLOCKS:
        return ""
    slack = min(UNEXPLAINED * times.host_ns + SPREADS * times.reply_spread_ns, MOST_UNEXPLAINED * times.host_ns)
    if times.unexplained_ns > slack:
        share = 1 - times.unexplained_ns / times.host_ns
        return f"is not to be trusted: its worker claims {share:.0%} of the time that the host saw pass"
    if times.untimed_ratio > UNTIMED:
        return (
            f"takes {times.untimed_ratio:.1f} times as long for a step outside the clock as inside "
            f"(at most {UNTIMED:g}): it works outside its clock"
        )
    # threads of a pool spin for a while after their work
    if threads == 1 and times.idle_cpu_ns > IDLE * times.block_ns:
        share = times.idle_cpu_ns / times.block_ns
        return f"computes between its blocks, {share:.1f} times as long as a block takes: it works outside its clock"
    return ""
