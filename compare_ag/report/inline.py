"""A run and a record as a fragment of HTML for notebooks: the answer, a short table, a chart. Nothing is loaded.

Lines have the colours of the page and of the figures; everything else takes the notebook's own colours, which suit a
dark theme too. Text of plugins is cleaned and escaped; the fragment holds no script, no link and no style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape

import numpy as np

from compare_ag.records import BackendRecord, Cost, Run, decisive
from compare_ag.report import charts, columns
from compare_ag.report.cells import describe_outcome, no_rank
from compare_ag.report.chart import Array
from compare_ag.report.escape import clean
from compare_ag.report.summary import answer_sentences
from compare_ag.report.units import fraction, seconds, size

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito, "Color Universal Design" (2008), as in the figures"""
INK = "currentColor"
DASHES = ("", "6 3", "2 2", "8 3 2 3", "12 4")
WIDTH, HEIGHT = 560, 200
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 8, 28
"""margins of the plot"""
MOST_POINTS = 300
BAR_HEIGHT = 20
MOST_BACKENDS = 12
"""lines that one chart can show"""


def run_html(run: Run) -> str:
    """The answer, a row for each backend, and the losses over each other."""
    answer = " ".join(answer_sentences(run, _text))
    return f"<div><p><b>{answer}</b></p>{_table(run)}{_losses(run)}</div>"


def record_html(record: BackendRecord) -> str:
    """The result of one backend, and the share of its tolerance that each test used up."""
    cost, memory = record.cost, record.memory
    facts = [("backend", record.name), ("status", record.status), ("found", describe_outcome(record))]
    facts += [("time per step", _step(cost)), ("peak memory", "" if memory is None else size(memory.peak_bytes))]
    facts += [("libraries", ", ".join(f"{name} {version}" for name, version in record.versions.items()))]
    rows = "".join(f"<tr><th>{name}</th><td>{_text(value)}</td></tr>" for name, value in facts if value)
    return f"<div><table>{rows}</table>{_tests(record)}</div>"


def _text(text: str) -> str:
    return escape(clean(text))


def _table(run: Run) -> str:
    chosen = [columns.NAME, columns.STATUS, columns.WORST, columns.FINAL_ERROR, STEP, RATIO, columns.MEMORY]
    rows = [[column.cell(row) for column in chosen] for row in columns.backends(run)]
    return f"<table>{_row([column.head for column in chosen], 'th')}{''.join(_row(row, 'td') for row in rows)}</table>"


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _ratio(row: columns.Row) -> str:
    """The ratio to the baseline with its verdict, or why there is none."""
    cost, pair = row.record.cost, row.pair
    if cost is not None and (row.is_baseline or no_rank(cost)):
        return no_rank(cost) or "1, the baseline"
    return "" if pair is None else f"{pair.ratio.value:.4g}, {pair.verdict}"


def _step(cost: Cost | None) -> str:
    if cost is None:
        return ""
    step = cost.step
    inside = "" if step.low is None or step.high is None else f" ({seconds(step.low)} to {seconds(step.high)})"
    return f"{seconds(step.value)}{inside}"


STEP = replace(columns.STEP_OR_NOT, text=lambda row: _step(row.record.cost) or "not timed")
RATIO = replace(columns.RATIO, text=_ratio)


# --- charts -------------------------------------------------------------------------------------------------


def _losses(run: Run) -> str:
    """The losses of each backend, each with a colour and a dash of its own; empty where there are none."""
    chart = charts.losses(run)
    if chart is None:
        return ""
    drawn = [(series, _drawable(series.y)) for series in chart.of_backends]
    drawn = [(series, values) for series, values in drawn if np.isfinite(values).any()][:MOST_BACKENDS]
    if not drawn:
        return ""
    logarithmic = chart.is_log
    low, high = _span(np.concatenate([values[np.isfinite(values)] for _, values in drawn]), logarithmic=logarithmic)
    last = max(len(values) for _, values in drawn) - 1
    parts = [_axes(low, high, last, logarithmic=logarithmic)]
    for number, (series, values) in enumerate(drawn):
        scaled = np.log10(values) if logarithmic else values
        height = (scaled - low) / (high - low)
        order = series.order or 0
        look = f'fill="none" stroke="{COLOURS[order % len(COLOURS)]}" stroke-width="1.8"'
        dash = DASHES[order % len(DASHES)]
        look += f' stroke-dasharray="{dash}"' if dash else ""
        parts += [f'<polyline points="{points}" {look}/>' for points in _lines(height, last)]
        at = TOP + 14 * (number + 1)
        x = WIDTH - RIGHT - 150
        parts.append(f'<line x1="{x}" y1="{at - 4}" x2="{x + 26}" y2="{at - 4}" {look}/>')
        parts.append(_label(x + 32, at, series.name[:20], "start"))
    return _svg(HEIGHT, "the loss at each step, of each backend", parts)


