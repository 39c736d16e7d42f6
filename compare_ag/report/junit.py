"""JUnit's XML, which CI servers show as a table of tests: of a run, or of any suites of cases.

The dialect is the part that CI servers have in common: `testsuites`, `testsuite`, `testcase` with at most one
`failure`, `error` or `skipped`. A *failure* is a number that is wrong or cannot be certified, an *error* a backend that
gave no numbers. Characters of a plugin's text that XML cannot hold are escaped, and paths of the machine are removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias
from xml.etree import ElementTree

from compare_ag.records import FAILED, JUDGED, BackendRecord, Run, VerdictRecord, decisive
from compare_ag.report.cells import describe_outcome
from compare_ag.report.escape import clean
from compare_ag.report.units import fraction
from compare_ag.text import printable, without_paths

Outcome: TypeAlias = Literal["passed", "failure", "error", "skipped"]


class Case(NamedTuple):
    """One row of the table."""

    name: str
    outcome: Outcome = "passed"
    kind: str = ""
    """the status in a word"""
    message: str = ""
    """one line"""
    text: str = ""
    """several lines: advice, or the end of a worker's log"""
    seconds: float = 0.0


class Suite(NamedTuple):
    """The cases of one backend."""

    name: str
    cases: Sequence[Case]
    properties: Sequence[tuple[str, str]] = ()
    created: str = ""
    """ISO 8601"""


def junit(title: str, suites: Sequence[Suite]) -> bytes:
    """The document. ``title`` is the first part of every case's class name."""
    everything = [case for suite in suites for case in suite.cases]
    root = ElementTree.Element("testsuites", {"name": clean(title), **_counts(everything)})
    for suite in suites:
        element = ElementTree.SubElement(root, "testsuite", {"name": clean(suite.name), **_counts(suite.cases)})
        if suite.created:
            element.set("timestamp", clean(suite.created))
        if suite.properties:
            listed = ElementTree.SubElement(element, "properties")
            for name, value in suite.properties:
                ElementTree.SubElement(listed, "property", name=clean(name), value=clean(value))
        for case in suite.cases:
            _add(element, f"{title}.{suite.name}", case)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    """The attributes that count the cases of each kind and sum their times."""
    count = {name: sum(case.outcome == name for case in cases) for name in ("failure", "error", "skipped")}
    return {
        "tests": str(len(cases)),
        "failures": str(count["failure"]),
        "errors": str(count["error"]),
        "skipped": str(count["skipped"]),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _add(suite: ElementTree.Element, owner: str, case: Case) -> None:
    element = ElementTree.SubElement(
        suite, "testcase", classname=clean(owner), name=clean(case.name), time=f"{case.seconds:.3f}"
    )
    if case.outcome == "passed":
        return
    reason = ElementTree.SubElement(element, case.outcome, message=clean(case.message))
    if case.outcome != "skipped":
        reason.set("type", clean(case.kind))
    reason.text = "\n".join(printable(without_paths(line)) for line in case.text.splitlines()) or None


# --- a run --------------------------------------------------------------------------------------------------


def run_junit(run: Run) -> bytes:
    """A suite for each backend: its verdict, then each of its tests."""
    title = f"compare-ag.run.{run.manifest.problem.name}"
    return junit(title, [_suite(run, record) for record in run.records.values()])


def _suite(run: Run, record: BackendRecord) -> Suite:
    versions = [("version", record.version), *record.versions.items()]
    return Suite(record.name, list(_cases(record)), versions, run.manifest.created)


def _cases(record: BackendRecord) -> Iterator[Case]:
    """The verdict with everything that decided it, then each test of the verbs and of the backend's own fused step."""
    yield Case(
        "verdict",
        _outcome(record.status),
        record.status,
        describe_outcome(record) or record.status,
        "\n".join(_details(record)),
        record.train_seconds or 0.0,
    )
    for prefix, verdict in (("", record.verdict), ("fused step: ", record.fused_verdict)):
        for test in [] if verdict is None else verdict.tests:
            message = f"{fraction(test.ratio)} of its tolerance; {test.judged} judged, {test.undecided} undecided"
            outcome: Outcome = "failure" if test.findings else "passed"
            yield Case(f"{prefix}{test.test}", outcome, "disagree", message, "\n".join(test.findings))


def _outcome(status: str) -> Outcome:
    if status in ("ok", "imported"):
        return "passed"
    if status in JUDGED:
        return "failure"
    return "error" if status in FAILED else "skipped"


def _details(record: BackendRecord) -> Iterator[str]:
    verdict: VerdictRecord | None = decisive(record)
    if verdict is not None and verdict.status != "agrees":
        yield verdict.message
        yield from (f"would explain it: {text}" for text in verdict.diagnosis)
    yield from record.warnings
