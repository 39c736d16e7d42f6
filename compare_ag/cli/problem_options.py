"""The options that choose the problem, shared by every command that trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compare_ag.cli.common import Count, ProblemText, click

if TYPE_CHECKING:
    from compare_ag.problem import Data, Problem

F = TypeVar("F", bound=Callable[..., Any])

_DATA_OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Your own data: CSV, LIBSVM (also .gz, .bz2, .xz), Parquet, or .npz with X and y.",
    ),
    click.option(
        "--target", metavar="COLUMN", help="Column of --data that holds the labels, by name or number (0 is the first)."
    ),
    click.option(
        "--features", metavar="COLUMN,...", multiple=True, help="Columns of --data to train on. Default: all."
    ),
    click.option("--drop", metavar="COLUMN,...", multiple=True, help="Columns of --data to leave out."),
    click.option(
        "--header", type=click.Choice(["yes", "no"]), help="Whether the first CSV line is a header. Default: found out."
    ),
    click.option(
        "--delimiter",
        metavar="NAME|CHARACTER",
        help="Delimiter of CSV: comma, semicolon, tab, pipe, blanks, or a character. Default: found out.",
    ),
    click.option("--standardize", is_flag=True, help="Give every feature of --data mean 0 and standard deviation 1."),
)

_OPTIONS = (
    click.option(
        "--problem",
        type=ProblemText(),
        metavar="NAME[:PARAM=VALUE,...]",
        help="Built-in problem: seed (default), synthetic:n=1000,d=20, breast-cancer, digits, iris.",
    ),
    *_DATA_OPTIONS,
    click.option(
        "--loss",
        type=click.Choice(["probability", "logits"]),
        help="Loss form: the plain formula, or the stable softplus form. Default: logits (seed: probability).",
    ),
    click.option("--l2", type=float, default=0.0, show_default=True, help="Strength of ½ l2 ‖w‖²."),
    click.option("--steps", type=Count(), help="Number of updates. Default: 1000 (seed: 10001)."),
    click.option("--lr", type=float, help="Learning rate. Default: 1/L, L the largest curvature (seed: 0.01)."),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float64"]),
        help="Precision of everything. Default: float64 (seed: float32).",
    ),
    click.option("--batch-size", type=int, help="Examples per step, in one order for all. Default: all."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of start, batch order and schedule."),
    click.option("--threads", type=int, default=1, show_default=True, help="Threads that each backend may use."),
)


def problem_options(command: F) -> F:
    """Add the options to a command, which passes their values to `chosen_problem`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def data_options(command: F) -> F:
    """Add those options alone that say which data to read; `data_of` takes what they give."""
    for option in reversed(_DATA_OPTIONS):
        command = option(command)
    return command


_OF_DATA = ("target", "standardize", "features", "drop", "header", "delimiter")


def chosen_problem(problem: str | None, data: Path | None, lr: float | None, **options: Any) -> Problem:
    """The problem that the options describe. Raises `ProblemError`, or a usage error for options that conflict."""
    from compare_ag.problem import make_problem, problem_by_name

    options["learning_rate"] = lr
    reading = {name: options.pop(name) for name in _OF_DATA}
    read = data_of({"data": data, **reading}, wanted=problem is None)
    return problem_by_name(problem or "seed", **options) if read is None else make_problem(read, **options)


def data_of(reading: dict[str, Any], *, wanted: bool = True) -> Data | None:
    """The data that `data_options` name; None for none. Raises `ProblemError`, or a usage error.

    wanted: whether data may be named.
    """
    from compare_ag.problem import load_file

    options = dict(reading)
    data = options.pop("data")
    if data is None:
        if any(options.values()):
            raise click.UsageError(
                ", ".join(f"--{name}" for name in options if options[name]) + " belong to --data FILE"
            )
        return None
    if not wanted:
        raise click.UsageError("--problem and --data exclude each other: choose one")
    options["header"] = {"yes": True, "no": False, None: None}[options["header"]]
    return load_file(data, **options)


def as_typed(options: dict[str, Any]) -> str:
    """The given options as words for a shell, with which another command trains the same problem."""
    import shlex

    from click import get_current_context
    from click.core import ParameterSource

    context, words = get_current_context(), []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in options and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = options[name]
            for element in value if isinstance(value, tuple) else [value]:
                words += [parameter.opts[-1]] if element is True else [parameter.opts[-1], str(element)]
    return shlex.join(words)
