"""The live display: what it shows at which width, how it counts, and what is left where there is no terminal for it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from compare_ag import records
from compare_ag.cli.plain import register
from compare_ag.cli.progress import LineProgress, LiveProgress, make_progress
from compare_ag.suite import Observer, TimingProgress
from compare_ag.suite.display import MOST_LOSSES, ProgressRow
from compare_ag.text import clock_time

COMMAND = str(Path(sys.executable).parent / "compare-ag")


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Problem:
    """As much of one as the display asks for."""

    steps = 1000


def record(name: str, status: str = "ok") -> records.BackendRecord:
    return records.BackendRecord(
        name=name, module="m", distribution="d", version="1", status=status, train_seconds=0.25
    )


def display(width: int, *names: str, clock: Clock | None = None) -> LiveProgress:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    live = LiveProgress(console, clock or Clock())
    live.begin(list(names), Problem())  # type: ignore[arg-type]  # as much of one as it asks for
    return live


def shown(live: LiveProgress) -> list[str]:
    """What it looks like now."""
    file = io.StringIO()
    Console(file=file, width=live._console.width, color_system=None).print(live, end="")
    return file.getvalue().splitlines()


def at_work(width: int) -> LiveProgress:
    """numpy has been judged, torch trains, the third waits."""
    clock = Clock()
    live = display(width, "numpy", "torch", "a-very-long-name-of-a-backend", clock=clock)
    live.progress("torch", "train", 0, 1000)
    live.losses("torch", np.linspace(0.7, 0.1, 250))
    clock.now += 5
    live.progress("torch", "train", 250, 1000)
    live.trained(record("numpy"))
    return live


def test_each_backend_has_state_step_loss_course_and_time_left():
    live = at_work(120)
    numpy, torch, third = shown(live)
    assert numpy.split() == ["numpy", "ok"]
    assert torch.split()[:3] == ["torch", "training", "250/1000"]
    assert re.search(r"━+─+ +0\.1 █[▁-█]+ +0:15$", torch)
    assert torch.count("━") / (torch.count("━") + torch.count("─")) == pytest.approx(0.25, abs=0.03)
    assert third.split() == ["a-very-long-name-of…", "waiting"]
    live.end()


WANTED = {
    140: ["training", "250/1000", "━", "0.1", "█", "0:15"],
    80: ["training", "250/1000", "0.1", "█", "0:15"],
    60: ["training", "250/1000", "0.1", "0:15"],
    40: ["training", "250/1000"],
    24: ["training"],
}


@pytest.mark.parametrize("width", WANTED)
def test_what_does_not_fit_is_left_out_the_least_important_first(width):
    live = at_work(width)
    lines = shown(live)
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert all(word in lines[1] for word in WANTED[width])
    assert all(word not in lines[1] for word in set(WANTED[140]) - set(WANTED[width]))
    live.end()


def test_timing_has_a_row_with_its_forecast_and_failures_show():
    live = display(100, "numpy", "torch")
    for name in ("numpy", "torch"):
        live.trained(record(name))
        live.progress(name, "timing", 0, 1)
    live.timing(TimingProgress(3, 6.0, 11.2, 0.0123, 0.01))
    assert shown(live)[2] == "speed launch 3, ±1.24 % (aim ±1.01 %), about 12 s left"
    assert shown(live)[0].split() == ["numpy", "timing"]
    live.timed(record("numpy"))
    live.timed(record("torch", "crashed"))
    assert [line.split()[1] for line in shown(live)[:2]] == ["ok", "crashed"]
    live.end()


def test_a_new_stage_starts_its_own_estimate():
    clock = Clock()
    live = display(100, "numpy", clock=clock)
    live.progress("numpy", "train", 0, 1000)
    clock.now += 10
    live.progress("numpy", "train", 1000, 1000)
    live.progress("numpy", "repeat", 1, 500)
    assert "0:" not in shown(live)[0]
    clock.now += 1
    live.progress("numpy", "repeat", 100, 500)
    assert shown(live)[0].endswith("0:04")
    live.end()


def test_drawing_is_rare_unless_something_is_new():
    clock = Clock()
    live = display(100, "numpy", clock=clock)
    file = live._console.file
    live.progress("numpy", "train", 0, 1000)
    before = len(file.getvalue())
    for step in range(50):
        clock.now += 0.001
        live.progress("numpy", "train", step, 1000)
    assert len(file.getvalue()) == before
    clock.now += 1
    live.progress("numpy", "train", 60, 1000)
    assert len(file.getvalue()) > before
    live.end()


def test_a_terminal_that_changes_its_size_is_drawn_at_once_also_while_nothing_happens():
    before = signal.getsignal(signal.SIGWINCH)
    live = display(100, "numpy")
    file = live._console.file
    drawn = len(file.getvalue())
    live._console.width = 40
    os.kill(os.getpid(), signal.SIGWINCH)
    assert len(file.getvalue()) > drawn
    live.end()
    assert signal.getsignal(signal.SIGWINCH) == before


def test_lines_that_a_narrower_terminal_has_wrapped_are_taken_back():
    live = at_work(140)
    wide = shown(live)
    file = live._console.file
    file.truncate(0)
    live._console.width = 50
    live.progress("torch", "points", 0, 0)
    wrapped = sum(-(-len(line) // 50) - 1 for line in wide)
    assert wrapped > 0
    assert file.getvalue().count("\x1b[1A") == wrapped + len(wide) - 1
    live.end()


def test_a_course_keeps_its_whole_span_however_long_it_gets():
    row = ProgressRow("numpy")
    losses = np.linspace(1, 0, 10_007)
    for chunk in np.array_split(losses, 97):
        row.add(chunk)
    assert row.loss == 0
    assert MOST_LOSSES / 2 <= len(row.course) <= MOST_LOSSES
    assert row.course == losses[:: row.stride].tolist()


def test_a_payload_of_a_name_moves_no_terminal(payload):
    live = display(120, payload)
    live.progress(payload, "train", 5, 1000)
    text = "".join(shown(live))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text)
    assert live._rows[payload].name == payload
    live.end()


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:01"), (59, "0:59"), (61, "1:01"), (3723, "1:02:03")])
def test_time_left_reads_as_a_clock(seconds, text):
    assert clock_time(seconds) == text


# --- elsewhere ----------------------------------------------------------------------------------------------


def test_without_a_terminal_there_are_lines_and_quietly_nothing(monkeypatch):
    pipe, terminal = Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)
    assert type(make_progress(pipe, quiet=False)) is LineProgress
    assert type(make_progress(terminal, quiet=False)) is LiveProgress
    assert type(make_progress(terminal, quiet=True)) is Observer
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_progress(Console(file=io.StringIO(), force_terminal=True), quiet=False)) is LineProgress


def test_lines_about_timing_are_rare(capsys):
    clock = Clock()
    lines = LineProgress(clock)
    lines.trained(record("numpy"))
    for launch in range(1, 41):
        clock.now += 1
        lines.timing(TimingProgress(launch, launch, 40 - launch, 0.02, 0.01))
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "numpy: ok (trained in 0.25 s)"
    assert err[1] == "timing: launch 1, ±2.02 % (aim ±1.01 %), about 39 s left"
    assert len(err) == 5


def test_whom_a_run_waits_for_is_shown_until_it_goes_on(capsys):
    reason = "process 4711 has been timing on this machine since 12:03:04"
    live = at_work(100)
    live.waiting(reason)
    assert shown(live)[-1] == f"waiting: {reason}"
    live.waiting("")
    assert "waiting: " not in "\n".join(shown(live))
    live.end()
    lines = LineProgress(Clock())
    for said in (reason, reason, "", "", reason, reason.replace("11", "12")):
        lines.waiting(said)
    assert capsys.readouterr().err.splitlines() == [
        f"waiting: {reason}", f"waiting: {reason}", f"waiting: {reason.replace('11', '12')}",
    ]  # fmt: skip


def test_a_terminal_without_unicode_gets_one_ascii_letter_for_each():
    text = "█▁ ━─│┤└ µs × … ≤ → é 漢"
    plain = text.encode("ascii", register()).decode()
    assert plain == "#_ =-||+ us x ~ < > e ?"
    assert len(plain) == len(text)
    assert text.encode("latin-1", register()).decode("latin-1") == "#_ =-||+ µs × ~ < > é ?"


@pytest.mark.thorough
def test_in_a_real_terminal_ctrl_c_takes_the_display_away_and_keeps_the_run(tmp_path, install_plugin, good_plugin):
    """The display is drawn, follows a resize, and after Ctrl-C the cursor is back and the partial run is there."""
    slow = "        __import__('time').sleep(0.05)\n        w, b = weights\n"
    install_plugin("slow", good_plugin.replace("        w, b = weights\n", slow, 1))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [COMMAND, "run", "--backends", "slow", "--problem", "synthetic:n=20,d=2", "--steps", "5000", "-o", "run"]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = ""

    def wait_for(pattern: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 60
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, seen[-2000:]
            try:
                seen += os.read(ours, 65536).decode(errors="replace")
            except OSError:  # the other end has been closed
                assert re.search(pattern, seen), seen
                return

    try:
        wait_for(r"training.*[1-9]\d*/5000.*━")
        seen = ""
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        process.send_signal(signal.SIGWINCH)
        wait_for(r"/5000\r")  # and nothing after it
        process.send_signal(signal.SIGINT)
        wait_for(r"Run kept in run")
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "\x1b[?25h" in seen  # the cursor is shown again
    assert "interrupted: what had finished is kept in run" in seen
    assert "Traceback" not in seen
    run = records.load_run(tmp_path / "run")
    assert (run.manifest.state, run["slow"].status) == ("partial", "cancelled")
