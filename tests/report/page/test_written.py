"""A run leaves its page, from Python and from the command line, and never fails because of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import compare_ag
from compare_ag import records
from compare_ag.report.page import render


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return compare_ag.run(
        ["numpy"], "synthetic:n=8,d=2", steps=5, timing=False, output=tmp_path_factory.mktemp("w") / "run"
    )


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "compare_ag", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_leaves_the_page_of_its_records(run):
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert page == render(records.load_run(run.path))
    assert "numpy agrees with the reference over all 5 steps" in page


def test_the_graph_is_in_the_page_where_it_was_recorded(run):
    assert run.manifest.graph is not None
    page = render(run)
    assert '<section id="graph-part"' in page
    assert page.count('class="cag-graph"') == 1
    bare = records.Run(run.path, records.replace(run.manifest, graph=None), run.records)
    assert "graph-part" not in render(bare)


def test_a_caller_may_want_no_page(tmp_path):
    made = compare_ag.run(["numpy"], "synthetic:n=8,d=2", steps=2, timing=False, output=tmp_path / "run", report=False)
    assert not (made.path / "report.html").exists()


def test_a_page_that_cannot_be_made_is_a_warning_and_the_run_is_there(tmp_path, monkeypatch):
    def fails(run):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("compare_ag.report.page.write.render", fails)
    with pytest.warns(RuntimeWarning, match="its page could not be made"):
        made = compare_ag.run(["numpy"], "synthetic:n=8,d=2", steps=2, timing=False, output=tmp_path / "run")
    assert made.exit_code == 0
    assert records.load_run(made.path)["numpy"].status == "ok"


def test_the_command_makes_the_same_page_again(run, tmp_path):
    before = (run.path / "report.html").read_bytes()
    (run.path / "report.html").unlink()
    done = command("report", run.path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"wrote {run.path / 'report.html'}\n")
    assert (run.path / "report.html").read_bytes() == before
    done = command("report", run.path / "manifest.json", "-o", "elsewhere.html", cwd=tmp_path)
    assert done.stdout == "wrote elsewhere.html\n"
    assert (tmp_path / "elsewhere.html").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "is not a run directory"), (("-o", "."), "is a directory; name a file"), (("-o", "-"), "name a file")],
)
def test_what_cannot_be_read_or_written_is_one_message(run, tmp_path, arguments, said):
    done = command("report", run.path if arguments else tmp_path, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_that_takes_no_file_is_exit_code_6(run, tmp_path):
    done = command("report", run.path, "-o", "/dev/null/page.html", cwd=tmp_path)
    assert done.returncode == 6
    assert "could not save" in done.stderr


def test_run_names_the_page_and_keeps_stdout_json(tmp_path):
    done = command(
        "run", "--backends", "numpy", "--steps", "5", "--no-timing", "--quiet", "--json", "-o", "run", cwd=tmp_path
    )
    assert json.loads(done.stdout)["exit_code"] == 0
    assert "Everything, with charts: run/report.html" in done.stderr.splitlines()
    assert done.stderr.splitlines()[-1] == "Run kept in run"
    assert (tmp_path / "run" / "report.html").is_file()
