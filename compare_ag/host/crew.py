"""The only module that starts workers: it opens a session for each caller and ends the worker without leftovers.

    with open_session(launch, offer) as session:        # a worker of its own, ended on leaving, whatever happens
        session.load(problem.dtype)
        session.prepare(problem)                        # the data must have arrived bit for bit
        ...                                             # questions: see `host.session`
        session.finish()                                # where everything was answered

    in_parallel(names, action, ...)                     # several, as many at a time as there are CPUs

The caller decides what follows from a failure: the training keeps the results before it, the engine continues with the
other backends, a check opens the next worker. `guard` makes a bug of compare-ag the failure of one backend, so that the
run continues.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from compare_ag.host.environment import usable_cpus
from compare_ag.host.failures import WorkerFailure, host_fault
from compare_ag.host.process import WorkerProcess
from compare_ag.host.session import Session

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.host.launch import Launch

T = TypeVar("T")

POLL_SECONDS = 0.05
"""seconds between two calls of ``tick``"""


def open_session(launch: Launch, offer: Offer | None = None, cancel: threading.Event | None = None) -> Session:
    """Start a worker and return without waiting for it. Use the session as a context manager.

    offer: the backend that `Session.load` will load; None where the worker is asked what a plugin offers.
    cancel: an event that ends every wait for the worker. Raises `WorkerFailure` where no process can be started.
    """
    return Session(offer, WorkerProcess(launch, cancel))


def guard(action: Callable[[], T], launch: Launch) -> T | WorkerFailure:
    """The result of ``action``, or the failure of its worker; a bug of ours becomes a failure too."""
    try:
        return action()
    except WorkerFailure as failure:
        return failure
    except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the others
        return host_fault(error, launch)


def in_parallel(
    names: Iterable[str],
    action: Callable[[str], T],
    results: dict[str, T],
    *,
    cancel: threading.Event,
    at_a_time: int,
    tick: Callable[[list[str]], object] = lambda _: None,
) -> None:
    """Call ``action`` with each name, in threads; put the returned values into ``results``.

    One thread drives a worker for all of its life, because the kernel's parent-death signal follows the thread that
    started a child. ``tick`` is called with the names that are awaited, every `POLL_SECONDS`, and with no names at the
    end. An exception that interrupts the wait sets ``cancel``; it is raised again when the workers have ended, and
    ``results`` then holds the names that were started.
    """
    waiting = list(names)
    if not waiting:
        return

    def collect() -> None:
        for future in [future for future in futures if future.done()]:
            name = futures.pop(future)
            if not future.cancelled():
                results[name] = future.result()

    with ThreadPoolExecutor(min(at_a_time, len(waiting)), thread_name_prefix="worker") as pool:
        futures: dict[Future[T], str] = {pool.submit(action, name): name for name in waiting}
        try:
            while futures:
                wait(futures, timeout=POLL_SECONDS)
                collect()
                tick(list(futures.values()))
        except BaseException:
            cancel.set()
            for future in futures:
                future.cancel()
            wait(futures)
            collect()
            raise


def workers_at_a_time(threads: int) -> int:
    """How many workers of so many threads can run side by side on the CPUs that this process may use."""
    return max(1, len(usable_cpus()) // threads)
