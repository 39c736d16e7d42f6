"""``compare-ag doctor``: what is installed, what is missing and how to add it, is the machine fit for timing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from compare_ag.cli.colour import wants_colour
from compare_ag.cli.common import Command, click
from compare_ag.exit_codes import ExitCode
from compare_ag.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compare_ag.doctor import HealthItem

SCHEMA = {"name": "compare-ag/doctor", "major": 1, "minor": 0}
"""1.0: exit_code, fit (no warning about the machine), findings[] of id, group, state, message, advice"""

COLOURS = {"ok": "green", "missing": "yellow", "warning": "yellow", "broken": "red"}
TITLES = {"installed": "Installed", "machine": "The machine"}

EPILOG = """Exit codes: 0 a run works here (what is missing or warned of is optional), 1 there is a warning and --strict
was given, 3 an installed backend is broken, 5 no backend can run.

Examples:
  compare-ag doctor
  compare-ag doctor --strict --json       before a job that times
"""


@click.command("doctor", cls=Command, epilog=EPILOG)
@click.option("--strict", is_flag=True, help="Exit 1 where anything is warned of, as a machine unfit for timing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def doctor(strict: bool, as_json: bool) -> None:
    """Say what is installed, what is missing and how to add it, and whether this machine is fit for timing.

    Every installed backend is really loaded, in a worker of its own. Nothing is changed.
    """
    from compare_ag.cli.steps import Steps
    from compare_ag.doctor import examine, exit_code

    findings: list[HealthItem] = []
    interrupted = False
    with Steps() as steps:
        try:
            for finding in examine(tell=steps.show):
                findings.append(finding)  # noqa: PERF402 - an interrupt keeps what there is; list() would lose it
        except KeyboardInterrupt:
            interrupted = True
    code = ExitCode.INTERRUPTED if interrupted else exit_code(findings, strict=strict)
    fit = not any(one.state == "warning" and one.group == "machine" for one in findings)
    if as_json:
        import json

        rows = [one._asdict() for one in findings]
        print(json.dumps({"schema": SCHEMA, "exit_code": code, "fit": fit, "findings": rows}, indent=1))
    elif findings:
        for line in _lines(findings, fit=fit, coloured=wants_colour(sys.stdout)):
            print(line)
    if interrupted:
        print("interrupted: what was not looked at is left out", file=sys.stderr)
    sys.exit(code)


def _lines(findings: Sequence[HealthItem], *, fit: bool, coloured: bool) -> Iterator[str]:
    """The findings in their two groups, each with what to do below it; the answer last."""
    width = max(len(printable(one.id)) for one in findings)
    for group, title in TITLES.items():
        yield title
        for one in findings:
            if one.group == group:
                state = one.state.ljust(7)
                shown = click.style(state, fg=COLOURS[one.state]) if coloured else state
                yield f"  {shown}  {printable(one.id).ljust(width)}  {printable(one.message)}"
                if one.advice:
                    yield f"  {'':7}  {'':{width}}  -> {printable(one.advice)}"
        yield ""
    backends = [one for one in findings if one.id.startswith("backend ") and one.state == "ok"]
    names = ", ".join(one.id.removeprefix("backend ") for one in backends)
    yield f"Ready to run: {printable(names) or 'no backend'}."
    yield "The machine is fit for timing." if fit else "Times from this machine need care: see the warnings."