def _drawable(values: Array) -> Array:
    """As float64, with gaps for values that no axis can show."""
    wide = values.astype(np.float64)
    return np.where(np.abs(wide) < 1e200, wide, np.nan)


def _span(finite: Array, *, logarithmic: bool) -> tuple[float, float]:
    """The two ends of the axis, never equal."""
    scaled = np.log10(finite) if logarithmic else finite
    low, high = float(scaled.min()), float(scaled.max())
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - room, high + room


def _lines(height: Array, last: int) -> Iterator[str]:
    """The points of polylines, thinned evenly; a value that is not finite interrupts the line."""
    chosen = np.unique(np.linspace(0, len(height) - 1, min(len(height), MOST_POINTS)).round().astype(int))
    points: list[str] = []
    for k in chosen:
        if math.isfinite(height[k]):
            x = LEFT + (WIDTH - LEFT - RIGHT) * k / max(1, last)
            points.append(f"{x:.1f},{TOP + (HEIGHT - TOP - BOTTOM) * (1 - height[k]):.1f}")
        elif points:
            yield " ".join(points)
            points = []
    if points:
        yield " ".join(points if len(points) > 1 else points * 2)


def _axes(low: float, high: float, last: int, *, logarithmic: bool) -> str:
    """Two lines, the numbers at their ends, and their labels."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    ends = [10**end if logarithmic else end for end in (low, high)]
    return "".join(
        [
            f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>',
            _label(LEFT - 6, bottom, f"{ends[0]:.3g}", "end"),
            _label(LEFT - 6, TOP + 10, f"{ends[1]:.3g}", "end"),
            _label(LEFT - 6, (TOP + bottom) / 2, "loss, log" if logarithmic else "loss", "end"),
            _label(LEFT, HEIGHT - 10, "0", "middle"),
            _label(right, HEIGHT - 10, f"step {last}", "end"),
        ]
    )


def _tests(record: BackendRecord) -> str:
    """A bar for each test, as long as its share of the tolerance, and a line at the whole of it."""
    verdict = decisive(record)
    tests = [] if verdict is None else verdict.tests
    if not tests:
        return ""
    room = WIDTH - 2 * LEFT - RIGHT
    unit = room / 1.25
    parts = []
    for number, test in enumerate(tests):
        ratio, y = float(test.ratio), TOP + number * BAR_HEIGHT
        length = unit * (min(ratio, 1.25) if math.isfinite(ratio) else 1.25)
        colour = COLOURS[1] if test.findings else COLOURS[0]
        parts.append(_label(LEFT + 20, y + 13, test.test, "end"))
        parts.append(f'<rect x="{LEFT + 26}" y="{y + 3}" width="{max(length, 1):.1f}" height="13" fill="{colour}"/>')
        inside = length > 60  # the label of a long bar would cross the line
        at = LEFT + 20 + length if inside else LEFT + 32 + length
        parts.append(_label(at, y + 13, fraction(test.ratio), "end" if inside else "start", "#fff" if inside else INK))
    bottom = TOP + len(tests) * BAR_HEIGHT
    x = LEFT + 26 + unit
    parts.append(
        f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="currentColor" stroke-dasharray="3 3"/>'
    )
    parts.append(_label(x, bottom + 14, "the tolerance", "middle"))
    return _svg(bottom + 20, "the share of its tolerance that each test used up", parts)


def _label(x: float, y: float, text: str, anchor: str, colour: str = INK) -> str:
    """Text in the notebook's own colour, or in ``colour``."""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{_text(text)}</text>"


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    """The drawing, with its title for screen readers."""
    head = f'<svg viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img" aria-label="{_text(title)}"'
    return f'{head} style="max-width:100%" font-family="sans-serif">{"".join(parts)}</svg>'
