"""``compare-ag doctor``: installed and missing parts, how to add them, and whether the machine is fit for timing."""

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
                findings.append(finding)  # noqa: PERF402 - an interrupt keeps the items so far; list() would lose them
        except KeyboardInterrupt:
            interrupted = True
    code = ExitCode.INTERRUPTED if interrupted else exit_code(findings, strict=strict)
    fit = not any(item.state == "warning" and item.group == "machine" for item in findings)
    if as_json:
        import json

        rows = [item._asdict() for item in findings]
        print(json.dumps({"schema": SCHEMA, "exit_code": code, "fit": fit, "findings": rows}, indent=1))
    elif findings:
        for line in _lines(findings, fit=fit, coloured=wants_colour(sys.stdout)):
            print(line)
    if interrupted:
        print("interrupted: the remaining findings are left out", file=sys.stderr)
    sys.exit(code)


def _lines(findings: Sequence[HealthItem], *, fit: bool, coloured: bool) -> Iterator[str]:
    """The findings in their two groups, each with its advice below it; the answer last."""
    width = max(len(printable(item.id)) for item in findings)
    for group, title in TITLES.items():
        yield title
        for item in findings:
            if item.group == group:
                state = item.state.ljust(7)
                shown = click.style(state, fg=COLOURS[item.state]) if coloured else state
                yield f"  {shown}  {printable(item.id).ljust(width)}  {printable(item.message)}"
                if item.advice:
                    yield f"  {'':7}  {'':{width}}  -> {printable(item.advice)}"
        yield ""
    backends = [item for item in findings if item.id.startswith("backend ") and item.state == "ok"]
    names = ", ".join(item.id.removeprefix("backend ") for item in backends)
    yield f"Ready to run: {printable(names) or 'no backend'}."
    yield "The machine is fit for timing." if fit else "Times from this machine need care: see the warnings."
