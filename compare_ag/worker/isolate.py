"""The first actions of a worker, before any plugin is imported: they protect the channel and set limits.

* the protocol's descriptors move to high numbers that children do not inherit, so that neither a stray
  ``os.write(3, …)`` nor a grandchild holds the channel;
* a thread waits on a pipe that only the host holds open, and ends the worker when the host has ended. `worker.warden`
  does that too; the thread is for systems without a parent-death signal, should the warden have been killed;
* no core files, and the address space limited as the user chose; SIGUSR1 prints the stack of every thread, for the log
  of a worker that hangs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import resource
import signal
import threading

HIGH_FD = 200


def raise_fd(fd: int) -> int:
    """Move a descriptor to a high, non-inherited number and close the old one."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
    os.close(fd)
    return high


def end_with_host(lifeline_fd: int) -> None:
    """Start a thread that ends this process when the host has closed the lifeline, however the host ends."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(lifeline_fd, 1)
        os._exit(0)

    threading.Thread(target=wait, name="compare-ag lifeline", daemon=True).start()


def limit_and_listen(address_space: int) -> None:
    """Limit the address space to so many bytes (0: not at all); print all stacks to stderr on a fatal signal and on
    SIGUSR1.
    """
    if address_space:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = address_space if hard == resource.RLIM_INFINITY else min(address_space, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
