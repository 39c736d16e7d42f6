"""The command line. One module for each command, imported only when the command is called.

``--version`` is answered before any import, and neither ``--help`` nor ``list`` nor completion may import numpy, a
framework or a plugin (tested), because help must appear at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

import compare_ag
from compare_ag.exit_codes import ExitCode

PROGRAM = "compare-ag"
COMPLETION = "_COMPARE_AG_COMPLETE"

READER_GONE = 141
"""128 + SIGPIPE: the exit code of every tool whose reader has left, as in ``compare-ag run | head``. Not 0, because the
verdict was not read, and no `ExitCode`, because the command did not fail; a run is saved before it is printed."""

LOST_SECONDS = 0.02
"""seconds until the finalizer in which an interrupt was lost has ended"""

_TAKES_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of writing. Without a file's name in `_explain` such an error is no bug: a standard stream, or a file that was
open already, accepted no more data."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line on ``argv``, or on sys.argv without the program's name, and exit."""
    _replace_closed_streams()
    _restore_warning_filters()
    sys.unraisablehook = _resend_lost_interrupt
    arguments = [*(sys.argv[1:] if argv is None else argv)]  # not list(), which the command of that name shadows here
    try:
        code = _answer(arguments)
        sys.stdout.flush()  # at the interpreter's end a closed pipe would print a traceback
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:
        code = not_written(error)
    for stream in (sys.stdout, sys.stderr):
        _forget_unwritten(stream)
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Put the null device where a standard stream is closed (``>&-``), which Python shows as None.

    In the order of their numbers, so that each gets its own number, the lowest free one; else the next pipe or file of
    this process would become a standard stream of its children.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _restore_warning_filters() -> None:
    """Undo ``-W`` and PYTHONWARNINGS: they are for developers of Python code, and would turn a library's warning into
    an error of this program."""
    if sys.warnoptions:
        import warnings

        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)  # as Python itself does


def _resend_lost_interrupt(lost: sys.UnraisableHookArgs) -> None:
    """Resend an interrupt that arrived while Python ran a finalizer, where Python prints and drops it."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    import signal
    import threading

    number = signal.SIGTERM if lost.exc_type.__name__ == "Terminated" else signal.SIGINT
    main_thread = threading.main_thread().ident
    assert main_thread is not None  # this code runs in it
    threading.Timer(LOST_SECONDS, signal.pthread_kill, (main_thread, number)).start()


def not_written(error: OSError, hint: str = "") -> ExitCode:
    """Report that the output could not be written, and in ``hint`` what is unaffected; return the exit code."""
    _forget_unwritten(sys.stdout)
    from compare_ag.text import printable

    failure = f"the output could not be written: {error.strerror or error}"
    _say(f"error: {printable('; '.join(filter(None, [failure, hint])))}")
    return ExitCode.NOT_SAVED


def _forget_unwritten(stream: TextIO) -> None:
    """Send data that cannot be written to the null device: else the interpreter would retry at its end and exit 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _answer(arguments: list[str]) -> int:
    """Run the command; return the exit code. Raises `OSError` where stdout fails, and no other exception."""
    try:
        if arguments == ["--version"]:
            print(f"{PROGRAM} {compare_ag.__version__}")
            return ExitCode.OK
        from compare_ag.cli.plain import register

        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=register())  # a terminal without µ still gets its table
        return _dispatch(arguments)
    except SystemExit as stop:  # the way in which a command returns its exit code
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        _say("interrupted")
        return ExitCode.TERMINATED if type(stop).__name__ == "Terminated" else ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: a message for people, never a traceback
        return _explain(error)


def _dispatch(arguments: list[str]) -> int:
    """Let click parse and call the command.

    Not through click's own ``main``, which exits with 1 after an interrupt and a closed pipe; here 1 means that numbers
    disagree.
    """
    from click.exceptions import ClickException, Exit

    from compare_ag.cli.group import cli

    if instruction := os.environ.get(COMPLETION):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, PROGRAM, COMPLETION, instruction)
    try:
        with cli.make_context(PROGRAM, arguments) as context:
            cli.invoke(context)
    except Exit as end:
        return end.exit_code
    except ClickException as error:
        with contextlib.suppress(OSError):  # where stderr accepts no data, the exit code alone reports it
            error.show()
        return ExitCode.USAGE
    return ExitCode.OK


def _explain(error: Exception) -> ExitCode:
    """Report the error in one message; return the exit code. Known errors are compared by name, without imports."""
    known = {
        "ProblemError": ExitCode.USAGE,
        "SelectionError": ExitCode.USAGE,
        "RecordError": ExitCode.USAGE,
        "ComparisonError": ExitCode.USAGE,
        "NothingToRunError": ExitCode.NOTHING_TO_RUN,
        "BusyError": ExitCode.NOTHING_TO_RUN,
        "SaveError": ExitCode.NOT_SAVED,
    }
    name = type(error).__name__
    if type(error).__module__.startswith("compare_ag.") and name in known:
        from compare_ag.text import printable

        _say(f"error: {printable(str(error))}")
        return known[name]
    if isinstance(error, OSError) and error.errno in _TAKES_NO_MORE and error.filename is None:
        return not_written(error)
    _say(_bug_report(error))
    return ExitCode.BUG


def _bug_report(error: Exception) -> str:
    """Save the traceback in a file and return a message that names the file."""
    import tempfile
    import traceback

    from compare_ag.text import printable

    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="compare-ag-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
        where = f"The details are in {file.name}"
    except OSError:
        where = f"The details could not be saved:\n{text}"
    description = printable(f"{type(error).__name__}: {error}")
    return f"this is a bug in compare-ag ({description}). {where}; please report it with them."


def _say(message: str) -> None:
    with contextlib.suppress(OSError):  # where stderr accepts no data, the exit code alone reports it
        print(f"{PROGRAM}: {message}", file=sys.stderr)
