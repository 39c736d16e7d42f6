"""The order of the backends, the length of their blocks, their weights, and when to stop.

All backends time the same steps from the same weights, in short blocks that alternate in random order. A step's time
depends on the weights (1.2 times as long at |w| ~ 1 as at 0, where exp takes short paths) and on the momentary state of
the machine; only blocks side by side share both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from compare_ag.speed.pair_verdicts import MARGIN
from compare_ag.speed.statistics import LogInterval

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

BLOCK_NS = 700_000
"""aimed length of every backend's block: short enough to be rarely interrupted, where a scheduler's slice is 3 ms"""
SEGMENT_NS = 100_000
"""aimed distance of two probes of the CPU's speed: neighbours on the same core come and go within 40 to 250 µs"""
MOST_STEPS = 1024
"""in a block"""
LEAD_IN = 16
"""Untimed steps before each block at least: another process has had the CPU, and caches and branch predictors
recover step by step. An autograd step of 212 µs took 268, 242, 232, 226, 222, 217 and 214 as the 2nd, 3rd, 4th,
5th, 7th, 10th and 17th, a numpy step of 11.3 µs 17.5, 13.2, 12.0, 11.6 and 11.5 as the 2nd to 5th and 7th; data of 8 MB
are back after two to four."""
LEAST_LEAD_IN_NS = 300_000
LONGEST_LEAD_IN_NS = 10_000_000
"""slow steps may have fewer than `LEAD_IN` steps of lead-in: they warm their own caches"""
UNPREDICTABLE = 0.3
"""how much the steps of a block, and of its lead-in, vary from round to round, so that none can be made beforehand"""
PERTURBATION = 1e-2
"""of each weight: enough for a block to undo where the training has converged, so that its results show its updates
(at 10000 x 100 in float32 a thousandth was 0.05 to 0.2 tolerances), and still the same regime"""
LEAST_ROUNDS = 8
INSTANCE_SHARE = 1.0
"""the least time of a launch's blocks, as a share of the time that its workers need to start: on a busy machine starts
take longer, and fewer blocks are clean"""
AROUND_BLOCK_NS = 700_000
"""the time of a block beside its steps: the request, restoring the weights, the reply"""


@dataclass(frozen=True)
class Settings:
    """The user's choice for timing, and the numbers that follow from it."""

    mode: str
    budget_seconds: float
    """for the whole timing part; the least number of launches may need more"""
    target: float
    """stop when every pair's half-width (as log-ratio) is at most this"""
    least_launches: int
    """before timing may stop: a variance from fewer launches is too uncertain"""
    bare_imports: int
    """bare processes in which each import is measured"""
    instances: int = 3
    """at least; more where a launch's workers are slow to start"""
    most_instances: int = 4
    rounds: int = 11
    """per instance; the first is discarded, since data have just been made"""
    most_launches: int = 10_000
    margin: float = MARGIN
    checkpoint: str = "middle"


MODES = {
    "quick": Settings("quick", budget_seconds=10.0, target=0.01, least_launches=3, bare_imports=1, instances=2),
    "default": Settings("default", budget_seconds=20.0, target=0.01, least_launches=6, bare_imports=1),
    "precise": Settings("precise", budget_seconds=900.0, target=0.005, least_launches=10, bare_imports=3),
}


@dataclass(frozen=True)
class Length:
    """The average length of a backend's blocks."""

    steps: int
    """timed"""
    lead_in: int
    """untimed, before them"""
    segment: int = 0
    """steps after which the CPU's speed is probed; 0: before and after the block only"""

    def varied(self, by: float, lead_by: float) -> Length:
        """A block ``by`` times as long, with a lead-in ``lead_by`` times as long."""
        return Length(max(1, round(self.steps * by)), max(1, round(self.lead_in * lead_by)), self.segment)


