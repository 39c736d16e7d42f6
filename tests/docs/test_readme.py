"""The README is true: its commands run, its claims about numbers and files hold, its picture is a real run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S)
SETUP = "python3 -m venv .venv && .venv/bin/python -m pip install -r "


def commands(language: str = "console") -> list[str]:
    """All commands of the console blocks, in reading order."""
    return [
        line[2:] for kind, text in BLOCKS if kind == language for line in text.splitlines() if line.startswith("$ ")
    ]


USED = [command for command in commands() if not command.startswith(SETUP)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One working directory for all commands, as a reader has one, with the files that commands of the page write."""
    path = tmp_path_factory.mktemp("reader")
    (path / "benchmarks").symlink_to(ROOT / "benchmarks")
    for command in USED:
        if command.startswith("printf"):
            assert in_folder(path, "bash", "-c", command).returncode == 0
    return path


def in_folder(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )


QUICK = re.compile(r"compare-ag (run --backends|show|report|export|compare|list *$)|printf|eval|python .* --help$")
"""what starts at most one worker; the others train or time every installed backend, or check a whole one"""


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=[] if QUICK.match(one) else [pytest.mark.thorough]) for one in USED]
)
def test_every_command_runs(command, folder):
    done = in_folder(folder, "bash", "-c", command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_python_block_runs(folder):
    blocks = [text for kind, text in BLOCKS if kind == "python" and not text.startswith("# test_")]
    assert blocks
    for text in blocks:
        done = in_folder(folder, sys.executable, "-W", "error", "-c", text)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("ok agrees over all 50 steps")


@pytest.mark.thorough
def test_every_test_block_passes(folder):
    blocks = [text for kind, text in BLOCKS if kind == "python" and text.startswith("# test_")]
    assert blocks
    for text in blocks:
        path = folder / text.split()[1]
        path.write_text(text)
        options = ("-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "--ag-backends", "numpy,torch")
        done = in_folder(folder, sys.executable, "-m", "pytest", *options, path.name)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_two_set_up_commands_are_what_ci_runs():
    setup = [command for command in commands() if command.startswith(SETUP)]
    assert len(setup) == 2
    ci = (ROOT / ".ci" / "run").read_text()
    for command in setup:
        assert command in ci.splitlines()
        assert (ROOT / re.findall(r"requirements\S*\.txt", command)[0]).is_file()


def test_only_languages_with_a_test_are_used():
    assert {kind for kind, _ in BLOCKS} <= {"console", "python", "text"}


def test_every_file_that_is_linked_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_layout_of_a_run_is_as_described(tmp_path):
    folder = tmp_path
    done = in_folder(folder, "compare-ag", "run", "--backends", "numpy", "--steps", "20", "--timing-budget", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (path for path in (folder / "reports" / "runs").iterdir() if path.name.endswith("-seed"))
    (tree,) = [text for kind, text in BLOCKS if kind == "text"]
    for line in tree.splitlines()[1:]:
        name = line.split()[0].replace("NAME", "numpy")
        assert (run / name).exists(), name


def test_exit_codes_are_as_described():
    from compare_ag.exit_codes import ExitCode

    said = re.search(r"Exit codes: (.*?)\.\n", README, re.S).group(1)
    assert [int(part.split()[0]) for part in said.split("·")] == [code.value for code in ExitCode]


def test_statuses_are_as_described():
    from compare_ag.records import STATUSES

    told = README.split("## Problems")[0]
    for status in set(STATUSES) - {"cancelled", "not-run"}:
        assert f"`{status}`" in told


def test_the_picture_is_a_run_of_this_version():
    picture = (ROOT / "reports" / "gallery" / "run-seed.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    text = re.sub(r"<[^>]+>", " ", picture)
    for heading in (
        "Verdicts",
        "Final weights after 10001 steps",
        "Published losses",
        "Speed: a whole step in the steady state",
        "digits kept",
        "Who is faster",
        "Memory",
        "Paid once",
    ):
        assert heading in text
    assert text.count("agrees over all 10001 steps") == 3
