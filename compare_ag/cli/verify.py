"""``compare-ag verify``: is a run intact, do its verdicts follow from what it keeps, and does it repeat itself?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import Command, click
from compare_ag.cli.problem_options import data_of, data_options
from compare_ag.cli.steps import Steps

if TYPE_CHECKING:
    from compare_ag.audit import Level

EPILOG = """Exit codes: 0 all that could be told holds, 1 something does not hold, 2 the run cannot be read.

Examples:
  compare-ag verify runs/mine
  compare-ag verify runs/mine --rerun
  compare-ag verify runs/of-my-data --data churn.csv --target left
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--rerun", is_flag=True, help="Also repeat the run with the same problem and backends.")
@data_options
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def verify(run: Path, rerun: bool, as_json: bool, **reading: Any) -> None:
    """Check a run at two levels, or three.

    Intact: every file is as it was written. Recomputed: each verdict, interval, ranking and status and the exit code
    follow from what is kept of the backends' answers and times. Replicated, with --rerun: the same problem and backends
    give the same numbers again. Each mismatch names the file, the field, what is recorded and what is derived.
    """
    levels = _levels(run, rerun=rerun, reading=reading)
    if as_json:
        import json

        print(json.dumps([_document(level) for level in levels], indent=1, default=str))
    else:
        for level in levels:
            _print(level)
    sys.stdout.flush()
    sys.exit(int(any(level.mismatches for level in levels)))


def _levels(run: Path, *, rerun: bool, reading: dict[str, Any]) -> list[Level]:
    from compare_ag.audit import Level, intact, recomputed, replicated
    from compare_ag.records import load_run, run_folder

    with Steps() as steps:
        steps.show("checking the files")
        folder = run_folder(run)
        levels = [intact(folder)]
        if any(one.file != "report.html" for one in levels[0].mismatches):
            return [*levels, Level("recomputed", notes=["not tried: the run is damaged"], possible=False)]
        loaded = load_run(run)
        data = data_of(reading)
        steps.show("deriving verdicts again")
        levels.append(recomputed(loaded, data))
        if rerun:
            steps.show("training again")
            levels.append(replicated(loaded, data))
    return levels


def _print(level: Level) -> None:
    from compare_ag.text import printable

    print(f"{level.name}: {level.word}" + (f": {level.checked}" if level.checked and not level.mismatches else ""))
    for mismatch in level.mismatches:
        print(f"  {printable(mismatch.sentence)}")
    for note in level.notes:
        print(f"  {printable(note)}")


def _document(level: Level) -> dict[str, Any]:
    mismatches = [
        {key: getattr(one, key) for key in ("file", "field", "recorded", "derived")} for one in level.mismatches
    ]
    return {
        "level": level.name,
        "result": level.word,
        "checked": level.checked,
        "mismatches": mismatches,
        "notes": level.notes,
    }
