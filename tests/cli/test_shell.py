"""How the command line gets on with its shell: interrupts, closed and full streams, colour, odd folders, wrong words."""

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


def in_a_shell(
    redirection: str, *arguments: str, unbuffered: bool = True, **options
) -> subprocess.CompletedProcess[str]:
    """The command with its streams as ``redirection`` makes them; what it does not touch is captured."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', COMMAND, *arguments], capture_output=True, text=True, check=False,
        env=environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}), **options,
    )  # fmt: skip


RUN = ["run", "--backends", "numpy", "--problem", "synthetic:n=9,d=2", "--steps", "5", "--no-timing", "-o", "here"]


@pytest.mark.thorough
@pytest.mark.few(2)
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_run_works_whichever_streams_are_closed(closed, tmp_path):
    done = in_a_shell(closed, *RUN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Run kept in here\n") == (">&-" not in closed.split())
    assert done.stderr.startswith("numpy: ok") == ("2>&-" not in closed.split())
    shown = in_a_shell(closed, "show", "here", cwd=tmp_path)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, done.stdout, "")


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["list"], 0), (["lsit"], 2)])
def test_closed_streams_change_no_exit_code(arguments, code):
    done = in_a_shell("<&- >&- 2>&-", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_the_numbers_of_closed_streams_are_given_to_nothing_else(tmp_path):
    code = (
        "import os, pathlib, compare_ag.host.discovery as d\n"
        "def discover():\n"
        "    child = os.system('echo written by a child')\n"
        "    pathlib.Path('seen').write_text(' '.join(map(str, (child, *os.pipe()))))\n"
        "    raise SystemExit\n"
        "d.discover = discover\n"
        "from compare_ag.cli import main\nmain(['list'])\n"
    )
    command = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    child, reading, writing = map(int, (tmp_path / "seen").read_text().split())
    assert child == 0
    assert 2 < reading < writing


@pytest.fixture
def full_device():
    """A device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    return "/dev/full"


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize("unbuffered", [True, False], ids=["unbuffered", "buffered"])
def test_a_report_that_cannot_be_written_is_not_saved_and_no_bug(unbuffered, full_device, tmp_path):
    done = in_a_shell(f"> {full_device}", *RUN, unbuffered=unbuffered, cwd=tmp_path)
    last = "compare-ag: error: the output could not be written: No space left on device; the run is kept in here"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (6, last)
    assert in_a_shell("", "show", "here", cwd=tmp_path).returncode == 0
    for arguments in (["show", "here"], ["list"], ["list", "--json"], ["--version"]):
        done = in_a_shell(f"> {full_device}", *arguments, unbuffered=unbuffered, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (6, last.split(";")[0] + "\n"), arguments


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize("unbuffered", [True, False], ids=["unbuffered", "buffered"])
def test_messages_that_cannot_be_written_change_no_exit_code(unbuffered, full_device, tmp_path):
    for arguments, code in (["lsit"], 2), (["run", "--data", "none.csv"], 2), (RUN, 0):
        done = in_a_shell(f"2> {full_device}", *arguments, unbuffered=unbuffered, cwd=tmp_path)
        assert done.returncode == code, arguments


def test_an_error_of_our_own_files_is_still_a_bug():
    done = listing_raises("OSError(28, 'No space left on device', 'our.file')")
    Path(done.stderr.split("details are in ")[1].split(";")[0]).unlink()
    assert done.returncode == 4


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


WARNS = "import warnings\nwarnings.warn('old', DeprecationWarning)\nwarnings.warn('odd', RuntimeWarning)\n"


@pytest.mark.few(1)
@pytest.mark.parametrize("how", [{"arguments": ["-W", "error"]}, {"environment": {"PYTHONWARNINGS": "error"}}])
def test_warnings_that_are_made_errors_change_nothing(how, install_plugin, good_plugin, tmp_path):
    """Neither in the host nor in a worker: what a library or a plugin warns of is not the user's."""
    noisy = good_plugin.replace("    def backward", "    def backward_again(self): pass\n\n    def backward", 1)
    noisy = noisy.replace(
        "        w, batch, residual = tape", "        warnings.warn('old')\n        w, batch, residual = tape"
    )
    install_plugin("noisy", WARNS + noisy)
    host = (
        "import warnings, sys\nimport compare_ag.suite as suite\nselect = suite.select\n"
        "def warning(*names):\n    warnings.warn('of the host', RuntimeWarning)\n    return select(*names)\n"
        "suite.select = warning\nfrom compare_ag.cli import main\n"
        f"main(['run', '--backends', 'noisy', '--no-timing', '--quiet', '--steps', '9', '-o', {str(tmp_path / 'run')!r}])"
    )
    command = [sys.executable, *how.get("arguments", []), "-c", host]
    environment = dict(os.environ) | how.get("environment", {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "noisy agrees with the reference" in done.stdout
    assert "RuntimeWarning: of the host" in done.stderr  # as without: a warning, and no error


@pytest.mark.parametrize(("sent", "code"), [("KeyboardInterrupt", 130), ("Terminated", 143)])
def test_an_interrupt_that_is_lost_in_a_finalizer_is_sent_again(sent, code):
    done = python(
        "import compare_ag.host.discovery as d, signal, time, weakref\n"
        "class Terminated(KeyboardInterrupt): pass\n"
        "def terminate(*_): raise Terminated\n"
        "signal.signal(signal.SIGTERM, terminate)\n"
        "class Thing: pass\n"
        f"def finalizer(): raise {sent}\n"
        "def discover():\n"
        "    thing = Thing()\n"
        "    weakref.finalize(thing, finalizer)\n"
        "    del thing\n"
        "    time.sleep(5)\n"
        "d.discover = discover\n"
        "from compare_ag.cli import main\nmain(['list'])\n"
    )
    assert (done.returncode, done.stderr) == (code, "compare-ag: interrupted\n")
