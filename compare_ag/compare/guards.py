"""May two runs be compared? Numbers on one problem only, times on one machine only; and all other differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compare_ag.compare.changes import Fact
from compare_ag.records import BackendRecord, Environment, Manifest, ProblemRecord, Run

_PROBLEM = (
    "name", "examples", "features", "dtype", "loss", "l2", "steps", "learning_rate", "batch_size", "seed", "start",
)  # fmt: skip
_MACHINE_SETTINGS = ("frequency governor", "turbo off", "cgroup cpu.max", "hypervisor")
"""settings whose change makes times incomparable, as another machine does"""


class ComparisonError(Exception):
    """The runs cannot be compared. The message has the reason and advice; the CLI exits 2."""


def require_same_problem(before: ProblemRecord, after: ProblemRecord) -> None:
    """Raise `ComparisonError` where the problems differ, so that their numbers cannot be compared."""
    if before.digest == after.digest and before.features == after.features:
        return
    differing = [
        f"{field.replace('_', ' ')} {getattr(before, field)} and {getattr(after, field)}"
        for field in _PROBLEM
        if getattr(before, field) != getattr(after, field)
    ]
    difference = "; ".join(differing) or "data or start differ although all settings are the same"
    raise ComparisonError(
        f"the two runs trained different problems, whose numbers do not belong together: {difference}. "
        "Repeat one of them with the other's problem"
    )


def times_differ(before: Manifest, after: Manifest) -> list[Fact]:
    """Every reason not to compare times: another machine, other threads, another way of measuring."""
    earlier, later = before.environment, after.environment
    facts = [
        *_pairs("CPU", earlier.cpu, later.cpu),
        *_pairs("CPUs", _cpus(earlier), _cpus(later)),
        *_pairs("memory", _memory(earlier), _memory(later)),
        *_pairs("architecture", earlier.machine, later.machine),
        *_pairs("system", earlier.system, later.system),
        *_pairs("threads", str(before.problem.threads), str(after.problem.threads)),
    ]
    for name in _MACHINE_SETTINGS:
        facts += _pairs(name, earlier.settings.get(name, ""), later.settings.get(name, ""))
    if before.speed is not None and after.speed is not None:
        ways = [speed.mode if speed.mode == "pytest-benchmark" else "run" for speed in (before.speed, after.speed)]
        facts += _pairs("measured by", *ways)
        facts += _pairs("timed part of the training", before.speed.checkpoint, after.speed.checkpoint)
    return facts


def _cpus(environment: Environment) -> str:
    return f"{len(environment.usable_cpus)} of {environment.logical_cpus}"


def _memory(environment: Environment) -> str:
    """Rounded to GiB: the system's own share differs from boot to boot."""
    return f"{round(environment.memory_bytes / 2**30)} GiB"


def environment_changes(before: Manifest, after: Manifest) -> list[Fact]:
    """Versions, settings and thread variables that differ although times can be compared."""
    earlier, later = before.environment, after.environment
    settings = [
        {name: value for name, value in environment.settings.items() if name not in _MACHINE_SETTINGS}
        for environment in (earlier, later)
    ]
    return [
        *_pairs("Python", f"{earlier.implementation} {earlier.python}", f"{later.implementation} {later.python}"),
        *_pairs("compare-ag", before.tool_version, after.tool_version),
        *_of(_without_own(earlier.libraries), _without_own(later.libraries)),
        *_of(*settings),
        *_of(earlier.thread_variables, later.thread_variables),
    ]


def _without_own(libraries: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in libraries.items() if name != "compare-ag"}


def version_changes(before: BackendRecord, after: BackendRecord) -> list[Fact]:
    """Differences of a backend's distribution and libraries."""
    return [
        *_pairs("distribution", f"{before.distribution} {before.version}", f"{after.distribution} {after.version}"),
        *_of(before.versions, after.versions),
    ]


OWN_DISTRIBUTION = "compare-ag"


def beyond_doubt(name: str, before: Run, after: Run) -> bool:
    """Whether a backend cannot be the subject of the test, so that it may be the yardstick.

    Only a bundled backend of the same version in both runs may be; any other could be what changed: a plugin under
    development seldom changes its version.
    """
    shipped = all(run[name].distribution == OWN_DISTRIBUTION for run in (before, after))
    return shipped and before.manifest.tool_version == after.manifest.tool_version and is_unchanged(name, before, after)


def is_unchanged(name: str, before: Run, after: Run) -> bool:
    """Whether a backend has the same versions in both runs."""
    earlier, later = before.manifest.environment, after.manifest.environment
    return not version_changes(before[name], after[name]) and (earlier.python, earlier.implementation) == (
        later.python,
        later.implementation,
    )


def _of(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Fact]:
    for name in dict.fromkeys([*before, *after]):
        yield from _pairs(name, str(before.get(name, "")), str(after.get(name, "")))


def _pairs(what: str, before: str, after: str) -> Iterator[Fact]:
    if before != after:
        yield Fact(what=what, before=before, after=after)
