"""Bisection along an axis of sizes, with made-up ratios whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.sweep import crossover
from compare_ag.sweep.crossover import NARROW, Change, Point, find_crossover


class Machine:
    """Measures a made-up ratio: log-interval ``half`` wide to each side, its middle off by noise."""

    def __init__(self, log_ratio, half=0.01, noise=0.0, seed=0, silent=()):
        self.log_ratio, self.half, self.noise, self.silent = log_ratio, half, noise, silent
        self.generator = np.random.default_rng(seed)
        self.asked: list[int] = []

    def __call__(self, size):
        self.asked.append(size)
        if size in self.silent:
            return None
        middle = self.log_ratio(size) + self.noise * self.generator.standard_normal()
        return math.exp(middle - self.half), math.exp(middle + self.half)


def rising(at):
    """A is faster below this size; ten times the size doubles the ratio."""
    return lambda size: 0.3 * math.log(size / at)


@pytest.mark.parametrize("at", [7, 130, 1000, 48_000])
@pytest.mark.parametrize("seed", range(5))
def test_a_crossover_is_bracketed_on_both_sides(at, seed):
    machine = Machine(rising(at), half=0.005, noise=0.001, seed=seed)
    found = find_crossover("a", "b", machine, 2, 100_000)
    (change,) = found.changes
    assert change.low <= at <= change.high
    assert (change.faster_below, change.faster_above) == ("a", "b")
    assert change.high / change.low <= NARROW**2 or change.high - change.low <= 2
    assert len(machine.asked) == len(set(machine.asked)) <= 12
    assert all(2 <= size <= 100_000 for size in machine.asked)
    points = {point.size: point for point in found.points}
    assert points[change.low].high < 1 < points[change.high].low


def test_the_other_way_round_the_other_one_is_faster_first():
    found = find_crossover("a", "b", Machine(lambda size: -rising(300)(size)), 2, 10_000)
    assert [(change.faster_below, change.faster_above) for change in found.changes] == [("b", "a")]


@pytest.mark.parametrize(("shift", "faster"), [(-2, "a"), (9, "b")])
def test_no_crossover_is_an_answer_and_costs_two_measurements(shift, faster):
    machine = Machine(lambda size: shift + 0.1 * math.log(size))
    found = find_crossover("a", "b", machine, 4, 1000)
    assert found.changes == ()
    assert machine.asked == [4, 1000]
    assert found.sentences() == [f"no crossover between a and b in [4, 1,000]: {faster} is faster"]


def test_a_wide_tie_zone_gets_two_edges_and_is_printed():
    """Where the ratio is within 30 % of 1 nothing can be decided: sizes from 409 to 2,446."""
    found = find_crossover("a", "b", Machine(rising(1000), half=0.3 * math.log(2.446)), 2, 100_000)
    (change,) = found.changes
    assert change.tied is not None
    first, last = change.tied
    assert change.low < 409 <= first <= 409 * NARROW
    assert 2446 / NARROW <= last <= 2446 < change.high
    assert first / change.low <= NARROW
    assert change.high / last <= NARROW
    assert found.sentences() == [
        f"a is faster up to {change.low:,} and b from {change.high:,} on: they are tied from {first:,} to {last:,}"
    ]


def test_a_tie_that_reaches_the_end_of_the_axis_is_no_crossover():
    found = find_crossover("a", "b", Machine(lambda size: max(0.0, rising(50)(size))), 2, 1000)
    assert found.changes == ()
    assert found.sentences()[0] == "no crossover between a and b in [2, 1,000]: b is faster"
    assert found.sentences()[1].startswith("tied at 2, ")


def test_equal_backends_are_tied_everywhere():
    found = find_crossover("a", "b", Machine(lambda _: 0.0), 2, 1000)
    assert found.sentences() == ["no crossover between a and b in [2, 1,000]: no size is decided for either", "tied at 2, 1,000"]  # fmt: skip


def waves(size):
    """Changes at 10, 100, 1,000 and 10,000."""
    return 0.5 * math.cos(math.pi * (math.log10(size) - 0.5))


def test_several_crossovers_are_all_bracketed_where_known_sizes_show_them():
    known = {size: Machine(waves)(size) for size in (3, 30, 300, 3000, 30_000)}
    machine = Machine(waves)
    found = find_crossover("a", "b", machine, 3, 30_000, known=known)
    assert [(change.low <= at <= change.high) for at, change in zip((10, 100, 1000, 10_000), found.changes, strict=True)] == [True] * 4  # fmt: skip
    assert not set(machine.asked) & set(known)
    assert found.sentences()[4] == "4 crossovers were bracketed; between sizes of one winner there may be more"


def test_known_sizes_beyond_the_axis_are_left_out():
    known = {2: (2.0, 2.1), 10**6: (0.4, 0.5)}
    found = find_crossover("a", "b", Machine(rising(150)), 4, 4096, known=known)
    assert [point.size for point in found.points][:1] == [4]
    assert len(found.changes) == 1


def test_what_lies_between_sizes_of_one_winner_is_not_looked_for():
    machine = Machine(waves)
    found = find_crossover("a", "b", machine, 30, 3000)
    assert waves(30) * waves(3000) > 0
    assert (found.changes, machine.asked) == ((), [30, 3000])


def test_a_size_that_cannot_be_decided_is_gone_around():
    middle = round(math.sqrt(4 * 4096))
    machine = Machine(rising(150), silent=[middle])
    found = find_crossover("a", "b", machine, 4, 4096)
    (change,) = found.changes
    assert change.low <= 150 <= change.high
    assert change.high / change.low < 1.5
    assert found.undecided == (middle,)
    assert found.sentences()[-1] == f"not decided at {middle}"


def test_where_nothing_inside_can_be_decided_the_bracket_stays_as_it_is():
    machine = Machine(rising(150), silent=range(5, 4096))
    found = find_crossover("a", "b", machine, 4, 4096)
    assert found.changes == (Change(4, 4096, "a", "b"),)
    assert len(machine.asked) == 5
    assert not found.exhausted


def test_an_undecided_end_is_not_extrapolated_over():
    found = find_crossover("a", "b", Machine(rising(150), silent=[4]), 4, 100)
    assert found.points == (Point(4, None, None), found.points[1])
    assert found.sentences() == ["no crossover between a and b in [4, 100]: a is faster", "not decided at 4"]


def test_neighbouring_whole_numbers_end_the_search():
    found = find_crossover("a", "b", Machine(rising(2.5)), 1, 8)
    assert [(change.low, change.high) for change in found.changes] == [(2, 3)]


def test_a_good_guess_is_measured_first_and_a_bad_one_costs_one_measurement():
    plain, guessed, wrong = (Machine(rising(20_000)) for _ in range(3))
    ends = "a", "b"
    find_crossover(*ends, plain, 2, 100_000)
    find_crossover(*ends, guessed, 2, 100_000, guess=20_500)
    find_crossover(*ends, wrong, 2, 100_000, guess=400_000)
    assert guessed.asked[:3] == [2, 100_000, 20_500]
    assert wrong.asked == plain.asked


def test_noise_as_large_as_the_effect_ends(monkeypatch):
    """Between the ends every sign is drawn by lot, ties among them: measurements open further brackets."""
    monkeypatch.setattr(crossover, "MOST_MEASUREMENTS", 12)
    machine = Machine(lambda size: 9 * (size > 10**8) - 9 * (size < 10), half=0.7, noise=1.0)
    found = find_crossover("a", "b", machine, 2, 10**9)
    assert len(machine.asked) == 12
    assert found.exhausted
    assert "the search ended after 12 measurements" in found.sentences()


@pytest.mark.parametrize(("low", "high"), [(0, 10), (10, 9)])
def test_ends_that_are_no_axis_are_refused(low, high):
    with pytest.raises(ValueError, match=f"from {low} to {high}"):
        find_crossover("a", "b", Machine(rising(5)), low, high)


@pytest.mark.parametrize("ratio", [(0.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_an_interval_that_is_none_is_refused(ratio):
    with pytest.raises(ValueError, match="must have 0 < low ≤ high"):
        find_crossover("a", "b", lambda _: ratio, 2, 10)


def test_one_size_is_an_axis():
    machine = Machine(rising(5))
    assert find_crossover("a", "b", machine, 50, 50).sentences() == ["no crossover between a and b in [50, 50]: b is faster"]  # fmt: skip
    assert machine.asked == [50]
