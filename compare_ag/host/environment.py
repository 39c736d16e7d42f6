"""The machine and the versions of a run, without anything that identifies the machine's owner.

No host name, user, home or path, because run directories are made to be shared.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from compare_ag.host.machine import settings

_LIBRARIES = ("compare-ag", "numpy", "msgspec", "pluggy", "psutil", "threadpoolctl", "rich")


def capture(threads: int) -> dict[str, Any]:
    """The fields of `records.Environment`, for workers of so many threads."""
    import psutil

    from compare_ag.host.launch import thread_variables

    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "logical_cpus": os.cpu_count() or 1,
        "usable_cpus": usable_cpus(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "libraries": {name: metadata.version(name) for name in (*_LIBRARIES, *_data_libraries())},
        "settings": settings(),
        "thread_variables": thread_variables(threads),
    }


def _data_libraries() -> list[str]:
    """The distributions that provided the problem's data; empty where none did."""
    return [name for name, module in (("scikit-learn", "sklearn"),) if module in sys.modules]


def cpu_model() -> str:
    """The processor's name as the system gives it, or its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def usable_cpus() -> list[int]:
    """The CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
