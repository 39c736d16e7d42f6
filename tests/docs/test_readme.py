"""The README is true: its commands run, its claims about numbers and files hold, its picture is a real run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED_PAGES = ("autograd-by-comparison", "continuous-integration", "python", "setting-up", "sweeps")
"""whose blocks `test_pages` runs, for what they print stands on the page"""
INCLUDED = ("author-guide", "changelog", "gallery", "overview")
"""which hold other files: the author guide has tests of its own"""


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


README = read("README.md")
PAGES = {
    "README.md": README,
    **{
        f"docs/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "docs").glob("*.md"))
        if path.stem not in GENERATED_PAGES + INCLUDED
    },
}
SETUP = "python3 -m venv .venv && .venv/bin/python -m pip install -r "


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGES[page], re.M | re.S)


def commands(page: str) -> list[str]:
    """All commands of a page's console blocks, in reading order."""
    return [
        line[2:] for kind, text in blocks(page) if kind == "console" for line in text.splitlines() if line[:2] == "$ "
    ]


USED = [(page, command) for page in PAGES for command in commands(page) if not command.startswith(SETUP)]
PYTHON = [(page, text) for page in PAGES for kind, text in blocks(page) if kind == "python"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One working directory for all commands of a page, as a reader has one, with the files that its commands write."""
    made: dict[str, Path] = {}

    def of(page: str) -> Path:
        if page not in made:
            made[page] = tmp_path_factory.mktemp("reader")
            (made[page] / "benchmarks").symlink_to(ROOT / "benchmarks")
            for command in commands(page):
                if command.startswith("printf"):
                    assert in_folder(made[page], "bash", "-c", command).returncode == 0
        return made[page]

    return of


def in_folder(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run it there; what pip installs is found from there alone."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    site = str(folder / "site")
    found = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
    pip = {"PIP_TARGET": site, "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": found}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path, **pip}
    )


QUICK = re.compile(r"compare-ag (run --backends|show|report|export|compare|list *$)|printf|eval|python .* --help$")
SLOW = re.compile(r"torch|mine\b|cancer")
"""What is quick starts few workers and reads what quick ones have made. The others train or time every installed backend,
check a whole one, or need what slow ones have made."""


def slow(command: str) -> list[pytest.MarkDecorator]:
    return [] if QUICK.match(command) and not SLOW.search(command) else [pytest.mark.thorough]


@pytest.mark.parametrize(("page", "command"), [pytest.param(page, one, marks=slow(one)) for page, one in USED])
def test_every_command_runs(page, command, folders):
    done = in_folder(folders(page), "bash", "-c", command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("page", "text"), [one for one in PYTHON if not one[1].startswith("# test_")])
def test_every_python_block_runs(page, text, folders):
    done = in_folder(folders(page), sys.executable, "-W", "error", "-c", text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok agrees over all 50 steps")


@pytest.mark.thorough
@pytest.mark.parametrize(("page", "text"), [one for one in PYTHON if one[1].startswith("# test_")])
def test_every_test_block_passes(page, text, folders):
    path = folders(page) / text.split()[1]
    path.write_text(text)
    options = ("-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "--ag-backends", "numpy,torch")
    done = in_folder(folders(page), sys.executable, "-m", "pytest", *options, path.name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_two_set_up_commands_are_what_ci_runs():
    setup = [command for command in commands("README.md") if command.startswith(SETUP)]
    assert len(setup) == 2
    ci = (ROOT / ".ci" / "run").read_text()
    for command in setup:
        assert command in ci.splitlines()
        assert (ROOT / re.findall(r"requirements\S*\.txt", command)[0]).is_file()


def test_the_release_of_torch_that_the_readme_names_is_the_pinned_one():
    (pinned,) = re.findall(r"^(torch==\S+)$", read("constraints.txt"), re.M)
    assert f"`{pinned}`" in README


def test_the_readme_is_short_and_has_the_three_uses():
    assert len(README.splitlines()) <= 170
    first = README.split("\n### ")[0]
    assert "![" in first
    for use in ("run --backends torch,numpy", "pytest --pyargs compare_ag.benchmarks", "compare-ag new mine"):
        assert f"$ {use}" in README or f"$ compare-ag {use}" in README


@pytest.mark.parametrize("page", PAGES)
def test_only_languages_with_a_test_are_used(page):
    assert {kind for kind, _ in blocks(page)} <= {"console", "python", "text"}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_linked_exists(page):
    folder = (ROOT / page).parent
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", PAGES[page]) if "://" not in link]
    assert [link for link in links if not (folder / link).exists()] == []


def test_every_page_is_within_two_clicks_of_the_readme_and_of_the_index():
    names = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md", *(f"{name}.md" for name in INCLUDED)}
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", README))
    assert names <= linked
    assert names <= set(re.findall(r"\]\(([\w-]+\.md)", read("docs/index.md")))


def test_the_layout_of_a_run_is_as_described(tmp_path):
    folder = tmp_path
    done = in_folder(folder, "compare-ag", "run", "--backends", "numpy", "--steps", "20", "--timing-budget", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (path for path in (folder / "reports" / "runs").iterdir() if path.name.endswith("-seed"))
    (tree,) = [text for kind, text in blocks("docs/files.md") if kind == "text"]
    for line in tree.splitlines()[1:]:
        name = line.split()[0].replace("NAME", "numpy")
        assert (run / name).exists(), name


def test_exit_codes_are_as_described():
    from compare_ag.exit_codes import ExitCode

    said = re.search(r"Exit codes: (.*?)\.\n", PAGES["docs/files.md"], re.S).group(1)
    assert [int(part.split()[0]) for part in said.split("·")] == [code.value for code in ExitCode]


def test_statuses_are_as_described():
    from compare_ag.records import STATUSES

    told = PAGES["docs/reading-a-run.md"]
    for status in set(STATUSES) - {"cancelled", "not-run"}:
        assert f"`{status}`" in told


def test_the_picture_is_a_run_of_this_version():
    picture = (ROOT / "reports" / "gallery" / "run-seed.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    text = re.sub(r"<[^>]+>", " ", picture)
    for words in ("final w; b", "distance", "time per step", "ratio", "peak memory", "Loss after k steps", "course"):
        assert words in text
    assert "agree with the reference over all 10001 steps" in " ".join(text.split())
