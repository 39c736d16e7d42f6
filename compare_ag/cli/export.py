"""``compare-ag export``: a run as Markdown, spreadsheets, JSON or figures, from its files alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag.cli.common import Command, click, salvage_option
from compare_ag.cli.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from compare_ag.records import Run

EPILOG = """Examples:
  compare-ag export runs/mine --format md                  to paste into an issue or a paper
  compare-ag export runs/mine --format csv -o tables/
  compare-ag export runs/mine --format svg -o figures/
"""

FORMATS = ("md", "csv", "json", "svg", "png")
INSTALL = "figures need matplotlib, which is not installed; install it with: {}"


@click.command(cls=Command, epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="What to make of the run.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE|FOLDER",
    help="File for md and json (- is stdout), folder for the others. Default: md on stdout, else RUN/export/.",
)
@salvage_option
def export(run: Path, form: str, output: Path | None, salvage: bool) -> None:
    """Make Markdown (md), tables for spreadsheets (csv), one JSON document (json) or figures (svg, png) of a run.

    Nothing that is made holds a host name, a user name or an absolute path.
    """
    from compare_ag.records import load_run

    loaded = load_run(run, salvage=salvage)
    if form in ("md", "json"):
        _one(loaded, form, output)
    else:
        _several(loaded, form, output)


def _one(run: Run, form: str, output: Path | None) -> None:
    """One document, to stdout or into a file."""
    if output is not None and output.is_dir():
        raise click.BadParameter(f"{output} is a folder, and {form} is one file: name the file", param_hint="--output")
    if output == Path("-") or (output is None and form == "md"):
        sys.stdout.write(_document(run, form))
        sys.stdout.flush()
        return
    path = run.path / "export" / f"run.{form}" if output is None else output
    _write([(path.name, _document(run, form).encode())], path.parent)


def _document(run: Run, form: str) -> str:
    if form == "md":
        from compare_ag.report.markdown import run_markdown

        return run_markdown(run)
    from compare_ag.report.whole import run_json

    with Steps() as steps:
        return run_json(run, steps.show)


def _several(run: Run, form: str, output: Path | None) -> None:
    """Several files, into a folder."""
    folder = run.path / "export" if output is None else output
    if folder == Path("-") or (folder.exists() and not folder.is_dir()):
        raise click.BadParameter(f"{form} makes several files: name a folder", param_hint="--output")
    with Steps() as steps:
        if form == "csv":
            from compare_ag.report.spreadsheet import each_table

            _write(((name, text.encode()) for name, text in each_table(run, steps.show)), folder, steps)
            return
        count = _write(_figures(run, form, steps), folder, steps)
    if not count:
        raise click.UsageError("there is nothing to draw: no backend of this run has finite losses or was timed")


def _figures(run: Run, form: str, steps: Steps) -> Iterator[tuple[str, bytes]]:
    """The figures, or what to install."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        from compare_ag.host.requirements import install_line

        raise click.UsageError(INSTALL.format(install_line(("matplotlib>=3.9",), built_in=False)))
    steps.show("loading matplotlib")
    from compare_ag.report.figures import each_figure

    return each_figure(run, "svg" if form == "svg" else "png", steps.show)


def _write(files: Iterable[tuple[str, bytes]], folder: Path, steps: Steps | None = None) -> int:
    """Write each as soon as it is made, whole or not at all, and say where it is; an interrupt keeps those before.

    Returns how many there were.
    """
    from compare_ag.records import write_bytes
    from compare_ag.text import printable

    count = 0
    for name, data in files:
        write_bytes(folder / name, data)
        if steps is not None:
            steps.clear()
        print(f"wrote {printable(str(folder / name))}", flush=True)
        count += 1
    return count
