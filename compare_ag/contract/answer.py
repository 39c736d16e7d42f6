"""Answers: a plugin's demonstrations of its framework's autograd, for `compare-ag explain`.

An answer is an ordinary function of a few lines, without arguments, that runs the operation of its question and returns
the results as a dict. Its body is shown to people, and exactly that text is executed; the host turns the results into a
sentence. No answer is therefore stored, by a plugin or by us: when the framework's behaviour changes, so does the
answer.

This file must not import a framework, numpy or pluggy, like the contract, because plugins build on it.
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
    """A question that has no meaning for this framework, which counts as an answer too."""

    question: str
    reason: str
    """half a sentence for people: "no gradient is kept, so there is nothing to clear" """
