"""The group of all commands. A command's module is imported when it is called or listed, and is light until it runs."""

from __future__ import annotations

from compare_ag.cli.common import click
from compare_ag.cli.lazy import LazyGroup
from compare_ag.exit_codes import MEANINGS

COMMANDS = {
    "run": "run:run",
    "list": "list:list_backends",  # `list` would hide Python's own
    "show": "show:show",
    "report": "report:report",
    "export": "export:export",
    "compare": "compare:compare",
    "sweep": "sweep:sweep",
    "pick": "pick:pick",
    "merge": "merge:merge",
    "explain": "explain:explain",
    "graph": "graph:graph",
    "trace": "trace:trace",
    "check": "check:check",
    "bisect": "bisect:bisect",
    "transplant": "transplant:transplant",
    "selftest": "selftest:selftest",
    "import-benchmark": "import_benchmark:import_benchmark",
    "new": "new:new",
    "doctor": "doctor:doctor",
    "completion": "completion:completion",
}
"""in the order of ``--help``: where each is, within `compare_ag.cli`"""
FORMER = {"selfcheck": "selftest_speed:speed"}
"""names that a command had before"""

EPILOG = "Exit codes:\n" + "\n".join(f"  {code.value:>3}  {said}" for code, said in MEANINGS.items())


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    hidden=FORMER,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(None, "--version", package_name="compare-ag", prog_name="compare-ag")
def cli() -> None:
    """Do two automatic-differentiation backends train the same model the same way, where do they part, and what does
    each cost?"""
