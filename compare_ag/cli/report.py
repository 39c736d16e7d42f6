"""``compare-ag report``: make the HTML page of a run again, from its files alone."""

from __future__ import annotations

from pathlib import Path

from compare_ag.cli.common import click, salvage_option
from compare_ag.cli.steps import Steps


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to. Default: report.html in RUN."
)
@salvage_option
def report(run: Path, output: Path | None, salvage: bool) -> None:
    """Make the HTML page of a run again, in one file that loads nothing. Exits 0 whatever the run found."""
    from compare_ag.records import load_run
    from compare_ag.report.page import write_report
    from compare_ag.text import printable

    if output == Path("-"):
        raise click.BadParameter("a report is no text for a terminal: name a file", param_hint="-o")
    if output is not None and output.is_dir():
        raise click.BadParameter(f"{printable(str(output))} is a directory; name a file", param_hint="-o")
    with Steps() as steps:
        steps.show("reading the run")
        loaded = load_run(run, salvage=salvage)
        steps.show("making the page")
        path = write_report(loaded, output)
    click.echo(f"wrote {printable(str(path))}")
