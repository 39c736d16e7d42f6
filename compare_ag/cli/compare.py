"""``compare-ag compare``: what changed from one run to the next, with an exit code that gates CI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click as plain_click

from compare_ag.cli.common import Command, click
from compare_ag.cli.steps import Steps

if TYPE_CHECKING:
    from compare_ag.compare import Comparison

EPILOG = """Exit codes: 0 nothing became wrong or slower, 1 something did (or --strict), 2 the runs cannot be compared.

Examples:
  compare-ag compare runs/before runs/after
  compare-ag compare runs/before runs/after --threshold 10% --md > comment.md
  compare-ag compare runs/after --baseline numpy
  compare-ag compare sweeps/before sweeps/after
"""


class Share(plain_click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """A share: ``5%`` or ``0.05``."""

    name = "share"

    def convert(
        self, value: str | float, param: plain_click.Parameter | None, ctx: plain_click.Context | None
    ) -> float:
        """The share as a number, 0 or more."""
        if isinstance(value, float):
            return value
        number = value.strip().removesuffix("%").strip()
        try:
            share = float(number) / (100 if value.strip().endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is no share: write 5% or 0.05", param, ctx)
        if not 0 <= share < float("inf"):
            self.fail(f"{value!r} must be 0 or more: 5% or 0.05 lets times grow by a twentieth", param, ctx)
        return share


@click.command(cls=Command, epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BEFORE AFTER | RUN")
@click.option("--baseline", metavar="NAME", help="With one run: the backend to compare its others with.")
@click.option(
    "--threshold",
    type=Share(),
    default="5%",
    show_default=True,
    help="Slower by up to this share passes; noise does too.",
)
@click.option(
    "--yardstick",
    metavar="NAME",
    help="With two runs: an unchanged backend whose change estimates the machine's common factor, or none. "
    "Default: one that comes with compare-ag, as numpy, if its versions are the same.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit 1 also where a speed is not decided because other programs disturbed its timing.",
)
@click.option("--md", "as_md", is_flag=True, help="Markdown on stdout, for a comment on a pull request.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def compare(
    runs: tuple[Path, ...],
    baseline: str | None,
    threshold: float,
    yardstick: str | None,
    strict: bool,
    as_md: bool,
    as_json: bool,
) -> None:
    """Compare two runs, two sweeps, or one run's backends with one of them: verdicts, accuracy, speed, memory.

    Exits 1 where something became wrong, or slower beyond noise and the threshold. Numbers are compared on one problem
    only, times on one machine only, and only where other programs did not disturb the timing.
    """
    if as_md and as_json:
        raise click.UsageError("--md and --json exclude each other: choose one")
    if any((run / "sweep.json").is_file() for run in runs):
        _compare_sweeps(runs, baseline, threshold, yardstick, strict=strict, as_md=as_md, as_json=as_json)
    with Steps() as steps:
        steps.show("reading and comparing")
        comparison = _compared(runs, baseline, threshold, yardstick, strict=strict)
    _show(comparison, as_md=as_md, as_json=as_json)


def _compared(
    runs: tuple[Path, ...], baseline: str | None, threshold: float, yardstick: str | None, *, strict: bool
) -> Comparison:
    from compare_ag.compare import compare_runs, compare_within
    from compare_ag.records import load_run

    if len(runs) == 2 and baseline is None:
        return compare_runs(*map(load_run, runs), threshold=threshold, yardstick=yardstick, strict=strict)
    if len(runs) == 1 and baseline is not None and yardstick is None:
        return compare_within(load_run(runs[0]), baseline, threshold=threshold, strict=strict)
    if len(runs) == 1 and baseline is not None:
        raise click.UsageError(
            "--yardstick is for two runs: within one run all backends share the machine's common factor"
        )
    if len(runs) == 2:
        raise click.UsageError("--baseline is for one run; two runs are compared backend by backend")
    raise click.UsageError("name two runs, or one run and --baseline NAME")


def _show(comparison: Comparison, *, as_md: bool, as_json: bool) -> None:
    if as_json:
        import json

        from compare_ag.compare.changes import document

        print(json.dumps(document(comparison), allow_nan=False, indent=1))
    elif as_md:
        from compare_ag.report.markdown import comparison_markdown

        print(comparison_markdown(comparison), end="")
    else:
        from compare_ag.cli.common import report_console
        from compare_ag.report.comparison import sections

        console = report_console()
        for part in sections(comparison):
            console.print(part)
            console.print()
    sys.stdout.flush()
    sys.exit(comparison.exit_code)


def _compare_sweeps(
    folders: tuple[Path, ...],
    baseline: str | None,
    threshold: float,
    yardstick: str | None,
    *,
    strict: bool,
    as_md: bool,
    as_json: bool,
) -> NoReturn:
    """Compare two sweeps cell by cell and exit."""
    from compare_ag.sweep.compare import compare_sweeps
    from compare_ag.sweep.ledger import Ledger

    if len(folders) != 2 or baseline is not None:
        raise click.UsageError("name two sweeps; --baseline is for one run")
    before, after = map(Ledger.open, folders)
    with Steps() as steps:
        comparison = compare_sweeps(before, after, threshold, yardstick, strict=strict, tell=steps.show)
    if as_json:
        import json

        from compare_ag.sweep.compare import document

        print(json.dumps(document(comparison), allow_nan=False, indent=1))
    elif as_md:
        from compare_ag.report.sweep.comparison import comparison_markdown

        print(comparison_markdown(comparison), end="")
    else:
        from compare_ag.cli.common import report_console
        from compare_ag.report.sweep.comparison import comparison_sections

        console = report_console()
        for part in comparison_sections(comparison):
            console.print(part)
    sys.stdout.flush()
    sys.exit(comparison.exit_code)
