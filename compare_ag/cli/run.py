"""``compare-ag run``: train one problem with several backends, compare weights, losses and speed."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.cli import not_written
from compare_ag.cli.ci import annotate, ci_options, keep_junit, keep_summary
from compare_ag.cli.common import BackendNames, Command, MemorySize, Seconds, click, details_option
from compare_ag.cli.problem_options import as_typed, chosen_problem, problem_options
from compare_ag.exit_codes import ExitCode

if TYPE_CHECKING:
    from types import FrameType

    from compare_ag.records import Run
    from compare_ag.speed.schedule import Settings

LIMITS = ("memory_limit", "address_space_limit")

EPILOG = """Examples:
  compare-ag run                                   the tiny seed problem, every available backend
  compare-ag run --backends torch,numpy --problem breast-cancer
  compare-ag run --data mine.csv --target label --standardize
  compare-ag run --no-timing --ci --junit results.xml    in a job of CI
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
@click.option("--quick", "mode", flag_value="quick", help="Measure speed for about 10 s only.")
@click.option("--precise", "mode", flag_value="precise", help="Measure until every interval is within 0.5 %.")
@click.option("--no-timing", "mode", flag_value="none", help="Do not measure speed. Default: for about 20 s.")
@click.option("--timing-budget", type=Seconds(), metavar="SECONDS", help="Stop measuring speed after about so long.")
@click.option(
    "--margin",
    type=float,
    metavar="SHARE",
    default=0.02,
    show_default=True,
    help="Largest difference in speed that counts as none.",
)
@click.option(
    "--checkpoint",
    type=click.Choice(["start", "middle", "end"]),
    default="middle",
    show_default=True,
    help="Part of the training whose weights are timed.",
)
@click.option(
    "--timeout", type=Seconds(), default=600.0, show_default=True, help="Wall-clock seconds that each worker may take."
)
@click.option(
    "--memory-limit",
    type=MemorySize(),
    metavar="SIZE",
    help="Memory that each worker may hold, such as 2GiB. Default: a fair share of what the machine has free.",
)
@click.option(
    "--address-space-limit",
    type=MemorySize(),
    metavar="SIZE",
    help="Address space of each process of a worker. Default: no limit; jax and CUDA reserve far more than they use.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Run directory. Default: reports/runs/…"
)
@click.option(
    "--no-wait", is_flag=True, help="Exit with 5 where another process is timing or training here; run nothing."
)
@details_option
@click.option("--json", "as_json", is_flag=True, help="The run as JSON on stdout; text for people goes to stderr.")
@ci_options
@click.option("--quiet", is_flag=True, help="No progress display.")
def run(
    backends: list[str] | None,
    no_wait: bool,
    details: bool,
    as_json: bool,
    quiet: bool,
    ci: bool,
    junit: Path | None,
    **options: Any,
) -> None:
    """Train one problem with several backends and compare weights, losses and speed."""
    from compare_ag.cli.common import progress_console
    from compare_ag.cli.progress import make_progress
    from compare_ag.problem.estimate import require_memory_to_train
    from compare_ag.report.page import keep_report
    from compare_ag.suite import run as run_suite
    from compare_ag.suite import select
    from compare_ag.text import printable

    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has set it to be ignored
        signal.signal(signal.SIGHUP, _terminate)
    timeout = options.pop("timeout")
    timing = _timing(*(options.pop(name) for name in ("mode", "timing_budget", "margin", "checkpoint")))
    keywords = {name: options.pop(name) for name in ("baseline", "output", *LIMITS)}
    _tell_of_backends(chosen=backends is not None)
    offers = select(backends, keywords["baseline"])  # reports a missing framework before a large file is read
    problem, asked = chosen_problem(**options), as_typed(options) if options["data"] else None
    require_memory_to_train(problem, _workers_at_a_time(len(offers), problem.threads, timing=timing is not None))
    progress = make_progress(progress_console(), quiet=quiet)
    result = run_suite(
        backends,
        problem,
        timing=False if timing is None else timing,
        timeout=timeout,
        observer=progress,
        wait=not no_wait,
        **keywords,
    )
    if trouble := keep_report(result):
        with contextlib.suppress(OSError):
            print(f"warning: {printable(trouble)}", file=sys.stderr)
    codes = [ExitCode(result.exit_code), *_for_ci(result, ci=ci, junit=junit)]
    try:
        _report(result, asked, details=details, as_json=as_json)
        if ci:
            from compare_ag.report.github import run_annotations

            annotate(run_annotations(result), sys.stderr if as_json else sys.stdout)
    except BrokenPipeError:
        raise
    except OSError as error:
        codes.append(not_written(error, f"the run is kept in {result.path}"))
    sys.exit(ExitCode.worst(codes))


def _for_ci(result: Run, *, ci: bool, junit: Path | None) -> list[ExitCode]:
    """Write the files for a CI server before anything is printed; return an exit code for each failure."""
    if not ci and junit is None:
        return []
    from compare_ag.report.github import run_summary
    from compare_ag.report.junit import run_junit

    written = [keep_junit(junit, lambda: run_junit(result)), keep_summary(asked=ci, make=lambda: run_summary(result))]
    return [] if all(written) else [ExitCode.NOT_SAVED]


def _timing(mode: str | None, budget: float | None, margin: float, checkpoint: str) -> Settings | None:
    """The timing that the options ask for; None for none."""
    from dataclasses import replace

    from compare_ag.speed.schedule import MODES

    if mode == "none":
        return None
    if not 0 < margin < 1:
        raise click.BadParameter("must be between 0 and 1: 0.02 is 2 %", param_hint="--margin")
    chosen = replace(MODES[mode or "default"], margin=margin, checkpoint=checkpoint)
    if budget is None:
        return chosen
    least = min(chosen.least_launches, MODES["quick"].least_launches) if budget < chosen.budget_seconds else None
    return replace(chosen, budget_seconds=budget, least_launches=least or chosen.least_launches)


def _tell_of_backends(*, chosen: bool) -> None:
    """Warn on stderr of backends whose bare names are ambiguous, and of backends left out where none was chosen."""
    from compare_ag.host.discovery import discover

    inventory = discover()
    lines = [f"warning: {note}" for note in inventory.notes]
    if not chosen and (left_out := inventory.left_out()):
        lines.append(left_out)
    with contextlib.suppress(OSError):  # a closed stderr must not end the run
        for line in lines:
            print(line, file=sys.stderr)


def _workers_at_a_time(backends: int, threads: int, *, timing: bool) -> int:
    """Timing keeps all workers alive, the baseline's twice, and runs them in turn; training starts one for each CPU."""
    from compare_ag.host.environment import usable_cpus

    return backends + 1 if timing else min(backends, max(1, len(usable_cpus()) // threads))


def _report(result: Run, asked: str | None, *, details: bool, as_json: bool) -> None:
    """Print the run. Raises `OSError` where the stream accepts no more data."""
    import json

    from compare_ag import records
    from compare_ag.cli.common import print_report, report_console

    if result.manifest.state == "partial":
        print(f"interrupted: what had finished is kept in {result.path}", file=sys.stderr)
    print_report(result, report_console(stderr=as_json), details=details, asked=asked)
    if as_json:
        print(json.dumps(records.document(result), allow_nan=False, indent=1))
    sys.stdout.flush()


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    from compare_ag.suite import Terminated

    raise Terminated
