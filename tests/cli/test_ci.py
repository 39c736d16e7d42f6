"""``--ci`` and ``--junit``: what a CI server gets from `run` and `check`, from right, wrong and failing backends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compare_ag import records
from compare_ag.report.github import annotation, run_annotations, run_summary
from compare_ag.report.junit import Case, Suite, junit, run_junit

RUN = ["--problem", "synthetic:n=20,d=2", "--steps", "20", "--no-timing", "--quiet"]


def call(folder: Path, *arguments: str, summary: str = "summary.md") -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "compare_ag", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(folder / summary)},
    )  # fmt: skip


def commands(text: str) -> list[str]:
    """The lines that GitHub's runner would act on."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::")]


def cases(document: bytes) -> dict[str, str]:
    """Class and name of each case with its outcome, where it has one."""
    return {
        f"{case.get('classname')} {case.get('name')}": case[0].tag if len(case) else "passed"
        for case in ElementTree.fromstring(document).iter("testcase")
    }


# --- run ----------------------------------------------------------------------------------------------------


def test_a_run_that_agrees_annotates_nothing_and_leaves_a_summary_and_passed_cases(tmp_path):
    done = call(tmp_path, "run", "--backends", "numpy", *RUN, "--ci", "--junit", "out/results.xml", "-o", "kept")
    assert done.returncode == 0, done.stderr
    assert commands(done.stdout + done.stderr) == []
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("### compare-ag: all backends agree\n\n**numpy agrees")
    found = cases((tmp_path / "out" / "results.xml").read_bytes())
    assert found["compare-ag.run.synthetic.numpy verdict"] == "passed"
    assert {name.split()[1] for name in found} == {"verdict", "gradient", "step", "trajectory", "loss", "update"}


def test_a_wrong_backend_is_an_error_and_a_failure_and_keeps_its_exit_code(install_plugin, good_plugin, tmp_path):
    install_plugin("off", good_plugin.replace("v - rate * g", "v - rate * g * 1.001"))
    (tmp_path / "summary.md").write_text("from the step before\n")
    done = call(tmp_path, "run", "--backends", "off,numpy", *RUN, "--ci", "--junit", "results.xml", "-o", "kept")
    assert done.returncode == 1
    (line,) = commands(done.stdout)
    assert line.startswith("::error title=compare-ag%3A off%3A disagree::")
    assert "update" in line
    assert (
        (tmp_path / "summary.md").read_text().startswith("from the step before\n### compare-ag: not all backends agree")
    )
    found = cases((tmp_path / "results.xml").read_bytes())
    assert found["compare-ag.run.synthetic.off verdict"] == "failure"
    assert found["compare-ag.run.synthetic.off update"] == "failure"
    assert found["compare-ag.run.synthetic.off gradient"] == "passed"
    assert found["compare-ag.run.synthetic.numpy verdict"] == "passed"


def test_with_json_stdout_stays_json_and_annotations_go_to_stderr(install_plugin, good_plugin, tmp_path):
    import json

    install_plugin("off", good_plugin.replace("v - rate * g", "v - rate * g * 1.001"))
    done = call(tmp_path, "run", "--backends", "off", *RUN, "--ci", "--json", "-o", "kept")
    assert json.loads(done.stdout)["exit_code"] == 1
    assert len(commands(done.stderr)) == 1


def test_without_ci_nothing_is_annotated_nor_added_to_the_summary(install_plugin, good_plugin, tmp_path):
    install_plugin("off", good_plugin.replace("v - rate * g", "v - rate * g * 1.001"))
    done = call(tmp_path, "run", "--backends", "off", *RUN, "-o", "kept")
    assert commands(done.stdout + done.stderr) == []
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("extra", "summary", "said"),
    [
        (["--junit", "kept/manifest.json/x.xml"], "summary.md", "could not save kept/manifest.json/x.xml"),
        (["--ci"], "missing/summary.md", "could not add to the job's summary"),
    ],
)
def test_what_cannot_be_written_is_exit_6_and_the_report_is_printed_all_the_same(extra, summary, said, tmp_path):
    done = call(tmp_path, "run", "--backends", "numpy", *RUN, "-o", "kept", *extra, summary=summary)
    assert done.returncode == 6
    assert said in done.stderr
    assert "numpy agrees" in done.stdout


STATUSES = {
    "ok": "passed", "imported": "passed", "disagree": "failure", "undecidable": "failure", "non-finite": "failure",
    "crashed": "error", "timeout": "error", "oom": "error", "malformed": "error", "import-error": "error",
    "unsupported": "error", "cancelled": "skipped", "not-run": "skipped",
}  # fmt: skip


