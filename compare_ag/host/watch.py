"""The memory and the threads of a worker and all processes that it started, which its limits apply to.

Resident memory is limited, not address space: jax, CUDA and a BLAS with many threads reserve far more than they use.
The kernel's own limits do not fit: RLIMIT_RSS is ignored, RLIMIT_DATA does not count shared mappings, RLIMIT_NPROC
counts all processes of the user and none of root's, and control groups need privileges. So the host checks, about ten
times a second and only while it waits for a worker. During a timed block, which is shorter, it sleeps.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from compare_ag.worker.warden import process_ids, stat_fields

MOST_THREADS = 4096
"""most processes and threads of a worker together; more is a fork bomb"""
_PARENT, _THREADS, _START, _RESIDENT = 1, 17, 19, 21
"""indices of `stat_fields`"""


class Family:
    """The processes below one process, its warden, as of the last look."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.members: dict[int, bytes] = {}
        """the processes of the last look, each with the time of its start, because a number may be reused"""
        self.threads = 0
        self._foreign: set[int] = set()

    def resident_bytes(self) -> int:
        """Look; return the resident memory of all processes. Shared pages may count repeatedly."""
        if sys.platform != "linux":
            return self._by_psutil()
        page = os.sysconf("SC_PAGE_SIZE")
        ids = set(process_ids())
        self._foreign &= ids
        fields = {pid: values for pid in ids - self._foreign if (values := stat_fields(pid)) is not None}
        parents = {pid: int(values[_PARENT]) for pid, values in fields.items()}
        family = {pid for pid in fields if self._is_below(pid, parents)}
        self._foreign |= fields.keys() - family
        self.members = {pid: fields[pid][_START] for pid in family}
        self.threads = sum(int(fields[pid][_THREADS]) for pid in family)
        return page * sum(int(fields[pid][_RESIDENT]) for pid in family)

    def _is_below(self, pid: int, parents: dict[int, int]) -> bool:
        """Whether the process's chain of parents leads to the root; a process outside never joins later."""
        seen = set()
        while pid in parents and pid not in seen:
            seen.add(pid)
            pid = parents[pid]
            if pid == self.root:
                return True
        return False

    def _by_psutil(self) -> int:
        import psutil

        total = self.threads = 0
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.root).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += child.memory_info().rss
                    self.threads += child.num_threads()
        return total

    def proportional_bytes(self) -> int:
        """The memory of the processes of the last look, each shared page in equal shares; 0 where not available."""
        total = 0
        for pid in self.members:
            with contextlib.suppress(OSError, ValueError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total

    def survivors(self) -> list[int]:
        """The processes of the last look that still run."""
        alive = []
        for pid, start in self.members.items():
            fields = stat_fields(pid)
            if fields is not None and fields[_START] == start and fields[0] != b"Z":
                alive.append(pid)
        return alive


def fair_share(workers: int) -> int:
    """Bytes that each of so many workers may hold: nine tenths of the free memory, in equal shares.

    This process gets a share too, because it holds the data and judges.
    """
    from compare_ag.problem.estimate import available_memory

    return int(0.9 * available_memory()) // (max(1, workers) + 1)
