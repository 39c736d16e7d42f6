"""``compare-ag sweep``: how cost grows with the problem's size, and where the fastest backend changes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click as plain_click

from compare_ag.cli.common import BackendNames, Command, Count, MemorySize, Seconds, click
from compare_ag.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from compare_ag.records.sweeps import Analysis, CellRecord
    from compare_ag.sweep.flow import Engine
    from compare_ag.sweep.grid import Planned, SweepGrid
    from compare_ag.sweep.ledger import Ledger

RETRIED = ("failed", "missing", "stale", "disturbed", "skipped")

EPILOG = """Exit codes: 0 every cell is measured, 1 nothing was measured or numbers disagree, 3 a cell failed.
A sweep that was ended in any way is continued by the same command.

Examples:
  compare-ag sweep --backends numpy,torch --n 10,1e3,1e5 --d 2,20 --dtype float32,float64 -o sizes
  compare-ag sweep --grid sizes.toml --threads 1,2 --dry-run
  compare-ag sweep --grid sizes.toml --shard 3/8 -o part-3        on one of eight machines
"""


class Values(plain_click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """Several values separated by commas, each of one type."""

    def __init__(self, kind: plain_click.ParamType[Any]) -> None:
        self.kind = kind
        self.name = f"{kind.name} list"

    def convert(self, value: Any, param: plain_click.Parameter | None, ctx: plain_click.Context | None) -> list[Any]:
        """The values in their order."""
        if not isinstance(value, str):
            return list(value)
        return [self.kind.convert(part.strip(), param, ctx) for part in value.split(",")]


class Shard(plain_click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """``3/8``: the third of eight shares."""

    name = "shard"

    def convert(
        self, value: Any, param: plain_click.Parameter | None, ctx: plain_click.Context | None
    ) -> tuple[int, int]:
        """The share's number, from 1 on, and how many there are."""
        if isinstance(value, tuple):
            return value
        first, slash, second = value.partition("/")
        if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
            self.fail(f"{value!r} is no shard: write 3/8 for the third of eight", param, ctx)
        return int(first), int(second)


_AXES = (
    click.option(
        "--backends", type=BackendNames(), metavar="NAME,NAME", help="Backends. Default: every available one."
    ),
    click.option("--n", type=Values(Count()), metavar="N,N", help="Numbers of examples. Default: 10,1000,100000."),
    click.option("--d", type=Values(Count()), metavar="D,D", help="Numbers of features. Default: 2,20,200."),
    click.option(
        "--dtype",
        type=Values(click.Choice(["float32", "float64"])),
        metavar="NAME,NAME",
        help="Precisions, float32 or float64. Default: float64.",
    ),
    click.option("--threads", type=Values(Count()), metavar="T,T", help="Threads of each backend. Default: 1."),
    click.option(
        "--loss",
        type=Values(click.Choice(["probability", "logits"])),
        metavar="NAME,NAME",
        help="Loss forms, probability or logits. Default: logits.",
    ),
    click.option("--steps", type=Count(), help="Updates that are trained and judged in each cell. Default: 100."),
    click.option("--l2", type=float, help="Strength of ½ l2 ‖w‖². Default: 0."),
    click.option("--seed", type=int, help="Seed of data, start and schedule. Default: 0."),
    click.option("--timing-budget", type=Seconds(), metavar="SECONDS", help="Timing of each cell. Default: 10."),
    click.option("--timeout", type=Seconds(), help="Wall-clock seconds that each worker may take. Default: 600."),
)


def axis_options(command: Any) -> Any:
    """Add the options that make a grid; `chosen_grid` takes what they give."""
    for option in reversed(_AXES):
        command = option(command)
    return command


