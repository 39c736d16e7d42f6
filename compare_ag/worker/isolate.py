"""The first lines of a worker, before any plugin is imported: cut the ties that a plugin could trip over.

* the protocol's descriptors move to high numbers that children do not inherit, so that neither a stray
  ``os.write(3, …)`` nor a grandchild holds the channel;
* the worker dies with its host: by the kernel's parent-death signal where there is one, and by a thread that
  waits on a pipe which only the host holds open (that one needs the interpreter lock, the signal does not);
* no core files; SIGUSR1 prints where every thread is, for the log of a worker that hangs.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import os
import resource
import signal
import sys
import threading

HIGH_FD = 200
_PR_SET_PDEATHSIG = 1


def raise_fd(fd: int) -> int:
    """Move a descriptor to a high, non-inherited number and close the old one."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
    os.close(fd)
    return high


def die_with_host(host_pid: int, lifeline_fd: int) -> None:
    """Arrange that this process ends when the host does, however the host ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != host_pid:  # the host was gone before the request took hold
        os._exit(0)

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(lifeline_fd, 1)
        os._exit(0)

    threading.Thread(target=wait, name="compare-ag lifeline", daemon=True).start()


def limit_and_listen() -> None:
    """Forbid core files; print all stacks to stderr on a fatal signal and on SIGUSR1."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
