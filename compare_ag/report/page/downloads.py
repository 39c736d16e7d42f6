"""The raw data that the page offers for download: ready texts, and tables that its script writes from the arrays.

    results.csv   a row for each backend, every number with all its digits
    run.json      manifest and records
    losses.csv    source, step, loss: as the page holds them
    timings.csv   backend, launch, instance, round, nanoseconds of a block, since schema 1.7 also its steps, nanoseconds
                  per step and whether it counts: as the page holds them

Cells are safe for spreadsheets (`report.escape.cell`); the names in the last two come escaped from here.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import msgspec
import numpy as np

from compare_ag.records import Run
from compare_ag.report.escape import cell
from compare_ag.report.page.packing import Packer
from compare_ag.report.page.plotly import Spec
from compare_ag.report.spreadsheet import summary
from compare_ag.report.thinning import thin_places
from compare_ag.text import everywhere, without_paths

CSV = "text/csv;charset=utf-8"
FURTHER = {"steps": "block_steps", "step ns": "block_time_ns", "counts": "block_clean"}
"""column -> array that a block has since schema 1.7"""


def downloads(run: Run, packer: Packer, charts: dict[str, Spec]) -> list[dict[str, Any]]:
    """The content of each button: file name, type, label, and a text or the recipe of a table."""
    made: list[dict[str, Any]] = [
        {"name": "results.csv", "type": CSV, "says": "a row for each backend, all digits", "text": summary(run)},
        {
            "name": "run.json",
            "type": "application/json",
            "says": "the manifest and every record",
            "text": _records(run),
        },
    ]
    lines = [line for line in charts.get("losses", {}).get("series", []) if line["draw"] == "line"]
    if lines:
        made.append(
            {
                "name": "losses.csv",
                "type": CSV,
                "says": "each course as this page holds it",
                "columns": ["source", "step", "loss"],
                "parts": [
                    {"fixed": _cell(line["name"]), "arrays": [line["x"]["array"], line["y"]["array"]]} for line in lines
                ],
            }
        )
    speed = run.manifest.speed
    own = speed is not None and not speed.steps_per_block
    further = FURTHER if own else {}
    parts = [part for name in run.records if (part := _blocks(run, name, packer, list(further.values()))) is not None]
    if parts and speed is not None:
        made.append(
            {
                "name": "timings.csv",
                "type": CSV,
                "says": f"blocks{'' if own else f' of {speed.steps_per_block} steps'} as this page holds them",
                "columns": ["backend", "launch", "instance", "round", "wall ns", *further],
                "parts": parts,
            }
        )
    return made


def _records(run: Run) -> str:
    """Manifest and records as strict JSON in ASCII."""
    document = {
        **msgspec.to_builtins(run.manifest),
        "records": [msgspec.to_builtins(record) for record in run.records.values()],
    }
    return json.dumps(everywhere(document, without_paths), allow_nan=False, indent=1) + "\n"


def _blocks(run: Run, name: str, packer: Packer, further: list[str]) -> dict[str, Any] | None:
    """One backend's blocks with their indices; further: the arrays beside the wall times."""
    arrays = run.arrays(name)
    known = [arrays.get(key) for key in ("block_wall_ns", *further)]
    wall, columns = known[0], [array for array in known if array is not None]
    if (
        wall is None
        or not wall.size
        or len(columns) < len(known)
        or any(column.shape != wall.shape for column in columns)
    ):
        return None
    at = thin_places(wall.ravel().astype(np.float64))
    places = np.unravel_index(at, wall.shape)
    return {
        "fixed": _cell(name),
        "arrays": [packer.add(array) for array in (*places, *(c.ravel()[at] for c in columns))],
    }


def _cell(text: str) -> str:
    """One cell, quoted where it must be."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([cell(text)])
    return buffer.getvalue()
