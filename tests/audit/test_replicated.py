"""A run repeated: the same bits where machine and versions are the same, numbers within tolerance elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compare_ag import records
from compare_ag.audit import replicated


def test_a_run_repeats_itself_bit_by_bit(timed):
    level = replicated(timed)
    assert (level.word, level.notes) == ("holds", [])
    assert "the same bits expected of 2" in level.checked


@pytest.mark.parametrize(("machine", "found"), [(None, True), ("another", False)])
def test_one_other_bit_is_found_where_the_same_bits_are_expected(copy, change, machine, found):
    path = "arrays/numpy.npz"
    arrays = records.read_arrays(copy / path, None)
    arrays["losses"] = arrays["losses"].copy()
    arrays["losses"][3] = np.nextafter(arrays["losses"][3], np.float32(1))
    change(copy, "records/numpy.json", arrays_sha256=records.write_arrays(copy, path, arrays))
    if machine:
        change(copy, "manifest.json", environment__cpu=machine)
    level = replicated(records.load_run(copy))
    assert [(one.file, one.field) for one in level.mismatches] == ([(path, "losses")] if found else [])
    assert len(level.notes) == (0 if found else 2)


def test_numbers_beyond_two_tolerances_are_found_on_any_machine(copy, change):
    path = "arrays/numpy.npz"
    arrays = records.read_arrays(copy / path, None)
    arrays["losses"] = 1.01 * arrays["losses"]
    change(copy, "records/numpy.json", arrays_sha256=records.write_arrays(copy, path, arrays))
    change(copy, "manifest.json", environment__cpu="another")
    (mismatch,) = replicated(records.load_run(copy)).mismatches
    assert mismatch.field.startswith("losses[")


def test_another_status_is_found(copy, change):
    verdict = json.loads((copy / "records/numpy.json").read_text())["verdict"]
    change(copy, "records/numpy.json", status="disagree", reason="x", verdict=verdict | {"status": "diverges"})
    assert ("records/numpy.json", "status") in {
        (one.file, one.field) for one in replicated(records.load_run(copy)).mismatches
    }
