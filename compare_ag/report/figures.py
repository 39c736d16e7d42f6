"""Figures for papers, by matplotlib: legible, safe for colour-blind readers, the same bytes from the same run.

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

from compare_ag.compare.numbers import blocks
from compare_ag.records import Cost, Run
from compare_ag.report.cells import no_rank
from compare_ag.report.escape import clean
from compare_ag.report.kept import digits_kept
from compare_ag.report.units import seconds
from compare_ag.speed.blocks import launch_log_time

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Format: TypeAlias = Literal["svg", "png"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (2, 1.5), (6, 2, 1.5, 2), (9, 3))
"""five markers, so that the combination of colour, marker and dash repeats only after 210 backends"""
INK = "#222222"
FAINT = "#8a8a8a"
DRAWABLE = 1e200
"""numbers beyond this, and below its reciprocal, are left out: axes need room around what they show"""
MOST_POINTS = 800
"""drawn points of a trajectory: more than a printed figure can resolve"""
LONGEST_NAME = 28
WIDTH = 6.6
"""inches: across the page of a paper"""
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

    name: str
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
    looks = [_look(name, order) for order, name in enumerate(run.records)]
    for done, (stem, draw) in enumerate(FIGURES.items()):
        tell(stem, done, len(FIGURES))
        with _style():
            figure = draw(run, looks)
            data = None if figure is None else _save(figure, form)
        if data is not None:
            yield f"{stem}.{form}", data


def _look(name: str, order: int) -> Look:
    return Look(
        name,
        COLOURS[order % len(COLOURS)],
        MARKERS[order % len(MARKERS)],
        DASHES[order % len(DASHES)],
    )


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


def _figure(run: Run, height: float, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure with its axes, and the problem in small print above them."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, **options)[0]
    p = run.manifest.problem
    batch = "" if p.batch_size is None else f", batches of {p.batch_size}"
    title = f"{_short(p.name)}: {p.examples} × {p.features}, {p.dtype}, {p.steps} steps{batch}"
    axes[0].set_title(title, loc="left", color=FAINT)
    return figure, list(axes)


def _short(name: str) -> str:
    shown = clean(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"


def _legend(axes: Axes, lines: list[tuple[str, Line2D]]) -> None:
    """Names beside their lines, below the axes; matplotlib hides names that begin with _, so these get a space."""
    names = [f" {name}" if name.startswith("_") else name for name, _ in lines]
    columns = max(1, min(4, LEGEND_LETTERS // (8 + max(map(len, names)))))
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * (math.ceil(len(names) / columns) - 1))
    figure.legend([line for _, line in lines], names, loc="outside lower center", ncols=columns, handlelength=3)


# --- trajectories -------------------------------------------------------------------------------------------


def _losses(run: Run, looks: list[Look]) -> Figure | None:
    trained = {look: run.arrays(look.name)["losses"] for look in looks if "losses" in run.arrays(look.name)}
    trained = {look: _drawable(losses) for look, losses in trained.items()}
    trained = {look: losses for look, losses in trained.items() if np.isfinite(losses).any()}
    if not trained:
        return None
    figure, (axes,) = _figure(run, 3.6)
    lines: list[tuple[str, Line2D]] = []
    values = [losses[np.isfinite(losses)] for losses in trained.values()]
    if run.reference:
        exact, tolerance = _drawable(run.reference["losses"]), _drawable(run.reference["loss_tolerance"])
        at = _spaced_places(len(exact))
        axes.fill_between(at, (exact - tolerance)[at], (exact + tolerance)[at], color="#c9c9c9", linewidth=0)
        (line,) = axes.plot(at, exact[at], color="#c9c9c9", linewidth=5, solid_capstyle="round")
        lines.append(("reference with tolerance", line))
    for rank, (look, losses) in enumerate(trained.items()):
        at = _spaced_places(len(losses))
        lines.append((_short(look.name), _line(axes, at, losses[at], look, rank / len(trained))))
    axes.set_xlabel("step")
    axes.set_ylabel("loss of the step's batch" if run.manifest.problem.batch_size else "loss")
    smallest, largest = min(map(np.min, values)), max(map(np.max, values))
    if smallest > 0 and largest > 20 * smallest:
        _powers(axes)
    _legend(axes, lines)
    return figure


def _difference(run: Run, looks: list[Look]) -> Figure | None:
    if not run.reference:
        return None
    exact, tolerance = run.reference["losses"], run.reference["loss_tolerance"]
    off = {}
    for look in looks:
        losses = run.arrays(look.name).get("losses")
        if losses is not None and len(losses) > 1:
            with np.errstate(over="ignore", invalid="ignore"):
                off[look] = _drawable(np.abs(losses.astype(np.float64) - exact[: len(losses)]))
    if not off:
        return None
    figure, (axes,) = _figure(run, 3.6)
    lines: list[tuple[str, Line2D]] = []
    bounded = _drawable(np.where(tolerance > 0, tolerance, np.nan))
    if np.isfinite(bounded).any():
        at = _spaced_places(len(bounded))
        (line,) = axes.plot(at, bounded[at], color=INK, linewidth=1.6)
        lines.append(("tolerance", line))
    drawn = []
    for rank, (look, difference) in enumerate(off.items()):
        at, most = _peaks(np.where(difference > 0, difference, np.nan))
        drawn += [float(np.nanmin(most))] if np.isfinite(most).any() else []
        name = _short(look.name) + ("" if (difference > 0).any() else " (no difference)")
        lines.append((name, _line(axes, at, most, look, rank / len(off))))
    _powers(axes)
    if drawn:
        floor = min(drawn)
        axes.set_ylim(bottom=floor / 2)
        if np.isfinite(bounded).any():
            axes.fill_between(np.arange(len(bounded)), floor / 2, bounded, color="#f0f0f0", linewidth=0, zorder=0)
    elif not np.isfinite(bounded).any():
        return None  # without a difference and a bound the figure would be an empty frame
    axes.set_xlabel("step")
    axes.set_ylabel("|loss − reference|")
    _legend(axes, lines)
    return figure


def _line(axes: Axes, at: Array, values: Array, look: Look, shift: float) -> Line2D:
    """A backend's course; its markers are shifted, so that lines on top of each other all show."""
    stride = max(1, len(at) // 8)
    (line,) = axes.plot(
        at,
        values,
        color=look.colour,
        marker=look.marker,
        markevery=(int(stride * shift), stride),
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        dashes=look.dashes if look.dashes else (None, None),
        zorder=3,
    )
    return line


def _drawable(values: Array) -> Array:
    """Float64, with a gap where matplotlib's own arithmetic for axes would overflow or underflow."""
    numbers = np.asarray(values, dtype=np.float64)
    size = np.abs(numbers)
    return np.where((size <= DRAWABLE) & ((size >= 1.0 / DRAWABLE) | (size == 0)), numbers, np.nan)


def _powers(axes: Axes) -> None:
    """A log axis upward, labelled 10⁻³ in plain text, because mathematics is disabled for the names as well."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"10{_superscript(round(math.log10(value)))}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _spaced_places(length: int) -> Array:
    """Evenly spaced places with both ends."""
    return np.unique(np.linspace(0, length - 1, min(length, MOST_POINTS)).round().astype(int))


def _peaks(values: Array) -> tuple[Array, Array]:
    """The largest value of each stretch, at its place, so that thinning hides no peak."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values)), values
    at, most = [], []
    for stretch in np.array_split(np.arange(len(values)), MOST_POINTS):
        inside = values[stretch]
        place = int(np.nanargmax(inside)) if np.isfinite(inside).any() else 0
        at.append(stretch[place])
        most.append(inside[place])
    return np.array(at), np.array(most)


# --- cost ---------------------------------------------------------------------------------------------------


def _timed_backends(run: Run, looks: list[Look]) -> list[tuple[Look, Cost]]:
    return [(look, cost) for look in looks if (cost := run[look.name].cost) is not None]


def _speed(run: Run, looks: list[Look]) -> Figure | None:
    timed, speed, baseline = _timed_backends(run, looks), run.manifest.speed, run.manifest.baseline
    if not timed:
        return None
    pairs = {} if speed is None or baseline is None else {look: speed.pair(look.name, baseline) for look, _ in timed}
    compared = {look: pair for look, pair in pairs.items() if pair is not None}
    columns = 2 if compared else 1
    figure, axes = _figure(run, 1.4 + 0.42 * len(timed), columns, sharey=True)
    times = axes[0]
    for row, (look, cost) in enumerate(timed):
        own = blocks(run, look.name)
        if own is not None:
            each = [math.exp(log) for log in launch_log_time(own) if math.isfinite(log)]
            times.plot(each, [row + 0.24] * len(each), "|", color=look.colour, markersize=7, alpha=0.6)
        _point(times, cost.step.value, cost.step.low, cost.step.high, row, look)
    times.set_yticks(range(len(timed)), [_with_rank(look, cost) for look, cost in timed])
    times.set_ylim(len(timed) - 0.5, -0.5)
    times.grid(axis="y", visible=False)
    _log_ticks(times, _seconds)
    times.set_xlabel("time per step\n(small ticks: launches)")
    if compared and speed is not None:
        ratios = axes[1]
        band = max(speed.margin, speed.noise_floor or 0.0)
        ratios.axvspan(1 / (1 + band), 1 + band, color="#e6e6e6", linewidth=0)
        ratios.axvline(1, color=INK, linewidth=0.8)
        for row, (look, _) in enumerate(timed):
            pair = compared.get(look)
            if pair is not None:
                _point(ratios, pair.ratio.value, pair.ratio.low, pair.ratio.high, row, look)
        _log_ticks(ratios, lambda value: f"{value:.4g}")
        ratios.grid(axis="y", visible=False)
        ratios.set_xlabel(f"ratio to {_short(baseline or '')}\n(grey: counts as no difference)")
    return figure


def _with_rank(look: Look, cost: Cost) -> str:
    """The backend's name, and below it the reason where it has no ratio."""
    return "\n".join(filter(None, (_short(look.name), no_rank(cost))))


def _accuracy_cost(run: Run, looks: list[Look]) -> Figure | None:
    points = [(look, cost, digits_kept(run, look.name)) for look, cost in _timed_backends(run, looks)]
    judged = [(look, cost, digits) for look, cost, digits in points if digits is not None and cost.ranked]
    if not judged:
        return None
    figure, (axes,) = _figure(run, 3.4)
    lines = []
    for look, cost, digits in judged:
        _point(axes, cost.step.value, cost.step.low, cost.step.high, digits, look, size=9)
        mark = Line2D([], [], color=look.colour, marker=look.marker, linestyle="", markersize=8)
        lines.append((_short(look.name), mark))
    _log_ticks(axes, _seconds)
    most_digits = -math.log10(float(np.finfo(run.manifest.problem.dtype).eps) / 2)
    axes.axhline(most_digits, color=FAINT, linewidth=0.9, dashes=(4, 3))
    axes.annotate(
        f"all that {run.manifest.problem.dtype} can hold", (0.01, most_digits), (0, 3), color=FAINT,
        xycoords=("axes fraction", "data"), textcoords="offset points",
    )  # fmt: skip
    shown_digits = [digits for _, _, digits in judged]
    axes.set_ylim(min(0.0, *shown_digits) - 0.5, most_digits + 1.2)
    axes.set_xlabel("time per step")
    axes.set_ylabel("digits kept in the final weights")
    _legend(axes, lines)
    return figure


def _point(
    axes: Axes, value: float, low: float | None, high: float | None, row: float, look: Look, size: float = 7
) -> None:
    """An estimate with its interval."""
    ends = None if low is None or high is None else [[value - low], [high - value]]
    axes.errorbar(
        [value], [row], xerr=ends, color=look.colour, marker=look.marker, markersize=size, capsize=4,
        elinewidth=1.6, markeredgecolor="white", markeredgewidth=0.6, linestyle="",
    )  # fmt: skip


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


FIGURES: dict[str, Callable[[Run, list[Look]], Figure | None]] = {
    "losses": _losses,
    "difference": _difference,
    "speed": _speed,
    "accuracy-cost": _accuracy_cost,
}
