"""Output of `run` and `check` for a CI server: ``--ci`` for GitHub, ``--junit FILE`` for all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from compare_ag.cli.common import click

F = TypeVar("F", bound=Callable[..., Any])

SUMMARY = "GITHUB_STEP_SUMMARY"
"""the variable with which GitHub names the file that becomes the page of the job"""

_OPTIONS = (
    click.option(
        "--ci",
        is_flag=True,
        help="For GitHub Actions: annotations (::error, ::warning) and a summary in the file $GITHUB_STEP_SUMMARY.",
    ),
    click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit's XML into FILE."),
)


def ci_options(command: F) -> F:
    """Add ``--ci`` and ``--junit`` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def keep_junit(path: Path | None, make: Callable[[], bytes]) -> bool:
    """Write the file of ``--junit``. Returns False, with the reason on stderr, where it could not be written."""
    if path is None:
        return True
    from compare_ag.records import SaveError, write_bytes

    try:
        write_bytes(path, make())
    except SaveError as error:
        _complain(str(error))
        return False
    return True


def keep_summary(*, asked: bool, make: Callable[[], str]) -> bool:
    """Add to the job's summary where GitHub names a file. On failure returns False, with the reason on stderr."""
    path = os.environ.get(SUMMARY, "")
    if not asked or not path:
        return True
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(make())
    except OSError as error:
        _complain(f"could not add to the job's summary: {error.strerror or error}")
        return False
    return True


def annotate(lines: Iterable[str], file: TextIO) -> None:
    """Print annotations, each on a line of its own."""
    for line in lines:
        print(line, file=file)
    file.flush()


def _complain(message: str) -> None:
    from compare_ag.text import printable

    with contextlib.suppress(OSError):  # where stderr accepts no data, the exit code alone reports it
        print(f"compare-ag: error: {printable(message)}", file=sys.stderr)
