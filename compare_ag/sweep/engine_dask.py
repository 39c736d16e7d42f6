"""Cells on the workers of a dask cluster, through `distributed`; nothing else of the project knows dask.

A worker runs a cell as this machine would, in a process of its own, and sends its files back: the cluster needs no
common file system. Correctness passes of several cells run at a time; timings wait for each other, because the cell's
process takes the lock of its machine. `resources` of dask would hold for each worker and not for each machine. When all
cells have ended, a worker of each machine measures what the machine can do, under the same lock.

dask sends functions and results by a format of its own that executes code on reading: use a cluster that you trust.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from compare_ag.host import machine_lock
from compare_ag.host.environment import usable_cpus
from compare_ag.problem import ProblemError
from compare_ag.records import RecordError, write_bytes
from compare_ag.sweep.cell import Task
from compare_ag.sweep.engines import ClusterLostError, Done, attempt
from compare_ag.sweep.grid import Planned
from compare_ag.sweep.ledger import Ledger
from compare_ag.sweep.limits import MachineLimits, measure_limits
from compare_ag.sweep.machine import this_machine
from compare_ag.sweep.shares import keep_limits, missing_limits

INSTALL = "--engine dask needs distributed: python -m pip install 'compare-ag[dask]'"
IN_FLIGHT = 2
"""cells that are handed out for each worker: one at work, one that waits"""
TRIES = 3
"""of one cell, where its worker dies"""
POLL_SECONDS = 0.5
LOST_SECONDS = 10.0
"""without a scheduler, after which the cluster counts as lost"""
LIMITS_SECONDS = 600.0
"""for a machine's limits at most: its worker may have to wait until nobody else times there"""


def run_dask(
    ledger: Ledger,
    planned: Sequence[Planned],
    tell: Callable[[Planned | None, str], object],
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    memory_limit: int | None = None,
) -> Iterator[Done]:
    """Run the cells on the cluster at this address, or on one that is made here, and yield them as they end.

    workers: of a cluster that is made here; None: one for each CPU. Raises `ProblemError` where distributed is not
    installed or the scheduler does not answer, `ClusterLostError` where it is gone.
    """
    if not planned and not _foreign_limits(ledger):
        return
    with _connect(scheduler, workers) as client:
        yield from _Distribution(client, ledger, planned, tell, memory_limit).run()
        _measure_limits(client, ledger, tell)


