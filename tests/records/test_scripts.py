"""The scripts that change runs at random and kill hosts that save find nothing, and would notice something."""

from __future__ import annotations

import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from compare_ag import records

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("script", "options"), [("run_fuzz.py", ["--changes", "200"]), ("kill_run.py", ["--kills", "40", "--runs", "2"])]
)
def test_the_script_finds_nothing(script, options):
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *options], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_fuzzer_notices_a_reader_that_breaks_and_one_that_reads_what_was_changed(whole, tmp_path, monkeypatch):
    fuzz = runpy.run_path(str(SCRIPTS / "run_fuzz.py"))
    spaces = fuzz["one_change"].__globals__
    dice = random.Random(0)

    def counts(read):
        tally = fuzz["Tally"]()
        monkeypatch.setitem(spaces, "read_all", read)
        for _ in range(8):
            fuzz["one_change"](whole, tmp_path / "changed", dice, tally)
        return tally.counts

    def broken(*_):
        raise KeyError("losses")

    def refuses(*_):
        raise records.RecordError("damaged")

    assert counts(broken) == {"bug": 8}
    assert counts(refuses) == {"refused": 8}
    assert counts(lambda *_: None)["silent"]
