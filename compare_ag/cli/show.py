"""``compare-ag show``: print a run again, from its files alone."""

from __future__ import annotations

import sys
from pathlib import Path

from compare_ag.cli.common import click, details_option, salvage_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@details_option
@salvage_option
@click.option("--json", "as_json", is_flag=True, help="The run as JSON on stdout; text for people goes to stderr.")
def show(run: Path, details: bool, salvage: bool, as_json: bool) -> None:
    """Print what a finished run found, from its files alone. Exits 0 whatever that was.

    A damaged run is refused (exit 2), unless --salvage is given: see `compare-ag verify`.
    """
    import json

    from compare_ag import records
    from compare_ag.cli.common import print_report, report_console

    loaded = records.load_run(run, salvage=salvage)
    print_report(loaded, report_console(stderr=as_json), details=details)
    if as_json:
        print(json.dumps(records.document(loaded), allow_nan=False, indent=1), file=sys.stdout)
