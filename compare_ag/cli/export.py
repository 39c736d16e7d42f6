"""``compare-ag export``: a run as Markdown, spreadsheets, JSON or figures, from its files alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag.cli.common import Command, click

if TYPE_CHECKING:
    from collections.abc import Mapping

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
def export(run: Path, form: str, output: Path | None) -> None:
    """Make Markdown (md), tables for spreadsheets (csv), one JSON document (json) or figures (svg, png) of a run.

    Nothing that is made holds a host name, a user name or an absolute path.
    """
    from compare_ag.records import load_run

    loaded = load_run(run)
    if form in ("md", "json"):
        _one(loaded, form, output)
    else:
        _several(loaded, form, output)


def _one(run: Run, form: str, output: Path | None) -> None:
    """One document, to stdout or into a file."""
    if form == "md":
        from compare_ag.report.markdown import run_markdown as make
    else:
        from compare_ag.report.whole import run_json as make
    if output is not None and output.is_dir():
        raise click.BadParameter(f"{output} is a folder, and {form} is one file: name the file", param_hint="--output")
    if output == Path("-") or (output is None and form == "md"):
        sys.stdout.write(make(run))
        sys.stdout.flush()
        return
    path = run.path / "export" / f"run.{form}" if output is None else output
    _write({path.name: make(run).encode()}, path.parent)


def _several(run: Run, form: str, output: Path | None) -> None:
    """Several files, into a folder."""
    folder = run.path / "export" if output is None else output
    if folder == Path("-") or (folder.exists() and not folder.is_dir()):
        raise click.BadParameter(f"{form} makes several files: name a folder", param_hint="--output")
    if form == "csv":
        from compare_ag.report.spreadsheet import tables

        _write({name: text.encode() for name, text in tables(run).items()}, folder)
        return
    made = _figures(run, form)
    if not made:
        raise click.UsageError("there is nothing to draw: no backend of this run has finite losses or was timed")
    _write(made, folder)


def _figures(run: Run, form: str) -> Mapping[str, bytes]:
    """The figures, or what to install."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        from compare_ag.host.requirements import install_line

        raise click.UsageError(INSTALL.format(install_line(("matplotlib>=3.9",), built_in=False)))
    from compare_ag.report.figures import figures

    return figures(run, "svg" if form == "svg" else "png")


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write them whole or not at all, and say where they are."""
    from compare_ag.records import write_bytes
    from compare_ag.text import printable

    for name, data in files.items():
        write_bytes(folder / name, data)
        print(f"wrote {printable(str(folder / name))}")