def test_every_status_has_its_outcome_and_its_annotation(make_run):
    assert set(STATUSES) == set(records.STATUSES)
    run = make_run(dict.fromkeys(STATUSES, 0.0), statuses={name: name for name in STATUSES})
    found = cases(run_junit(run))
    assert {name: found[f"compare-ag.run.made.{name} verdict"] for name in STATUSES} == STATUSES
    errors = [line for line in run_annotations(run) if line.startswith("::error")]
    assert len(errors) == len(STATUSES) - 2
    for name in set(STATUSES) - {"ok", "imported"}:
        assert any(f"compare-ag%3A {name}%3A {name}::" in line for line in errors), name


def test_a_disturbed_timing_is_a_warning(make_run):
    run = make_run({"numpy": 10e-6, "mine": 20e-6}, disturbed={"mine": 0.9})
    assert any(
        line.startswith("::warning title=compare-ag%3A mine has no rank::mine ") for line in run_annotations(run)
    )


def test_counts_of_a_suite_are_those_of_its_cases():
    made = junit(
        "t", [Suite("s", [Case("a"), Case("b", "failure"), Case("c", "error"), Case("d", "skipped", seconds=2)])]
    )
    for element in (ElementTree.fromstring(made), ElementTree.fromstring(made)[0]):
        facts = {name: element.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
        assert facts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "2.000"}


# --- strangers' text ----------------------------------------------------------------------------------------


def test_no_text_ends_an_annotation_or_begins_another(payload):
    line = annotation("error", f"a{payload}\n::error::b", f"{payload}\r\n::stop-commands::x")
    assert len(line.splitlines()) == 1
    assert re.fullmatch(r"::error title=[^:]*::[^\x00-\x1f]*", line)


def test_what_github_would_decode_is_written_as_it_is_decoded():
    assert annotation("warning", "a: b, c", "50%0A::error::x") == "::warning title=a%3A b%2C c::50%250A::error::x"


def test_a_payload_in_a_run_is_text_in_all_of_it(payload, make_run, infect):
    run = infect(make_run({"numpy": 10e-6, "mine": 20e-6}, statuses={"mine": "disagree"}), payload)
    root = ElementTree.fromstring(run_junit(run))
    assert {element.tag for element in root.iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "skipped",
    }  # fmt: skip
    for line in run_annotations(run):
        assert len(line.splitlines()) == 1
        assert line.startswith(("::error title=", "::warning title="))
    assert commands(run_summary(run)) == []


# --- check --------------------------------------------------------------------------------------------------


def test_a_check_that_passes_has_passed_cases_and_a_summary(tmp_path):
    done = call(tmp_path, "check", "numpy", "--only", "loads,update", "--ci", "--junit", "results.xml")
    assert done.returncode == 0, done.stderr
    assert commands(done.stdout) == []
    assert cases((tmp_path / "results.xml").read_bytes()) == {
        "compare-ag.check.numpy loads": "passed", "compare-ag.check.numpy update": "passed",
    }  # fmt: skip
    assert "every check that applies is passed\n\n2 passed, 0 failed" in (tmp_path / "summary.md").read_text()


def test_failed_checks_are_annotated_with_the_one_to_mend_first_before_the_others(
    install_plugin, good_plugin, tmp_path
):
    install_plugin("mine", good_plugin.replace("p - batch.y)", "2 * (p - batch.y))"))
    only = "loads,gradient-at-zero,gradient-at-points,step"
    done = call(tmp_path, "check", "mine", "--only", only, "--ci", "--junit", "results.xml")
    assert done.returncode == 1
    following = next(line for line in done.stdout.splitlines() if line.startswith("Next: "))
    first, *others = commands(done.stdout)
    assert first.startswith(f"::error title=compare-ag check mine%3A {following.split()[1].rstrip(':')}::")
    assert others
    found = cases((tmp_path / "results.xml").read_bytes())
    assert found["compare-ag.check.mine loads"] == "passed"
    assert found["compare-ag.check.mine gradient-at-zero"] == "failure"
    assert "| gradient-at-zero |" in (tmp_path / "summary.md").read_text()


def test_a_worker_that_fails_is_an_error_and_what_was_not_asked_is_skipped(install_plugin, good_plugin, tmp_path):
    install_plugin("mine", good_plugin.replace("w, batch, residual = tape", "raise ValueError('not yet')"))
    done = call(tmp_path, "check", "mine", "--junit", "results.xml")
    assert done.returncode == 3
    found = list(cases((tmp_path / "results.xml").read_bytes()).values())
    assert found.count("error") == 1
    assert found.count("skipped") > 10
    text = (tmp_path / "results.xml").read_text()
    assert "ValueError: not yet" in text
    assert str(tmp_path) not in text  # no folder of the machine
