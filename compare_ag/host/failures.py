"""The ways in which a worker can end before its work is done, and the log of a bug of ours."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare_ag.host.launch import Launch


class WorkerFailure(Exception):  # noqa: N818 - it is the outcome of a worker, not an error of ours
    """A worker's end before its work was done: a backend status, the reason, and the phase and step."""

    def __init__(self, status: str, reason: str, phase: str | None = None, step: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.phase = phase
        self.step = step


class ProtocolFailure(WorkerFailure):
    """The worker sent bytes that are no frame, or an impossible reply: none of its messages can be trusted."""


class HostFault(WorkerFailure):
    """A bug of compare-ag while the reply of a backend was read or judged: only that backend has no verdict."""


def host_fault(error: Exception, launch: Launch) -> HostFault:
    """The failure of the backend whose reply was read or judged; the traceback goes to `Launch.bug_log`."""
    with contextlib.suppress(OSError):
        text = "compare-ag met a bug of its own here; please report it.\n\n"
        launch.bug_log.write_text(text + "".join(traceback.format_exception(error)), errors="backslashreplace")
    what = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    reason = f"a bug of compare-ag and not of this backend: {what}; please report it with {launch.bug_log.name}"
    return HostFault("undecidable", reason)
