"""Runs and records in notebooks: what they show, rows for data frames, and the progress below a cell."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas
import polars
import pytest

import compare_ag
from compare_ag import notebook, records
from compare_ag.notebook.progress import NotebookProgress
from compare_ag.records import BackendRecord
from compare_ag.suite import TimingProgress

VOID = {"progress"}


class Checker(HTMLParser):
    """Collects tags and attributes, and notices what is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes += attrs

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


# --- what they show -----------------------------------------------------------------------------------------


@pytest.fixture
def run(make_run):
    return make_run({"numpy": 10e-6, "mine": 25e-6}, statuses={"mine": "disagree"})


def test_a_run_shows_its_answer_a_row_for_each_backend_and_a_line_for_each(make_run):
    html = make_run({"numpy": 10e-6, "mine": 25e-6})._repr_html_()
    assert checked(html).tags <= {"div", "p", "b", "table", "tr", "th", "td", "svg", "path", "text", "polyline", "line"}
    assert html.startswith("<div><p><b>numpy and mine agree with the reference")
    assert html.count("<tr>") == 3
    assert "1, the baseline" in html
    assert re.search(r"2\.\d+, slower", html)
    assert html.count("<polyline") == 2
    assert len(set(re.findall(r'stroke="(#\w+)"', html))) == 2


def test_a_record_shows_what_was_found_and_a_bar_for_each_test():
    tests = [
        records.TestRecord(test="gradient", judged=5, undecided=0, ratio=0.5),
        records.TestRecord(test="update", judged=5, undecided=0, ratio="inf", findings=["update is wrong"]),
    ]
    verdict = records.VerdictRecord(
        status="diverges", message="off at step 3", first_step=3, quantity="w", coordinate="w[0]", observed=1.0,
        tolerance=0.1, worst_ratio="inf", weights_error=1.0, weights_tolerance=0.1, tests=tests,
    )  # fmt: skip
    record = BackendRecord(
        name="mine", module="m", distribution="d", version="1", status="disagree", verdict=verdict, versions={"np": "2"}
    )
    html = record._repr_html_()
    checked(html)
    assert "off at step 3" in html
    assert "np 2" in html
    bars = dict(
        zip(("gradient", "update"), re.findall(r'<rect [^>]*width="([\d.]+)"[^>]*fill="(#\w+)"', html), strict=True)
    )
    assert float(bars["update"][0]) == pytest.approx(2.5 * float(bars["gradient"][0]), abs=0.2)  # cut at 1.25
    assert bars["update"][1] != bars["gradient"][1]


def test_losses_that_no_axis_can_show_leave_a_gap_and_never_a_wrong_number(make_run):
    run = make_run({"numpy": 0.0, "mine": 0.0})
    losses = run.arrays("mine")["losses"].copy()
    losses[50:60], losses[100] = np.nan, np.inf
    run._cache["mine"]["losses"] = losses
    html = run._repr_html_()
    assert not re.search(r"nan|inf", html.lower().replace("info", ""))
    assert html.count("<polyline") == 1 + 3
    for name in run.records:
        run._cache[name]["losses"] = np.full(5, np.nan)
    assert "<svg" not in run._repr_html_()


def test_few_equal_and_negative_losses_are_drawn(make_run):
    run = make_run({"numpy": 0.0})
    for losses in ([0.5], [0.5, 0.5, 0.5], [-1.0, 2.0], [1e-300, 1e150]):
        run._cache["numpy"]["losses"] = np.array(losses)
        points = re.findall(r'points="([^"]+)"', run._repr_html_())
        assert points
        for x, y in (point.split(",") for point in points[0].split()):
            assert 0 <= float(x) <= 560
            assert 0 <= float(y) <= 200


def test_a_payload_is_text(payload, make_run, infect):
    run = infect(make_run({"numpy": 10e-6, "mine": 20e-6}, statuses={"mine": "disagree"}), payload)
    for html in (run._repr_html_(), *(record._repr_html_() for record in run.records.values())):
        found = checked(html)
        assert not found.tags & {"script", "img", "a", "iframe", "style", "link", "input", "object"}
        assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href")]


