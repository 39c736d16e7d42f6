"""Charts for the page: plain dicts that the page's script turns into plotly's; long arrays are thinned and packed.

A series refers to packed arrays as ``{"array": 3}`` or holds a few numbers itself. Nothing here is markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from compare_ag.report.chart import Array, Axis, Chart, ChartSeries, StraightLine
from compare_ag.report.page.packing import Packer
from compare_ag.report.thinning import MOST_POINTS, peak_places, thin_places

Spec: TypeAlias = dict[str, Any]

MOST_TICKS = 4000
"""limit for all series of a chart together, because each tick is a mark of its own"""
LEAST_TICKS = 200
STRETCHES = 120
"""stretches of a noisy course; each is shown by its largest value"""


def specs(charts: Iterable[Chart], packer: Packer) -> dict[str, Spec]:
    """Each chart that has values to draw as the page's script reads it, by its id."""
    return {chart.id: _spec(chart, packer) for chart in charts if chart.has_values}


def _spec(chart: Chart, packer: Packer) -> Spec:
    ticks = sum(series.draw == "ticks" for series in chart.series)
    most = max(LEAST_TICKS, MOST_TICKS // max(1, ticks))
    spec = {
        "id": chart.id,
        "title": chart.title,
        "alt": chart.alt,
        "x": _axis(chart.x),
        "y": _axis(chart.y),
        "series": [part for series in chart.series if not series.absent for part in _parts(series, packer, most)],
        "height": chart.height,
        "zoom": chart.zoom,
        "legend": chart.legend,
        "notes": [*chart.notes, *_thinning_notes(chart, most)],
        "bands": [] if chart.region is None else [{"from": chart.region[0], "to": chart.region[1]}],
        "lines": list(map(_rule, chart.lines)),
    }
    return spec | ({"levels": list(map(_rule, chart.levels))} if chart.levels else {})


def _axis(axis: Axis) -> Spec:
    """The axis as it is before a reader changes it."""
    kind = "log" if axis.scale == "log" else "linear"
    spec = {"title": axis.title, "type": kind, "unit": axis.unit, "toggle": axis.toggle, "range": axis.limits}
    return spec | ({"rows": list(axis.rows)} if axis.rows else {})


def _rule(rule: StraightLine) -> Spec:
    return {"at": rule.at, "dash": rule.dash, "label": rule.label}


def _parts(series: ChartSeries, packer: Packer, most_ticks: int) -> Iterator[Spec]:
    """What the script draws of one series, from the back to the front."""

    def part(draw: str, **arrays: Any) -> Spec:
        return {"name": series.name, "look": series.look, "draw": draw, **arrays}

    def packed(values: Array) -> Spec:
        return {"array": packer.add(values)}

    x, y = series.x, series.y
    if series.draw == "ticks":
        at = thin_places(x, most_ticks)
        yield part("ticks", x=packed(x[at]), y=packed(y[at]))
    elif series.draw in ("line", "dots", "peaks"):
        at = thin_places(y)
        if series.low is not None and series.high is not None:
            name = series.name if series.band is None else series.band
            band = {"name": name, "look": "band", "legend": series.band is not None}
            yield part("band", x=packed(x[at]), low=packed(series.low[at]), high=packed(series.high[at])) | band
        if series.draw == "peaks":
            yield part("cloud", x=packed(x[at]), y=packed(_in_half_the_size(y)[at]))
            at = peak_places(y, at, STRETCHES)
        shown = _in_half_the_size(y) if series.look == "bound" else y
        yield part("dots" if series.draw == "dots" else "line", x=packed(x[at]), y=packed(shown[at]))
    elif series.draw == "point":
        label = " ".join(filter(None, (series.label, series.remark)))
        yield part("point", x=x.tolist(), y=y.tolist(), label=label, error=_reach(series))
    else:
        yield part(series.draw, x=x.tolist(), y=y.tolist())


def _reach(series: ChartSeries) -> list[float] | None:
    """The distances from an estimate to the lower and the upper end of its interval."""
    if series.low is None or series.high is None:
        return None
    return [float(series.x[0] - series.low[0]), float(series.high[0] - series.x[0])]


def _in_half_the_size(values: Array) -> Array:
    """In single precision, where that can hold all the values."""
    large = np.abs(values) > np.finfo(np.float32).max
    return values if (large & np.isfinite(values)).any() else values.astype(np.float32)


def _thinning_notes(chart: Chart, most_ticks: int) -> Iterator[str]:
    """The notes under a chart that leaves points out."""
    if any(series.draw == "ticks" and len(series.x) > most_ticks for series in chart.series):
        yield "The ticks are thinned evenly with all extremes kept; the run directory holds them all."
    longest = max((len(series.y) for series in chart.series if series.draw != "ticks"), default=0)
    if longest > MOST_POINTS:
        yield (
            f"Thinned: {MOST_POINTS:,} of {longest:,} points at most for each course, the first hundred and every peak "
            "among them. The run directory holds them all."
        )
