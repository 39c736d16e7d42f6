"""A run in the terminal: the answer first, then weights, losses, speed, and what to be careful about.

Reads a `records.Run` and gives rich renderables; the same tables come from a run just made and from its files
years later. Everything that a plugin may have written (names, reasons) is shown as plain text, never as markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from compare_ag.records import FAILED, JUDGED, BackendRecord, Run, TestRecord, decisive
from compare_ag.report.grid import Grid, plain_table
from compare_ag.report.plot import Beside, Plot, scale_of
from compare_ag.report.speed import fastest, listing, speed_sections, titled
from compare_ag.report.units import Array, difference, fraction, sparkline
from compare_ag.text import printable

WEIGHTS_SHOWN = 6
LOSS_ROWS = 11
TESTS = ("gradient", "step", "update", "trajectory", "loss")
_STYLES = {"ok": "green", "undecidable": "yellow", "cancelled": "yellow", "not-run": "yellow", "imported": "green"}


def print_run(run: Run, console: Console) -> None:
    """Print everything, the path of the run directory last."""
    for part in sections(run):
        console.print(part)
        console.print()
    if (run.path / "report.html").is_file():
        console.print(Text("The same with charts: report.html in this directory"))
    console.print(Text(f"Run kept in {printable(str(run.path))}"), soft_wrap=True)


def sections(run: Run) -> Iterator[RenderableType]:
    """The report's parts, in reading order."""
    yield answer(run)
    yield problem(run)
    yield verdicts(run)
    if any(record.verdict is not None and record.verdict.tests for record in run.records.values()):
        yield tests(run)
    if any(record.status in JUDGED for record in run.records.values()):
        yield final_weights(run)
        yield losses(run)
    yield from speed_sections(run)
    yield from remarks(run)


# --- the answer ---------------------------------------------------------------------------------------------


def answer(run: Run) -> Text:
    """One to three sentences: who agrees, who is fastest and by how much, who failed."""
    style = "bold green" if run.exit_code == 0 else "bold red"
    return Text(" ".join(answer_sentences(run)), style=style)


def answer_sentences(run: Run, shown: Callable[[str], str] = printable) -> Iterator[str]:
    """The answer's sentences; ``shown`` makes names harmless where they go."""
    if run.manifest.state != "complete":
        yield "This run did not finish: it was ended before every backend had been compared."
    yield from _agreement(run, shown)
    yield from fastest(run, shown)


def _agreement(run: Run, shown: Callable[[str], str]) -> Iterator[str]:
    def names(records: Sequence[BackendRecord]) -> str:
        return listing([shown(record.name) for record in records])

    good = [record for record in run.records.values() if record.status == "ok"]
    rows = [record for record in run.records.values() if record.status != "ok"]
    if good and not rows:
        who = names(good) + (" agrees" if len(good) == 1 else " agree")
        steps = run.manifest.problem.steps
        span = f"all {steps} steps" if steps > 1 else "the one step"
        yield f"{who} with the reference over {span}, within rounding error."
    elif good:
        yield f"{names(good)} {'agrees' if len(good) == 1 else 'agree'} with the reference."
    imported = [record for record in rows if record.status == "imported"]
    if imported:
        yield f"{names(imported)}: timed by pytest-benchmark, after a check of the numbers."
    for status in dict.fromkeys(record.status for record in rows if record.status != "imported"):
        yield f"{names([record for record in rows if record.status == status])}: {shown(status)}."
    if run.manifest.consensus_is_wrong:
        yield "The consensus is wrong: they agree with each other, but not with the exact result."
    published = [record for record in run.records.values() if record.published]
    if published:
        missed = [record for record in published if not all(row.reproduced for row in record.published)]
        count = len(published[0].published)
        losses = "The published loss is" if count == 1 else f"All {count} published losses are"
        if missed:
            yield f"The published losses are not reproduced by {names(missed)}."
        else:
            yield f"{losses} reproduced" + (f" by all {len(published)}." if len(published) > 1 else ".")


# --- tables -------------------------------------------------------------------------------------------------


