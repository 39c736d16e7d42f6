"""A row of each kind of the drill; `.ci/run` runs all of them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = runpy.run_path(str(Path(__file__).with_name("rows.py")), run_name="rows")["ROWS"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds what is left behind through /proc")


def drill(*options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.drill", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.fast])
def test_a_hostile_plugin_costs_nobody_else_anything(name):
    status, text = drill("--only", name)
    assert status == 0, text
    assert "1 passed, 0 failed" in text
