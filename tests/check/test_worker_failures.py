"""Backends that give no numbers to judge: they crash, hang or spoil their inputs. The kit must say where, and end."""

from __future__ import annotations

import pytest

from compare_ag.check import check_backend
from compare_ag.check.ladder import CHECKS
from compare_ag.worker.messages import Mutation

BACKWARD = "w, batch, residual = tape"


def broken(install_plugin, good_plugin, statement):
    install_plugin("broken", good_plugin.replace(BACKWARD, statement))


@pytest.mark.thorough
def test_a_hang_is_bounded_shows_where_it_waits_and_ends_the_ladder(install_plugin, good_plugin):
    broken(install_plugin, good_plugin, "import time; time.sleep(1e6)")
    results = check_backend("broken", ["loads", "prepares", "gradient-at-zero", "l2", "trajectory"], seconds=5.0)
    assert [result.status for result in results] == ["passed", "passed", "failed"]
    hung = results[-1]
    assert hung.message.startswith("timeout: no answer within 5 s")
    assert "in backward" in hung.log


PREPARE = "self.l2, self.loss = setting.l2, setting.loss"
FORWARD = "z = batch.X @ w + b"


@pytest.mark.parametrize(
    ("old", "new", "rung", "phase"),
    [
        (PREPARE, "raise ValueError('no')", "prepares", "prepare"),
        ("return np.array(array)", "return array.tolist()", "prepares", "make_tensor"),
        (FORWARD, f"{FORWARD}[:, None]", "loss-at-zero", "forward"),
        (BACKWARD, "raise ValueError('no')", "loss-at-zero", "backward"),
        (BACKWARD, "return None", "loss-at-zero", "backward"),
        ("rate = gradient.w", "raise ValueError('no')", "loss-at-zero", "update"),
    ],
)
def test_a_worker_that_fails_in_a_part_that_all_need_ends_the_ladder(
    old, new, rung, phase, install_plugin, good_plugin
):
    assert good_plugin.count(old) == 1
    install_plugin("broken", good_plugin.replace(old, new))
    results = check_backend("broken")
    assert [result.id for result in results] == list(CHECKS)[: list(CHECKS).index(rung) + 1]
    assert results[-1].worker_failed
    assert f"(in {phase})" in results[-1].message


def test_a_fused_step_that_raises_leaves_the_other_checks_their_turn(install_plugin, good_plugin):
    fused = "    def step(self, weights, batch, learning_rate):\n        raise ValueError('later')\n\n    def to_numpy"
    install_plugin("broken", good_plugin.replace("    def to_numpy", fused))
    results = {r.id: r for r in check_backend("broken", ["update", "fused-step", "float32", "fused-trajectory"])}
    assert {id: result.status for id, result in results.items()} == {
        "update": "passed",
        "fused-step": "failed",
        "float32": "passed",
        "fused-trajectory": "skipped",
    }
    assert results["fused-trajectory"].message == "not asked, because 'fused-step' failed"


def test_a_setting_that_is_refused_is_one_failure_and_the_ladder_goes_on(install_plugin, good_plugin):
    refuses = f"{PREPARE}\n        if self.loss == 'probability':\n            raise NotImplementedError('logits only')"
    install_plugin("broken", good_plugin.replace(PREPARE, refuses))
    results = check_backend("broken", ["probability-form", "float32", "seed-problem"])
    assert [result.status for result in results] == ["failed", "passed", "failed"]
    assert results[0].message == results[2].message == "crashed: NotImplementedError: logits only (in prepare)"


def test_what_is_expected_to_fail_does_not_end_the_ladder(install_plugin, good_plugin):
    raises = "if self.loss == 'probability':\n            raise ValueError\n        "
    broken(install_plugin, good_plugin, raises + BACKWARD)
    ids = ["probability-form", "float32"]
    assert [result.id for result in check_backend("broken", ids)] == ["probability-form"]
    results = check_backend("broken", ids, expected={"probability-form"})
    assert [(result.id, result.status) for result in results] == list(zip(ids, ("failed", "passed"), strict=True))


def test_an_exception_comes_with_its_traceback_and_advice_that_fits(install_plugin, good_plugin):
    broken(install_plugin, good_plugin, "raise ValueError('not \\x1b[2J yet')")
    (result,) = check_backend("broken", ["gradient-at-zero"])
    assert result.message.startswith("crashed: ValueError: not")
    assert "broken_plugin.py" in result.log
    assert "in backward" in result.log
    assert "\x1b" not in result.log
    assert result.advice.startswith("Make it run before you make it right")
    assert result.explanation.splitlines()[-1] == f"  | {result.log.splitlines()[-1]}"


def test_a_killing_signal_shows_the_innermost_frame_first(install_plugin, good_plugin):
    broken(install_plugin, good_plugin, "import ctypes; ctypes.string_at(0)")
    (result,) = check_backend("broken", ["gradient-at-zero"])
    assert "SIGSEGV" in result.message
    assert result.log.startswith("Current thread")
    assert "in backward" in result.log


