"""Shared by the commands: parameter types, the classes of commands, the report's console."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from compare_ag.cli.colour import can_rewrite, forces_colour
from compare_ag.problem_names import PROBLEM_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from compare_ag.records import Run

__all__ = [
    "BackendNames",
    "Command",
    "Count",
    "KeepsEpilog",
    "MemorySize",
    "ProblemText",
    "Seconds",
    "TrainingCommand",
    "click",
    "details_option",
    "print_report",
    "progress_console",
    "report_console",
    "salvage_option",
    "say_waiting",
]

PIPED_WIDTH = 160
"""columns where no terminal sets them: wide enough that no table folds"""


LONGEST = 366 * 86400.0
"""the largest number of seconds for an option: a year"""


class Seconds(click.ParamType[float]):
    """A number of seconds, more than 0 and at most a year."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail."""
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a valid float.", param, ctx)
        if not 0 < seconds <= LONGEST:
            self.fail(f"must be more than 0 seconds and at most {LONGEST:,.0f} (a year), not {seconds:g}", param, ctx)
        return seconds


class Count(click.ParamType[int]):
    """An integer that may be written as 1e6."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail."""
        try:
            return int(value)
        except ValueError:
            pass
        try:
            number = float(value)
        except ValueError:
            number = 0.5
        if not number.is_integer():
            self.fail(f"{value!r} is not a valid integer.", param, ctx)
        return int(number)


class KeepsEpilog:
    """A command whose epilog is printed line by line as written; click would make it a single paragraph."""

    epilog: str | None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog unchanged."""
        if self.epilog:
            formatter.write("\n" + self.epilog.rstrip() + "\n")


class Command(KeepsEpilog, click.Command):
    """A command of ours."""


class TrainingCommand(Command):
    """A command that trains and times nothing: it waits while another process is timing, and timing waits for it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command under the machine's shared lock; a listing of topics or checks needs no lock."""
        if ctx.params.get("listing"):
            return super().invoke(ctx)
        from compare_ag.host import machine_lock

        with machine_lock.hold("training", tell=say_waiting()):
            return super().invoke(ctx)


def say_waiting() -> Callable[[str], None]:
    """A function that reports on stderr which process a command waits for: a line at each change."""
    from compare_ag.text import printable

    last_reason = ""

    def tell(reason: str) -> None:
        nonlocal last_reason
        if reason and reason != last_reason:
            with contextlib.suppress(OSError):  # a closed stderr must not end the command
                print(f"waiting: {printable(reason)}", file=sys.stderr, flush=True)
        last_reason = reason

    return tell


class BackendNames(click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """Backend names separated by commas; completes the name after the last comma."""

    name = "names"

    def convert(self, value: str | list[str], param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """``"torch, numpy"`` → ``["torch", "numpy"]``; the inventory checks whether they exist."""
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that are not yet in the list, missing backends included, whose error explains how to install them."""
        from compare_ag.host.discovery import discover

        before, comma, partial = incomplete.rpartition(",")
        taken = before.split(",")
        names = discover().names()
        return [
            CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(partial) and name not in taken
        ]


class MemorySize(click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """A number of bytes: ``2GiB``, ``500M``, ``1073741824``; k, M, G and T are powers of 1024, as memory is counted."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes, 1 or more."""
        if isinstance(value, int):
            return value
        text = value.strip().lower()
        number = text.rstrip("bi")
        power = " kmgt".find(number[-1:]) if number else -1
        try:
            size = float(number[:-1] if power > 0 else number) * 1024 ** max(0, power)
        except ValueError:
            self.fail(f"{value!r} is no size: write 2GiB or 500M", param, ctx)
        if not 1 <= size < float("inf"):
            self.fail(f"{value!r} must be 1 byte or more: write 2GiB or 500M", param, ctx)
        return int(size)


class ProblemText(click.ParamType):  # type: ignore[type-arg]  # only the newest click is generic here
    """A built-in problem with its parameters; completes the name."""

    name = "problem"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of built-in problems, with their one-line descriptions as help."""
        return [
            CompletionItem(name, help=description)
            for name, description in PROBLEM_NAMES.items()
            if name.startswith(incomplete)
        ]


salvage_option = click.option(
    "--salvage", is_flag=True, help="Read what is readable of a damaged run, and mark it as damaged."
)
details_option = click.option("--details", is_flag=True, help="Print all tables and plots. Default: one screen.")


def print_report(run: Run, console: Console, *, details: bool, asked: str | None = None) -> None:
    """Print a run: on one screen, or everything. asked: see `print_screen`."""
    if details:
        from compare_ag.report.terminal import print_run

        print_run(run, console)
    else:
        from compare_ag.report.screen import print_screen

        print_screen(run, console, asked)


def report_console(*, stderr: bool = False) -> Console:
    """The console for reports: as wide as the terminal, or on a pipe of a fixed width in which no table folds."""
    from rich.console import Console

    class ReportConsole(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to `main`: rich would exit with 1, which here means that numbers disagree."""
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    system: Any = "standard" if forces_colour() and not can_rewrite(stream) else "auto"  # rich: none where TERM is dumb
    styled = forces_colour() or stream.isatty()
    return ReportConsole(
        stderr=stderr, width=width, highlight=False, emoji=False, force_terminal=styled, color_system=system
    )


def progress_console() -> Console:
    """The console for progress: a terminal only where stderr is one, whatever FORCE_COLOR says."""
    from rich.console import Console

    return Console(stderr=True, force_terminal=sys.stderr.isatty())
