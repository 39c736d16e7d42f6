"""A run as tables for spreadsheets and data frames (CSV, RFC 4180, UTF-8): every number with all its digits.

    summary.csv   a row for each backend: status, accuracy, time with its interval, phases, what is paid once, memory
    losses.csv    a row for each step: reference, tolerance, and each backend's loss
    weights.csv   a row for each backend and recorded step: b, w[0], w[1], …
    timings.csv   a row for each timed block: launch, instance, round, steps, nanoseconds, seconds per step, whether it
                  counts (1, or 0 where another program interrupted or slowed it; empty before schema 1.7); or, of a
                  run that pytest-benchmark measured, for each round
    phases.csv    a row for each block that was timed phase by phase

No cell starts a formula (`escape.cell`). NaN and infinity are nan, inf and -inf; an empty cell is an unknown value.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from compare_ag.compare.numbers import blocks
from compare_ag.model import logistic
from compare_ag.records import Interval, Run
from compare_ag.report import tables as run_tables
from compare_ag.report.cells import PHASES
from compare_ag.report.escape import cell
from compare_ag.report.table import Table

Value: TypeAlias = str | float | int | None
Tell: TypeAlias = Callable[[str, int, int], object]
ROWS_PER_WORD = 5000
"""rows between two reports of progress"""


def tables(run: Run) -> dict[str, str]:
    """File name → text, for each table that the run has rows for."""
    return dict(each_table(run))


def each_table(run: Run, tell: Tell = lambda *_: None) -> Iterator[tuple[str, str]]:
    """Yield the same tables in turn. ``tell`` receives the file's name, the count of written rows and the total."""
    steps = run.manifest.problem.steps
    makers: dict[str, Callable[[Run], tuple[list[str], Iterable[list[Value]]]]] = {
        "summary": _summary, "losses": _losses, "weights": _weights, "timings": _timings, "phases": _phases,
    }  # fmt: skip  # one row of a table
    for name, make in makers.items():
        file = f"{name}.csv"
        if text := _text(*make(run), partial(_tell, tell, file, steps + 1 if name == "losses" else 0)):
            yield file, text


def _tell(tell: Tell, file: str, total: int, done: int) -> None:
    """Report the count of rows; ``total`` is 0 where it is not known in advance."""
    tell(file if total else f"{file}: {done} rows", done, total)


def summary(run: Run) -> str:
    """summary.csv alone; empty for a run without backends."""
    return csv_text(run_tables.summary(run))


def csv_text(table: Table[Any]) -> str:
    """A table as data, as CSV; empty where it has no row."""
    return _text(*_sheet(table))


def _summary(run: Run) -> tuple[list[str], Iterable[list[Value]]]:
    return _sheet(run_tables.summary(run))


def _sheet(table: Table[Any]) -> tuple[list[str], Iterable[list[Value]]]:
    """Heads and rows: values, not their texts, with the ends of intervals."""
    heads: list[str] = []
    for column in table.columns:
        head = column.key or f"{column.head} {column.unit}".strip()
        heads += [head, f"{head} low", f"{head} high"] if column.ends else [head]

    def cells(row: Any) -> Iterator[Value]:
        for column in table.columns:
            value = column.value(row)
            if isinstance(value, Interval):
                yield from (value.value, value.low, value.high)
            else:
                yield from [value] * (3 if column.ends else 1)

    return heads, map(list, map(cells, table.rows))


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


# --- trajectories -------------------------------------------------------------------------------------------


def _losses(run: Run) -> tuple[list[str], Iterator[list[Value]]]:
    columns: dict[str, Any] = {}
    if run.reference:
        columns |= {"reference": run.reference["losses"], "tolerance": run.reference["loss_tolerance"]}
    heads = ["step", *columns]
    for name in run.records:
        arrays = run.arrays(name)
        for key, head in (("losses", name), ("fused_losses", f"{name}, fused step")):
            if key in arrays:
                columns[f"{key} {name}"] = arrays[key]
                heads.append(head)
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
