"""The options that say which problem to train, shared by every command that trains one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compare_ag.cli.common import ProblemText, click

if TYPE_CHECKING:
    from compare_ag.problem import Problem

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--problem",
        type=ProblemText(),
        metavar="NAME[:PARAM=VALUE,...]",
        help="Built-in problem: seed (default), synthetic:n=1000,d=20, breast-cancer, digits, iris.",
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Your own data: CSV, .npz with X and y, or LIBSVM.",
    ),
    click.option(
        "--target", metavar="COLUMN", help="CSV column that holds the labels, by name or number (0 is the first)."
    ),
    click.option("--standardize", is_flag=True, help="Give every feature of --data mean 0 and standard deviation 1."),
    click.option(
        "--loss",
        type=click.Choice(["probability", "logits"]),
        help="Loss form: the plain formula, or the stable softplus form. Default: logits (seed: probability).",
    ),
    click.option("--l2", type=float, default=0.0, show_default=True, help="Strength of ½ l2 ‖w‖²."),
    click.option("--steps", type=int, help="Number of updates. Default: 1000 (seed: 10001)."),
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
    """Add the options to a command; `chosen_problem` takes what they give."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen_problem(
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
