"""May a backend that was timed be ranked? Not where its time lies somewhere else than inside its clock.

Four ways to compute where nobody looks, and what shows each. A block of the worker is bracketed by the host's clock:

    host          │ request ························································ reply │
    worker                    │ read · restore · lead-in · timed steps · read the results │

so that a claim of too little time leaves the host's unexplained. What is done in advance makes the lead-in, or
restoring the weights, dear. What is done between blocks, or by other processes, uses CPU time that the kernel counts.
Asked of the blocks that a backend's number rests on (`blocks.decisive`), for elsewhere it has nothing to gain. What is
done elsewhere costs in every such block, a CPU that others share in some of them: so a reply's overhead is the lower
quartile of theirs, the rest are medians, and fewer than `LEAST_BLOCKS` accuse nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LEAST_BLOCKS = 8
"""without which a number is too little to accuse anybody"""
UNTIMED = 3.0
"""A step outside the clock may take this many times one inside: it is led in from cold caches, which costs 1.3 to 2."""
UNEXPLAINED = 0.1
"""of the time that the host saw pass, beyond what undisturbed replies take and vary by"""
SPREADS = 4.0
"""median absolute deviations that a reply's overhead may lie above everybody's least one"""
MOST_UNEXPLAINED = 0.5
"""of the time that the host saw pass, however much replies vary"""
IDLE = 0.5
"""CPU time between two blocks, as share of a block, beyond what reading a request takes"""
OTHERS = 0.01
"""CPU time of other processes, as share of the wall time of a launch"""


class Decisive(NamedTuple):
    """The blocks that a backend's number rests on, from all of its launches: (N,) each."""

    block_ns: Array
    """wall time by the worker's claim"""
    untimed_ratio: Array
    """time per step of restoring the weights and the lead-in, over time per step inside the clock"""
    host_ns: Array
    """from request to reply"""
    reply_ns: Array
    """of that, what is no part of the worker's claim"""
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
    """of that, what neither the worker's claim nor what the quickest contestant's replies take explains"""
    reply_spread_ns: float
    """median absolute deviation of what its replies take beyond its claims"""
    idle_cpu_ns: float
    """CPU time of the process between blocks, beyond the least contestant's"""
    block_ns: float
    """a block's wall time by its claim"""
    others_cpu_seconds: float
    """of other processes that it started, while it was timed"""
    seconds: float
    """of the launches"""


def whereabouts(
    mine: Decisive, everybody: Sequence[Decisive], others_cpu_seconds: float, seconds: float
) -> Whereabouts:
    """Where a contestant's time went, beyond what the least of all contestants needs for the same."""
    reply = float(np.quantile(mine.reply_ns, 0.25))
    return Whereabouts(
        blocks=len(mine.block_ns),
        untimed_ratio=float(np.median(mine.untimed_ratio)),
        host_ns=float(np.median(mine.host_ns)),
        unexplained_ns=reply - min(float(np.quantile(one.reply_ns, 0.25)) for one in everybody),
        reply_spread_ns=float(np.median(np.abs(mine.reply_ns - np.median(mine.reply_ns)))),
        idle_cpu_ns=float(np.median(mine.idle_cpu_ns)) - min(float(np.median(one.idle_cpu_ns)) for one in everybody),
        block_ns=float(np.median(mine.block_ns)),
        others_cpu_seconds=others_cpu_seconds,
        seconds=seconds,
    )


def why_unranked(seen: Whereabouts, threads: int) -> str:
    """A clause with the backend as its subject; empty where nothing speaks against a rank."""
    if seen.others_cpu_seconds > OTHERS * seen.seconds:
        return f"let other processes compute for {seen.others_cpu_seconds:.2g} s while it was timed"
    if seen.blocks < LEAST_BLOCKS:
        return ""
    slack = min(UNEXPLAINED * seen.host_ns + SPREADS * seen.reply_spread_ns, MOST_UNEXPLAINED * seen.host_ns)
    if seen.unexplained_ns > slack:
        share = 1 - seen.unexplained_ns / seen.host_ns
        return f"is not to be trusted: its worker claims {share:.0%} of the time that the host saw pass"
    if seen.untimed_ratio > UNTIMED:
        return (
            f"takes {seen.untimed_ratio:.1f} times as long for a step outside the clock as inside "
            f"(at most {UNTIMED:g}): it does the work elsewhere"
        )
    # threads of a pool spin for a while after their work
    if threads == 1 and seen.idle_cpu_ns > IDLE * seen.block_ns:
        share = seen.idle_cpu_ns / seen.block_ns
        return f"computes between its blocks, {share:.1f} times as long as a block takes: it does the work elsewhere"
    return ""
