"""``compare-ag new NAME``: a complete plugin distribution to start from, without questions and without a network."""

from __future__ import annotations

from pathlib import Path

from compare_ag.cli.common import Command, click

EPILOG = """Example:
  compare-ag new mine && cd compare-ag-mine && python -m pip install -e . && compare-ag check mine
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("name", metavar="NAME")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where it is written, absent or empty. Default: compare-ag-NAME.",
)
def new(name: str, directory: Path | None) -> None:
    """Write a working plugin to start from; replace one method at a time, and let `check` say what is next."""
    from compare_ag.template import create
    from compare_ag.text import printable

    folder, files = create(name, directory)
    print(f"A plugin that works, in {printable(str(folder))}:")
    for file in files:
        print(f"  {printable(file.name)}")
    print("Next:")
    print(f"  cd {printable(str(folder))}")
    print("  python -m pip install -e .")
    print(f"  compare-ag check {name}")
