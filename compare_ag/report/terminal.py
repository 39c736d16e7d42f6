"""A run in the terminal: the answer first, then weights, losses, speed, and what to be careful about.

Reads a `records.Run` and gives rich renderables; the same tables come from a run just made and from its files
years later. Everything that a plugin may have written (names, reasons) is shown as plain text, never as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from compare_ag.model import logistic
from compare_ag.records import FAILED, BackendRecord, Run, TestRecord
from compare_ag.report import cells
from compare_ag.report.grid import Grid, plain_table
from compare_ag.report.plot import Beside, Plot, scale_of
from compare_ag.report.speed import fastest, listing, speed_sections, titled
from compare_ag.report.units import Array, difference, sparkline
from compare_ag.text import printable

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
    if cells.judged(run):
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
        table.add_row(_backend(record), _status(record), Text(printable(cells.found(record))))
    return titled("Verdicts", table)


def tests(run: Run) -> Group:
    """Each test's largest observed/tolerance, for each backend."""
    table = Grid("backend", *cells.TESTS, "examples", "repeated run")
    undecided = False
    for record in run.records.values():
        for how, verdict in cells.judgements(record):
            if not verdict.tests:
                continue
            found = {test.test: test for test in verdict.tests}
            undecided |= any(test.undecided for test in verdict.tests)
            outcomes = [_outcome(found.get(name)) for name in cells.TESTS]
            repeated = "n/a" if how else cells.repeated(record)
            table.add_row(f"{printable(record.name)}{how}", *outcomes, cells.examples(verdict), repeated)
    notes = [
        "in brackets how many numbers or steps were decided; above 1 is out of tolerance",
        "examples: how many took part in decided evaluations of the gradient, each evaluation counted",
    ]
    if undecided:
        notes.append("what was not decided has an infinite tolerance, as where the probability form saturates")
    if any(record.repetition is not None and record.repetition.differing for record in run.records.values()):
        notes.append(cells.REPEATED_NOTE)
    if run.manifest.reference:
        notes.append(f"compared with {printable(run.manifest.reference)}")
    return titled("Tests: largest observed/tolerance", table, "\n".join(notes))


def _outcome(test: TestRecord | None) -> Text:
    return Text(cells.outcome(test), style="red" if test is not None and test.findings else "")


def _backend(record: BackendRecord) -> Text:
    versions = " ".join(f"{name} {version}" for name, version in record.versions.items())
    return Text(printable(record.name)).append(f" ({printable(versions)})" if versions else "", style="dim")


def _status(record: BackendRecord) -> Text:
    return Text(printable(record.status), style=_STYLES.get(record.status, "red"))


def final_weights(run: Run) -> Group:
    """Final w and b of every backend beside the reference's, and the distance to it."""
    features, indices = run.manifest.problem.features, cells.weights_shown(run)
    *names, last = logistic(features).coordinates
    heads = [names[i] for i in indices]
    gap = len(indices) < features
    if gap:
        heads.insert(-1, "…")
    title = f"Final weights after {run.manifest.problem.steps} steps"
    if gap:
        title += f" ({len(indices)} of {features} features; all are in the run directory)"
    table = Grid("", *heads, last, "distance to reference", "tolerance")

    def numbers(w: Array, b: float) -> list[str]:
        row = [cells.weight(w[i]) for i in indices]
        if gap:
            row.insert(-1, "…")
        return [*row, cells.weight(b)]

    if run.reference:
        table.add_row("reference", *numbers(run.reference["final_w"], run.reference["final_b"].item()), "", "")
    for name, w, b, ends in cells.final_weights(run):
        table.add_row(printable(name), *numbers(w, b), *ends)
    largest = run.manifest.max_pair_difference
    note = "" if largest is None else f"largest difference between two backends: {difference(largest)}"
    return titled(title, table, note)


def losses(run: Run) -> RenderableType:
    """Loss at evenly spaced steps side by side, or beside the published table; a sparkline; did it converge."""
    judged = cells.judged(run)
    published = [name for name in judged if run[name].published]
    table = _published_losses(run, published) if published else _spaced_losses(run, judged)
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
        with np.errstate(over="ignore", invalid="ignore"):
            off = {name: np.abs(values - exact[: len(values)]) for name, values in losses.items()}
        tolerance = run.reference["loss_tolerance"]
        drawn.append(Plot("|loss - reference| over steps (log scale)", off, tolerance, log=True, peaks=True))
    return Beside(drawn)


def _spaced_losses(run: Run, judged: list[str]) -> Group:
    table = Grid("k", *map(printable, judged), "reference", "tolerance", words=0)
    reference, allowed = run.reference.get("losses"), run.reference.get("loss_tolerance")
    for k in cells.loss_steps(run):
        row = [cells.loss(run.arrays(name).get("losses"), k) for name in judged]
        row += [cells.loss(reference, k), cells.tolerance(allowed, k)]
        table.add_row(str(k), *row)
    return titled(cells.losses_title(run), table)


def _published_losses(run: Run, names: list[str]) -> Group:
    """The published table beside each backend's losses; a star marks a loss that is too far off."""
    table = Grid("epoch", "published", *map(printable, names), "largest difference", words=0)
    missed = False
    for row, mine, largest in cells.published(run, names):
        missed |= not all(own.reproduced for own in mine)
        shown = [
            Text(f"{float(own.observed):.8f}" + ("" if own.reproduced else "*"), style="" if own.reproduced else "red")
            for own in mine
        ]
        table.add_row(str(row.step - 1), f"{row.published:.8f}", *shown, largest)
    return titled(cells.published_title(run), table, "* not reproduced" if missed else "")


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
