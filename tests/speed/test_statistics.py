"""From launches to an interval that covers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.speed.statistics import hodges_lehmann, interval, rms_interval, simultaneous_level
from compare_ag.speed.student import chi_square_quantile, clopper_pearson, t_quantile


def test_the_interval_is_students_over_launches():
    found = interval([0.01, 0.02, 0.03])
    assert found.mean == pytest.approx(0.02)
    assert found.half == pytest.approx(4.302652729749464 * 0.01 / math.sqrt(3))
    assert interval([0.01]).half == math.inf


@pytest.mark.parametrize("launches", [3, 6, 10, 40])
def test_the_interval_covers_as_often_as_it_says(launches):
    generator = np.random.default_rng(launches)
    tries = 4000
    missed = sum(abs(found.mean) > found.half for found in map(interval, generator.normal(0, 0.017, (tries, launches))))
    low, high = clopper_pearson(missed, tries, 0.999)
    assert low <= 0.05 <= high


def test_blocks_of_one_launch_would_not_cover_which_is_why_launches_count():
    """A process component of 1.7 % with 1 % of noise inside: intervals over blocks accuse a backend of itself."""
    generator = np.random.default_rng(1)
    launches = generator.normal(0, 0.017, (400, 1)) + generator.normal(0, 0.01, (400, 48))
    missed = sum(abs(found.mean) > found.half for found in map(interval, launches))
    assert missed > 0.5 * 400


def test_stopping_at_a_width_keeps_the_coverage():
    """Launch until the half-width is at most 1 %, six launches at least, as a default run does."""
    generator = np.random.default_rng(2)
    tries, missed = 1000, 0
    for _ in range(tries):
        values = list(generator.normal(0, 0.02, 6))
        while interval(values).half > 0.01:
            values.append(generator.normal(0, 0.02))
        found = interval(values)
        missed += abs(found.mean) > found.half
    assert (
        missed / tries < 0.09
    )  # a little more than 5 %: known of sequential intervals, and far from significance hunting


def test_intervals_of_a_family_hold_together():
    generator = np.random.default_rng(3)
    level, tries = simultaneous_level(6), 2000
    values = generator.normal(0, 0.02, (tries, 6, 8))
    missed = sum(any(abs(one.mean) > one.half for one in (interval(v, level) for v in family)) for family in values)
    assert clopper_pearson(missed, tries, 0.999)[0] <= 0.05


def test_hodges_lehmann_resists_what_moves_a_mean():
    values = [0.0, 0.001, -0.001, 0.0005, -0.0005, 3.0]
    assert abs(hodges_lehmann(values)) < 0.01 < np.mean(values)


def test_quantiles_are_those_of_the_tables():
    # Student's t: any printed table; chi-square and Clopper-Pearson likewise
    assert t_quantile(0.975, 1) == pytest.approx(12.706204736432095, rel=1e-9)
    assert t_quantile(0.975, 9) == pytest.approx(2.2621571627409915, rel=1e-9)
    assert t_quantile(0.975, 1000) == pytest.approx(1.9623390808264078, rel=1e-9)
    assert t_quantile(0.9999, 5) == pytest.approx(9.677566296018245, rel=1e-6)
    assert t_quantile(0.5, 7) == pytest.approx(0, abs=1e-6)
    assert chi_square_quantile(0.95, 10) == pytest.approx(18.307038053275146, rel=1e-9)
    assert chi_square_quantile(0.025, 40) == pytest.approx(24.433039170807977, rel=1e-9)
    assert clopper_pearson(13, 13) == (pytest.approx(0.7529474), 1.0)
    assert clopper_pearson(0, 100) == (0.0, pytest.approx(0.0362167, rel=1e-5))
    assert clopper_pearson(50, 1000) == (pytest.approx(0.0373353, rel=1e-5), pytest.approx(0.0653905, rel=1e-5))


@pytest.mark.parametrize(("p", "df"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_a_quantile_that_does_not_exist_is_refused(p, df):
    with pytest.raises(ValueError, match="t_quantile"):
        t_quantile(p, df)


def test_the_interval_of_an_rms_covers():
    generator = np.random.default_rng(4)
    covered = 0
    for errors in generator.normal(0, 0.5, (500, 40)):
        rms, low, high = rms_interval(list(errors))
        assert low < rms < high
        covered += low <= 0.5 <= high
    low, high = clopper_pearson(covered, 500, 0.999)
    assert low <= 0.95 <= high
