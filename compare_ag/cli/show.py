"""``compare-ag show``: print a run again, from its files alone."""

from __future__ import annotations

import sys
from pathlib import Path

from compare_ag.cli.common import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The run as JSON on stdout; text for people goes to stderr.")
def show(run: Path, as_json: bool) -> None:
    """Print the tables of a finished run again. Exits 0 whatever the run found."""
    import json

    from compare_ag import records
    from compare_ag.cli.common import report_console
    from compare_ag.report.terminal import print_run

    loaded = records.load_run(run)
    print_run(loaded, report_console(stderr=as_json))
    if as_json:
        print(json.dumps(records.document(loaded), allow_nan=False, indent=1), file=sys.stdout)
