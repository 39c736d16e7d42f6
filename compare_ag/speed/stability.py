"""Warnings about a measurement, each with advice. Pure: numbers in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from compare_ag.records import StabilityWarning
from compare_ag.speed.statistics import hodges_lehmann, interval

PREEMPTED = 0.2
"""share of blocks that another program interrupted or slowed; they do not count, but it may have slowed others too"""
CPU_PER_WALL = 0.9
"""a block whose process had less of its CPU than this waited for something"""
THREADS_SLACK = 0.1
CONTROL = 0.01
"""a backend differs from its twin by more than this: the machine does not allow verdicts of a few per cent"""
LAUNCH_SD = 0.03
"""fresh processes usually differ by 1 to 2 %"""
LAG_ONE = 0.4
LAG_ONE_LAUNCHES = 25
"""fewer launches give correlations of 0.4 by chance: their standard error is 1/sqrt(launches)"""
LOAD = 0.5
STEAL = 0.01
UNEQUAL = 0.85
"""speed of the slowest CPU; equal CPUs differ by a few per cent in a probe"""
DRIFT = 0.05
CLOSURE = 0.03
PENDING_LEAST = 0.003
"""of a block: the least noise to assume, because two sets of readings may happen to take the same time"""
PENDING_LAUNCHES = 0.7
PENDING_NOISE = 3.0
"""work is put off where readings take longer than so many times the noise between readings of existing values"""


class Surroundings(NamedTuple):
    """The state of the machine; unknown values are None or empty."""

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
    """The observations of one backend's timing."""

    name: str
    left_out_share: float
    disturbed: bool
    cpu_per_wall: float
    pending_shares: Sequence[float]
    """for each launch: work left over after a block, in blocks"""
    pending_noise: Sequence[float]
    """for each launch: the same from readings of values that exist already"""
    steady: bool
    closure: float | None
    pinned: bool
    log_times: Sequence[float]
    """for each launch: log of the time per step"""
    log_ratios: Sequence[float]
    """for each launch, to the baseline; empty for the baseline"""


def notes(
    observations: Sequence[Observation], control: Sequence[float], threads: int, surroundings: Surroundings
) -> Iterator[StabilityWarning]:
    """Every warning that these observations give.

    control: the log-ratio of a twin to its backend in each launch.
    """
    yield from _of_machine(surroundings)
    if any(not observation.pinned for observation in observations):
        yield StabilityWarning(
            "not-pinned",
            "this system cannot pin processes to a CPU: times vary more than they need to",
            "Quote numbers from a system that can",
        )
    for observation in observations:
        yield from _of_backend(observation, threads)
    if len(control) > 1:
        twin_ratio = interval(control)
        if twin_ratio.low > CONTROL or twin_ratio.high < -CONTROL:
            yield StabilityWarning(
                "control",
                f"backends differ from their twins by {math.expm1(twin_ratio.mean):+.1%}",
                "Do not use these verdicts: repeat on a quieter machine",
            )


def _of_machine(surroundings: Surroundings) -> Iterator[StabilityWarning]:
    if surroundings.load_per_cpu is not None and surroundings.load_per_cpu > LOAD:
        yield StabilityWarning(
            "load",
            f"the machine was busy before timing began (load {surroundings.load_per_cpu:.1f} per CPU)",
            "Close what is busy",
        )
    if surroundings.steal is not None and surroundings.steal > STEAL:
        yield StabilityWarning(
            "steal",
            f"the hypervisor gave {surroundings.steal:.1%} of the CPU's time to other machines",
            "Run again at another time, or on a machine of your own",
        )
    if surroundings.governor and surroundings.governor != "performance":
        yield StabilityWarning(
            "governor",
            f"the clock frequency is governed by {surroundings.governor!r}, so that it follows the load",
            "Ratios are protected, times are not: `cpupower frequency-set -g performance`",
        )
    if surroundings.on_battery:
        yield StabilityWarning("battery", "the machine runs from its battery, which slows it down", "Plug it in")
    if surroundings.speeds and min(surroundings.speeds.values()) < UNEQUAL:
        slowest = min(surroundings.speeds, key=surroundings.speeds.__getitem__)
        place = "CPU " + ", ".join(map(str, surroundings.timed)) if surroundings.timed else "where they were taken"
        yield StabilityWarning(
            "unequal-cpus",
            f"CPU {slowest} does {surroundings.speeds[slowest]:.0%} of what the fastest does: times hold for {place}",
            "Something keeps it busy, or it is of another kind: choose CPUs with taskset",
        )


