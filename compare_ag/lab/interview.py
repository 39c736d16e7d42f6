"""Asks each backend the questions, in a worker of its own, each answer with a time limit.

A crash, a hang or an invalid message on the result channel costs the answer that caused it and the worker; a fresh
worker continues with the next question. A question about the end of the process gets a worker of its own: the host
asks it to exit and measures the time. Backends are asked at the same time.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from compare_ag.host.crew import in_parallel, open_session
from compare_ag.host.failures import WorkerFailure, host_fault
from compare_ag.host.launch import Launch
from compare_ag.host.session import Session
from compare_ag.lab.evidence import EvidenceError, read_evidence
from compare_ag.lab.processes import LEAVE_SECONDS
from compare_ag.lab.question import Conclusion, Demonstration, Question, Raised
from compare_ag.records import file_stem
from compare_ag.worker import messages

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer

LOAD_SECONDS = 60.0
"""for importing the plugin and its framework"""
ANSWER_SECONDS = 10.0
"""for one answer"""
MOST_TIMEOUTS = 3
"""after as many hangs a backend is not asked further, because each hang costs the whole time limit"""

Status: TypeAlias = Literal["answered", "not-applicable", "unanswered", "failed", "malformed"]


@dataclass(frozen=True)
class Reply:
    """A backend's reply to one question."""

    question: Question
    status: Status
    reason: str = ""
    """why the question does not apply, the answer failed, or is malformed"""
    finding: Conclusion | None = None
    outcome: Demonstration | None = None
    code: str = ""
    helpers: str = ""
    seconds: float = 0.0


@dataclass
class Interview:
    """All replies of one backend."""

    name: str
    replies: dict[str, Reply] = field(default_factory=dict)
    """by the question's id, in the order in which they were asked"""
    versions: dict[str, str] = field(default_factory=dict)
    import_seconds: float = 0.0
    unknown: tuple[str, ...] = ()
    """ids that the plugin answers but no question has"""
    failure: str = ""
    """why the backend could not be asked at all"""
    workers: int = 0
    """count of started workers"""
    interrupted: bool = False
    """an interrupt came before all questions were asked"""


def interview(
    offers: Mapping[str, Offer],
    questions: Mapping[str, Question],
    known: Sequence[str],
    observe: Callable[[str, Reply], None] | None = None,
    seconds: float = ANSWER_SECONDS,
    tick: Callable[[], object] = lambda: None,
) -> list[Interview]:
    """Ask every backend the ``questions``, backends at the same time; the interviews are in the order of ``offers``.

    known: ids of all existing questions. observe: is called with each reply, from several threads. tick: is called
    while answers are awaited. An interrupt ends the interviews with the replies received so far; the other questions
    are *unanswered*.
    """
    cancel = threading.Event()
    interviews: dict[str, Interview] = {}

    def ask(name: str) -> Interview:
        return _Interviewer(name, offers[name], Path(logs), observe, seconds, cancel).ask_all(questions, known)

    with tempfile.TemporaryDirectory(prefix="compare-ag-explain-") as logs:
        try:
            # all at once, whatever the number of CPUs, because an interview mostly waits for imports
            in_parallel(offers, ask, interviews, cancel=cancel, at_a_time=len(offers), tick=lambda _: tick())
        except KeyboardInterrupt:
            if len(interviews) < len(offers):
                raise
    return [interviews[name] for name in offers]


