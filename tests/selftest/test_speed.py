"""`compare-ag selftest speed` through real workers: what it reports, never how large it is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from compare_ag.cli import main
from compare_ag.host.failures import WorkerFailure
from compare_ag.problem import problem_by_name
from compare_ag.selftest.speed import SelfcheckResult, Series, collect
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.training import Conditions

pytestmark = pytest.mark.usefixtures("calm")


def command(*arguments):
    program = [sys.executable, "-m", "compare_ag", "selftest", "speed", *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def gather(tmp_path, brief):
    def run(name="numpy", launches=2, **options):
        problem = problem_by_name("synthetic:n=30,d=3", steps=20)
        conditions = Conditions(problem, [], tmp_path, 60.0, 0, threading.Event())
        (offer,) = select([name]).values()
        options.setdefault("settings", brief)
        return collect(
            offer, conditions, compute_checkpoint(problem), lambda made: made.launches >= launches, **options
        )

    return run


@pytest.mark.thorough
def test_a_large_slowdown_is_planted_and_seen(gather):
    series = gather(launches=3, slowdown=20.0)
    assert series.launches == len(series.planted) == len(series.alike[0]) == 3
    assert series.turns > 100
    # a factor of about 21 is a log-ratio of about 3; a busy machine may spoil one launch of three
    assert np.median(series.planted) > 1.0 > np.median(np.abs(series.alike[0]))


def test_several_pairs_and_nothing_planted(gather):
    series = gather(pairs=2, slowdown=0)
    assert [len(values) for values in series.alike] == [2, 2]
    assert (series.planted, series.turns) == ([], 0)


def test_a_backend_that_fails_is_an_error_with_its_reason(gather, install_plugin):
    install_plugin("mine", "import nowhere_to_be_found")
    with pytest.raises(WorkerFailure, match="nowhere_to_be_found"):
        gather("mine")


def test_it_passes_unless_intervals_err_too_often():
    fair = Series([[0.01, -0.012, 0.004, -0.003, 0.008, -0.009] * 10], seconds=[1.0] * 60)
    assert SelfcheckResult(fair, 0.02).passed
    biased = Series([[0.03, 0.031, 0.029] * 20], seconds=[1.0] * 60)
    assert not SelfcheckResult(biased, 0.02).passed


@pytest.mark.thorough
def test_the_command(capsys):
    # in this process: a launch that the machine disturbs has no ratio, and `calm` cannot reach another process
    options = ("--problem", "synthetic:n=30,d=3", "--steps", "20", "--budget", "0.1", "--json", "--quiet")
    with pytest.raises(SystemExit) as ended:
        main(["selftest", "speed", *options])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"]["name"] == "compare-ag/selfcheck"
    assert document["launches"] == len(document["planted"]) == len(document["alike"][0]) >= 6
    assert [row["launches"] for row in document["rates"]] == [3, 6]
    assert ended.value.code == (0 if document["passed"] else 1)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--slowdown", "0"), ("--slowdown", "2"), ("--margin", "1"), ("--budget", "0"), ("--timeout", "-1")],
)
def test_options_out_of_range_are_refused(option, value):
    done = command(option, value)
    assert done.returncode == 2
    assert option in done.stderr
    assert "must be" in done.stderr
