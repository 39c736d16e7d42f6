"""Runs the documentation's notebook and writes what its cells print and show into it, without Jupyter.

    python scripts/notebook.py            # run docs/example.ipynb and write its outputs
    python scripts/notebook.py --check    # change nothing; exit 1 and show what differs

The cells are one session in one process and one temporary directory, as a kernel runs them. Of a cell, what it prints
is its output, and the value of its last line, as HTML where it has any, else as text. What a cell prints must be the
same on every machine and is compared; HTML holds measured digits and versions, and only its kind is compared.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import compare_ag.notebook  # noqa: F401 - imported for what it registers: how runs are shown

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "example.ipynb"


def source(cell: dict[str, Any]) -> str:
    """The cell's text; the format allows a list of lines or one string."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def execute(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell, run in order; an exception of a cell is raised."""
    session: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        return [_run(source(cell), f"<cell {number}>", number, session) for number, cell in enumerate(cells, 1)]


def _run(code: str, name: str, number: int, session: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one cell as a kernel does: its last line, if it is an expression, is what it shows."""
    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), name, "exec"), session)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), session)  # noqa: S307 - our own notebook's cell
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(True)})
    if value is not None:
        outputs.append(
            {"data": _data(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
        )
    return outputs


def _data(value: Any) -> dict[str, list[str]]:
    """The value as text and, where it has any, as HTML."""
    make = getattr(value, "_repr_html_", None)
    html = make() if callable(make) else None
    text = type(value).__name__ if html else repr(value)  # the text of a whole run would be pages
    data = {"text/plain": text.splitlines(True)}
    return data if html is None else {"text/html": html.splitlines(True), **data}


def comparable(outputs: Sequence[Sequence[dict[str, Any]]]) -> list[list[Any]]:
    """What must be the same on every machine: what is printed, plain values, and whether there is HTML with a chart."""
    return [
        [
            one["text"] if "text" in one else _kind(one["data"]) if "text/html" in one["data"] else one["data"]
            for one in cell
        ]
        for cell in outputs
    ]


def _kind(data: dict[str, list[str]]) -> dict[str, Any]:
    html = "".join(data["text/html"])
    return {"text/plain": data["text/plain"], "table": "<table" in html, "chart": "<svg" in html}


def shown(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The outputs that the notebook holds."""
    return [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write the notebook."""
    parser = argparse.ArgumentParser(description="Run the documentation's notebook.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where something differs")
    asked = parser.parse_args(arguments)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    outputs = execute(notebook)
    if asked.check:
        differing = [
            (number, before, after)
            for number, (before, after) in enumerate(
                zip(comparable(shown(notebook)), comparable(outputs), strict=True), 1
            )
            if before != after
        ]
        for number, before, after in differing:
            print(f"cell {number} shows {before!r}, and gives {after!r}")
        return int(bool(differing))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, made) in enumerate(zip(cells, outputs, strict=True), 1):
        cell["execution_count"], cell["outputs"] = number, made
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
