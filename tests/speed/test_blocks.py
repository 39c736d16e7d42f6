"""Which blocks count, and what they make of a launch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.speed.blocks import LEAST_CLEAN, Blocks, launch_log_ratio, launch_log_time, recorded_blocks


def blocks(time_ns, clean=None) -> Blocks:
    time_ns = np.asarray(time_ns, dtype=np.float64)
    return Blocks(time_ns, np.ones(time_ns.shape, dtype=bool) if clean is None else np.asarray(clean, dtype=bool))


def test_a_launch_is_the_mean_over_instances_of_medians_over_rounds():
    times = np.random.default_rng(0).lognormal(9, 0.3, (6, 2, 16))
    expected = np.median(np.log(times), axis=2).mean(axis=1) + math.log(1e-9)
    assert launch_log_time(blocks(times)) == pytest.approx(expected, abs=1e-12)
    other = times * np.exp(0.25)
    assert launch_log_ratio(blocks(other), blocks(times)) == pytest.approx([0.25] * 6, abs=1e-12)
    one = launch_log_time(blocks(times[0]))
    assert one.shape == ()
    assert float(one) == pytest.approx(expected[0], abs=1e-12)


def test_interrupted_blocks_do_not_count_and_slow_ones_do():
    times = np.full((1, 1, 5), 100.0)
    times[0, 0, :2] = 900.0
    clean = np.ones(times.shape, dtype=bool)
    clean[0, 0, :2] = False
    assert launch_log_time(blocks(times, clean)) == pytest.approx([math.log(100e-9)])
    times[0, 0, :] = [900, 900, 900, 100, 100]
    clean[0, 0, :] = [True, True, True, False, False]
    assert launch_log_time(blocks(times, clean)) == pytest.approx([math.log(900e-9)])


def test_an_instance_needs_clean_rounds_and_a_launch_an_instance():
    times = np.array([[[100.0] * 6, [400.0] * 6]])
    clean = np.ones(times.shape, dtype=bool)
    clean[0, 1, LEAST_CLEAN - 1 :] = False
    assert launch_log_time(blocks(times, clean)) == pytest.approx([math.log(100e-9)])
    clean[0, 1, LEAST_CLEAN - 1] = True
    assert launch_log_time(blocks(times, clean)) == pytest.approx([math.log(200e-9)])
    clean[...] = False
    assert np.isnan(launch_log_time(blocks(times, clean))).all()


def test_a_ratio_is_of_rounds_that_are_clean_for_both():
    times, theirs = np.full((1, 1, 6), 100.0), np.full((1, 1, 6), 50.0)
    mine = np.array([[[True, True, True, True, False, False]]])
    both = np.array([[[False, True, True, True, True, True]]])
    times[~mine], theirs[~both] = 1e6, 1.0
    assert launch_log_ratio(blocks(times, mine), blocks(theirs, both)) == pytest.approx([math.log(2)])
    few = np.array([[[False, False, True, True, True, True]]])
    assert np.isnan(launch_log_ratio(blocks(times, mine), blocks(theirs, few))).all()


def test_a_schedule_of_fewer_rounds_needs_them_all():
    times = np.full((2, 1, 2), 100.0)
    clean = np.ones(times.shape, dtype=bool)
    clean[1, 0, 0] = False
    found = launch_log_time(blocks(times, clean))
    assert found[0] == pytest.approx(math.log(100e-9))
    assert math.isnan(found[1])


@pytest.mark.parametrize("odd", [0.0, -5.0, math.nan, math.inf])
def test_a_time_that_is_no_positive_number_does_not_count(odd):
    times = np.full((1, 1, 4), 100.0)
    times[0, 0, 1] = odd
    assert launch_log_time(blocks(times)) == pytest.approx([math.log(100e-9)])


def test_records_of_both_kinds_are_read():
    wall = np.arange(1, 25).reshape(2, 3, 4) * 1000
    old = recorded_blocks({"block_wall_ns": wall}, 8)
    assert old is not None
    assert old.clean.all()
    assert old.time_ns == pytest.approx(wall / 8)
    clean = wall % 3000 > 0
    new = recorded_blocks({"block_wall_ns": wall, "block_time_ns": wall / 7, "block_clean": clean}, 0)
    assert new is not None
    assert new.time_ns == pytest.approx(wall / 7)
    assert (new.clean == clean).all()


@pytest.mark.parametrize(
    ("arrays", "steps"),
    [
        ({}, 8),
        ({"block_wall_ns": np.ones((2, 2, 2))}, 0),
        ({"block_wall_ns": np.ones((0, 2, 2))}, 8),
        ({"block_wall_ns": np.ones((2, 2))}, 8),
        ({"block_time_ns": np.ones((2, 2, 2)), "block_clean": np.ones((2, 2, 3), dtype=bool)}, 8),
    ],
)
def test_where_there_are_no_blocks_none_are_read(arrays, steps):
    assert recorded_blocks(arrays, steps) is None


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="not of one run"):
        launch_log_ratio(blocks(np.ones((3, 1, 4))), blocks(np.ones((2, 1, 4))))
    with pytest.raises(ValueError, match="marks of shape"):
        blocks(np.ones((1, 2)), np.ones((1, 3)))
