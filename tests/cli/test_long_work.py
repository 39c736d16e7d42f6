"""Commands that take long: what they say on a pipe and in a terminal, and what Ctrl-C leaves of each."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compare_ag.cli.progress import LineProgress
from compare_ag.cli.steps import Steps

SLOW = "        __import__('time').sleep(0.02)\n        w, b = weights\n"


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# --- what is said -------------------------------------------------------------------------------------------


def test_on_a_pipe_a_short_command_says_nothing_and_a_long_one_a_line_every_ten_seconds(capsys):
    clock = Clock()
    with Steps(clock=clock) as steps:
        steps.show("working", 0, 40)
        clock.now += 1.9
        steps.show("working", 1, 40)
        assert capsys.readouterr().err == ""
        for done in range(2, 32):
            clock.now += 1
            steps.show("working", done, 40)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "working … 2/40, about 0:56 left"
    assert [int(line.split()[2].split("/")[0]) for line in lines] == [2, 12, 22]


def test_in_a_terminal_one_line_is_written_over_cut_at_the_width_and_taken_away(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    clock = Clock()
    with Steps(clock=clock) as steps:
        steps.show("first\x1b[2J", 0, 9)
        clock.now += 0.05
        steps.show("first\x1b[2J", 1, 9)  # too soon
        clock.now += 3
        steps.show("a second of which the name is very long", 3, 9)
    drawn = terminal.getvalue().split("\r\x1b[2K")
    assert drawn == ["", "first\\x1b[2J … 0/9", "a second of which the name is"[:29], ""]
    assert "\n" not in terminal.getvalue()


def test_another_total_begins_another_forecast(capsys):
    clock = Clock()
    steps = Steps(clock=clock)
    steps.show("one", 0, 5)
    clock.now += 100
    steps.show("two", 0, 10)
    clock.now += 10
    steps.show("two", 5, 10)
    assert capsys.readouterr().err.splitlines()[-1] == "two … 5/10, about 0:10 left"


def test_quiet_and_a_command_whose_results_are_the_lines_say_nothing(capsys):
    for options in ({"quiet": True}, {"lines": False}):
        clock = Clock()
        steps = Steps(**options, clock=clock)
        clock.now += 60
        steps.show("working", 1, 2)
    assert capsys.readouterr().err == ""


def test_a_log_with_forced_colour_is_still_a_log(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    clock = Clock()
    steps = Steps(clock=clock)
    clock.now += 5
    steps.show("working")
    steps.clear()
    assert capsys.readouterr().err == "working …\n"


def test_a_long_training_tells_a_pipe_how_far_each_backend_is(capsys):
    clock = Clock()
    lines = LineProgress(clock)
    for second in range(25):
        lines.progress("numpy", "train", 100 * second, 10000)
        lines.progress("torch", "train", 50 * second, 10000)
        clock.now += 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("numpy: training 200/10000, about 1:38 left")
    assert said[1] == "numpy: training 1200/10000, about 1:28 left; torch: training 550/10000, about 3:27 left"
    assert len(said) == 3


# --- what Ctrl-C leaves -------------------------------------------------------------------------------------


@pytest.fixture
def slow(install_plugin, good_plugin) -> str:
    """A right backend whose forward takes 20 ms."""
    install_plugin("slow", good_plugin.replace("        w, b = weights\n", SLOW, 1))
    return "slow"


def interrupted(folder: Path, arguments: list[str], sign: str) -> subprocess.CompletedProcess[str]:
    """Run the command, wait until its output matches ``sign``, and press Ctrl-C: all of the terminal's group get it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compare_ag", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True, env={**os.environ, "COLUMNS": "160", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    seen, deadline = "", time.monotonic() + 120
    try:
        while not re.search(sign, seen):
            assert time.monotonic() < deadline, seen
            line = process.stdout.readline()
            assert line, seen
            seen += line
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 130, seen + rest
    assert "Traceback" not in seen + rest
    return subprocess.CompletedProcess(arguments, process.returncode, seen + rest, "")


SMALL = ["--problem", "synthetic:n=20,d=2"]


