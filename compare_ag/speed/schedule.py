"""Who runs when, for how many steps, from which weights.

All backends time the same steps from the same weights, in short bursts that alternate in random order: step
time depends on the weights (1.2 times slower at |w| ~ 1 than at 0 where exp takes its short paths) and on what
the machine does just then, and only bursts taken side by side share both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

BLOCK_NS = 500_000
"""aimed length of the fastest backend's burst: short enough to be rarely preempted, 10^4 clock readings long"""
SLOWEST_BLOCK_NS = 20_000_000
LEAD_IN = 0.4
"""untimed steps before each burst, as a share of it: caches and branch predictors find their state"""
PERTURBATION = 1e-3


@dataclass(frozen=True)
class Plan:
    """The same for every backend of a run."""

    rounds: int
    steps: int
    """timed steps in a burst"""
    lead_in: int
    """untimed steps before it"""


def plan(step_ns: list[float], budget_seconds: float, rounds: int = 25, at_least: int = 5) -> Plan:
    """Choose burst length and number of rounds from each backend's rough nanoseconds per step.

    The burst is about `BLOCK_NS` for the fastest and at most `SLOWEST_BLOCK_NS` for the slowest; rounds are cut
    where ``rounds`` of them (a fused and a phased burst each) would exceed the budget.
    """
    fastest, slowest = min(step_ns), max(step_ns)
    steps = max(1, min(round(BLOCK_NS / fastest), int(SLOWEST_BLOCK_NS / slowest)))
    lead_in = max(1, round(LEAD_IN * steps))
    one_round = 2 * (steps + lead_in) * sum(step_ns) * 1e-9
    return Plan(max(at_least, min(rounds, int(budget_seconds / one_round))), steps, lead_in)


def orders(names: list[str], rounds: int, generator: np.random.Generator) -> Iterator[list[str]]:
    """Yield for each round the backends in a fresh random order."""
    for _ in range(rounds):
        yield [names[i] for i in generator.permutation(len(names))]


def perturbed(w: Array, b: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    """Nearby weights in the same regime and dtype: each round's own, so that no answer can be remembered."""

    def near(array: Array) -> Array:
        factor = 1 + PERTURBATION * generator.standard_normal(array.shape)
        return np.asarray(array * factor, dtype=array.dtype)

    return near(w), near(b)
