"""How the command line gets on with its shell: interrupts, closed pipes, colour, odd folders, wrong words."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).parent / "compare-ag")


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def listing_raises(exception: str, setup: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``compare-ag list`` where the discovery of backends raises."""
    return python(
        f"import compare_ag.host.discovery as d\n{setup}\n"
        f"def discover(): raise {exception}\n"
        "d.discover = discover\n"
        "from compare_ag.cli import main\nmain(['list'])\n"
    )


@pytest.mark.parametrize(
    ("exception", "setup", "code"),
    [
        ("KeyboardInterrupt", "", 130),
        ("Terminated", "class Terminated(KeyboardInterrupt): pass", 143),
        ("SystemExit(3)", "", 3),
        ("SystemExit", "", 0),
    ],
)
def test_what_ends_a_command_early_is_its_exit_code(exception, setup, code):
    done = listing_raises(exception, setup)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr in ("", "compare-ag: interrupted\n")


def test_an_error_in_the_selection_is_one_line_and_exit_2():
    done = listing_raises("d.SelectionError('no backend \\x1b[2J')")
    assert (done.returncode, done.stderr) == (2, "compare-ag: error: no backend \\x1b[2J\n")


def test_a_bug_is_one_paragraph_even_where_its_message_is_many():
    done = listing_raises("RuntimeError('one\\ntwo\\x1b[2J')")
    Path(done.stderr.split("details are in ")[1].split(";")[0]).unlink()
    assert done.returncode == 4
    assert done.stderr.startswith(r"compare-ag: this is a bug in compare-ag (RuntimeError: one\ntwo\x1b[2J).")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["list"], ["list", "--json"]])
def test_a_reader_that_has_gone_ends_it_quietly_and_never_with_a_verdict(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            [COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=buffered
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_report_into_a_pipe_that_nobody_reads_ends_the_same_way():
    done = python(
        "import os, sys\n"
        "reading, writing = os.pipe()\nos.close(reading)\nos.dup2(writing, 1)\n"
        "import compare_ag.host.discovery as d\n"
        "from compare_ag.cli.common import report_console\n"
        "d.discover = lambda: report_console().print('a table')\n"
        "from compare_ag.cli import main\nmain(['list'])\n"
    )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lsit"], "No such command 'lsit'; did you mean 'list'?"),
        (["xyzzy"], "xyzzy"),
        (["--nonsense"], "--nonsense"),
        (["list", "extra"], "extra"),
        (["run", "--steps", "many"], "many"),
        (["run", "--nonsense", "--help"], "--nonsense"),
        (["show"], "RUN"),
        ([], "Usage: compare-ag"),
    ],
)
def test_a_wrong_word_is_a_usage_error(arguments, said):
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_the_arguments_may_come_from_python():
    done = python("from compare_ag.cli import main\nmain(['--version'])")
    assert (done.returncode, done.stdout.split()[0]) == (0, "compare-ag")


def test_as_a_module_it_calls_itself_by_the_same_name():
    done = subprocess.run(
        [sys.executable, "-m", "compare_ag", "list", "--nonsense"], capture_output=True, text=True, check=False
    )
    assert "Usage: compare-ag list" in done.stderr


def on_a_terminal(environment: dict[str, str]) -> str:
    """What ``compare-ag list`` writes to a terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run([COMMAND, "list"], stdout=theirs, env=environment, check=True)
        return os.read(ours, 1 << 16).decode()
    finally:
        os.close(theirs)
        os.close(ours)


def test_colour_is_for_terminals_and_only_where_it_is_wanted():
    wanted = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    assert "\x1b[32m" in on_a_terminal(wanted)
    assert "\x1b" not in on_a_terminal(wanted | {"NO_COLOR": "1"})


def test_a_current_folder_that_is_gone_is_no_obstacle(tmp_path, install_plugin):
    install_plugin("needy")
    (info,) = (tmp_path / "site").glob("*.dist-info")
    with (info / "METADATA").open("a") as metadata:
        metadata.write("Requires-Dist: frobnicate>=2; extra == 'needy'\n")
    code = f"import os\nos.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\nos.execv({COMMAND!r}, ['x', 'list'])"
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "-m pip install 'frobnicate>=2'" in done.stdout
