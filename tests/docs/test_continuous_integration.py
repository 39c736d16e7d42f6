"""The workflow and the hook of the documentation work, as far as a machine without network can tell.

What a runner does is done here: each `run` step by `bash -e`, in one directory, with the workflow's own variables, but
for the budgets. The two environments that it would install are links to this one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from compare_ag.records import seal

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "continuous-integration.md").read_text(encoding="utf-8")
WORKFLOW, CHECKS, HOOKS = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S))
STEPS = {step.get("name", step.get("uses")): step for step in WORKFLOW["jobs"]["compare"]["steps"]}
BIN = Path(sys.executable).parent


def run_step(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    variables = WORKFLOW["env"] | {
        "BACKENDS": "numpy", "BUDGET": "1", "THRESHOLD": "1000%", "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-e", "-c", STEPS[name]["run"]],
        cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    """The job's directory after both runs."""
    folder = tmp_path_factory.mktemp("job")
    for version in ("old", "new"):
        (folder / f"env-{version}").mkdir()
        (folder / f"env-{version}" / "bin").symlink_to(BIN)
    for name in ("Run the old version", "Run the new version"):
        done = run_step(folder, name)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.thorough
def test_an_unchanged_backend_passes_and_the_summary_says_so(job):
    done = run_step(job, "Compare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (job / "summary.md").read_text().startswith("### compare-ag: pass")


@pytest.mark.thorough
def test_a_backend_that_became_wrong_does_not_pass_and_the_summary_still_says_so(job):
    path = job / "after" / "records" / "numpy.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"status": "disagree", "reason": "wrong on purpose"}))
    seal(job / "after")
    try:
        done = run_step(job, "Compare")
    finally:
        path.write_text(kept)
        seal(job / "after")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "### compare-ag: changes that should not pass" in (job / "summary.md").read_text()


def test_the_workflow_is_one_that_github_reads():
    assert WORKFLOW[True] == "pull_request"  # YAML 1.1 reads the bare word on so; GitHub does not mind
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for step in STEPS.values():
        assert ("run" in step) != ("uses" in step)
        assert "${{" not in step.get("run", "")  # what others may write never becomes part of a script
    for used in re.findall(r"uses: (\S+)", PAGE):
        assert re.fullmatch(r"actions/[\w-]+@v\d+", used)


def test_every_option_of_the_workflow_is_one_of_the_commands():
    text = "\n".join(step.get("run", "") for step in STEPS.values()).replace("\\\n", " ")
    for command in ("run", "compare"):
        used = {
            option
            for line in re.findall(rf"compare-ag {command} (.*)", text)
            for option in re.findall(r"--[\w-]+", line)
        }
        assert used
        told = subprocess.run(
            [BIN / "compare-ag", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert {option for option in used if option not in told} == set()


@pytest.mark.thorough
@pytest.mark.parametrize(("residual", "code", "failures"), [("p - batch.y", 0, 0), ("1.001 * (p - batch.y)", 1, 2)])
def test_the_step_that_checks_leaves_a_summary_and_two_tables(
    residual, code, failures, good_plugin, install_plugin, tmp_path
):
    install_plugin("mine", good_plugin.replace("p - batch.y)", f"{residual})"))
    (step,) = CHECKS
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    commands = step["run"].splitlines()
    seen = 0
    for command in commands:
        done = subprocess.run(
            ["bash", "-e", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        seen += any(line.startswith("::error ") for line in done.stdout.splitlines())
    assert seen == failures
    assert (tmp_path / "summary.md").read_text().count("### compare-ag") == len(commands)
    for name in ("check.xml", "run.xml"):
        assert ("<failure " in (tmp_path / name).read_text()) == bool(failures)


@pytest.mark.thorough
@pytest.mark.parametrize(("residual", "code"), [("p - batch.y", 0), ("1.001 * (p - batch.y)", 1)])
def test_the_hook_passes_what_is_right_and_stops_what_is_wrong(residual, code, good_plugin, install_plugin, tmp_path):
    (hook,) = HOOKS["repos"][0]["hooks"]
    assert hook["language"] == "system"
    assert hook["stages"] == ["pre-push"]
    install_plugin("mine", good_plugin.replace("p - batch.y)", f"{residual})"))
    program, *arguments = shlex.split(hook["entry"])
    assert program == "compare-ag"
    done = subprocess.run([BIN / program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
