"""A run on one screen: the answer, disagreements, one table, the losses, warnings, and a command to try next.

At most 40 lines at 100 columns for a handful of backends; `terminal` has everything. Disagreements come first: the
place where each begins, its size, the known mistakes that would explain it, and the command that locates it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from compare_ag.problem.make import DEFAULTS, SEED_DEFAULTS
from compare_ag.problem_names import PROBLEM_NAMES
from compare_ag.records import FAILED, BackendRecord, Run, decisive
from compare_ag.report import cells, facts, tables
from compare_ag.report.grid import draw_table, grid_of
from compare_ag.report.table import Table
from compare_ag.report.terminal import answer
from compare_ag.text import printable

WRONG = frozenset({"disagree", "non-finite"})
IN_FULL = 1
"""disagreements that are described in full; the others by the place where they begin"""
LINES = 3
"""lines of further disagreements, of failures, of warnings"""
LOSS_ROWS = 8


def print_screen(run: Run, console: Console, asked: str | None = None) -> None:
    """Print the short form, the path of the run directory last.

    asked: the options that chose the problem, where the records alone cannot give them, as for data from a file.
    """
    for part in sections(run, problem_options(run) if asked is None else asked):
        console.print(part, crop=False)
    console.print(Text(f"Run kept in {printable(str(run.path))}"), soft_wrap=True)


def sections(run: Run, asked: str) -> Iterator[RenderableType]:
    """The parts, an empty line between them."""
    yield answer(run)
    wrong = [record for record in run.records.values() if record.status in WRONG]
    for record in wrong[:IN_FULL]:
        yield from _disagreement(run, record, asked)
    yield from _lines([f"{record.name}: {_place(record)}; {_size(record)}" for record in wrong[IN_FULL:]], "red")
    failures = list(_failures(run))
    for failure in failures[:LINES]:
        yield Text(printable(failure), style="yellow")
    if len(failures) > LINES:
        yield Text(f"and {len(failures) - LINES} more without a result: --details", style="yellow")
    yield Text()
    yield draw_table(tables.short(run))
    if judged := cells.judged_backends(run):
        yield Text()
        yield _Losses(run, judged)
    yield Text()
    if warnings := _warnings(run):
        yield from _lines(warnings, "yellow")
        yield Text()
    if (run.path / "report.html").is_file():
        yield _command("Everything, with charts:", str(run.path / "report.html"))
    yield _command("All tables:", f"compare-ag show {shlex.quote(str(run.path))} --details")
    yield _command(*_next(run, asked))


class _Losses:
    """The losses of as many backends as fit beside each other, disagreeing backends first, and their courses."""

    def __init__(self, run: Run, judged: list[str]) -> None:
        self._run = run
        self._judged = judged

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        count = len(self._judged)
        while count > 1 and grid_of(self._table(count)).width > options.max_width:
            count -= 1
        yield draw_table(self._table(count))

    def _table(self, count: int) -> Table[Any]:
        chosen = sorted(self._judged, key=lambda name: self._run[name].status == "ok")[:count]
        steps = [*cells.loss_steps(self._run, LOSS_ROWS), *([None] if self._run.manifest.problem.steps > 1 else [])]
        left_out = len(self._judged) - count
        note = [f"{left_out} more backend{'s' if left_out > 1 else ''}: --details"] if left_out else []
        return tables.spaced_losses(self._run, [name for name in self._judged if name in chosen], steps, note)


def _command(label: str, command: str) -> Group:
    """A line to copy, which only the terminal itself may break."""
    line = Text.assemble((f"{label} ", "dim"), printable(command), no_wrap=True, overflow="ignore")
    return Group(line)  # rich joins bare texts into a paragraph, which it may break


def _lines(texts: Sequence[str], style: str) -> Iterator[Group]:
    """A line for each text, cut where the terminal ends, and a line with the count of the texts left out."""
    for text in texts[:LINES]:
        yield Group(Text(printable(text), style=style, no_wrap=True, overflow="ellipsis"))
    if len(texts) > LINES:
        yield Group(Text(f"and {len(texts) - LINES} more: --details", style=style))


def _warnings(run: Run) -> list[str]:
    """Warnings without advice; `--details` adds the advice."""
    speed = run.manifest.speed
    messages = [*run.manifest.warnings, *(warning.message for warning in (speed.warnings if speed is not None else []))]
    messages += [f"{record.name}: {text}" for record in run.records.values() for text in record.warnings]
    return [f"warning: {text}" for text in messages]


# --- disagreements and failures -----------------------------------------------------------------------------


def _disagreement(run: Run, record: BackendRecord, asked: str) -> Iterator[RenderableType]:
    """Place, size, explanation and the locating command of one backend's disagreement."""
    verdict = decisive(record)
    yield Text(f"{printable(record.name)} leaves its tolerance:", style="red")
    yield _fact("where", _place(record))
    yield _fact("how much", _size(record))
    yield _fact(
        "why", "; or ".join(verdict.diagnosis if verdict else []) or "none of the known mistakes explains these numbers"
    )
    yield _command("  locate   ", bisect_command(run, record.name, asked))