@contextlib.contextmanager
def _connect(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """A client of the cluster; one that was made here ends with it."""
    try:
        import distributed
    except ImportError as error:
        raise ProblemError(f"{INSTALL} ({error})") from None
    for name in [*logging.root.manager.loggerDict, "asyncio"]:
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # the sweep itself says what a lost connection means
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-ag-dask-"))
            address: Any = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers or len(usable_cpus()),
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,  # the cells' own workers are limited; what is left in dask's are results
                    dashboard_address=None,
                    local_directory=folder,
                    silence_logs="CRITICAL",
                )
            )
        else:
            address = scheduler
        try:
            client = stack.enter_context(distributed.Client(address, timeout=LOST_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ProblemError(f"no dask scheduler answers at {address}: {error}") from None
        yield client


class _Distribution:
    """The cells that are handed out, and those that are not yet."""

    def __init__(
        self,
        client: Any,
        ledger: Ledger,
        planned: Sequence[Planned],
        tell: Callable[[Planned | None, str], object],
        memory_limit: int | None,
    ) -> None:
        self._client, self._ledger, self._tell = client, ledger, tell
        self._memory_limit = memory_limit
        self._waiting = list(reversed(planned))
        self._futures: dict[Any, tuple[Planned, contextlib.ExitStack, int]] = {}
        """each with its cell, what holds the cell's claim, and how many tries it had"""
        self._seen = time.monotonic()

    def run(self) -> Iterator[Done]:
        try:
            while self._waiting or self._futures:
                yield from self._hand_out()
                finished = self._finished()
                for future in finished:
                    yield from self._collect(future)
        except (OSError, CancelledError) as error:  # distributed's errors of communication are OSErrors
            raise ClusterLostError(f"the dask scheduler is gone ({type(error).__name__})") from error
        finally:
            for future, (_, stack, _) in self._futures.items():
                with contextlib.suppress(Exception):  # the scheduler may be gone, and the cells are lost anyway
                    future.cancel(force=True)
                stack.close()

    def _hand_out(self) -> Iterator[Done]:
        """Give the workers cells, each under its claim; yield those that another process has."""
        while self._waiting and len(self._futures) < IN_FLIGHT * max(1, self._workers()):
            planned = self._waiting.pop()
            stack = contextlib.ExitStack()
            ours = stack.enter_context(self._ledger.claim(planned.key))
            entry = self._ledger.entry(planned.key) if ours else None
            if not ours or (entry is not None and entry.status == "ok"):
                stack.close()
                yield Done(planned, None)
            else:
                self._submit(planned, stack, 1)

    def _submit(self, planned: Planned, stack: contextlib.ExitStack, tries: int) -> None:
        task = Task(
            cell=planned.cell,
            key=planned.key,
            versions=planned.versions,
            purpose=planned.purpose,
            folder="",
            memory_limit=self._memory_limit,
        )
        future = self._client.submit(
            run_remote, msgspec.json.encode(task), key=f"cell-{planned.key}-{tries}-{time.time_ns()}", pure=False
        )
        self._futures[future] = (planned, stack, tries)

    def _workers(self) -> int:
        try:
            return len(self._client.scheduler_info(n_workers=-1)["workers"])
        except (OSError, KeyError, TypeError):
            return 1

    def _finished(self) -> list[Any]:
        """Futures that have ended; waits a moment for one. Raises `ClusterLostError`."""
        if not self._futures:
            return []
        self._tell(next(iter(self._futures.values()))[0], "")
        now = time.monotonic()
        if self._client.status == "running":
            self._seen = now
        elif now - self._seen > LOST_SECONDS or self._client.status == "closed":
            raise ClusterLostError("the dask scheduler is gone")
        ended = [future for future in self._futures if future.done()]
        if not ended:
            time.sleep(POLL_SECONDS / 5)
        return ended

    def _collect(self, future: Any) -> Iterator[Done]:
        """Unpack what came back; hand a cell out again whose worker died."""
        planned, stack, tries = self._futures[future]
        if future.status in ("cancelled", "lost"):
            raise ClusterLostError("the dask scheduler has lost its tasks")
        error = None if future.status == "finished" else future.exception()
        result = future.result() if error is None else {}
        del self._futures[future]
        if error is not None and tries < TRIES:
            self._submit(planned, stack, tries + 1)
            return
        with stack:
            scratch = self._ledger.scratch(planned.key)
            if error is not None:
                raise ClusterLostError(f"the cell {planned.cell.label} failed on {tries} workers: {error}")
            unpack(result, scratch)
            future.release()
            yield Done(planned, scratch)


def _foreign_limits(ledger: Ledger) -> dict[tuple[str, int], float]:
    """The missing limits of other machines; this one's are measured here, without dask."""
    own = this_machine().id
    return {place: budget for place, budget in missing_limits(ledger).items() if place[0] != own}


def _measure_limits(client: Any, ledger: Ledger, tell: Callable[[Planned | None, str], object]) -> None:
    """Have a worker of each other machine measure its limits, all machines at a time.

    A machine that has left the cluster keeps no limits, and its cells no share of them: nothing else needs them.
    """
    missing = _foreign_limits(ledger)
    if not missing:
        return
    tell(None, "measuring the limits of the cluster's machines")
    with contextlib.suppress(OSError, CancelledError):  # as in `run`: the scheduler is gone
        addresses = {machine: address for address, machine in client.run(remote_machine, on_error="ignore").items()}
        futures = [
            (machine, client.submit(remote_limits, threads, ledger.grid.dtype, budget, workers=[address], pure=False))
            for (machine, threads), budget in missing.items()
            if (address := addresses.get(machine)) is not None
        ]
        for machine, future in futures:
            error = future.exception(timeout=LIMITS_SECONDS)
            if error is not None:
                tell(None, f"the limits of the machine {machine} could not be measured: {error}")
            else:
                keep_limits(ledger, machine, msgspec.json.decode(future.result(), type=MachineLimits))


def remote_machine() -> str:
    """On a worker: the id of its machine."""
    return this_machine().id


def remote_limits(threads: int, dtypes: Sequence[str], budget: float) -> bytes:
    """On a worker: measure its machine's limits as soon as nobody else times there; `MachineLimits` as JSON."""
    with machine_lock.hold("timing"):
        return msgspec.json.encode(measure_limits(threads, dtypes, budget=budget))


def run_remote(encoded: bytes) -> dict[str, bytes]:
    """On a worker: run the cell of a `Task` in a process of its own; return its files by their relative paths."""
    task = msgspec.json.decode(encoded, type=Task)
    planned = Planned(task.cell, task.key, task.versions, task.purpose)
    with tempfile.TemporaryDirectory(prefix="compare-ag-cell-") as parent:
        folder = Path(parent) / "cell"
        attempt(planned, folder, lambda _stage: None, task.memory_limit)
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack(files: dict[str, bytes], folder: Path) -> None:
    """Write the files below the folder. Raises `RecordError` for a path that leads out of it, `SaveError`."""
    for name, data in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise RecordError(f"a worker sent a file called {name!r}, which is no path inside a cell")
        write_bytes(folder / path, data)
