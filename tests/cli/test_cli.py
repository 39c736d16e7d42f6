"""The command line as people meet it: real processes, real output, real exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compare_ag.cli import main

COMMAND = str(Path(sys.executable).parent / "compare-ag")
SMALL = ["--problem", "synthetic:n=20,d=2", "--steps", "30", "--timing-budget", "0.5", "--quiet"]


def call(*arguments, cwd=None, environment=None, stdin=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, input=stdin,
        env={**os.environ, "COLUMNS": "150", **(environment or {})},
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["list"],
        ["run", "--help"],
        ["show", "--help"],
        ["export", "--help"],
        ["compare", "--help"],
    ],
)
def test_light_commands_import_nothing_heavy(arguments):
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['compare-ag', *{arguments!r}]\n"
        "from compare_ag.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in done.stderr.split()}
    assert "compare_ag" in modules
    assert not modules & {"numpy", "torch", "autograd", "pluggy", "sklearn", "scipy", "msgspec", "psutil"}
    assert not {name for name in modules if name.startswith("compare_ag_")}
    assert done.stdout


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["selftest", "--only", "nobody"], "selftest verdicts"),
        (["selftest", "verdicts", "--only", "nobody"], "selftest verdicts"),
        (["selftest", "speed", "--margin", "2"], "selftest speed"),
        (["selfcheck", "--margin", "2"], "selfcheck"),
        (["selftest", "nobody"], "selftest"),
    ],
)
def test_a_selftest_is_of_verdicts_unless_it_is_named_and_its_former_name_works(arguments, usage):
    done = call(*arguments)
    assert done.returncode == 2
    assert f"Usage: compare-ag {usage} [OPTIONS]" in done.stderr


def test_a_former_name_is_not_listed():
    assert "selfcheck" not in call("--help").stdout


def test_version_is_the_packages():
    import compare_ag

    assert call("--version").stdout == f"compare-ag {compare_ag.__version__}\n"
    module = subprocess.run(
        [sys.executable, "-m", "compare_ag", "--version"], capture_output=True, text=True, check=True
    )
    assert module.stdout == f"compare-ag {compare_ag.__version__}\n"


def test_help_documents_every_exit_code():
    from compare_ag.exit_codes import MEANINGS

    lines = call("--help").stdout.splitlines()
    for code, said in MEANINGS.items():
        assert any(line.split() == [str(code.value), *said.split()] for line in lines), code


def test_list_shows_the_built_ins_and_json_is_json():
    done = call("list")
    assert done.returncode == 0
    shown = [line.split()[0] for line in done.stdout.splitlines()[1:] if not line.startswith(" ")]
    assert shown == ["autograd", "jax", "jax-jit", "numba", "numpy", "torch"]
    rows = {row["name"]: row for row in json.loads(call("list", "--json").stdout)["backends"]}
    assert rows["numpy"]["status"] == "available"
    assert rows["numpy"]["distribution"] == "compare-ag"


@pytest.mark.thorough
def test_probing_finds_what_metadata_cannot(install_plugin, good_plugin):
    install_plugin("sound", good_plugin)
    install_plugin("cracked", "import sys; sys.exit(7)")
    assert {row["name"]: row["status"] for row in json.loads(call("list", "--json").stdout)["backends"]}[
        "cracked"
    ] == "available"
    rows = {row["name"]: row for row in json.loads(call("list", "--json", "--probe").stdout)["backends"]}
    assert rows["cracked"]["status"] == "broken"
    assert "SystemExit(7)" in rows["cracked"]["reason"]
    assert rows["sound"]["probe"]["api_version"] == 1
    assert "SystemExit(7)" in call("list", "--probe").stdout


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with a run in ``here``, and the command that made it."""
    folder = tmp_path_factory.mktemp("kept")
    done = call("run", "--backends", "numpy", *SMALL, "-o", "here", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_details_print_the_tables_and_the_path_last(kept):
    folder, _ = kept
    done = call("show", "here", "--details", cwd=folder)
    for heading in ("Verdict of each backend", "Final weights", "Loss after k steps", "Speed", "Paid once"):
        assert heading in done.stdout
    assert done.stdout.splitlines()[-1] == "Run kept in here"
    assert "\x1b" not in done.stdout


def test_show_prints_the_same_from_the_files_alone(kept):
    folder, done = kept
    again = call("show", "here", cwd=folder)
    assert again.stdout == done.stdout
    assert "numpy agrees with the reference" in done.stdout
    assert "Paid once" not in done.stdout
    assert again.returncode == 0


def test_without_an_output_a_run_goes_below_reports(tmp_path):
    done = call("run", "--backends", "numpy", *SMALL, "--no-timing", cwd=tmp_path)
    path = tmp_path / done.stdout.splitlines()[-1].removeprefix("Run kept in ")
    assert path.parent == tmp_path / "reports" / "runs"
    assert (path / "manifest.json").is_file()


@pytest.mark.thorough
def test_json_goes_to_stdout_and_text_to_stderr(tmp_path):
    done = call("run", "--backends", "numpy", *SMALL, "--no-timing", "--json", "-o", tmp_path / "run")
    document = json.loads(done.stdout)
    assert document["schema"]["name"] == "compare-ag/run"
    assert document["records"][0]["status"] == "ok"
    assert "numpy agrees with the reference" in done.stderr
    assert json.loads(call("show", tmp_path / "run", "--json").stdout) == document


@pytest.mark.thorough
def test_what_is_left_out_is_said_in_one_line_with_what_adds_it(install_plugin, tmp_path):
    install_plugin("needy")
    with open(tmp_path / "site" / "cag_needy-1.0.dist-info" / "METADATA", "a") as metadata:
        metadata.write("Provides-Extra: needy\nRequires-Dist: frobnicate>=2; extra == 'needy'\n")
    options = ("--no-timing", *SMALL)
    done = call("run", *options, "-o", tmp_path / "all")
    (line,) = done.stderr.splitlines()
    assert line.startswith("left out, because what they need is not installed: needy; to add them: ")
    assert line.endswith("'frobnicate>=2'")
    assert "needy" not in done.stdout
    assert call("run", "--backends", "numpy", *options, "-o", tmp_path / "chosen").stderr == ""


def test_each_finished_backend_is_one_line_on_a_pipe(tmp_path):
    options = [option for option in SMALL if option != "--quiet"]
    done = call("run", "--backends", "numpy,autograd", *options, "--no-timing", "-o", tmp_path / "run")
    assert sorted(line.split(":")[0] for line in done.stderr.splitlines()) == ["autograd", "numpy"]


USAGE = {
    "unknown backend": (
        ["--backends", "tourch"],
        "no backend 'tourch'; did you mean 'torch'? installed: autograd, jax, jax-jit, numba, numpy, torch",
    ),
    "empty name": (["--backends", "numpy,,torch"], "an empty backend name"),
    "unknown problem": (["--problem", "sede"], "did you mean"),
    "unknown parameter": (["--problem", "synthetic:m=3"], "synthetic"),
    "no such file": (["--data", "nowhere.csv", "--target", "y"], "nowhere.csv"),
    "target without data": (["--target", "y"], "--target belong to --data FILE"),
    "columns without data": (["--features", "a", "--header", "yes"], "--features, --header belong to --data FILE"),
    "data and problem": (["--data", "x.csv", "--problem", "seed"], "exclude each other"),
    "no steps": (["--steps", "0"], "steps"),
    "negative rate": (["--lr", "-1"], "learning rate"),
    "nan rate": (["--lr", "nan"], "learning rate"),
    "negative l2": (["--l2", "-1"], "l2"),
    "no threads": (["--threads", "0"], "threads"),
    "large batch": (["--batch-size", "5"], "batch"),
    "no time": (["--timeout", "0"], "--timeout"),
    "endless time": (["--timeout", "inf"], "must be more than 0 seconds and at most 31,622,400 (a year), not inf"),
    "no number of seconds": (["--timeout", "soon"], "'soon' is not a valid float"),
    "time that is none": (["--timing-budget", "nan"], "must be more than 0 seconds"),
    "too many steps": (["--steps", "1e12"], "1,000,000,000,000 steps need about 90.9 TiB"),
    "far too many steps": (["--steps", "1e300"], "steps must fit into 64 bits"),
    "half a step": (["--steps", "1.5"], "'1.5' is not a valid integer"),
    "too many batches": (
        ["--problem", "synthetic:n=100000,d=1", "--batch-size", "1", "--steps", "1_000_000_000"],
        "too many steps for memory",
    ),
    "too large a problem": (
        ["--problem", "synthetic:n=100000000,d=1000"],
        "too large for memory: about 100,000,000,000 cells need",
    ),
    "foreign baseline": (
        ["--backends", "numpy", "--baseline", "torch"],
        "the baseline 'torch' is not among the backends of this run: numpy",
    ),
}


AS_PROCESSES = {"unknown backend", "no such file", "no number of seconds", "too large a problem"}
"""by what finds the mistake one each: the selection, the reader, click, the limits; the others need no new process"""


@pytest.mark.parametrize("case", USAGE)
def test_bad_input_gets_one_clear_message_and_nothing_runs(case, tmp_path, monkeypatch, capsys):
    arguments, said = USAGE[case]
    if case in AS_PROCESSES:
        done = call("run", *arguments, "--quiet", cwd=tmp_path)
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "150")
        with pytest.raises(SystemExit) as end:
            main(["run", *arguments, "--quiet"])
        code, (out, err) = end.value.code, capsys.readouterr()
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_options_of_a_file_reach_its_reader(tmp_path):
    (tmp_path / "mine.txt").write_text("7~8~9\n1~2~x\n3~4~y\n")
    reading = ["--target", "9", "--header", "yes", "--delimiter", "~", "--drop", "8"]
    options = ["--data", "mine.txt", *reading, "--steps", "1e1", "--no-timing", "--json", "--quiet"]
    done = call("run", "--backends", "numpy", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    problem = json.loads(done.stdout)["problem"]
    assert "2 examples × 1 features from mine.txt (delimiter '~', a header line, labels in column '9')" in str(problem)
    assert problem["steps"] == 10


def test_an_existing_directory_is_never_written_into(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    done = call("run", "--backends", "numpy", *SMALL, "-o", tmp_path)
    assert done.returncode == 2
    assert "already exists and is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_exit_6(tmp_path):
    (tmp_path / "file").write_text("")
    done = call("run", "--backends", "numpy", *SMALL, "-o", tmp_path / "file" / "run")
    assert done.returncode == 6
    assert "could not make the run directory" in done.stderr


def test_a_failing_backend_has_its_row_its_log_and_exit_3(install_plugin, good_plugin, tmp_path):
    install_plugin(
        "mean",
        good_plugin.replace(
            "    def backward(self, tape):",
            "    def backward(self, tape):\n        raise ValueError('[bold]no\\x1b[2J')",
        ),
    )
    done = call("run", "--backends", "mean,numpy", *SMALL, "-o", "run", cwd=tmp_path)
    assert done.returncode == 3
    assert "crashed" in done.stdout
    assert r"ValueError: [bold]no\x1b[2J" in done.stdout
    assert "log: run/logs/mean.train.stderr.txt" in done.stdout
    assert "numpy agrees with the reference" in done.stdout
    assert "\x1b" not in done.stdout


def test_wrong_numbers_are_exit_1(install_plugin, good_plugin, tmp_path):
    install_plugin("off", good_plugin.replace("v - rate * g", "v - rate * g * 1.001"))
    done = call("run", "--backends", "off,numpy", *SMALL, "-o", tmp_path / "run")
    assert done.returncode == 1
    assert "off disagrees with the reference" in done.stdout
    assert "compare-ag bisect off numpy --problem synthetic" in done.stdout


def interrupted(tmp_path, sent: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Run the slow backend beside numpy and send the signal once numpy has finished."""
    command = [
        COMMAND,
        "run",
        "--backends",
        "slow,numpy",
        "--problem",
        "synthetic:n=20,d=2",
        "--steps",
        "30",
        "-o",
        "run",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "records" / "numpy.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_keeps_what_has_finished_and_says_so(sent, code, install_plugin, good_plugin, tmp_path):
    install_plugin(
        "slow",
        good_plugin.replace(
            "        w, b = weights\n", "        __import__('time').sleep(5)\n        w, b = weights\n", 1
        ),
    )
    done = interrupted(tmp_path, sent)
    assert done.returncode == code, done.stderr
    assert "interrupted: what had finished is kept in run" in done.stderr
    assert "Traceback" not in done.stderr
    shown = call("show", "run", cwd=tmp_path)
    assert "This run did not finish" in shown.stdout
    from compare_ag import load_run

    run = load_run(tmp_path / "run")
    assert (run["numpy"].status, run["slow"].status) == ("ok", "cancelled")
    assert run.manifest.state == "partial"


def test_names_that_clash_are_said_by_run_as_by_list(install_plugin, good_plugin, tmp_path):
    install_plugin("twin", good_plugin, distribution="cag-one")
    install_plugin("twin", good_plugin, distribution="cag-two")
    warning = (
        "warning: 'twin' is offered by more than one distribution: select it with 'cag-one:twin' or 'cag-two:twin'\n"
    )
    assert warning in call("list").stderr
    assert call("run", "--data", tmp_path / "none.csv").stderr.startswith(warning)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "workers"),
    [
        (["--threads", "1000000"], "3 workers"),  # to be timed, all are alive, and the baseline twice
        (["--threads", "1000000", "--no-timing"], None),
        (["--backends", "numpy"], "2 workers"),
    ],
)
def test_memory_is_asked_for_as_many_workers_as_are_alive_at_a_time(options, workers, tmp_path):
    """There is room for this process and one worker, not for two."""
    arguments = ["run", "--backends", "numpy,autograd", "--problem", "synthetic:n=1000,d=10", "--quiet", "-o", "here"]
    code = (
        "import pathlib, compare_ag.problem.estimate, compare_ag.suite\n"
        "pathlib.Path('meminfo').write_text('MemAvailable: 3100 kB')\n"
        "compare_ag.problem.estimate.MEMORY_INFO = pathlib.Path('meminfo')\n"
        "def run(*_, **__): raise SystemExit(77)\n"
        "compare_ag.suite.run = run\n"
        f"from compare_ag.cli import main\nmain({[*arguments, *options]!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == (77 if workers is None else 2), done.stderr
    if workers is not None:
        assert f"in each of {workers} at a time" in done.stderr
    assert not (tmp_path / "here").exists()


def test_a_bug_of_ours_is_told_as_one_with_a_file(tmp_path):
    code = (
        "import sys, compare_ag.host.discovery as d\n"
        "def broken(): raise RuntimeError('inner fault')\n"
        "d.discover = broken\n"
        "sys.argv = ['compare-ag', 'list']\n"
        "from compare_ag.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 4
    assert "this is a bug in compare-ag (RuntimeError: inner fault)" in done.stderr
    assert "Traceback" not in done.stderr
    (report,) = tmp_path.glob("compare-ag-bug-*.txt")
    assert "inner fault" in report.read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("compare-ag run --backends ", ["autograd", "numpy", "torch"]),
        ("compare-ag run --backends n", ["numpy"]),
        ("compare-ag run --backends numpy,t", ["numpy,torch"]),
        ("compare-ag run --problem br", ["breast-cancer"]),
        ("compare-ag s", ["show"]),
    ],
)
def test_completion(words, expected):
    count = len(words.split(" ")) - 1
    done = call(environment={"_COMPARE_AG_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)})
    found = [line.split(",", 1)[1] for line in done.stdout.splitlines()]
    assert [name for name in found if name.split(",")[-1] in {e.split(",")[-1] for e in expected}] == expected


def test_a_narrow_terminal_and_no_utf8_still_work(kept):
    folder, _ = kept
    narrow = call("show", folder / "here", environment={"COLUMNS": "40"})
    to_copy = ("All tables", "Everything", "What each backend", "Run kept in")
    assert max(len(line) for line in narrow.stdout.splitlines() if not line.startswith(to_copy)) <= 40
    ascii_only = call(
        "show", folder / "here", environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    )
    assert ascii_only.returncode == 0, ascii_only.stderr
