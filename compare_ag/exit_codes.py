"""What the command line's exit codes mean, and which one wins. Standard library only: everything may import it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of `compare-ag`, as its ``--help`` documents them."""

    OK = 0
    DISAGREE = 1
    USAGE = 2
    BACKEND_FAILED = 3
    BUG = 4
    NOTHING_TO_RUN = 5
    NOT_SAVED = 6
    INTERRUPTED = 130
    TERMINATED = 143

    @classmethod
    def of_status(cls, status: str) -> ExitCode:
        """What a backend of this status contributes; a word that is no status is a bug, and never OK."""
        return _OF_STATUS.get(status, cls.BUG)

    @staticmethod
    def worst(codes: Iterable[ExitCode]) -> ExitCode:
        """The one code for several: what ended the run, then what cannot be trusted, then what is missing."""
        return min(codes, key=_PRECEDENCE.index, default=ExitCode.OK)


_OF_STATUS = {
    **dict.fromkeys(("ok", "imported"), ExitCode.OK),
    **dict.fromkeys(("disagree", "non-finite", "undecidable"), ExitCode.DISAGREE),
    **dict.fromkeys(("crashed", "timeout", "oom", "malformed", "import-error", "unsupported"), ExitCode.BACKEND_FAILED),
    # an interrupt has its own code, which comes first; without one, a backend without a result has failed
    **dict.fromkeys(("cancelled", "not-run"), ExitCode.BACKEND_FAILED),
}

_PRECEDENCE = [
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.USAGE,
    ExitCode.BUG,
    ExitCode.NOT_SAVED,
    ExitCode.DISAGREE,
    ExitCode.BACKEND_FAILED,
    ExitCode.NOTHING_TO_RUN,
    ExitCode.OK,
]

MEANINGS = {
    ExitCode.OK: "all requested backends ran and agree",
    ExitCode.DISAGREE: "they ran, but numbers disagree or could not be certified",
    ExitCode.USAGE: "unusable input, nothing has run",
    ExitCode.BACKEND_FAILED: "a requested backend failed (crash, timeout, malformed); the others are valid",
    ExitCode.BUG: "a bug in compare-ag",
    ExitCode.NOTHING_TO_RUN: "nothing has run: too few backends, or the machine is in use and --no-wait was given",
    ExitCode.NOT_SAVED: "results could not be saved",
    ExitCode.INTERRUPTED: "interrupted; what had finished is saved",
    ExitCode.TERMINATED: "terminated; what had finished is saved",
}