def problem(run: Run) -> Group:
    """What was trained, with every default written out."""
    p = run.manifest.problem
    machine = run.manifest.environment
    batch = "full batch" if p.batch_size is None else f"batches of {p.batch_size}"
    parameters = ", ".join(f"{printable(name)}={float(value):g}" for name, value in p.parameters.items())
    title = f"Problem {printable(p.name)}{f' ({parameters})' if parameters else ''}: {printable(p.description)}"
    facts = {
        "data": f"{p.examples} examples x {p.features} features, {printable(p.dtype)}; "
        f"labels {printable(p.label_names[0])} -> 0, {printable(p.label_names[1])} -> 1",
        "training": f"{p.steps} steps, {batch}, loss {printable(p.loss)}, l2 {p.l2:g}, "
        f"learning rate {p.learning_rate:g} ({printable(p.learning_rate_source)}), seed {p.seed}, threads {p.threads}",
        "start": printable(p.start),
        "machine": printable(f"{machine.cpu}, {machine.logical_cpus} CPUs, {machine.system}, Python {machine.python}"),
    }
    table = plain_table()
    table.show_header = False
    for word, fact in facts.items():
        table.add_row(f"  {word}", Text(fact))
    return Group(Text(title), table)


def verdicts(run: Run) -> Group:
    """Each backend's verdict, or the reason why it has none."""
    table = plain_table()
    for head in ("backend", "status", "what was found"):
        table.add_column(head, overflow="fold")
    for record in run.records.values():
        verdict = decisive(record)
        found = record.reason or (verdict.message if verdict is not None else "")
        if verdict is not None and verdict.diagnosis:
            found += f". What would explain it: {'; or '.join(verdict.diagnosis)}"
        if verdict is not None and verdict.remark:
            found += f". Note: {verdict.remark}"
        table.add_row(_backend(record), _status(record), Text(printable(found)))
    return titled("Verdicts", table)


def tests(run: Run) -> Group:
    """Each test's largest observed/tolerance, for each backend."""
    table = Grid("backend", *TESTS, "repeated run")
    undecided = False
    for record in run.records.values():
        for verdict, how in ((record.verdict, ""), (record.fused_verdict, ", fused step")):
            if verdict is None or not verdict.tests:
                continue
            found = {test.test: test for test in verdict.tests}
            cells = [_outcome(found.get(name)) for name in TESTS]
            undecided |= any(test.undecided for test in verdict.tests)
            repeated = {None: "", True: "same bits", False: "other bits"}[None if how else record.repeatable]
            table.add_row(f"{printable(record.name)}{how}", *cells, repeated)
    notes = ["in brackets how many numbers or steps were judged; above 1 is out of tolerance"]
    if undecided:
        notes.append("* more were undecidable: their tolerance is infinite, as where the probability form saturates")
    if run.manifest.reference:
        notes.append(f"compared with {printable(run.manifest.reference)}")
    return titled("Tests: largest observed/tolerance", table, "\n".join(notes))


def _outcome(test: TestRecord | None) -> Text:
    if test is None:
        return Text("n/a")
    star = "*" if test.undecided else ""
    return Text(f"{fraction(test.ratio)} ({test.judged}){star}", style="red" if test.findings else "")


def _backend(record: BackendRecord) -> Text:
    versions = " ".join(f"{name} {version}" for name, version in record.versions.items())
    return Text(printable(record.name)).append(f" ({printable(versions)})" if versions else "", style="dim")


def _status(record: BackendRecord) -> Text:
    return Text(printable(record.status), style=_STYLES.get(record.status, "red"))


def final_weights(run: Run) -> Group:
    """Final w and b of every backend beside the reference's, and the distance to it."""
    features = run.manifest.problem.features
    indices = list(range(features))
    if features > WEIGHTS_SHOWN:
        indices = [*range(WEIGHTS_SHOWN - 1), features - 1]
    heads = [f"w[{i}]" for i in indices]
    gap = features > WEIGHTS_SHOWN
    if gap:
        heads.insert(-1, "…")
    title = f"Final weights after {run.manifest.problem.steps} steps"
    if gap:
        title += f" ({len(indices)} of {features} features; all are in the run directory)"
    table = Grid("", *heads, "b", "distance to reference", "tolerance")

    def cells(w: Array, b: float) -> list[str]:
        row = [f"{float(w[i]):.7g}" for i in indices]
        if gap:
            row.insert(-1, "…")
        return [*row, f"{float(b):.7g}"]

    if run.reference:
        table.add_row("reference", *cells(run.reference["final_w"], run.reference["final_b"].item()), "", "")
    for name, record in run.records.items():
        arrays = run.arrays(name)
        if record.verdict is None or "final_w" not in arrays or arrays["final_w"].shape != (features,):
            continue
        verdict = decisive(record)
        assert verdict is not None
        which = "fused_" if verdict is record.fused_verdict else ""
        numbers = cells(arrays[f"{which}final_w"], arrays[f"{which}final_b"].item())
        distances = [verdict.weights_error, verdict.weights_tolerance]
        if verdict.status == "undecidable":  # those two are of the last step that could be compared
            distances = [None, None]
        shown = ("not judged" if value is None else difference(value) for value in distances)
        table.add_row(printable(name), *numbers, *shown)
    largest = run.manifest.max_pair_difference
    note = "" if largest is None else f"largest difference between two backends: {difference(largest)}"
    return titled(title, table, note)


