"""The example notebook runs, shows what it gives, and is a notebook that Jupyter reads."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = json.loads((ROOT / "docs" / "example.ipynb").read_text(encoding="utf-8"))


def load():
    """scripts/notebook.py, which is no package."""
    spec = importlib.util.spec_from_file_location("compare_ag_notebook", ROOT / "scripts" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


def test_every_cell_runs_and_shows_what_the_notebook_holds():
    command = [sys.executable, "-W", "error", str(ROOT / "scripts" / "notebook.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def notebook(code: str, *outputs: dict[str, object]) -> dict[str, object]:
    return {"cells": [{"cell_type": "code", "source": code, "outputs": list(outputs)}]}


@pytest.mark.parametrize(
    ("code", "outputs"),
    [
        ("x = 1", []),
        ("print(1)\n2", [["1\n"], {"text/plain": ["2"]}]),
        ("None", []),
        ("class A:\n    def _repr_html_(self): return '<table></table><svg></svg>'\nA()",
         [{"text/plain": ["A"], "table": True, "chart": True}]),
    ],
)  # fmt: skip
def test_a_cell_gives_what_it_prints_and_its_last_value(code, outputs):
    assert script.comparable(script.execute(notebook(code))) == [outputs]


def test_a_false_output_is_noticed():
    stale = notebook("print(2)", {"name": "stdout", "output_type": "stream", "text": ["1\n"]})
    assert script.comparable(script.shown(stale)) != script.comparable(script.execute(stale))
    with pytest.raises(ZeroDivisionError):
        script.execute(notebook("1 / 0"))


def test_it_is_of_the_format_that_jupyter_reads():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        for output in cell.get("outputs", []):
            assert output["output_type"] in ("stream", "execute_result")
    assert sum(cell["cell_type"] == "code" for cell in NOTEBOOK["cells"]) >= 5
