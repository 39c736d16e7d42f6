"""The charts of a sweep's page: cost and memory against size, with intervals and the machine's limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from compare_ag.records.sweeps import Analysis, BackendRow, CellRecord, format_count
from compare_ag.report.chart import Axis, Chart, ChartSeries
from compare_ag.report.sweep.tables import Panel
from compare_ag.report.units import seconds, size

HEIGHT = 420
TITLES = {"n": "examples n", "d": "features d"}
TIME = Axis("time per step", "log", "s", toggle=True)


def charts(panels: Sequence[Panel], analysis: Analysis, looks: dict[str, int]) -> list[Chart]:
    """Every chart that has at least two sizes to draw. looks: each backend's number, for its colour."""
    made = [*_of_sizes(panels, analysis, looks), *_of_threads(panels, looks)]
    return [replace(chart, id=f"chart-{place}") for place, chart in enumerate(chart for chart in made if chart.series)]


def _of_sizes(panels: Sequence[Panel], analysis: Analysis, looks: dict[str, int]) -> Iterator[Chart]:
    for panel in panels:
        lines = lines_of(panel)
        for axis, fixed in lines:
            yield _cost(panel, axis, fixed, analysis, looks)
        for axis, fixed in lines[-1:]:
            yield _memory(panel, axis, fixed, looks)


def lines_of(panel: Panel) -> list[tuple[str, int]]:
    """The lines through a heat map: along n for each d, or along d where there is one n alone."""
    if len(panel.n) > 1:
        return [("n", d) for d in panel.d]
    return [("d", n) for n in panel.n] if len(panel.d) > 1 else []


def _along(panel: Panel, axis: str, fixed: int) -> list[CellRecord]:
    """The cells of one line, by size."""
    own = [record for (n, d), record in panel.cells.items() if fixed == (d if axis == "n" else n)]
    return sorted(own, key=lambda record: getattr(record.cell, axis))


def _line(
    cells: Sequence[CellRecord], axis: str, name: str, look: int, value: Callable[[BackendRow], float | None]
) -> ChartSeries | None:
    """One backend's values along a line, with the intervals of its times; None where fewer than two are known."""
    known = [
        (float(getattr(record.cell, axis)), row, number)
        for record in cells
        for row in record.rows
        if row.name == name and (number := value(row)) is not None and number > 0
    ]
    if len(known) < 2:
        return None
    x, y = np.array([size for size, _, _ in known]), np.array([float(number) for *_, number in known])
    if value is not _time:
        return ChartSeries(name, look, "line", x, y)
    ends = [(math.nan, math.nan) if row.step is None else (row.step.low, row.step.high) for _, row, _ in known]
    low, high = np.array(ends, dtype=np.float64).T  # None becomes NaN
    return ChartSeries(name, look, "line", x, y, low, high)


def _time(row: BackendRow) -> float | None:
    return None if row.step is None else row.step.value


def _peak(row: BackendRow) -> float | None:
    return row.peak_bytes


def _tape(row: BackendRow) -> float | None:
    return row.tape_bytes


def _ends(series: Sequence[ChartSeries], shown: Callable[[float], str]) -> str:
    """Each series' first and last value in words."""
    return "; ".join(f"{line.name} from {shown(line.y[0])} to {shown(line.y[-1])}" for line in series)


def _lines(cells: Sequence[CellRecord], axis: str, names: Sequence[str], looks: dict[str, int]) -> list[ChartSeries]:
    """The time per step of each backend along a line."""
    lines = (_line(cells, axis, name, looks[name], _time) for name in names)
    return [line for line in lines if line is not None]


def _cost(panel: Panel, axis: str, fixed: int, analysis: Analysis, looks: dict[str, int]) -> Chart:
    series = _lines(_along(panel, axis, fixed), axis, panel.backends, looks)
    limit = [
        (float(getattr(limit, axis)), limit.seconds)
        for limit in analysis.limits
        if (limit.machine, limit.dtype, limit.threads) == (panel.machine.id, panel.dtype, panel.threads)
        and fixed == (limit.d if axis == "n" else limit.n)
    ]
    alt = f"Time per step against {axis}, a line for each backend. {_ends(series, seconds)}."
    if series and len(limit) > 1:
        x, y = np.array(sorted(limit)).T
        series.append(ChartSeries("machine's limit", "bound", "line", x, y))
    return Chart(
        id="",
        title=f"Time per step at {'d' if axis == 'n' else 'n'} = {fixed:,}: {panel.title}",
        alt=alt,
        x=Axis(TITLES[axis], "log"),
        y=TIME,
        series=series,
        height=HEIGHT,
        notes=["Grey: the 95 % interval over launches. Cells in which a backend is wrong or disturbed have no point."],
    )


def _memory(panel: Panel, axis: str, fixed: int, looks: dict[str, int]) -> Chart:
    cells = _along(panel, axis, fixed)
    lines = [
        (_line(cells, axis, name, looks[name], value), f"{name}: {what}", f"{name}'s {what}")
        for name in panel.backends
        for what, value in (("peak", _peak), ("tape", _tape))
    ]
    known = [(line, name, words) for line, name, words in lines if line is not None]
    return Chart(
        id="",
        title=f"Memory at {'d' if axis == 'n' else 'n'} = {fixed:,}: {panel.title}",
        alt=f"Memory against {axis}, two lines for each backend. "
        f"{_ends([replace(line, name=words) for line, _, words in known], size)}.",
        x=Axis(TITLES[axis], "log"),
        y=Axis("bytes", "log", "B", toggle=True),
        series=[replace(line, name=name) for line, name, _ in known],
        height=HEIGHT,
        notes=["Peak: the largest resident set of the worker, framework included. Tape: between forward and backward."],
    )


def _of_threads(panels: Sequence[Panel], looks: dict[str, int]) -> Iterator[Chart]:
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
        asked = ", ".join(format_count(record.cell.threads, "thread") for record in cells)
        yield Chart(
            id="",
            title=f"Time per step against threads at n = {n:,}, d = {d:,}: {family[0].dtype}, {family[0].loss}",
            alt=f"Time per step with {asked}, a line for each backend.",
            x=Axis("threads that a backend may use"),
            y=TIME,
            series=_lines(cells, "threads", family[0].backends, looks),
            height=HEIGHT,
            notes=[
                "Grey: the 95 % interval over launches. The table of all cells has the threads that were seen at work."
            ],
        )
