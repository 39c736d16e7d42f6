"""Costs that a run has once, and when they pay off: steps until steady, the cold start, the break-even step count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

LEAK_BYTES = 100_000.0
"""growth per 1,000 steps beyond which memory leaks: 100 bytes a step"""
STEADY = 0.05
"""Steps count as steady when they stay within this of the steady time."""
WINDOW = 9
"""consecutive steps whose median is taken: single steps are preempted"""


def steps_to_steady(launches: Sequence[ArrayLike]) -> int | None:
    """Steps before the times of a fresh process settle; None where they do not settle within the recorded steps.

    launches: for each launch the nanoseconds of its first steps one by one; as many steps are used as all launches
    have. Each launch is divided by its own steady time, the median of its last third; the median over launches is then
    insensitive to preemption in one of them. The times settle at the step from which on all medians over a `WINDOW` lie
    within `STEADY` of 1, provided that a third of the steps comes after it.
    """
    length = min((len(np.asarray(launch)) for launch in launches), default=0)
    if length < 3 * WINDOW:
        return None
    times = np.array([np.asarray(launch, dtype=np.float64)[:length] for launch in launches])
    times /= np.median(times[:, -(length // 3) :], axis=1, keepdims=True)
    usual = np.median(times, axis=0)
    windows = np.median(np.lib.stride_tricks.sliding_window_view(usual, WINDOW), axis=1)
    unsteady = np.flatnonzero(np.abs(windows - 1) > STEADY)
    first = 0 if not len(unsteady) else int(unsteady[-1]) + WINDOW // 2 + 1
    return first if first <= length - length // 3 else None


def excess_ns(step_ns: ArrayLike) -> float:
    """Nanoseconds that the first steps (T,) took beyond T steady steps, the median of the last third; at least 0."""
    times = np.asarray(step_ns, dtype=np.float64)
    if not len(times):
        return 0.0
    steady = float(np.median(times[-max(1, len(times) // 3) :]))
    return max(0.0, float(np.sum(times - steady)))


def break_even_steps(cold: float, step: float, other_cold: float, other_step: float) -> float | None:
    """Steps after which the backend with the cheaper step has made up for its dearer start; None for equal steps.

    The total time after N steps is cold + N step. 0 where the cheaper step comes with the cheaper start.
    """
    if step == other_step:
        return None
    return max(0.0, (cold - other_cold) / (other_step - step))
