"""The tables of a run, for the terminal, the page, Markdown and spreadsheets alike: choices of columns and rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from compare_ag.model import logistic
from compare_ag.records import BackendRecord, Cost, PairRecord, Run
from compare_ag.report import cells, columns
from compare_ag.report.cells import PHASES
from compare_ag.report.columns import NAME, Final, Row, backends, final_of, timed_rows
from compare_ag.report.kept import digits_kept
from compare_ag.report.table import BAD, TONES, Column, Table, Value
from compare_ag.report.units import Array, difference, size, sparkline
from compare_ag.speed.costs import LEAK_BYTES

UNRANKED = "No backend is ranked: one process gives no interval; `compare-ag run` gives one."


# --- accuracy -----------------------------------------------------------------------------------------------


def verdicts(run: Run) -> Table[Row]:
    """Each backend's state, its largest observed/tolerance in each test, and its finding."""
    rows = []
    for record in run.records.values():
        judged = [Row(run, record, verdict, how) for how, verdict in cells.judgements(record)]
        rows += judged or [Row(run, record, None)]
    tests = [test for row in rows if row.verdict is not None for test in row.verdict.tests]
    notes = [
        "Observed/tolerance: up to 1 rounding explains it, above 1 it does not. In brackets: how many were decided."
    ]
    if any(test.undecided for test in tests):
        notes.append("What was not decided has an infinite tolerance, as where the probability form saturates.")
    if any(row.record.repetition is not None and row.record.repetition.differing for row in rows):
        notes.append(cells.REPEATED_NOTE)
    if run.manifest.reference:
        notes.append(f"Compared with {run.manifest.reference}.")
    caption = "Verdict of each backend, and the largest observed/tolerance of each test"
    return Table("verdicts", caption, "Verdicts", columns.VERDICTS, rows, notes)


def losses(run: Run) -> Table[Any] | None:
    """Losses beside the published ones, or at evenly spaced steps beside the reference's."""
    judged = cells.judged_backends(run)
    if not judged:
        return None
    published = [name for name in judged if run[name].published]
    if published:
        return _published_losses(run, published)
    return spaced_losses(run, judged, cells.loss_steps(run), _convergence(run))


def spaced_losses(
    run: Run, names: Sequence[str], steps: Sequence[int | None], notes: Sequence[str] = ()
) -> Table[int | None]:
    """Losses after these steps; None stands for the row that draws the whole course."""

    def course(head: str, values: Array | None, *, named: bool) -> Column[int | None]:
        def text(k: int | None) -> str:
            return cells.loss(values, k) if k is not None else sparkline(values, 10) if values is not None else ""

        def value(k: int | None) -> Value:
            return None if values is None or k is None or k >= len(values) else float(values[k])

        return Column(head, value, text=text, named=named)

    reference, allowed = run.reference.get("losses"), run.reference.get("loss_tolerance")
    chosen: list[Column[int | None]] = [
        Column("k", lambda k: k, text=lambda k: "course" if k is None else str(k)),
        *(course(name, run.arrays(name).get("losses"), named=True) for name in names),
        course("reference", reference, named=False),
        Column("tolerance", lambda k: k, text=lambda k: "" if k is None else cells.tolerance(allowed, k)),
    ]
    return Table("losses", cells.losses_title(run), "Losses", chosen, steps, notes)


def _published_losses(run: Run, names: list[str]) -> Table[int]:
    known = [run[name].published for name in names]

    def own(name: str) -> Column[int]:
        rows = run[name].published

        def text(index: int) -> str:
            return f"{float(rows[index].observed):.8f}{'' if rows[index].reproduced else ' ✗'}"

        return Column(name, lambda index: float(rows[index].observed), text=text, named=True,
                      tone=lambda index: "" if rows[index].reproduced else BAD)  # fmt: skip

    def largest(index: int) -> float:
        off = [float(rows[index].difference) for rows in known]
        return math.nan if any(map(math.isnan, off)) else max(off)  # max() alone would skip a NaN

    chosen: list[Column[int]] = [
        Column("epoch", lambda index: known[0][index].step - 1),
        Column("published", lambda index: known[0][index].published, lambda loss: f"{loss:.8f}"),
        *map(own, names),
        Column("largest difference", largest, difference),
    ]
    missed = any(not row.reproduced for rows in known for row in rows)
    notes = [*(["✗ not reproduced"] if missed else []), *_convergence(run)]
    return Table("losses", cells.published_title(run), "Losses", chosen, range(len(known[0])), notes)


