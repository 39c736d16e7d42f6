"""What strangers wrote stays text: fifty payloads in every free-text field, inert in each form of output."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import unicodedata

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

import compare_ag
from compare_ag.compare import compare_runs, compare_within
from compare_ag.compare.changes import document
from compare_ag.report import comparison as changes
from compare_ag.report.escape import clean
from compare_ag.report.markdown import comparison_markdown, run_markdown
from compare_ag.report.page import render
from compare_ag.report.screen import bisect_command, print_screen, problem_options
from compare_ag.report.spreadsheet import tables
from compare_ag.report.terminal import print_run
from compare_ag.report.whole import run_json
from compare_ag.text import printable, without_paths


@pytest.fixture(scope="module")
def run(tmp_path_factory, brief):
    """A short real run with two backends."""
    folder = tmp_path_factory.mktemp("payloads")
    return compare_ag.run(["numpy", "autograd"], steps=30, timing=brief, output=folder / "run")


@pytest.fixture
def infected(run, infect, payload):
    """The run with the payload everywhere, and with a backend that failed."""
    hostile = infect(run, payload)
    (*_, last) = hostile.records
    hostile.records[last] = compare_ag.records.replace(hostile.records[last], status="crashed", cost=None)
    return hostile


def harmful(text: str) -> set[str]:
    """Characters that do something to a terminal, the line's end and the styles of a report apart."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")} - {"\n"}


def shown(parts) -> str:
    """Rich renderables as a wide terminal without colours has them."""
    file = io.StringIO()
    console = Console(file=file, width=2000, color_system=None)
    for part in parts:
        console.print(part)
    return file.getvalue()


# --- terminal -----------------------------------------------------------------------------------------------


def test_a_terminal_shows_payloads_and_does_nothing_else(infected, payload):
    file = io.StringIO()
    print_run(infected, Console(file=file, width=2000, color_system=None))
    text = file.getvalue()
    assert harmful(text) == set()
    assert text.count(printable(payload)) > 20


def test_the_first_screen_shows_payloads_and_does_nothing_else(infected, payload):
    file = io.StringIO()
    print_screen(infected, Console(file=file, width=2000, color_system=None))
    text = file.getvalue()
    assert harmful(text) == set()
    assert text.count(printable(payload)) > 5


def test_a_command_to_copy_runs_nothing_but_itself(make_run, payload):
    """Names come from a plugin, or from a run directory that somebody has sent."""
    run = make_run({"numpy": 1e-5, payload: 2e-5}, statuses={payload: "disagree"}, problem={"name": payload})
    words = shlex.split(bisect_command(run, payload, problem_options(run)))
    assert words[:6] == ["compare-ag", "bisect", payload, "numpy", "--data", payload]
    file = io.StringIO()
    print_screen(run, Console(file=file, width=2000, color_system=None))
    for line in file.getvalue().splitlines():
        if "compare-ag bisect" in line or "compare-ag check" in line:
            command = shlex.split(line.partition("compare-ag")[2])
            assert command[1] == printable(payload)


def compared(infected):
    """The infected run with itself, and within itself."""
    return [compare_runs(infected, infected), compare_within(infected, next(iter(infected.records)))]


def test_a_comparison_in_the_terminal_shows_payloads_and_does_nothing_else(infected, payload):
    for comparison in compared(infected):
        text = shown(changes.sections(comparison))
        assert harmful(text) == set()
        assert text.count(clean(payload)) > 5


# --- Markdown -----------------------------------------------------------------------------------------------

ALLOWED = {
    "paragraph_open", "paragraph_close", "inline", "text", "softbreak", "hardbreak", "code_inline", "strong_open",
    "strong_close", "bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "table_open",
    "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open", "th_close",
    "td_open", "td_close",
}  # fmt: skip
"""what our own Markdown is made of; no link, image, HTML, heading, emphasis, rule or fence"""
GITHUB = re.compile(r"@\w|(?<!\w)#\d|:\w+:|\$.*\$|https?://|www\.|~~|&#?\w+;", re.S)
"""what GitHub makes something of in plain text: mentions, issues, emoji, mathematics, links, strikethrough, entities"""


def tokens(text: str):
    """Every token, inline ones too, of a renderer that lets HTML through."""
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        yield token
        yield from token.children or ()


def test_markdown_shows_payloads_and_does_nothing_else(infected, payload):
    text = run_markdown(infected)
    found = list(tokens(text))
    assert {token.type for token in found} <= ALLOWED
    assert not [token.content for token in found if token.type == "text" and GITHUB.search(token.content)]
    assert harmful(text) == set()
    assert sum(clean(payload).replace("|", "¦") in token.content for token in found if token.type != "inline") > 3
    assert columns(text) == {12}


