"""The charts of a sweep's page: cost and memory against size, with intervals and the machine's limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from compare_ag.records.sweeps import Analysis, BackendRow, CellRecord, SweepCell, format_count
from compare_ag.report.page.packing import Packer
from compare_ag.report.page.series import Chart, axis_of
from compare_ag.report.sweep.tables import Panel
from compare_ag.report.units import seconds, size

HEIGHT = 420
Line = list[tuple[SweepCell, BackendRow]]


def charts(panels: Sequence[Panel], analysis: Analysis, packer: Packer, looks: dict[str, int]) -> dict[str, Chart]:
    """Every chart that has at least two sizes to draw, by its id. looks: each backend's number, for its colour."""
    made: list[Chart] = []
    for number, panel in enumerate(panels):
        for axis, fixed in lines_of(panel):
            made += _chart(f"cost-{number}", panel, axis, fixed, analysis, packer, looks)
        for axis, fixed in lines_of(panel)[-1:]:
            made += _memory(f"memory-{number}", panel, axis, fixed, packer, looks)
    made += _threads(panels, packer, looks)
    return {f"chart-{place}": {**chart, "id": f"chart-{place}"} for place, chart in enumerate(made)}


def lines_of(panel: Panel) -> list[tuple[str, int]]:
    """The lines through a heat map: along n for each d, or along d where there is one n alone."""
    if len(panel.n) > 1:
        return [("n", d) for d in panel.d]
    return [("d", n) for n in panel.n] if len(panel.d) > 1 else []


def _along(panel: Panel, axis: str, fixed: int) -> list[CellRecord]:
    """The cells of one line, by size."""
    own = [record for (n, d), record in panel.cells.items() if fixed == (d if axis == "n" else n)]
    return sorted(own, key=lambda record: getattr(record.cell, axis))


def _values(
    cells: Sequence[CellRecord], name: str, value: Callable[[BackendRow], float | None]
) -> list[tuple[CellRecord, BackendRow, float]]:
    """One backend's values along a line, where it has them."""
    return [
        (record, row, number)
        for record in cells
        for row in record.rows
        if row.name == name and (number := value(row)) is not None and number > 0
    ]


def _chart(
    kind: str,
    panel: Panel,
    axis: str,
    fixed: int,
    analysis: Analysis,
    packer: Packer,
    looks: dict[str, int],
) -> Iterator[Chart]:
    cells = _along(panel, axis, fixed)
    series: list[dict[str, Any]] = []
    words = []
    for name in panel.backends:
        known = _values(cells, name, lambda row: None if row.step is None else row.step.value)
        if len(known) < 2:
            continue
        x = packer.add([float(getattr(record.cell, axis)) for record, _, _ in known])
        steps = [row.step for _, row, _ in known if row.step is not None]
        low, high = (
            [end if end is not None else math.nan for end in ends]
            for ends in zip(*((s.low, s.high) for s in steps), strict=True)
        )
        series.append(
            {
                "name": name,
                "legend": False,
                "look": "band",
                "draw": "band",
                "x": {"array": x},
                "low": {"array": packer.add(np.array(low))},
                "high": {"array": packer.add(np.array(high))},
            }
        )
        y = packer.add([value for *_, value in known])
        series.append({"name": name, "look": looks[name], "draw": "line", "x": {"array": x}, "y": {"array": y}})
        words.append(f"{name} from {seconds(known[0][2])} to {seconds(known[-1][2])}")
    if not series:
        return
    limit = [
        (float(getattr(limit, axis)), limit.seconds)
        for limit in analysis.limits
        if (limit.machine, limit.dtype, limit.threads) == (panel.machine.id, panel.dtype, panel.threads)
        and fixed == (limit.d if axis == "n" else limit.n)
    ]
    if len(limit) > 1:
        x, y = (packer.add(list(values)) for values in zip(*sorted(limit), strict=True))
        series.append(
            {"name": "machine's limit", "look": "bound", "draw": "line", "x": {"array": x}, "y": {"array": y}}
        )
    other = "d" if axis == "n" else "n"
    yield {
        "kind": kind,
        "title": f"Time per step at {other} = {fixed:,}: {panel.title}",
        "alt": f"Time per step against {axis}, a line for each backend. {'; '.join(words)}.",
        "x": axis_of("examples n" if axis == "n" else "features d", "log"),
        "y": axis_of("time per step", "log", "s", toggle=True),
        "series": series,
        "height": HEIGHT,
        "zoom": True,
        "notes": [
            "Grey: the 95 % interval over launches. Cells in which a backend is wrong or disturbed have no point."
        ],
    }


