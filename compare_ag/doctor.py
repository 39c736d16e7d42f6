"""Installed and missing parts, how to add them, and whether this machine is fit for timing.

Everything is read or tried for a moment, nothing is changed. The judgements on the machine are those of a run
(`speed.stability`), made before anything is timed.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import compare_ag
from compare_ag.exit_codes import ExitCode
from compare_ag.host import machine, machine_lock
from compare_ag.host.discovery import OWN_DISTRIBUTION, Inventory, Offer, discover
from compare_ag.host.environment import cpu_model, usable_cpus
from compare_ag.host.probe import probe
from compare_ag.host.requirements import explain_lack, extra_requirements, install_line
from compare_ag.speed.stability import Surroundings, notes
from compare_ag.suite.run_folder import DEFAULT_PARENT

State: TypeAlias = Literal["ok", "missing", "warning", "broken"]
Group: TypeAlias = Literal["installed", "machine"]

EXTRAS = {
    "data": "the problems breast-cancer, digits and iris",
    "arrow": "Parquet files and data frames",
    "plots": "figures: export --format svg or png",
    "bench": "fixtures for pytest-benchmark",
}
"""extra of this distribution → its purpose; the extras of backends are reported with the backends"""
COARSE_SECONDS = 1e-6
"""coarsest clock in seconds: a timed block takes 0.7 ms and is read after each step, which may take 5 µs"""
CLOCK_READINGS = 2000
LEAST_MEMORY = 10**9
"""bytes: a worker with torch holds about 250 MB, and timing runs one for each backend and a twin"""
LEAST_DISK = 10**8
"""bytes: a run of the default problem leaves about 10 MB"""
LEAST_CPUS = 2
"""CPUs: one for the timed worker, one for all other programs"""


class HealthItem(NamedTuple):
    """The result of one examination."""

    id: str
    group: Group
    state: State
    """ok; missing: optional and not installed; warning: a run works, with restrictions; broken: it does not work"""
    message: str
    advice: str = ""
    """the line that installs it, or another remedy"""


def examine(
    inventory: Inventory | None = None, tell: Callable[[str, int, int], object] = lambda *_: None
) -> Iterator[HealthItem]:
    """Examine everything in turn. ``tell`` receives (what, done, total) of slow examinations."""
    yield from _versions()
    yield from _backends(discover() if inventory is None else inventory, tell)
    yield from _extras()
    yield from _cpus()
    tell("the machine", 0, 0)
    yield from _surroundings()
    yield _clock(clock_step())
    yield _lock()
    yield _memory()
    yield _disk(DEFAULT_PARENT)


def exit_code(findings: Sequence[HealthItem], *, strict: bool) -> ExitCode:
    """OK where `run` works. A broken backend, and an installation without backends, have the exit codes of `run`."""
    backends = [item for item in findings if item.id.startswith("backend ")]
    codes = [ExitCode.BACKEND_FAILED for item in findings if item.state == "broken"]
    if not any(item.state == "ok" for item in backends):
        codes.append(ExitCode.NOTHING_TO_RUN)
    if strict and any(item.state == "warning" for item in findings):
        codes.append(ExitCode.DISAGREE)
    return ExitCode.worst(codes)


# --- what is installed ---


def _versions() -> Iterator[HealthItem]:
    message = (
        f"{platform.python_version()} ({platform.python_implementation()}), {platform.system()} {platform.machine()}"
    )
    yield HealthItem("python", "installed", "ok", message)
    libraries = ", ".join(f"{name} {_version(name)}" for name in ("numpy", "python-flint", "rich"))
    yield HealthItem("compare-ag", "installed", "ok", f"{compare_ag.__version__}, with {libraries}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _backends(inventory: Inventory, tell: Callable[[str, int, int], object]) -> Iterator[HealthItem]:
    """Each backend, loaded where it is installed, because metadata cannot show that an import fails."""
    for done, offer in enumerate(inventory.offers):
        tell(f"loading {offer.name}", done, len(inventory.offers))
        yield _backend(offer)
    for note in inventory.notes:
        yield HealthItem("plugins", "installed", "warning", note)


def _backend(offer: Offer) -> HealthItem:
    name = f"backend {offer.name}"
    if offer.status == "missing":
        return HealthItem(name, "installed", "missing", offer.reason, offer.install)
    if offer.status == "broken":
        return HealthItem(name, "installed", "broken", offer.reason, f"Mend or remove {offer.distribution}")
    loaded = probe(offer)
    if not loaded.ok:
        return HealthItem(name, "installed", "broken", loaded.reason, f"Mend, update or remove {offer.distribution}")
    versions = ", ".join(f"{library} {version}" for library, version in loaded.facts["versions"].items())
    dtypes = "/".join(loaded.facts["dtypes"])
    return HealthItem(
        name,
        "installed",
        "ok",
        f"{versions or offer.version}; {dtypes}; {loaded.facts['import_seconds']:.2f} s to import",
    )


def _extras() -> Iterator[HealthItem]:
    try:
        requires = metadata.requires(OWN_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield HealthItem("extras", "installed", "warning", "compare-ag itself is not installed", "Install it with pip")
        return
    for extra, purpose in EXTRAS.items():
        wanted = tuple(extra_requirements(requires, OWN_DISTRIBUTION, extra))
        reasons = [reason for text in wanted if (reason := explain_lack(text))]
        if reasons:
            line = install_line(wanted, built_in=True)
            yield HealthItem(
                f"extra {extra}", "installed", "missing", f"{purpose}: needs {' and '.join(reasons)}", line
            )
        else:
            yield HealthItem(f"extra {extra}", "installed", "ok", purpose)


# --- the machine ---


def _cpus() -> Iterator[HealthItem]:
    usable, total = usable_cpus(), os.cpu_count() or 1
    message = f"{cpu_model()}; this process may use {len(usable)} of {total} CPUs"
    few = len(usable) < LEAST_CPUS
    advice = "Other programs run on the CPU that is timed: trust ratios only with many launches" if few else ""
    yield HealthItem("cpus", "machine", "warning" if few else "ok", message, advice)
    if not hasattr(os, "sched_setaffinity"):
        message = "this system cannot pin processes to a CPU: times vary more than they need to"
        yield HealthItem("pinning", "machine", "warning", message, "Quote numbers from a system that can")
    quota = machine.settings().get("cgroup cpu.max", "max")
    if not quota.startswith("max"):
        message = f"this container may use so many microseconds of CPU in each period: {quota}"
        yield HealthItem("quota", "machine", "warning", message, "Time where no quota stops the process half-way")


def _surroundings() -> Iterator[HealthItem]:
    """The warnings of a run about governor, load, battery and unequal CPUs, or that there is no warning."""
    seen = Surroundings(
        load_per_cpu=machine.load_per_cpu(),
        governor=machine.governor(),
        on_battery=machine.on_battery(),
        speeds=machine.cpu_speeds(usable_cpus()),
    )
    warned = {note.id: note for note in notes([], [], 1, seen)}
    messages = {
        "governor": f"the clock frequency is governed by {seen.governor!r}"
        if seen.governor
        else "the system names none",
        "load": "not known here"
        if seen.load_per_cpu is None
        else f"{seen.load_per_cpu:.2f} per CPU in the last minute",
        "battery": "the machine does not run from a battery, as far as it tells",
        "unequal-cpus": "all CPUs do the same work in about the same time" if seen.speeds else "not known here",
    }
    for id, text in messages.items():
        note = warned.get(id)
        if note is None:
            yield HealthItem(id, "machine", "ok", text)
        else:
            message = f"other programs are busy: {text}" if id == "load" else note.message
            yield HealthItem(id, "machine", "warning", message, note.advice)


def clock_step(now: Callable[[], int] = time.perf_counter_ns) -> float:
    """Seconds of the smallest step of the clock in a short test; infinite where it did not move."""
    readings = [now() for _ in range(CLOCK_READINGS)]
    steps = [after - before for before, after in itertools.pairwise(readings) if after > before]
    return min(steps) * 1e-9 if steps else math.inf


def _clock(step: float) -> HealthItem:
    if step > COARSE_SECONDS:
        message = f"it moves in steps of {step * 1e9:.0f} ns, which is coarse for training steps of microseconds"
        return HealthItem("clock", "machine", "warning", message, "Time larger problems, or on another system")
    source = machine.settings().get("clock source", "")
    return HealthItem(
        "clock", "machine", "ok", f"it moves in steps of {step * 1e9:.0f} ns{f' ({source})' if source else ''}"
    )


def _lock() -> HealthItem:
    """Whether timings on this machine exclude each other, and whether a timing is under way."""
    advice = f"Name a file that all users who time here may open in {machine_lock.VARIABLE}"
    try:
        file = machine_lock.open_lock_file()
        try:
            free = file.lock(exclusive=True)
            holders = [] if free else file.holders()
        finally:
            file.close()
    except machine_lock.UnusableError as error:
        return HealthItem("lock", "machine", "warning", f"other timings here are not excluded: {error}", advice)
    if free:
        return HealthItem("lock", "machine", "ok", f"{file.path} is free: timings on this machine wait for each other")
    message = f"{file.path} is in use: {machine_lock.describe(holders)}"
    return HealthItem("lock", "machine", "warning", message, "A run waits until it is free")


def _memory() -> HealthItem:
    import psutil

    memory = psutil.virtual_memory()
    message = f"{memory.available / 1e9:.1f} GB of {memory.total / 1e9:.1f} GB are available"
    if memory.available < LEAST_MEMORY:
        return HealthItem(
            "memory", "machine", "warning", message, "Close what needs much, or compare fewer backends at a time"
        )
    return HealthItem("memory", "machine", "ok", message)


def _disk(parent: Path) -> HealthItem:
    """Whether runs can be saved in their default folder."""
    folder = next((candidate for candidate in (parent, *parent.parents) if candidate.is_dir()), Path())
    advice = "Name a folder that can be written with -o"
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return HealthItem("runs", "machine", "warning", f"{parent} cannot be looked at: {error.strerror}", advice)
    if not os.access(folder, os.W_OK):
        return HealthItem("runs", "machine", "warning", f"{parent} cannot be written from here", advice)
    message = f"kept in {parent}, where {free / 1e9:.1f} GB are free"
    return HealthItem(
        "runs", "machine", "warning" if free < LEAST_DISK else "ok", message, advice if free < LEAST_DISK else ""
    )
