"""The process's own threads, memory and CPUs."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import threadpoolctl

from compare_ag.worker.messages import MOST_LISTED, MOST_WORD, POOL_KEYS

_OWN_THREADS = 1
"""the lifeline thread of `worker.isolate` does not belong to the backend"""


def thread_pools() -> list[dict[str, Any]]:
    """The numerical thread pools of the libraries loaded so far: api, library, version, number of threads."""
    pools = []
    for pool in threadpoolctl.threadpool_info()[:MOST_LISTED]:
        facts = {key: None if pool[key] is None else str(pool[key])[:MOST_WORD] for key in POOL_KEYS if key in pool}
        pools.append({**facts, "num_threads": pool["num_threads"] or 1})  # None where a library does not report it
    return pools


def os_threads() -> int:
    """Threads of this process that the backend brought, the main thread included."""
    tasks = Path("/proc/self/task")
    if tasks.is_dir():
        return len(list(tasks.iterdir())) - _OWN_THREADS
    import threading

    return threading.active_count() - _OWN_THREADS


class ProcessMemory(NamedTuple):
    """Memory of this process in bytes, and the source of the peak."""

    resident: int
    peak: int
    source: str
    """VmHWM, or ru_maxrss where VmHWM is not available"""
    cleared: bool
    """the peak was reset at this point"""


def memory(*, clear: bool = False) -> ProcessMemory:
    """The resident set now and at its largest; ``clear`` then resets the peak, where the system can.

    VmHWM belongs to the program image and can be reset. ru_maxrss cannot, and is inherited across fork and exec (a
    9 MB child of an 800 MB parent reports 830 MB), so that it is used, and named, only where VmHWM is not available.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in lines and "VmRSS" in lines:
            resident, peak = (1024 * int(lines[key].split()[0]) for key in ("VmRSS", "VmHWM"))
            return ProcessMemory(resident, max(resident, peak), "VmHWM", clear and _clear_peak())
    import psutil

    unit = 1 if sys.platform == "darwin" else 1024
    resident = int(psutil.Process().memory_info().rss)
    return ProcessMemory(resident, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "ru_maxrss", False)


def _clear_peak() -> bool:
    """Reset VmHWM (proc(5): writing 5 to clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # a container that forbids it
        return False
    return True


def pin(cpus: list[int]) -> list[int]:
    """Move every thread of this process to these CPUs; return its CPUs now, [] where the system cannot pin."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    tasks = Path("/proc/self/task")
    for task in [int(entry.name) for entry in tasks.iterdir()] if tasks.is_dir() else [0]:
        try:
            os.sched_setaffinity(task, cpus)
        except ProcessLookupError:  # the thread has ended meanwhile
            continue
        except OSError:  # a container that forbids it
            return []
    return sorted(os.sched_getaffinity(0))