def losses(run: Run) -> RenderableType:
    """Loss at evenly spaced steps side by side, or beside the published table; a sparkline; did it converge."""
    judged = [name for name, record in run.records.items() if record.status in JUDGED]
    published = next((record.published for record in run.records.values() if record.published), [])
    table = _published_losses(run, judged) if published else _spaced_losses(run, judged)
    courses = Grid("", "course of the loss", "convergence", words=3)
    for name in judged:
        trained = run[name].convergence
        said = "" if trained is None else printable(trained.message)
        courses.add_row(printable(name), sparkline(run.arrays(name)["losses"]), said)
    return Group(table, Text(), courses, Text(), plots(run, judged))


def plots(run: Run, judged: Sequence[str]) -> Beside:
    """The losses over each other, and how far each is from the reference, with the bound."""
    losses = {printable(name): run.arrays(name)["losses"].astype(np.float64) for name in judged}
    log = scale_of(list(losses.values()))
    drawn = [Plot("Loss over steps" + (" (log scale)" if log else ""), losses, log=log)]
    if run.reference and run.manifest.problem.steps > 1:
        exact = run.reference["losses"]
        with np.errstate(invalid="ignore"):
            off = {name: np.abs(values - exact[: len(values)]) for name, values in losses.items()}
        tolerance = run.reference["loss_tolerance"]
        drawn.append(Plot("|loss - reference| over steps (log scale)", off, tolerance, log=True, peaks=True))
    return Beside(drawn)


def _spaced_losses(run: Run, judged: list[str]) -> Group:
    steps = run.manifest.problem.steps
    count = min(LOSS_ROWS, steps + 1)
    shown = sorted({round(i * steps / max(1, count - 1)) for i in range(count)})
    what = "Loss of the step's batch" if run.manifest.problem.batch_size else "Loss"
    table = Grid("k", *map(printable, judged), "reference", "tolerance", words=0)
    reference, tolerance = run.reference.get("losses"), run.reference.get("loss_tolerance")
    for k in shown:
        row = [_loss(run.arrays(name)["losses"], k) for name in judged]
        expected = (
            ["", ""] if reference is None or tolerance is None else [_loss(reference, k), difference(tolerance[k])]
        )
        table.add_row(str(k), *row, *expected)
    return titled(f"{what} after k steps", table)


def _published_losses(run: Run, judged: list[str]) -> Group:
    """The published table beside each backend's losses; a star marks a loss that is too far off."""
    with_table = [name for name in judged if run[name].published]
    table = Grid("epoch", "published", *map(printable, with_table), "largest difference", words=0)
    for index, row in enumerate(run[with_table[0]].published):
        mine = [run[name].published[index] for name in with_table]
        cells = [
            Text(f"{float(own.observed):.8f}" + ("" if own.reproduced else "*"), style="" if own.reproduced else "red")
            for own in mine
        ]
        # max() would pass over a NaN: say it instead
        off = [float(own.difference) for own in mine]
        largest = math.nan if any(map(math.isnan, off)) else max(off)
        table.add_row(str(row.step - 1), f"{row.published:.8f}", *cells, difference(largest))
    allowed = run.manifest.problem.published_tolerance
    title = f"Published losses (epoch e is the loss after e + 1 updates); reproduced when within {allowed:g}"
    missed = any(not row.reproduced for name in with_table for row in run[name].published)
    return titled(title, table, "* not reproduced" if missed else "")


def _loss(values: Array, k: int) -> str:
    if k >= len(values):
        return "-"
    value = float(values[k])
    return f"{value:.8g}" if math.isfinite(value) else str(value)


def remarks(run: Run) -> Iterator[Text]:
    """Failures with their logs, warnings of backends and of the run."""
    lines = [f"warning: {printable(text)}" for text in run.manifest.warnings]
    if run.manifest.speed is not None:
        lines += [f"timing: {printable(one.message)}. {printable(one.advice)}" for one in run.manifest.speed.warnings]
    for record in run.records.values():
        lines += [f"warning: {printable(record.name)}: {printable(text)}" for text in record.warnings]
        if record.status in FAILED:
            source = f"{record.distribution} {record.version}, module {record.module}"
            who = f"backend '{printable(record.name)}' ({printable(source)})"
            lines.append(f"{who}: {printable(record.status)} - {printable(record.reason)}")
            lines += [f"  log: {printable(str(run.path / log))}" for log in record.logs]
    if lines:
        yield Text("\n".join(lines), style="yellow")
