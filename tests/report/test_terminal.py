"""The report says what the records hold: the answer first, every backend in it, nothing cut off or taken as markup."""

from __future__ import annotations

import io
from typing import get_args

import pytest
from rich.console import Console

import compare_ag
from compare_ag import records
from compare_ag.report.terminal import answer, print_run
from compare_ag.verify.samples import Test


@pytest.fixture(scope="module")
def seed(tmp_path_factory, brief, let_all_blocks_count):
    """A short real run of the seed problem with two backends; nothing counts as disturbed, whatever else runs."""
    folder = tmp_path_factory.mktemp("terminal")
    with pytest.MonkeyPatch.context() as patch:
        let_all_blocks_count(patch)
        return compare_ag.run(["numpy", "autograd"], steps=501, timing=brief, output=folder / "run")


def with_record(run, name, **changes):
    """The run with one backend's record changed."""
    changed = dict(run.records) | {name: records.replace(run[name], **changes)}
    return records.Run(run.path, run.manifest, changed)


def printed(run, width=140) -> str:
    file = io.StringIO()
    print_run(run, Console(file=file, width=width))
    return file.getvalue()


@pytest.mark.thorough
def test_the_answer_tells_agreement_reproduction_and_speed(seed):
    speed = seed.manifest.speed
    pairs = [records.replace(pair, verdict="slower") for pair in speed.pairs]  # whatever the machine was busy with
    decided = records.replace(seed.manifest, speed=records.replace(speed, pairs=pairs))
    text = answer(records.Run(seed.path, decided, seed.records)).plain
    assert "numpy and autograd agree with the reference over all 501 steps" in text
    assert "All 2 published losses are reproduced by all 2." in text
    assert "Per step numpy takes" in text
    assert "autograd takes" in text


def test_a_published_loss_that_is_missed_is_told(seed):
    rows = [records.replace(row, reproduced=False) for row in seed["numpy"].published]
    run = with_record(seed, "numpy", published=rows)
    assert "The published losses are not reproduced by numpy." in answer(run).plain
    assert "✗ not reproduced" in printed(run)
    assert "✗ not reproduced" not in printed(seed)


def test_no_number_of_the_seed_is_broken_at_80_columns(seed):
    text = printed(seed, 80)
    for name in ("numpy", "autograd"):
        for row in seed[name].published:
            assert f"{float(row.observed):.8f}" in text
        assert f"{seed.arrays(name)['final_w'][1]:.7g}" in text


@pytest.mark.parametrize("status", sorted(set(records.STATUSES) - {"ok"}))
def test_every_status_is_in_the_answer_and_in_the_table(seed, status):
    run = with_record(seed, "autograd", status=status, reason="because of this", cost=None)
    said = {
        "imported": ": timed by pytest-benchmark, after a check of the numbers",
        "disagree": " disagrees with the reference",
    }.get(status, f": {status}")
    assert f"autograd{said}." in answer(run).plain
    assert "numpy agrees with the reference." in answer(run).plain
    assert "because of this" in printed(run)


def test_a_failed_backend_shows_its_source_and_its_log(seed):
    run = with_record(
        seed, "autograd", status="crashed", reason="[red]SIGSEGV[/red]", logs=["logs/autograd.train.stderr.txt"]
    )
    text = printed(run)
    assert "autograd: crashed, [red]SIGSEGV[/red] (compare-ag" in text
    assert "logs/autograd.train.stderr.txt" in text


TESTS = sorted(set(get_args(Test)) - {"protocol"})
"""all that a verdict may hold; a broken protocol has no ratio, its message tells it"""


def test_every_test_has_its_column_at_80_columns_too(seed):
    """A fault that one test alone has found is not hidden, whichever it is."""
    tests = [
        records.TestRecord(test=name, judged=1001 + i, undecided=0, ratio=70.0 + i) for i, name in enumerate(TESTS)
    ]
    run = with_record(seed, "numpy", verdict=records.replace(seed["numpy"].verdict, tests=tests))
    _, table = printed(run, 80).split("Verdict of each backend")
    table = table.split("In brackets: how many")[0]
    for i, name in enumerate(TESTS):
        assert name in table
        assert f"{70 + i} ({1001 + i})" in table


def test_an_imported_run_has_no_time_at_which_a_start_has_paid(imported):
    _, table = printed(imported).split("Who is faster")
    (line,) = [line for line in table.split("Phases of a step")[0].splitlines() if line.startswith("torch / numpy")]
    assert line.split()[3] == "17.7"
    assert line.endswith("n/a")


def test_a_partial_run_says_so_first(seed):
    run = records.Run(seed.path, records.replace(seed.manifest, state="partial"), seed.records)
    assert answer(run).plain.startswith("This run did not finish")


def test_a_backend_without_rank_keeps_its_place_in_the_speed_table(seed):
    run = with_record(seed, "autograd", status="disagree", reason="off", cost=None, timing_note="not timed: no rank")
    assert "not timed: no rank" in printed(run)


def test_phases_of_a_backend_that_does_not_split_are_not_made_up(seed):
    cost = records.replace(seed["numpy"].cost, phases=None, closure=None, gradient_ratio=None)
    text = printed(with_record(seed, "numpy", cost=cost))
    _, phases = text.split("Phases of a step")
    (line,) = [line for line in phases.split("Paid once")[0].splitlines() if line.startswith("numpy")]
    assert line.split().count("n/a") == 5


@pytest.mark.parametrize("width", [30, 60, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(seed, width):
    text = printed(seed, width)
    assert max(len(line) for line in text.splitlines()[:-1]) <= width
    assert "…" not in text


def test_many_features_are_abridged_and_counted(tmp_path):
    run = compare_ag.run(["numpy"], "synthetic:n=30,d=40", steps=3, timing=False, output=tmp_path / "run")
    text = printed(run)
    assert "6 of 40 weights" in text
    assert "w[0]" in text
    assert "w[39]" in text
    assert "w[20]" not in text


def test_mini_batches_say_whose_loss_it_is(tmp_path):
    run = compare_ag.run(["numpy"], "synthetic:n=30,d=2", steps=9, batch_size=7, timing=False, output=tmp_path / "run")
    assert "Loss of the step's batch after k steps" in printed(run)
    assert "batches of 7" in printed(run)
