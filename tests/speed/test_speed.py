"""The schedule and the statistics of timing, without any clock."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.speed import orders, paired_ratio, per_step, perturbed, plan


def test_a_burst_is_short_for_the_fastest_and_bounded_for_the_slowest():
    chosen = plan([10_000, 200_000], budget_seconds=100)
    assert chosen.steps == 50
    assert chosen.lead_in == 20
    assert plan([10_000, 40_000_000], budget_seconds=100).steps == 1


def test_rounds_give_way_to_the_budget_but_not_below_the_least():
    assert plan([10_000], budget_seconds=100, rounds=25).rounds == 25
    assert plan([50_000_000], budget_seconds=3, rounds=25, at_least=5).rounds == 15
    assert plan([5e9], budget_seconds=3, rounds=25, at_least=5).rounds == 5


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


def test_a_disturbance_that_hits_both_sides_of_a_round_cancels_in_the_ratio():
    generator = np.random.default_rng(1)
    machine = np.exp(generator.normal(0, 0.5, 101))
    baseline, other = 1e6 * machine, 3e6 * machine
    assert paired_ratio(other, baseline) == pytest.approx((3, 3, 3))
    # taken apart, the same numbers spread widely
    spread = per_step(other, 100)
    assert spread.high / spread.low > 1.5


def test_per_step_is_in_seconds():
    assert per_step(np.array([1e6, 2e6, 3e6]), 1000).median == pytest.approx(2e-6)
