"""``compare-ag check NAME``: is this backend right? A ladder of checks, and what to do at the first one that fails."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click as plain_click

from compare_ag.cli.common import BackendNames, Command, click
from compare_ag.exit_codes import ExitCode
from compare_ag.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from compare_ag.conformance import CheckResult
    from compare_ag.conformance.registry import Check

SCHEMA = {"name": "compare-ag/check", "major": 1, "minor": 0}
"""1.0: backend, passed, checks[] of id, status, message, meaning, advice, command, seconds, log"""

EPILOG = """Examples:
  compare-ag check mine
  compare-ag check mine --only gradient-at-zero,update
  compare-ag check --list
"""


class CheckIds(plain_click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """Ids of checks, separated by commas; completes the one after the last comma."""

    name = "ids"

    def convert(
        self, value: str | list[str], param: plain_click.Parameter | None, ctx: plain_click.Context | None
    ) -> list[str]:
        """``"l2, step"`` → ``["l2", "step"]``. Fails for an unknown id, with what may have been meant."""
        from compare_ag.conformance.ladder import CHECKS

        ids = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        for unknown in (one for one in ids if one not in CHECKS):
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

        from compare_ag.conformance.ladder import CHECKS

        before, comma, partial = incomplete.rpartition(",")
        return [
            CompletionItem(f"{before}{comma}{check.id}", help=check.meaning)
            for check in CHECKS.values()
            if check.id.startswith(partial)
        ]


@click.command(cls=Command, epilog=EPILOG)
@click.argument("name", required=False, type=BackendNames(), metavar="NAME")
@click.option("--only", type=CheckIds(), metavar="ID,ID", help="Only these checks.")
@click.option("--list", "listing", is_flag=True, help="Show the checks and what each means; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; text for people goes to stderr.")
def check(name: list[str] | None, only: list[str] | None, listing: bool, as_json: bool) -> None:
    """Check one backend from the smallest question to the largest."""
    import json

    from compare_ag.conformance import check_backend
    from compare_ag.conformance.ladder import CHECKS

    if listing:
        width = max(map(len, CHECKS))
        for one in CHECKS.values():
            print(f"{one.id.ljust(width)}  {one.meaning}")
        return
    if not name or len(name) != 1:
        raise click.UsageError("name one backend to check, as `compare-ag list` shows it")
    out = sys.stderr if as_json else sys.stdout
    coloured = out.isatty() and not os.environ.get("NO_COLOR")

    def observe(result: CheckResult) -> None:
        _erase()
        print(_line(result, coloured=coloured), file=out, flush=True)

    try:
        results = check_backend(name[0], only, observe, announce=_announce)
    finally:
        _erase()
    failed = [result for result in results if result.status == "failed"]
    for line in _summary(name[0], results, failed):
        print(line, file=out)
    if as_json:
        print(json.dumps(_document(name[0], results), indent=1))
    codes = [ExitCode.BACKEND_FAILED if result.worker_failed else ExitCode.DISAGREE for result in failed]
    sys.exit(ExitCode.worst(codes))


def _announce(one: Check) -> None:
    """In a terminal, say what is going on: a backend that hangs keeps its check for a minute."""
    if _is_live():
        with contextlib.suppress(OSError):  # a reader that has gone must not end the checks
            print(f"{one.id} …", end="", file=sys.stderr, flush=True)


def _erase() -> None:
    """Take back what `_announce` said."""
    if _is_live():
        with contextlib.suppress(OSError):
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def _is_live() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _line(result: CheckResult, *, coloured: bool) -> str:
    colour = {"passed": "green", "failed": "red", "skipped": "yellow"}[result.status]
    status = click.style(result.status, fg=colour) if coloured else result.status
    return f"{status}  {result.id}: {printable(result.message)}"


def _summary(name: str, results: list[CheckResult], failed: list[CheckResult]) -> list[str]:
    """Each failure in full, the first one last, where a terminal ends: it is what to do next; then how many passed."""
    count = {status: sum(r.status == status for r in results) for status in ("passed", "failed", "skipped")}
    lines = []
    for result in reversed(failed):
        lines += ["", ("Next: " if result is failed[0] else "") + printable(result.id) + ": " + result.meaning]
        lines += [f"  seen:  {printable(result.message)}", f"  do:    {result.advice}", f"  again: {result.command}"]
        if result is failed[0]:  # the others' is nearly always the same
            lines += [f"  | {line}" for line in result.log.splitlines()]
    counted = f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"
    return [*lines, "", f"{printable(name)}: {counted}"]


def _document(name: str, results: list[CheckResult]) -> dict[str, Any]:
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
        }
        for result in results
    ]
    passed = all(result.status != "failed" for result in results)
    return {"schema": SCHEMA, "backend": name, "passed": passed, "checks": rows}
