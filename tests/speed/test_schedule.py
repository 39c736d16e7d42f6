"""Block length, order, weights and stopping, without any clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_ag.speed.schedule import (
    AROUND_BLOCK_NS,
    BLOCK_NS,
    LEAD_IN,
    LONGEST_LEAD_IN_NS,
    MODES,
    MOST_STEPS,
    PERTURBATION,
    UNPREDICTABLE,
    Length,
    enough,
    length,
    orders,
    perturb,
    plan,
)
from compare_ag.speed.statistics import LogInterval

DEFAULT = MODES["default"]


@pytest.mark.parametrize("step_ns", [1e3, 9e3, 44e3, 3e5])
def test_every_backends_block_takes_the_same_time(step_ns):
    one = length(step_ns)
    assert one.steps * step_ns == pytest.approx(BLOCK_NS, rel=0.2)


def test_a_step_longer_than_a_block_is_a_block_and_a_very_short_one_fills_none():
    assert length(50 * BLOCK_NS) == Length(1, 1, 1)
    assert length(1.0).steps == MOST_STEPS


def test_the_speed_of_the_cpu_is_probed_between_steps_unless_they_go_on_meanwhile():
    assert [length(step_ns).segment for step_ns in (1e3, 1e4, 1e5, 1e7)] == [100, 10, 1, 1]
    assert length(1e3, probed=False).segment == 0
    assert length(1e3).varied(1.2, 0.9).segment == 100
    lengths = plan({"eager": 1e4, "lazy": 1e4}, DEFAULT, unprobed={"lazy"}).lengths
    assert (lengths["eager"].segment, lengths["lazy"].segment) == (10, 0)


def test_a_partner_changes_no_block():
    alone = plan({"fast": 9e3}, DEFAULT).lengths["fast"]
    for partner in (1e2, 9e3, 3e5, 7e6, 5e8):
        assert plan({"fast": 9e3, "partner": partner}, DEFAULT).lengths["fast"] == alone


@pytest.mark.parametrize(
    ("step_ns", "lead_in"),
    [(1e3, 300), (1e4, 30), (2.3e5, LEAD_IN), (LONGEST_LEAD_IN_NS / 2, 2), (10 * LONGEST_LEAD_IN_NS, 1)],
)
def test_untimed_steps_lead_in_until_they_are_steady_unless_they_are_so_slow_that_each_is(step_ns, lead_in):
    assert length(step_ns).lead_in == lead_in


def test_nobody_knows_how_many_steps_come():
    generator = np.random.default_rng(2)
    factors = generator.uniform(1 - UNPREDICTABLE, 1 + UNPREDICTABLE, (200, 2))
    made = [length(9e3).varied(by, lead_by) for by, lead_by in factors]
    assert len({one.steps for one in made}) > 30
    assert abs(np.corrcoef([one.steps for one in made], [one.lead_in for one in made])[0, 1]) < 0.3
    assert np.mean([one.steps for one in made]) == pytest.approx(length(9e3).steps, rel=0.05)
    assert Length(1, 1).varied(0.1, 0.1) == Length(1, 1)


def test_a_launch_of_slow_steps_gives_up_rounds_before_instances_and_stays_in_the_budget():
    fast, slow, slowest = (plan({"one": step, "two": step}, DEFAULT) for step in (1e4, 2.2e7, 5e8))
    assert (fast.instances, fast.rounds) == (DEFAULT.instances, DEFAULT.rounds)
    assert slow.rounds < DEFAULT.rounds
    assert slow.instances == DEFAULT.instances
    assert slowest.instances == 1
    one_round = sum((one.steps + one.lead_in) * 2.2e7 + AROUND_BLOCK_NS for one in slow.lengths.values())
    one_launch = slow.instances * slow.rounds * one_round * 1e-9
    assert one_launch * (DEFAULT.least_launches + 1) <= DEFAULT.budget_seconds * 1.01


def test_workers_that_are_dear_to_start_are_asked_for_more_instances():
    cheap, dear, dearest = (plan({"one": 1e4}, DEFAULT, start_seconds=seconds) for seconds in (0.05, 0.075, 60.0))
    assert cheap.instances == DEFAULT.instances
    assert DEFAULT.instances < dear.instances <= dearest.instances == DEFAULT.most_instances
    twins = plan({"one": 1e4}, DEFAULT, start_seconds=0.075, twins=1)
    assert twins.instances < dear.instances


def test_every_round_holds_every_backend_once_in_varying_order():
    rounds = list(orders(["a", "b", "c"], 60, np.random.default_rng(1)))
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(map(tuple, rounds))) == 6


def test_perturbed_weights_are_near_fresh_and_of_the_same_dtype():
    generator = np.random.default_rng(1)
    w, b = np.linspace(-5, 5, 1000, dtype=np.float32), np.float32(2)
    first, second = perturb(w, np.asarray(b), generator), perturb(w, np.asarray(b), generator)
    assert first[0].dtype == first[1].dtype == np.float32
    assert first[1].shape == ()
    assert not np.array_equal(first[0], second[0])
    assert 0 < np.abs(first[0] - w).max() < 5 * 5 * PERTURBATION


def test_weights_of_zero_are_perturbed_too():
    w, _ = perturb(np.zeros(5), np.zeros(()), np.random.default_rng(1))
    assert np.all(w != 0)
    assert np.abs(w).max() < 5 * PERTURBATION**2


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_it_stops_on_width_or_time_and_never_on_what_the_interval_says(mode):
    many = mode.least_launches
    narrow, wide = mode.target / 2, mode.target * 3
    for mean in (0.0, 0.01, 0.5, -0.5):  # whatever the effect
        assert enough(mode, [LogInterval(mean, narrow, many)], many, 0.1, 0.1) == "width"
        assert enough(mode, [LogInterval(mean, narrow, many - 1)], many - 1, 0.1, 0.1) is None
        assert enough(mode, [LogInterval(mean, wide, many)], many, 0.1, 0.1) is None
        assert enough(mode, [LogInterval(mean, wide, many)], many, mode.budget_seconds, 0.1) == "budget"
        both = [LogInterval(mean, narrow, many), LogInterval(mean, wide, many)]
        assert enough(mode, both, many, 0.1, 0.1) is None


def test_a_number_of_launches_can_be_the_limit():
    mode = replace(DEFAULT, most_launches=4)
    assert enough(mode, [LogInterval(0.0, 1.0, 3)], 3, 0.1, 0.1) is None
    assert enough(mode, [LogInterval(0.0, 1.0, 4)], 4, 0.1, 0.1) == "launches"


def test_a_launch_that_would_exceed_the_budget_is_not_begun():
    many = DEFAULT.least_launches
    found = [LogInterval(0.0, 1.0, many)]
    assert enough(DEFAULT, found, many, DEFAULT.budget_seconds - 5, 4) is None
    assert enough(DEFAULT, found, many, DEFAULT.budget_seconds - 5, 6) == "budget"


def test_disturbed_launches_do_not_count_for_the_width_and_end_at_the_budget():
    many = DEFAULT.least_launches
    few = [LogInterval(0.0, DEFAULT.target / 2, many - 1)]  # of twice as many launches
    assert enough(DEFAULT, few, 2 * many, 1.0, 0.1) is None
    assert enough(DEFAULT, [], 2 * many, 1.0, 0.1) is None  # every launch was disturbed
    assert enough(DEFAULT, few, 2 * many, DEFAULT.budget_seconds, 0.1) == "budget"
    assert enough(DEFAULT, [], 2 * many, DEFAULT.budget_seconds, 0.1) == "budget"
