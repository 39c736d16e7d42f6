"""``compare-ag graph``: the graph of the loss as each backend really recorded it, checked node by node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import BackendNames, Seconds, TrainingCommand, click, report_console
from compare_ag.cli.problem_options import chosen_problem, problem_options
from compare_ag.cli.steps import Steps
from compare_ag.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compare_ag.exit_codes import ExitCode
    from compare_ag.records.graphs import GraphDocument

SUFFIXES = (".svg", ".html")

EPILOG = """Examples:
  compare-ag graph --backends torch,autograd,numpy
  compare-ag graph --backends torch,mine --loss logits --l2 0.1 --step 500 -o graph.html
"""


class _GraphFile(click.Path):
    """A file whose ending chooses its format."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path. Fails for any other ending."""
        path = Path(str(super().convert(value, param, ctx)))
        if path.suffix.lower() not in SUFFIXES:
            self.fail(f"{printable(str(path))!r} must end in .svg or .html", param, ctx)
        return path


@click.command(cls=TrainingCommand, epilog=EPILOG)
@click.option("--backends", type=BackendNames(), metavar="NAME,NAME", help="Default: every available one.")
@problem_options
@click.option("--step", type=int, default=0, show_default=True, help="Look after so many updates of the reference.")
@click.option(
    "-o", "--output", type=_GraphFile(dir_okay=False), metavar="FILE", help="Draw it: FILE.svg, or a page FILE.html."
)
@click.option(
    "--timeout", type=Seconds(), default=60.0, show_default=True, help="Wall-clock seconds that each worker may take."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; text for people goes to stderr.")
def graph(
    backends: list[str] | None, step: int, output: Path | None, timeout: float, as_json: bool, **options: Any
) -> None:
    """Show the computational graph of the loss as each backend recorded it.

    Every backend is asked at the same weights. Nodes that carry the same numbers stand beside each other, whatever they
    are called, and every gradient is checked against the exact one.
    """
    import json

    from compare_ag.exit_codes import ExitCode
    from compare_ag.records.graphs import as_json as document_of
    from compare_ag.report.graph.text import graph_text
    from compare_ag.suite import select
    from compare_ag.suite.recorded_graphs import record_graphs

    offers = select(backends)
    problem = chosen_problem(**options)
    if not 0 <= step <= problem.steps:
        raise click.UsageError(f"--step {step}: this training has the steps 0 to {problem.steps}")
    with Steps() as steps:
        document = record_graphs(offers, problem, step, timeout=timeout, tell=steps.show)
    console = report_console(stderr=as_json)
    console.print(graph_text(document))
    if as_json:
        print(json.dumps(document_of(document), indent=1))
    if output is not None:
        console.print(f"\n{_draw(document, output)}", markup=False, soft_wrap=True)
    sys.exit(ExitCode.worst(codes(graph.status for graph in document.graphs)))


def codes(statuses: Iterable[str]) -> list[ExitCode]:
    """The exit code of each backend's status; a backend that offers no graph has not failed.

    Only an interrupt cancels, and answers before it have been shown.
    """
    from compare_ag.exit_codes import ExitCode

    known = {"cancelled": ExitCode.INTERRUPTED}
    return [known.get(status) or ExitCode.of_status(status) for status in statuses if status != "not-offered"]


def _draw(document: GraphDocument, path: Path) -> str:
    """Draw into a file; return a message. Raises `SaveError`."""
    from compare_ag.records import write_bytes
    from compare_ag.report.graph.page import graph_file, graph_page
    from compare_ag.report.graph.rows import recorded_graphs

    if not recorded_graphs(document):
        return f"Nothing to draw: {printable(str(path))} was not written"
    page = path.suffix.lower() == ".html"
    write_bytes(path, (graph_page if page else graph_file)(document).encode())
    return f"Drawn in {printable(str(path))}"
