"""What about a measurement should make its reader careful, and what to do about it. Pure: numbers in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from compare_ag.records import StabilityWarning
from compare_ag.speed.statistics import hodges_lehmann, interval

PREEMPTED = 0.2
"""share of blocks that another program interrupted or slowed; they do not count, but what is left may have felt it"""
CPU_PER_WALL = 0.9
"""a block that got less of its CPU than this waited for something"""
THREADS_SLACK = 0.1
CONTROL = 0.01
"""a backend differs from its twin by more than this: the machine does not allow verdicts of a few per cent"""
LAUNCH_SD = 0.03
"""fresh processes usually differ by 1 to 2 %"""
LAG_ONE = 0.4
LAG_ONE_LAUNCHES = 25
"""below, chance alone gives correlations of 0.4: their standard error is 1/sqrt(launches)"""
LOAD = 0.5
STEAL = 0.01
UNEQUAL = 0.85
"""speed of the slowest CPU; equal ones differ by a few per cent in a probe"""
DRIFT = 0.05
CLOSURE = 0.03
PENDING_LEAST = 0.003
"""of a block: two sets of readings may happen to take the same time"""
PENDING_LAUNCHES = 0.7
PENDING_NOISE = 3.0
"""work put off is more than so many times what two sets of readings of values that are there differ by"""


class Surroundings(NamedTuple):
    """What the machine told about itself; what it did not tell is None or empty."""

    load_per_cpu: float | None = None
    """before timing began"""
    steal: float | None = None
    """share of the timed CPUs' time that the hypervisor gave to others"""
    governor: str = ""
    """of the clock frequency"""
    on_battery: bool = False
    speeds: Mapping[int, float] = MappingProxyType({})
    """of each CPU, the fastest 1.0"""
    timed: Sequence[int] = ()
    """the CPUs that backends were pinned to"""


class Observation(NamedTuple):
    """What one backend's timing looked like."""

    name: str
    preempted: float
    disturbed: bool
    cpu_per_wall: float
    pending_shares: Sequence[float]
    """one for each launch: work left over after a block, in blocks"""
    pending_noise: Sequence[float]
    """what that would be from readings alone of values that are there"""
    steady: bool
    closure: float | None
    pinned: bool
    log_times: Sequence[float]
    """one for each launch: log of the time per step"""
    log_ratios: Sequence[float]
    """one for each launch, to the baseline; empty for the baseline"""


def notes(
    seen: Sequence[Observation], control: Sequence[float], threads: int, surroundings: Surroundings
) -> Iterator[StabilityWarning]:
    """Every warning that these observations give.

    control: the log-ratio of a twin to its backend in each launch.
    """
    yield from _of_machine(surroundings)
    if any(not one.pinned for one in seen):
        yield StabilityWarning(
            "not-pinned",
            "this system cannot pin processes to a CPU: times vary more than they need to",
            "Quote numbers from a system that can",
        )
    for one in seen:
        yield from _of_one(one, threads)
    if len(control) > 1:
        found = interval(control)
        if found.low > CONTROL or found.high < -CONTROL:
            yield StabilityWarning(
                "control",
                f"backends differ from their twins by {math.expm1(found.mean):+.1%}",
                "Do not use these verdicts: repeat on a quieter machine",
            )


def _of_machine(seen: Surroundings) -> Iterator[StabilityWarning]:
    if seen.load_per_cpu is not None and seen.load_per_cpu > LOAD:
        yield StabilityWarning(
            "load",
            f"the machine was busy before timing began (load {seen.load_per_cpu:.1f} per CPU)",
            "Close what is busy",
        )
    if seen.steal is not None and seen.steal > STEAL:
        yield StabilityWarning(
            "steal",
            f"the hypervisor gave {seen.steal:.1%} of the CPU's time to other machines",
            "Run again at another time, or on a machine of your own",
        )
    if seen.governor and seen.governor != "performance":
        yield StabilityWarning(
            "governor",
            f"the clock frequency is governed by {seen.governor!r}, so that it follows the load",
            "Ratios are protected, times are not: `cpupower frequency-set -g performance`",
        )
    if seen.on_battery:
        yield StabilityWarning("battery", "the machine runs from its battery, which slows it down", "Plug it in")
    if seen.speeds and min(seen.speeds.values()) < UNEQUAL:
        slowest = min(seen.speeds, key=seen.speeds.__getitem__)
        where = "CPU " + ", ".join(map(str, seen.timed)) if seen.timed else "where they were taken"
        yield StabilityWarning(
            "unequal-cpus",
            f"CPU {slowest} does {seen.speeds[slowest]:.0%} of what the fastest does: times hold for {where}",
            "Something keeps it busy, or it is of another kind: choose CPUs with taskset",
        )


