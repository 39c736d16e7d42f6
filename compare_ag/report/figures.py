"""Charts as figures for papers, by matplotlib: legible, safe for colour-blind readers, the same bytes each time.

    losses         the trajectories over each other, with the reference and its tolerance
    difference     |loss − reference| over steps, with the bound that a correct program keeps
    speed          seconds per step: every launch, the mean with its interval; the ratio to the baseline
    accuracy-cost  digits kept against time per step: upward is more accurate, leftward is cheaper

The only module that imports matplotlib. Each backend has a colour of Okabe and Ito's palette ("Color Universal
Design", 2008), a marker and a dash, the same three in every figure, so that colour is never the only distinction.
Figures hold no date and no random id: in a repository they change only when the numbers change. Names of backends are
drawn as text, never parsed as mathematics.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from compare_ag.records import Run
from compare_ag.report import charts, cost_charts
from compare_ag.report.chart import Array, Chart, ChartSeries
from compare_ag.report.escape import clean
from compare_ag.report.thinning import peak_places, thin_places
from compare_ag.report.units import seconds
from compare_ag.text import shortened

Format: TypeAlias = Literal["svg", "png"]

FIGURES: dict[str, tuple[Callable[[Run], Chart | None], ...]] = {
    "losses": (charts.losses,),
    "difference": (charts.difference,),
    "speed": (cost_charts.speed, cost_charts.ratios_to_baseline),
    "accuracy-cost": (cost_charts.accuracy,),
}
"""stem of the file -> its charts, beside each other"""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (2, 1.5), (6, 2, 1.5, 2), (9, 3))
"""five dashes, so that the combination of colour, marker and dash repeats only after 210 backends"""
RULES: dict[str, tuple[float, ...]] = {"solid": (), "dot": (1, 2), "dash": (4, 3)}
INK = "#222222"
FAINT = "#8a8a8a"
REFERENCE = "#c9c9c9"
DRAWABLE = 1e200
"""numbers beyond this, and below its reciprocal, are left out: axes need room around what they show"""
MOST_POINTS = 800
"""drawn points of a trajectory: more than a printed figure can resolve"""
LONGEST_NAME = 28
WIDTH = 6.6
"""inches: across the page of a paper"""
HEIGHT = 3.6
DOTS = 200
LEGEND_LETTERS = 90
"""across the page, at the legend's size"""
LEGEND_ROW = 0.2
"""inches: a limit, so that a long legend leaves the plot its height"""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 10,
    "legend.fontsize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "compare-ag",
}


class Look(NamedTuple):
    """How one backend is drawn, in every figure."""

    colour: str
    marker: str
    dashes: tuple[float, ...]


def figures(run: Run, form: Format) -> dict[str, bytes]:
    """File name → bytes, for each figure that the run has numbers for."""
    return dict(each_figure(run, form))


def each_figure(
    run: Run, form: Format, tell: Callable[[str, int, int], object] = lambda *_: None
) -> Iterator[tuple[str, bytes]]:
    """Yield the same figures in turn. ``tell`` receives the figure's name, the count of drawn figures and the total."""
    for done, (stem, makers) in enumerate(FIGURES.items()):
        tell(stem, done, len(FIGURES))
        shown = [chart for make in makers if (chart := make(run)) is not None and chart.has_values]
        if shown:
            with _style():
                data = _save(_draw(run, shown), form)
            yield f"{stem}.{form}", data


