"""The group of commands. A command's module is imported when it is called or listed, and is light until it runs."""

from __future__ import annotations

import importlib

import click as plain_click

from compare_ag.cli.common import KeepsEpilog, click
from compare_ag.exit_codes import MEANINGS
from compare_ag.text import printable

COMMANDS = (
    "run", "list", "show", "verify", "report", "export", "compare",
    "explain", "graph", "trace",
    "check", "bisect", "transplant", "selftest", "selfcheck",
    "import-benchmark", "new",
    "doctor", "completion",
)  # fmt: skip
"""in the order of ``--help``; each lives in the module of its name"""

EPILOG = "Exit codes:\n" + "\n".join(f"  {code.value:>3}  {said}" for code, said in MEANINGS.items())


class LazyGroup(KeepsEpilog, click.RichGroup if hasattr(click, "RichGroup") else plain_click.Group):  # type: ignore[misc]  # rich where it is loaded
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: plain_click.Context) -> list[str]:
        """The names, as people should meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: plain_click.Context, name: str) -> plain_click.Command | None:
        """The command of this name, imported now."""
        if name not in COMMANDS:
            return None
        command: plain_click.Command = getattr(
            importlib.import_module(f"compare_ag.cli.{_module(name)}"), _attribute(name)
        )
        return command

    def resolve_command(
        self, ctx: plain_click.Context, args: list[str]
    ) -> tuple[str | None, plain_click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib  # here, for completion pays for every import

            if close := difflib.get_close_matches(args[0], COMMANDS, n=1):
                ctx.fail(f"No such command '{printable(args[0])}'; did you mean '{close[0]}'?")
        resolved: tuple[str | None, plain_click.Command | None, list[str]] = super().resolve_command(ctx, args)
        return resolved


def _attribute(name: str) -> str:
    """The command's attribute in its module; `list` would hide Python's own."""
    return "list_backends" if name == "list" else _module(name)


def _module(name: str) -> str:
    """A command's name as Python writes it."""
    return name.replace("-", "_")


@click.command(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "--version", package_name="compare-ag", prog_name="compare-ag")
def cli() -> None:
    """Do two automatic-differentiation backends train the same model the same way, where do they part, and what does
    each cost?"""
