"""Markdown to paste: a run into an issue or a paper, a comparison into a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compare_ag.compare import Comparison
from compare_ag.records import Run
from compare_ag.report import comparison as changes
from compare_ag.report import facts
from compare_ag.report.cells import costs, describe_outcome, no_ranks
from compare_ag.report.escape import markdown
from compare_ag.report.summary import answer_sentences
from compare_ag.report.table import Table
from compare_ag.report.tables import results


def pipe_table(table: Table[Any]) -> str:
    """A table of data, in Markdown."""
    marks = [":--" if column.left else "--:" for column in table.columns]
    rows = [[cell if cell == "n/a" else markdown(cell) for cell in row] for row in table.texts()]
    heads = [markdown(column.head) if column.named else column.head for column in table.columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows))


# --- a run --------------------------------------------------------------------------------------------------


def run_markdown(run: Run) -> str:
    """The answer, a table, failures, and the line on environment and method, short enough for an issue or a paper."""
    parts = [f"**{' '.join(answer_sentences(run, markdown))}**", pipe_table(results(run))]
    if reasons := list(_reasons(run)):
        parts.append("\n".join(f"- {line}" for line in reasons))
    parts.append("\n".join(_footnotes(run)))
    return "\n\n".join(parts) + "\n"


def _reasons(run: Run) -> Iterator[str]:
    """Everything that needs attention, in the order of the terminal's report."""
    for record in run.records.values():
        if record.status in ("ok", "imported"):
            continue
        outcome = describe_outcome(record)
        yield f"{markdown(record.name)}: {markdown(record.status)}" + (f", {markdown(outcome)}" if outcome else "")
    for name, why in no_ranks(costs(run)):
        yield f"{markdown(name)} {markdown(why)}"
    for text in facts.warnings(run):
        yield f"warning: {markdown(text)}"


def _footnotes(run: Run) -> Iterator[str]:
    """The problem, how it was measured, the machine and the versions: one line each, for the small print."""
    p, machine, speed = run.manifest.problem, run.manifest.environment, run.manifest.speed
    batch = "full batch" if p.batch_size is None else f"batches of {p.batch_size}"
    yield (
        f"Problem: {markdown(p.name)}, {p.examples} examples × {p.features} features, {markdown(p.dtype)}, "
        f"{p.steps} steps, {batch}, {markdown(p.loss)} loss, l2 {p.l2:g}, learning rate {p.learning_rate:g}.  "
    )
    if run.manifest.reference:
        yield f"Compared with {markdown(run.manifest.reference)}.  "
    if speed is not None and speed.mode != "pytest-benchmark":
        floor = "" if speed.noise_floor is None else f", noise floor {speed.noise_floor:.1%}"
        yield (
            f"Timed: {speed.launches} launches of fresh processes, {speed.threads} "
            f"thread{'s' if speed.threads > 1 else ''}, margin {speed.margin:.0%}{floor}.  "
        )
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    where = f"{machine.cpu}, {machine.logical_cpus} CPUs, {machine.system}, {machine.implementation} {machine.python}"
    yield f"Environment: {markdown(where)}; {markdown(libraries)}; {markdown(run.manifest.created[:10])}."


# --- a comparison -------------------------------------------------------------------------------------------


def comparison_markdown(comparison: Comparison) -> str:
    """A comment for a pull request: the answer, then tables, with the less important tables folded away."""
    good = comparison.exit_code == 0
    parts = [
        f"### compare-ag: {'pass' if good else 'changes that should not pass'}",
        changes.headline(comparison, markdown),
    ]
    if comparison.regressions:
        parts.append("\n".join(f"- {markdown(sentence)}" for sentence in comparison.regressions))
    if undecided := list(changes.undecided_sentences(comparison)):
        parts.append("\n".join(f"- {markdown(sentence)}" for sentence in undecided))
    if comparison.alike:
        parts.append(f"> **{markdown(comparison.alike)}**")
    if comparison.times_differ:
        first, *reasons = changes.explain_missing_times(comparison)
        parts.append("\n".join([f"> **{first}**", *(f"> - {markdown(reason)}" for reason in reasons)]))
    parts.append(pipe_table(changes.changes(comparison)))
    notes = [*map(markdown, changes.speed_notes(comparison))]
    parts.append("<details><summary>accuracy, memory, versions, method</summary>")
    parts += [pipe_table(changes.accuracy(comparison)), pipe_table(changes.memory(comparison))]
    if (differing := changes.what_else(comparison)).rows:
        parts.append(pipe_table(differing))
    parts.append("\n".join(f"- {note}" for note in [changes.ACCURACY_NOTE, *notes]))
    parts.append("</details>")
    return "\n\n".join(parts) + "\n"
