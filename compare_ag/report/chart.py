"""A chart as data: title, axes, series and notes are declared once from the records; renderers draw it.

    page          `page.plotly`   specs for the page's script, with long arrays thinned and packed
    pictures      `figures`       by matplotlib, for papers
    terminal      `plot`          by letters

Texts are as they are recorded, a plugin's own words included; each renderer escapes them for its own medium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Draw: TypeAlias = Literal["line", "peaks", "level", "dots", "point", "small", "ticks", "bar"]
"""
line    a course
peaks   a noisy course: the largest value of each stretch, and faintly every value where there is room
level   a dotted line beside the course of the same look, without an entry in the legend
dots    a mark for each value
point   one estimate with its interval along x and a label
small   a mark for each value, smaller than a point's
ticks   a faint mark for each of many values
bar     a part of a horizontal bar for each row, stacked in the order of the series
"""
Scale: TypeAlias = Literal["linear", "log", "either"]
"""either: linear where a reader can change it; elsewhere logarithmic for values that spread widely"""

WIDE_SPREAD = 50.0
"""largest over smallest value from which on an axis of the scale ``either`` is logarithmic"""


class StraightLine(NamedTuple):
    """A straight line across the whole chart."""

    at: float
    dash: Literal["solid", "dot", "dash"] = "solid"
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """One axis."""

    title: str
    scale: Scale = "linear"
    unit: Literal["", "s", "B"] = ""
    toggle: bool = False
    """a reader of the page may change the scale"""
    rows: Sequence[str] = ()
    """for a vertical axis of rows instead of numbers: their names, the first on top, at 0, 1, …"""
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class ChartSeries:
    """One series of a chart: a backend's, or one that plays a role."""

    name: str
    look: int | str
    """a backend's order in the run, which decides colour, dash and marker; or the role: reference, bound, part0, …"""
    draw: Draw
    x: Array
    y: Array
    low: Array | None = None
    """with ``high`` the interval of each value: along y for a line, along x for a point"""
    high: Array | None = None
    band: str | None = None
    """what the interval of a line is called in the legend; None: nothing"""
    label: str = ""
    """beside a point"""
    remark: str = ""
    """a word of caution about a point, behind its label or below its row's name"""
    absent: str = ""
    """why there is nothing to draw"""

    @property
    def order(self) -> int | None:
        """The backend's order in the run; None for a series that plays a role."""
        return self.look if isinstance(self.look, int) else None


@dataclass(frozen=True)
class Chart:
    """One chart."""

    id: str
    title: str
    alt: str
    """its content in words, for readers who do not see it"""
    x: Axis
    y: Axis
    series: Sequence[ChartSeries]
    height: int
    """pixels on a page"""
    notes: Sequence[str] = ()
    """sentences below it"""
    key: str = ""
    """a few words below its x axis, where there is no room for notes"""
    zoom: bool = True
    legend: bool = True
    region: tuple[float, float] | None = None
    """values of x that count as no difference"""
    lines: Sequence[StraightLine] = ()
    """at values of x"""
    levels: Sequence[StraightLine] = ()
    """at values of y"""

    @property
    def has_values(self) -> bool:
        """Whether any series has a value to draw."""
        return any(bool(np.isfinite(series.y).any()) for series in self.series)

    @property
    def of_backends(self) -> list[ChartSeries]:
        """The series without those that play a role."""
        return [series for series in self.series if series.order is not None]

    @property
    def is_log(self) -> bool:
        """Whether the vertical axis is logarithmic where a reader cannot change it."""
        values = [series.y for series in self.of_backends]
        return self.y.scale == "log" or (self.y.scale == "either" and spread_widely(values))


def spread_widely(values: Sequence[Array]) -> bool:
    """Whether the values are all positive and spread over more than a factor of `WIDE_SPREAD`; nan, inf do not count.

    >>> spread_widely([np.array([1.0, 0.001])]), spread_widely([np.array([1.0, 0.0])])
    (True, False)
    """
    finite = np.concatenate([array[np.isfinite(array)].astype(np.float64) for array in values] or [np.empty(0)])
    return bool(finite.size and finite.min() > 0 and finite.max() / WIDE_SPREAD > finite.min())
