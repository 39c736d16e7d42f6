"""From an interval to a word, and what the noise floor forbids."""

from __future__ import annotations

import math

import pytest

from compare_ag.speed.costs import break_even_steps, excess_ns, steps_to_steady
from compare_ag.speed.pair_verdicts import at_least, decide, launches_needed, noise_floor
from compare_ag.speed.statistics import LogInterval


@pytest.mark.parametrize(
    ("mean", "half", "word"),
    [
        (0.10, 0.05, "slower"),
        (-0.10, 0.05, "faster"),
        (0.005, 0.01, "equivalent"),
        (0.0, 0.05, "inconclusive"),
        (0.03, 0.005, "slower"),
        (0.03, 0.02, "inconclusive"),
        (0.0, math.inf, "inconclusive"),
        (math.nan, 0.1, "inconclusive"),
    ],
)
def test_the_whole_interval_decides(mean, half, word):
    assert decide(LogInterval(mean, half, 10)).verdict == word


@pytest.mark.parametrize("mean", [0.1, -0.1, 0.0])
def test_no_verdict_is_stronger_than_the_noise_floor(mean):
    found = LogInterval(mean, 0.01, 10)
    free, held = decide(found, floor=0.005), decide(found, floor=0.2)
    assert free.verdict != "inconclusive"
    assert not free.limited_by_noise_floor
    assert held == ("inconclusive", True)


def test_no_interval_is_narrower_than_the_noise_floor():
    lucky = LogInterval(0.05, 0.001, 3)
    assert at_least(lucky, 0.03).half == pytest.approx(math.log(1.03))
    assert at_least(lucky, 0.0005) == lucky
    assert decide(lucky).verdict == decide(lucky, floor=0.025).verdict == "slower"
    assert decide(lucky, floor=0.035) == ("inconclusive", True)  # what is left beyond the margin is noise
    assert decide(LogInterval(0.01, 0.001, 3), floor=0.015) == ("inconclusive", True)  # it may reach beyond the margin
    assert decide(LogInterval(0.001, 0.001, 3), floor=0.015).verdict == "equivalent"


def test_the_floor_is_the_farther_end_of_the_control():
    assert noise_floor(LogInterval(0.0, math.log(1.03), 5)) == pytest.approx(0.03)
    assert noise_floor(LogInterval(-0.02, 0.01, 5)) == pytest.approx(math.expm1(0.03))


def test_the_launches_still_needed_follow_the_square_root():
    # to say "equivalent" around 0 the half-width must fall from 4 % to 2 %: four times as many launches
    assert launches_needed(LogInterval(0.0, 2 * math.log(1.02), 10)) == 40
    # a ratio far outside is clear of the margin soon
    assert launches_needed(LogInterval(0.5, 0.6, 10)) == math.ceil(10 * (0.6 / (0.5 - math.log(1.02))) ** 2)
    assert launches_needed(LogInterval(math.log(1.02), 0.01, 10)) is None
    assert launches_needed(LogInterval(0.0, math.inf, 1)) is None


def test_a_dear_start_is_made_up_for_by_a_cheap_step():
    assert break_even_steps(cold=1.0, step=1e-5, other_cold=0.0, other_step=2e-5) == pytest.approx(1e5)
    assert break_even_steps(cold=0.0, step=2e-5, other_cold=1.0, other_step=1e-5) == pytest.approx(1e5)
    assert break_even_steps(cold=0.0, step=1e-5, other_cold=1.0, other_step=2e-5) == 0
    assert break_even_steps(cold=1.0, step=1e-5, other_cold=0.0, other_step=1e-5) is None


def times(first, steady, slow, total=100):
    return [first] + [2 * steady] * slow + [steady] * (total - slow - 1)


def test_steps_until_steady_and_what_they_cost_beyond():
    launches = [times(1e6, 1e4, 19) for _ in range(5)]
    assert steps_to_steady(launches) == 20
    assert excess_ns(launches[0]) == pytest.approx(1e6 - 1e4 + 19 * 1e4)


def test_one_preempted_launch_does_not_unsettle_the_others():
    launches = [times(1e6, 1e4, 5) for _ in range(4)]
    launches.append(times(1e6, 1e4, 5))
    launches[-1][60:80] = [5e4] * 20
    assert steps_to_steady(launches) == 6


def test_what_never_settles_or_was_hardly_watched_has_no_steady_state():
    assert steps_to_steady([[1e4 * (1 + (k // 10) % 2) for k in range(100)]]) is None
    assert steps_to_steady([[1e4] * 10]) is None
    assert steps_to_steady([]) is None
