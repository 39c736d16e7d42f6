"""``compare-ag import-benchmark``: make a run directory from pytest-benchmark's measurements with our fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

from compare_ag.cli.common import Command, click, details_option

EPILOG = """Examples:
  pytest --pyargs compare_ag.benchmarks -k seed --benchmark-json measured.json
  compare-ag import-benchmark measured.json
"""


@click.command("import-benchmark", cls=Command, epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Run directory. Default: reports/runs/…"
)
@details_option
@click.option("--json", "as_json", is_flag=True, help="The runs as JSON on stdout; text for people goes to stderr.")
def import_benchmark(file: Path, output: Path | None, details: bool, as_json: bool) -> None:
    """Read pytest-benchmark's JSON as a run, one for each problem in it."""
    import json

    from compare_ag import records
    from compare_ag.cli.common import print_report, report_console
    from compare_ag.pytest_benchmark.imported import import_benchmark as read
    from compare_ag.report.page import keep_report
    from compare_ag.text import printable

    runs = read(file, output)
    for run in runs:
        if trouble := keep_report(run):
            click.echo(f"warning: {printable(trouble)}", err=True)
        print_report(run, report_console(stderr=as_json), details=details)
    if as_json:
        print(json.dumps([records.document(run) for run in runs], allow_nan=False, indent=1), file=sys.stdout)
