"""``compare-ag run``: train one problem with several backends, compare weights, losses and speed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import BackendNames, Command, ProblemText, click

if TYPE_CHECKING:
    from types import FrameType

    from compare_ag.problem import Problem

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
@click.option(
    "--problem",
    type=ProblemText(),
    metavar="NAME[:PARAM=VALUE,...]",
    help="Built-in problem: seed (default), synthetic:n=1000,d=20, breast-cancer, digits, iris.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your own data: CSV, .npz with X and y, or LIBSVM.",
)
@click.option(
    "--target", metavar="COLUMN", help="CSV column that holds the labels, by name or number (0 is the first)."
)
@click.option("--standardize", is_flag=True, help="Give every feature of --data mean 0 and standard deviation 1.")
@click.option(
    "--loss",
    type=click.Choice(["probability", "logits"]),
    help="Loss form: the plain formula, or the stable softplus form. Default: logits (seed: probability).",
)
@click.option("--l2", type=float, default=0.0, show_default=True, help="Strength of ½ l2 ‖w‖².")
@click.option("--steps", type=int, help="Number of updates. Default: 1000 (seed: 10001).")
@click.option("--lr", type=float, help="Learning rate. Default: 1/L, L the largest curvature (seed: 0.01).")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    help="Precision of everything. Default: float64 (seed: float32).",
)
@click.option("--batch-size", type=int, help="Examples per step, in an order that is the same for all. Default: all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of start, batch order and schedule.")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads that each backend may use.")
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
    problem = _problem(**options)
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


def _problem(
    problem: str | None, data: Path | None, target: str | None, standardize: bool, lr: float | None, **options: Any
) -> Problem:
    """The problem that the options describe. Raises `ProblemError`, or a usage error where options exclude others."""
    from compare_ag.problem import load_file, make_problem, problem_by_name

    options["learning_rate"] = lr
    if data is None:
        if target is not None or standardize:
            raise click.UsageError("--target and --standardize belong to --data FILE")
        return problem_by_name(problem or "seed", **options)
    if problem is not None:
        raise click.UsageError("--problem and --data exclude each other: choose one")
    return make_problem(load_file(data, target=target, standardize=standardize), **options)
