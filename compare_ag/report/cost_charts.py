"""The charts of a run's costs: times of blocks, ratios, phases, the first steps, memory, and accuracy against cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from compare_ag.compare.numbers import blocks
from compare_ag.records import Interval, PairRecord, Run
from compare_ag.report import cells, tables
from compare_ag.report.chart import Array, Axis, Chart, ChartSeries, StraightLine
from compare_ag.report.units import seconds, size
from compare_ag.speed.blocks import launch_log_time
from compare_ag.text import shortened

ROW = 34
"""pixels of a row with one estimate"""
MOST_PAIRS = 15
LONGEST_NAME = 28
"""letters of a backend's name in the title of an axis"""


def _looks(run: Run) -> dict[str, int]:
    """Each backend's order in the run, which decides its look."""
    return {name: order for order, name in enumerate(run.records)}


def _point(name: str, look: int, known: Interval, y: float, label: str, remark: str = "") -> ChartSeries:
    """An estimate with its interval."""
    x = np.array([known.value])
    if known.low is None or known.high is None:
        return ChartSeries(name, look, "point", x, np.array([y]), label=label, remark=remark)
    low, high = np.array([known.low]), np.array([known.high])
    return ChartSeries(name, look, "point", x, np.array([y]), low, high, label=label, remark=remark)


def _marks(run: Run, name: str) -> tuple[Array, Array, int, int]:
    """Seconds per step of every block that counts (n,), its launch (n,), how many launches, how many blocks do not.

    The arrays are empty where the run has no raw times.
    """
    own = blocks(run, name)
    if own is not None:
        counts = own.clean & np.isfinite(own.time_ns)
        return own.time_ns[counts] * 1e-9, np.nonzero(counts)[0], len(counts), int((~counts).sum())
    rounds = run.arrays(name).get("step_seconds", np.empty(0))  # of pytest-benchmark: one process, no launches
    return rounds.ravel(), np.zeros(rounds.size, dtype=int), 1, 0


def _lane(row: int, launch: Array, launches: int) -> Array:
    """The height of each launch's line in the lower half of a row, which is 1 high."""
    return row + 0.02 + 0.43 * (launch + 0.5) / launches


def speed(run: Run) -> Chart | None:
    """Every block, the mean of every launch, and the estimate with its interval."""
    costs = cells.costs(run)
    if not costs:
        return None
    imported = run.manifest.speed is not None and run.manifest.speed.mode == "pytest-benchmark"
    series: list[ChartSeries] = []
    left_out = 0
    for row, (name, cost) in enumerate(costs.items()):
        look, own = _looks(run)[name], blocks(run, name)
        each, launch, launches, interrupted = _marks(run, name)
        left_out += interrupted
        if len(each):
            what = "rounds" if imported else "blocks"
            series.append(ChartSeries(f"{name}: {what}", look, "ticks", each, _lane(row, launch, launches)))
        if own is not None:
            logs = np.asarray(launch_log_time(own))
            known = np.flatnonzero(np.isfinite(logs))
            means, lanes = np.array([math.exp(log) for log in logs[known]]), _lane(row, known, launches)
            series.append(ChartSeries(f"{name}: launches", look, "small", means, lanes))
        series.append(_point(name, look, cost.step, row - 0.15, seconds(cost.step.value), cells.no_rank(cost)))
    title = "Time per step: every block, every launch, the mean with its interval"
    notes = [
        "Filled: the mean with its 95 % interval. Below it, a row of ticks for each launch: its blocks, and its mean."
    ]
    if imported:
        title = "Time per step: every round and their median"
        notes = ["Filled: the median, without an interval. Below it, a tick for each round that the file has kept."]
    if left_out:
        notes.append(f"{left_out} blocks that another program interrupted or slowed do not count and are not drawn.")
    description = "; ".join(
        " ".join(filter(None, (name, seconds(cost.step.value), f"({cells.span(cost.step)})", cells.no_rank(cost))))
        for name, cost in costs.items()
    )
    return Chart(
        id="speed",
        title=title,
        alt=f"Strip plot of the time per step, a row for each backend. {description}.",
        x=Axis("time per step", "log", "s", toggle=True),
        y=Axis("", rows=list(costs)),
        series=series,
        height=110 + 92 * len(costs),
        legend=False,
        notes=notes,
        key="small ticks: launches" if any(line.draw == "small" for line in series) else "",
    )