def _of_one(one: Observation, threads: int) -> Iterator[StabilityWarning]:
    name = one.name
    if one.disturbed:
        yield StabilityWarning(
            "disturbed",
            f"{name} has no verdict: something else slowed {one.preempted:.0%} of its blocks",
            "Close what is busy and run again",
        )
    elif one.preempted > PREEMPTED:
        yield StabilityWarning(
            "preempted",
            f"something else slowed {one.preempted:.0%} of {name}'s blocks, which do not count",
            "Close what is busy and run again: what is left may have felt it too",
        )
    if one.cpu_per_wall < CPU_PER_WALL:
        yield StabilityWarning(
            "waiting",
            f"{name} had its CPU for only {one.cpu_per_wall:.0%} of the time",
            "Close what is busy; if nothing is, the backend waits for something",
        )
    if one.cpu_per_wall > threads + THREADS_SLACK:
        yield StabilityWarning(
            "threads",
            f"{name} kept {one.cpu_per_wall:.1f} CPUs busy, more than the {threads} it was given",
            "Compare it with --threads as large, or limit its threads in prepare",
        )
    if _puts_off(one):
        share = float(np.median(one.pending_shares))
        yield StabilityWarning(
            "lazy",
            f"{name} left {share / (1 + share):.0%} of a block's work undone when synchronize had returned",
            "Its times are too short: let synchronize wait until the values exist",
        )
    if not one.steady:
        yield StabilityWarning(
            "not-steady",
            f"{name}'s blocks differ by more than 3 % between the beginning and the end of a launch",
            "It had not warmed up, or the machine changed its clock: run again, with --precise",
        )
    if one.closure is not None and abs(math.log(one.closure)) > CLOSURE:
        yield StabilityWarning(
            "closure",
            f"{name}'s phases add up to {one.closure:.2f} of its step",
            "Trust the whole step: the phases were disturbed, or step does something else than the three verbs",
        )
    yield from _over_launches(one)


def _puts_off(one: Observation) -> bool:
    """Whether more work is left over than reading alone varies by, in most launches: one may be interrupted."""
    limit = PENDING_NOISE * max(float(np.median(one.pending_noise or [0.0])), PENDING_LEAST)
    over = [share > limit for share in one.pending_shares]
    return sum(over) > PENDING_LAUNCHES * len(over)


def _over_launches(one: Observation) -> Iterator[StabilityWarning]:
    launches = len(one.log_times)
    if launches >= 3:
        slopes = [
            (one.log_times[j] - one.log_times[i]) / (j - i) for i in range(launches) for j in range(i + 1, launches)
        ]
        drift = float(np.median(slopes)) * (launches - 1)
        if abs(drift) > DRIFT:
            yield StabilityWarning(
                "drift",
                f"{one.name} became {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} in the course of the run",
                "The ratios are protected against this, the times are not: run again once the machine has settled",
            )
    ratios = np.asarray(one.log_ratios, dtype=np.float64)
    if len(ratios) >= 3:
        spread = float(np.std(ratios, ddof=1))
        if spread > LAUNCH_SD:
            yield StabilityWarning(
                "launch-spread",
                f"{one.name}'s ratio varies by {spread:.1%} from launch to launch",
                "The interval allows for it; --precise narrows it",
            )
        found = interval(ratios.tolist())
        if not found.low <= hodges_lehmann(ratios.tolist()) <= found.high:
            yield StabilityWarning(
                "outlying-launch",
                f"a few launches carry {one.name}'s mean ratio",
                "Look at its raw blocks in the run directory, or run again with --precise",
            )
    if len(ratios) >= LAG_ONE_LAUNCHES:
        centred = ratios - ratios.mean()
        lag = float(centred[1:] @ centred[:-1] / (centred @ centred))
        if abs(lag) > LAG_ONE:
            yield StabilityWarning(
                "correlated",
                f"{one.name}'s successive launches are correlated ({lag:+.2f}), so that its interval is too narrow",
                "Something on the machine changes slowly: run again on a quieter one",
            )
