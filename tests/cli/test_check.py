"""What `check` shows: in a pipe, in a terminal, as JSON, and to the shell that completes it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from compare_ag.check.ladder import CHECKS
from compare_ag.cli.check import CheckIds

RAISES = ("w, batch, residual = tape", "raise ValueError('not yet')")


def check(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "compare_ag", "check", *arguments],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def in_a_terminal(*arguments, **environment):
    """What a terminal that is both stdout and stderr receives."""
    host, terminal = pty.openpty()
    with os.fdopen(host, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "compare_ag", "check", *arguments],
            stdin=terminal, stdout=terminal, stderr=terminal, env={**os.environ, "TERM": "xterm", **environment},
        )  # fmt: skip
        os.close(terminal)
        seen = b""
        try:
            while data := screen.read(1 << 16):
                seen += data
        except OSError:  # Linux's word for a terminal that its last program has closed
            pass
        return process.wait(), seen.decode()


def test_piped_output_is_plain_lines_and_stderr_stays_empty():
    done = check("numpy", "--only", "loads,loss-at-zero")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert done.stdout.splitlines()[-1] == "numpy: 2 passed, 0 failed, 0 skipped"


def test_a_terminal_shows_the_check_that_runs_and_takes_it_back():
    code, seen = in_a_terminal("numpy", "--only", "loads", NO_COLOR="")
    assert code == 0
    assert "loads …\r\x1b[2K\x1b[32mpassed\x1b[0m  loads: class NumpyBackend" in seen


@pytest.mark.parametrize(("variable", "value", "absent"), [("NO_COLOR", "1", "\x1b[32m"), ("TERM", "dumb", "\x1b[2K")])
def test_a_terminal_without_colour_or_without_skills_is_respected(variable, value, absent):
    code, seen = in_a_terminal("numpy", "--only", "loads", **{variable: value})
    assert code == 0
    assert "loads: class NumpyBackend" in seen
    assert absent not in seen


def test_a_worker_that_fails_is_one_failure_with_its_traceback_and_a_line_on_the_rest(install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace(*RAISES))
    done = check("broken", "--only", "gradient-at-zero,update,step")
    assert done.returncode == 3
    assert f"Next: gradient-at-zero: {CHECKS['gradient-at-zero'].meaning}" in done.stdout
    assert "  again: compare-ag check broken --only gradient-at-zero" in done.stdout
    assert done.stdout.count("  | ValueError: not yet") == 1
    assert done.stdout.count("update") == 1
    assert "not asked, because 'gradient-at-zero' failed: update, step" in done.stdout
    assert done.stdout.splitlines()[-1] == "broken: 0 passed, 1 failed, 0 skipped, 2 not asked"
    assert "Traceback" not in done.stderr


def test_one_cause_is_told_once_with_all_that_it_fails(install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace("v - rate * g", "v + rate * g"))
    done = check("broken", "--only", "update,step,mini-batches")
    assert done.returncode == 1
    assert done.stdout.count("cause: ") == done.stdout.count("again: ") == 1
    assert "  cause: the update ascends: its sign is wrong\n" in done.stdout
    assert "  also:  step, mini-batches failed, and nothing shows another cause\n" in done.stdout


def test_two_causes_are_told_and_the_smaller_one_is_next(install_plugin, good_plugin):
    source = good_plugin.replace("v - rate * g", "v + rate * g").replace("+ residual.dtype.type(self.l2) * w", "")
    install_plugin("broken", source)
    done = check("broken", "--only", "l2,update")
    assert "cause: the update ascends: its sign is wrong" in done.stdout
    last = done.stdout[done.stdout.index("Next: ") :]
    assert last.startswith("Next: l2: ")
    assert "cause: the gradient lacks the L2 penalty" in last


def test_an_input_that_was_written_to_comes_before_the_numbers_that_follow(install_plugin, good_plugin):
    spoiled = "batch.X[0, 0] += 1\n        z = batch.X @ w + b"
    install_plugin("broken", good_plugin.replace("z = batch.X @ w + b", spoiled))
    done = check("broken", "--only", "gradient-at-points,inputs-untouched,trajectory", "--json")
    assert done.stderr.count("again: ") == 1
    assert "Next: inputs-untouched: " in done.stderr
    document = json.loads(done.stdout)
    assert (document["next"], document["not_asked"]) == ("inputs-untouched", [])
    assert document["checks"][0]["root"] == "inputs-untouched"


@pytest.mark.thorough
def test_the_timeout_is_the_callers(install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace(RAISES[0], "import time; time.sleep(1e6)"))
    done = check("broken", "--timeout", "3")
    assert done.returncode == 3
    assert "timeout: no answer within 3 s (in backward)" in done.stdout
    assert check("numpy", "--timeout", "0").returncode == 2


def test_json_is_all_of_stdout_and_has_everything_that_people_see(install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace(*RAISES))
    done = check("broken", "--only", "gradient-at-zero", "--json")
    document = json.loads(done.stdout)
    assert document["schema"]["name"] == "compare-ag/check"
    (row,) = document["checks"]
    assert set(row) == {
        *("id", "status", "message", "meaning", "advice", "command", "seconds", "log", "cause", "root"),
    }
    assert "ValueError: not yet" in row["log"]
    assert row["advice"] in done.stderr


def test_the_printed_command_repeats_just_that_check(install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace("v - rate * g", "v + rate * g"))
    first = check("broken", "--only", "l2,update")
    (command,) = [line.split("again: ")[1] for line in first.stdout.splitlines() if "again: " in line]
    program, verb, *arguments = command.split()
    assert (program, verb) == ("compare-ag", "check")
    again = check(*arguments)
    assert again.returncode == first.returncode == 1
    assert again.stdout.splitlines()[-1] == "broken: 0 passed, 1 failed, 0 skipped"


def test_the_shell_completes_ids_with_their_meanings():
    items = CheckIds().shell_complete(None, None, "loads,loss-at-z")
    assert [(item.value, item.help) for item in items] == [
        ("loads,loss-at-zero", CHECKS["loss-at-zero"].meaning),
    ]
    assert len(CheckIds().shell_complete(None, None, "")) == len(CHECKS)
