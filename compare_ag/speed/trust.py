"""May a backend that was timed be ranked? Not where its time lies somewhere else than inside its clock.

Four ways to compute where nobody looks, and what shows each. A block of the worker is bracketed by the host's clock:

    host          │ request ························································ reply │
    worker                    │ read · restore · lead-in · timed steps · read the results │

so that a claim of too little time leaves the host's unexplained. What is done in advance makes the lead-in, or
restoring the weights, dear. What is done between blocks, or by other processes, uses CPU time that the kernel counts.
All are medians over undisturbed blocks: one interrupted reply accuses nobody.
"""

from __future__ import annotations

from typing import NamedTuple

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


class Whereabouts(NamedTuple):
    """Where a backend's time went, medians over its undisturbed blocks."""

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


def why_unranked(seen: Whereabouts, threads: int) -> str:
    """A clause with the backend as its subject; empty where nothing speaks against a rank."""
    slack = min(UNEXPLAINED * seen.host_ns + SPREADS * seen.reply_spread_ns, MOST_UNEXPLAINED * seen.host_ns)
    if seen.unexplained_ns > slack:
        share = 1 - seen.unexplained_ns / seen.host_ns
        return f"is not to be trusted: its worker claims {share:.0%} of the time that the host saw pass"
    if seen.untimed_ratio > UNTIMED:
        return (
            f"takes {seen.untimed_ratio:.1f} times as long for a step outside the clock as inside "
            f"(at most {UNTIMED:g}): it does the work elsewhere"
        )
    if seen.others_cpu_seconds > OTHERS * seen.seconds:
        return f"let other processes compute for {seen.others_cpu_seconds:.2g} s while it was timed"
    # threads of a pool spin for a while after their work
    if threads == 1 and seen.idle_cpu_ns > IDLE * seen.block_ns:
        share = seen.idle_cpu_ns / seen.block_ns
        return f"computes between its blocks, {share:.1f} times as long as a block takes: it does the work elsewhere"
    return ""
