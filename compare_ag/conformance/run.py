"""Climbing the ladder: every check of one backend, with what each saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from compare_ag.conformance.ladder import CHECKS
from compare_ag.conformance.registry import Check, CheckFailedError, CheckSkippedError
from compare_ag.conformance.subject import MOST_TIMEOUTS, Subject
from compare_ag.host.process import HostFault, WorkerFailure

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.worker.protocol import Mutation

Status: TypeAlias = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """What became of one check."""

    id: str
    status: Status
    message: str
    """what was seen: how close it was, what is wrong, or why it does not apply"""
    meaning: str
    advice: str
    command: str
    """repeats just this check"""
    seconds: float
    worker_failed: bool = False
    """the worker crashed, hung or broke the contract's form; otherwise its numbers are wrong"""
    log: str = ""
    """the last lines that a failed worker wrote to stderr: its traceback, or its stacks where it hung"""

    @property
    def explanation(self) -> str:
        """Four lines for people, and the log where there is one."""
        lines = [f"{self.id}: {self.meaning}", f"  seen: {self.message}", f"  do: {self.advice}"]
        return "\n".join([*lines, f"  again: {self.command}", *(f"  | {line}" for line in self.log.splitlines())])


def climb(
    offer: Offer,
    only: Sequence[str] | None = None,
    observe: Callable[[CheckResult], None] | None = None,
    mutation: Mutation | None = None,
    announce: Callable[[Check], None] | None = None,
    name: str | None = None,
) -> list[CheckResult]:
    """Run all checks on one backend, or those whose ids are in ``only``.

    After a failed rung the later ones still run, but not where the plugin cannot even be loaded, and none is asked
    once the backend has hung `subject.MOST_TIMEOUTS` times.

    observe: hears each result. mutation: a mistake to be built into the backend before. announce: hears of each check
    before it runs. name: how people select this backend, for the command that repeats a check.
    """
    results: list[CheckResult] = []
    with Subject(offer, mutation) as subject:
        for check in CHECKS.values():
            if only is not None and check.id not in only:
                continue
            if announce is not None:
                announce(check)
            result = _run(check, subject, name or offer.name)
            results.append(result)
            if observe is not None:
                observe(result)
            if check.id == "loads" and result.status == "failed":
                break
    return results


def check_backend(
    name: str,
    only: Sequence[str] | None = None,
    observe: Callable[[CheckResult], None] | None = None,
    mutation: Mutation | None = None,
    announce: Callable[[Check], None] | None = None,
) -> list[CheckResult]:
    """`climb` for a backend by its name, as `compare-ag list` shows it.

    Raises `host.discovery.SelectionError` for an unknown backend, `KeyError` for an unknown check.
    """
    from compare_ag.suite import select

    for wanted in only or ():
        CHECKS[wanted]
    (offer,) = select([name]).values()
    return climb(offer, only, observe, mutation, announce, name)


def _run(check: Check, subject: Subject, name: str) -> CheckResult:
    start, failed, log, advice = time.monotonic(), False, "", check.advice
    status: Status = "passed"
    try:
        subject.begin()
        if subject.timeouts >= MOST_TIMEOUTS:
            raise CheckSkippedError(f"not asked: the backend hung {subject.timeouts} times before")
        message = check.function(subject)
    except CheckSkippedError as reason:
        status, message = "skipped", str(reason)
    except CheckFailedError as reason:
        status, message = "failed", str(reason) + _written(check, subject)
    except HostFault:
        raise  # a bug of ours is no result of a check
    except WorkerFailure as failure:
        subject.replace_workers()
        subject.timeouts += failure.status == "timeout"
        status, message, failed, log = "failed", _seen(failure, subject.seconds), True, subject.last_words()
        advice = _TO_RUN.get(failure.status, check.advice)
    command = f"compare-ag check {name} --only {check.id}"
    return CheckResult(check.id, status, message, check.meaning, advice, command, time.monotonic() - start, failed, log)


_TO_RUN = {
    "crashed": "Make it run before you make it right; the end of what it wrote is below, a traceback if it could.",
    "oom": "These problems need a few KiB: look for a buffer or a tape that grows with every call.",
    "timeout": "These problems take milliseconds: look where it waits, in the stack below.",
    "malformed": "Return what the contract says, in the dtype of the setting; the message names the value.",
}
"""What to do where a check got no numbers to judge: its own advice is about numbers."""


def _seen(failure: WorkerFailure, seconds: float) -> str:
    """What became of the worker, and where."""
    where = "" if failure.phase is None else f" (in {failure.phase})"
    reason = f"no answer within {seconds:g} s" if failure.status == "timeout" else failure.reason
    return f"{failure.status}: {reason}{where}"


def _written(check: Check, subject: Subject) -> str:
    """A wrong number may only be the consequence of a changed input."""
    if not subject.wrote_into or check.id == "inputs-untouched":
        return ""
    return f"; it writes into {' and '.join(sorted(subject.wrote_into))}: see 'inputs-untouched' first"
