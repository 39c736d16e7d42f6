"""Draw the README's picture: a real run of the seed problem in the terminal, as SVG.

    python scripts/picture.py [RUN] [-o reports/gallery/run-seed.svg]

Without RUN it makes a fresh one with torch, numpy and autograd. The picture shows what `compare-ag show RUN` prints.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

import compare_ag
from compare_ag.report.screen import problem_options, sections

COLUMNS = 100


def draw(run: compare_ag.Run, title: str) -> str:
    """The run's report as an SVG text."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ compare-ag run --backends torch,numpy,autograd\n"))
    for part in sections(run, problem_options(run)):
        console.print(part)
    svg = console.export_svg(title=title)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a run directory; default: make a run")
    parser.add_argument("-o", "--output", type=Path, default=Path("reports/gallery/run-seed.svg"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.run is not None:
            run = compare_ag.load_run(arguments.run)
        else:
            run = compare_ag.run(["torch", "numpy", "autograd"], output=Path(folder) / "run")
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(draw(run, "compare-ag"), encoding="utf-8")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
