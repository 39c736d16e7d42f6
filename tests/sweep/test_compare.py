"""Two sweeps: which cells changed, and what must not pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compare_ag.compare import ComparisonError
from compare_ag.report.sweep.comparison import changed_cells, comparison_markdown, headline
from compare_ag.sweep.compare import compare_sweeps
from compare_ag.sweep.merge import merge

COMMAND = str(Path(sys.executable).parent / "compare-ag")


def usual(_n, _d):
    return {"numpy": 1e-5, "torch": 2e-5}


def slower_at_ten(n, d):
    return {"numpy": 1e-5, "torch": 3e-5} if (n, d) == (10, 2) else usual(n, d)


def faster_at_ten(n, d):
    return {"numpy": 1e-5, "torch": 5e-6} if (n, d) == (10, 2) else usual(n, d)


def seeded(n, d):
    return {"seed": n + d}


def test_two_sweeps_of_the_same_times_pass(measured_sweep):
    before, after = measured_sweep(usual, "a"), measured_sweep(usual, "b", seeded)
    comparison = compare_sweeps(before, after, 0.05)
    assert comparison.exit_code == 0
    assert headline(comparison) == "0 of 4 cells changed from a to b."
    assert changed_cells(comparison).rows == []


def test_a_cell_that_became_slower_must_not_pass_and_is_named(measured_sweep):
    before, after = measured_sweep(usual, "a"), measured_sweep(slower_at_ten, "b", seeded)
    comparison = compare_sweeps(before, after, 0.05)
    assert comparison.exit_code == 1
    (cell,) = [one for one in comparison.cells if one.changed]
    assert cell.label == "n=10 d=2 float64 1 thread logits"
    assert cell.regressions[0].startswith("torch takes 1.5")
    assert headline(comparison) == "1 of 4 cells changed from a to b, 1 of them for the worse."
    assert compare_sweeps(before, after, 0.8).exit_code == 0


def test_another_winner_is_a_change_and_no_regression(measured_sweep):
    comparison = compare_sweeps(measured_sweep(usual, "a"), measured_sweep(faster_at_ten, "b", seeded), 0.05)
    (cell,) = changed_cells(comparison).rows
    assert (cell.fastest_before, cell.fastest_after) == ("numpy", "torch")
    assert cell.improvements[0].startswith("torch takes 0.2")
    assert comparison.exit_code == 0
    assert "numpy → torch" in comparison_markdown(comparison)


def test_a_cell_that_became_wrong_must_not_pass_and_one_that_is_right_again_may(measured_sweep):
    right = measured_sweep(usual, "a")
    wrong = measured_sweep(usual, "b", lambda n, _d: {"statuses": {"torch": "disagree"}} if n == 10 else {})
    comparison = compare_sweeps(right, wrong, 0.05)
    assert comparison.exit_code == 1
    assert {cell.label[:5] for cell in comparison.cells if cell.regressions} == {"n=10 "}
    back = compare_sweeps(wrong, right, 0.05)
    assert back.exit_code == 0
    assert ["torch is right again"] in [cell.improvements for cell in back.cells]


def test_a_cell_that_lost_its_result_must_not_pass(measured_sweep, record):
    before, after = measured_sweep(usual, "a"), measured_sweep(usual, "b", seeded)
    lost = after.record(after.names()[0])
    after.write(record(lost.cell, {}, status="failed", reason="the machine went down"))
    comparison = compare_sweeps(before, after, 0.05)
    assert comparison.exit_code == 1
    (cell,) = [one for one in comparison.cells if one.regressions]
    assert cell.regressions == ["it has no result any more: failed: the machine went down"]


def test_cells_of_one_sweep_alone_are_told_and_no_common_cell_is_an_error(measured_sweep):
    before, after = measured_sweep(usual, "a"), measured_sweep(usual, "b", n=[10, 2000])
    comparison = compare_sweeps(before, after, 0.05)
    assert (len(comparison.cells), len(comparison.gone), len(comparison.new)) == (2, 2, 2)
    assert headline(comparison).endswith("2 cells not measured any more. 2 cells new.")
    with pytest.raises(ComparisonError, match="have no cell in common"):
        compare_sweeps(before, measured_sweep(usual, "c", n=[77]), 0.05)


def test_a_large_sweep_raises_no_more_false_alarms_than_a_small_one(monkeypatch, measured_sweep):
    levels = []
    from compare_ag.compare import runs

    real = runs.simultaneous_level
    monkeypatch.setattr(runs, "simultaneous_level", lambda family: levels.append(family) or real(family))
    compare_sweeps(measured_sweep(usual, "a"), measured_sweep(usual, "b", seeded), 0.05)
    assert levels == [7, 7, 7, 7]  # of each cell torch, beside the two of each of three other cells


@pytest.mark.thorough
def test_the_command_gates_ci(measured_sweep):
    before, after = measured_sweep(usual, "a").folder, measured_sweep(slower_at_ten, "b", seeded).folder

    def call(*options):
        return subprocess.run([COMMAND, "compare", *options], capture_output=True, text=True, check=False)

    assert call(before, before).returncode == 0
    done = call(before, after, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["exit_code"] == 1
    assert "1 of 4 cells changed from a to b" in call(before, after).stdout
    assert call(before, after, "--md").stdout.splitlines()[2].startswith("| cell | fastest |")
    assert "name two sweeps" in call(before).stderr
    assert "is no sweep" in call(before, next((before / "cells").iterdir())).stderr


def test_merged_sweeps_are_compared_machine_by_machine(measured_sweep, tmp_path):
    from compare_ag.records.sweeps import Machine

    other = Machine(id="ffffffff", cpu="Other CPU", system="Linux x86_64", logical_cpus=8, memory_bytes=1)
    parts = [measured_sweep(usual, "a"), measured_sweep(usual, "b", seeded, machine=other)]
    both = merge(tmp_path / "both", [part.folder for part in parts]).ledger
    assert len(compare_sweeps(both, both, 0.05).cells) == 8
    assert len(compare_sweeps(both, parts[1], 0.05).cells) == 4
