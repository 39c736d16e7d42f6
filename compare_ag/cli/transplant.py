"""``compare-ag transplant``: loss, gradient and update from different backends, to find the wrong part."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import BackendNames, TrainingCommand, click, report_console
from compare_ag.cli.problem_options import chosen_problem, problem_options
from compare_ag.cli.steps import Steps
from compare_ag.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from compare_ag.bisect import Transplant

SCHEMA = {"name": "compare-ag/transplant", "major": 1, "minor": 2}
"""1.0: message, guilty[] of backend and part; combinations[] of loss, gradient, update, right, message, ratio, failed,
excused
1.1: own_steps[] of backend, right, message, ratio, failed
1.2: planned: number of combinations, more than were tried after an interrupt"""

EPILOG = """Examples:
  compare-ag transplant --backends torch,mine
  compare-ag transplant --backends torch,numpy,mine --problem synthetic:n=100,d=5 --steps 20
"""


@click.command(cls=TrainingCommand, epilog=EPILOG)
@click.option("--backends", type=BackendNames(), metavar="NAME,NAME", required=True, help="Two or more backends.")
@problem_options
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; text for people goes to stderr.")
def transplant(backends: list[str], as_json: bool, **options: Any) -> None:
    """Exchange loss, gradient and update between backends, and name the part that is wrong.

    The fused step of a backend that has one is judged as it is, beside them.

    --steps is the number of steps of each combination; by default at most 60.
    """
    import json

    from rich.text import Text

    from compare_ag.bisect import transplant as exchange
    from compare_ag.exit_codes import ExitCode
    from compare_ag.host.failures import WorkerFailure
    from compare_ag.suite import select

    offers = select(backends)
    if len(offers) < 2:
        raise click.UsageError("name two or more backends with --backends")
    problem = chosen_problem(**options)
    try:
        with Steps() as steps:

            def observe(done: int, total: int) -> None:
                steps.show("training combinations", done, total)

            result = exchange(offers, problem, steps=options.get("steps"), observe=observe)
    except WorkerFailure as failure:
        print(f"compare-ag: {printable(str(failure))}", file=sys.stderr)
        sys.exit(ExitCode.BACKEND_FAILED)
    console = report_console(stderr=as_json)
    console.print(Text(printable(result.message), style="bold green" if result.right else "bold red"), soft_wrap=True)
    console.print()
    console.print(_table(result))
    if as_json:
        print(json.dumps({"schema": SCHEMA, **_document(result)}, indent=1))
    failures = [combination.failed for combination in result.combinations if not combination.right]
    failures += [step.failed for step in result.own_steps if not step.right]
    codes = [ExitCode.BACKEND_FAILED if failed else ExitCode.DISAGREE for failed in failures]
    sys.exit(ExitCode.worst([*codes, *([ExitCode.INTERRUPTED] if result.interrupted else [])]))


def _table(result: Transplant) -> RenderableType:
    from compare_ag.report.grid import Grid
    from compare_ag.report.units import fraction

    table = Grid("loss from", "gradient from", "update from", "what was found", "observed/tolerance", words=4)
    for combination in result.combinations:
        cells = (combination.loss, combination.gradient, combination.update, combination.message)
        table.add_row(*map(printable, cells), fraction(combination.ratio))
    for step in result.own_steps:
        name = f"{step.backend}'s own step"
        table.add_row(*map(printable, (name, name, name, step.message)), fraction(step.ratio))
    return table


def _document(result: Transplant) -> dict[str, Any]:
    from compare_ag.records import real

    return {
        "message": result.message,
        "planned": result.planned,
        "guilty": [{"backend": name, "part": part} for name, part in result.guilty],
        "combinations": [
            {**combination._asdict(), "ratio": real(combination.ratio)} for combination in result.combinations
        ],
        "own_steps": [{**step._asdict(), "ratio": real(step.ratio)} for step in result.own_steps],
    }