@pytest.mark.parametrize("end", ["import os; os._exit(3)", "raise SystemExit(0)"])
def test_a_dead_worker_is_a_failed_check_and_a_new_one_answers_the_next(end, install_plugin, good_plugin):
    dies = f"        if not self.l2:\n            {end}\n        {BACKWARD}"
    install_plugin("broken", good_plugin.replace(f"        {BACKWARD}", dies))
    results = check_backend("broken", ["gradient-at-zero", "l2", "update"], expected={"gradient-at-zero"})
    assert [result.status for result in results] == ["failed", "passed", "passed"]
    assert results[0].worker_failed


def test_a_written_input_is_named_beside_the_wrong_numbers_that_follow(install_plugin, good_plugin):
    spoiled = "        batch.X[0, 0] += 1\n        z = batch.X @ w + b"
    install_plugin("broken", good_plugin.replace("        z = batch.X @ w + b", spoiled))
    wrong, inputs = check_backend("broken", ["gradient-at-points", "inputs-untouched"])
    assert wrong.status == inputs.status == "failed"
    assert wrong.message.endswith("it writes into X or y: see 'inputs-untouched' first")
    assert (wrong.root, inputs.root) == ("inputs-untouched", "inputs-untouched")
    assert inputs.message == "X or y differ from what was sent: forward, backward or update writes into them"


READS = "return tensor\n"
WRITES = {
    "the weights": "tensor *= 2 if tensor.ndim == 1 and len(tensor) == 3 else 1",
    "the loss": "tensor *= 2 if tensor is getattr(self, 'loss_of', None) else 1",
    "the gradient": "tensor *= 2 if tensor is getattr(self, 'gradient_of', None) else 1",
    "the weights, by reading the loss": "self.weights_of.__imul__(2) if tensor is getattr(self, 'loss_of', None) else 0",
    "X or y, by reading the gradient": "self.X_of.__imul__(2) if tensor is getattr(self, 'gradient_of', None) else 0",
}


@pytest.mark.parametrize("what", WRITES)
def test_to_numpy_that_writes_is_told_from_forward_and_backward(what, install_plugin, good_plugin):
    """What it shows is right; what it was given, or what the backend remembers, is changed afterwards."""
    source = good_plugin.replace(READS, f"shown = np.array(tensor)\n        {WRITES[what]}\n        return shown\n")
    source = source.replace(
        "        return np.asarray(loss, dtype=z.dtype), (w",
        "        self.loss_of, self.weights_of, self.X_of = np.array(loss, dtype=z.dtype), w, batch.X\n"
        "        return self.loss_of, (w",
    ).replace("return Weights(gradient,", "self.gradient_of = gradient\n        return Weights(gradient,")
    install_plugin("broken", source)
    (result,) = check_backend("broken", ["inputs-untouched"])
    assert result.status == "failed"
    assert result.message.startswith("to_numpy writes into ")
    assert what.split(",")[0] in result.message


def test_to_numpy_that_writes_before_it_shows_is_not_taken_for_make_tensor(install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace(READS, "tensor *= 2\n        return tensor\n"))
    (result,) = check_backend("broken", ["prepares"])
    assert result.message.startswith("malformed: to_numpy(X): a second reading differs")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("w *= 0.5", "the weights changed at the point 'start'"),
        ("batch.X[0, 0] += 1", "X or y differ from what was sent: forward, backward or update writes into them"),
        (
            "batch.y[0] += abs(w).max() > 5",
            "X or y differ from what was sent: forward, backward or update writes into them",
        ),
    ],
)
def test_forward_that_writes_is_not_taken_for_to_numpy(statement, said, install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace(FORWARD, f"{statement}\n        {FORWARD}"))
    (result,) = check_backend("broken", ["inputs-untouched"])
    assert result.status == "failed"
    assert result.message.startswith(said)


def test_data_that_one_check_spoiled_are_sent_anew_for_the_next(install_plugin, good_plugin, tmp_path):
    """It writes once: at zero weights, where the loss does not depend on X."""
    spoiled = f"""        mark = __import__("pathlib").Path({str(tmp_path / "spoiled")!r})
        if not mark.exists():
            mark.touch()
            batch.X[0, 0] += 1
        z = batch.X @ w + b"""
    install_plugin("broken", good_plugin.replace("        z = batch.X @ w + b", spoiled))
    results = check_backend("broken", ["loss-at-zero", "loss-at-points"])
    assert (tmp_path / "spoiled").exists()
    assert [result.status for result in results] == ["passed", "passed"]


def test_the_command_that_repeats_a_check_selects_the_same_backend(install_plugin, good_plugin):
    for distribution in ("cag-one", "cag-two"):
        install_plugin("twin", good_plugin, distribution)
    (result,) = check_backend("cag-two:twin", ["loads"])
    assert (result.status, result.command) == ("passed", "compare-ag check cag-two:twin --only loads")


def test_a_mutant_can_be_checked_by_name():
    mutation = Mutation("compare_ag_mutants", "bias-gradient-missing", 1.0)
    (result,) = check_backend("numpy", ["gradient-at-zero"], mutation=mutation)
    assert result.status == "failed"
