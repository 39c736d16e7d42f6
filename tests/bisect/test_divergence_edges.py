"""What bisect and transplant say at the edges: crashes, fused steps, saturation, several mistakes at once.

A script that shows a fault must also be able not to: without the mistake it says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from compare_ag.bisect import bisect, transplant
from compare_ag.bisect.reproducer import MOST_LINES
from compare_ag.problem import Data, make_problem, problem_by_name
from compare_ag.selftest import specimens
from compare_ag.suite import select
from compare_ag.verify import probe_points, reference_trajectory

FUSED = """
    def step(self, weights, batch, learning_rate):
        loss, tape = self.forward(weights, batch)
        far = abs(batch.X @ weights.w + weights.b).max() > 30
        gradient = self.backward(tape)
        return loss, self.update(weights, Weights(gradient.w * (2 if far else 1), gradient.b), learning_rate)

    def to_numpy"""
COUNTED = "self.calls = getattr(self, 'calls', 0) + 1\n        "


def problem(**changes):
    return problem_by_name("synthetic:n=20,d=2", **({"steps": 30, "learning_rate": 0.1} | changes))


@pytest.mark.thorough
@pytest.mark.few("gradient-stale", "rate-scaled", "dtype-wrong")
@pytest.mark.parametrize(
    "name",
    ["loss-scaled", "loss-after-update", "gradient-stale", "rate-scaled", "step-skipped", "start-wrong", "dtype-wrong"],
)
def test_a_script_says_not_reproduced_once_the_mistake_is_taken_out(name, tmp_path):
    specimen = next(specimen for specimen in specimens(name) if specimen.facts.name == name)
    found = bisect(
        {"wrong": select(["numpy"])["numpy"]}, problem(), folder=tmp_path, mutations={"wrong": specimen.mutation}
    )
    script = found.reproducers["wrong"]
    assert script.reproduces, script.output
    lines = script.path.read_text().splitlines()
    cured = [line for line in lines if not line.startswith(("mutants = ", "Plugin = mutants["))]
    assert len(cured) == len(lines) - 2
    script.path.write_text("\n".join(cured) + "\n")
    done = subprocess.run([sys.executable, script.path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "not reproduced"), done.stdout + done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("raised", "step"),
    [
        ("raise ValueError('not in C:\\\\Users\\\\me')", 0),
        ('raise KeyError(\'"""\')', 0),
        (COUNTED + "if self.calls > 7: raise ValueError('late')", 7),
    ],
)
def test_the_script_of_a_crash_raises_the_same(raised, step, install_plugin, good_plugin, tmp_path):
    install_plugin(
        "mine", good_plugin.replace("w, batch, residual = tape", f"{raised}\n        w, batch, residual = tape")
    )
    found = bisect(select(["numpy", "mine"]), problem(), folder=tmp_path)
    fault, script = found.faults["mine"], found.reproducers["mine"]
    assert (fault.step, fault.phase) == (step, "backward")
    assert fault.failure is not None
    assert script.reproduces, script.output


def test_a_failure_that_no_few_calls_can_show_has_no_script(install_plugin, good_plugin, tmp_path):
    install_plugin("mine", good_plugin.replace("import numpy as np", "import numpy as np, nonesuch"))
    found = bisect(select(["numpy", "mine"]), problem(), folder=tmp_path / "scripts")
    assert "nonesuch" in found.faults["mine"].message
    assert found.reproducers == {}
    assert not (tmp_path / "scripts").exists()


def test_a_fused_step_that_is_wrong_at_the_host_s_points_alone_is_found(install_plugin, good_plugin, tmp_path):
    install_plugin("mine", good_plugin.replace("\n    def to_numpy", FUSED))
    found = bisect(select(["numpy", "mine"]), problem(), folder=tmp_path)
    fault = found.faults["mine"]
    assert (fault.step, fault.phase) == (None, "step")
    assert "the fused step" in fault.message
    assert "the point '" in fault.message
    assert found.reproducers["mine"].reproduces


@pytest.mark.thorough
def test_a_late_fault_of_small_batches_fits_into_a_script(install_plugin, good_plugin, tmp_path):
    late = COUNTED + "loss = loss + (self.calls > 3) * z.dtype.type(1)\n        return np.asarray(loss"
    install_plugin("mine", good_plugin.replace("return np.asarray(loss", late))
    small = problem_by_name("seed", steps=12, batch_size=2, loss="logits")
    found = bisect(select(["numpy", "mine"]), small, folder=tmp_path)
    script = found.reproducers["mine"]
    assert found.faults["mine"].phase == "forward"
    assert script.reproduces, script.output
    assert len(script.path.read_text().splitlines()) <= MOST_LINES


