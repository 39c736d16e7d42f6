"""The time to import a plugin in a bare process: the cost of its framework for a program that has loaded nothing else.

A worker has numpy and our own modules already when it imports a plugin, so that it measures only the modules that the
plugin adds. Here only Python itself is loaded; the figure includes the few milliseconds of `compare_ag`'s contract and
of pluggy, which every plugin imports.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from compare_ag.host.launch import worker_environment
from compare_ag.host.warded import Warded

if TYPE_CHECKING:
    from compare_ag.host.launch import Launch

_CODE = """
import sys, os, time
start = time.perf_counter()
__import__(sys.argv[1])
os.write(int(sys.argv[2]), repr(time.perf_counter() - start).encode() + b"\\n")
"""
LONGEST_ANSWER = 64


def bare_import_seconds(module: str, launch: Launch) -> float | None:
    """Seconds that ``import module`` takes in a process of its own; None where it fails or exceeds the deadline.

    It returns whatever the plugin does (prints, exits, hangs, starts children), and leaves no process or file behind.
    """
    answer, child_end = os.pipe()
    with tempfile.TemporaryDirectory(prefix="compare-ag-import-") as folder:
        environment = worker_environment(launch, Path(folder), "")
        try:
            process = Warded(
                [sys.executable, "-P", "-c", _CODE, module, str(child_end)],
                environment,
                folder,
                pass_fds=(child_end,),
            )
        except OSError:
            os.close(answer)
            return None
        finally:
            os.close(child_end)
        try:
            line = _line(answer, time.monotonic() + launch.deadline_seconds)
        finally:
            os.close(answer)
            process.end()
    try:
        seconds = float(line)
    except ValueError:
        return None
    return seconds if 0 < seconds < launch.deadline_seconds else None


def _line(descriptor: int, deadline: float) -> bytes:
    """The bytes up to the end of a line, the deadline, the end of the pipe, or a length that no number has."""
    data = b""
    while b"\n" not in data and len(data) < LONGEST_ANSWER:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return b""
        more = os.read(descriptor, LONGEST_ANSWER)
        if not more:
            return b""
        data += more
    return data.partition(b"\n")[0]
