"""How much memory a worker and everything it started hold, and how many threads they are: what its limits are about.

Resident memory is what is limited, not address space: jax, CUDA and a BLAS with many threads reserve far more than they
use. The kernel's own limits do not fit: RLIMIT_RSS is ignored, RLIMIT_DATA does not count shared mappings, RLIMIT_NPROC
counts all processes of the user and none of root's, and control groups need privileges. So the host looks, about ten
times a second and only while it waits for a worker: during a timed block, which is shorter, it sleeps.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from compare_ag.worker.warden import process_ids, stat_fields

MOST_THREADS = 4096
"""processes and threads of one worker, all together: more is a bomb"""
_PARENT, _THREADS, _START, _RESIDENT = 1, 17, 19, 21
"""of `stat_fields`"""


class Family:
    """The processes below one process, its warden, as they are seen from time to time."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.members: dict[int, bytes] = {}
        """those seen last, with the time of their start: a number may be another process's later"""
        self.threads = 0
        self._foreign: set[int] = set()

    def resident_bytes(self) -> int:
        """Look; return the resident memory of all, where pages that several share may count several times."""
        if sys.platform != "linux":
            return self._by_psutil()
        page = os.sysconf("SC_PAGE_SIZE")
        ids = set(process_ids())
        self._foreign &= ids
        fields = {pid: found for pid in ids - self._foreign if (found := stat_fields(pid)) is not None}
        parents = {pid: int(found[_PARENT]) for pid, found in fields.items()}
        mine = {pid for pid in fields if self._is_below(pid, parents)}
        self._foreign |= fields.keys() - mine
        self.members = {pid: fields[pid][_START] for pid in mine}
        self.threads = sum(int(fields[pid][_THREADS]) for pid in mine)
        return page * sum(int(fields[pid][_RESIDENT]) for pid in mine)

    def _is_below(self, pid: int, parents: dict[int, int]) -> bool:
        """Whether its chain of parents leads to the root; who was once found not to be below never will be."""
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
        """The memory of those seen last, each shared page in equal shares; where the system cannot say, 0."""
        total = 0
        for pid in self.members:
            with contextlib.suppress(OSError, ValueError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total

    def survivors(self) -> list[int]:
        """Those seen last that are still there."""
        found = []
        for pid, start in self.members.items():
            fields = stat_fields(pid)
            if fields is not None and fields[_START] == start and fields[0] != b"Z":
                found.append(pid)
        return found


def fair_share(workers: int) -> int:
    """Bytes that each of so many workers may hold: what is free now, less a tenth for everybody else.

    This process counts as one more: it holds the data, and judges.
    """
    from compare_ag.problem.estimate import available_memory

    return int(0.9 * available_memory()) // (max(1, workers) + 1)