def _memory(kind: str, panel: Panel, axis: str, fixed: int, packer: Packer, looks: dict[str, int]) -> Iterator[Chart]:
    cells = _along(panel, axis, fixed)
    series: list[dict[str, Any]] = []
    words = []
    for name in panel.backends:
        for what, value in (("peak", _peak), ("tape", _tape)):
            known = _values(cells, name, value)
            if len(known) < 2:
                continue
            x = packer.add([float(getattr(record.cell, axis)) for record, _, _ in known])
            y = packer.add([float(number) for *_, number in known])
            series.append(
                {"name": f"{name}: {what}", "look": looks[name], "draw": "line", "x": {"array": x}, "y": {"array": y}}
            )
            words.append(f"{name}'s {what} from {size(known[0][2])} to {size(known[-1][2])}")
    if not series:
        return
    other = "d" if axis == "n" else "n"
    yield {
        "kind": kind,
        "title": f"Memory at {other} = {fixed:,}: {panel.title}",
        "alt": f"Memory against {axis}, two lines for each backend. {'; '.join(words)}.",
        "x": axis_of("examples n" if axis == "n" else "features d", "log"),
        "y": axis_of("bytes", "log", "B", toggle=True),
        "series": series,
        "height": HEIGHT,
        "zoom": True,
        "notes": [
            "Peak: the largest resident set of the worker, framework included. Tape: between forward and backward."
        ],
    }


def _peak(row: BackendRow) -> float | None:
    return row.peak_bytes


def _tape(row: BackendRow) -> float | None:
    return row.tape_bytes


def _threads(panels: Sequence[Panel], packer: Packer, looks: dict[str, int]) -> Iterator[Chart]:
    """Time against threads at the largest size that was measured with several."""
    families: dict[tuple[str, str, str], list[Panel]] = {}
    for panel in panels:
        families.setdefault((panel.machine.id, panel.loss, panel.dtype), []).append(panel)
    for family in families.values():
        sizes = set.intersection(*(set(panel.cells) for panel in family))
        if len(family) < 2 or not sizes:
            continue
        n, d = max(sizes, key=lambda pair: (pair[0] * pair[1], pair))
        cells = sorted((panel.cells[n, d] for panel in family), key=lambda record: record.cell.threads)
        series: list[dict[str, Any]] = []
        for name in family[0].backends:
            known = _values(cells, name, lambda row: None if row.step is None else row.step.value)
            if len(known) > 1:
                x = packer.add([float(record.cell.threads) for record, _, _ in known])
                y = packer.add([value for *_, value in known])
                series.append({"name": name, "look": looks[name], "draw": "line", "x": {"array": x}, "y": {"array": y}})
        if series:
            asked = ", ".join(format_count(record.cell.threads, "thread") for record in cells)
            yield {
                "kind": "threads",
                "title": f"Time per step against threads at n = {n:,}, d = {d:,}: {family[0].dtype}, {family[0].loss}",
                "alt": f"Time per step with {asked}, a line for each backend.",
                "x": axis_of("threads that a backend may use"),
                "y": axis_of("time per step", "log", "s", toggle=True),
                "series": series,
                "height": HEIGHT,
                "zoom": True,
                "notes": ["The table of all cells has the threads that were seen at work."],
            }
