"""Who runs when, for how many steps, from which weights, and when to stop.

All backends time the same steps from the same weights, in short blocks that alternate in random order: step
time depends on the weights (1.2 times slower at |w| ~ 1 than at 0 where exp takes its short paths) and on what
the machine does just then, and only blocks taken side by side share both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from compare_ag.speed.statistics import LogInterval
from compare_ag.speed.verdicts import MARGIN

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

BLOCK_NS = 500_000
"""aimed length of the fastest backend's block: short enough to be rarely preempted, 10^4 clock readings long"""
SLOWEST_BLOCK_NS = 5_000_000
LEAST_STEPS = 8
"""What surrounds a block costs 9 µs (numpy) to 36 µs (torch) where large data have just pushed its code out of the
caches: 3 to 6 % of one step of 300 to 650 µs, less than 1 % of eight or of the seven that `SLOWEST_BLOCK_NS` admits."""
LEAD_IN = 0.4
"""untimed steps before each block, as a share of it: caches and branch predictors find their state"""
LEAST_LEAD_IN = 4
LONGEST_LEAD_IN_NS = 10_000_000
"""Data of 8 MB that another process's block has pushed out of the caches need more than one pass to come back: after
one untimed step, the next two of torch were 44 % slower than after twelve, of numpy 25 %; after two to four, steady.
Steps so slow that four take longer than this warm their own caches."""
PERTURBATION = 1e-3
LEAST_ROUNDS = 5
CHECKPOINTS = ("start", "middle", "end")


@dataclass(frozen=True)
class Settings:
    """What a user can choose about timing, and the numbers that follow from the choice."""

    mode: str
    budget_seconds: float
    """for the whole timing part; the least launches may need more"""
    target: float
    """stop when every pair's half-width (as log-ratio) is at most this"""
    least_launches: int
    """a first look at a variance is no basis for stopping"""
    bare_imports: int
    """bare processes in which each import is measured"""
    instances: int = 3
    rounds: int = 17
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
class Plan:
    """The same for every backend and launch of a run, from the launch that does not count."""

    steps: int
    """timed steps in a block"""
    lead_in: int
    """untimed steps before it"""
    instances: int
    rounds: int

    @property
    def phased_rounds(self) -> int:
        """Rounds of phased blocks in an instance: phases are secondary."""
        return self.rounds // 2


def plan(step_ns: Sequence[float], settings: Settings) -> Plan:
    """Choose the block, and what a launch holds, from each backend's rough nanoseconds per step.

    A block is about `BLOCK_NS` for the fastest but at least `LEAST_STEPS`, at most `SLOWEST_BLOCK_NS` for the slowest,
    at least one step: all sides time the same window of the training, and a long window is one in which the state
    drifts. Where steps are so slow that a launch would not fit into its share of the budget, rounds give way first,
    then instances.
    """
    fastest, slowest = min(step_ns), max(step_ns)
    steps = max(1, min(max(LEAST_STEPS, round(BLOCK_NS / fastest)), int(SLOWEST_BLOCK_NS / slowest)))
    lead_in = max(1, round(LEAD_IN * steps), min(LEAST_LEAD_IN, int(LONGEST_LEAD_IN_NS / slowest)))
    one_round = 1.5 * (steps + lead_in) * sum(step_ns) * 1e-9
    affordable = settings.budget_seconds / (settings.least_launches + 1) / one_round
    rounds = max(min(LEAST_ROUNDS, settings.rounds), min(settings.rounds, int(affordable / settings.instances)))
    return Plan(steps, lead_in, max(1, min(settings.instances, int(affordable / rounds))), rounds)


def orders(names: Sequence[str], rounds: int, generator: np.random.Generator) -> Iterator[list[str]]:
    """Yield for each round the backends in a fresh random order."""
    for _ in range(rounds):
        yield [names[i] for i in generator.permutation(len(names))]


def perturbed(w: Array, b: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    """Nearby weights in the same regime and dtype: each round's own, so that no answer can be remembered.

    Zeros, as at many a start, become small numbers: a thousandth of a thousandth.
    """

    def near(array: Array) -> Array:
        noise = PERTURBATION * generator.standard_normal(array.shape)
        return np.asarray(np.where(array == 0, PERTURBATION * noise, array * (1 + noise)), dtype=array.dtype)

    return near(w), near(b)


def enough(settings: Settings, found: Sequence[LogInterval], seconds: float, per_launch: float) -> str | None:
    """Why to stop after these intervals (all of one number of launches): "width", "budget", "launches" or None.

    Only on widths and on time, never on what the intervals say: who stops when a difference looks significant finds
    differences that are not there.
    """
    launches = min((one.launches for one in found), default=0)
    if launches < min(settings.least_launches, settings.most_launches):
        return None
    if all(one.half <= settings.target for one in found):
        return "width"
    if launches >= settings.most_launches:
        return "launches"
    return "budget" if seconds + per_launch > settings.budget_seconds else None