def test_what_the_probability_form_leaves_open_is_said():
    far = problem(loss="probability", dtype="float32", steps=5)
    far = replace(far, w0=np.full_like(far.w0, 60.0))
    found = bisect(select(["numpy", "autograd"]), far)
    assert found.faults == {}
    assert found.undecided == 0
    assert "every step that can be decided" in found.message
    assert "undecidable from step 0: the probability form saturates" in found.message


def test_the_same_nan_in_both_is_no_difference(install_plugin, good_plugin):
    for name in ("mine", "yours"):
        install_plugin(name, good_plugin.replace("residual.sum() / n", "residual.dtype.type(np.nan)"))
    found = bisect(select(["mine", "yours"]), problem())
    assert set(found.faults) == {"mine", "yours"}
    assert found.first_bits == ""


# --- transplant


@pytest.mark.thorough
def test_a_crash_in_backward_is_not_blamed_on_the_loss(install_plugin, good_plugin):
    install_plugin("mine", good_plugin.replace("w, batch, residual = tape", "raise ValueError('not yet')"))
    found = transplant(select(["numpy", "mine"]), problem(), steps=2)
    assert found.guilty == (("mine", "gradient"),)
    assert "none without it" in found.message


@pytest.mark.thorough
def test_where_every_combination_is_wrong_nothing_is_claimed(install_plugin, good_plugin):
    for name, divisor in (("mine", "(n + 1)"), ("yours", "(n + 2)")):
        install_plugin(name, good_plugin.replace("residual.sum() / n", f"residual.sum() / {divisor}"))
    found = transplant(select(["mine", "yours"]), problem(), steps=2)
    assert found.guilty == ()
    assert found.message.startswith("every combination is wrong")


@pytest.mark.thorough
def test_the_first_fault_of_a_combination_is_the_earliest_step(install_plugin, good_plugin):
    install_plugin("mine", good_plugin.replace("residual.sum() / n", "residual.sum() / (n + 1)"))
    found = transplant(select(["numpy", "mine"]), problem(), steps=3)
    wrong = [one for one in found.combinations if not one.right]
    assert wrong
    assert all("at step 0" in one.message for one in wrong)


@pytest.mark.thorough
def test_what_all_parts_share_is_named():
    specimen = specimens("start-wrong")[0]
    offers = dict.fromkeys(("right", "wrong"), select(["numpy"])["numpy"])
    found = transplant(offers, problem(), steps=2, mutations={"wrong": specimen.mutation})
    assert {part for name, part in found.guilty if name == "wrong"} == {"loss", "gradient", "update"}
    assert "look there first" in found.message


OWN = """
    def step(self, weights, batch, learning_rate):
        loss, tape = self.forward(weights, batch)
        RESULT

    def to_numpy"""
OWN_STEPS = {
    "return loss, self.update(weights, self.backward(tape), learning_rate)": (True, "right"),
    "return loss, self.update(weights, self.backward(tape), learning_rate * 1.01)": (False, "one step of"),
    "return np.add(loss, loss, out=loss), self.update(weights, self.backward(tape), learning_rate)": (
        False,
        "the loss is",
    ),
    "raise ValueError('not fused yet')": (False, "crashed: ValueError: not fused yet"),
}


@pytest.mark.thorough
@pytest.mark.few(2)
@pytest.mark.parametrize("result", OWN_STEPS)
def test_an_own_step_is_judged_beside_the_parts(result, install_plugin, good_plugin):
    right, message = OWN_STEPS[result]
    install_plugin("mine", good_plugin.replace("\n    def to_numpy", OWN.replace("RESULT", result)))
    found = transplant(select(["numpy", "mine"]), problem(), steps=3)
    assert found.guilty == ()
    (step,) = found.own_steps
    assert (step.backend, step.right) == ("mine", right)
    assert step.message.startswith(message)
    assert step.failed is ("raise" in result)
    assert found.right is right
    assert found.message.endswith(f"; the own step of mine is {'right' if right else 'wrong'}")


