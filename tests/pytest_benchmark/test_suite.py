"""The shipped benchmark suite, run as its users run it; and that it fails for a backend whose numbers are wrong."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from compare_ag.host.discovery import discover
from compare_ag.problem import make_problem, problem_by_name, synthetic
from compare_ag.pytest_benchmark.expected import BoundedValue, point
from compare_ag.pytest_benchmark.prepared import Workers
from compare_ag.verify.oracle import Exact

ROOT = Path(__file__).resolve().parents[2]
PHASES = ("make_tensor", "forward", "backward", "update", "step")


@pytest.fixture
def run_suite(tmp_path):
    """Run the suite in a process of its own; return exit status and text."""

    def run(*options: str, folder: Path | None = None) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", "--pyargs", "compare_ag.benchmarks", "--benchmark-disable"]
        command += ["-v", "-W", "error", "-p", "no:cacheprovider", *options]
        done = subprocess.run(command, cwd=folder or tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.thorough
def test_it_passes_for_every_available_backend(run_suite):
    status, text = run_suite("-k", "seed")
    assert status == 0, text
    for offer in discover().available():
        for phase in PHASES:
            assert f"test_phase[{offer.name}-{phase}-seed] PASSED" in text, text


def test_it_runs_from_the_repository_too(run_suite):
    """Nothing in the project's own pytest options may switch it off there."""
    status, text = run_suite("-k", "seed", "--ag-backends", "numpy", folder=ROOT)
    assert status == 0, text
    assert "5 passed" in text
    assert "skipped" not in text


@pytest.mark.thorough
def test_backend_chooses_third_party_ones_among_others(run_suite, install_plugin):
    install_plugin("mine")
    install_plugin("other")
    status, text = run_suite("-k", "seed", "--ag-backends", "mine,numpy")
    assert status == 0, text
    assert "test_phase[mine-step-seed] PASSED" in text
    assert "10 passed" in text
    assert "other" not in text


def test_an_unknown_backend_is_named(run_suite):
    status, text = run_suite("--ag-backends", "tourch")
    assert status != 0
    assert "no backend 'tourch'; did you mean 'torch'?" in text
    assert "Traceback" not in text


def test_a_plugin_that_cannot_be_loaded_fails(run_suite, install_plugin):
    install_plugin("mine", "import nowhere_to_be_found")
    status, text = run_suite("-k", "seed and step", "--ag-backends", "mine")
    assert status == 1
    assert "needs the module 'nowhere_to_be_found'" in text


MUTANTS = {
    "loss": ("np.asarray(loss, dtype=z.dtype)", "np.asarray(loss * 1.001, dtype=z.dtype)", "forward: loss"),
    "gradient": ("return Weights(gradient, np", "return Weights(gradient * z1001, np", "backward: gradient w"),
    "update": ("v - rate * g", "v - rate * g * type(rate)(1.001)", "update: w"),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_wrong_numbers_fail(run_suite, install_plugin, good_plugin, mutant):
    right, wrong, message = MUTANTS[mutant]
    assert right in good_plugin
    source = good_plugin.replace(right, wrong).replace("z1001", "gradient.dtype.type(1.001)")
    install_plugin("mine", source)
    status, text = run_suite("-k", "seed", "--ag-backends", "mine")
    assert status == 1
    assert "5 failed" in text
    assert message in text


def test_phases_without_a_time_of_their_own_are_skipped(run_suite, install_plugin, good_plugin):
    install_plugin("mine", good_plugin.replace("class Mine(Backend):", "class Mine(Backend):\n    splits = False\n"))
    status, text = run_suite("-k", "seed", "--ag-backends", "mine")
    assert status == 0, text
    assert "3 passed, 2 skipped" in text


@pytest.mark.thorough
def test_another_dtype_is_skipped_by_name(run_suite, install_plugin, good_plugin):
    source = good_plugin.replace("class Mine(Backend):", 'class Mine(Backend):\n    dtypes = ("float64",)\n')
    install_plugin("mine", source)
    status, text = run_suite("-k", "seed", "--ag-backends", "mine", "-rs")
    assert status == 0, text
    assert "mine computes in float64, not in float32" in text


def test_the_formula_is_the_gradient_of_its_own_loss():
    problem = make_problem(synthetic(n=40, d=3), l2=0.5)
    w, b, h = np.array([0.3, -1.0, 2.0]), np.array(0.25), 1e-6
    here = point(problem, w, b)
    for j in range(3):
        step = h * np.eye(3)[j]
        difference = (point(problem, w + step, b).loss.exact.high - point(problem, w - step, b).loss.exact.high) / (
            2 * h
        )
        assert here.w.exact.high[j] == pytest.approx(difference, rel=1e-8)
    difference = (point(problem, w, b + h).loss.exact.high - point(problem, w, b - h).loss.exact.high) / (2 * h)
    assert here.b.exact.high == pytest.approx(difference, rel=1e-8)


def test_the_bounds_are_of_the_size_of_rounding():
    seed = problem_by_name("seed")
    here = point(seed, seed.w0, seed.b0)
    assert 0 < here.loss.tolerance < 100 * 2.0**-24
    assert np.all(here.w.tolerance < 100 * 2.0**-24)
    assert np.all(here.next_w.tolerance < 3 * 2.0**-24)
    assert here.next_b.tolerance < 3 * 2.0**-24
    double = make_problem(synthetic(n=1000, d=20))
    assert np.all(point(double, double.w0, double.b0).w.tolerance < 1e-12)


def test_a_saturated_probability_form_has_no_bound():
    problem = problem_by_name("seed")
    far = point(problem, np.array([1e3, -1e3]), np.array(0.0))
    assert np.isinf(far.loss.tolerance)
    assert np.isinf(far.w.tolerance).all()
    assert far.loss.explains(np.array(np.nan))
    near = point(problem, np.array([1.0, -1.0]), np.array(0.0))
    assert not near.loss.explains(np.array(np.nan))


def test_weights_that_are_not_finite_are_never_right():
    (numpy,) = discover().select(["numpy"])
    with closing(Workers(60.0)) as workers:
        training = workers.get(numpy, make_problem(synthetic(n=40, d=3)))
        with pytest.raises(AssertionError, match="not finite"):
            training.check(np.array([np.nan, 0.0, 0.0]), np.array(0.0))


@pytest.mark.parametrize(
    ("tested", "explained"),
    [([1.0, 2.0], True), ([1.0, 2.1], True), ([1.0, 2.2], False), ([1.0, np.nan], False), ([1.0], False), ([], False)],
)
def test_a_bound_explains_what_lies_within_it_everywhere(tested, explained):
    bounded = BoundedValue(Exact(np.array([1.0, 2.0]), np.zeros(2), 0.0), np.array([0.0, 0.125]))
    assert bounded.explains(np.array(tested)) is explained
