"""The command line. One module for each command, imported when it is called and not before.

``--version`` is answered before anything is imported, and neither ``--help`` nor ``list`` nor completion may touch
numpy, a framework or a plugin (tested): a tool that takes a second to print its help is not asked for help.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import compare_ag
from compare_ag.exit_codes import ExitCode

PROGRAM = "compare-ag"
COMPLETION = "_COMPARE_AG_COMPLETE"


def main() -> NoReturn:
    """Run the command line on sys.argv and exit."""
    if sys.argv[1:] == ["--version"]:
        print(f"{PROGRAM} {compare_ag.__version__}")
        sys.exit(0)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without µ still gets its table
    try:
        from compare_ag.cli.group import cli

        cli.main(prog_name=PROGRAM, complete_var=COMPLETION, standalone_mode=True)
    except KeyboardInterrupt as stop:
        _say("interrupted")
        sys.exit(ExitCode.TERMINATED if type(stop).__name__ == "Terminated" else ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # the reader has gone, as in `compare-ag list | head -1`: that is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a message for people, never a traceback
        code = _explain(error)
        sys.exit(code)
    sys.exit(0)


def _explain(error: Exception) -> ExitCode:
    """Say what went wrong in one message; return the exit code. Known errors are told by name, to import nothing."""
    known = {
        "ProblemError": ExitCode.USAGE,
        "SelectionError": ExitCode.USAGE,
        "RecordError": ExitCode.USAGE,
        "NothingToRunError": ExitCode.NOTHING_TO_RUN,
        "SaveError": ExitCode.NOT_SAVED,
    }
    name = type(error).__name__
    if type(error).__module__.startswith("compare_ag.") and name in known:
        from compare_ag.text import printable

        _say(f"error: {printable(str(error))}")
        return known[name]
    _say(_bug_report(error))
    return ExitCode.BUG


def _bug_report(error: Exception) -> str:
    """Keep the traceback in a file and say where."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="compare-ag-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
        where = f"The details are in {file.name}"
    except OSError:
        where = f"The details could not be saved:\n{text}"
    return f"this is a bug in compare-ag ({type(error).__name__}: {error}). {where}; please report it with them."


def _say(message: str) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr)
