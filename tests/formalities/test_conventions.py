"""The files that people and their tools expect: versions agree, workflows run the one script, hooks call pinned tools."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import compare_ag

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HOOKS = [
    hook for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"] for hook in repo["hooks"]
]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_version_is_the_same_everywhere():
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest
    assert newest[1] == compare_ag.__version__
    assert CITATION["version"] == compare_ag.__version__


def test_every_heading_of_the_changelog_is_a_version():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings
    for heading in headings:
        assert re.fullmatch(r"\d+\.\d+\.\d+ (\(not yet released\)|- \d{4}-\d\d-\d\d)", heading)


def test_the_citation_has_what_its_format_requires_and_names_nobody():
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["authors"] == [{"name": "The compare-ag authors"}]
    assert CITATION["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_the_script_that_people_run_and_may_write_nothing(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    for step in job["steps"]:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1"))
    assert job["timeout-minutes"] <= 180


def test_pull_requests_and_pushes_are_tested_on_the_oldest_supported_python():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert {"push", "pull_request"} <= set(workflow[True])  # YAML 1.1 reads the bare word on so
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert required == f">={workflow['jobs']['test']['strategy']['matrix']['python'][0]}"


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_calls_the_tools_of_the_environment_with_their_own_configuration(hook):
    assert hook["language"] == "system"  # those that are installed are those that constraints.txt pins
    program, *arguments = shlex.split(hook["entry"])
    tool = arguments[1] if program == "python" else program
    assert tool in ("ruff", "mypy", "lint-imports", "pytest")
    assert not [one for one in arguments if one.startswith(("--select", "--ignore", "--line-length", "--config"))]


def test_the_hook_that_formats_changes_what_is_not_formatted_and_fails_on_what_is_wrong(tmp_path):
    by_id = {hook["id"]: shlex.split(hook["entry"])[1:] for hook in HOOKS}
    path = tmp_path / "x.py"
    path.write_text('"""x"""\nimport os\nx = {  "a":1 }\n')

    def call(name: str) -> int:
        command = [sys.executable, *by_id[name], "--config", str(ROOT / "pyproject.toml"), str(path)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    assert call("ruff-format") == 0
    assert 'x = {"a": 1}' in path.read_text()
    assert call("ruff") == 1  # os is not used


@pytest.mark.parametrize("name", ["ruff", "mypy"])
def test_what_is_installed_is_what_is_pinned(name):
    from importlib.metadata import version

    pinned = re.search(rf"^{name}==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned
    assert version(name) == pinned[1]


def test_the_files_that_people_look_for_are_there_and_shipped():
    shipped = (ROOT / "pyproject.toml").read_text()
    for name in ("CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "CHANGELOG.md", "LICENSE", "README.md"):
        assert (ROOT / name).read_text().strip()
        assert f'"{name}"' in shipped
