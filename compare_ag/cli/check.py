"""``compare-ag check NAME``: is this backend right? A ladder of checks, and what to do at the first one that fails."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click as plain_click

from compare_ag.cli.ci import annotate, ci_options, keep_junit, keep_summary
from compare_ag.cli.colour import wants_colour
from compare_ag.cli.common import BackendNames, Seconds, TrainingCommand, click
from compare_ag.cli.steps import Steps
from compare_ag.exit_codes import ExitCode
from compare_ag.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

    from compare_ag.check import CheckResult
    from compare_ag.check.ladder import Check

SCHEMA = {"name": "compare-ag/check", "major": 1, "minor": 2}
"""1.0: backend, passed, checks[] of id, status, message, meaning, advice, command, seconds, log
1.1: of each check cause and root; next, the check to mend first, or null; not_asked[], ids
1.2: interrupted: whether Ctrl-C ended it; passed is then false"""

INPUTS = "inputs-untouched"
"""the check whose failure explains wrong numbers everywhere"""

EPILOG = """Examples:
  compare-ag check mine
  compare-ag check mine --only gradient-at-zero,update
  compare-ag check mine --ci --junit results.xml        in a job of CI
  compare-ag check --list
"""


class CheckIds(plain_click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """Ids of checks, separated by commas; completes the id after the last comma."""

    name = "ids"

    def convert(
        self, value: str | list[str], param: plain_click.Parameter | None, ctx: plain_click.Context | None
    ) -> list[str]:
        """``"l2, step"`` → ``["l2", "step"]``. Fails for an unknown id, with the nearest known id."""
        from compare_ag.check.ladder import CHECKS

        ids = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        for unknown in (id for id in ids if id not in CHECKS):
            import difflib

            close = difflib.get_close_matches(unknown, CHECKS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "`compare-ag check --list` shows them."
            self.fail(f"there is no check {printable(unknown)!r}; {hint}", param, ctx)
        return ids

    def shell_complete(
        self, ctx: plain_click.Context, param: plain_click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Ids with their meanings."""
        from click.shell_completion import CompletionItem

        from compare_ag.check.ladder import CHECKS

        before, comma, partial = incomplete.rpartition(",")
        return [
            CompletionItem(f"{before}{comma}{check.id}", help=check.meaning)
            for check in CHECKS.values()
            if check.id.startswith(partial)
        ]


@click.command(cls=TrainingCommand, epilog=EPILOG)
@click.argument("name", required=False, type=BackendNames(), metavar="NAME")
@click.option("--only", type=CheckIds(), metavar="ID,ID", help="Only these checks.")
@click.option(
    "--timeout", type=Seconds(), default=600.0, show_default=True, help="Wall-clock seconds that each worker may take."
)
@click.option("--list", "listing", is_flag=True, help="Show the checks and what each means; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; text for people goes to stderr.")
@ci_options
def check(
    name: list[str] | None,
    only: list[str] | None,
    timeout: float,
    listing: bool,
    as_json: bool,
    ci: bool,
    junit: Path | None,
) -> None:
    """Check one backend from the smallest question to the largest."""
    import json

    from compare_ag.check import check_backend
    from compare_ag.check.ladder import CHECKS

    if listing:
        width = max(map(len, CHECKS))
        for check in CHECKS.values():
            print(f"{check.id.ljust(width)}  {check.meaning}")
        return
    if not name or len(name) != 1:
        raise click.UsageError("name one backend to check, as `compare-ag list` shows it")
    out = sys.stderr if as_json else sys.stdout
    coloured = wants_colour(out)
    results: list[CheckResult] = []
    wanted = [id for id in CHECKS if only is None or id in only]
    interrupted = False
    with Steps(lines=False) as steps:  # a backend may hang in a check for minutes, so the line names the check

        def announce(check: Check) -> None:
            steps.show(check.id, len(results), len(wanted))

        def observe(result: CheckResult) -> None:
            results.append(result)
            steps.clear()
            print(_line(result, coloured=coloured), file=out, flush=True)

        try:
            check_backend(name[0], only, observe, announce=announce, seconds=timeout)
        except KeyboardInterrupt:
            interrupted = True
    failed = [result for result in results if result.status == "failed"]
    asked = {result.id for result in results}
    unasked = [id for id in wanted if id not in asked]
    codes = [ExitCode.BACKEND_FAILED if result.worker_failed else ExitCode.DISAGREE for result in failed]
    codes += [ExitCode.INTERRUPTED] if interrupted else []
    codes += _for_ci(name[0], results, unasked, ci=ci, junit=junit)
    for line in _summary(name[0], results, failed, unasked):
        print(line, file=out)
    if interrupted:
        print(f"interrupted: {len(results)} of {len(wanted)} checks were made; the others are not known", file=out)
    if as_json:
        print(json.dumps(_document(name[0], results, failed, unasked, interrupted=interrupted), indent=1))
    if ci:
        annotate(_annotations(name[0], failed), out)
    sys.exit(ExitCode.worst(codes))


def _for_ci(
    name: str, results: list[CheckResult], unasked: list[str], *, ci: bool, junit: Path | None
) -> list[ExitCode]:
    """Write the files for a CI server before the summary is printed; return an exit code for each failure."""
    written = [
        keep_junit(junit, lambda: _junit(name, results, unasked)),
        keep_summary(asked=ci, make=lambda: _markdown(name, results, unasked)),
    ]
    return [] if all(written) else [ExitCode.NOT_SAVED]


