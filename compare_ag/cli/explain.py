"""``compare-ag explain``: how each backend's autograd behaves, shown by running it; all topics, or one in full."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, TextIO

import click as plain_click

from compare_ag.cli.common import BackendNames, TrainingCommand, click, report_console
from compare_ag.cli.steps import Steps
from compare_ag.exit_codes import ExitCode
from compare_ag.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from compare_ag.lab.interview import Interview, Reply
    from compare_ag.lab.question import Question

SCHEMA = {"name": "compare-ag/explain", "major": 1, "minor": 0}
"""1.0: questions[] of id, group, asks, evidence[] of name, kind, meaning, optional; backends[] of name, versions,
reason, unknown; answers[] of question, backend, status, cell, sentence, reason, helpers, code, evidence, raised,
printed, warnings, seconds. With --list, backends and answers are empty"""

EPILOG = """Examples:
  compare-ag explain
  compare-ag explain accumulation
  compare-ag explain data-change --backends torch,autograd
  compare-ag explain --list
"""


class Topic(plain_click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """The id of a question."""

    name = "topic"

    def convert(self, value: str, param: plain_click.Parameter | None, ctx: plain_click.Context | None) -> str:
        """The id itself. Fails for an unknown id, with the nearest known one."""
        from compare_ag.lab import QUESTIONS

        if value not in QUESTIONS:
            import difflib

            close = difflib.get_close_matches(value, QUESTIONS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "`compare-ag explain --list` shows them."
            self.fail(f"there is no topic {printable(value)!r}; {hint}", param, ctx)
        return value

    def shell_complete(
        self, ctx: plain_click.Context, param: plain_click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Ids with their questions."""
        from click.shell_completion import CompletionItem

        from compare_ag.lab import QUESTIONS

        return [
            CompletionItem(question.id, help=question.asks)
            for question in QUESTIONS.values()
            if question.id.startswith(incomplete)
        ]


@click.command(cls=TrainingCommand, epilog=EPILOG)
@click.argument("topic", required=False, type=Topic(), metavar="[TOPIC]")
@click.option("--backends", type=BackendNames(), metavar="NAME,NAME", help="Which to ask; by default all available.")
@click.option(
    "--list", "listing", is_flag=True, help="Show what each topic asks; with a TOPIC, the evidence too. Run nothing."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; text for people goes to stderr.")
def explain(topic: str | None, backends: list[str] | None, listing: bool, as_json: bool) -> None:
    """Show what each backend's autograd does, by running it.

    Without a TOPIC: a matrix of all questions and backends. With one: the code that was run, what it printed or
    raised, and what that means.
    """
    from compare_ag.lab import QUESTIONS

    questions = QUESTIONS if topic is None else {topic: QUESTIONS[topic]}
    if listing:
        _list(questions, topic, file=sys.stderr if as_json else sys.stdout)
        if as_json:
            _print_json(questions, [])
        return
    from compare_ag.lab.interview import interview
    from compare_ag.lab.output import Matrix, full, show
    from compare_ag.suite import select

    offers = select(backends)
    with Steps() as steps:
        answered = itertools.count(1)

        def observe(name: str, reply: Reply) -> None:
            steps.show(f"{name}: {reply.question.id}", next(answered), len(offers) * len(questions))

        steps.show(f"starting {', '.join(offers)}")
        interviews = interview(offers, questions, list(QUESTIONS), observe, tick=steps.again)
    console = report_console(stderr=as_json)
    if topic is None:
        show(console, Matrix(list(questions.values()), interviews))
        console.print()
        console.print("Found by running code just now; `compare-ag explain TOPIC` shows what ran.", style="dim")
    else:
        for part in full(questions[topic], interviews):
            show(console, part)
    _say_what_is_wrong(interviews, in_full=topic is not None)
    if as_json:
        _print_json(questions, interviews)
    broken = any(
        reply.status in ("failed", "malformed") for interview in interviews for reply in interview.replies.values()
    )
    codes = [ExitCode.BACKEND_FAILED] if broken else []
    if any(interview.interrupted for interview in interviews):
        codes.append(ExitCode.INTERRUPTED)
        print("interrupted: what was not asked has no answer", file=sys.stderr)
    sys.exit(ExitCode.worst(codes))


def _list(questions: dict[str, Question], topic: str | None, file: TextIO) -> None:
    """Each topic with its question; for a single topic, the evidence too."""
    width = max(map(len, questions))
    for question in questions.values():
        print(f"{question.id.ljust(width)}  {question.asks}", file=file)
    for name, field in questions[topic].evidence.items() if topic else ():
        print(f"  {name}: {field.kind}: {field.meaning}", file=file)


def _print_json(questions: dict[str, Question], interviews: list[Interview]) -> None:
    import json

    from compare_ag.lab.output import document

    print(json.dumps({"schema": SCHEMA, **document(list(questions.values()), interviews)}, indent=1))


def _say_what_is_wrong(interviews: list[Interview], *, in_full: bool) -> None:
    """Report on stderr backends that could not be asked, malformed answers, and answers to unknown questions."""
    for interview in interviews:
        if interview.failure:
            print(f"compare-ag: {printable(interview.name)}: {printable(interview.failure)}", file=sys.stderr)
        for reply in interview.replies.values():
            if reply.status in ("failed", "malformed") and not in_full and reply.reason != interview.failure:
                complaint = (
                    f"{printable(interview.name)}, {reply.question.id}: {reply.status}: {printable(reply.reason)}"
                )
                print(f"compare-ag: {complaint}", file=sys.stderr)
        for unknown in interview.unknown:
            complaint = f"{printable(interview.name)} answers {printable(unknown)!r}, which is no question here"
            print(f"warning: {complaint}", file=sys.stderr)
