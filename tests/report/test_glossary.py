"""No column without an explanation: every head that a report can show has an entry in the glossary."""

from __future__ import annotations

import re

import pytest

import compare_ag
from compare_ag import records
from compare_ag.compare import compare_runs, compare_within
from compare_ag.report import comparison as report
from compare_ag.report import tables
from compare_ag.report.glossary import COMMANDS, GLOSSARY


@pytest.fixture(scope="module")
def runs(tmp_path_factory, brief):
    """One run with a published table, timing and memory; one with more features than are shown, in mini-batches."""
    folder = tmp_path_factory.mktemp("glossary")
    return [
        compare_ag.run(["numpy", "autograd"], steps=501, timing=brief, output=folder / "seed"),
        compare_ag.run(
            ["numpy"], "synthetic:n=30,d=40", steps=3, batch_size=7, timing=False, output=folder / "features"
        ),
    ]


def run_tables(run):
    """Every table that a report on a run can show."""
    made = [
        tables.verdicts, tables.losses, tables.weights, tables.speed, tables.timing, tables.pairs, tables.phases,
        tables.once, tables.memory, tables.short,
    ]  # fmt: skip
    return [table for make in made if (table := make(run)) is not None]


def missing(shown) -> list[tuple[str, str]]:
    """(caption, head) of every column without a sentence on it."""
    told = {**GLOSSARY, **COMMANDS}
    heads = [(table, column, column.section or table.section) for table in shown for column in table.columns]
    return [
        (table.caption, column.head)
        for table, column, section in heads
        if column.head
        and not column.named
        and ("w[i]" if column.head.startswith("w[") else column.head) not in told[section]
    ]


def test_every_column_that_a_report_shows_is_explained(runs, make_run):
    judged = make_run({"numpy": 1e-5, "mine": 2e-5}, judged=True)
    shown = [table for run in [*runs, judged] for table in run_tables(run)]
    heads = {column.head for table in shown for column in table.columns}
    assert heads >= {"timed by", "over its twin", "pays after", "w[39]", "published", "k", "final norm", "final w; b"}
    assert missing(shown) == []


def test_every_column_of_a_comparison_is_explained(make_run):
    before, after = make_run({"numpy": 1e-5, "mine": 2e-5}), make_run({"numpy": 1e-5, "mine": 2e-5}, seed=1)
    for comparison in (compare_runs(before, after), compare_within(after, "numpy")):
        shown = [*report.tables(comparison), report.what_else(comparison)]
        assert {"ratio", "losses", "change"} <= {column.head for table in shown for column in table.columns}
        assert missing(shown) == []


def test_a_column_of_our_own_is_never_named_by_a_plugin(runs, make_run):
    """A head that is a plugin's name has no entry; all others have one."""
    for table in run_tables(runs[0]):
        assert {column.head for column in table.columns if column.named} <= {"numpy", "autograd"}


def test_every_status_and_every_verdict_on_speed_is_explained():
    assert set(GLOSSARY["Status"]) == set(records.STATUSES)
    assert set(GLOSSARY["Speed verdict"]) == {
        "faster", "slower", "equivalent", "inconclusive", "disturbed", "unranked",
    }  # fmt: skip


def test_entries_are_sentences_without_markup():
    for section in (*GLOSSARY.values(), *COMMANDS.values()):
        for term, text in section.items():
            assert re.fullmatch(r"[A-Z(].*\.", text), term
            assert not re.search(r"[<>`*]|  ", text), term
