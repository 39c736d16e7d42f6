"""The parts of the page's charts: series, axes, and the notes under them.

A chart is a plain dict that the page's script turns into plotly's: series refer to packed arrays as ``{"array": 3}`` or
hold a few numbers themselves. ``look`` is a backend's order in the run and decides colour, dash and marker, the same
in every chart; the script has them for both themes. Nothing here is markup.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from compare_ag.records import Interval, Run
from compare_ag.report.page.packing import MOST_POINTS, Array, Packer

Chart: TypeAlias = dict[str, Any]
Series: TypeAlias = dict[str, Any]

ROW = 34
"""pixels of a backend's row"""


def axis_of(title: str, kind: str = "linear", unit: str = "", **more: Any) -> dict[str, Any]:
    """One axis: title, linear or log, unit (s, B or none); ``toggle``: the reader may change the scale."""
    return {"title": title, "type": kind, "unit": unit, **more}


def course(packer: Packer, name: str, look: int | str, values: Array, at: Array) -> dict[str, Any]:
    """A line through the values at the places ``at``. ``look``: a backend's order in the run, or a role."""
    return {
        "name": name,
        "look": look,
        "draw": "line",
        "x": {"array": packer.add(at)},
        "y": {"array": packer.add(values[at])},
        "of": len(values),
    }


def thinning_note(series: list[dict[str, Any]]) -> list[str]:
    """The note under a chart that leaves points out."""
    longest = max((line.get("of", 0) for line in series), default=0)
    if longest <= MOST_POINTS:
        return []
    return [
        f"Thinned: {MOST_POINTS:,} of {longest:,} points at most for each course, the first hundred and every peak "
        "among them. The run directory holds them all."
    ]


def reach(known: Interval) -> list[float] | None:
    """The distances from the estimate to the lower and the upper end of its interval."""
    if known.low is None or known.high is None:
        return None
    return [known.value - known.low, known.high - known.value]


def rows_of(names: list[str]) -> dict[str, Any]:
    """A vertical axis with a row for each name, the first on top."""
    return {"title": "", "type": "linear", "unit": "", "rows": names}


def orders_of(run: Run) -> dict[str, int]:
    """Each backend's place in the run, which decides its look."""
    return {name: order for order, name in enumerate(run.records)}
