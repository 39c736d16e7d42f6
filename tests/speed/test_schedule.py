"""Block length, order, weights and stopping, without any clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.speed.schedule import MODES, enough, orders, perturbed, plan
from compare_ag.speed.statistics import LogInterval

DEFAULT = MODES["default"]


def test_a_block_is_short_for_the_fastest_and_bounded_for_the_slowest():
    chosen = plan([10_000, 100_000], DEFAULT)
    assert (chosen.steps, chosen.lead_in) == (50, 20)
    assert plan([10_000, 250_000], DEFAULT).steps == 20
    assert plan([10_000, 40_000_000], DEFAULT).steps == 1


def test_a_launch_of_slow_steps_gives_up_rounds_before_instances_and_stays_in_the_budget():
    fast, slow, slowest = (plan([step, step], DEFAULT) for step in (1e4, 3e7, 5e8))
    assert (fast.instances, fast.rounds) == (DEFAULT.instances, DEFAULT.rounds)
    assert slow.rounds < DEFAULT.rounds
    assert slow.instances == DEFAULT.instances
    assert slowest.instances == 1
    one_launch = slow.instances * slow.rounds * 1.5 * 2 * (slow.steps + slow.lead_in) * 3e7 * 1e-9
    assert one_launch * (DEFAULT.least_launches + 1) <= DEFAULT.budget_seconds * 1.01


def test_every_round_holds_every_backend_once_in_varying_order():
    rounds = list(orders(["a", "b", "c"], 60, np.random.default_rng(1)))
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(map(tuple, rounds))) == 6


def test_perturbed_weights_are_near_fresh_and_of_the_same_dtype():
    generator = np.random.default_rng(1)
    w, b = np.linspace(-5, 5, 1000, dtype=np.float32), np.float32(2)
    first, second = perturbed(w, np.asarray(b), generator), perturbed(w, np.asarray(b), generator)
    assert first[0].dtype == first[1].dtype == np.float32
    assert first[1].shape == ()
    assert not np.array_equal(first[0], second[0])
    assert 0 < np.abs(first[0] - w).max() < 5 * 5e-3


def test_weights_of_zero_are_perturbed_too():
    w, _ = perturbed(np.zeros(5), np.zeros(()), np.random.default_rng(1))
    assert np.all(w != 0)
    assert np.abs(w).max() < 1e-4


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_it_stops_on_width_or_time_and_never_on_what_the_interval_says(mode):
    many = mode.least_launches
    narrow, wide = mode.target / 2, mode.target * 3
    for mean in (0.0, 0.01, 0.5, -0.5):  # whatever the effect
        assert enough(mode, [LogInterval(mean, narrow, many)], 0.1, 0.1) == "width"
        assert enough(mode, [LogInterval(mean, narrow, many - 1)], 0.1, 0.1) is None
        assert enough(mode, [LogInterval(mean, wide, many)], 0.1, 0.1) is None
        assert enough(mode, [LogInterval(mean, wide, many)], mode.budget_seconds, 0.1) == "budget"
        both = [LogInterval(mean, narrow, many), LogInterval(mean, wide, many)]
        assert enough(mode, both, 0.1, 0.1) is None


def test_a_number_of_launches_can_be_the_limit():
    mode = replace(DEFAULT, most_launches=4)
    assert enough(mode, [LogInterval(0.0, 1.0, 3)], 0.1, 0.1) is None
    assert enough(mode, [LogInterval(0.0, 1.0, 4)], 0.1, 0.1) == "launches"


def test_a_launch_that_would_exceed_the_budget_is_not_begun():
    many = DEFAULT.least_launches
    found = [LogInterval(0.0, 1.0, many)]
    assert enough(DEFAULT, found, DEFAULT.budget_seconds - 5, 4) is None
    assert enough(DEFAULT, found, DEFAULT.budget_seconds - 5, 6) == "budget"


def test_short_blocks_are_led_in_by_several_steps_unless_these_are_slow():
    large = plan([3e5, 6e5], MODES["default"])
    assert large.steps == 8  # rather than one of 0.3 ms: what surrounds a block is shared by them
    assert plan([3e5, 2e6], MODES["default"]).steps == 2  # the slowest's block stays below 5 ms
    assert large.lead_in == 4
    assert plan([3e6, 3e6], MODES["default"]).lead_in == 3
    assert plan([3e7], MODES["default"]).lead_in == 1