@pytest.mark.thorough
def test_the_command_shows_an_own_step_that_is_wrong_and_exits_1(install_plugin, good_plugin, tmp_path):
    wrong = "return loss, self.update(weights, self.backward(tape), learning_rate * 1.01)"
    install_plugin("mine", good_plugin.replace("\n    def to_numpy", OWN.replace("RESULT", wrong)))
    done = subprocess.run(
        [sys.executable, "-m", "compare_ag", "transplant", "--backends", "numpy,mine", "--problem",
         "synthetic:n=20,d=2", "--steps", "3", "--json"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip  # one command
    assert done.returncode == 1, done.stderr
    assert "mine's own step" in done.stderr
    (step,) = json.loads(done.stdout)["own_steps"]
    assert (step["backend"], step["right"]) == ("mine", False)


# --- numbers beyond the format, weights in a wider one, warnings


def test_what_the_format_cannot_hold_is_left_open_and_said():
    far = problem(dtype="float32", steps=6, learning_rate=1e30)
    found = bisect(select(["numpy", "autograd"]), far)
    assert found.faults == {}
    assert found.undecided == 1
    assert "undecidable from step 1: numbers may leave the range of float32" in found.message


def test_a_fault_before_the_overflow_has_a_script_with_finite_numbers(install_plugin, good_plugin, tmp_path):
    """One component of the gradient may overflow: only the others are compared."""
    wrong = good_plugin.replace("return Weights(gradient, np.asarray(residual.sum() / n))",
        "return Weights(np.array([np.nan, *gradient[1:]], gradient.dtype), np.asarray(residual.sum() / n * 2))")  # fmt: skip  # one line
    install_plugin("mine", wrong)
    data = Data(np.array([[1.0, 1.0], [2.0, -1.0], [0.5, 0.5]]), np.array([0.0, 1.0, 0.0]), "few", "made by hand")
    huge = make_problem(data, steps=3, learning_rate=1e-30, l2=1e308)
    huge = replace(huge, w0=np.array([10.0, 0.0]))  # l2 w is 1e309
    found = bisect(select(["numpy", "mine"]), huge, folder=tmp_path)
    assert (found.faults["mine"].phase, found.faults["mine"].coordinate) == ("backward", "b")
    script = found.reproducers["mine"]
    assert script.reproduces, script.output
    (expected,) = [line for line in script.path.read_text().splitlines() if line.startswith("expected = ")]
    assert "inf" not in expected
    assert "nan" not in expected
    cured = (tmp_path / "site" / "mine_plugin.py").read_text().replace("/ n * 2", "/ n")
    (tmp_path / "site" / "mine_plugin.py").write_text(cured)
    done = subprocess.run([sys.executable, script.path], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "not reproduced", done.stdout + done.stderr


WIDER = ("weights-kept-wider", "all-kept-wider")


@pytest.mark.few(2)
@pytest.mark.parametrize("name", WIDER)
@pytest.mark.parametrize("facts", [{"dtype": "float32", "learning_rate": 1e-3}, {"batch_size": 7}])
def test_weights_kept_in_a_wider_format_are_right_at_every_step(name, facts):
    specimen = next(specimen for specimen in specimens(name) if specimen.facts.name == name)
    wider = {"wider": select(["numpy"])["numpy"]}
    assert bisect(wider, problem(steps=60, **facts), mutations={"wider": specimen.mutation}).faults == {}


def test_a_wrong_rate_is_found_at_its_first_step_also_where_the_reading_could_explain_it(install_plugin, good_plugin):
    """The host's points show that the weights are not wider; the step that is named is the training's."""
    install_plugin("mine", good_plugin.replace("v - rate * g", "v - rate * g * v.dtype.type(1.001)"))
    found = bisect(select(["mine", "numpy"]), problem(dtype="float32", learning_rate=1e-3))
    assert found.faults["mine"].phase == "update"


def test_warnings_that_are_made_errors_change_no_script(install_plugin, good_plugin, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    wrong = good_plugin.replace("residual.sum() / n", "residual.sum() / (n + 1)")
    install_plugin("mine", "import warnings\nwarnings.warn('old')\n" + wrong)
    found = bisect(select(["mine", "numpy"]), problem(), folder=tmp_path)
    assert found.reproducers["mine"].reproduces, found.reproducers["mine"].output


def test_a_fault_in_the_second_run_alone_is_found_and_said_so(install_plugin, good_plugin, tmp_path):
    """Here one that comes after many calls; one in a thousand of them may come at any."""
    late = problem(steps=30)
    before = 30 + sum(2 * len(route.names) for route in probe_points(late, reference_trajectory(late), 1).routes)
    old = "        return Weights(gradient,"
    counted = f"        self.calls = getattr(self, 'calls', 0) + 1\n        gradient = gradient * (1 + (self.calls > {before + 10}))\n"
    install_plugin("late", good_plugin.replace(old, counted + old))
    fault = bisect(select(["late"]), late).faults["late"]
    assert (fault.step, fault.phase) == (10, "backward")
    assert "at step 10, in the second run" in fault.message
