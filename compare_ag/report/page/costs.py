"""Charts of the costs: times of blocks, ratios, phases, the first steps, memory, and accuracy against cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from compare_ag.compare.numbers import blocks
from compare_ag.records import Run
from compare_ag.report import cells, tables
from compare_ag.report.page.packing import Array, Packer, thin_places
from compare_ag.report.page.series import ROW, Chart, axis_of, course, orders_of, reach, rows_of, thinning_note
from compare_ag.report.units import seconds, size
from compare_ag.speed.blocks import launch_log_time

MOST_BLOCKS = 4000
"""limit for all backends together, because each block is a mark of its own"""
MOST_PAIRS = 15


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


def speed_chart(run: Run, packer: Packer) -> Iterator[Chart]:
    """Every block, the mean of every launch, and the estimate with its interval."""
    costs, speed = cells.costs(run), run.manifest.speed
    if not costs:
        return
    imported = speed is not None and speed.mode == "pytest-benchmark"
    what = "rounds" if imported else "blocks"
    series: list[dict[str, Any]] = []
    thin, left_out = False, 0
    for row, (name, cost) in enumerate(costs.items()):
        look = orders_of(run)[name]
        each, launch, launches, interrupted = _marks(run, name)
        left_out += interrupted
        if len(each):
            at = thin_places(each, max(200, MOST_BLOCKS // len(costs)))
            thin |= len(at) < len(each)
            lanes = row + 0.02 + 0.43 * (launch[at] + 0.5) / launches
            series.append(
                {
                    "name": f"{name}: {what}",
                    "look": look,
                    "draw": "ticks",
                    "x": {"array": packer.add(each[at])},
                    "y": {"array": packer.add(lanes)},
                }
            )
        own = blocks(run, name)
        if own is not None:
            logs = launch_log_time(own)
            known = [place for place, log in enumerate(logs) if math.isfinite(log)]
            means = [math.exp(logs[place]) for place in known]
            middle = [row + 0.02 + 0.43 * (place + 0.5) / launches for place in known]
            series.append({"name": f"{name}: launches", "look": look, "draw": "small", "x": means, "y": middle})
        step = cost.step
        series.append(
            {
                "name": name,
                "look": look,
                "draw": "point",
                "x": [step.value],
                "y": [row - 0.15],
                "error": reach(step),
                "label": " ".join(filter(None, (seconds(step.value), cells.no_rank(cost)))),
            }
        )
    title = "Time per step: every block, every launch, the mean with its interval"
    notes = [
        "Filled: the mean with its 95 % interval. Below it, a row of ticks for each launch: its blocks, and its mean."
    ]
    if imported:
        title = "Time per step: every round and their median"
        notes = ["Filled: the median, without an interval. Below it, a tick for each round that the file has kept."]
    if left_out:
        notes.append(f"{left_out} blocks that another program interrupted or slowed do not count and are not drawn.")
    if thin:
        notes.append(
            f"{what.capitalize()} are thinned evenly with all extremes kept; the run directory holds them all."
        )
    description = "; ".join(
        " ".join(filter(None, (name, seconds(cost.step.value), f"({cells.span(cost.step)})", cells.no_rank(cost))))
        for name, cost in costs.items()
    )
    yield {
        "id": "speed",
        "title": title,
        "alt": f"Strip plot of the time per step, a row for each backend. {description}.",
        "x": axis_of("time per step", "log", "s", toggle=True),
        "y": rows_of(list(costs)),
        "series": series,
        "height": 110 + 92 * len(costs),
        "zoom": True,
        "legend": False,
        "notes": notes,
    }


def ratios_chart(run: Run, _packer: Packer) -> Iterator[Chart]:
    """The ratios with their intervals, over the margin and the noise floor."""
    speed = run.manifest.speed
    if speed is None or not speed.pairs:
        return
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
    series = [
        {
            "name": f"{pair.backend} / {pair.baseline}",
            "look": orders_of(run).get(pair.backend, 0),
            "draw": "point",
            "x": [pair.ratio.value],
            "y": [row],
            "error": reach(pair.ratio),
            "label": f"{cells.times(pair.ratio.value)} {pair.verdict}",
        }
        for row, pair in enumerate(pairs)
    ]
    bands = [{"from": 1 / (1 + speed.margin), "to": 1 + speed.margin}] if speed.margin else []
    lines = [{"at": 1.0, "dash": "solid"}]
    if speed.noise_floor is not None:
        lines += [{"at": 1 + speed.noise_floor, "dash": "dot"}, {"at": 1 / (1 + speed.noise_floor), "dash": "dot"}]
    description = "; ".join(
        f"{pair.backend} over {pair.baseline} {cells.times(pair.ratio.value)} "
        f"({cells.span(pair.ratio, ratio=True)}), {pair.verdict}"
        for pair in pairs
    )
    yield {
        "id": "ratios",
        "title": "Ratio of times per step" + (", with simultaneous intervals" if measured else ""),
        "alt": f"Dot plot{' with intervals' if measured else ''}. {description}.",
        "x": axis_of("time of the first / time of the second", "log", toggle=True),
        "y": rows_of([f"{pair.backend} / {pair.baseline}" for pair in pairs]),
        "series": series,
        "bands": bands,
        "lines": lines,
        "height": 110 + ROW * len(pairs),
        "zoom": False,
        "legend": False,
        "notes": notes,
    }


def _stack(name: str, part: int, values: list[float], count: int) -> dict[str, Any]:
    return {"name": name, "look": f"part{part}", "draw": "bar", "x": values, "y": list(range(count))}


def phases_chart(run: Run, _packer: Packer) -> Iterator[Chart]:
    """Forward, backward, update, stacked."""
    facts = {name: cells.known_phases(run[name]) for name in cells.costs(run)}
    known = {name: phases for name, phases in facts.items() if phases is not None}
    if not known:
        return
    series = [
        _stack(phase, part, [phases[phase].value for phases in known.values()], len(known))
        for part, phase in enumerate(cells.PHASES)
    ]
    description = "; ".join(
        f"{name}: " + ", ".join(f"{phase} {seconds(phases[phase].value)}" for phase in cells.PHASES)
        for name, phases in known.items()
    )
    missing = [name for name, cost in cells.costs(run).items() if cost.phases is None]
    notes = [f"n/a, cannot split a step: {', '.join(missing)}."] if missing else []
    notes += [f"{name}: {why}." for name, why in cells.phases_off(run)]
    yield {
        "id": "phases",
        "title": "Phases of a step, stacked",
        "alt": f"Stacked bars of seconds per step. {description}.",
        "x": axis_of("seconds per step", unit="s"),
        "y": rows_of(list(known)),
        "series": series,
        "height": 130 + ROW * len(known),
        "zoom": False,
        "notes": notes,
    }


def first_steps_chart(run: Run, packer: Packer) -> Iterator[Chart]:
    """The first steps of a fresh process, one by one, and the steady state."""
    series: list[dict[str, Any]] = []
    descriptions = []
    for name, cost in cells.costs(run).items():
        steps = run.arrays(name).get("first_step_ns")
        if steps is None or not steps.size:
            continue
        watched = (steps >= 0).all(axis=0)  # -1 marks the steps that this launch did not watch but another did
        typical = np.median(steps[:, watched], axis=0) * 1e-9
        if not len(typical):
            continue
        at = thin_places(typical)
        line = course(packer, name, orders_of(run)[name], typical, at)
        line["x"] = {"array": packer.add(at + 1)}
        series.append(line)
        series.append(
            {
                "name": f"{name}, steady",
                "look": orders_of(run)[name],
                "draw": "level",
                "x": [1, len(typical)],
                "y": [cost.step.value, cost.step.value],
            }
        )
        descriptions.append(f"{name}: first {seconds(float(typical[0]))}, steady {seconds(cost.step.value)}")
    if not series:
        return
    yield {
        "id": "first-steps",
        "title": "First call against steady state",
        "alt": f"Line chart of the time of each of the first steps of a fresh process. {'; '.join(descriptions)}.",
        "x": axis_of("step of a fresh process", "log", toggle=True),
        "y": axis_of("seconds", "log", "s", toggle=True),
        "series": series,
        "height": 340,
        "zoom": True,
        "notes": [
            "Median over launches; dotted: the steady state. Single steps are clocked one by one here, and the clock "
            "itself takes a part of that: a short step looks longer than in a block.",
            *thinning_note(series),
        ],
    }


def memory_chart(run: Run, _packer: Packer) -> Iterator[Chart]:
    """The memory of a fresh worker, stacked."""
    known = {name: record.memory for name, record in run.records.items() if record.memory is not None}
    if not known:
        return
    parts = {
        "Python and worker": [float(usage.start_bytes) for usage in known.values()],
        "import": [float(max(0, usage.import_bytes)) for usage in known.values()],
        "data": [float(max(0, usage.data_bytes)) for usage in known.values()],
        "training": [float(max(0, usage.training_bytes or 0)) for usage in known.values()],
    }
    yield {
        "id": "memory",
        "title": "Memory of a fresh worker, stacked up to what training needs",
        "alt": "Stacked bars of resident memory. "
        + "; ".join(f"{name}: peak {size(usage.peak_bytes)}" for name, usage in known.items())
        + ".",
        "x": axis_of("bytes", unit="B"),
        "y": rows_of(list(known)),
        "series": [_stack(name, part, values, len(known)) for part, (name, values) in enumerate(parts.items())],
        "height": 130 + ROW * len(known),
        "zoom": False,
        "notes": [],
    }


def accuracy_chart(run: Run, _packer: Packer) -> Iterator[Chart]:
    """Digits kept against time per step: the work-precision picture."""
    known = list(tables.accuracy(run))
    if not known:
        return
    series = [
        {
            "name": name,
            "look": orders_of(run)[name],
            "draw": "point",
            "x": [cost.step.value],
            "y": [digits],
            "error": reach(cost.step),
            "label": name,
        }
        for name, cost, digits in known
    ]
    lowest = min(0.0, *(digits for *_, digits in known))
    dtype = run.manifest.problem.dtype
    most_digits = -math.log10(float(np.finfo(dtype).eps) / 2)
    description = "; ".join(
        f"{name}: {digits:.1f} digits at {seconds(cost.step.value)}" for name, cost, digits in known
    )
    yield {
        "id": "accuracy",
        "title": "Digits kept against time per step",
        "alt": f"Scatter chart of digits kept in the final weights over time per step. {description}.",
        "x": axis_of("time per step", "log", "s"),
        "y": axis_of("digits of the reference's final weights", range=[lowest, most_digits + 1.5]),
        "series": series,
        "levels": [{"at": most_digits, "label": f"all that {dtype} can hold"}],
        "height": 380,
        "zoom": False,
        "notes": [
            "Upward is more accurate, leftward is cheaper. Digits: −log₁₀ of the final weights' relative error.",
            *([f"The reference is {run.manifest.reference}."] if run.manifest.reference else []),
        ],
    }
