"""From the blocks of some launches to where a backend's time went."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from compare_ag.host.session import TimedBlock
from compare_ag.speed.trust import LEAST_BLOCKS, why_unranked
from compare_ag.suite.backend_costs import BackendCosts
from compare_ag.suite.launches import Bench, Launches, LaunchResult
from compare_ag.worker.messages import Timed

STEPS, LEAD_IN, STEP = 70, 84, 10_000
BLOCK = Timed(
    wall_ns=STEPS * STEP,
    lead_ns=LEAD_IN * STEP,
    make_ns=5_000,
    span_ns=(STEPS + LEAD_IN) * STEP + 10_000,
    inside_ns=STEPS * STEP + 5_000,
    cpu_ns=STEPS * STEP + 5_000,
    switches=0,
    waits=0,
    idle_cpu_ns=20_000,
    phases=[],
)


def bench(reply_ns=100_000, odd=(), **changes) -> Bench:
    """Sixteen blocks, the first few a little quicker, but for what ``odd`` says of some: (number, reply_ns, changes)."""
    nothing: Any = None
    blocks = []
    for number in range(16):
        reply, block = reply_ns, changes
        for which, other, more in odd:
            if which == number:
                reply, block = other, changes | more
        fields = {name: getattr(BLOCK, name) for name in BLOCK.__struct_fields__} | block
        timed = Timed(**fields)
        host_ns = BLOCK.span_ns + reply + number % 3 * 1000  # no two replies take quite the same
        step_ns = np.full(STEPS, timed.wall_ns // STEPS + number)
        blocks.append(TimedBlock(timed, host_ns, STEPS, LEAD_IN, step_ns, np.array([4000, 4000])))
    return Bench(nothing, nothing, nothing, 1, blocks=[blocks])


def whereabouts(mine: Bench, other: Bench, launches=3):
    costs = object.__new__(BackendCosts)
    costs._launches, costs.names = Launches(), ["mine", "other"]
    for _ in range(launches):
        costs._launches.add(LaunchResult(0, {"mine": mine, "other": other}, 1.0))
    return costs.whereabouts("mine")


def test_an_honest_backend_is_ranked_even_if_its_replies_take_longer():
    seen = whereabouts(bench(120_000), bench())
    assert seen.untimed_ratio == pytest.approx(1, rel=0.01)
    assert seen.unexplained_ns == 20_000
    assert (seen.idle_cpu_ns, seen.block_ns, seen.seconds) == (0, STEPS * STEP, 3)
    assert why_unranked(seen, 1) == ""


@pytest.mark.parametrize("more", [{}, {"switches": 3}])
def test_one_interrupted_reply_accuses_nobody(more):
    seen = whereabouts(bench(odd=[(0, 10**9, more), (6, 10**8, more | {"idle_cpu_ns": 10**8})]), bench())
    assert why_unranked(seen, 1) == ""


def test_replies_of_which_most_are_late_accuse_nobody_while_some_are_not():
    late = [(number, 5 * 10**6, {}) for number in range(1, 16)]
    seen = whereabouts(bench(odd=late), bench())
    assert seen.host_ns > 5e6
    assert why_unranked(seen, 1) == ""


def test_few_blocks_accuse_nobody():
    slow_clock = {"wall_ns": STEPS * STEP // 10, "lead_ns": LEAD_IN * STEP // 10, "span_ns": BLOCK.span_ns // 10}
    seen = whereabouts(bench(**slow_clock), bench(), launches=2)
    assert seen.blocks < LEAST_BLOCKS
    assert why_unranked(seen, 1) == ""
    assert why_unranked(whereabouts(bench(**slow_clock), bench(), launches=3), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"wall_ns": 7 * STEPS * STEP // 10, "lead_ns": 5 * LEAD_IN * STEP},  # makes a third of its steps in the lead-in
        {"wall_ns": 7 * STEPS * STEP // 10, "idle_cpu_ns": STEPS * STEP},  # or between two blocks
    ],
)
def test_who_works_elsewhere_in_every_fourth_block_only_is_seen(changes):
    odd = [(number, 100_000, changes) for number in (5, 9, 12, 15)]
    assert why_unranked(whereabouts(bench(odd=odd), bench()), 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wall_ns": STEPS * STEP // 10, "lead_ns": LEAD_IN * STEP // 10, "span_ns": BLOCK.span_ns // 10}, "claims 1"),
        ({"lead_ns": 5 * LEAD_IN * STEP}, "outside the clock"),
        ({"make_ns": 5 * LEAD_IN * STEP}, "outside the clock"),
        ({"idle_cpu_ns": STEPS * STEP}, "computes between its blocks"),
    ],
)
def test_time_that_lies_elsewhere_in_every_block_is_seen(changes, said):
    assert said in why_unranked(whereabouts(bench(**changes), bench()), 1)


def test_work_in_other_processes_is_summed_over_launches():
    mine = bench()
    mine.others_cpu_seconds = 0.5
    seen = whereabouts(mine, bench())
    assert seen.others_cpu_seconds == 1.5
    assert "other processes" in why_unranked(seen, 1)


def test_where_every_block_was_disturbed_there_are_numbers_all_the_same():
    seen = whereabouts(bench(switches=1), bench(switches=1))
    assert all(map(math.isfinite, seen))
    assert why_unranked(seen, 1) == ""
