"""Rates over windows of launches: counted as they would be by hand, and calibrated on simulated launches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.speed.rates import NOMINAL, Rate, window_rates, windows


def test_windows_are_disjoint_and_a_rest_is_left_out():
    found = windows([0.0, 2.0, 10.0, 12.0, 99.0], 2)
    assert [one.mean for one in found] == [1.0, 11.0]
    assert windows([1.0], 2) == []


def test_what_is_counted():
    # standard deviation 0.001: half-widths of 0.009 (two launches); 0.05 is beyond 2 %, 0.012 is not
    def pair(mean):
        return [mean - 0.001 / math.sqrt(2), mean + 0.001 / math.sqrt(2)]

    alike = [[*pair(0.0), *pair(0.05)], [*pair(-0.05), *pair(0.012)]]
    rates = window_rates(alike, [*pair(0.02), *pair(-0.02), *pair(0.0)], 2)
    assert rates.half == pytest.approx(12.706 * 0.001 / math.sqrt(2), rel=1e-3)
    assert rates.false_positives[:2] == (3, 4)
    assert rates.beyond[:2] == (2, 4)
    assert rates.found[:2] == (1, 3)
    assert rates.wrong_sign[:2] == (1, 3)


def test_no_tries_say_nothing():
    rate = Rate.of([])
    assert (rate.hits, rate.tries, rate.low, rate.high) == (0, 0, 0.0, 1.0)
    assert math.isnan(rate.share)


@pytest.mark.parametrize("launches", [3, 6, 12])
def test_normal_launches_err_as_often_as_they_should(launches):
    values = np.random.default_rng(7).normal(0.0, 0.018, size=(4, 6000)).tolist()
    rates = window_rates(values, [], launches)
    assert rates.false_positives.low <= NOMINAL <= rates.false_positives.high


def test_samples_within_a_launch_would_err_far_more_often():
    """What happens where blocks are taken for launches: the values of a window share a process, which shows."""
    generator = np.random.default_rng(8)
    shared = np.repeat(generator.normal(0.0, 0.018, 1000), 6) + generator.normal(0.0, 0.005, 6000)
    assert window_rates([shared.tolist()], [], 6).false_positives.low > 0.5
