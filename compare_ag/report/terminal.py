"""The complete report of a run's records in the terminal, printed with `--details`. The short form is `screen`.

Reads a `records.Run` and gives rich renderables; a run just made and its files years later give the same tables. Text
that a plugin may have written (names, reasons) is shown as plain text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from compare_ag.records import Run
from compare_ag.report import cells, charts, facts, tables
from compare_ag.report.grid import Grid, add_title, draw_table, plain_table
from compare_ag.report.plot import Beside, Plot
from compare_ag.report.summary import answer_sentences
from compare_ag.report.units import sparkline
from compare_ag.text import printable


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
    yield definitions("Problem", [*facts.problem(run), *facts.environment(run)[:1]])
    yield draw_table(tables.verdicts(run))
    losses, weights = tables.losses(run), tables.weights(run)
    if weights is not None:
        yield draw_table(weights)
    if losses is not None:
        yield draw_table(losses)
        yield courses(run)
    if cells.costs(run):
        cost = (tables.speed(run), tables.timing(run), tables.pairs(run), tables.phases(run))
        for table in (*cost, tables.once(run), tables.memory(run)):
            if table is not None:
                yield draw_table(table)
    yield definitions("How each number was made", list(facts.method(run)))
    yield definitions("The backends", facts.backends(run))
    yield from remarks(run)


def answer(run: Run) -> Text:
    """One to three sentences: which backends agree, which is fastest and by how much, which failed."""
    style = "bold green" if run.exit_code == 0 else "bold red"
    return Text(" ".join(answer_sentences(run)), style=style)


def definitions(title: str, known: Sequence[facts.Fact]) -> Group:
    """A list of words with the fact of each."""
    table = plain_table()
    table.show_header = False
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for word, fact in known:
        table.add_row(Text(f"  {printable(word)}"), Text(printable(fact)))
    return add_title(title, table)


def courses(run: Run) -> Group:
    """The course of each loss in one line, and two plots: losses, and their distance from the reference."""
    judged = cells.judged_backends(run)
    lines = Grid("backend", "course of the loss", words=2)
    for name in judged:
        lines.add_row(printable(name), sparkline(run.arrays(name)["losses"]))
    return Group(lines, Text(), plots(run))


def plots(run: Run) -> Beside:
    """The losses over each other, and the distance of each from the reference, with the bound."""
    return Beside([Plot(chart) for chart in (charts.losses(run), charts.difference(run)) if chart is not None])


def remarks(run: Run) -> Iterator[Text]:
    """Failures with their logs, warnings of backends and of the run."""
    lines = [f"warning: {text}" for text in facts.warnings(run)]
    for failure in facts.failures(run):
        lines.append(
            f"{failure.name}: {failure.status}, {failure.reason}" + (f" ({failure.where})" if failure.where else "")
        )
        lines += [f"  log: {run.path / log}" for log in failure.logs]
    if lines:
        yield Text("\n".join(map(printable, lines)), style="yellow")
