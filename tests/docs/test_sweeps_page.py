"""The example of a batch system: its script, run for each member of the array, gives the whole sweep."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare_ag.sweep.ledger import Ledger

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
BIN = str(Path(sys.executable).parent)


@pytest.mark.thorough
def test_the_slurm_array_runs_every_cell_once(tmp_path):
    (script,) = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```", PAGE, re.M | re.S)
    assert "#SBATCH --array=" in script
    (tmp_path / "sweep-array.sh").write_text(script)
    (tmp_path / "sizes.toml").write_text('backends = ["numpy"]\nn = [4, 5, 6]\nd = 1\nsteps = 3\ntiming = false\n')
    for member in ("1", "2"):
        array = {"SLURM_ARRAY_TASK_ID": member, "SLURM_ARRAY_TASK_COUNT": "2"}
        environment = {**os.environ, **array, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "sweep-array.sh"], cwd=tmp_path, env=environment, check=True)
    assert [len(Ledger.open(tmp_path / f"sizes-{member}").names()) for member in (1, 2)] == [2, 1]
    command = [f"{BIN}/compare-ag", "merge", "sizes", "sizes-1", "sizes-2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("3 cells added, 0 were there\n")
