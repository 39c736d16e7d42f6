"""The command line. One module for each command, imported when it is called and not before.

``--version`` is answered before anything is imported, and neither ``--help`` nor ``list`` nor completion may touch
numpy, a framework or a plugin (tested): a tool that takes a second to print its help is not asked for help.
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
"""128 + SIGPIPE: how every tool ends whose reader has left, as in ``compare-ag run | head``. Not 0, for the verdict
was not read, and no `ExitCode`, for nothing of ours has failed; what a run saves is saved before it prints."""

LOST_SECONDS = 0.02
"""until the finalizer is over in which an interrupt was lost"""

_TAKES_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of writing. One that reaches `_explain` without a file's name is no bug: a standard stream, or a file that was
open already, took no more of what was asked for."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line on ``argv``, or on sys.argv without the program's name, and exit."""
    _replace_closed_streams()
    _restore_warning_filters()
    sys.unraisablehook = _resend_lost_interrupt
    arguments = [*(sys.argv[1:] if argv is None else argv)]  # not list(): the command of that name hides it here
    try:
        code = _answer(arguments)
        sys.stdout.flush()  # here, for at the interpreter's end a closed pipe would print a traceback
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:
        code = not_written(error)
    for stream in (sys.stdout, sys.stderr):
        _forget_unwritten(stream)
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Put the null device where a standard stream is closed (``>&-``), which Python shows as None.

    In the order of their numbers, so that each gets the lowest free one, its own: else the next pipe or file of ours
    would become the standard stream of whatever is started.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _restore_warning_filters() -> None:
    """Take back ``-W`` and PYTHONWARNINGS: they are for developers of Python code, and would make a library's warning
    our error."""
    if sys.warnoptions:
        import warnings

        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)  # as Python itself does


def _resend_lost_interrupt(lost: sys.UnraisableHookArgs) -> None:
    """Send an interrupt again that arrived while Python ran a finalizer, where it would be printed and forgotten."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    import signal
    import threading

    number = signal.SIGTERM if lost.exc_type.__name__ == "Terminated" else signal.SIGINT
    main_thread = threading.main_thread().ident
    assert main_thread is not None  # it runs, or nobody would be here
    threading.Timer(LOST_SECONDS, signal.pthread_kill, (main_thread, number)).start()


def not_written(error: OSError, hint: str = "") -> ExitCode:
    """Say that the output could not be written, and ``hint``, what that does not touch; return the exit code."""
    _forget_unwritten(sys.stdout)
    from compare_ag.text import printable

    said = f"the output could not be written: {error.strerror or error}"
    _say(f"error: {printable('; '.join(filter(None, [said, hint])))}")
    return ExitCode.NOT_SAVED


def _forget_unwritten(stream: TextIO) -> None:
    """Let what cannot be written go nowhere: at its end the interpreter would try again, and exit with 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _answer(arguments: list[str]) -> int:
    """Do what is asked; return the exit code. Raises `OSError` where stdout fails, and nothing else."""
    try:
        if arguments == ["--version"]:
            print(f"{PROGRAM} {compare_ag.__version__}")
            return ExitCode.OK
        from compare_ag.cli.plain import register

        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=register())  # a terminal without µ still gets its table
        return _dispatch(arguments)
    except SystemExit as stop:  # how a command hands over its exit code
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

    Not through click's own ``main``: it ends an interrupt and a closed pipe with 1, which here says that numbers
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
        with contextlib.suppress(OSError):  # where stderr takes nothing, the exit code says it alone
            error.show()
        return ExitCode.USAGE
    return ExitCode.OK


def _explain(error: Exception) -> ExitCode:
    """Say what went wrong in one message; return the exit code. Known errors are told by name, to import nothing."""
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
    """Keep the traceback in a file and say where."""
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
    said = printable(f"{type(error).__name__}: {error}")
    return f"this is a bug in compare-ag ({said}). {where}; please report it with them."


def _say(message: str) -> None:
    with contextlib.suppress(OSError):  # where stderr takes nothing, the exit code says it alone
        print(f"{PROGRAM}: {message}", file=sys.stderr)
