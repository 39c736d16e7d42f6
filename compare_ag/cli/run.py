"""``compare-ag run``: train one problem with several backends, compare weights, losses and speed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import BackendNames, Command, click
from compare_ag.cli.problem_options import chosen_problem, problem_options

if TYPE_CHECKING:
    from types import FrameType

EPILOG = """Examples:
  compare-ag run                                   the tiny seed problem, every available backend
  compare-ag run --backends torch,numpy --problem breast-cancer
  compare-ag run --data mine.csv --target label --standardize
"""


@click.command(cls=Command, epilog=EPILOG)
@click.option(
    "--backends",
    type=BackendNames(),
    metavar="NAME,NAME",
    help="Backends to run, as `compare-ag list` shows them. Default: every available one.",
)
@problem_options
@click.option("--baseline", metavar="NAME", help="Backend that time ratios refer to. Default: numpy, else the first.")
@click.option("--timing/--no-timing", default=True, show_default=True, help="Whether to measure speed.")
@click.option(
    "--timeout", type=float, default=600.0, show_default=True, help="Wall-clock seconds that each worker may take."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Run directory. Default: reports/runs/…"
)
@click.option("--json", "as_json", is_flag=True, help="The run as JSON on stdout; text for people goes to stderr.")
@click.option("--quiet", is_flag=True, help="No progress display.")
def run(backends: list[str] | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train one problem with several backends and compare weights, losses and speed."""
    import json

    from rich.console import Console

    from compare_ag import records
    from compare_ag.cli.common import report_console
    from compare_ag.cli.progress import make_progress
    from compare_ag.report.terminal import print_run
    from compare_ag.suite import run as run_suite

    signal.signal(signal.SIGTERM, _terminate)
    timeout = options.pop("timeout")
    if not timeout > 0:
        raise click.BadParameter("must be more than 0 seconds", param_hint="--timeout")
    keywords = {name: options.pop(name) for name in ("baseline", "timing", "output")}
    from compare_ag.suite import select

    select(backends, keywords["baseline"])  # a missing framework is said before a large file is read
    problem = chosen_problem(**options)
    progress = make_progress(Console(stderr=True), quiet=quiet)
    result = run_suite(backends, problem, timeout=timeout, observer=progress, **keywords)
    if result.manifest.state == "partial":
        print(f"interrupted: what had finished is kept in {result.path}", file=sys.stderr)
    print_run(result, report_console(stderr=as_json))
    if as_json:
        print(json.dumps(records.document(result), allow_nan=False, indent=1))
    sys.exit(result.exit_code)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    from compare_ag.suite import Terminated

    raise Terminated