def test_check_keeps_the_checks_that_were_made(slow, tmp_path):
    done = interrupted(tmp_path, ["check", slow, "--junit", "results.xml"], r"passed  loss-at-zero")
    assert re.search(r"slow: \d+ passed, 0 failed, 0 skipped, \d+ not asked", done.stdout)
    assert re.search(r"interrupted: \d+ of 43 checks were made", done.stdout)
    cases = list(ElementTree.parse(tmp_path / "results.xml").iter("testcase"))
    assert len(cases) == 43
    assert 0 < sum(len(case) == 0 for case in cases) < 43


@pytest.mark.thorough
def test_bisect_judges_the_steps_that_were_recorded(slow, tmp_path):
    done = interrupted(tmp_path, ["bisect", slow, "numpy", *SMALL, "--steps", "5000"], r"slow: training [1-9]\d*/5000")
    said = re.search(r"interrupted: (\d+) steps of slow and (\d+) steps of numpy were judged", done.stdout)
    assert said, done.stdout
    assert 0 < int(said[1]) < 5000


@pytest.mark.thorough
def test_bisect_names_a_fault_that_came_before_the_interrupt(install_plugin, good_plugin, tmp_path):
    off = good_plugin.replace("        w, b = weights\n", SLOW, 1).replace("v - rate * g", "v - rate * g * 1.001")
    install_plugin("off", off)
    done = interrupted(tmp_path, ["bisect", "off", "numpy", *SMALL, "--steps", "5000"], r"off: training [1-9]\d*/5000")
    assert "off is wrong: step 0, update" in done.stdout


@pytest.mark.thorough
def test_transplant_shows_the_combinations_that_were_tried(slow, tmp_path):
    done = interrupted(
        tmp_path, ["transplant", "--backends", f"{slow},numpy", *SMALL], r"training combinations … [1-9]/8, about"
    )
    assert re.search(r"interrupted: [1-7] of 8 combinations were tried, 0 of them wrong", done.stdout)
    assert re.search(r"slow +slow +slow +right", done.stdout)


@pytest.mark.thorough
@pytest.mark.parametrize("command", [["graph"], ["trace", "--step", "0"]])
def test_graph_and_trace_show_the_backends_that_have_answered(command, install_plugin, good_plugin, tmp_path):
    hangs = "        __import__('time').sleep(300)\n        self.l2, self.loss"
    install_plugin("hangs", good_plugin.replace("        self.l2, self.loss", hangs, 1))
    done = interrupted(tmp_path, [*command, "--backends", "numpy,hangs", *SMALL], r"asking hangs … 1/2")
    assert re.search(r"numpy.*\bok\b|numpy.*right to rounding", done.stdout)
    assert re.search(r"hangs.*cancelled", done.stdout)


@pytest.mark.thorough
def test_explain_shows_the_answers_that_there_are(install_plugin, good_plugin, tmp_path):
    install_plugin("hangs", f"__import__('time').sleep(300)\n{good_plugin}")
    done = interrupted(tmp_path, ["explain", "--backends", "numpy,hangs"], r"numpy: .* … \d+/70")
    assert "interrupted: what was not asked has no answer" in done.stdout
    matrix = [line for line in done.stdout.splitlines() if line.startswith("accumulation ")]
    assert matrix
    assert not matrix[0].split()[1].startswith("–")


@pytest.mark.thorough
def test_selftest_counts_the_trainings_that_were_judged(tmp_path):
    done = interrupted(tmp_path, ["selftest"], r"training .* … [1-9]\d*/\d+, about")
    assert re.search(r"Interrupted after [1-9]\d* of \d{3} trainings\. In these: ", done.stdout)
    assert "Never caught" not in done.stdout


@pytest.mark.thorough
def test_selftest_speed_says_what_its_launches_say_and_does_not_pass(tmp_path):
    done = interrupted(
        tmp_path, ["selftest", "speed", *SMALL, "--budget", "300"], r"[1-9]\d* launches, about \d+:\d\d left"
    )
    assert re.search(r"interrupted: this is what \d+ launches say", done.stdout)
    assert "numpy against itself" in done.stdout


def test_export_keeps_the_files_that_were_written(make_run, tmp_path):
    make_run({"numpy": 0.0, "mine": 0.0}, steps=400_000, path=tmp_path / "run")
    interrupted(tmp_path, ["export", "run", "--format", "csv", "-o", "tables"], r"wrote tables/summary.csv")
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["summary.csv"]