def _fact(word: str, text: str) -> Text:
    return Text.assemble((f"  {printable(word):<10}", "red"), printable(text))


def _place(record: BackendRecord) -> str:
    """``first at step 3, in backward, w[0]``."""
    verdict = decisive(record)
    if verdict is None or verdict.first_step is None:
        return record.status
    phase = f"in {verdict.phase}" if verdict.phase else f"the {verdict.quantity}" if verdict.quantity else ""
    return ", ".join(filter(None, (f"first at step {verdict.first_step}", phase, verdict.coordinate)))


def _size(record: BackendRecord) -> str:
    """``off by 9.4e-04, 6e+06 times its tolerance 1.7e-10``; without such a number the verdict's own message."""
    verdict = decisive(record)
    if verdict is None or verdict.observed is None or verdict.tolerance is None:
        return record.reason if verdict is None else verdict.message
    observed, allowed = float(verdict.observed), float(verdict.tolerance)
    if not math.isfinite(observed):
        return verdict.message
    times = f"{observed / allowed:.2g} times its tolerance {allowed:.2g}" if allowed else "where nothing is allowed"
    return f"off by {observed:.2g}, {times}"


def _failures(run: Run) -> Iterator[str]:
    """Why a backend gave no numbers, or no numbers that can be judged, and where its log is."""
    for record in run.records.values():
        if record.status == "undecidable":
            yield f"{record.name}: {cells.describe_outcome(record)}"
    for failure in facts.failures(run):
        log = f"; log: {run.path / failure.logs[0]}" if failure.logs else ""
        yield f"{failure.name} {failure.status}: {failure.reason}{log}"


# --- the next command ---------------------------------------------------------------------------------------


def bisect_command(run: Run, name: str, asked: str) -> str:
    """The command that finds the first wrong step, phase and coordinate, with a backend that agrees as the partner."""
    good = [record.name for record in run.records.values() if record.status == "ok"]
    baseline = [candidate for candidate in good if candidate == run.manifest.baseline]
    partner = next(candidate for candidate in (*baseline, *good, "numpy", "autograd") if candidate != name)
    return f"{shlex.join(['compare-ag', 'bisect', name, partner])}{asked and ' '}{asked}"


def problem_options(run: Run) -> str:
    """The options that make a run's problem again. The path of a user's own data is not in the records."""
    p = run.manifest.problem
    default = SEED_DEFAULTS if p.name == "seed" else DEFAULTS
    parameters = ",".join(f"{name}={_exactly(value)}" for name, value in p.parameters.items())
    chosen = ["--problem", f"{p.name}:{parameters}" if parameters else p.name] if p.name != "seed" else []
    if p.name not in PROBLEM_NAMES:
        chosen = ["--data", p.name, "--target", "COLUMN"]
    rate, l2 = (_exactly(str(np.dtype(p.dtype).type(value))) for value in (p.learning_rate, p.l2))
    for option, value, usual in (
        ("--loss", p.loss, default.loss),
        ("--l2", l2, "0"),
        ("--steps", p.steps, default.steps),
        ("--lr", rate, rate if p.learning_rate_source != "given" else ""),
        ("--dtype", p.dtype, default.dtype),
        ("--batch-size", p.batch_size, None),
        ("--seed", p.seed, 0),
        ("--threads", p.threads, 1),
    ):
        if value != usual:
            chosen += [option, str(value)]
    return shlex.join(chosen)


def _exactly(value: float | str) -> str:
    """The shortest text that is read back as this number."""
    return str(value).removesuffix(".0")


def _next(run: Run, asked: str) -> tuple[str, str]:
    """What to try next: (label, command)."""
    failed = [record.name for record in run.records.values() if record.status in WRONG | FAILED]
    names = shlex.quote(",".join(run.records))
    options = f"{asked and ' '}{asked}"
    if failed:
        return "What fails first:", f"compare-ag check {shlex.quote(failed[0])}"
    if any(record.status == "imported" for record in run.records.values()):
        return "Ratios with intervals:", f"compare-ag run --backends {names}{options}"
    undecidable = any(record.status == "undecidable" for record in run.records.values())
    if undecidable and run.manifest.problem.loss == "probability":
        return "Once more in the stable form:", f"compare-ag run --backends {names}{options} --loss logits"
    return "What each backend records for the loss:", f"compare-ag graph --backends {names}{options}"
