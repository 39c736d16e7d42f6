"""Answers: how a plugin shows what its framework's autograd really does, for `compare-ag explain`.

An answer is an ordinary function of a few lines, without arguments, that does the thing the question asks about and
returns what came out as a dict. Its body is what people are shown, and that very text is what is executed; the host
turns what came out into a sentence. So no answer is ever written down, by a plugin or by us: change what the
framework does, and the answer changes.

This file must not import a framework, numpy or pluggy, as the contract: plugins build on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Answer(NamedTuple):
    """One question answered by running code. The hook ``compare_ag_answers()`` returns a list of these."""

    question: str
    """its id, as `compare-ag explain --list` shows it: "accumulation" """
    function: Callable[[], dict[str, Any]]
    """takes nothing and returns the evidence that the question asks for, by name; values are flags, numbers, texts,
    tensors or arrays (whatever has ``tolist()``), lists of these, or None. An exception that it raises is an outcome
    too. It may use its module's globals but not close over anything."""


class NotApplicable(NamedTuple):
    """A question that makes no sense for this framework, which is an answer as well."""

    question: str
    reason: str
    """half a sentence for people: "no gradient is kept, so there is nothing to clear" """
