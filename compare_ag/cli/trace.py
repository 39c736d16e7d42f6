"""``compare-ag trace --step K``: one training step in detail, every backend beside the exact numbers."""

from __future__ import annotations

import sys
from typing import Any

from compare_ag.cli.common import BackendNames, Seconds, TrainingCommand, click, report_console
from compare_ag.cli.problem_options import chosen_problem, problem_options
from compare_ag.cli.steps import Steps

EPILOG = """Examples:
  compare-ag trace --step 0 --backends torch,autograd,numpy
  compare-ag trace --step 500 --backends torch,mine --loss logits --dtype float64
"""


@click.command(cls=TrainingCommand, epilog=EPILOG)
@click.option("--step", type=int, required=True, help="The step to walk: 0 is the first, up to --steps less 1.")
@click.option("--backends", type=BackendNames(), metavar="NAME,NAME", help="Default: every available one.")
@problem_options
@click.option(
    "--timeout", type=Seconds(), default=60.0, show_default=True, help="Wall-clock seconds that each worker may take."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; text for people goes to stderr.")
def trace(step: int, backends: list[str] | None, timeout: float, as_json: bool, **options: Any) -> None:
    """Walk one training step: forward value by value, each gradient, the update.

    Every backend makes the step from the same weights, those of the reference after so many updates, so that the digits
    that differ have been lost in this step. They are marked; those of a number out of its tolerance doubly.
    """
    import json

    from compare_ag.cli.graph import codes
    from compare_ag.exit_codes import ExitCode
    from compare_ag.lab.trace_step import trace_step
    from compare_ag.records.graphs import as_json as document_of
    from compare_ag.report.graph.trace import slow_motion
    from compare_ag.suite import select

    offers = select(backends)
    problem = chosen_problem(**options)
    if not 0 <= step < problem.steps:
        raise click.UsageError(f"--step {step}: this training has the steps 0 to {problem.steps - 1}")
    with Steps() as steps:
        document = trace_step(offers, problem, step, timeout=timeout, tell=steps.show)
    report_console(stderr=as_json).print(slow_motion(document))
    if as_json:
        print(json.dumps(document_of(document), indent=1))
    statuses = [record.status for record in document.steps] + [record.status for record in document.graph.graphs]
    sys.exit(ExitCode.worst(codes(statuses)))
