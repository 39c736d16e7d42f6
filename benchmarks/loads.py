"""Other programs that take CPU time while something is measured.

    loops    a process that does nothing but turn in a loop, pinned to each CPU
    bursts   a process that computes for 60 % of the time in irregular bursts, pinned to the CPU that is timed
    free     the same, free to run on any CPU

A load ends with the block that it was started for, on Ctrl-C and SIGTERM as well; each of its processes also looks
every few milliseconds whether its parent still lives, so that not even SIGKILL leaves one behind.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from compare_ag.host.environment import usable_cpus
from compare_ag.suite.cpu_pinning import timed_cpus

LOADS = ("none", "loops", "bursts", "free")
BEGIN = """
import os, random, sys, time
parent, cpus = os.getppid(), [int(cpu) for cpu in sys.argv[1:]]
if cpus:
    os.sched_setaffinity(0, cpus)
print("running", flush=True)
while os.getppid() == parent:
"""
LOOP = """
    for _ in range(200_000):
        pass
"""
BURST = """
    length = random.uniform(0.002, 0.02)
    end = time.perf_counter() + 0.6 * length
    while time.perf_counter() < end:
        pass
    time.sleep(0.4 * length)
"""


@contextmanager
def load(kind: str) -> Iterator[list[int]]:
    """Run a load of `LOADS` for as long as the block lasts; yield its process ids. Raises ValueError for another."""
    with ExitStack() as stack:
        stack.enter_context(_terminated_as_interrupted())
        yield [stack.enter_context(_running(program, cpus)) for program, cpus in _programs(kind)]


def _programs(kind: str) -> list[tuple[str, list[int]]]:
    """The source of each process, and the CPUs that it is pinned to; none: any."""
    programs: dict[str, list[tuple[str, list[int]]]] = {
        "none": [],
        "loops": [(LOOP, [cpu]) for cpu in usable_cpus()],
        "bursts": [(BURST, timed_cpus(1))],
        "free": [(BURST, [])],
    }
    if kind not in programs:
        raise ValueError(f"{kind!r} is no load; expected one of {', '.join(LOADS)}")
    return programs[kind]


@contextmanager
def _running(program: str, cpus: list[int]) -> Iterator[int]:
    """One process, which runs when this yields its id. It has its own session: Ctrl-C is for us to pass on."""
    command = [sys.executable, "-c", BEGIN + program, *map(str, cpus)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"a load on the CPUs {cpus} could not be started")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """While this lasts, SIGTERM raises SystemExit, so that what was started is ended."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
