"""Thinning hides no peak, no end, and no place where a course stops being finite."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.report.thinning import MOST_POINTS, peak_places, thin_places


@pytest.mark.parametrize("n", [1, 2, 1999, 2000, 2001, 2003, 4000, 10_002])
def test_thinning_keeps_order_ends_and_every_peak(n):
    values = np.random.default_rng(n).normal(size=n)
    values[n // 3], values[n // 2] = 100, -100
    at = thin_places(values)
    assert len(at) <= MOST_POINTS
    assert (np.diff(at) > 0).all()
    assert {0, n - 1, n // 2} <= set(at.tolist())
    assert n < 3 or n // 3 in at
    if n > 2000:
        assert at[:100].tolist() == list(range(100))


def test_thinning_shows_where_a_course_stops_being_finite():
    values = np.arange(10_000.0)
    values[4321:] = np.nan
    assert 4321 in thin_places(values)
    assert len(thin_places(np.full(10_000, np.nan))) <= MOST_POINTS


def test_the_largest_value_of_each_stretch_is_shown_at_its_place():
    values = np.ones(50_000)
    values[31_337] = 9
    at = peak_places(values, np.arange(50_000), 800)
    assert len(at) == 800
    assert at[np.argmax(values[at])] == 31_337
    assert (np.diff(at) > 0).all()


def test_only_finite_values_are_peaks():
    values = np.array([np.nan, 1.0, np.inf, 2.0])
    assert peak_places(values, np.arange(4), 800).tolist() == [1, 3]
    assert peak_places(np.full(3, np.nan), np.arange(3), 800).size == 0
