"""The kit inside pytest: what is wrong with a request is said once, at collection, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from compare_ag.check import parametrize_backend_checks
from compare_ag.check.ladder import CHECKS
from compare_ag.host.discovery import SelectionError

PLUGIN = ("-p", "compare_ag.check.plugin")
KIT = ("--pyargs", "compare_ag.check")


def pytest_in(folder, *arguments, installed_plugins=False):
    """Run pytest; without the plugins that happen to be installed unless they matter, for they cost seconds."""
    environment = os.environ if installed_plugins else {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        capture_output=True, text=True, check=False, cwd=folder, env=environment,
    )  # fmt: skip


def collected(done, name):
    return sum(name in line for line in done.stdout.splitlines())


def test_the_kit_and_the_benchmarks_go_into_one_run(tmp_path):
    pytest.importorskip("pytest_benchmark")
    arguments = (
        *PLUGIN,
        *KIT,
        "compare_ag.benchmarks",
        "--backend",
        "numpy",
        "--ag-backends",
        "numpy",
        "--collect-only",
    )
    done = pytest_in(tmp_path, *arguments, installed_plugins=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert collected(done, "test_backend[numpy-") == len(CHECKS)
    assert collected(done, "test_phases.py::") > 0
    assert "torch" not in done.stdout


def test_the_option_is_repeatable_and_a_name_given_twice_is_checked_once(tmp_path):
    names = [part for name in ("numpy", "autograd", "numpy") for part in ("--backend", name)]
    done = pytest_in(tmp_path, *PLUGIN, *KIT, *names, "--collect-only")
    assert collected(done, "test_backend[numpy-") == collected(done, "test_backend[autograd-") == len(CHECKS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*PLUGIN, *KIT, "--backend", "nunpy"), "no backend 'nunpy'; did you mean 'numpy'?"),
        ((*PLUGIN, *KIT), "name the backend to check: --backend NAME"),
        (KIT, "pytest -p compare_ag.check.plugin --pyargs compare_ag.check --backend NAME"),
    ],
)
def test_an_unusable_request_is_one_error_at_collection(arguments, said, tmp_path):
    done = pytest_in(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stdout
    assert "1 error in" in done.stdout
    assert "Traceback" not in done.stdout
    assert ".py:" not in done.stdout


def test_the_plugin_leaves_other_suites_alone(tmp_path):
    (tmp_path / "test_other.py").write_text("def test_it(request):\n    assert 'check' not in request.fixturenames\n")
    assert pytest_in(tmp_path, *PLUGIN, "test_other.py").returncode == 0


@pytest.mark.parametrize(
    ("backends", "expected", "error", "said"),
    [
        ("numpy", None, TypeError, r"give a list of names, as \['numpy'\]"),
        (["numpy"], ["update"], TypeError, "give a reason for each check"),
        (["numpy"], {"update": None}, ValueError, "'update' needs a reason"),
        (["nunpy"], None, SelectionError, "did you mean 'numpy'"),
    ],
)
def test_wrong_arguments_of_the_decorator_end_the_collection(backends, expected, error, said):
    with pytest.raises(error, match=said):
        parametrize_backend_checks(backends, expected)


def test_an_error_of_the_kit_is_not_taken_for_the_expected_failure(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "from compare_ag.check import marks\n\n"
        "def check_backend(name, **_):\n    raise RuntimeError('a bug of the kit')\n\n"
        "marks.check_backend = check_backend\n\n"
        "@marks.parametrize_backend_checks(['numpy'], {'update': 'ascends'})\n"
        "def test_backend(check):\n    check()\n"
    )
    done = pytest_in(tmp_path, "-k", "numpy-update", "-rfx")
    assert done.returncode == 1
    assert "FAILED test_mine.py::test_backend[numpy-update] - RuntimeError: a bug of the kit" in done.stdout


WITHOUT_PROBABILITY = dict.fromkeys(("probability-form", "probability-logits", "float32-logits"), "not yet")


@pytest.mark.few(1)
@pytest.mark.parametrize(("expected", "outcome"), [({}, "failed"), (WITHOUT_PROBABILITY, "passed")])
def test_a_check_that_was_not_asked_fails_unless_what_ended_the_run_was_expected(
    expected, outcome, install_plugin, good_plugin, tmp_path
):
    old = "w, batch, residual = tape"
    raises = f"if self.loss == 'probability':\n            raise ValueError('not yet')\n        {old}"
    install_plugin("broken", good_plugin.replace(old, raises))
    (tmp_path / "test_mine.py").write_text(
        "from compare_ag.check import parametrize_backend_checks\n\n"
        f"@parametrize_backend_checks(['broken'], expected_failed={expected!r})\n"
        "def test_backend(check):\n    check()\n"
    )
    done = pytest_in(tmp_path, "-k", "broken-mini-batches")
    assert f"1 {outcome}" in done.stdout
    said = "mini-batches was not asked, because 'probability-form' failed: crashed: ValueError: not yet"
    assert (said in done.stdout) is (outcome == "failed")
