"""The parent of a worker: it lives a moment longer than the worker, and ends all the worker's descendants.

    host ── warden ── worker ── whatever the plugin starts

The host cannot do this itself. A process that leaves its group and clears its environment can only be found by its
ancestry, which is lost when a parent dies, unless an ancestor is a *child subreaper* (Linux): it then inherits the
orphan. A host that is a subreaper would inherit the orphans of everything else that its program starts, and could not
tell them apart. A warden has one worker and no other child, so that all processes below it may be killed.

It ends all of them when the worker has ended, when the host has closed the lifeline or died, and on SIGTERM. Then it
ends in the same way as the worker, with its exit code or by its signal. SIGUSR1 is passed on to the worker. It waits
in one system call and never wakes up without a reason, because blocks are timed next to it.

Where the system has no subreaper (macOS), it kills the worker and its session's process group.

It imports only a little of the standard library, because every worker pays for these imports.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import select
import signal
import sys
import time
from types import FrameType

CLEANING_SECONDS = 2.0
"""seconds for which the descendants are killed repeatedly, since killed processes may have started others meanwhile"""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PASSED_ON = (signal.SIGUSR1,)
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR2, signal.SIGALRM)
"""signals that a plugin may send to its parent, by mistake or not"""


def start_worker(lifeline: int, closed: tuple[int, ...] = ()) -> None:
    """Fork, and return in the child, which becomes the worker; the parent is its warden and never returns.

    lifeline: a pipe's end for reading that reports its end when the host ends. closed: descriptors for the worker
    alone. The worker leads a session of its own, so that a signal to its group does not reach its warden.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    warden = os.getpid()
    woken, wake = os.pipe()
    worker = os.fork()
    if not worker:
        os.close(woken)
        os.close(wake)
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:  # the warden ended before the request took effect
            os._exit(0)
        return
    status = 0
    try:
        for descriptor in closed:
            os.close(descriptor)
        status = _Warden(worker, lifeline, woken, wake).wait()
    finally:
        _end_as(status)


class _Warden:
    """The parent's work after the fork."""

    def __init__(self, worker: int, lifeline: int, woken: int, wake: int) -> None:
        self._worker = worker
        self._lifeline = lifeline
        self._woken = woken
        self._told_to_end = False
        self._status: int | None = None
        """of the worker, as `os.waitpid` gives it; None while it runs"""
        faulthandler.disable()  # it would write a stack into the worker's log when the warden ends by a signal
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for ignored in _IGNORED:
            signal.signal(ignored, signal.SIG_IGN)
        for passed in _PASSED_ON:
            signal.signal(passed, self._pass_on)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)  # it wakes the poll

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._status is None:  # a number cannot be reused before the process has been collected
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker, number)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_end = True

    def wait(self) -> int:
        """Wait for the worker's end or the host's, kill the remaining processes; return the worker's status."""
        poll = select.poll()
        poll.register(self._lifeline, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        self._collect()
        while self._status is None and not self._told_to_end:
            if any(descriptor == self._lifeline for descriptor, _ in poll.poll()):
                break
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)
            self._collect()
        self._kill_all()
        return signal.SIGKILL if self._status is None else self._status

    def _collect(self) -> bool:
        """Collect children that have ended, the worker or orphans; return whether any child is left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return True
                if pid == self._worker:
                    self._status = status
        return False

    def _kill_all(self) -> None:
        """Kill the worker, its process group and every descendant, for at most `CLEANING_SECONDS`."""
        deadline = time.monotonic() + CLEANING_SECONDS
        if self._status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._worker, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._worker, signal.SIGKILL)
        elif sys.platform != "linux":  # no ancestry available; on Linux the number could have been reused by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._worker, signal.SIGKILL)
        pause = 0.0005
        while self._collect() and time.monotonic() < deadline:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(0.02, 2 * pause)


def _end_as(status: int) -> None:
    """End this process in the way that ``status`` describes."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        with contextlib.suppress(OSError, ValueError):
            if -code != signal.SIGKILL:
                signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
            time.sleep(1.0)  # the signal is on its way
    os._exit(code if code >= 0 else 1)


def _prctl(option: int, value: int) -> None:
    """Linux's prctl; no effect elsewhere."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """The processes below ``root``, as far as the system lists parents; includes ended processes not yet collected."""
    parents = {pid: parent for pid in process_ids() if (parent := parent_of(pid)) is not None}
    below: list[int] = []
    for pid in parents:
        chain = [pid]
        while (above := parents.get(chain[-1], 0)) > 1 and above != root and above not in chain:
            chain.append(above)
        if above == root:
            below.append(pid)
    return below


def process_ids() -> list[int]:
    """All visible processes; none where there is no /proc."""
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def stat_fields(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat after the name, the state first; None for a process that has ended."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def parent_of(pid: int) -> int | None:
    """The parent of a process; None for a process that has ended."""
    fields = stat_fields(pid)
    return int(fields[1]) if fields else None


def main(argv: list[str]) -> None:
    """``python -P -m compare_ag.worker.warden LIFELINE COMMAND…``: run a command under a warden."""
    lifeline = int(argv[0])
    start_worker(lifeline)
    os.close(lifeline)
    os.execv(argv[1], argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