@dataclass(frozen=True)
class Plan:
    """The plan of every launch of a run, made from a first launch that does not count."""

    lengths: Mapping[str, Length]
    """of the blocks, by the contestant's name"""
    instances: int
    rounds: int

    @property
    def phased_rounds(self) -> int:
        """Rounds of phased blocks in an instance; fewer than others, because phases are secondary."""
        return max(2, self.rounds // 4)


def length(step_ns: float, *, probed: bool = True) -> Length:
    """The block of a backend whose step takes about so many nanoseconds; all backends' blocks take the same time.

    So all backends are interrupted equally seldom, and a slow backend does not shorten the others' blocks. A step
    longer than a block cannot be cut. probed: whether probes of the CPU's speed may interrupt the steps; asynchronous
    work would go on during a probe.
    """
    steps = min(MOST_STEPS, max(1, round(BLOCK_NS / step_ns)))
    lead_in = min(max(LEAD_IN, round(LEAST_LEAD_IN_NS / step_ns)), int(LONGEST_LEAD_IN_NS / step_ns), MOST_STEPS)
    return Length(steps, max(1, lead_in), max(1, round(SEGMENT_NS / step_ns)) if probed else 0)


def plan(
    step_ns: Mapping[str, float],
    settings: Settings,
    start_seconds: float = 0.0,
    twins: int = 0,
    unprobed: Collection[str] = (),
) -> Plan:
    """Choose the blocks, and their number in a launch, from each contestant's rough nanoseconds per step.

    start_seconds: the time of a launch before its blocks: where it is long, more instances narrow the interval in less
    time than another launch takes. twins: contestants that run twice in a launch. unprobed: contestants whose steps
    must not be interrupted.

    Where steps are so slow that a launch would not fit into its share of the budget, first rounds are reduced, then
    instances.
    """
    lengths = {name: length(nanoseconds, probed=name not in unprobed) for name, nanoseconds in step_ns.items()}
    steps_ns = sum((blocks.steps + blocks.lead_in) * step_ns[name] for name, blocks in lengths.items())
    one_round = 1e-9 * (steps_ns + AROUND_BLOCK_NS * len(lengths)) * (1 + twins / max(1, len(lengths)))
    affordable = settings.budget_seconds / (settings.least_launches + 1) / max(one_round, 1e-9)
    worthwhile = round(INSTANCE_SHARE * start_seconds / (one_round * settings.rounds)) if one_round else 0
    instances = max(settings.instances, min(settings.most_instances, worthwhile))
    rounds = max(min(LEAST_ROUNDS, settings.rounds), min(settings.rounds, int(affordable / instances)))
    return Plan(lengths, max(1, min(instances, int(affordable / rounds))), rounds)


def orders(names: Sequence[str], rounds: int, generator: np.random.Generator) -> Iterator[list[str]]:
    """Yield for each round the backends in a fresh random order."""
    for _ in range(rounds):
        yield [names[i] for i in generator.permutation(len(names))]


def perturb(w: Array, b: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    """Nearby weights in the same regime and dtype, new in each round, so that a backend cannot return a stored answer.

    Zeros, as at a usual start, become small numbers: a hundredth of a hundredth.
    """

    def near(array: Array) -> Array:
        noise = PERTURBATION * generator.standard_normal(array.shape)
        return np.asarray(np.where(array == 0, PERTURBATION * noise, array * (1 + noise)), dtype=array.dtype)

    return near(w), near(b)


def enough(
    settings: Settings, estimates: Sequence[LogInterval], launches: int, seconds: float, per_launch: float
) -> str | None:
    """Why to stop after so many launches with these intervals: "width", "budget", "launches" or None.

    The decision depends on widths and time, never on the means: stopping when a difference looks significant produces
    false differences. An interval rests on the undisturbed launches, of which there must be the least number too, as
    long as the budget lasts.
    """
    if launches < min(settings.least_launches, settings.most_launches):
        return None
    rested = min((estimate.launches for estimate in estimates), default=0)
    if rested >= settings.least_launches and all(estimate.half <= settings.target for estimate in estimates):
        return "width"
    if launches >= settings.most_launches:
        return "launches"
    return "budget" if seconds + per_launch > settings.budget_seconds else None
