"""Which backend for a size: from measured cells, never beyond them."""

from __future__ import annotations

import pytest

from compare_ag.records.sweeps import Machine
from compare_ag.sweep.machine import this_machine
from compare_ag.sweep.pick import PickQuestion, choose, sources

VERSIONS = {"compare-ag": "0.2.0", "numpy": "2.4.0", "python": "3.11.7"}
BOTH = ("numpy", "torch")


def grows(n, d):
    """numpy is the faster up to n d = 20,000, about."""
    return {"numpy": 1e-5 + 1e-9 * n * d, "torch": 2e-5 + 0.5e-9 * n * d}


def tie(n, d):
    return {"numpy": 1e-5, "torch": 1.001e-5}


@pytest.fixture
def ask(made_sweep):
    def ask(times, n, d, prefer=None, backends=BOTH, machine=None, versions=VERSIONS, **options):
        ledger = made_sweep(times, machine=machine or this_machine(), versions=VERSIONS)
        question = PickQuestion(n=n, d=d, backends=backends, **options)
        return choose(sources([ledger], question, lambda _names: versions), question, prefer)

    return ask


def test_a_measured_size_is_answered_with_how_sure_it_is_and_from_which_cell(ask):
    choice = ask(grows, 10, 2)
    assert (choice.backend, choice.certainty, choice.tied) == ("numpy", "measured", [])
    assert choice.sentence == "numpy: torch takes 2 (1.96 to 2.04) times as long"
    assert len(choice.cells) == 1
    assert choice.sweeps == ["sweep"]


def test_a_size_between_sizes_with_one_winner_is_answered(ask):
    choice = ask(grows, 50, 7)
    assert (choice.backend, choice.certainty) == ("numpy", "between")
    assert "n=10 d=2, n=10 d=20, n=1000 d=2, n=1000 d=20" in choice.sentence
    assert len(choice.cells) == 4
    assert len(ask(grows, 500, 20).cells) == 2  # on a measured line its two neighbours suffice


def test_between_sizes_with_different_winners_nothing_is_known(ask):
    def crossing(n, d):
        return {"numpy": 1e-5, "torch": 2e-5} if n < 100 else {"numpy": 2e-5, "torch": 1e-5}

    assert ask(crossing, 50, 7) is None
    assert ask(crossing, 10, 7).backend == "numpy"
    assert ask(crossing, 1000, 7).backend == "torch"


@pytest.mark.parametrize(("n", "d"), [(5, 2), (2000, 2), (10, 1), (10, 30), (2000, 30)])
def test_nothing_is_extrapolated(ask, n, d):
    assert ask(grows, n, d) is None


def test_within_a_tie_the_preferred_backend_wins_and_it_is_said(ask):
    assert ask(tie, 10, 2).backend == "numpy"
    assert ask(tie, 10, 2).tied == ["torch"]
    choice = ask(tie, 10, 2, prefer="torch")
    assert (choice.backend, choice.tied, choice.preferred) == ("torch", ["numpy"], True)
    assert choice.sentence.endswith("torch is within the tie and preferred")


def test_a_preferred_backend_that_is_slower_does_not_win(ask):
    choice = ask(grows, 10, 2, prefer="torch")
    assert (choice.backend, choice.preferred) == ("numpy", False)
    assert choice.sentence.endswith("torch is preferred but slower")


def test_only_cells_of_this_machine_these_versions_and_these_backends_count(ask):
    other = Machine(id="ffffffff", cpu="Other", system="Linux", logical_cpus=2, memory_bytes=1)
    assert ask(grows, 10, 2, machine=other) is None
    assert ask(grows, 10, 2, versions=VERSIONS | {"numpy": "9"}) is None
    assert ask(grows, 10, 2, backends=("numpy", "torch", "jax")) is None
    assert ask(grows, 10, 2, backends=("torch",)).backend == "torch"
    for option in ({"dtype": "float32"}, {"threads": 2}, {"loss": "probability"}):
        assert ask(grows, 10, 2, **option) is None


def test_a_wrong_backend_is_never_picked(made_sweep, record):
    ledger = made_sweep(grows, n=[10], d=[2], machine=this_machine())
    one = ledger.record(ledger.names()[0])
    ledger.write(
        record(one.cell, {"numpy": 1e-9, "torch": 1e-5}, statuses={"numpy": "disagree"}, machine=this_machine())
    )
    question = PickQuestion(n=10, d=2, backends=BOTH)
    choice = choose(sources([ledger], question, lambda _: VERSIONS), question)
    assert (choice.backend, choice.tied) == ("torch", [])
    assert choice.sentence == "torch: the only backend with a rank"
