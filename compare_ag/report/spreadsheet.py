"""A run as tables for spreadsheets and data frames (CSV, RFC 4180, UTF-8): every number with all its digits.

    summary.csv   a row for each backend: status, accuracy, time with its interval, phases, what is paid once, memory
    losses.csv    a row for each step: reference, tolerance, and each backend's loss
    weights.csv   a row for each backend and recorded step: b, w[0], w[1], …
    timings.csv   a row for each timed block: launch, instance, round, steps, nanoseconds, seconds per step, whether it
                  counts (1, or 0 where another program interrupted or slowed it; empty before schema 1.7); or, of a
                  run that pytest-benchmark measured, for each round
    phases.csv    a row for each block that was timed phase by phase

No cell starts a formula (`escape.cell`). NaN and infinity are nan, inf and -inf, an empty cell is not known.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from compare_ag.comparison.numbers import blocks
from compare_ag.model import logistic
from compare_ag.records import BackendRecord, Cost, Interval, Run, decisive
from compare_ag.report import cells
from compare_ag.report.escape import cell
from compare_ag.report.kept import digits_kept

Value: TypeAlias = str | float | int | None
Tell: TypeAlias = Callable[[str, int, int], object]
PHASES = ("forward", "backward", "update")
ROWS_PER_WORD = 5000
"""rows that are written between two words on how far it is"""


def tables(run: Run) -> dict[str, str]:
    """File name → text, for each table that the run has rows for."""
    return dict(each_table(run))


def each_table(run: Run, tell: Tell = lambda *_: None) -> Iterator[tuple[str, str]]:
    """The same, one after the other. ``tell`` hears which file is made, how many of its rows are, and of how many."""
    steps = run.manifest.problem.steps
    makers = {"summary": _summary, "losses": _losses, "weights": _weights, "timings": _timings, "phases": _phases}
    for name, make in makers.items():
        file = f"{name}.csv"
        if text := _text(*make(run), partial(_tell, tell, file, steps + 1 if name == "losses" else 0)):
            yield file, text


def _tell(tell: Tell, file: str, total: int, done: int) -> None:
    """Say how many rows there are; ``total`` is 0 where it is not known before."""
    tell(file if total else f"{file}: {done} rows", done, total)


def summary(run: Run) -> str:
    """summary.csv alone; empty for a run without backends."""
    return _text(*_summary(run))


def _text(
    heads: Sequence[str], rows: Iterable[Sequence[Value]], tell: Callable[[int], object] = lambda _done: None
) -> str:
    """The table as CSV; empty where it has no row."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(map(cell, heads))
    count = 0
    for row in rows:
        if count % ROWS_PER_WORD == 0:
            tell(count)
        writer.writerow(map(cell, row))
        count += 1
    return buffer.getvalue() if count else ""


# --- summary ------------------------------------------------------------------------------------------------


def _summary(run: Run) -> tuple[list[str], Iterator[list[Value]]]:
    rows = [_backend(run, record) for record in run.records.values()]
    heads = list(rows[0]) if rows else []
    return heads, iter([list(row.values()) for row in rows])


def _backend(run: Run, record: BackendRecord) -> dict[str, Value]:
    """One row, by heads; units are part of the heads."""
    verdict, cost, memory = decisive(record), record.cost, record.memory
    row: dict[str, Value] = {
        "backend": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "libraries": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "status": record.status,
        "found": record.reason or ("" if verdict is None else verdict.message),
        "first wrong step": None if verdict is None else verdict.first_step,
        "worst observed/tolerance": None if verdict is None else _number(verdict.worst_ratio),
        "final error": None if verdict is None else _number(verdict.weights_error),
        "final tolerance": None if verdict is None else _number(verdict.weights_tolerance),
        "digits kept": digits_kept(run, record.name),
        "train s": record.train_seconds,
    }
    row |= _ends("step s", None if cost is None else cost.step)
    speed, baseline = run.manifest.speed, run.manifest.baseline
    pair = None if speed is None or baseline is None else speed.pair(record.name, baseline)
    row |= _ends("ratio to baseline", None if pair is None else pair.ratio)
    own = "baseline" if record.name == baseline and cost is not None else None
    no_rank = "" if cost is None else cells.no_rank(cost)
    row["speed verdict"] = no_rank or (own if pair is None else pair.verdict)
    row["no rank because"] = None if cost is None else cells.no_rank_reason(cost)[0]
    row |= _timing(cost)
    phases = cells.known_phases(record)
    for phase in PHASES:
        row[f"{phase} s"] = None if phases is None else phases[phase].value
    row |= {
        "import s": None if cost is None else cost.import_seconds,
        "construct s": None if cost is None else _value(cost.construct_seconds),
        "make_tensor s": None if cost is None else _value(cost.make_tensor_seconds),
        "first step s": None if cost is None else _value(cost.first_step_seconds),
        "steps to steady": None if cost is None else cost.steps_to_steady,
        "peak memory bytes": None if memory is None else memory.peak_bytes,
        "tape bytes": None if memory is None else memory.tape_bytes,
    }
    return row


