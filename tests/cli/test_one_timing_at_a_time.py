"""Commands on one machine: their timings do not overlap, and who waits says for whom or exits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import compare_ag
from compare_ag.host.machine_lock import BusyError, hold

COMMAND = str(Path(sys.executable).parent / "compare-ag")
PROBLEM = ["--problem", "synthetic:n=20,d=2", "--steps", "20"]
RUN = ["run", "--backends", "numpy", *PROBLEM, "--timing-budget", "0.2"]
SECONDS = 120.0
"""within which whatever is waited for must happen, on a busy machine too"""

HOLDER = """
import sys
from compare_ag.host.machine_lock import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def lock(tmp_path, monkeypatch) -> Path:
    """The lock file of each test."""
    file = tmp_path / "machine.lock"
    monkeypatch.setenv("COMPARE_AG_LOCK", str(file))
    return file


@contextlib.contextmanager
def holder(purpose: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the machine until it is killed."""
    command = [sys.executable, "-c", HOLDER, purpose]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        watchdog = threading.Timer(SECONDS, process.kill)  # who waits by mistake must fail and not hang
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


@contextlib.contextmanager
def started(*arguments: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose output goes to a file."""
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_for(log: Path, text: str) -> str:
    """What the log holds as soon as it holds this."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if log.exists() and text in (said := log.read_text()):
            return said
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in: {log.read_text()}")


@pytest.mark.thorough
def test_two_runs_started_together_time_one_after_the_other(tmp_path):
    logs = {name: tmp_path / f"{name}.txt" for name in "ab"}
    with (
        holder("training") as training,
        started(*RUN, "-o", tmp_path / "a", log=logs["a"]) as a,
        started(*RUN, "-o", tmp_path / "b", log=logs["b"]) as b,
    ):
        for log in logs.values():
            wait_for(log, f"waiting: process {training.pid} has been training")  # so that both begin at once
        training.kill()
        assert [a.wait(SECONDS), b.wait(SECONDS)] == [0, 0], [log.read_text() for log in logs.values()]
    intervals = {}
    for name in "ab":
        speed = compare_ag.load_run(tmp_path / name).manifest.speed
        assert speed.timed_until - speed.timed_from >= speed.seconds - 0.1  # the whole timing part lies within
        intervals[name] = (speed.timed_from, speed.timed_until)
    first, second = sorted(intervals, key=lambda name: intervals[name])
    assert intervals[first][1] <= intervals[second][0]
    pid = {"a": a.pid, "b": b.pid}[first]
    assert f"waiting: process {pid} has been timing on this machine since " in logs[second].read_text()


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize("killed", ["the one that times", "the one that waits"])
def test_of_two_runs_one_that_is_killed_costs_the_other_nothing(tmp_path, killed):
    logs = [tmp_path / "first.txt", tmp_path / "second.txt"]
    budget = "300" if killed == "the one that times" else "3"
    with (
        started(*RUN[:-1], budget, "-o", tmp_path / "first", log=logs[0]) as first,
        contextlib.ExitStack() as stack,
    ):
        wait_for(logs[0], "timing: launch")
        first.send_signal(signal.SIGSTOP)  # so that it still times when the other comes, on a busy machine too
        second = stack.enter_context(started(*RUN, "-o", tmp_path / "second", log=logs[1]))
        wait_for(logs[1], f"waiting: process {first.pid} has been timing")
        victim, other = (first, second) if killed == "the one that times" else (second, first)
        assert victim.poll() is None
        victim.kill()
        first.send_signal(signal.SIGCONT)
        assert other.wait(SECONDS) == 0, [log.read_text() for log in logs]
    run = compare_ag.load_run(tmp_path / ("second" if other is second else "first"))
    assert run.manifest.state == "complete"
    assert run["numpy"].status == "ok"
    assert run["numpy"].cost is not None


@pytest.mark.thorough
@pytest.mark.parametrize("purpose", ["timing", "training"])
def test_no_wait_exits_with_5_and_has_run_nothing(tmp_path, purpose):
    for command in ([*RUN, "-o", str(tmp_path / "run")], ["selfcheck", *PROBLEM, "--budget", "1"]):
        with holder(purpose) as process:
            done = subprocess.run(
                [COMMAND, *command, "--no-wait"], capture_output=True, text=True, check=False, timeout=SECONDS
            )
        assert done.returncode == 5, done.stderr
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        words = f"error: nothing has run, because process {process.pid} has been {purpose} on this machine since "
        assert words in line
        assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_no_wait_without_timing_runs_beside_a_training_and_a_free_machine_is_used(tmp_path):
    with holder("training"):
        run = compare_ag.run(
            ["numpy"], "synthetic:n=8,d=2", steps=5, timing=False, wait=False, output=tmp_path / "a", report=False
        )
    assert run.exit_code == 0
    done = subprocess.run(
        [COMMAND, *RUN, "--no-wait", "-o", str(tmp_path / "b")], capture_output=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0
    assert compare_ag.load_run(tmp_path / "b").manifest.speed is not None


def test_from_python_no_wait_raises(tmp_path, brief):
    with holder("training") as process, pytest.raises(BusyError, match=f"process {process.pid} has been training"):
        compare_ag.run(["numpy"], "synthetic:n=8,d=2", steps=5, timing=brief, wait=False, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_interrupt_while_it_waits_to_time_keeps_what_was_trained(tmp_path):
    log = tmp_path / "log.txt"
    with holder("training") as process, started(*RUN, "-o", tmp_path / "run", log=log) as command:
        said = wait_for(log, "waiting: ")
        assert f"waiting: process {process.pid} has been training on this machine" in said
        command.send_signal(signal.SIGINT)
        assert command.wait(SECONDS) == 130
    run = compare_ag.load_run(tmp_path / "run")
    assert run.manifest.state == "partial"
    assert run["numpy"].status == "ok"
    assert run["numpy"].cost is None


@pytest.mark.thorough
def test_commands_that_only_train_wait_for_a_timing_and_share_with_a_training(tmp_path):
    trace = ["trace", "--step", "1", "--backends", "numpy", *PROBLEM]
    with holder("training"):
        done = subprocess.run([COMMAND, *trace], capture_output=True, text=True, check=False, timeout=SECONDS)
        assert done.returncode == 0
        assert done.stderr == ""
    log = tmp_path / "log.txt"
    with holder("timing") as process, started(*trace, log=log) as command:
        said = wait_for(log, "waiting: ")
        assert said.startswith(f"waiting: process {process.pid} has been timing on this machine since ")
        assert command.poll() is None
        process.kill()
        assert command.wait(SECONDS) == 0
    with holder("timing"):
        assert (
            subprocess.run([COMMAND, "explain", "--list"], capture_output=True, check=False, timeout=SECONDS).returncode
            == 0
        )


@pytest.mark.thorough
def test_a_run_without_a_usable_lock_says_so_once_and_goes_on(tmp_path, monkeypatch, brief):
    monkeypatch.setenv("COMPARE_AG_LOCK", str(tmp_path / "missing" / "machine.lock"))
    run = compare_ag.run(["numpy"], "synthetic:n=8,d=2", steps=5, timing=brief, output=tmp_path / "run", report=False)
    assert run["numpy"].cost is not None
    (warning,) = [text for text in run.manifest.warnings if "timings on this machine were not excluded" in text]
    assert warning.endswith("machine.lock cannot be opened: No such file or directory")
    assert str(tmp_path) not in warning


@pytest.mark.thorough
def test_a_benchmark_of_pytest_waits_and_names_the_holder(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n\n@pytest.mark.ag_problem('synthetic:n=8,d=2')\ndef test_it(ag_benchmark):\n"
        "    ag_benchmark('step', rounds=5)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    command += ["--ag-backends", "numpy", str(tmp_path / "test_mine.py")]
    log = tmp_path / "log.txt"
    with (
        holder("timing") as process,
        log.open("wb") as file,
        subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as session,
    ):
        said = wait_for(log, "waiting: ")
        assert f"compare-ag: waiting: process {process.pid} has been timing on this machine since" in said
        process.kill()
        assert session.wait(SECONDS) == 0
    environment = {**os.environ, "COMPARE_AG_LOCK": str(tmp_path / "missing" / "lock")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0
    assert done.stdout.count("compare-ag: other timings on this machine were not excluded: ") == 1


@pytest.mark.thorough
def test_the_lock_is_free_between_the_commands_of_one_program(tmp_path, brief):
    compare_ag.run(["numpy"], "synthetic:n=8,d=2", steps=5, timing=brief, output=tmp_path / "run", report=False)
    with hold("timing", wait=False) as held:
        assert held.failure == ""