def _convergence(run: Run) -> list[str]:
    messages = {
        record.name: record.convergence.message for record in run.records.values() if record.convergence is not None
    }
    if len(set(messages.values())) == 1 and len(messages) > 1:
        return [f"Convergence, all alike: {next(iter(messages.values()))}."]
    return [f"Convergence of {name}: {message}." for name, message in messages.items()]


def final_weights(run: Run) -> list[Final]:
    """The reference, then every backend that has final weights."""
    rows = []
    if run.reference:
        rows.append(Final("reference", run.reference["final_w"], run.reference["final_b"].item(), None, None, False))
    return rows + [final for row in backends(run) if (final := final_of(row)) is not None]


def weights(run: Run) -> Table[Final] | None:
    """Final w and b of each backend beside the reference's, and the distance to it."""
    if not cells.judged_backends(run):
        return None
    features, indices = run.manifest.problem.features, cells.weights_shown(run)
    *names, last = logistic(features).coordinates

    def end(head: str, get: Callable[[Final], Any]) -> Column[Final]:
        def text(row: Final) -> str:
            value = get(row)
            return "" if not row.judged else "not judged" if value is None else difference(value)

        return Column(head, get, text=text)

    def coordinate(index: int) -> Column[Final]:
        return Column(names[index], lambda row: float(row.w[index]), cells.weight)

    chosen: list[Column[Final]] = [
        Column("backend", lambda row: row.name, left=True),
        *map(coordinate, indices),
        Column(last, lambda row: row.b, cells.weight),
        end("distance to reference", lambda row: row.error),
        end("tolerance", lambda row: row.tolerance),
    ]
    notes = []
    if len(indices) < features:
        notes.append(f"{len(indices)} of {features} weights; the charts show all, the run directory holds all digits.")
    if run.manifest.max_pair_difference is not None:
        notes.append(f"Largest difference between two backends: {difference(run.manifest.max_pair_difference)}.")
    caption = f"Final weights after {run.manifest.problem.steps} steps"
    return Table("weights", caption, "Final weights", chosen, final_weights(run), notes)


# --- cost ---------------------------------------------------------------------------------------------------


def speed(run: Run) -> Table[Row]:
    """Time per step of each backend with its interval; the reason where a backend was not timed."""
    notes = [f"{name} {why}." for name, why in cells.no_ranks(cells.costs(run))]
    notes += [f"{record.name}: {_untimed_reason(record)}" for record in run.records.values() if record.cost is None]
    chosen = [NAME, columns.STEP_OR_NOT, columns.INTERVAL, columns.RATIO, columns.DIGITS_OF_TIMED, columns.PER_SECOND]
    return Table("speed", "Speed: a whole step in the steady state", "Speed", chosen, backends(run), notes)


def _untimed_reason(record: BackendRecord) -> str:
    return record.timing_note or record.reason or f"not timed, its status is {record.status}"


def timing(run: Run) -> Table[Row] | None:
    """How each backend's step was timed, and how many of its blocks were judged; None for runs before schema 1.7."""
    if not cells.has_own_blocks(cells.costs(run)):
        return None
    return Table(
        "timing", "How the step was timed", "Speed", [NAME, *columns.TIMED], timed_rows(run), [cells.TIMED_NOTE]
    )


def pairs(run: Run) -> Table[PairRecord] | None:
    """Every pair of backends: the ratio with its interval, the verdict, and when the cheaper step pays."""
    speed = run.manifest.speed
    if speed is None or not speed.pairs:
        return None

    def phase(place: int) -> Column[PairRecord]:
        return Column(PHASES[place], lambda pair: cells.phase_ratios(run, pair)[place])

    chosen: list[Column[PairRecord]] = [
        Column("time of / time of", lambda pair: f"{pair.backend} / {pair.baseline}", left=True),
        Column("ratio", lambda pair: pair.ratio, lambda ratio: cells.times(ratio.value), ends=True),
        Column("interval", lambda pair: cells.span(pair.ratio, ratio=True)),
        Column("verdict", lambda pair: pair.verdict, tone=lambda pair: TONES.get(pair.verdict, "")),
        *map(phase, range(len(PHASES))),
        Column("pays after", lambda pair: cells.pays_after(pair, cells.costs(run))),
    ]
    notes = [
        f"Faster or slower: the whole interval lies beyond {speed.margin:.0%} and the noise floor; equivalent: within "
        f"{speed.margin:.0%}. The intervals hold together with 95 %."
    ]
    if speed.mode == "pytest-benchmark":
        notes = [UNRANKED]
    else:
        notes += [f"{cells.explain_undecided(pair)}." for pair in speed.pairs if pair.verdict == "inconclusive"]
    return Table("pairs", "Who is faster", "Who is faster", chosen, speed.pairs, notes)