def ratios(run: Run) -> Chart | None:
    """The ratios with their intervals, over the margin and the noise floor."""
    speed = run.manifest.speed
    if speed is None or not speed.pairs:
        return None
    pairs = list(speed.pairs)
    notes = []
    if speed.margin:
        notes.append("Grey: differences that count as none (margin).")
    if speed.noise_floor is not None:
        notes.append("Dotted: the noise floor; no verdict rests on less.")
    measured = speed.mode != "pytest-benchmark"
    if not measured:
        notes.append(tables.UNRANKED)
    if len(pairs) > MOST_PAIRS:
        pairs = [pair for pair in pairs if run.manifest.baseline in (pair.backend, pair.baseline)]
        notes.append("Pairs with the baseline; the table has all.")
    lines = [StraightLine(1.0)]
    if speed.noise_floor is not None:
        lines += [StraightLine(1 + speed.noise_floor, "dot"), StraightLine(1 / (1 + speed.noise_floor), "dot")]
    description = "; ".join(
        f"{pair.backend} over {pair.baseline} {cells.times(pair.ratio.value)} "
        f"({cells.span(pair.ratio, ratio=True)}), {pair.verdict}"
        for pair in pairs
    )
    return Chart(
        id="ratios",
        title="Ratio of times per step" + (", with simultaneous intervals" if measured else ""),
        alt=f"Dot plot{' with intervals' if measured else ''}. {description}.",
        x=Axis("time of the first / time of the second", "log", toggle=True),
        y=Axis("", rows=[f"{pair.backend} / {pair.baseline}" for pair in pairs]),
        series=[_ratio(run, pair, row) for row, pair in enumerate(pairs)],
        height=110 + ROW * len(pairs),
        zoom=False,
        legend=False,
        notes=notes,
        region=(1 / (1 + speed.margin), 1 + speed.margin) if speed.margin else None,
        lines=lines,
    )


def _ratio(run: Run, pair: PairRecord, row: int) -> ChartSeries:
    look, label = _looks(run).get(pair.backend, 0), f"{cells.times(pair.ratio.value)} {pair.verdict}"
    return _point(f"{pair.backend} / {pair.baseline}", look, pair.ratio, row, label)


def ratios_to_baseline(run: Run) -> Chart | None:
    """The `ratios` to the baseline alone, each in the row that its backend has in `speed`: for a panel beside it."""
    chart, known, baseline = ratios(run), run.manifest.speed, run.manifest.baseline
    if chart is None or known is None or baseline is None:
        return None
    rows = list(cells.costs(run))
    pairs = [pair for name in rows if (pair := known.pair(name, baseline)) is not None]
    meanings = ["grey: counts as no difference"] * bool(known.margin) + ["dotted: noise floor"] * (len(chart.lines) > 1)
    return replace(
        chart,
        x=Axis(f"ratio to {shortened(baseline, LONGEST_NAME)}", "log"),
        y=Axis("", rows=rows),
        series=[_ratio(run, pair, rows.index(pair.backend)) for pair in pairs],
        key="\n".join(meanings),
    )


def _bars(parts: Mapping[str, Sequence[float]]) -> list[ChartSeries]:
    """A stack of bars for each row; parts: name → a value for each row."""
    return [
        ChartSeries(name, f"part{part}", "bar", np.array(values, np.float64), np.arange(len(values)))
        for part, (name, values) in enumerate(parts.items())
    ]