@click.command(cls=Command, epilog=EPILOG)
@click.option("--grid", "file", type=click.Path(path_type=Path), metavar="FILE", help="TOML file; options win over it.")
@axis_options
@click.option("--no-timing", is_flag=True, help="Correctness only.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Default: reports/sweeps/sweep-…")
@click.option("--dry-run", is_flag=True, help="List the cells with the time and memory that they will need.")
@click.option("--dump-config", is_flag=True, help="Print the grid as the TOML file that --grid reads.")
@click.option(
    "--only",
    type=Values(click.Choice(RETRIED)),
    metavar="STATE,STATE",
    help="Of the cells that are not done, run these: failed, missing, stale, disturbed, skipped.",
)
@click.option("--explain", metavar="KEY", help="Say what is known of a cell, and why it is stale.")
@click.option("--shard", type=Shard(), metavar="I/N", help="Run every N-th cell from the I-th on.")
@click.option(
    "--crossovers", is_flag=True, help="Measure between two sizes until it is known where the fastest backend changes."
)
@click.option("--engine", type=click.Choice(["local", "dask"]), default="local", show_default=True)
@click.option("--scheduler", metavar="ADDRESS", help="Of a running dask cluster. Default: a cluster on this machine.")
@click.option("--workers", type=Count(), help="Workers of dask's cluster on this machine. Default: one for each CPU.")
@click.option(
    "--memory-limit", type=MemorySize(), metavar="SIZE", help="Memory that each worker may hold. Default: a fair share."
)
@click.option("--json", "as_json", is_flag=True, help="The cells as JSON lines on stdout.")
@click.option("--quiet", is_flag=True, help="No progress display.")
def sweep(
    file: Path | None,
    no_timing: bool,
    output: Path | None,
    dry_run: bool,
    dump_config: bool,
    only: list[str] | None,
    explain: str | None,
    shard: tuple[int, int] | None,
    crossovers: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Run several backends over a grid of sizes: correctness in every cell, then speed, memory and crossovers.

    Each cell is a run of its own. What is done is kept; failed and disturbed cells are tried again.
    """
    from compare_ag.sweep.grid import grid_file, installed_versions, plan

    engine = {name: options.pop(name) for name in ("engine", "scheduler", "workers", "memory_limit")}
    grid = chosen_grid(file, no_timing=no_timing, **options)
    if dump_config:
        click.echo(grid_file(grid), nl=False)
        return
    planned = plan(grid, installed_versions(grid.backends))
    if shard is not None:
        planned = planned[shard[0] - 1 :: shard[1]]
    if explain is not None:
        _explain(grid, output, planned, explain)
    elif dry_run:
        _list(grid, output, planned)
    else:
        if crossovers and (shard is not None or not grid.timing):
            raise click.UsageError("--crossovers needs times of the whole grid: without --shard, and with timing")
        chosen, states = chosen_engine(**engine), frozenset(only or ())
        sys.exit(_sweep(grid, output, planned, states, chosen, crossovers=crossovers, as_json=as_json, quiet=quiet))


def chosen_grid(file: Path | None, *, no_timing: bool = False, **options: Any) -> SweepGrid:
    """The grid of a file and of the options, which win. Raises `ProblemError` and `SelectionError`."""
    from compare_ag.sweep.grid import chosen_backends, make_grid, read_grid_file

    fields = {} if file is None else read_grid_file(file)
    fields |= {name: value for name, value in options.items() if value is not None}
    if no_timing:
        fields["timing"] = False
    grid = make_grid(**fields)
    return make_grid(**{**fields, "backends": chosen_backends(grid.backends)})


def _ledger_if_there(grid: SweepGrid, output: Path | None) -> Ledger | None:
    """The ledger of a sweep that has begun; None where there is none yet. Nothing is made."""
    from compare_ag.sweep.ledger import SWEEP_FILE, Ledger, default_folder

    folder = output or default_folder(grid)
    return Ledger.create(grid, folder) if (folder / SWEEP_FILE).is_file() else None


def _list(grid: SweepGrid, output: Path | None, planned: Sequence[Planned]) -> None:
    """Print the cells with what they need."""
    from compare_ag.problem.estimate import available_memory
    from compare_ag.report.sweep.tables import Need
    from compare_ag.report.sweep.terminal import plan_lines
    from compare_ag.sweep.estimate import estimate, why_skipped

    ledger = _ledger_if_there(grid, output)
    states = {} if ledger is None else {state.planned.key: state.state for state in ledger.states(planned)}
    free = available_memory()
    needs = []
    for item in planned:
        need = estimate(item.cell)
        why = why_skipped(item.cell, need, lambda: free)
        needs.append(Need(item.key, item.cell, need.seconds, need.bytes, states.get(item.key, ""), why))
    for line in plan_lines(needs):
        print(line)
    sys.stdout.flush()


def _explain(grid: SweepGrid, output: Path | None, planned: Sequence[Planned], key: str) -> None:
    """Print what is known of the cell whose key begins so."""
    from compare_ag.records import RecordError
    from compare_ag.sweep.explain import explain_key

    ledger = _ledger_if_there(grid, output)
    lines = explain_key(ledger, planned, key)
    if not lines:
        raise RecordError(f"no cell's key begins with {key!r}; --dry-run lists the keys of this grid")
    for line in lines:
        print(line)
    sys.stdout.flush()


def _sweep(
    grid: SweepGrid,
    output: Path | None,
    planned: Sequence[Planned],
    only: frozenset[str],
    engine: Engine,
    *,
    crossovers: bool,
    as_json: bool,
    quiet: bool,
) -> ExitCode:
    """Run what is left of the grid, write the tables, print the summary; return the exit code."""
    from compare_ag.cli.steps import Steps
    from compare_ag.sweep.analysis import measure_beyond_cells
    from compare_ag.sweep.engines import run_local
    from compare_ag.sweep.flow import exit_code, left, run_cells
    from compare_ag.sweep.grid import installed_versions
    from compare_ag.sweep.ledger import Ledger
    from compare_ag.sweep.tables import keep_tables
    from compare_ag.text import printable

    end_on_signals()
    ledger = Ledger.create(grid, output)
    with Steps(quiet=quiet) as steps:
        todo = left(ledger.states(planned), only)
        result = run_cells(ledger, todo, engine, steps.show)
        searched, changed = None, bool(todo)
        if grid.timing and result.complete:
            limits, searched = measure_beyond_cells(
                ledger, installed_versions(grid.backends), run_local, steps.show, result, crossovers=crossovers
            )
            changed |= limits
        steps.show("writing tables and page")
        records, analysis = keep_tables(ledger, searched, changed=changed)
    if result.lost:
        print(f"compare-ag: {printable(result.lost)}; the same command continues this sweep", file=sys.stderr)
    if result.interrupt is not None:
        print("interrupted: the same command continues this sweep", file=sys.stderr)
    _print(ledger, records, analysis, as_json=as_json)
    own = {item.key for item in planned}
    return exit_code(result, [record for record in records if record.key in own])


def _print(ledger: Ledger, records: list[CellRecord], analysis: Analysis, *, as_json: bool) -> None:
    from compare_ag.cli.common import report_console
    from compare_ag.report.sweep.rows import json_lines
    from compare_ag.report.sweep.terminal import print_sweep

    print_sweep(records, analysis, ledger.folder, report_console(stderr=as_json))
    if as_json:
        print(json_lines(records), end="")
    sys.stdout.flush()


def chosen_engine(engine: str, scheduler: str | None, workers: int | None, memory_limit: int | None) -> Engine:
    """The engine of these options. Raises a usage error where they exclude each other."""
    from functools import partial

    if engine == "dask":
        from compare_ag.sweep.engine_dask import run_dask

        return partial(run_dask, scheduler=scheduler, workers=workers, memory_limit=memory_limit)
    if scheduler is not None or workers is not None:
        raise click.UsageError("--scheduler and --workers belong to --engine dask")
    from compare_ag.sweep.engines import run_local

    return partial(run_local, memory_limit=memory_limit)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the command as an interrupt does, so that no process is left."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup wants it
        signal.signal(signal.SIGHUP, _terminate)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    from compare_ag.suite import Terminated

    raise Terminated
