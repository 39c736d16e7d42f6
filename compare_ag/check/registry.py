"""The ladder: every check a backend must pass, from the smallest to the largest.

A check is a plain function of a `Subject`, without fixtures or configuration, so that it runs the same from the command
line, inside somebody's test suite and in ours. It returns a sentence on what it saw, raises `CheckFailedError` with
what is wrong, or `CheckSkippedError` with the reason why it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from compare_ag.check.subject import Subject

CheckFunction: TypeAlias = "Callable[[Subject], str]"


class CheckFailedError(Exception):
    """The backend is wrong; the message says what was seen and what was expected."""

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause
        """the known mistake that explains the numbers; empty where none does"""


class CheckSkippedError(Exception):
    """The check does not apply to this backend; the message says why."""


@dataclass(frozen=True)
class Check:
    """One rung."""

    id: str
    """kebab-case; never changes its meaning"""
    meaning: str
    """one line: what holds where it passes"""
    advice: str
    """one line: what to do where it fails"""
    function: CheckFunction
    needs: str = ""
    """a dtype or another capability without which it is skipped"""
    since: str = "0.1.0"


CHECKS: dict[str, Check] = {}
"""by id, in the order in which they are run"""


def check(id: str, meaning: str, advice: str, needs: str = "") -> Callable[[CheckFunction], CheckFunction]:
    """Register a check under its id."""

    def keep(function: CheckFunction) -> CheckFunction:
        if id in CHECKS:
            raise ValueError(f"two checks are called {id!r}")
        CHECKS[id] = Check(id, meaning, advice, function, needs)
        return function

    return keep
