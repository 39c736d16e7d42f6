"""NO_COLOR and FORCE_COLOR: every command heeds both, on a terminal, in a pipe, and where TERM is dumb."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare_ag.cli.colour import can_rewrite, wants_colour

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
MOVES = re.compile(r"\x1b\[\d*[A-K]|\r")
PLAIN = {
    name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS")
}


@pytest.fixture(scope="module")
def folder(make_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    make_run({"numpy": 10e-6, "mine": 20e-6}, path=folder / "run")
    return folder


COMMANDS = {
    "list": ["list"],
    "doctor": ["doctor"],
    "check": ["check", "numpy", "--only", "loads"],
    "show": ["show", "run"],
    "compare": ["compare", "run", "run"],
    "run": ["run", "--backends", "numpy", "--problem", "synthetic:n=20,d=2", "--steps", "20", "--no-timing"],
    "graph": ["graph", "--backends", "numpy"],
    "trace": ["trace", "--step", "0", "--backends", "numpy"],
    "transplant": ["transplant", "--backends", "numpy,autograd", "--steps", "2"],
}


def piped(folder: Path, arguments: list[str], **environment: str) -> str:
    """What comes out of both streams on a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "compare_ag", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, env={**PLAIN, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def in_a_terminal(folder: Path, arguments: list[str], **environment: str) -> str:
    host, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "compare_ag", *arguments], cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal,
        env={**PLAIN, "TERM": "xterm", **environment},
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    try:
        while data := os.read(host, 1 << 16):
            seen += data
    except OSError:  # Linux's word for a terminal that its last program has closed
        pass
    os.close(host)
    assert process.wait() == 0
    return seen.decode()


@pytest.mark.thorough
@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_has_colour_only_where_it_is_forced_and_never_a_line_that_is_written_over(name, folder):
    assert "\x1b" not in piped(folder, COMMANDS[name])
    forced = piped(folder, COMMANDS[name], FORCE_COLOR="1", TERM="dumb")
    assert COLOUR.search(forced)
    assert not MOVES.search(forced)


def test_help_is_plain_text_everywhere(folder):
    assert "\x1b" not in piped(folder, ["--help"], FORCE_COLOR="1", TERM="xterm")
    assert "\x1b" not in in_a_terminal(folder, ["run", "--help"])


@pytest.mark.parametrize("name", ["list", "show", "check"])
def test_no_color_wins_over_force_color(name, folder):
    assert not COLOUR.search(piped(folder, COMMANDS[name], FORCE_COLOR="1", NO_COLOR="1", TERM="xterm"))


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["list", "check", "show"])
def test_a_terminal_has_colour_unless_it_is_refused(name, folder):
    assert COLOUR.search(in_a_terminal(folder, COMMANDS[name]))
    assert not COLOUR.search(in_a_terminal(folder, COMMANDS[name], NO_COLOR="1"))
    assert not COLOUR.search(in_a_terminal(folder, COMMANDS[name], NO_COLOR="1", FORCE_COLOR="1"))


class Stream:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured", "rewritten"),
    [
        (True, {"TERM": "xterm"}, True, True),
        (True, {"TERM": "dumb"}, False, False),
        (True, {"TERM": "dumb", "FORCE_COLOR": "1"}, True, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        (True, {"TERM": "xterm", "NO_COLOR": "0"}, False, True),
        (False, {"TERM": "xterm"}, False, False),
        (False, {"FORCE_COLOR": "1"}, True, False),
        (False, {"FORCE_COLOR": ""}, False, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_no_color_wins_and_an_empty_variable_says_nothing(terminal, environment, coloured, rewritten, monkeypatch):
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(Stream(terminal)) is coloured
    assert can_rewrite(Stream(terminal)) is rewritten