def phases(run: Run) -> Table[Row]:
    """Forward, backward, update; their sum; the time of a gradient and of the contract."""
    notes = [f"{name}: {why}." for name, why in cells.phases_off(run)]
    return Table(
        "phases",
        "Phases of a step",
        "Phases",
        [NAME, *columns.PHASE_COLUMNS, *columns.ADDED_UP],
        timed_rows(run),
        notes,
    )


def once(run: Run) -> Table[Row] | None:
    """Costs before the steady state."""
    if not any(cost.cold_seconds is not None for cost in cells.costs(run).values()):
        return None
    return Table(
        "once", "Paid once: what comes before the steady state", "Paid once", [NAME, *columns.ONCE], timed_rows(run)
    )


def memory(run: Run) -> Table[Row] | None:
    """The memory of each backend's process."""
    rows = [row for row in backends(run) if row.record.memory is not None]
    if not rows:
        return None
    return Table("memory", "Memory", "Memory", [NAME, *columns.HELD], rows, list(_memory_notes(run)))


def _memory_notes(run: Run) -> Iterator[str]:
    measured = cells.memories(run)
    first = next(iter(measured.values()))
    yield f"Resident memory of a fresh worker ({first.source}), {size(first.start_bytes)} before the import."
    for name, usage in measured.items():
        if usage.growth_bytes > LEAK_BYTES:
            yield (
                f"{name} keeps {size(usage.growth_bytes / 1000)} more with every step: a reference keeps data alive "
                "that should be freed, such as a loss that is still attached to its graph."
            )
    if first.source == "ru_maxrss":
        yield "ru_maxrss may be this process's own peak, inherited: where it is larger, believe only the differences."
    for record in run.records.values():
        if record.memory_note:
            yield f"{record.name}: memory not measured: {record.memory_note}"


def accuracy(run: Run) -> Iterator[tuple[str, Cost, float]]:
    """(backend, cost, digits kept) of every backend that has both, and a rank."""
    for name, cost in cells.costs(run).items():
        digits = digits_kept(run, name)
        if digits is not None and cost.ranked:
            yield name, cost, digits


# --- all in one ---------------------------------------------------------------------------------------------


def short(run: Run) -> Table[Row]:
    """For a first look: status, final weights, error, time per step, ratio, memory."""
    p = run.manifest.problem
    batch = "full batch" if p.batch_size is None else f"batches of {p.batch_size}"
    features, steps = (f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((p.features, "feature"), (p.steps, "step")))
    caption = f"{p.name}: {p.examples} examples, {features}, {p.dtype}, {p.loss} loss, {steps}, {batch}"
    chosen: list[Column[Row]] = [NAME, columns.STATUS]
    if cells.judged_backends(run):
        chosen += [columns.final_column(run), columns.DISTANCE]
    if cells.costs(run):
        chosen += [columns.STEP_AND_WIDTH, columns.SHORT_RATIO]
    if cells.memories(run):
        chosen.append(columns.MEMORY)
    return Table("short", caption, "The short answer", chosen, backends(run))


def results(run: Run) -> Table[Row]:
    """A row for each backend, to paste: verdict, accuracy, time with its interval, ratio, phases, memory."""
    chosen = [columns.NAME_AND_VERSIONS, columns.STATUS, columns.WORST, columns.FINAL_ERROR]
    if cells.costs(run):
        ratio = replace(columns.RATIO_AND_SPAN, head=f"ratio to {run.manifest.baseline or 'the baseline'}", named=True)
        chosen += [columns.STEP_OR_NOT, columns.INTERVAL, ratio, columns.SPEED_VERDICT, *columns.PHASE_COLUMNS]
    if cells.memories(run):
        chosen.append(columns.MEMORY)
    return Table("results", "", "The short answer", chosen, backends(run))


def summary(run: Run) -> Table[Row]:
    """A row for each backend with every number of its record, for spreadsheets."""
    return Table("summary", "", "", columns.ALL_DIGITS, backends(run))
