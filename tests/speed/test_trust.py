"""Who is not ranked, for which of four reasons, and that an honest backend is accused of none."""

from __future__ import annotations

import pytest

from compare_ag.speed.trust import IDLE, OTHERS, SPREADS, UNEXPLAINED, UNTIMED, Whereabouts, why_unranked

HONEST = Whereabouts(
    blocks=24,
    untimed_ratio=1.3,
    host_ns=1.6e6,
    unexplained_ns=2e4,
    reply_spread_ns=1e4,
    idle_cpu_ns=3e4,
    block_ns=7e5,
    others_cpu_seconds=0.0,
    seconds=6.0,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unexplained_ns": -5e4, "idle_cpu_ns": -2e4},  # quicker than everybody else
        {"untimed_ratio": 0.1},
        {"unexplained_ns": UNEXPLAINED * 1.6e6},
        # its replies vary so much that four of their spreads explain it
        {"unexplained_ns": 5e5, "reply_spread_ns": 1e5},
        {"untimed_ratio": UNTIMED, "idle_cpu_ns": IDLE * 7e5, "others_cpu_seconds": OTHERS * 6.0},
    ],
)
def test_an_honest_backend_is_accused_of_nothing(changes):
    assert why_unranked(HONEST._replace(**changes), 1) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unexplained_ns": 1.2e6}, "is not to be trusted: its worker claims 25% of the time that the host saw pass"),
        ({"untimed_ratio": 5.25}, "takes 5.2 times as long for a step outside the clock as inside (at most 3)"),
        ({"others_cpu_seconds": 1.5}, "let other processes compute for 1.5 s while it was timed"),
        ({"idle_cpu_ns": 1.4e6}, "computes between its blocks, 2.0 times as long as a block takes"),
    ],
)
def test_time_that_lies_elsewhere_costs_the_rank(changes, said):
    assert why_unranked(HONEST._replace(**changes), 1).startswith(said)


def test_each_limit_is_a_limit():
    slack = UNEXPLAINED * HONEST.host_ns + SPREADS * HONEST.reply_spread_ns
    for name, limit in (
        ("unexplained_ns", slack),
        ("untimed_ratio", UNTIMED),
        ("others_cpu_seconds", OTHERS * HONEST.seconds),
        ("idle_cpu_ns", IDLE * HONEST.block_ns),
    ):
        assert why_unranked(HONEST._replace(**{name: 0.99 * limit}), 1) == ""
        assert why_unranked(HONEST._replace(**{name: 1.01 * limit}), 1) != ""


def test_replies_that_vary_without_bound_explain_half_at_most():
    assert why_unranked(HONEST._replace(unexplained_ns=0.49 * HONEST.host_ns, reply_spread_ns=1e9), 1) == ""
    assert why_unranked(HONEST._replace(unexplained_ns=0.51 * HONEST.host_ns, reply_spread_ns=1e9), 1) != ""


def test_threads_that_spin_after_their_work_are_no_work():
    assert why_unranked(HONEST._replace(idle_cpu_ns=1.4e6), 4) == ""
