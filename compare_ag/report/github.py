"""The formats that GitHub's runner reads in a job's output: annotations, and the Markdown of the job's summary.

An annotation is a line ``::error title=T::message`` or ``::warning …``. The characters that would end such a line or
begin another are written as GitHub's own escapes, so that text of plugins can do neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from compare_ag.records import BackendRecord, Run, decisive
from compare_ag.report.cells import costs, describe_outcome, no_ranks
from compare_ag.report.escape import clean
from compare_ag.report.markdown import run_markdown


def annotation(level: Literal["error", "warning", "notice"], title: str, message: str) -> str:
    """One annotation as a line without its end."""
    name = _escape(clean(title)).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{_escape(clean(message))}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def run_annotations(run: Run) -> Iterator[str]:
    """An error for each backend that disagrees or failed, a warning for each remark on the run."""
    for record in run.records.values():
        if record.status not in ("ok", "imported"):
            yield annotation("error", f"compare-ag: {record.name}: {record.status}", _message(record))
    for record in run.records.values():
        for text in record.warnings:
            yield annotation("warning", f"compare-ag: {record.name}", text)
    for name, reason in no_ranks(costs(run)):
        yield annotation("warning", f"compare-ag: {name} has no rank", f"{name} {reason}")
    for text in run.manifest.warnings:
        yield annotation("warning", "compare-ag", text)
    if run.manifest.speed is not None:
        for remark in run.manifest.speed.warnings:
            yield annotation("warning", "compare-ag: timing", f"{remark.message}. {remark.advice}")


def _message(record: BackendRecord) -> str:
    """The reason or the verdict, with the known mistakes that would explain the numbers."""
    verdict = decisive(record)
    diagnosis = [] if verdict is None else verdict.diagnosis
    return "; ".join([describe_outcome(record) or record.status, *diagnosis])


def run_summary(run: Run) -> str:
    """The run for the page of the job."""
    good = run.exit_code == 0
    return f"### compare-ag: {'all backends agree' if good else 'not all backends agree'}\n\n{run_markdown(run)}\n"
