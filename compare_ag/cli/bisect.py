"""``compare-ag bisect A B``: the first step, phase and coordinate at which one of two backends is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import BackendNames, TrainingCommand, click
from compare_ag.cli.problem_options import chosen_problem, problem_options
from compare_ag.text import printable

if TYPE_CHECKING:
    from compare_ag.bisect import Divergence

SCHEMA = {"name": "compare-ag/bisect", "major": 1, "minor": 2}
"""1.0: message, first_bits; faults: name -> message, step, phase, coordinate, ratio, reproducer, reproduces.
1.1: looks_random
1.2: interrupted: the last step before an interrupt; empty without an interrupt"""

EPILOG = """Examples:
  compare-ag bisect torch mine
  compare-ag bisect torch mine --problem synthetic:n=100,d=5 --dtype float32 --steps 500
"""


@click.command(cls=TrainingCommand, epilog=EPILOG)
@click.argument("first", type=BackendNames(), metavar="A")
@click.argument("second", type=BackendNames(), metavar="B")
@problem_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the script that reproduces a fault is written. Default: here.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; text for people goes to stderr.")
def bisect(first: list[str], second: list[str], output: Path, as_json: bool, **options: Any) -> None:
    """Find where two backends part: train both with every step recorded, and judge every step."""
    import json

    from compare_ag.bisect import TooLongError
    from compare_ag.bisect import bisect as find
    from compare_ag.cli.common import progress_console
    from compare_ag.cli.progress import make_progress
    from compare_ag.exit_codes import ExitCode
    from compare_ag.suite import select

    offers = select([*first, *second])
    if len(offers) != 2:
        raise click.UsageError("name two different backends")
    problem = chosen_problem(**options)
    try:
        divergence = find(offers, problem, folder=output, observer=make_progress(progress_console(), quiet=False))
    except TooLongError as error:
        raise click.UsageError(str(error)) from None
    out = sys.stderr if as_json else sys.stdout
    for line in _lines(divergence):
        print(line, file=out)
    if as_json:
        print(json.dumps({"schema": SCHEMA, "backends": list(offers), **_document(divergence)}, indent=1))
    codes = [
        ExitCode.DISAGREE if fault.failure is None else ExitCode.BACKEND_FAILED for fault in divergence.faults.values()
    ]
    sys.exit(ExitCode.worst([*codes, *([ExitCode.INTERRUPTED] if divergence.interrupted else [])]))


def _lines(divergence: Divergence) -> list[str]:
    if not divergence.faults:
        return [divergence.message]
    lines = []
    for name, fault in divergence.faults.items():
        place = [] if fault.step is None else [f"step {fault.step}"]
        place += [part for part in (fault.phase, fault.coordinate) if part is not None]
        lines += [f"{printable(name)} is wrong: {', '.join(place)}", f"  {printable(fault.message)}"]
        script = divergence.reproducers.get(name)
        if script is not None:
            how = "reproduces it" if script.reproduces else f"does not reproduce it: {printable(script.output)}"
            if script.looks_random:
                rate = printable(script.output.removeprefix("REPRODUCED: "))
                how = f"repeats the same call until it is wrong again: {rate}"
            lines.append(f"  {printable(str(script.path))} {how}; run it with python")
    if divergence.interrupted:
        lines.append(f"interrupted: {divergence.interrupted}")
    if divergence.first_bits:
        lines.append(f"Bit by bit: {divergence.first_bits}")
    return lines


def _document(divergence: Divergence) -> dict[str, Any]:
    from compare_ag.records import real

    faults = {}
    for name, fault in divergence.faults.items():
        script = divergence.reproducers.get(name)
        faults[name] = {
            "message": fault.message,
            "step": fault.step,
            "phase": fault.phase,
            "coordinate": fault.coordinate,
            "ratio": real(fault.ratio),
            "reproducer": None if script is None else str(script.path),
            "reproduces": None if script is None else script.reproduces,
            "looks_random": None if script is None else script.looks_random,
        }
    return {
        "message": divergence.message, "interrupted": divergence.interrupted, "first_bits": divergence.first_bits,
        "faults": faults,
    }  # fmt: skip  # as in the schema
