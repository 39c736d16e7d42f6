"""Climbing the ladder: every check of one backend, with its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from compare_ag.check.ladder import CHECKS, Check
from compare_ag.check.subject import SECONDS, CheckFailedError, CheckSkippedError, Subject
from compare_ag.host.failures import HostFault, WorkerFailure

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.worker.messages import Mutation

Status: TypeAlias = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """The result of one check."""

    id: str
    status: Status
    message: str
    """the observation: the worst ratio, the fault, or why the check does not apply"""
    meaning: str
    advice: str
    command: str
    """repeats this check alone"""
    seconds: float
    worker_failed: bool = False
    """whether the worker crashed, hung or broke the contract's form; if not, a failed check has wrong numbers"""
    log: str = ""
    """the last lines that a failed worker wrote to stderr: its traceback, or its stacks where it hung"""
    cause: str = ""
    """the known mistake that explains the wrong numbers; empty where there is none"""
    root: str = ""
    """the id of the check to mend first: its own, or `inputs-untouched` where the backend changed an input meanwhile"""
    ends: bool = False
    """whether the worker failed in a part that every later check needs, so that no later check is run"""

    @property
    def explanation(self) -> str:
        """Four or five lines for people, and the log where there is one."""
        lines = [f"{self.id}: {self.meaning}", f"  seen: {self.message}"]
        lines += [f"  cause: {self.cause}"] if self.cause else []
        lines += [f"  do: {self.advice}"]
        return "\n".join([*lines, f"  again: {self.command}", *(f"  | {line}" for line in self.log.splitlines())])


def climb(
    offer: Offer,
    only: Sequence[str] | None = None,
    observe: Callable[[CheckResult], None] | None = None,
    mutation: Mutation | None = None,
    announce: Callable[[Check], None] | None = None,
    name: str | None = None,
    *,
    seconds: float | None = None,
    expected: Collection[str] = (),
) -> list[CheckResult]:
    """Run all checks on one backend, or those whose ids are in ``only``; the results are those of the checks that ran.

    After wrong numbers the later checks still run. They do not run after a worker raised, died, hung or broke the
    contract's form in a part of the backend that all of them need: they would repeat the same failure.

    observe: called with each result. mutation: a mistake to build into the backend first. announce: called with each
    check before it runs. name: the backend's name on the command line, for the command that repeats a check. seconds:
    the time that the worker of one problem may take in all; None: `subject.SECONDS`. expected: ids of checks that are
    known to fail, which therefore do not end the run.
    """
    results: list[CheckResult] = []
    with Subject(offer, mutation, SECONDS if seconds is None else seconds) as subject:
        for check in CHECKS.values():
            if only is not None and check.id not in only:
                continue
            if announce is not None:
                announce(check)
            same = (r for r in results if r.worker_failed and check.needs and CHECKS[r.id].needs == check.needs)
            result = _run_check(check, subject, name or offer.name, next(same, None))
            results.append(result)
            if observe is not None:
                observe(result)
            if result.ends and check.id not in expected:
                break
    return results


def check_backend(
    name: str,
    only: Sequence[str] | None = None,
    observe: Callable[[CheckResult], None] | None = None,
    mutation: Mutation | None = None,
    announce: Callable[[Check], None] | None = None,
    *,
    seconds: float | None = None,
    expected: Collection[str] = (),
) -> list[CheckResult]:
    """`climb` for a backend by its name, as `compare-ag list` shows it.

    Raises `host.discovery.SelectionError` for an unknown backend, `KeyError` for an unknown check.
    """
    from compare_ag.suite import select

    for wanted in only or ():
        CHECKS[wanted]
    (offer,) = select([name]).values()
    return climb(offer, only, observe, mutation, announce, name, seconds=seconds, expected=expected)


def _run_check(check: Check, subject: Subject, name: str, failed: CheckResult | None) -> CheckResult:
    """Run a check; ``failed``: an earlier check whose worker failed in the same capability."""
    start = time.monotonic()
    command = f"compare-ag check {name} --only {check.id}"
    result = CheckResult(check.id, "passed", "", check.meaning, check.advice, command, 0.0, root=check.id)
    try:
        if failed is not None:
            raise CheckSkippedError(f"not asked, because '{failed.id}' failed")
        subject.begin()
        result = replace(result, message=check.function(subject))
    except CheckSkippedError as reason:
        result = replace(result, status="skipped", message=str(reason))
    except CheckFailedError as reason:
        result = replace(result, status="failed", message=str(reason), cause=reason.cause)
        if subject.wrote and check.id != INPUTS:  # a changed input may be the cause of the wrong number
            message = f"{result.message}; {' and '.join(sorted(subject.wrote))}: see '{INPUTS}' first"
            result = replace(result, message=message, cause="", root=INPUTS)
    except HostFault:
        raise  # a bug of ours is no result of a check
    except WorkerFailure as failure:
        subject.replace_workers()
        result = replace(
            result,
            status="failed",
            message=_describe_failure(failure, subject.seconds),
            advice=_TO_RUN.get(failure.status, check.advice),
            worker_failed=True,
            log=subject.last_words(),
            ends=_ends(failure, check),
        )
    return replace(result, seconds=time.monotonic() - start)


INPUTS = "inputs-untouched"
CAPABILITIES = ("step", "graph", "answer")
"""phases of a worker that the other checks do not need"""


def _ends(failure: WorkerFailure, check: Check) -> bool:
    """Whether the later checks would repeat this failure; a setting refused after `prepares` ends nothing."""
    refused = failure.phase == "prepare" and failure.reason.startswith("NotImplementedError")
    return failure.phase not in CAPABILITIES and not (refused and check.id != "prepares")


_TO_RUN = {
    "crashed": "Make it run before you make it right; the end of what it wrote is below, a traceback if it could.",
    "oom": "These problems need a few KiB: look for a buffer or a tape that grows with every call.",
    "timeout": "These problems take milliseconds: look where it waits, in the stack below.",
    "malformed": "Return what the contract says, in the dtype of the setting; the message names the value.",
}
"""Advice where a check got no numbers to judge; the check's own advice is about numbers."""


def _describe_failure(failure: WorkerFailure, seconds: float) -> str:
    """The worker's failure, with the phase."""
    place = "" if failure.phase is None else f" (in {failure.phase})"
    reason = f"no answer within {seconds:g} s" if failure.status == "timeout" else failure.reason
    return f"{failure.status}: {reason}{place}"