def columns(text: str) -> set[int]:
    """How many cells the rows of the tables have."""
    counts, cells = set(), 0
    for token in tokens(text):
        cells += token.type in ("td_open", "th_open")
        if token.type == "tr_close":
            counts.add(cells)
            cells = 0
    return counts


def test_a_comparison_in_markdown_shows_payloads_and_does_nothing_else(infected):
    for comparison in compared(infected):
        text = comparison_markdown(comparison)
        found = list(tokens(text))
        assert {token.type for token in found} <= ALLOWED | {"heading_open", "heading_close", "html_block"}
        html = [token.content.strip() for token in found if token.type == "html_block"]
        assert html == ["<details><summary>accuracy, memory, versions, method</summary>", "</details>"]
        assert sum(token.type == "heading_open" for token in found) == 1
        assert not [token.content for token in found if token.type == "text" and GITHUB.search(token.content)]
        assert harmful(text) == set()


def test_a_reason_for_having_no_rank_shows_payloads_and_does_nothing_else(make_run, payload):
    """An exception's text or a coordinate's name may be in it."""
    times = {"numpy": 1e-5, "mine": 2e-5}
    hostile, harmless = (make_run(times, unranked={"mine": f"was {text}"}) for text in (payload, "odd"))
    comparison = compare_runs(hostile, hostile)
    file = io.StringIO()
    print_run(hostile, Console(file=file, width=2000, color_system=None))
    texts = [run_markdown(hostile), comparison_markdown(comparison)]
    for text in [file.getvalue(), shown(changes.sections(comparison)), *texts]:
        assert harmful(text) == set()
    assert printable(payload) in file.getvalue()
    for text in texts:
        found = [token for token in tokens(text) if token.type not in ALLOWED]
        assert {token.type for token in found} <= {"heading_open", "heading_close", "html_block"}
        assert not [token for token in found if token.type == "html_block" and "details>" not in token.content]
        assert not [token for token in tokens(text) if token.type == "text" and GITHUB.search(token.content)]
    assert re.findall(r"<[/\w]+", render(hostile)) == re.findall(r"<[/\w]+", render(harmless))


@pytest.mark.parametrize("status", ["<img src=x onerror=alert(1)> @me", "\x1b[2J\x1b[H", "a | b"])
def test_a_status_of_a_strangers_run_does_nothing(run, status):
    changed = {name: compare_ag.records.replace(record, status=status) for name, record in run.records.items()}
    hostile = compare_ag.records.Run(run.path, run.manifest, changed, {name: run.arrays(name) for name in changed})
    file = io.StringIO()
    print_run(hostile, Console(file=file, width=2000, color_system=None))
    comparisons = compared(hostile)
    texts = [run_markdown(hostile), *map(comparison_markdown, comparisons)]
    for text in [file.getvalue(), *texts, *(shown(changes.sections(one)) for one in comparisons)]:
        assert harmful(text) == set()
        assert clean(status).replace("|", "¦") in text.replace("|", "¦")
    for text in texts:
        assert not [
            token for token in tokens(text) if token.type in ("html_inline", "html_block") and "img" in token.content
        ]
        assert not [token for token in tokens(text) if token.type == "text" and GITHUB.search(token.content)]
    assert columns(texts[0]) == {12}


# --- spreadsheets and JSON ----------------------------------------------------------------------------------


def test_no_cell_of_a_spreadsheet_is_a_formula_and_no_row_is_broken(infected, payload):
    count = 0
    for name, text in tables(infected).items():
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len({len(row) for row in rows}) == 1, name
        for value in (value for row in rows for value in row):
            assert not value.lstrip().startswith(("=", "+", "-", "@", "\t", "\r")) or is_number(value), (name, value)
            assert harmful(value) == set()
            count += clean(payload) in value
    assert count > 20


def is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def test_json_keeps_payloads_as_they_are_and_cannot_leave_a_script(infected, payload):
    text = run_json(infected)
    assert text.isascii()
    assert "<" not in text
    again = json.loads(text)
    assert again["records"][0]["name"] == without_paths(payload)
    assert again["manifest"]["problem"]["parameters"] == {without_paths(payload): 1.0}
    for comparison in compared(infected):
        assert json.loads(json.dumps(document(comparison), allow_nan=False))["backends"]


# --- figures ------------------------------------------------------------------------------------------------


def test_names_in_figures_are_drawn_and_neither_markup_nor_mathematics(run, infect):
    """Not all fifty: each takes a second to draw."""
    from xml.etree import ElementTree

    from compare_ag.report.figures import figures

    for name in ("_$\\frac{$ --></script><script>alert(1)</script>\x00\x1b[2J",):
        for data in figures(infect(run, name), "svg").values():
            tags = {element.tag.split("}")[-1] for element in ElementTree.fromstring(data).iter()}
            assert not tags & {"script", "a", "image", "foreignObject", "text"}
            assert b"<script" not in data
