"""Backends that give no numbers to judge: they crash, hang or spoil their inputs. The kit must say where, and end."""

from __future__ import annotations

import pytest

from compare_ag.conformance import check_backend, subject
from compare_ag.worker.protocol import Mutation

BACKWARD = "w, batch, residual = tape"


def broken(install_plugin, good_plugin, statement):
    install_plugin("broken", good_plugin.replace(BACKWARD, statement))


def test_a_hang_is_bounded_and_shows_where_it_waits(install_plugin, good_plugin, monkeypatch):
    monkeypatch.setattr(subject, "SECONDS", 5.0)
    broken(install_plugin, good_plugin, "import time; time.sleep(1e6)")
    results = check_backend("broken", ["loads", "prepares", "gradient-at-zero", "l2", "update", "trajectory"])
    assert [result.status for result in results] == ["passed", "passed", "failed", "failed", "skipped", "skipped"]
    hung, never = results[2], results[4]
    assert hung.message.startswith("timeout: no answer within 5 s")
    assert "--timeout" not in hung.message  # an option of run, not of check
    assert "in backward" in hung.log
    assert never.message == "not asked: the backend hung 2 times before"


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
    results = check_backend("broken", ["gradient-at-zero", "l2", "update"])
    assert [result.status for result in results] == ["failed", "passed", "passed"]
    assert results[0].worker_failed


def test_a_written_input_is_named_beside_the_wrong_numbers_that_follow(install_plugin, good_plugin):
    spoiled = "        batch.X[0, 0] += 1\n        z = batch.X @ w + b"
    install_plugin("broken", good_plugin.replace("        z = batch.X @ w + b", spoiled))
    wrong, inputs = check_backend("broken", ["gradient-at-points", "inputs-untouched"])
    assert wrong.status == inputs.status == "failed"
    assert wrong.message.endswith("it writes into X or y: see 'inputs-untouched' first")
    assert inputs.message == "X or y differ from what was sent"


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
