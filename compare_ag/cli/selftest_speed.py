"""``compare-ag selftest speed``: how often speed verdicts err here, from a backend against itself and a slowed copy."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import Command, Seconds, click
from compare_ag.cli.problem_options import chosen_problem, problem_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from compare_ag.selftest.speed import SelfcheckResult
    from compare_ag.speed.rates import Rate

SCHEMA = {"name": "compare-ag/selfcheck", "major": 1, "minor": 0}

EPILOG = """Examples:
  compare-ag selftest speed
  compare-ag selftest speed --backend torch --budget 600
  compare-ag selftest speed --problem synthetic:n=10000,d=100 --slowdown 0.05
"""


@click.command(cls=Command, epilog=EPILOG)
@click.option("--backend", default="numpy", show_default=True, help="The backend that is compared with itself.")
@problem_options
@click.option("--slowdown", type=float, default=0.02, show_default=True, metavar="SHARE", help="Slowdown to plant.")
@click.option(
    "--budget", type=Seconds(), default=120.0, show_default=True, metavar="SECONDS", help="Measure for about so long."
)
@click.option("--margin", type=float, default=0.02, show_default=True, metavar="SHARE", help="As for `run`.")
@click.option(
    "--timeout", type=Seconds(), default=600.0, show_default=True, help="Wall-clock seconds that each worker may take."
)
@click.option(
    "--no-wait", is_flag=True, help="Exit with 5 where another process is timing or training here; run nothing."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout, with every launch.")
@click.option("--quiet", is_flag=True, help="No progress display.")
def speed(
    backend: str,
    slowdown: float,
    budget: float,
    margin: float,
    timeout: float,
    no_wait: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure how far speed verdicts can be trusted here: compare a backend with itself and with a slowed copy."""
    import json
    import tempfile
    import threading
    from pathlib import Path

    from compare_ag.cli.common import report_console, say_waiting
    from compare_ag.cli.steps import Steps
    from compare_ag.exit_codes import ExitCode
    from compare_ag.host import machine_lock
    from compare_ag.host.failures import WorkerFailure
    from compare_ag.selftest.speed import selfcheck as run_selfcheck
    from compare_ag.suite import select
    from compare_ag.suite.checkpoint import compute_checkpoint
    from compare_ag.suite.training import Conditions
    from compare_ag.text import clock_time, printable

    if not 0 < slowdown <= 1:
        raise click.BadParameter("must be more than 0 and at most 1: 0.02 is 2 %", param_hint="--slowdown")
    if not 0 < margin < 1:
        raise click.BadParameter("must be between 0 and 1: 0.02 is 2 %", param_hint="--margin")
    (offer,) = select([backend]).values()
    problem = chosen_problem(**options)
    tell = (lambda _reason: None) if quiet else say_waiting()
    with (
        machine_lock.hold("timing", wait=not no_wait, tell=tell) as lock,
        tempfile.TemporaryDirectory(prefix="compare-ag-selfcheck-") as logs,
    ):
        if lock.failure:
            print(f"warning: other timings here are not excluded: {printable(lock.failure)}", file=sys.stderr)
        conditions = Conditions(problem, [], Path(logs), timeout, 0, threading.Event())
        try:
            with Steps(quiet=quiet) as steps:
                steps.show("starting workers and choosing the length of blocks")
                result = run_selfcheck(
                    offer,
                    conditions,
                    compute_checkpoint(problem),
                    budget,
                    slowdown=slowdown,
                    margin=margin,
                    observe=lambda launches, left: steps.show(f"{launches} launches, about {clock_time(left)} left"),
                )
        except WorkerFailure as failure:
            print(f"error: {backend} failed: {failure.reason}", file=sys.stderr)
            sys.exit(ExitCode.BACKEND_FAILED)
    if as_json:
        print(json.dumps({"schema": SCHEMA, "backend": backend, **_document(result)}, indent=1))
    else:
        console = report_console()
        for part in _report(result, backend):
            console.print(part)
            console.print()
    if result.series.interrupted:
        print(f"interrupted: this is what {result.series.launches} launches say", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.OK if result.passed else ExitCode.DISAGREE)


def _report(result: SelfcheckResult, backend: str) -> list[RenderableType]:
    from rich.console import Group
    from rich.text import Text

    from compare_ag.report.grid import Grid

    itself, planted = result.itself, result.planted
    text = f"{result.series.launches} launches. {backend} against itself: {_percent(itself.mean, itself.half)}"
    text += f", from launch to launch {result.spread:.1%} (standard deviation)."
    if planted is not None:
        text += f" A loop of {result.series.turns} empty turns slows it by {_percent(planted.mean, planted.half)}."
    table = Grid("launches", "half-width", "false positives", "beyond the margin", "slowdown found", "wrong sign")
    for rates in result.rates:
        table.add_row(
            str(rates.launches),
            f"{math.expm1(rates.half):.2%}",
            *map(_rate, (rates.false_positives, rates.beyond, rates.found, rates.wrong_sign)),
        )
    note = (
        "what comparisons of so many launches would have said. false positives: the 95 % interval of the backend\n"
        "against itself excludes 1, as it should in 5 %; slowdown found: the interval of the slowed copy lies above 1"
    )
    style = "bold green" if result.passed else "bold red"
    answer = (
        "No sign that intervals err more often than 1 in 20 here."
        if result.passed
        else "Intervals err more often than 1 in 20 here: do not rely on speed verdicts from this machine."
    )
    return [Text(answer, style=style), Text(text), Group(table, Text(note, style="dim"))]


def _percent(mean: float, half: float) -> str:
    """A log-ratio with its interval as per cent of slowdown."""
    if not math.isfinite(half):
        return f"{math.expm1(mean):+.2%}"
    return f"{math.expm1(mean):+.2%} ({math.expm1(mean - half):+.2%} to {math.expm1(mean + half):+.2%})"


def _rate(rate: Rate) -> str:
    """``3 of 41: 7 % (1.5 to 20 %)``."""
    if not rate.tries:
        return "n/a"
    return f"{rate.hits} of {rate.tries}: {rate.share:.0%} ({rate.low:.0%} to {rate.high:.0%})"


def _document(result: SelfcheckResult) -> dict[str, Any]:
    """1.0: passed, margin, launches, turns; log-ratios of every launch (alike, planted); rates by length."""
    series = result.series
    return {
        "passed": result.passed,
        "margin": result.margin,
        "launches": series.launches,
        "turns": series.turns,
        "alike": series.alike,
        "planted": series.planted,
        "rates": [
            {
                "launches": rates.launches,
                "half_width": rates.half,
                **{
                    name: {"hits": rate.hits, "tries": rate.tries, "low": rate.low, "high": rate.high}
                    for name, rate in (
                        ("false_positives", rates.false_positives),
                        ("beyond_margin", rates.beyond),
                        ("found", rates.found),
                        ("wrong_sign", rates.wrong_sign),
                    )
                },
            }
            for rates in result.rates
        ],
    }
