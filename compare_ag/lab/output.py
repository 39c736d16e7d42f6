"""The lab in a terminal: the matrix of questions and backends, and the full view of a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from compare_ag.lab.question import as_text
from compare_ag.records import real
from compare_ag.report.grid import GAP, plain_table
from compare_ag.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from compare_ag.lab.interview import Interview, Reply
    from compare_ag.lab.question import Question

LEAST_COLUMN = 15
"""least columns of a backend; below, the matrix is cut into several"""
_STYLES = {"not-applicable": "dim", "unanswered": "dim", "failed": "bold red", "malformed": "bold red"}
_CELLS = {"not-applicable": "n/a", "unanswered": "–"}


class Matrix:
    """A row for each question, a column for each backend; cut into parts where they do not fit side by side."""

    def __init__(self, questions: Sequence[Question], interviews: Sequence[Interview]) -> None:
        self._questions = questions
        self._interviews = interviews

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first = max(len(question.id) for question in self._questions)
        beside = max(1, (options.max_width - first) // (LEAST_COLUMN + GAP))
        for start in range(0, len(self._interviews), beside):
            if start:
                yield Text()
            yield from self._part(first, self._interviews[start : start + beside])

    def _part(self, first: int, interviews: Sequence[Interview]) -> Iterator[RenderableType]:
        groups = dict.fromkeys(question.group for question in self._questions)
        table = plain_table()
        table.add_column("", min_width=first, no_wrap=True)
        for interview in interviews:
            table.add_column(Text(printable(interview.name)), ratio=1, overflow="fold")
        for number, group in enumerate(groups):
            if number:
                table.add_row()
            table.add_row(Text(group, style="bold"))
            for question in self._questions:
                if question.group == group:
                    table.add_row(question.id, *(cell(interview.replies[question.id]) for interview in interviews))
        yield table


class Code:
    """Python code, coloured in a terminal and plain on a pipe."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if console.is_terminal:
            yield Syntax(self._code, "python", theme="ansi_dark", background_color="default", word_wrap=True)
        else:
            yield Text(self._code)


def cell(reply: Reply) -> Text:
    """A reply in a few words."""
    text = reply.finding.cell if reply.finding is not None else _CELLS.get(reply.status, reply.status)
    return Text(printable(text), style=_STYLES.get(reply.status, ""))


def full(question: Question, interviews: Sequence[Interview]) -> Iterator[RenderableType]:
    """A question in full: its sentence, and for each backend the code, its results and the finding."""
    yield Text.assemble((question.id, "bold"), "  ", question.asks)
    for interview in interviews:
        reply = interview.replies[question.id]
        versions = ", ".join(f"{name} {version}" for name, version in interview.versions.items())
        yield Text()
        yield Text.assemble((printable(interview.name), "bold cyan"), f"  {printable(versions)}" if versions else "")
        yield from (Padding(part, (0, 0, 0, 2), expand=False) for part in _parts(reply))


def _parts(reply: Reply) -> Iterator[RenderableType]:
    for code in filter(None, (reply.helpers, reply.code)):
        yield Padding(Code(printable_code(code)), (0, 0, 1, 0), expand=False)
    if reply.outcome is not None:
        yield from (Text(line, style="dim") for line in outcome_lines(reply))
    yield Text.assemble(("→ ", "bold"), Text(sentence(reply), style=_STYLES.get(reply.status, "bold")))


def outcome_lines(reply: Reply) -> Iterator[str]:
    """The code's output, warnings, exception and evidence, line by line."""
    assert reply.outcome is not None
    for line in reply.outcome.printed.splitlines():
        yield f"printed  {printable(line)}"
    for line in reply.outcome.warned:
        yield f"warned   {printable(line)}"
    if reply.outcome.raised is not None:
        yield f"raised   {printable(reply.outcome.raised.line)}"
    for name, value in reply.outcome.evidence.items():
        shown = f"{value:.15g}" if isinstance(value, float) else as_text(value)  # 18.0000000004 must not look like 18
        yield f"{name} = {printable(shown)}"


def sentence(reply: Reply) -> str:
    """A reply in one sentence."""
    if reply.finding is not None:
        return printable(reply.finding.sentence)
    template = {
        "not-applicable": "Not applicable: {}.",
        "unanswered": "Not answered: {}.",
        "failed": "Failed: {}.",
        "malformed": "Malformed: {}.",
    }[reply.status]
    return template.format(printable(reply.reason).rstrip("."))


def show(console: Console, part: RenderableType) -> None:
    """Print a part. Except in a terminal, remove the spaces with which rich pads each line to the width."""
    if console.is_terminal:
        console.print(part)
        return
    with console.capture() as captured:
        console.print(part)
    console.file.write("".join(f"{line.rstrip(' ')}\n" for line in captured.get().splitlines()))


def printable_code(code: str) -> str:
    """Code for a terminal: its lines, without anything that moves the cursor."""
    return "\n".join(printable(line.replace("\t", "    ")) for line in code.splitlines())


def document(questions: Sequence[Question], interviews: Sequence[Interview]) -> dict[str, Any]:
    """Everything as plain data for JSON; numbers that are not finite as texts."""
    return {
        "questions": [_question(question) for question in questions],
        "backends": [
            {
                "name": interview.name,
                "versions": interview.versions,
                "reason": interview.failure,
                "unknown": list(interview.unknown),
            }
            for interview in interviews
        ],
        "answers": [
            _answer(interview.name, interview.replies[question.id])
            for question in questions
            for interview in interviews
        ],
    }


def _question(question: Question) -> dict[str, Any]:
    fields = [{"name": name, **asdict(field)} for name, field in question.evidence.items()]
    return {"id": question.id, "group": question.group, "asks": question.asks, "evidence": fields}


def _answer(name: str, reply: Reply) -> dict[str, Any]:
    outcome = reply.outcome
    return {
        "question": reply.question.id,
        "backend": name,
        "status": reply.status,
        "cell": reply.finding.cell if reply.finding else "",
        "sentence": sentence(reply),
        "reason": reply.reason,
        "helpers": reply.helpers,
        "code": reply.code,
        "evidence": {} if outcome is None else {key: _safe(value) for key, value in outcome.evidence.items()},
        "raised": outcome.raised.line if outcome and outcome.raised else "",
        "printed": outcome.printed if outcome else "",
        "warnings": list(outcome.warned) if outcome else [],
        "seconds": reply.seconds,
    }


def _safe(value: Any) -> Any:
    if isinstance(value, list):
        return [_safe(element) for element in value]
    return real(value) if isinstance(value, float) else value
