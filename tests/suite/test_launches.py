"""From workers' blocks to one number per launch: which steps count, and that each further launch is heard."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from compare_ag.host.session import TimedBlock
from compare_ag.suite.launches import Bench, Launches, LaunchResult
from compare_ag.worker.messages import Timed

FULL, SHARED = 4000, 7000
"""what a probe takes"""
STEP = 100_000


def bench(probe_ns, steps_ns=(STEP, STEP, 3 * STEP, 3 * STEP), rounds=6, threads=1, switches=0, waits=0) -> Bench:
    """Equal blocks of four steps in segments of two, with three probes."""
    wall = sum(steps_ns)
    timed = Timed(wall, STEP, 10, wall + STEP, wall, wall, switches, waits, 0, [])
    block = TimedBlock(timed, 2 * wall, 4, 1, np.array(steps_ns), np.array(probe_ns), 2)
    nothing: Any = None
    return Bench(nothing, nothing, nothing, threads, blocks=[[block] * rounds])


def launches(*benches: Bench) -> Launches:
    made = Launches()
    for worker in benches:
        made.add(LaunchResult(0, {"mine": worker}, 1.0))
    return made


def times(made: Launches) -> list[float]:
    """Steps of each launch, in units of a step at full speed."""
    return [math.exp(made.log_time("mine", launch)) * 1e9 / STEP for launch in made]


def test_steps_beside_a_slow_probe_do_not_count():
    made = launches(bench([FULL, FULL, SHARED]))
    assert made.timed_by("mine") == "steps"
    assert times(made) == pytest.approx([1.0])
    (launch,) = made
    assert (made.full_speed("mine", launch) == 0.5).all()


def test_with_several_threads_all_steps_count():
    assert times(launches(bench([FULL, FULL, SHARED], threads=2))) != pytest.approx([1.0])


def test_where_a_backend_waits_for_a_thread_of_its_own_all_steps_count():
    probes = [FULL, FULL, SHARED]
    assert times(launches(bench(probes, waits=3))) == times(launches(bench(probes, threads=2)))


def test_a_block_without_a_segment_at_full_speed_has_a_time_and_does_not_count():
    made = launches(bench([FULL, FULL, FULL]), bench([SHARED, SHARED, SHARED]))
    _, shared = made
    blocks = made.blocks("mine", shared)
    assert np.isfinite(blocks.time_ns).all()
    assert not blocks.clean.any()
    assert math.isnan(times(made)[1])


def test_a_launch_that_was_seldom_at_full_speed_does_not_count():
    half, third = bench([FULL, FULL, SHARED]), bench([SHARED, SHARED, SHARED])
    third.blocks[0][0] = half.blocks[0][0]
    assert np.isfinite(times(launches(half, third))).tolist() == [True, False]


def test_what_full_speed_is_follows_from_all_launches_so_far():
    made = launches(bench([SHARED, SHARED, SHARED]))
    assert np.isfinite(times(made)).all()  # nothing quicker is known
    made.add(LaunchResult(0, {"mine": bench([FULL, FULL, FULL])}, 1.0))
    assert np.isfinite(times(made)).tolist() == [False, True]
    made.clear()
    assert len(made) == 0
    made.add(LaunchResult(0, {"mine": bench([SHARED, SHARED, SHARED])}, 1.0))
    assert np.isfinite(times(made)).all()


def test_an_interrupted_block_does_not_count_however_fast_the_cpu_was():
    assert np.isnan(times(launches(bench([FULL, FULL, FULL], switches=1)))).all()
