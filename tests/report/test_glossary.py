"""No column without an explanation: every head that the terminal report can show has an entry in the glossary."""

from __future__ import annotations

import re

import pytest
from rich.table import Table

import compare_ag
from compare_ag import records
from compare_ag.comparison import compare_runs, compare_within
from compare_ag.report import comparison as report
from compare_ag.report import speed, terminal
from compare_ag.report.glossary import COMMANDS, GLOSSARY
from compare_ag.report.grid import Grid

SECTIONS = {
    "Verdicts": "Verdicts",
    "Tests": "Tests",
    "Final weights": "Final weights",
    "Published losses": "Losses",
    "Loss": "Losses",
    "Speed": "Speed",
    "Who is faster": "Who is faster",
    "Phases of a step": "Phases",
    "Paid once": "Paid once",
    "Memory": "Memory",
}
"""how a table's title begins -> its section of the glossary"""


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


def heads(parts, monkeypatch) -> set[tuple[str, str]]:
    """(title, head) of every column; a table without a title of its own counts to the one above it."""
    found: set[tuple[str, str]] = set()
    pending: list[str] = []
    title = ""

    def add_column(self, header="", *args, **kwargs):
        pending.append(str(header))
        return original(self, header, *args, **kwargs)

    def grid(self, *columns, words=1):
        pending.extend(columns)
        made(self, *columns, words=words)

    def titled(name, table, note=""):
        nonlocal title
        title = name
        found.update((title, head) for head in pending)
        pending.clear()
        return render(name, table, note)

    original, made, render = Table.add_column, Grid.__init__, speed.titled
    with monkeypatch.context() as patch:
        patch.setattr(Table, "add_column", add_column)
        patch.setattr(Grid, "__init__", grid)
        patch.setattr(speed, "titled", titled)
        patch.setattr(terminal, "titled", titled)
        patch.setattr(report, "titled", titled)
        for _ in parts:
            found.update((title, head) for head in pending)
            pending.clear()
    return found


def entry(title: str, head: str) -> str | None:
    """The sentences on one column."""
    (section,) = {name for start, name in SECTIONS.items() if title.startswith(start)}
    return GLOSSARY[section].get("w[i]" if re.fullmatch(r"w\[\d+\]", head) else head)


def test_every_column_that_a_report_shows_is_explained(runs, make_run, monkeypatch):
    judged = make_run({"numpy": 1e-5, "mine": 2e-5}, judged=True)
    shown = {pair for run in [*runs, judged] for pair in heads(terminal.sections(run), monkeypatch)}
    assert {head for _, head in shown} >= {"timed by", "left out", "blocks judged", "over its twin"}
    shown = {(title, {"mine": "numpy"}.get(head, head)) for title, head in shown}
    assert {title for title, _ in shown if title.startswith("Memory")}
    assert {head for _, head in shown} >= {"course of the loss", "pays after", "w[39]", "published", "k", "…"}
    unnamed = {"", "…", "numpy", "autograd"}
    missing = {(title, head) for title, head in shown if head not in unnamed and not entry(title, head)}
    assert missing == set()


def test_every_column_of_a_comparison_is_explained(make_run, monkeypatch):
    before, after = make_run({"numpy": 1e-5, "mine": 2e-5}), make_run({"numpy": 1e-5, "mine": 2e-5}, seed=1)
    told = COMMANDS["Comparing runs"].keys() | {"backend", "what was found", ""}
    for comparison, sides in (
        (compare_runs(before, after), ("before", "after")),
        (compare_within(after, "numpy"), ("numpy", "here")),
    ):
        shown = {head.strip() for _, head in heads(report.sections(comparison), monkeypatch)}
        assert {"ratio", "losses", "change"} <= shown
        assert {head.removesuffix(sides[0]).strip() for head in shown} - {*sides} <= told


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
