"""Which blocks count, and what they make of a launch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.speed.blocks import (
    CPU_SHARE,
    FULL_CPU_SHARE,
    LEAST_CLEAN,
    LEAST_SHARE,
    SLOWED,
    Blocks,
    at_full_speed,
    decisive,
    full_speed,
    launch_log_ratio,
    launch_log_time,
    mark_undisturbed,
    quickest,
    recorded_blocks,
)


def blocks(time_ns, clean=None) -> Blocks:
    time_ns = np.asarray(time_ns, dtype=np.float64)
    return Blocks(time_ns, np.ones(time_ns.shape, dtype=bool) if clean is None else np.asarray(clean, dtype=bool))


def test_a_launch_is_the_mean_over_instances_of_lower_quintiles_over_rounds():
    times = np.random.default_rng(0).lognormal(9, 0.3, (6, 2, 16))
    expected = np.quantile(np.log(times), 0.2, axis=2, method="median_unbiased").mean(axis=1) + math.log(1e-9)
    assert launch_log_time(blocks(times)) == pytest.approx(expected, abs=1e-12)
    other = times * np.exp(0.25)
    assert launch_log_ratio(blocks(other), blocks(times)) == pytest.approx([0.25] * 6, abs=1e-12)
    one = launch_log_time(blocks(times[0]))
    assert one.shape == ()
    assert float(one) == pytest.approx(expected[0], abs=1e-12)


def test_a_disturbance_that_hits_both_sides_of_a_round_cancels_in_the_ratio():
    machine = np.exp(np.random.default_rng(1).normal(0, 0.5, (3, 16)))
    assert float(launch_log_ratio(blocks(3e6 * machine), blocks(1e6 * machine))) == pytest.approx(math.log(3))


def test_one_long_block_that_no_counter_explains_does_not_move_the_launch():
    alike = np.full((3, 16), 1e6)
    hit = alike.copy()
    hit[1, 4] = 1e9
    assert float(launch_log_ratio(blocks(hit), blocks(alike))) == 0


def test_instances_are_averaged_since_their_layout_is_part_of_what_a_user_meets():
    other = np.stack([np.full(5, 1e6), np.full(5, 1.1e6)])
    found = launch_log_ratio(blocks(other), blocks(np.full((2, 5), 1e6)))
    assert float(found) == pytest.approx(math.log(1.1) / 2)


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


def test_a_ratio_is_of_the_clean_rounds_of_each_and_of_instances_that_both_have():
    times, theirs = np.full((1, 1, 6), 100.0), np.full((1, 1, 6), 50.0)
    mine = np.array([[[True, True, True, True, False, False]]])
    other = np.array([[[False, True, True, True, True, True]]])
    times[~mine], theirs[~other] = 1e6, 1.0
    assert launch_log_ratio(blocks(times, mine), blocks(theirs, other)) == pytest.approx([math.log(2)])
    few = np.array([[[False, False, False, False, True, True]]])
    assert np.isnan(launch_log_ratio(blocks(times, mine), blocks(theirs, few))).all()
    two, clean = np.array([[[100.0] * 6, [400.0] * 6]]), np.ones((1, 2, 6), dtype=bool)
    clean[0, 1, 1:] = False  # the second instance of one of them
    assert launch_log_ratio(blocks(two), blocks(np.full((1, 2, 6), 50.0), clean)) == pytest.approx([math.log(2)])


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


@pytest.mark.parametrize(
    ("switches", "waits", "cpu_share", "threads", "pinned", "counts"),
    [
        (0, 0, 1.0, 1, True, True),
        (1, 0, FULL_CPU_SHARE - 0.001, 1, True, False),
        (1, 0, FULL_CPU_SHARE + 0.001, 1, True, True),  # nobody else had its CPU for long
        (3, 3, 1.0, 1, True, True),  # its own threads took the CPU from each other
        (3, 3, 1.0, 1, False, False),  # with other CPUs, CPU time does not show what ran on this one
        (0, 0, CPU_SHARE - 0.01, 1, True, False),
        (0, 0, CPU_SHARE + 0.01, 1, True, True),
        (0, 1, 0.2, 1, True, True),  # it gave its CPU away itself: what it waits for is part of its step
        (0, 0, 0.2, 2, True, True),  # its threads wait for each other
        (1, 1, 1.0, 2, True, False),
        (1, 1, 2.0, 2, True, True),
    ],
)
def test_what_the_kernel_counted_decides_which_block_counts(switches, waits, cpu_share, threads, pinned, counts):
    counted = (np.array([[switches]]), np.array([[waits]]), np.array([[cpu_share * 1e6]]), np.array([[1e6]]))
    assert mark_undisturbed(*counted, threads, pinned=pinned).tolist() == [[counts]]


def test_a_segment_is_at_full_speed_where_both_probes_around_it_are():
    probes = np.array([4.0, 4.0 * SLOWED, 4.1, 8.0, 4.0, 4.0])
    assert at_full_speed(probes, 4.0).tolist() == [True, True, False, False, True]
    assert at_full_speed(probes, math.inf).all()


def test_full_speed_is_what_most_launches_reached():
    assert quickest(np.concatenate([np.full(80, 7.0), np.full(20, 4.0)])) == 4.0
    assert quickest(np.full(20, 4.0)) == 4.0
    # one launch that shared its core all the time, and one whose CPU was still allowed to clock higher
    assert full_speed([4.0, 7.0, 4.0, 3.0, 4.0]) == pytest.approx(4.0, rel=0.011)
    assert full_speed([4.0, 4.0001]) == full_speed([4.0])
    assert full_speed([]) == quickest(np.array([])) == math.inf


def neighboured(generator, launches, segments, slowdown=1.0, probed=True):
    """Log-times of launches of one instance of 16 blocks beside a neighbour that comes and goes.

    Each of the segments of 100 µs has one step. Whoever runs on the other half of the core stays for 150 µs on average,
    slows steps 1.5 times and probes 1.7 times, and is gone for 250 µs.
    """
    there = np.zeros((launches, 16, segments + 1), dtype=bool)
    there[:, :, 0] = generator.random((launches, 16)) < 0.4
    for i in range(segments):
        change = generator.random((launches, 16)) < np.where(
            there[:, :, i], 1 - math.exp(-1 / 1.5), 1 - math.exp(-1 / 2.5)
        )
        there[:, :, i + 1] = there[:, :, i] ^ change
    share = (there[:, :, :-1] + there[:, :, 1:]) / 2  # of a segment
    noise = generator.lognormal(0, 0.02, share.shape)
    steps = 1e5 * slowdown * noise * (1 + 0.5 * share)
    probes = 4000 * (1 + 0.7 * there)
    full = (
        at_full_speed(np.moveaxis(probes, -1, 0), 4000.0) if probed else np.ones((segments, launches, 16), dtype=bool)
    )
    kept = np.where(np.moveaxis(full, 0, -1), steps, np.nan)
    clean = ~np.isnan(kept).all(axis=-1)
    medians = np.where(clean, np.nanmedian(np.where(clean[..., None], kept, 1.0), axis=-1), steps.mean(axis=-1))
    return launch_log_time(Blocks(medians[:, None], clean[:, None]))


def test_leaving_out_what_probes_show_narrows_and_does_not_bias():
    generator = np.random.default_rng(7)
    alone = math.log(1e5 * 1e-9) - 0.012  # the lower quintile of medians of a few steps that vary by 2 %
    by_probes, without = neighboured(generator, 2000, 3), neighboured(generator, 2000, 3, probed=False)
    assert np.nanstd(by_probes) < 0.4 * np.nanstd(without)
    assert abs(np.nanmean(by_probes) - alone) < 0.005
    # a planted slowdown is seen as it is, and a backend with other segments is not made faster than itself
    slower = neighboured(generator, 2000, 3, slowdown=1.02)
    error = np.nanstd(by_probes) * math.sqrt(2 / 2000)
    assert abs(np.nanmean(slower) - np.nanmean(by_probes) - math.log(1.02)) < 4 * error


def test_a_number_rests_on_the_quickest_clean_blocks_of_each_instance():
    times = np.array([[10.0, 11, 12, 13, 14, 15, 16, 17, 18, 19], [30, 29, 28, 27, 26, 25, 24, 23, 22, 21]])
    clean = times != 10.0
    assert decisive(blocks(times, clean)).nonzero()[1].tolist() == [1, 2, 8, 9]
    assert decisive(blocks(times, times < 0)).sum() == 4  # none is clean: those of all
    assert decisive(blocks(times[:, :2])).tolist() == [[True, False], [False, True]]


def test_a_launch_of_which_too_little_is_left_is_disturbed():
    rounds = 20
    least = round(LEAST_SHARE * rounds)
    times, clean = np.full((1, rounds), 100.0), np.arange(rounds)[None] < least
    assert float(launch_log_time(blocks(times, clean))) == pytest.approx(math.log(100e-9))
    clean[0, least - 1] = False
    assert least - 1 >= LEAST_CLEAN  # so that it is the share that is missing
    assert math.isnan(float(launch_log_time(blocks(times, clean))))
    assert math.isnan(float(launch_log_ratio(blocks(times, clean), blocks(times))))


def bias(found) -> float:
    """By how many standard errors the mean over launches differs from the true ratio below."""
    found = found[np.isfinite(found)]
    assert len(found) > 500
    return (found.mean() - math.log(1.1)) / (found.std(ddof=1) / math.sqrt(len(found)))


@pytest.mark.thorough
def test_leaving_out_by_counters_does_not_bias_and_leaving_out_what_is_slow_would():
    """One backend takes 10 % longer and is interrupted more often than the other."""
    generator = np.random.default_rng(14)
    shape = (2000, 3, 16)

    def timed(usual, often):
        time_ns, hit = usual * np.exp(generator.normal(0, 0.05, shape)), generator.random(shape) < often
        return time_ns + hit * generator.exponential(2 * usual, shape), ~hit

    mine, other = timed(1.1e4, 0.5), timed(1e4, 0.02)
    assert abs(bias(launch_log_ratio(blocks(*mine), blocks(*other)))) < 3.5
    assert bias(launch_log_ratio(blocks(mine[0]), blocks(other[0]))) > 10  # were all of them to count

    def without_slow(time_ns, often):
        return blocks(time_ns, time_ns <= np.quantile(time_ns, 1 - 2 * often, axis=-1, keepdims=True))

    # who is thought to be interrupted more loses more of its own slow blocks, and looks faster than it is
    same = timed(1.1e4, 0.0)[0]
    assert bias(launch_log_ratio(without_slow(same, 0.4), without_slow(other[0], 0.02))) < -10


def test_neighbours_that_only_slow_blocks_leave_the_ratio_where_it_is():
    """A third of the time something slows both, one of them more than the other, and no counter tells."""
    generator = np.random.default_rng(15)
    shape = (500, 3, 16)
    slow = generator.random(shape) < 1 / 3
    times = [
        usual * np.exp(generator.normal(0, 0.01, shape)) * np.where(slow, by, 1.0)
        for usual, by in ((2e4, 1.9), (1e4, 1.4))
    ]
    found = launch_log_ratio(blocks(times[0]), blocks(times[1]))
    assert found.mean() == pytest.approx(math.log(2), abs=0.002)