def _junit(name: str, results: list[CheckResult], unasked: list[str]) -> bytes:
    """A case for each check; checks that were not made are skipped."""
    from compare_ag.report.junit import Case, Outcome, Suite, junit

    cases = []
    for result in results:
        outcome: Outcome = "passed"
        if result.status != "passed":
            failure: Outcome = "error" if result.worker_failed else "failure"
            outcome = failure if result.status == "failed" else "skipped"
        kind = result.cause or ("worker failed" if result.worker_failed else "wrong numbers")
        cases.append(Case(result.id, outcome, kind, result.message, result.explanation, result.seconds))
    cases += [Case(id, "skipped", message="not asked") for id in unasked]
    return junit("compare-ag.check", [Suite(name, cases)])


def _markdown(name: str, results: list[CheckResult], unasked: list[str]) -> str:
    """The page of a GitHub job: the answer, and a row for each check that did not pass."""
    from compare_ag.report.escape import markdown
    from compare_ag.report.markdown import pipe_table
    from compare_ag.report.table import Column, Table

    failed = [result for result in results if result.status == "failed"]
    summary = "every check that applies is passed" if not failed and not unasked else "not every check is passed"
    parts = [f"### compare-ag check {markdown(name)}: {summary}", _count_text(results, unasked)]
    if failed:
        columns: list[Column[CheckResult]] = [
            Column("check", lambda result: result.id, left=True),
            Column("seen", lambda result: result.message, left=True),
            Column("cause", lambda result: result.cause or "not known", left=True),
            Column("what to do", lambda result: result.advice, left=True),
        ]
        parts.append(pipe_table(Table("failed", "", "", columns, failed)))
    return "\n\n".join(parts) + "\n\n"


def _annotations(name: str, failed: list[CheckResult]) -> list[str]:
    """An error for each failure, the check to mend first before the others, because GitHub shows only ten per step."""
    from compare_ag.report.github import annotation

    first = [_next(failed)] if failed else []
    ordered = [*first, *(result for result in failed if result not in first)]
    return [
        annotation("error", f"compare-ag check {name}: {result.id}", f"{result.message}. {result.advice}")
        for result in ordered
    ]


def _line(result: CheckResult, *, coloured: bool) -> str:
    colour = {"passed": "green", "failed": "red", "skipped": "yellow"}[result.status]
    status = click.style(result.status, fg=colour) if coloured else result.status
    return f"{status}  {result.id}: {printable(result.message)}"


def _next(failed: list[CheckResult]) -> CheckResult:
    """The check to mend first: the root of the smallest failed check, or that check where its root was not run."""
    return next((result for result in failed if result.id == failed[0].root), failed[0])


def _summary(name: str, results: list[CheckResult], failed: list[CheckResult], unasked: list[str]) -> list[str]:
    """Each cause in full and once, the check to mend first at the end, then how many passed."""
    lines = []
    if unasked:
        lines.append(f"not asked, because '{results[-1].id}' failed: {', '.join(unasked)}")
    if failed:
        first = _next(failed)
        further = [result for result in failed if result is not first]
        if not first.cause and not first.worker_failed and first.id != INPUTS:  # a few numbers suggest no cause
            first = replace(first, cause=next((result.cause for result in further if result.cause), ""))
        own: dict[str, list[CheckResult]] = {}
        same = []
        for result in further:
            if _has_its_own_cause(result, first):
                own.setdefault(result.cause or result.message, []).append(result)
            else:
                same.append(result.id)
        for result, *more in reversed(own.values()):
            lines += ["", *_explanation(result, same=[related.id for related in more])]
        lines += ["", *_explanation(first, "Next: ", same), *(f"  | {line}" for line in first.log.splitlines())]
    return [*lines, "", f"{printable(name)}: {_count_text(results, unasked)}"]


def _count_text(results: list[CheckResult], unasked: list[str]) -> str:
    """``40 passed, 1 failed, 2 skipped``."""
    count = {status: sum(r.status == status for r in results) for status in ("passed", "failed", "skipped")}
    counted = f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"
    return f"{counted}, {len(unasked)} not asked" if unasked else counted


def _has_its_own_cause(result: CheckResult, first: CheckResult) -> bool:
    """Whether a failure is known to have another cause than the check to be mended first."""
    if result.worker_failed:
        return result.message != first.message
    known = bool(result.cause) and not result.cause.startswith("consistent with")
    return known and result.cause != first.cause and first.id != INPUTS


def _explanation(result: CheckResult, word: str = "", same: Sequence[str] = ()) -> list[str]:
    """A failure in full; ``same``: ids of other failed checks that show no cause of their own."""
    lines = [f"{word}{printable(result.id)}: {result.meaning}", f"  seen:  {printable(result.message)}"]
    lines += [f"  cause: {result.cause}"] if result.cause else []
    lines += [f"  do:    {result.advice}", f"  again: {result.command}"]
    return [*lines, f"  also:  {', '.join(same)} failed, and nothing shows another cause"] if same else lines


def _document(
    name: str, results: list[CheckResult], failed: list[CheckResult], unasked: list[str], *, interrupted: bool
) -> dict[str, Any]:
    rows = [
        {
            "id": result.id,
            "status": result.status,
            "message": result.message,
            "meaning": result.meaning,
            "advice": result.advice,
            "command": result.command,
            "seconds": result.seconds,
            "log": result.log,
            "cause": result.cause,
            "root": result.root,
        }
        for result in results
    ]
    following = _next(failed).id if failed else None
    return {
        "schema": SCHEMA, "backend": name, "passed": not failed and not interrupted, "interrupted": interrupted,
        "next": following, "not_asked": unasked, "checks": rows,
    }  # fmt: skip  # as in the schema
