"""What is told of a sweep: rows, terminal and page."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console

from compare_ag.records.sweeps import Analysis, Machine, latest, rank
from compare_ag.report.sweep.page import render_sweep
from compare_ag.report.sweep.rows import COLUMNS, csv_text, json_lines
from compare_ag.report.sweep.terminal import sections


def text_of(records, analysis, width=160) -> str:
    console = Console(file=io.StringIO(), width=width)
    for part in sections(records, analysis):
        console.print(part)
    return console.file.getvalue()


# --- who is the fastest ---------------------------------------------------------------------------------------


def test_the_fastest_is_named_with_the_next_one_and_its_interval(record, cell):
    ranking = rank(record(cell(), {"numpy": 1e-5, "torch": 2e-5, "slow": 9e-5}))
    assert (ranking.fastest, ranking.tied, ranking.runner_up) == ("numpy", [], "torch")
    assert ranking.ratio.low < 2 < ranking.ratio.high
    assert ranking.evidence == "torch takes 2 (1.96 to 2.04) times as long"


@pytest.mark.parametrize(
    ("half", "equivalent", "words"), [(0.001, True, "within the margin"), (0.05, False, "not decided")]
)
def test_what_is_not_shown_to_be_slower_is_tied(record, cell, half, equivalent, words):
    ranking = rank(record(cell(), {"torch": 1.001e-5, "numpy": 1e-5}, half=half))
    assert (ranking.fastest, ranking.tied, ranking.equivalent) == ("numpy", ["torch"], equivalent)
    assert words in ranking.evidence


def test_a_wrong_backend_is_no_candidate_and_without_any_there_is_no_ranking(record, cell):
    times = {"numpy": 1e-5, "torch": 1e-6}
    assert rank(record(cell(), times, statuses={"torch": "disagree"})).fastest == "numpy"
    assert rank(record(cell(), times, statuses={"torch": "disagree", "numpy": "crashed"})) is None


def test_of_two_records_of_a_cell_the_later_one_counts_on_each_machine(record, cell):
    other = Machine(id="ffffffff", cpu="Other", system="Linux", logical_cpus=2, memory_bytes=1)
    early = record(cell(), {"numpy": 1e-5})
    late = record(cell(), {"numpy": 2e-5}, created="2026-02-01T12:00:00+00:00", versions={"numpy": "9"})
    apart = record(cell(), {"numpy": 3e-5}, machine=other)
    assert latest([late, early, apart]) == [late, apart]


# --- rows -----------------------------------------------------------------------------------------------------


def test_every_backend_of_every_cell_has_a_row_with_all_digits(varied):
    records, _ = varied
    rows = list(csv.DictReader(io.StringIO(csv_text(records))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 14 * 3 + 2  # a skipped cell has one
    first = next(row for row in rows if row["backend"] == "numpy" and row["n"] == "10000")
    assert float(first["step_seconds"]) == 1e-5 + 2e-8 * 10_000
    assert {row["place"] for row in rows} == {"fastest", "tied", "slower", ""}
    skipped = [row for row in rows if row["cell_status"] == "skipped"]
    assert [row["backend"] for row in skipped] == ["", ""]
    assert "40 GiB" in skipped[0]["cell_reason"]
    lines = [json.loads(line) for line in json_lines(records).splitlines()]
    assert [line["key"] for line in lines] == [row["key"] for row in rows]


def test_numbers_that_are_not_finite_stay_json_and_formulas_stay_text(record, cell):
    one = record(cell(), {"numpy": 1e-5}, status="failed", reason="=1+1")
    row = msgspec.structs.replace(one.rows[0], worst_ratio="inf")
    one = msgspec.structs.replace(one, rows=[row])
    assert json.loads(json_lines([one]))["worst_ratio"] == "inf"
    assert "'=1+1" in csv_text([one])


# --- terminal -------------------------------------------------------------------------------------------------


def test_the_summary_has_winners_ties_models_crossovers_and_failures(varied):
    shown = text_of(*varied)
    assert "16 cells: 14 ok, 2 skipped." in shown
    assert "Fastest correct backend: float64, 1 thread, logits" in shown
    assert "numpy 5" in shown
    assert "numpy ≟ torch" in shown
    assert "Along n at d = 2 (float64, 1 thread, logits): numpy is faster up to 4,000 and torch from 4,700 on" in shown
    assert "8 % median, 30 % largest, 7 cells" in shown
    assert "slow: disagree" in shown
    assert "memory: it needs about 40 GiB" in shown


def test_machines_are_shown_apart(record, cell):
    other = Machine(id="ffffffff", cpu="Other CPU", system="Linux", logical_cpus=8, memory_bytes=1)
    records = latest([record(cell(), {"numpy": 1e-5}), record(cell(), {"torch": 1e-6}, machine=other)])
    shown = text_of(records, Analysis())
    assert "On Made CPU, 2 CPUs (0a1b2c3d)" in shown
    assert "On Other CPU, 8 CPUs (ffffffff)" in shown
    assert shown.index("numpy") < shown.index("On Other CPU") < shown.index("torch")


def test_a_long_list_of_failures_is_cut_and_says_so(record, cell):
    records = [record(cell(n), {}, status="failed", reason="x") for n in range(2, 52)]
    assert "and 30 more in report.html and cells.csv" in text_of(records, Analysis())


# --- page -----------------------------------------------------------------------------------------------------


def test_the_page_shows_the_heat_map_the_charts_and_the_reasons(varied):
    page = render_sweep(*varied)
    assert page == render_sweep(*varied)
    assert page.count('class="heat"') == 2
    assert '<td class="look-0 strength-3">' in page
    assert '<td class="look-0 strength-1 other-1">' in page  # the tie
    assert page.count('class="plot"') == 6  # two lines and memory for each of two precisions
    assert "machine&#39;s limit" in page or "machine's limit" in page or "machine\\u0027s limit" in page
    assert "memory: it needs about 40 GiB" in page
    assert "cells.csv" in page
    assert 'src="http' not in page


def test_a_page_of_nothing_is_a_page(record, cell):
    assert "nothing measured" in render_sweep([], Analysis())
    assert "No line has two timed sizes to draw." in render_sweep([record(cell(), {"numpy": 1e-5})], Analysis())


def test_threads_are_an_axis(record, cell):
    records = [record(cell(100, 3, threads=t), {"numpy": 1e-3 / t, "torch": 2e-3 / t}) for t in (1, 2, 4)]
    assert "Time per step against threads at n = 100, d = 3" in render_sweep(latest(records), Analysis())


class Elements(HTMLParser):
    """Every element of a page with the names of its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))


def test_a_strangers_text_adds_no_element_and_no_attribute(payload, record, cell):
    def make(text: str):
        times = {"numpy": 1e-5, text: 2e-5}
        return [record(cell(n, backends=("numpy", text)), times, status="failed", reason=text) for n in (10, 20)]

    assert (
        Elements(render_sweep(make(payload), Analysis())).found == Elements(render_sweep(make("x"), Analysis())).found
    )
    text_of(make(payload), Analysis())
    assert len(list(csv.DictReader(io.StringIO(csv_text(make(payload)))))) == 4
    assert len(json_lines(make(payload)).splitlines()) == 4


def test_a_large_table_is_cut_and_the_download_is_whole(record, cell):
    records = [record(cell(n), {"numpy": 1e-5, "torch": 2e-5}) for n in range(2, 302)]
    page = render_sweep(records, Analysis())
    assert "The first 500 of 600 rows; cells.csv below has them all." in page
    assert "n=301 d=3" not in page
    assert "\\r\\n" in page
    assert page.count(records[-1].key) == 4  # of two backends, in the two downloads
