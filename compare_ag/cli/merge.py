"""``compare-ag merge``: the folders of a sweep's shards become one."""

from __future__ import annotations

import sys
from pathlib import Path

from compare_ag.cli.common import Command, click

EPILOG = """Exit codes: 0 merged, 2 a folder holds another grid or a cell that is not what was measured.

Example:
  compare-ag merge whole part-1 part-2 part-3
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("output", type=click.Path(path_type=Path), metavar="OUT")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option("--quiet", is_flag=True, help="No progress display.")
def merge(output: Path, folders: tuple[Path, ...], quiet: bool) -> None:
    """Unite the folders of a sweep's shards in OUT: a new folder, or one of the same grid.

    Keys, versions and the sha256 of every file are checked before anything is copied. Cells of two machines stay apart.
    """
    from compare_ag.cli.common import report_console
    from compare_ag.cli.steps import Steps
    from compare_ag.report.sweep.terminal import print_sweep
    from compare_ag.sweep.ledger import Ledger
    from compare_ag.sweep.merge import merge as merge_folders
    from compare_ag.sweep.tables import keep_tables, merge_crossovers
    from compare_ag.text import printable

    with Steps(quiet=quiet) as steps:
        merged = merge_folders(output, folders, steps.show)
        steps.show("writing tables and page")
        parts = [Ledger.open(folder) for folder in (output, *folders)]
        records, analysis = keep_tables(merged.ledger, merge_crossovers(parts))
    for warning in merged.warnings:
        print(f"warning: {printable(warning)}", file=sys.stderr)
    print_sweep(records, analysis, merged.ledger.folder, report_console())
    print(f"{merged.added} cells added, {merged.known} were there")
    sys.stdout.flush()
