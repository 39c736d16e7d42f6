"""A group of commands that are imported when they are called or listed, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from compare_ag.cli.common import KeepsEpilog
from compare_ag.text import printable

LONGEST_SENTENCE = 500
"""most characters of a command's first sentence"""


class LazyGroup(KeepsEpilog, click.Group):
    """A group that knows where its commands are.

    commands: name → "module:attribute" within `compare_ag.cli`, in the order of ``--help``.
    hidden: the same for names that still work and are not listed.
    default: the command to run where the first argument is no command.
    """

    def __init__(
        self,
        *args: Any,
        commands: Mapping[str, str],
        hidden: Mapping[str, str] | None = None,
        default: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._homes = dict(commands)
        self._hidden = dict(hidden or {})
        self._default = default

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of ``--help``."""
        return list(self._homes)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now."""
        home = self._homes.get(name) or self._hidden.get(name)
        if home is None:
            return None
        module, attribute = home.split(":")
        command: click.Command = getattr(importlib.import_module(f"compare_ag.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its whole first sentence; click would cut it to one line."""
        commands = ((name, self.get_command(ctx, name)) for name in self._homes)
        rows = [
            (name, command.get_short_help_str(LONGEST_SENTENCE)) for name, command in commands if command is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command first where the arguments are empty or begin with one of its options."""
        if self._default is not None and (
            not args or (args[0].startswith("-") and args[0] not in self._own_options(ctx))
        ):
            args = [self._default, *args]
        remaining: list[str] = super().parse_args(ctx, args)
        return remaining

    def _own_options(self, ctx: click.Context) -> set[str]:
        return {*ctx.help_option_names, *(option for parameter in self.params for option in parameter.opts)}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest name."""
        known = [*self._homes, *self._hidden]
        if args[0] not in known and not args[0].startswith("-"):
            import difflib  # imported late, because shell completion pays for every import

            if close := difflib.get_close_matches(args[0], self._homes, n=1):
                ctx.fail(f"No such command '{printable(args[0])}'; did you mean '{close[0]}'?")
        resolved: tuple[str | None, click.Command | None, list[str]] = super().resolve_command(ctx, args)
        return resolved