def _of_backend(observation: Observation, threads: int) -> Iterator[StabilityWarning]:
    name = observation.name
    if observation.disturbed:
        yield StabilityWarning(
            "disturbed",
            f"{name} has no verdict: something else slowed {observation.left_out_share:.0%} of its blocks",
            "Close what is busy and run again",
        )
    elif observation.left_out_share > PREEMPTED:
        yield StabilityWarning(
            "preempted",
            f"something else slowed {observation.left_out_share:.0%} of {name}'s blocks, which do not count",
            "Close what is busy and run again: the other blocks may be slower too",
        )
    if observation.cpu_per_wall < CPU_PER_WALL:
        yield StabilityWarning(
            "waiting",
            f"{name} had its CPU for only {observation.cpu_per_wall:.0%} of the time",
            "Close what is busy; if nothing is, the backend waits for something",
        )
    if observation.cpu_per_wall > threads + THREADS_SLACK:
        yield StabilityWarning(
            "threads",
            f"{name} kept {observation.cpu_per_wall:.1f} CPUs busy, more than the {threads} it was given",
            "Compare it with --threads as large, or limit its threads in prepare",
        )
    if _puts_off(observation):
        share = float(np.median(observation.pending_shares))
        yield StabilityWarning(
            "lazy",
            f"{name} left {share / (1 + share):.0%} of a block's work undone when synchronize had returned",
            "Its times are too short: let synchronize wait until the values exist",
        )
    if not observation.steady:
        yield StabilityWarning(
            "not-steady",
            f"{name}'s blocks differ by more than 3 % between the beginning and the end of a launch",
            "It had not warmed up, or the machine changed its clock: run again, with --precise",
        )
    if observation.closure is not None and abs(math.log(observation.closure)) > CLOSURE:
        yield StabilityWarning(
            "closure",
            f"{name}'s phases add up to {observation.closure:.2f} of its step",
            "Trust the whole step: the phases were disturbed, or step does something else than the three verbs",
        )
    yield from _over_launches(observation)


def _puts_off(observation: Observation) -> bool:
    """Whether more work is left over than the noise of readings, in most launches: a single launch may be disturbed."""
    limit = PENDING_NOISE * max(float(np.median(observation.pending_noise or [0.0])), PENDING_LEAST)
    over = [share > limit for share in observation.pending_shares]
    return sum(over) > PENDING_LAUNCHES * len(over)


def _over_launches(observation: Observation) -> Iterator[StabilityWarning]:
    launches, name = len(observation.log_times), observation.name
    if launches >= 3:
        slopes = [
            (observation.log_times[j] - observation.log_times[i]) / (j - i)
            for i in range(launches)
            for j in range(i + 1, launches)
        ]
        drift = float(np.median(slopes)) * (launches - 1)
        if abs(drift) > DRIFT:
            yield StabilityWarning(
                "drift",
                f"{name} became {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} in the course of the run",
                "The ratios are protected against this, the times are not: run again once the machine has settled",
            )
    ratios = np.asarray(observation.log_ratios, dtype=np.float64)
    if len(ratios) >= 3:
        spread = float(np.std(ratios, ddof=1))
        if spread > LAUNCH_SD:
            yield StabilityWarning(
                "launch-spread",
                f"{name}'s ratio varies by {spread:.1%} from launch to launch",
                "The interval allows for it; --precise narrows it",
            )
        ratio = interval(ratios.tolist())
        if not ratio.low <= hodges_lehmann(ratios.tolist()) <= ratio.high:
            yield StabilityWarning(
                "outlying-launch",
                f"a few launches carry {name}'s mean ratio",
                "Look at its raw blocks in the run directory, or run again with --precise",
            )
    if len(ratios) >= LAG_ONE_LAUNCHES:
        centred = ratios - ratios.mean()
        lag = float(centred[1:] @ centred[:-1] / (centred @ centred))
        if abs(lag) > LAG_ONE:
            yield StabilityWarning(
                "correlated",
                f"{name}'s successive launches are correlated ({lag:+.2f}), so that its interval is too narrow",
                "Something on the machine changes slowly: run again on a quieter one",
            )
