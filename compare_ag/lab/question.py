"""What a question is: a sentence, the evidence it asks for, and a judge that turns evidence into a finding.

The *question* is ours, the *answer* is code of a plugin, its *evidence* is what that code returned just now, and the
*finding* is what we say about it. A judge is a pure function of the outcome: it chooses a sentence and fills it with
what was seen, so that neither plugin nor host stores an answer. Where a judge does not recognise what it sees, it
says so by returning None; a wrong sentence is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["flag", "number", "array", "text", "texts"]


@dataclass(frozen=True)
class Field:
    """One piece of evidence that a question asks for."""

    kind: Kind
    """flag: True or False; number; array: nested lists of numbers; text; texts: a list of texts"""
    meaning: str
    optional: bool = False
    """it may be None"""


def flag(meaning: str) -> Field:
    """True or False."""
    return Field("flag", meaning)


def number(meaning: str) -> Field:
    """One number; a 0-d tensor is one."""
    return Field("number", meaning)


def array(meaning: str) -> Field:
    """Numbers in a tensor or in nested lists."""
    return Field("array", meaning)


def text(meaning: str) -> Field:
    """A text."""
    return Field("text", meaning)


def texts(meaning: str) -> Field:
    """A list of texts."""
    return Field("texts", meaning)


def maybe(field: Field) -> Field:
    """The same, or None."""
    return Field(field.kind, f"{field.meaning}, or None", optional=True)


MOST_CELL = 40
MOST_SENTENCE = 600
MOST_SHOWN = 8
"""numbers of a list that people are shown"""


class Raised(NamedTuple):
    """An exception that ended an answer."""

    kind: str
    """name of its type"""
    line: str
    """type and message on one line"""


@dataclass(frozen=True)
class Demonstration:
    """What an answer did."""

    evidence: Mapping[str, Any]
    """of the kinds that the question asks for; empty where it raised"""
    raised: Raised | None = None
    printed: str = ""
    warned: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.evidence[name]


class Conclusion(NamedTuple):
    """What is said about an outcome."""

    cell: str
    """a few words for the matrix"""
    sentence: str


Judge: TypeAlias = Callable[[Demonstration], Conclusion | None]


@dataclass(frozen=True)
class Question:
    """One question to all backends."""

    id: str
    """kebab-case; never changes its meaning"""
    group: str
    asks: str
    """the question, in one sentence"""
    evidence: Mapping[str, Field]
    judge: Judge
    may_raise: bool = False
    """an exception is one of the behaviours it asks about"""
    may_lack: bool = False
    """so is an AttributeError: what it asks about may not exist"""
    leaves: bool = False
    """the end of the process is part of the evidence: the host measures it, in a worker that has answered only this,
    as ``exit_seconds`` (None: it did not end) and ``exit_clean``"""

    def foresees(self, raised: Raised) -> bool:
        """Whether such an exception can be a behaviour; what a mere slip in the code raises cannot."""
        if raised.kind == "AttributeError":
            return self.may_lack
        return self.may_raise and raised.kind not in SLIPS

    def find(self, outcome: Demonstration) -> Conclusion:
        """Judge an outcome whose evidence has the right form."""
        if outcome.raised is not None and not self.foresees(outcome.raised):
            return Conclusion(
                cut(f"{outcome.raised.kind}?", MOST_CELL),
                f"The code raised {outcome.raised.kind}, which is unlike any behaviour that this question knows.",
            )
        found = self.judge(outcome) or Conclusion(
            "unlike any known", "This is unlike any behaviour that this question knows; what was seen stands above."
        )
        return Conclusion(cut(found.cell, MOST_CELL), cut(found.sentence, MOST_SENTENCE))


SLIPS = frozenset({
    "NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError", "AssertionError", "KeyError",
    "SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError", "RecursionError", "OSError", "FileNotFoundError",
})  # fmt: skip
"""names of exceptions that say something of the answer's code or the machine, nothing of a framework"""

REGISTERED: dict[str, Question] = {}
"""by id, as the modules of questions were imported"""


def question(
    id: str,
    group: str,
    asks: str,
    *,
    may_raise: bool = False,
    may_lack: bool = False,
    leaves: bool = False,
    **evidence: Field,
) -> Callable[[Judge], Judge]:
    """Register a judge with its question and, as keyword arguments, the evidence it asks for."""

    def keep(judge: Judge) -> Judge:
        if id in REGISTERED:
            raise ValueError(f"two questions are called {id!r}")
        REGISTERED[id] = Question(id, group, asks, evidence, judge, may_raise, may_lack, leaves)
        return judge

    return keep


# --- what judges share ---


def flat(value: Any) -> list[float]:
    """The numbers of an array in C order.

    >>> flat([[1.0], [2.0]])
    [1.0, 2.0]
    """
    if isinstance(value, list):
        return [number for part in value for number in flat(part)]
    return [float(value)]


def shape(value: Any) -> tuple[int, ...]:
    """The shape of an array.

    >>> shape([[1.0], [2.0]])
    (2, 1)
    """
    if not isinstance(value, list):
        return ()
    return (len(value), *(shape(value[0]) if value else ()))


def same(one: Any, other: Any, relative: float = 1e-6) -> bool:
    """Whether two arrays have one shape and agree to float32's last digits; NaN agrees with nothing."""
    pairs = list(zip(flat(one), flat(other), strict=False))
    return shape(one) == shape(other) and all(
        math.isclose(a, b, rel_tol=relative, abs_tol=relative * 1e-3) for a, b in pairs
    )


def finite(value: Any) -> bool:
    """Whether an array is free of NaN and infinities; with them, comparisons say little."""
    return all(map(math.isfinite, flat(value)))


def telling(value: Any) -> bool:
    """Whether an array can be told from its double: it is finite and not zero everywhere."""
    return finite(value) and any(flat(value))


def times(factor: float, value: Any) -> Any:
    """The array multiplied."""
    return [times(factor, one) for one in value] if isinstance(value, list) else factor * value


def error(gradient: Any, right: Any) -> float:
    """The largest deviation of a gradient, relative to its largest component.

    inf where shapes differ or one of them is not finite: `max` alone would lose a NaN.
    """
    if shape(gradient) != shape(right) or not (finite(gradient) and finite(right)):
        return math.inf
    largest = max(map(abs, flat(right)), default=0.0)
    off = max((abs(a - b) for a, b in zip(flat(gradient), flat(right), strict=True)), default=0.0)
    return off / largest if largest else off


def percent(fraction: float) -> str:
    """``0.5`` → ``50 %``."""
    return f"{100 * fraction:.3g} %"


def told(value: Any) -> str:
    """A piece of evidence as people read it: ``[2, 2]``, ``None``, ``yes``."""
    if value is None:
        return "None"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        shown = [told(one) for one in value]
        if len(shown) > MOST_SHOWN:
            shown = [*shown[: MOST_SHOWN - 1], "…", shown[-1]]
        return "[" + ", ".join(shown) + "]"
    return f"{value:.7g}" if isinstance(value, int | float) else cut(str(value), MOST_SENTENCE)


def cut(text: str, most: int) -> str:
    """The text, or its beginning with a mark that it went on.

    >>> cut("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
