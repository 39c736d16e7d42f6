"""``compare-ag run``: train one problem with several backends, compare weights, losses and speed."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.cli import not_written
from compare_ag.cli.common import BackendNames, Command, click
from compare_ag.cli.problem_options import chosen_problem, problem_options
from compare_ag.exit_codes import ExitCode

if TYPE_CHECKING:
    from types import FrameType

    from compare_ag.records import Run

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
    from rich.console import Console

    from compare_ag.cli.progress import make_progress
    from compare_ag.problem.memory import require_memory_to_train
    from compare_ag.suite import run as run_suite
    from compare_ag.suite import select

    signal.signal(signal.SIGTERM, _terminate)
    timeout = options.pop("timeout")
    if not timeout > 0:
        raise click.BadParameter("must be more than 0 seconds", param_hint="--timeout")
    keywords = {name: options.pop(name) for name in ("baseline", "timing", "output")}
    _warn_of_names()
    offers = select(backends, keywords["baseline"])  # a missing framework is said before a large file is read
    problem = chosen_problem(**options)
    require_memory_to_train(problem, _workers_at_a_time(len(offers), problem.threads, timing=keywords["timing"]))
    progress = make_progress(Console(stderr=True), quiet=quiet)
    result = run_suite(backends, problem, timeout=timeout, observer=progress, **keywords)
    try:
        _report(result, as_json=as_json)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.exit(ExitCode.worst([ExitCode(result.exit_code), not_written(error, f"the run is kept in {result.path}")]))
    sys.exit(result.exit_code)


def _warn_of_names() -> None:
    """Say on stderr, as ``list`` does, which backends cannot be had by their bare names, and why."""
    from compare_ag.host.discovery import discover

    with contextlib.suppress(OSError):  # a reader that has gone must not end the run
        for note in discover().notes:
            print(f"warning: {note}", file=sys.stderr)


def _workers_at_a_time(backends: int, threads: int, *, timing: bool) -> int:
    """Timing takes turns among workers that are all alive; training starts as many as there are CPUs for."""
    from compare_ag.host.environment import usable_cpus

    return backends if timing else min(backends, max(1, len(usable_cpus()) // threads))


def _report(result: Run, *, as_json: bool) -> None:
    """Print the run. Raises `OSError` where the stream takes no more."""
    import json

    from compare_ag import records
    from compare_ag.cli.common import report_console
    from compare_ag.report.terminal import print_run

    if result.manifest.state == "partial":
        print(f"interrupted: what had finished is kept in {result.path}", file=sys.stderr)
    print_run(result, report_console(stderr=as_json))
    if as_json:
        print(json.dumps(records.document(result), allow_nan=False, indent=1))
    sys.stdout.flush()


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    from compare_ag.suite import Terminated

    raise Terminated
