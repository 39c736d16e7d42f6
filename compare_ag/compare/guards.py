"""May two runs be compared? Numbers on one problem only, times on one machine only; and all else that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compare_ag.compare.changes import Fact
from compare_ag.records import BackendRecord, Environment, Manifest, ProblemRecord, Run

_PROBLEM = (
    "name", "examples", "features", "dtype", "loss", "l2", "steps", "learning_rate", "batch_size", "seed", "start",
)  # fmt: skip
_MACHINE_SETTINGS = ("frequency governor", "turbo off", "cgroup cpu.max", "hypervisor")
"""settings that make another machine of it"""


class ComparisonError(Exception):
    """The runs cannot be compared. The message says why and what to do; the CLI exits 2."""


def require_same_problem(before: ProblemRecord, after: ProblemRecord) -> None:
    """Raises `ComparisonError` where the problems differ: their numbers do not belong together."""
    if before.digest == after.digest and before.features == after.features:
        return
    differing = [
        f"{field.replace('_', ' ')} {getattr(before, field)} and {getattr(after, field)}"
        for field in _PROBLEM
        if getattr(before, field) != getattr(after, field)
    ]
    what = "; ".join(differing) or "data or start differ although all settings are the same"
    raise ComparisonError(
        f"the two runs trained different problems, whose numbers do not belong together: {what}. "
        "Repeat one of them with the other's problem"
    )


def times_differ(before: Manifest, after: Manifest) -> list[Fact]:
    """Every reason not to compare times: another machine, other threads, another way of measuring."""
    one, other = before.environment, after.environment
    found = [
        *_pairs("CPU", one.cpu, other.cpu),
        *_pairs("CPUs", _cpus(one), _cpus(other)),
        *_pairs("memory", _memory(one), _memory(other)),
        *_pairs("architecture", one.machine, other.machine),
        *_pairs("system", one.system, other.system),
        *_pairs("threads", str(before.problem.threads), str(after.problem.threads)),
    ]
    for name in _MACHINE_SETTINGS:
        found += _pairs(name, one.settings.get(name, ""), other.settings.get(name, ""))
    if before.speed is not None and after.speed is not None:
        ways = [speed.mode if speed.mode == "pytest-benchmark" else "run" for speed in (before.speed, after.speed)]
        found += _pairs("measured by", *ways)
        found += _pairs("timed part of the training", before.speed.checkpoint, after.speed.checkpoint)
    return found


def _cpus(environment: Environment) -> str:
    return f"{len(environment.usable_cpus)} of {environment.logical_cpus}"


def _memory(environment: Environment) -> str:
    """Rounded: what the system keeps for itself differs from boot to boot."""
    return f"{round(environment.memory_bytes / 2**30)} GiB"


def environment_changes(before: Manifest, after: Manifest) -> list[Fact]:
    """Versions, settings and thread variables that differ and do not make another machine of it."""
    one, other = before.environment, after.environment
    settings = [
        {name: value for name, value in environment.settings.items() if name not in _MACHINE_SETTINGS}
        for environment in (one, other)
    ]
    return [
        *_pairs("Python", f"{one.implementation} {one.python}", f"{other.implementation} {other.python}"),
        *_pairs("compare-ag", before.tool_version, after.tool_version),
        *_of(_without_own(one.libraries), _without_own(other.libraries)),
        *_of(*settings),
        *_of(one.thread_variables, other.thread_variables),
    ]


def _without_own(libraries: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in libraries.items() if name != "compare-ag"}


def version_changes(before: BackendRecord, after: BackendRecord) -> list[Fact]:
    """What a backend is made of: its distribution and its libraries."""
    return [
        *_pairs("distribution", f"{before.distribution} {before.version}", f"{after.distribution} {after.version}"),
        *_of(before.versions, after.versions),
    ]


OWN_DISTRIBUTION = "compare-ag"


def beyond_doubt(name: str, before: Run, after: Run) -> bool:
    """Whether a backend cannot be what is under test, so that its own change may be taken for the machine's mood.

    Equal versions alone do not tell: a change to a plugin that is being worked on seldom changes its version. Only what
    comes with compare-ag itself, of unchanged version, is nobody's work in progress (but compare-ag's own).
    """
    shipped = all(run[name].distribution == OWN_DISTRIBUTION for run in (before, after))
    return shipped and before.manifest.tool_version == after.manifest.tool_version and unchanged(name, before, after)


def unchanged(name: str, before: Run, after: Run) -> bool:
    """Whether a backend is, as far as versions tell, the same in both runs."""
    one, other = before.manifest.environment, after.manifest.environment
    return not version_changes(before[name], after[name]) and (one.python, one.implementation) == (
        other.python,
        other.implementation,
    )


def _of(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Fact]:
    for name in dict.fromkeys([*before, *after]):
        yield from _pairs(name, str(before.get(name, "")), str(after.get(name, "")))


def _pairs(what: str, before: str, after: str) -> Iterator[Fact]:
    if before != after:
        yield Fact(what=what, before=before, after=after)