def phases(run: Run) -> Chart | None:
    """Forward, backward, update, stacked."""
    facts = {name: cells.known_phases(run[name]) for name in cells.costs(run)}
    known = {name: own for name, own in facts.items() if own is not None}
    if not known:
        return None
    description = "; ".join(
        f"{name}: " + ", ".join(f"{phase} {seconds(own[phase].value)}" for phase in cells.PHASES)
        for name, own in known.items()
    )
    missing = [name for name, cost in cells.costs(run).items() if cost.phases is None]
    notes = [f"n/a, cannot split a step: {', '.join(missing)}."] if missing else []
    notes += [f"{name}: {reason}." for name, reason in cells.phases_off(run)]
    return Chart(
        id="phases",
        title="Phases of a step, stacked",
        alt=f"Stacked bars of seconds per step. {description}.",
        x=Axis("seconds per step", unit="s"),
        y=Axis("", rows=list(known)),
        series=_bars({phase: [own[phase].value for own in known.values()] for phase in cells.PHASES}),
        height=130 + ROW * len(known),
        zoom=False,
        notes=notes,
    )


def first_steps(run: Run) -> Chart | None:
    """The first steps of a fresh process, one by one, and the steady state."""
    series: list[ChartSeries] = []
    descriptions = []
    for name, cost in cells.costs(run).items():
        steps = run.arrays(name).get("first_step_ns")
        if steps is None or not steps.size:
            continue
        watched = (steps >= 0).all(axis=0)  # -1 marks the steps that this launch did not watch but another did
        typical = np.median(steps[:, watched], axis=0) * 1e-9
        if not len(typical):
            continue
        look, count, steady = _looks(run)[name], len(typical), cost.step.value
        series.append(ChartSeries(name, look, "line", np.arange(1, count + 1), typical))
        series.append(ChartSeries(f"{name}, steady", look, "level", np.array([1, count]), np.array([steady, steady])))
        descriptions.append(f"{name}: first {seconds(float(typical[0]))}, steady {seconds(steady)}")
    if not series:
        return None
    return Chart(
        id="first-steps",
        title="First call against steady state",
        alt=f"Line chart of the time of each of the first steps of a fresh process. {'; '.join(descriptions)}.",
        x=Axis("step of a fresh process", "log", toggle=True),
        y=Axis("seconds", "log", "s", toggle=True),
        series=series,
        height=340,
        notes=[
            "Median over launches; dotted: the steady state. Single steps are clocked one by one here, and the clock "
            "itself takes a part of that: a short step looks longer than in a block."
        ],
    )


def memory(run: Run) -> Chart | None:
    """The memory of a fresh worker, stacked."""
    known = cells.memories(run)
    if not known:
        return None
    parts = {
        "Python and worker": [usage.start_bytes for usage in known.values()],
        "import": [max(0, usage.import_bytes) for usage in known.values()],
        "data": [max(0, usage.data_bytes) for usage in known.values()],
        "training": [max(0, usage.training_bytes or 0) for usage in known.values()],
    }
    return Chart(
        id="memory",
        title="Memory of a fresh worker, stacked up to what training needs",
        alt="Stacked bars of resident memory. "
        + "; ".join(f"{name}: peak {size(usage.peak_bytes)}" for name, usage in known.items())
        + ".",
        x=Axis("bytes", unit="B"),
        y=Axis("", rows=list(known)),
        series=_bars(parts),
        height=130 + ROW * len(known),
        zoom=False,
    )


def accuracy(run: Run) -> Chart | None:
    """Digits kept against time per step: the work-precision picture."""
    known = list(tables.accuracy(run))
    if not known:
        return None
    dtype = run.manifest.problem.dtype
    most_digits = -math.log10(float(np.finfo(dtype).eps) / 2)
    description = "; ".join(
        f"{name}: {digits:.1f} digits at {seconds(cost.step.value)}" for name, cost, digits in known
    )
    return Chart(
        id="accuracy",
        title="Digits kept against time per step",
        alt=f"Scatter chart of digits kept in the final weights over time per step. {description}.",
        x=Axis("time per step", "log", "s"),
        y=Axis(
            "digits of the reference's final weights",
            limits=(min(0.0, *(digits for *_, digits in known)), most_digits + 1.5),
        ),
        series=[_point(name, _looks(run)[name], cost.step, digits, name) for name, cost, digits in known],
        height=380,
        zoom=False,
        notes=[
            "Upward is more accurate, leftward is cheaper. Digits: −log₁₀ of the final weights' relative error.",
            *([f"The reference is {run.manifest.reference}."] if run.manifest.reference else []),
        ],
        levels=[StraightLine(most_digits, "dash", f"all that {dtype} can hold")],
    )