class _Interviewer:
    """Asks one backend."""

    def __init__(
        self,
        name: str,
        offer: Offer,
        logs: Path,
        observe: Callable[[str, Reply], None] | None,
        seconds: float,
        cancel: threading.Event,
    ) -> None:
        self._offer, self._logs, self._observe, self._seconds = offer, logs, observe, seconds
        self._cancel = cancel
        self._timeouts = 0
        self._used = False
        """whether the worker has answered anything"""
        self._session: Session | None = None
        self._offered: dict[str, str | None] = {}
        self._interview = Interview(name)

    def ask_all(self, questions: Mapping[str, Question], known: Sequence[str]) -> Interview:
        """Ask the questions in turn; those about the end of the process last."""
        replies = {}
        try:
            self._ready()
            self._interview.unknown = tuple(question for question in self._offered if question not in known)
            for question in sorted(questions.values(), key=lambda question: question.leaves):
                replies[question.id] = reply = self._reply(question)
                if self._observe is not None:
                    self._observe(self._interview.name, reply)
        except WorkerFailure as failure:  # the plugin cannot be loaded, at first or again
            self._interview.interrupted = failure.status == "cancelled"
            self._interview.failure = "" if self._interview.interrupted else failure.reason
        finally:
            self._close()
        for question in questions.values():
            missing = Reply(question, "failed", self._interview.failure)
            if self._interview.interrupted:
                missing = Reply(question, "unanswered", "interrupted before it was asked")
            self._interview.replies[question.id] = replies.get(question.id) or missing
        return self._interview

    def _reply(self, question: Question) -> Reply:
        if question.id not in self._offered:
            return Reply(question, "unanswered", "the plugin does not answer it")
        reason = self._offered[question.id]
        if reason is not None:
            return Reply(question, "not-applicable", reason)
        if self._timeouts >= MOST_TIMEOUTS:
            return Reply(question, "failed", f"not asked: {self._timeouts} answers hung before")
        if question.leaves and self._used:
            self._close()
        session = self._ready()
        process = session.process
        self._used = True
        process.allow(self._seconds)
        leaving: dict[str, Any] = {}
        try:
            message = session.answer(question.id)
            if question.leaves:
                leaving = {"exit_seconds": session.finish(LEAVE_SECONDS), "exit_clean": not process.warnings}
                self._close()
        except WorkerFailure as failure:
            self._close()
            if failure.status == "cancelled":
                raise
            hung = failure.status == "timeout"
            self._timeouts += hung
            return Reply(question, "failed", f"no answer within {self._seconds:g} s" if hung else failure.reason)
        try:
            return read_reply(question, message, leaving)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this reply, not the others
            return Reply(question, "failed", host_fault(error, process.launch).reason)

    def _ready(self) -> Session:
        """The worker, with the plugin's answers loaded; a fresh worker where there is none."""
        if self._session is None:
            self._interview.workers += 1
            self._used = False
            launch = Launch(f"{file_stem(self._offer.name)}.{self._interview.workers}", self._logs, 1, 0, LOAD_SECONDS)
            self._session = open_session(launch, self._offer, self._cancel)
            try:
                listed = self._session.list_answers()
            except BaseException:
                self._close()
                raise
            self._offered = {answer.question: answer.reason for answer in listed.answers}
            self._interview.versions = listed.versions
            self._interview.import_seconds = self._interview.import_seconds or listed.import_seconds
        return self._session

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def read_reply(question: Question, message: messages.Answered, leaving: Mapping[str, Any] | None = None) -> Reply:
    """Check the evidence of an `Answered`, then judge it.

    leaving: the host's measurements at the end of the process.
    """
    raised = None if message.raised is None else Raised(message.raised.kind, message.raised.line)
    flaw, evidence = message.flaw, {}
    if not flaw and raised is None:
        try:
            evidence = read_evidence(question, message.evidence) | dict(leaving or {})
        except EvidenceError as error:
            flaw = str(error)
    reply = Reply(question, "answered", code=message.code, helpers=message.helpers, seconds=message.seconds)
    if flaw:
        return replace(reply, status="malformed", reason=f"its answer {flaw}")
    outcome = Demonstration(evidence, raised, message.printed, tuple(message.warned))
    reply = replace(reply, finding=question.find(outcome), outcome=outcome)
    if raised is not None and not question.foresees(raised):
        return replace(reply, status="failed", reason=f"its answer raised {raised.line}")
    return reply
