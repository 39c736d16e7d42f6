"""``compare-ag pick``: the fastest correct backend for a size, from saved sweeps, or measured now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag.cli.common import BackendNames, Command, Count, Seconds, click
from compare_ag.exit_codes import ExitCode

if TYPE_CHECKING:
    from compare_ag.sweep.ledger import Ledger
    from compare_ag.sweep.pick import Choice

EPILOG = """Exit codes: 0 a backend is named, 1 it was measured and no backend is correct and has a rank,
5 nothing is known of this size and --no-measure was given.

Example:
  backend=$(compare-ag pick --n 1e5 --d 50 --quiet)
"""


@click.command(cls=Command, epilog=EPILOG)
@click.option("--n", type=Count(), required=True, help="Number of examples.")
@click.option("--d", type=Count(), required=True, help="Number of features.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True)
@click.option("--threads", type=Count(), default=1, show_default=True, help="Threads of the backend.")
@click.option("--loss", type=click.Choice(["probability", "logits"]), default="logits", show_default=True)
@click.option(
    "--backends", type=BackendNames(), metavar="NAME,NAME", help="Choose among these. Default: all available."
)
@click.option("--prefer", metavar="NAME", help="Take this backend where it is tied with the fastest.")
@click.option(
    "--from",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Sweep to read; may be repeated. Default: those below reports/sweeps.",
)
@click.option("--no-measure", is_flag=True, help="Exit with 5 where the saved sweeps do not tell; measure nothing.")
@click.option(
    "--timing-budget", type=Seconds(), metavar="SECONDS", default=10.0, show_default=True, help="If measured."
)
@click.option("--json", "as_json", is_flag=True, help="The choice as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Print the backend's name alone; no progress display.")
def pick(
    n: int,
    d: int,
    dtype: str,
    threads: int,
    loss: str,
    backends: list[str] | None,
    prefer: str | None,
    folders: tuple[Path, ...],
    no_measure: bool,
    timing_budget: float,
    as_json: bool,
    quiet: bool,
) -> None:
    """Name the fastest correct backend for a size: from saved sweeps of this machine, or measured now.

    A size counts as known where it was measured, or where all measured sizes around it have one winner.
    """
    from compare_ag.sweep.grid import chosen_backends, installed_versions, make_grid
    from compare_ag.sweep.pick import PickQuestion, choose, saved_sweeps, sources

    names = chosen_backends(backends or ())
    grid = make_grid(
        backends=names, n=[n], d=[d], dtype=[dtype], threads=[threads], loss=[loss], timing_budget=timing_budget
    )
    if prefer is not None and prefer not in names:
        raise click.UsageError(f"--prefer {prefer} is not among the backends to choose from: {', '.join(names)}")
    question = PickQuestion(n=n, d=d, dtype=dtype, threads=threads, loss=loss, backends=names)
    choice = choose(sources(saved_sweeps(folders), question, installed_versions), question, prefer)
    if choice is None and no_measure:
        print("compare-ag: no saved sweep tells; without --no-measure this size is measured", file=sys.stderr)
        sys.exit(ExitCode.NOTHING_TO_RUN)
    if choice is None:
        from compare_ag.sweep.ledger import Ledger

        ledger = Ledger.create(grid)
        _measure(ledger, quiet=quiet)
        choice = choose(sources([ledger], question, installed_versions), question, prefer)
    if choice is None:
        print(f"compare-ag: {_why_none(ledger)}", file=sys.stderr)
        sys.exit(ExitCode.DISAGREE)
    _print(choice, as_json=as_json, quiet=quiet)


def _measure(ledger: Ledger, *, quiet: bool) -> None:
    """Measure the one cell of this grid. An interrupt ends the command."""
    from compare_ag.cli.steps import Steps
    from compare_ag.cli.sweep import chosen_engine, end_on_signals
    from compare_ag.sweep.flow import left, run_cells
    from compare_ag.sweep.grid import installed_versions, plan
    from compare_ag.sweep.tables import keep_tables

    end_on_signals()
    planned = plan(ledger.grid, installed_versions(ledger.grid.backends))
    with Steps(quiet=quiet) as steps:
        result = run_cells(ledger, left(ledger.states(planned)), chosen_engine("local", None, None, None), steps.show)
        keep_tables(ledger)
    if result.interrupt is not None:
        raise result.interrupt


def _why_none(ledger: Ledger) -> str:
    """Why the measured cell names no backend."""
    from compare_ag.text import printable

    reasons = [
        record.reason
        or "; ".join(f"{row.name}: {row.status} {row.reason or row.unranked}".rstrip() for row in record.rows)
        for record in ledger.records()
    ]
    return printable(
        f"no backend is correct and has a rank at this size: {'; '.join(reasons) or 'nothing was measured'}"
    )


def _print(choice: Choice, *, as_json: bool, quiet: bool) -> None:
    import json

    from compare_ag.sweep.pick import document
    from compare_ag.text import printable

    if as_json:
        print(json.dumps(document(choice), allow_nan=False, indent=1))
    elif quiet:
        print(printable(choice.backend))
    else:
        print(printable(choice.backend))
        print(printable(f"{choice.certainty}: {choice.sentence}"))
        print(printable(f"from {', '.join(choice.cells)} in {', '.join(choice.sweeps)}"))
    sys.stdout.flush()
