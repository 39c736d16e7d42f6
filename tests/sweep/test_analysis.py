"""Cost models, limits and crossovers of a sweep: measured between the grid's sizes, kept, and not measured twice."""

from __future__ import annotations

import pytest

from compare_ag.records.sweeps import rank
from compare_ag.sweep.analysis import fit_models, lines, measure_beyond_cells, ratio_between, rivals, search_crossovers
from compare_ag.sweep.engines import Done
from compare_ag.sweep.flow import Result
from compare_ag.sweep.ledger import keep_record
from compare_ag.sweep.limits import measure_limits
from compare_ag.sweep.machine import this_machine
from compare_ag.sweep.merge import copy_limits
from compare_ag.sweep.shares import add_shares, measure_missing_limits, read_limits
from compare_ag.sweep.tables import keep_tables

VERSIONS = {"compare-ag": "0.2.0", "numpy": "2.4.0", "python": "3.11.7"}


def crossing(n, d):
    """They take the same time at n = 3000."""
    return {"numpy": 1e-5 + 1e-8 * n, "torch": 2.5e-5 + 0.5e-8 * n}


def one_winner(n, d):
    return {"numpy": 1e-5 + 1e-8 * n, "torch": 2e-5 + 2e-8 * n}


@pytest.fixture
def measuring(record):
    """An engine of invented numbers; ``ran`` has the sizes that it was asked for."""

    def make(times, stop_after=None, machine=None):
        ran = []

        def engine(ledger, planned, tell):
            for one in planned:
                if len(ran) == stop_after:
                    raise KeyboardInterrupt
                tell(one, "stage")
                cell = one.cell
                ran.append((cell.n, cell.d))
                own = {name: time for name, time in times(cell.n, cell.d).items() if name in cell.backends}
                scratch = ledger.scratch(one.key)
                keep_record(
                    scratch,
                    record(cell, own, half=0.002, machine=this_machine(), versions=one.versions, purpose=one.purpose),
                )
                yield Done(one, scratch)

        engine.ran = ran
        return engine

    return make


def search(ledger, engine, result=None):
    return search_crossovers(ledger, VERSIONS, engine, lambda _words: None, result or Result())


def test_a_crossover_is_narrowed_by_measuring_between_the_sizes(made_sweep, measuring):
    ledger = made_sweep(crossing, n=[10, 100, 100_000], d=[5], machine=this_machine())
    engine = measuring(crossing)
    (found,) = search(ledger, engine)
    assert (found.axis, found.fixed, found.first, found.second) == ("n", 5, "numpy", "torch")
    assert found.crossed
    below = max(size for size, _, high in found.points if high < 1)
    above = min(size for size, low, _ in found.points if low > 1)
    assert below < 3000 < above <= 1.5 * below
    assert all(100 < n < 100_000 and d == 5 for n, d in engine.ran)
    assert found.sentence.startswith("Along n at d = 5 (float64, 1 thread, logits): numpy is faster up to")


def test_what_was_measured_is_kept_and_not_measured_again(made_sweep, measuring):
    ledger = made_sweep(crossing, n=[10, 100_000], d=[5], machine=this_machine())
    first = measuring(crossing)
    found = search(ledger, first)
    again = measuring(crossing)
    assert search(ledger, again) == found
    assert (len(first.ran) > 3, again.ran) == (True, [])
    extra = [one for one in ledger.records() if one.purpose == "crossover"]
    assert len(extra) == len(first.ran)
    _, analysis = keep_tables(ledger, found)
    assert analysis.crossovers == found
    page = (ledger.folder / "report.html").read_text()
    assert found[0].sentences[0] in page
    assert page.count('scope="row">10</th>') == 1
    assert f'scope="row">{extra[0].cell.n:,}</th>' not in page  # the heat map is the grid
    assert (ledger.folder / "cells.csv").read_text().count("crossover") == 2 * len(extra)
    assert keep_tables(ledger)[1].crossovers == found  # a later sweep without the search keeps them


def test_one_winner_is_an_answer_without_a_measurement(made_sweep, measuring):
    ledger = made_sweep(one_winner, n=[10, 100_000], d=[5], machine=this_machine())
    engine = measuring(one_winner)
    (found,) = search(ledger, engine)
    assert (found.crossed, engine.ran) == (False, [])
    assert found.sentences == ["no crossover between numpy and torch in [10, 100,000]: numpy is faster"]


def test_an_interrupt_ends_the_search_and_the_next_one_goes_on(made_sweep, measuring):
    ledger = made_sweep(crossing, n=[10, 100_000], d=[5], machine=this_machine())
    result = Result()
    stopped = measuring(crossing, stop_after=2)
    assert search(ledger, stopped, result) == []
    assert isinstance(result.interrupt, KeyboardInterrupt)
    rest = measuring(crossing)
    (found,) = search(ledger, rest)
    assert found.crossed
    assert not set(rest.ran) & set(stopped.ran)


