"""Launches of one run against those of another: the interval covers, and a yardstick takes the machine's mood out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.speed.between import between, joint_floor
from compare_ag.speed.student import clopper_pearson


def test_a_case_by_hand():
    # variances 1 and 1, three values each: s² = 2/3, ν = 4, t(0.975, 4) = 2.776445
    found = between([0, 1, 2], [10, 11, 12])
    assert found.mean == 10
    assert found.half == pytest.approx(2.776445 * math.sqrt(2 / 3), rel=1e-6)


def test_the_noisier_sample_sets_the_degrees_of_freedom():
    # all the variance is in the second sample of 3: ν = 2, t(0.975, 2) = 4.302653, s² = 1/3
    found = between([5.0] * 40, [0, 1, 2])
    assert found.half == pytest.approx(4.302653 * math.sqrt(1 / 3), rel=1e-6)


@pytest.mark.parametrize(("before", "after"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([1.0], [2.0])])
def test_one_launch_gives_no_interval(before, after):
    assert between(before, after).half == math.inf


def test_values_without_spread_give_a_point():
    assert between([1.0, 1.0], [3.0, 3.0]) == (2.0, 0.0, 2)


def covered(draw, tries=1500) -> float:
    """The share of intervals that hold the true difference, 0."""
    generator = np.random.default_rng(5)
    found = (between(*draw(generator)) for _ in range(tries))
    return sum(one.low <= 0 <= one.high for one in found) / tries


@pytest.mark.parametrize("sizes", [(6, 6), (3, 12), (12, 4)])
def test_the_interval_covers_in_95_percent_whatever_sizes_and_spreads(sizes):
    share = covered(lambda g: (g.normal(0, 0.01, sizes[0]), g.normal(0, 0.04, sizes[1])))
    low, high = clopper_pearson(round(0.95 * 1500), 1500, 0.999)
    assert low <= share <= high + 0.02  # rounding the degrees of freedom down makes it a little wider


def test_only_relative_to_a_yardstick_do_intervals_survive_the_mood_of_the_machine():
    """Two runs of equal backends; each run's mood multiplies all its times by up to some 5 %."""

    def runs(generator, yardstick):
        for _ in range(2):
            mood, launch = generator.normal(0, 0.05), generator.normal(0, 0.01, 8)
            mine, other = (mood + launch + generator.normal(0, 0.005, 8) for _ in range(2))
            yield mine - other if yardstick else mine

    assert covered(lambda g: runs(g, yardstick=True), 400) > 0.93
    assert covered(lambda g: runs(g, yardstick=False), 400) < 0.4


def test_floors_add_up_at_worst_and_an_unknown_one_allows_nothing():
    assert joint_floor(0.01, 0.02) == pytest.approx(1.01 * 1.02 - 1)
    assert joint_floor(0.0, 0.0) == 0
    assert joint_floor(0.01, None) == math.inf