def test_without_the_notebooks_module_records_show_their_text():
    code = (
        "from pathlib import Path\nfrom compare_ag.records import BackendRecord\n"
        "r = BackendRecord(name='n', module='m', distribution='d', version='1', status='ok')\n"
        "print(r._repr_html_())\nimport compare_ag\ncompare_ag.load_run\nprint(r._repr_html_()[:5])\n"
        "import sys\nprint('compare_ag.suite' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n<div>\nFalse\n"


# --- rows ---------------------------------------------------------------------------------------------------


def test_rows_of_backends_have_what_the_records_say(run):
    numpy_row, mine = run.rows()
    assert list(numpy_row) == list(mine)
    assert (numpy_row["backend"], numpy_row["status"], mine["status"]) == ("numpy", "ok", "disagree")
    assert numpy_row["step_seconds_low"] < numpy_row["step_seconds"] < numpy_row["step_seconds_high"]
    assert numpy_row["step_seconds"] == run["numpy"].cost.step.value
    assert numpy_row["ratio"] is None  # the baseline has none to itself
    assert numpy_row["peak_bytes"] == run["numpy"].memory.peak_bytes
    for row in (numpy_row, mine):
        assert {type(value) for value in row.values()} <= {str, float, int, bool, type(None)}


def test_the_ratio_is_that_of_the_pair(make_run):
    run = make_run({"numpy": 10e-6, "mine": 25e-6})
    mine = run.rows()[1]
    assert (mine["ratio"], mine["speed"]) == (run.manifest.speed.pair("mine", "numpy").ratio.value, "slower")


def test_rows_of_losses_weights_and_blocks_are_the_arrays(run):
    losses = run.rows("losses")
    assert len(losses) == 2 * 201
    assert losses[5] == {
        "backend": "numpy", "step": 5, "loss": run.arrays("numpy")["losses"][5],
        "reference": run.reference["losses"][5], "tolerance": run.reference["loss_tolerance"][5],
    }  # fmt: skip
    weights = run.rows("weights")
    assert weights[0]["w[2]"] == run.arrays("numpy")["w"][0, 2]
    blocks = run.rows("blocks")
    wall = run.arrays("numpy")["block_wall_ns"]
    assert sum(row["backend"] == "numpy" for row in blocks) == wall.size
    assert blocks[1]["wall_seconds"] == pytest.approx(wall[0, 0, 1] * 1e-9)
    assert blocks[0]["steps"] == 50


def test_blocks_that_do_not_count_are_marked(make_run):
    run = make_run({"numpy": 10e-6, "mine": 20e-6}, disturbed={"mine": 0.5})
    counts = [row["counts"] for row in run.rows("blocks") if row["backend"] == "mine"]
    assert set(counts) == {True, False}


def test_an_unknown_table_is_refused_with_those_there_are(run):
    with pytest.raises(ValueError, match="no table 'speed'; there are backends, losses, weights, blocks"):
        run.rows("speed")


def test_a_run_without_arrays_has_no_rows_of_them(make_run):
    run = make_run({"numpy": 0.0}, statuses={"numpy": "crashed"})
    assert [run.rows(table) for table in ("losses", "weights", "blocks")] == [[], [], []]
    assert run.rows()[0]["worst_ratio"] is None


@pytest.mark.parametrize("library", [pandas.DataFrame, polars.DataFrame])
def test_libraries_of_data_frames_take_them(library, run):
    for table in ("backends", "losses", "weights", "blocks"):
        assert len(library(run.rows(table))) == len(run.rows(table))


# --- progress -----------------------------------------------------------------------------------------------


class Display:
    """IPython's, as far as it is used: what was shown, each time."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, what, *, display_id):
        assert display_id
        self.update(what)
        return self

    def update(self, what) -> None:
        self.shown.append(what._repr_html_())


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


def test_progress_shows_each_backend_and_disappears():
    display, clock = Display(), Clock()
    progress = NotebookProgress(display, clock)
    progress.begin(["numpy", "<b>x</b>"], SimpleNamespace(steps=1000))
    assert "<td>waiting</td>" in display.shown[0]
    assert "&lt;b&gt;x" in display.shown[0]
    progress.progress("numpy", "train", 0, 1000)
    clock.now += 5
    progress.losses("numpy", np.array([0.7, 0.5, 0.25]))
    progress.progress("numpy", "train", 250, 1000)
    assert '<td>250/1000</td><td><progress value="250" max="1000"></progress></td><td>0.25</td>' in display.shown[-1]
    assert "0:15 left" in display.shown[-1]
    progress.waiting("process 4711 has been timing")
    assert "waiting: process 4711" in display.shown[-1]
    progress.waiting("")
    progress.timing(TimingProgress(3, 5.0, 12.0, 0.02, 0.01))
    assert "speed: launch 3" in display.shown[-1]
    progress.end()
    assert display.shown[-1] == ""


def test_drawing_is_rare_unless_something_is_new():
    display, clock = Display(), Clock()
    progress = NotebookProgress(display, clock)
    progress.begin(["numpy"], SimpleNamespace(steps=1000))
    for step in range(100):
        clock.now += 0.01
        progress.progress("numpy", "train", step, 1000)
    assert len(display.shown) <= 2 + 1.0 / 0.25 + 1


def test_only_a_kernel_is_a_notebook(monkeypatch):
    assert not notebook.in_notebook()
    assert notebook.notebook_progress() is None
    shell = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert not notebook.in_notebook()  # a terminal's IPython
    shell.kernel = object()
    display = Display()
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    assert isinstance(notebook.notebook_progress(), NotebookProgress)


def test_a_run_in_a_kernel_shows_its_progress_unless_it_is_told_not_to(monkeypatch, tmp_path):
    display = Display()
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    options = {"steps": 20, "timing": False, "report": False}
    compare_ag.run(["numpy"], "synthetic:n=20,d=2", output=tmp_path / "one", progress=False, **options)
    assert display.shown == []
    compare_ag.run(["numpy"], "synthetic:n=20,d=2", output=tmp_path / "two", **options)
    assert any("<td>ok</td>" in html for html in display.shown)
    assert display.shown[-1] == ""