@contextmanager
def _style() -> Iterator[None]:
    """Our style whatever the user's matplotlibrc says; a glyph that the font lacks becomes a box without a warning."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def _save(figure: Figure, form: Format) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": "compare-ag"} if form == "svg" else {"Software": "compare-ag"}
    figure.savefig(buffer, format=form, dpi=DOTS, metadata=metadata)
    return buffer.getvalue()


def _draw(run: Run, shown: list[Chart]) -> Figure:
    """The charts beside each other on common rows, and the problem in small print above them."""
    rows = len(shown[0].y.rows)
    words = max(len(chart.key.splitlines()) for chart in shown)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.2 * words + 0.42 * rows if rows else HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for place, chart in enumerate(shown):
        _draw_chart(axes[place], chart)
    if rows:
        _label_rows(axes[0], shown[0])
    p = run.manifest.problem
    batch = "" if p.batch_size is None else f", batches of {p.batch_size}"
    title = f"{_short(p.name)}: {p.examples} × {p.features}, {p.dtype}, {p.steps} steps{batch}"
    axes[0].set_title(title, loc="left", color=FAINT)
    return figure


def _draw_chart(axes: Axes, chart: Chart) -> None:
    """One chart: its series from the back to the front, its rules, its axes and its legend."""
    drawn = [(series, DRAW[series.draw](axes, series)) for series in chart.series if series.draw in DRAW]
    if chart.region is not None:
        axes.axvspan(*chart.region, color="#e6e6e6", linewidth=0)
    for rule in chart.lines:
        colour = INK if rule.dash == "solid" else FAINT
        axes.axvline(rule.at, color=colour, linewidth=0.8, dashes=RULES[rule.dash] or (None, None))
    for rule in chart.levels:
        axes.axhline(rule.at, color=FAINT, linewidth=0.9, dashes=RULES[rule.dash] or (None, None))
        axes.annotate(
            clean(rule.label), (0.01, rule.at), (0, 3), color=FAINT,
            xycoords=("axes fraction", "data"), textcoords="offset points",
        )  # fmt: skip
    if chart.x.scale == "log":
        _log_ticks(axes, _seconds if chart.x.unit == "s" else lambda value: f"{value:.4g}")
    if chart.is_log:
        _powers(axes)
        _shade_below_bound(axes, chart)
    if chart.y.limits is not None:
        axes.set_ylim(*chart.y.limits)
    axes.set_xlabel(clean(chart.x.title) + (f"\n({chart.key})" if chart.key else ""))
    axes.set_ylabel(clean(chart.y.title))
    axes.grid(axis="y", visible=not chart.y.rows)
    lines = [(_name(series), line) for series, line in drawn if line is not None]
    if chart.legend and lines:
        _legend(axes, lines)


def _label_rows(axes: Axes, chart: Chart) -> None:
    """The names of the rows, the first on top, each with its word of caution below it."""
    remarks = [series.remark for series in chart.series if series.draw == "point"]
    pairs = zip(chart.y.rows, remarks, strict=True)
    axes.set_yticks(range(len(remarks)), ["\n".join(filter(None, (_short(name), remark))) for name, remark in pairs])
    axes.set_ylim(len(remarks) - 0.5, -0.5)


def _short(name: str) -> str:
    return shortened(clean(name), LONGEST_NAME)


def _name(series: ChartSeries) -> str:
    """The name of a series in the legend; matplotlib hides names that begin with _, so these get a space."""
    name = _short(series.name)
    band = f" with {series.band}" if series.band else ""
    absent = f" ({series.absent})" if series.absent else ""
    return f"{' ' if name.startswith('_') else ''}{name}{band}{absent}"


def _legend(axes: Axes, lines: list[tuple[str, Line2D]]) -> None:
    """Names beside their lines, below the axes."""
    names = [name for name, _ in lines]
    columns = max(1, min(4, LEGEND_LETTERS // (8 + max(map(len, names)))))
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * (math.ceil(len(names) / columns) - 1))
    figure.legend([line for _, line in lines], names, loc="outside lower center", ncols=columns, handlelength=3)


# --- series -------------------------------------------------------------------------------------------------


def _look(series: ChartSeries) -> Look:
    order = series.order or 0
    return Look(COLOURS[order % len(COLOURS)], MARKERS[order % len(MARKERS)], DASHES[order % len(DASHES)])


def _course(axes: Axes, series: ChartSeries) -> Line2D | None:
    """A course with its band; None where it has no finite value and the chart does not say why."""
    y = _drawable(series.y)
    if not np.isfinite(y).any() and not series.absent:
        return None
    noisy = series.draw == "peaks"
    at = peak_places(y, np.arange(len(y)), MOST_POINTS) if noisy else thin_places(y, MOST_POINTS)
    if series.low is not None and series.high is not None:
        low, high = _drawable(series.low), _drawable(series.high)
        axes.fill_between(series.x[at], low[at], high[at], color=REFERENCE, linewidth=0)
    (line,) = axes.plot(series.x[at], y[at], **_line_style(series, len(at)))
    return line


def _line_style(series: ChartSeries, count: int) -> dict[str, Any]:
    """Colour, width and marks; the marks of backends are shifted, so that lines on top of each other all show."""
    if series.look == "reference":
        return {"color": REFERENCE, "linewidth": 5, "solid_capstyle": "round"}
    if series.look == "bound":
        return {"color": INK, "linewidth": 1.6}
    look, stride = _look(series), max(1, count // 8)
    shift = stride * ((series.order or 0) % len(COLOURS)) // len(COLOURS)
    return {
        "color": look.colour, "dashes": look.dashes or (None, None), "zorder": 3, "marker": look.marker,
        "markevery": (shift, stride), "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.5,
    }  # fmt: skip


def _point(axes: Axes, series: ChartSeries) -> Line2D:
    """An estimate with its interval; returns its mark."""
    look, ends = _look(series), None
    if series.low is not None and series.high is not None:
        ends = [series.x - series.low, series.high - series.x]
    axes.errorbar(
        series.x, series.y, xerr=ends, color=look.colour, marker=look.marker, markersize=7, capsize=4,
        elinewidth=1.6, markeredgecolor="white", markeredgewidth=0.6, linestyle="", zorder=3,
    )  # fmt: skip
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle="", markersize=8)


def _small(axes: Axes, series: ChartSeries) -> None:
    """A small upright mark for each value."""
    axes.plot(series.x, series.y, "|", color=_look(series).colour, markersize=4, alpha=0.8)


DRAW: dict[str, Callable[[Axes, ChartSeries], Line2D | None]] = {
    "line": _course, "peaks": _course, "point": _point, "small": _small,
}  # fmt: skip
"""what the figures contain; the ticks of single blocks are too many for a printed figure"""


def _shade_below_bound(axes: Axes, chart: Chart) -> None:
    """The area under a bound, down to the end of the axis."""
    for series in chart.series:
        if series.look == "bound":
            floor = axes.get_ylim()[0]
            axes.fill_between(series.x, floor, _drawable(series.y), color="#f0f0f0", linewidth=0, zorder=0)
            axes.set_ylim(bottom=floor)


def _drawable(values: Array) -> Array:
    """Float64, with a gap where matplotlib's own arithmetic for axes would overflow or underflow."""
    numbers = np.asarray(values, dtype=np.float64)
    size = np.abs(numbers)
    return np.where((size <= DRAWABLE) & ((size >= 1.0 / DRAWABLE) | (size == 0)), numbers, np.nan)


# --- axes ---------------------------------------------------------------------------------------------------


def _powers(axes: Axes) -> None:
    """A log axis upward, labelled 10⁻³ in plain text, because mathematics is disabled for the names as well."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"10{_superscript(round(math.log10(value)))}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _seconds(value: float) -> str:
    """A round tick without the zeros that a measured time has: ``10 µs``."""
    number, unit = seconds(value).split(" ")
    return f"{float(number):g} {unit}"


def _log_ticks(axes: Axes, shown: Callable[[float], str]) -> None:
    """A log axis with at least two labelled ticks, in the units that people read."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    middle = math.sqrt(low * high)
    if high / low < 1.25:  # so near each other that their noise would fill the axis
        low, high = middle / 1.12, middle * 1.12
    else:
        low, high = low / 1.1, high * 1.1
    axes.set_xlim(low, high)
    axes.set_xticks(_ticks(low, high))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within the limits: powers of ten where there are enough, else 1-2-5, else evenly spaced numbers."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 5)]
    step = 10.0 ** math.floor(math.log10(high - low))
    for fine in (step, step / 2, step / 5):
        ticks = [round(low / fine + 0.5 + i) * fine for i in range(int((high - low) / fine) + 1)]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 4)]
    return [low, high]
