"""`compare-ag new` gives a distribution that builds, installs, passes every check and its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import compare_ag
from compare_ag import template
from compare_ag.problem import ProblemError
from compare_ag.template import create


def test_its_set_of_files_is_what_is_shipped_and_what_is_written(tmp_path):
    shipped = {path.name for path in template.SOURCE.iterdir() if path.name != "__pycache__"}
    assert shipped == set(template.FILES)
    folder, files = create("my-engine", tmp_path / "new")
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in files)
    assert {path.name for path in files} == {
        "README.md", "pyproject.toml", "compare_ag_my_engine.py", "test_my_engine.py",
    }  # fmt: skip
    for path in files:
        assert "mybackend" not in path.read_text().lower()
    assert 'my-engine = "compare_ag_my_engine"' in (folder / "pyproject.toml").read_text()
    assert "class MyEngine(Backend)" in (folder / "compare_ag_my_engine.py").read_text()
    assert list(tmp_path.iterdir()) == [folder]


class Author:
    """A virtual environment that sees this one's packages; commands run in the new folder, without a network."""

    def __init__(self, root: Path, name: str) -> None:
        venv.EnvBuilder(symlinks=True).create(root / "venv")
        (site,) = (root / "venv" / "lib").glob("python*/site-packages")
        parents = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (site / "parent.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in parents))
        self.python = root / "venv" / "bin" / "python"
        self.folder = root
        self.run("-m", "compare_ag", "new", name)
        self.folder = root / f"compare-ag-{name}"
        pip = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q")
        self.run("-m", "pip", "install", *pip, "-e", ".")

    def run(self, *arguments: str, code: int = 0) -> str:
        hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        done = subprocess.run(
            [self.python, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def author(tmp_path_factory):
    return Author(tmp_path_factory.mktemp("author"), "my-engine")


@pytest.mark.thorough
def test_it_is_listed_checked_run_and_tested(author):
    offers = json.loads(author.run("-m", "compare_ag", "list", "--json"))["backends"]
    (row,) = [row for row in offers if row["name"] == "my-engine"]
    assert (row["status"], row["distribution"]) == ("available", "compare-ag-my-engine")
    results = json.loads(author.run("-m", "compare_ag", "check", "my-engine", "--json"))
    assert results["passed"]
    for loss in ("probability", "logits"):
        author.run("-m", "compare_ag", "run", "--backends", "my-engine,numpy", "--no-timing", "--loss", loss)
    assert "39 passed, 4 skipped" in author.run("-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.thorough
def test_a_method_replaced_wrongly_is_the_next_thing_to_do(author):
    module = author.folder / "compare_ag_my_engine.py"
    source = module.read_text()
    try:
        module.write_text(source.replace("residual.sum() / n)", "residual.sum())"))
        said = author.run("-m", "compare_ag", "check", "my-engine", code=1)
    finally:
        module.write_text(source)
    assert "Next: gradient-at-zero" in said
    assert "again: compare-ag check my-engine --only gradient-at-zero" in said


def test_its_wheel_holds_the_module_alone(author, tmp_path):
    author.run("-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), ".")
    (wheel,) = tmp_path.iterdir()
    import zipfile

    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {"compare_ag_my_engine.py"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Mine", "cannot be a backend's name"),
        ("1st", "cannot be a backend's name"),
        ("a" * 33, "cannot be a backend's name"),
        ("../up", "cannot be a backend's name"),
        ("", "cannot be a backend's name"),
        ("numpy", "there is a backend 'numpy' already, from compare-ag"),
        ("mutants", "there is a module compare_ag_mutants already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemError, match=said):
        create(name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ProblemError, match="already exists and is not empty"):
        create("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    folder, _ = create("mine", empty)
    assert folder == empty


def test_the_command_says_what_is_next_and_refuses_with_exit_2(tmp_path):
    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "compare_ag", "new", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip

    done = command("mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "  cd compare-ag-mine", "  python -m pip install -e .", "  compare-ag check mine",
    ]  # fmt: skip
    again = command("mine")
    assert again.returncode == 2
    assert "already exists" in again.stderr
    assert command("Bad Name").returncode == 2


def test_the_template_is_one_page_with_every_method_of_the_contract():
    text = (template.SOURCE / "compare_ag_mybackend.py").read_text()
    assert len(text.splitlines()) <= 80
    for verb in compare_ag.Backend.__abstractmethods__ | {"synchronize", "step"}:
        assert f"def {verb}(self" in text
