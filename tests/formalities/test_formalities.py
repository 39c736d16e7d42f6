"""Lint, types, import contracts and the promises that are easy to break without noticing; they run first."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*command: str) -> str:
    """Run a tool in the repository; its output becomes the failure's message."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[Path]:
    """The project's own text files."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    paths = [ROOT / name for name in listed] if listed else list(ROOT.rglob("*"))
    texts = {".py", ".md", ".toml", ".txt", ".yml", ".css", ".html", ""}
    return [path for path in paths if path.is_file() and path.suffix in texts and ".venv" not in path.parts]


def test_ruff_finds_nothing():
    run(sys.executable, "-m", "ruff", "check")


def test_the_formatting_is_ruffs():
    run(sys.executable, "-m", "ruff", "format", "--check")


PROSE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "plugins", "compare_ag", "scripts")


def test_words_are_spelled_right():
    run(sys.executable, "-m", "codespell_lib", *PROSE)


def test_a_word_that_is_spelled_wrong_is_found(tmp_path):
    (tmp_path / "page.md").write_text("The gra" + "deint is " + "recieved.\n")
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "received" in done.stdout


@pytest.mark.thorough
def test_types_are_strict():
    run(sys.executable, "-m", "mypy")


def test_imports_go_downward_only():
    run(str(BIN / "lint-imports"))


def test_the_import_contracts_can_fail(tmp_path):
    """A contract that looks at nothing would pass for ever: break one on purpose."""
    package = tmp_path / "compare_ag"
    for layer in ("cli", "report"):
        (package / layer).mkdir(parents=True)
        (package / layer / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "report" / "__init__.py").write_text("import compare_ag.cli\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_package = "compare_ag"\n[[tool.importlinter.contracts]]\n'
        'name = "layers"\ntype = "layers"\nlayers = ["compare_ag.cli", "compare_ag.report"]\n'
    )
    done = subprocess.run(
        [str(BIN / "lint-imports"), "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "compare_ag.report is not allowed to import compare_ag.cli" in done.stdout


@pytest.mark.parametrize("word", ["pickle", "marshal", "yaml"])
def test_no_module_of_ours_touches(word):
    used = re.compile(rf"^\s*(import|from)\s+{word}\b", re.M)
    ours = [*(ROOT / "compare_ag").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    assert ours
    assert [path for path in ours if used.search(path.read_text())] == []


def test_no_absolute_path_of_a_machine_and_no_index_address_is_in_the_tree():
    # put together here so that this file does not match itself
    machine = re.compile(r"(?<![\w.])/" + r"(home|work|root|Users)/\w")
    index = re.compile("https?://[^ ]*(" + "pypi" + r"\.org|" + "pythonhosted" + r"|download\.pytorch)")
    for path in tracked():
        text = path.read_text(errors="replace")
        assert not machine.search(text), path
        assert not index.search(text), path


def test_nothing_unfinished_is_marked():
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [path for path in tracked() if marks.search(path.read_text(errors="replace"))] == []


def test_every_silenced_check_gives_its_reason():
    silenced = re.compile(r"#\s*(noqa|type:\s*ignore)(\S*)(.*)$")
    for path in tracked():
        if path.suffix == ".py":
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found = silenced.search(line)
                if found and "silenced = re.compile" not in line:
                    assert len(found.group(3).split()) >= 3, f"{path}:{number}: {line.strip()}"


def test_what_the_test_command_leaves_out_is_run_by_ci():
    """A marker that nothing runs would drop tests without a word."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert [re.split("[:(]", marker)[0] for marker in options["markers"]] == ["thorough", "few"]
    addopts = options["addopts"]
    assert addopts[addopts.index("-m") + 1] == "not thorough"
    assert addopts.count("-m") == 1
    test = ".venv/bin/python -m pytest -n 2 --dist loadfile"
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    (usual,) = (line for line in lines if line.endswith(f"&& {test}"))
    assert lines.count(f"{test} -m thorough") == 1
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"$ {usual}\n" in readme
    assert f"`{test} -m thorough`" in readme