def test_lines_run_along_both_axes_and_machines_are_not_mixed(made_sweep, measuring):
    ledger = made_sweep(crossing, n=[10, 1000], d=[2, 20])
    assert sorted((line.axis, line.fixed, len(line.cells)) for line in lines(list(ledger.records()))) == [
        ("d", 10, 2), ("d", 1000, 2), ("n", 2, 2), ("n", 20, 2),
    ]  # fmt: skip
    assert search(ledger, measuring(crossing)) == []  # these cells are of another machine


def test_a_disturbed_cell_shows_no_change(made_sweep, record):
    ledger = made_sweep(crossing, n=[10, 100_000], d=[5])
    records = list(ledger.records())
    (line,) = lines(records)
    assert rivals(line) == [("numpy", "torch", 10, 100_000)]
    disturbed = record(records[0].cell, crossing(records[0].cell.n, 5), status="disturbed")
    (line,) = lines([disturbed, records[1]])
    assert rivals(line) == []


def test_a_disturbed_backend_leaves_the_winner_undecided(record, cell):
    import msgspec

    one = record(cell(), {"numpy": 1e-5, "torch": 2e-5})
    torch = msgspec.structs.replace(one.rows[1], step=None, ranked=False, disturbed=True)
    ranking = rank(msgspec.structs.replace(one, rows=[one.rows[0], torch], pairs=[]))
    assert (ranking.fastest, ranking.tied, ranking.equivalent) == ("numpy", ["torch"], False)
    assert ranking.evidence == "not decided: the time of torch is not known"


def test_a_ratio_needs_both_to_have_a_rank(record, cell):
    times = {"numpy": 1e-5, "torch": 2e-5}
    low, high = ratio_between(record(cell(), times), "torch", "numpy")
    assert low < 2 < high
    assert ratio_between(record(cell(), times, statuses={"torch": "disagree"}), "torch", "numpy") is None


def test_every_backend_with_enough_sizes_has_a_model(made_sweep):
    ledger = made_sweep(
        lambda n, d: {"numpy": 1e-5 + 2e-8 * n + 1e-9 * n * d}, backends=["numpy"], n=[10, 1000, 100_000]
    )
    (model,) = fit_models(ledger.records())
    assert model.fixed.value == pytest.approx(1e-5, rel=0.02)
    assert model.per_example.value == pytest.approx(2e-8, rel=0.02)
    assert model.per_element.value == pytest.approx(1e-9, rel=0.02)
    assert model.error_largest < 0.1
    assert fit_models(made_sweep(crossing, "few", n=[10], d=[2, 3]).records()) == []


def test_limits_are_measured_once_and_every_row_shows_its_share(made_sweep, record, monkeypatch):
    ledger = made_sweep(crossing, n=[10, 1000], d=[5])
    told = []
    assert not measure_missing_limits(ledger, told.append)  # of another machine
    for name in ledger.names():
        one = ledger.record(name)
        times = crossing(one.cell.n, one.cell.d)
        ledger.write(record(one.cell, times, machine=this_machine(), timed_from=1.0, timed_until=1.05))
    budgets = []
    real = measure_limits
    monkeypatch.setattr(
        "compare_ag.sweep.shares.measure_limits",
        lambda threads, dtypes, budget: budgets.append(budget) or real(threads, dtypes, sizes=(1 << 14,), budget=0.01),
    )
    assert measure_missing_limits(ledger, told.append)
    assert not measure_missing_limits(ledger, told.append)
    assert budgets == [pytest.approx(0.1)]  # no longer than the cells' own timing
    assert told == ["measuring the limits of this machine with 1 thread"]
    limits = read_limits(ledger)
    shares = [row.limit_share for one in add_shares(ledger.records(), limits) for row in one.rows]
    assert len(shares) == 4
    assert all(share > 0 for share in shares)
    _, analysis = keep_tables(ledger)
    assert sorted(one.n for one in analysis.limits) == [10, 1000]
    other = made_sweep(crossing, "other")
    copy_limits(ledger, other)
    assert read_limits(other) == limits
    next((other.folder / "limits").iterdir()).write_text("{")
    assert read_limits(other) == {}


def test_an_interrupt_while_limits_are_measured_is_kept(made_sweep, monkeypatch, measuring):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("compare_ag.sweep.analysis.measure_missing_limits", interrupted)
    result = Result()
    ledger = made_sweep(crossing)
    told = measure_beyond_cells(ledger, VERSIONS, measuring(crossing), lambda _: None, result, crossovers=True)
    assert (told, result.complete) == ((False, None), False)
