"""What is built and shipped: the contents of wheel and sdist, and the wheel at work where nobody sees the source tree.

An environment made here has all third-party packages of this one, as links, but neither its installation of
compare-ag nor the .pth file that would make the source tree importable: what runs there is the wheel.
"""

from __future__ import annotations

import configparser
import email
import json
import os
import shlex
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from email.message import Message
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest

import compare_ag

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLUGINS = [
    name.partition(".")[0]
    for group in ("compare_ag", "compare_ag_mutants")
    for name in PROJECT["entry-points"][group].values()
]
PACKAGES = {"compare_ag": ROOT, **dict.fromkeys(PLUGINS, ROOT / "plugins")}
DIST_INFO = f"compare_ag-{compare_ag.__version__}.dist-info"
FRAMEWORKS = ("torch", "functorch", "autograd", "jax", "numba")
"""how the names of everything start that the frameworks bring"""


def build(destination: Path, *options: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(destination), *options, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist and with the wheel that was built from the sdist alone."""
    folder = tmp_path_factory.mktemp("built")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(built) -> Path:
    (path,) = built.glob("*.tar.gz")
    return path


# --- contents -----------------------------------------------------------------------------------------------


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def header(wheel: Path) -> Message:
    return email.message_from_string(contents(wheel)[f"{DIST_INFO}/METADATA"].decode())


@pytest.mark.thorough
def test_the_wheel_holds_the_packages_whole_and_nothing_else(wheel):
    shipped = {name for name in contents(wheel) if not name.startswith(f"{DIST_INFO}/")}
    sources = {
        path.relative_to(base).as_posix()
        for package, base in PACKAGES.items()
        for path in (base / package).rglob("*.py")
    }  # fmt: skip
    assert "compare_ag/contract/backend.py" in sources
    assert {name for name in shipped if name.endswith(".py")} == sources
    assert "compare_ag/py.typed" in shipped
    assert {PurePosixPath(name).parts[0] for name in shipped} == set(PACKAGES)
    assert not any("tests" in PurePosixPath(name).parts or name.endswith(".pyc") for name in shipped)


def test_the_wheel_carries_what_the_page_is_made_of(wheel):
    page = ROOT / "compare_ag" / "report" / "page"
    assets = [path for path in page.rglob("*") if path.suffix in (".html", ".css", ".js", ".txt")]
    assert {path.name for path in assets} == {
        "macros.html", "page.html", "page.css", "page.js", "plotly-basic.min.js", "LICENSE-plotly.txt",
    }  # fmt: skip
    shipped = contents(wheel)
    for path in assets:
        assert shipped[path.relative_to(ROOT).as_posix()] == path.read_bytes()


def test_the_wheel_carries_licence_version_and_extras(wheel):
    metadata = header(wheel)
    assert contents(wheel)[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Version"] == compare_ag.__version__
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_the_wheel_offers_the_command_and_the_built_in_backends(wheel):
    entry_points = configparser.ConfigParser()
    entry_points.read_string(contents(wheel)[f"{DIST_INFO}/entry_points.txt"].decode())
    assert dict(entry_points["console_scripts"]) == {"compare-ag": "compare_ag.cli:main"}
    assert dict(entry_points["compare_ag"]) == {
        "numpy": "compare_ag_numpy", "autograd": "compare_ag_autograd", "torch": "compare_ag_torch",
        "jax": "compare_ag_jax", "jax-jit": "compare_ag_jax.jit", "numba": "compare_ag_numba",
    }  # fmt: skip


def test_the_sdist_holds_what_is_needed_to_build_and_to_test(sdist):
    with tarfile.open(sdist) as archive:
        names = {PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix() for name in archive.getnames()}
    needed = {
        "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO", "constraints.txt", "requirements.txt",
        "requirements-dev.txt", "plugins/README.md", "tests/conftest.py", "tests/packaging/test_wheel.py",
        "docs/conf.py", "docs/index.md", "docs/_static/site.css", "docs/autograd-by-comparison.md", "scripts/pages.py",
    }  # fmt: skip
    assert needed <= names
    assert not any(name.endswith(".pyc") or name.startswith((".venv", "reports/runs")) for name in names)


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_tree(wheel, tmp_path):
    build(tmp_path, "--wheel")
    direct = tmp_path / wheel.name
    ours, theirs = contents(wheel), contents(direct)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


# --- at work ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel, and an empty folder to work in."""

    bin: Path
    folder: Path

    @classmethod
    def make(cls, root: Path, wheel: Path, hidden: tuple[str, ...] = ()) -> Environment:
        """Link all third-party packages but those whose names start with one of ``hidden``; install the wheel."""
        venv.EnvBuilder(symlinks=True).create(root / "venv")
        (site,) = (root / "venv" / "lib").glob("python*/site-packages")
        ours = ("compare_ag", "_compare_ag", "__editable__", "__pycache__")
        for parent in [Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]:
            for entry in parent.iterdir():
                link = site / entry.name
                if not entry.name.startswith((*ours, *hidden)) and entry.suffix != ".pth" and not link.exists():
                    link.symlink_to(entry)
        environment = cls(root / "venv" / "bin", root / "empty")
        environment.folder.mkdir()
        environment.run("python", "-m", "pip", "install", "--no-index", "--no-deps", str(wheel))
        return environment

    def run(self, program: str, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs in the empty folder; its exit code must be the expected one."""
        hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COLUMNS"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == expect, f"{shlex.join([program, *arguments])}\n{done.stdout}{done.stderr}"
        return done

    def backends(self) -> dict[str, dict[str, str]]:
        """What `compare-ag list --json` says, by name."""
        rows = json.loads(self.run("compare-ag", "list", "--json").stdout)["backends"]
        return {row["name"]: row for row in rows}


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel) -> Environment:
    """The wheel beside everything it can work with."""
    return Environment.make(tmp_path_factory.mktemp("full"), wheel)


@pytest.fixture(scope="module")
def without_frameworks(tmp_path_factory, wheel) -> Environment:
    """The wheel as `pip install compare-ag` alone leaves it: no framework is there."""
    return Environment.make(tmp_path_factory.mktemp("bare"), wheel, FRAMEWORKS)


@pytest.mark.thorough
def test_the_source_tree_is_out_of_sight(installed):
    where = installed.run(
        "python", "-c", "import compare_ag, compare_ag_numpy as n; print(compare_ag.__file__, n.__file__)"
    )
    for path in where.stdout.split():
        assert Path(path).is_relative_to(installed.bin.parent)
        assert not Path(path).is_symlink()


def test_both_ways_to_start_it_know_the_version(installed):
    expected = f"compare-ag {compare_ag.__version__}\n"
    assert installed.run("compare-ag", "--version").stdout == expected
    assert installed.run("python", "-m", "compare_ag", "--version").stdout == expected


def test_every_public_name_can_be_imported(installed):
    names = installed.run("python", "-c", "from compare_ag import *; print(*sorted(dir()))").stdout.split()
    assert set(compare_ag.__all__) - {"__version__"} <= set(names)


def test_all_built_in_backends_are_there(installed):
    backends = installed.backends()
    assert list(backends) == ["autograd", "jax", "jax-jit", "numba", "numpy", "torch"]
    status = {name: "available" if find_spec(name.removesuffix("-jit")) else "missing" for name in backends}
    assert "missing" not in (status["numpy"], status["autograd"], status["torch"])
    for name, row in backends.items():
        assert (row["status"], row["distribution"]) == (status[name], "compare-ag"), row
    shown = installed.run("compare-ag", "list").stdout
    rows = [line.split()[:2] for line in shown.splitlines()[1:] if line[0] != " "]
    assert rows == [list(pair) for pair in status.items()]


@pytest.mark.thorough
def test_a_run_in_an_empty_folder_is_certified_kept_and_shown_again(installed):
    done = installed.run("compare-ag", "run", "--backends", "numpy", "--no-timing")
    kept = done.stdout.splitlines()[-1].split()[-1]
    assert [path.name for path in installed.folder.iterdir()] == ["reports"]
    assert compare_ag.load_run(installed.folder / kept)["numpy"].status == "ok"
    page = installed.folder / kept / "report.html"
    assert installed.run("compare-ag", "report", kept, "-o", "again.html").stdout == "wrote again.html\n"
    assert (installed.folder / "again.html").read_bytes() == page.read_bytes()
    (installed.folder / "again.html").unlink()
    again = installed.run("compare-ag", "show", kept).stdout
    assert again.splitlines()[0] == done.stdout.splitlines()[0]


@pytest.mark.thorough
def test_the_conformance_kit_works_from_the_wheel_in_an_empty_folder(installed):
    rungs = "loads,gradient-at-zero,gradient-at-points,relation-taylor"
    assert "4 passed, 0 failed" in installed.run("compare-ag", "check", "numpy", "--only", rungs).stdout
    kit = ("-p", "compare_ag.check.plugin", "--pyargs", "compare_ag.check", "--backend", "numpy")
    done = installed.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *kit)
    assert "41 passed, 2 skipped" in done.stdout


@pytest.mark.thorough
def test_the_selftest_and_the_template_work_from_the_wheel(installed):
    done = installed.run("compare-ag", "selftest", "--quiet", "--only", "loss-sum")
    assert "1 of 1 mutants of numpy are caught" in done.stdout
    installed.run("compare-ag", "new", "mine", "--directory", "made")
    names = {path.name for path in (installed.folder / "made").iterdir()}
    assert names == {"README.md", "pyproject.toml", "compare_ag_mine.py", "test_mine.py"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["torch", "autograd", "jax", "jax-jit", "numba"])
def test_a_missing_framework_is_named_with_the_line_that_installs_it(name, without_frameworks):
    (requirement,) = PROJECT["optional-dependencies"][name.removesuffix("-jit")]
    line = shlex.join([str(without_frameworks.bin / "python"), "-m", "pip", "install", requirement])
    row = without_frameworks.backends()[name]
    assert (row["status"], row["reason"]) == ("missing", f"needs {requirement}, which is not installed")
    assert row["install"] == line
    shown = "".join(without_frameworks.run("compare-ag", "list").stdout.split())
    assert "".join(line.split()) in shown
    refused = without_frameworks.run("compare-ag", "run", "--backends", f"numpy,{name}", expect=2)
    assert f"backend '{name}' needs {requirement}, which is not installed; install it with: {line}" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.thorough
def test_nothing_has_run_when_a_framework_is_missing_and_numpy_runs_without_any(without_frameworks):
    without_frameworks.run("compare-ag", "run", "--backends", "torch", expect=2)
    assert list(without_frameworks.folder.iterdir()) == []
    for chosen in (["--backends", "numpy"], []):
        done = without_frameworks.run("compare-ag", "run", *chosen, "--steps", "100", "--no-timing", "--json")
        rows = json.loads(done.stdout)["records"]
        assert [(row["name"], row["status"]) for row in rows] == [("numpy", "ok")]