def _timing(cost: Cost | None) -> dict[str, Value]:
    """How its step was timed; empty before schema 1.7."""
    heads = ("timed by", "steps per block", "blocks left out", "blocks judged", "exactly", "blocks not judged")
    row: dict[str, Value] = dict.fromkeys(heads)
    if cost is not None and cost.steps_per_block:
        values = (cost.timed_by, cost.steps_per_block, cost.preempted)
        counts = (cost.blocks_judged, cost.blocks_exact, cost.blocks_not_judged)
        row = dict(zip(heads, (*values, *counts), strict=True))
    return row | dict(_ends("ratio to twin", None if cost is None else cost.control))


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def _ends(head: str, interval: Interval | None) -> Mapping[str, Value]:
    """Three columns: the estimate and the ends of its 95 % interval."""
    if interval is None:
        return {head: None, f"{head} low": None, f"{head} high": None}
    return {head: interval.value, f"{head} low": interval.low, f"{head} high": interval.high}


# --- trajectories -------------------------------------------------------------------------------------------


def _losses(run: Run) -> tuple[list[str], Iterator[list[Value]]]:
    columns: dict[str, Any] = {}
    if run.reference:
        columns |= {"reference": run.reference["losses"], "tolerance": run.reference["loss_tolerance"]}
    heads = ["step", *columns]
    for name in run.records:
        arrays = run.arrays(name)
        for key, said in (("losses", name), ("fused_losses", f"{name}, fused step")):
            if key in arrays:
                columns[f"{key} {name}"] = arrays[key]
                heads.append(said)
    if len(heads) == 1:
        return heads, iter(())
    values = [column.tolist() for column in columns.values()]
    return heads, ([step, *row] for step, row in enumerate(itertools.zip_longest(*values)))


def _weights(run: Run) -> tuple[list[str], Iterator[list[Value]]]:
    features = run.manifest.problem.features

    def rows() -> Iterator[list[Value]]:
        if run.reference:
            final = run.reference["final_b"].item(), run.reference["final_w"].tolist()
            yield ["reference", run.manifest.problem.steps, final[0], *final[1]]
        for name in run.records:
            arrays = run.arrays(name)
            if "weight_steps" in arrays:
                for step, b, w in zip(arrays["weight_steps"], arrays["b"], arrays["w"], strict=True):
                    yield [name, int(step), float(b), *w.tolist()]

    *names, last = logistic(features).coordinates
    return ["backend", "step", last, *names], rows()


# --- timings ------------------------------------------------------------------------------------------------


def _timings(run: Run) -> tuple[list[str], Iterator[list[Value]]]:
    speed = run.manifest.speed
    if speed is not None and speed.mode == "pytest-benchmark":
        return ["backend", "phase", "round", "s"], _rounds(run)
    return ["backend", "launch", "instance", "round", "steps", "wall ns", "step s", "counts"], _blocks(run)


def _blocks(run: Run) -> Iterator[list[Value]]:
    common = 0 if run.manifest.speed is None else run.manifest.speed.steps_per_block
    for name in run.records:
        arrays, own = run.arrays(name), blocks(run, name)
        wall = arrays.get("block_wall_ns")
        if own is None or wall is None or wall.shape != own.time_ns.shape:
            continue
        steps = arrays.get("block_steps", np.full(wall.shape, common))
        known = "block_clean" in arrays
        for place, nanoseconds in np.ndenumerate(wall):
            counts = int(own.clean[place]) if known else None
            yield [name, *place, int(steps[place]), int(nanoseconds), float(own.time_ns[place]) * 1e-9, counts]


def _rounds(run: Run) -> Iterator[list[Value]]:
    for name in run.records:
        for key, seconds in run.arrays(name).items():
            phase = key.removesuffix("_seconds")
            if phase != key:
                for number, value in enumerate(seconds.tolist()):
                    yield [name, phase, number, value]


def _phases(run: Run) -> tuple[list[str], Iterator[list[Value]]]:
    common = 0 if run.manifest.speed is None else run.manifest.speed.steps_per_block

    def rows() -> Iterator[list[Value]]:
        for name in run.records:
            phases = run.arrays(name).get("phase_ns")
            if phases is not None and phases.size:
                for place in np.ndindex(phases.shape[:-1]):
                    yield [name, *place, common or None, *phases[place].tolist()]

    return ["backend", "launch", "instance", "round", "steps", *(f"{phase} ns" for phase in PHASES)], rows()
