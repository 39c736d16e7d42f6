"""Settings and activity of the machine, as far as it reports them: influences on times that are not in the code.

Everything is read, nothing changed; values that a system does not report are left out.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MOST_PROBED = 16
PROBE_ROUNDS = 7
PROBE_TURNS = 20_000


class CpuTimes(NamedTuple):
    """Clock ticks since the machine started."""

    steal: int
    """in which a virtual CPU was ready and the hypervisor ran another"""
    total: int


def settings(root: Path = Path("/")) -> dict[str, str]:
    """Settings of kernel, clock and container, by name; settings that this system does not report are left out.

    root: the file system to read them from.
    """
    values = {
        "libc": " ".join(platform.libc_ver()).strip(),
        "transparent huge pages": _bracketed_word(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        "clock source": _line(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "address randomisation": _line(root / "proc/sys/kernel/randomize_va_space"),
        "frequency governor": governor(root),
        "turbo off": _line(root / "sys/devices/system/cpu/intel_pstate/no_turbo"),
        "cgroup cpu.max": _line(root / "sys/fs/cgroup/cpu.max"),
        "hypervisor": _flag(root / "proc/cpuinfo", "hypervisor"),
    }
    return {name: value for name, value in values.items() if value}


def governor(root: Path = Path("/")) -> str:
    """The frequency governors in use, joined by a comma; empty where the system reports none."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({_line(file) for file in files} - {""}))


def on_battery() -> bool:
    """Whether the machine is known to run from a battery."""
    import psutil

    sensor: Any = getattr(psutil, "sensors_battery", None)
    try:
        state = None if sensor is None else sensor()
    except (OSError, ValueError, RuntimeError):  # a battery that is listed and cannot be read
        return False
    return state is not None and state.power_plugged is False


def cpu_times(cpus: Sequence[int], stat: Path = Path("/proc/stat")) -> CpuTimes | None:
    """The ticks of these CPUs together; None where the system does not count stolen ticks."""
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return None
    wanted = {f"cpu{cpu}" for cpu in cpus}
    steal = total = 0
    for line in lines:
        name, *ticks = line.split() or [""]
        if name in wanted and len(ticks) >= 8:
            numbers = [int(tick) for tick in ticks[:8]]  # user nice system idle iowait irq softirq steal
            steal, total = steal + numbers[7], total + sum(numbers)
    return CpuTimes(steal, total) if total else None


def steal_share(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """The share of the time in between that the hypervisor took away; None where unknown or no tick passed."""
    if before is None or after is None or after.total <= before.total:
        return None
    return (after.steal - before.steal) / (after.total - before.total)


def cpu_speeds(cpus: Sequence[int]) -> dict[int, float]:
    """How fast each CPU does a fixed piece of work, the fastest 1.0; empty where a thread cannot choose its CPU.

    The median of several measurements, taken in turns so that slow phases of the machine affect all CPUs alike. At most
    16 CPUs, the last ones, which include the timed CPUs.
    """
    if not hasattr(os, "sched_setaffinity"):
        return {}
    before = os.sched_getaffinity(0)
    taken: dict[int, list[int]] = {cpu: [] for cpu in list(cpus)[-MOST_PROBED:]}
    try:
        for _ in range(PROBE_ROUNDS):
            for cpu, looks in taken.items():
                os.sched_setaffinity(0, [cpu])
                start = time.perf_counter_ns()
                for _ in range(PROBE_TURNS):
                    pass
                looks.append(time.perf_counter_ns() - start)
    except OSError:  # a container that forbids it
        return {}
    finally:
        os.sched_setaffinity(0, before)
    return relative_speeds(taken)


def relative_speeds(taken: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """Speeds from times, the fastest CPU 1.0."""
    medians = {cpu: statistics.median(looks) for cpu, looks in taken.items()}
    fastest = min(medians.values(), default=1.0)
    return {cpu: fastest / median for cpu, median in medians.items()}


def load_per_cpu() -> float | None:
    """The machine's load of the last minute for each of its CPUs; None where the system does not report it.

    Correctness workers that ran before are part of it, so that only a load far above theirs is worth a warning.
    """
    if not hasattr(os, "getloadavg"):
        return None
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _line(path: Path) -> str:
    """A one-line file without its end; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _bracketed_word(path: Path) -> str:
    """The word in brackets of a kernel file such as ``always [madvise] never``."""
    return _line(path).partition("[")[2].partition("]")[0]


def _flag(path: Path, flag: str) -> str:
    return "yes" if any(flag in line.split() for line in _line(path).splitlines() if line.startswith("flags")) else ""
