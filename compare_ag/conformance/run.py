"""Climbing the ladder: every check of one backend, with what each saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from compare_ag.conformance.ladder import CHECKS
from compare_ag.conformance.registry import Check, CheckFailedError, CheckSkippedError
from compare_ag.conformance.subject import Subject
from compare_ag.host.process import WorkerFailure

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

    @property
    def explanation(self) -> str:
        """Four lines for people."""
        return f"{self.id}: {self.meaning}\n  seen: {self.message}\n  do: {self.advice}\n  again: {self.command}"


def climb(
    offer: Offer,
    only: Sequence[str] | None = None,
    observe: Callable[[CheckResult], None] | None = None,
    mutation: Mutation | None = None,
) -> list[CheckResult]:
    """Run all checks on one backend, or those whose ids are in ``only``; ``observe`` hears each result.

    After a failed rung the later ones still run, but not where the plugin cannot even be loaded.
    """
    results: list[CheckResult] = []
    with Subject(offer, mutation) as subject:
        for check in CHECKS.values():
            if only is not None and check.id not in only:
                continue
            result = _run(check, subject)
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
) -> list[CheckResult]:
    """`climb` for a backend by its name, as `compare-ag list` shows it.

    Raises `host.discovery.SelectionError` for an unknown backend, `KeyError` for an unknown check.
    """
    from compare_ag.suite import select

    for wanted in only or ():
        CHECKS[wanted]
    (offer,) = select([name]).values()
    return climb(offer, only, observe)


def _run(check: Check, subject: Subject) -> CheckResult:
    start, failed = time.monotonic(), False
    status: Status = "passed"
    try:
        message = check.function(subject)
    except CheckSkippedError as reason:
        status, message = "skipped", str(reason)
    except CheckFailedError as reason:
        status, message = "failed", str(reason)
    except WorkerFailure as failure:
        where = "" if failure.phase is None else f" (in {failure.phase})"
        status, message, failed = "failed", f"{failure.status}: {failure.reason}{where}", True
        subject.replace_workers()
    command = f"compare-ag check {subject.offer.name} --only {check.id}"
    took = time.monotonic() - start
    return CheckResult(check.id, status, message, check.meaning, check.advice, command, took, failed)
