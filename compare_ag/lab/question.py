"""A question: a sentence, the evidence it asks for, and a judge that turns evidence into a finding.

The *question* is ours, the *answer* is code of a plugin, its *evidence* is the values that this code has just returned,
and the *finding* is our sentence about them. A judge is a pure function of the outcome: it chooses a sentence and fills
it with values of the evidence, so that neither plugin nor host stores an answer. A judge that does not recognise the
outcome returns None, because a wrong sentence is worse than none.
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
    """One number; a 0-d tensor counts as a number."""
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
    """A field of the same kind that may also be None."""
    return Field(field.kind, f"{field.meaning}, or None", optional=True)


MOST_CELL = 40
MOST_SENTENCE = 600
MOST_SHOWN = 8
"""numbers of a list that are shown"""


class Raised(NamedTuple):
    """An exception that ended an answer."""

    kind: str
    """name of its type"""
    line: str
    """type and message on one line"""


@dataclass(frozen=True)
class Demonstration:
    """The outcome of an answer: its evidence, exception, output and warnings."""

    evidence: Mapping[str, Any]
    """of the kinds that the question asks for; empty where the answer raised"""
    raised: Raised | None = None
    printed: str = ""
    warned: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.evidence[name]


class Conclusion(NamedTuple):
    """The finding on an outcome."""

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
    """an exception is a behaviour that the question asks about"""
    may_lack: bool = False
    """an AttributeError is such a behaviour too: the attribute may not exist"""
    leaves: bool = False
    """the end of the process is part of the evidence: the host measures it, in a worker that has answered only this
    question, as ``exit_seconds`` (None: it did not end) and ``exit_clean``"""

    def foresees(self, raised: Raised) -> bool:
        """Whether the exception can be a behaviour of the framework, not only a mistake in the answer's code."""
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
        conclusion = self.judge(outcome) or Conclusion(
            "unlike any known", "This is unlike any behaviour that this question knows; the evidence stands above."
        )
        return Conclusion(cut(conclusion.cell, MOST_CELL), cut(conclusion.sentence, MOST_SENTENCE))


SLIPS = frozenset({
    "NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError", "AssertionError", "KeyError",
    "SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError", "RecursionError", "OSError", "FileNotFoundError",
})  # fmt: skip
"""exceptions that point to the answer's code or the machine, not to the framework"""

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


# --- functions for judges ---


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


def same(left: Any, right: Any, relative: float = 1e-6) -> bool:
    """Whether two arrays have the same shape and agree to float32's last digits; NaN agrees with no number."""
    pairs = list(zip(flat(left), flat(right), strict=False))
    return shape(left) == shape(right) and all(
        math.isclose(a, b, rel_tol=relative, abs_tol=relative * 1e-3) for a, b in pairs
    )


def finite(value: Any) -> bool:
    """Whether an array is free of NaN and infinities, with which comparisons have little meaning."""
    return all(map(math.isfinite, flat(value)))


def telling(value: Any) -> bool:
    """Whether an array differs from its double: it is finite and has an element that is not zero."""
    return finite(value) and any(flat(value))


def times(factor: float, value: Any) -> Any:
    """The array multiplied by the factor."""
    return [times(factor, element) for element in value] if isinstance(value, list) else factor * value


def error(gradient: Any, right: Any) -> float:
    """The largest deviation of a gradient, relative to its largest component.

    inf where shapes differ or an array is not finite: `max` alone would lose a NaN.
    """
    if shape(gradient) != shape(right) or not (finite(gradient) and finite(right)):
        return math.inf
    largest = max(map(abs, flat(right)), default=0.0)
    off = max((abs(a - b) for a, b in zip(flat(gradient), flat(right), strict=True)), default=0.0)
    return off / largest if largest else off


def percent(fraction: float) -> str:
    """``0.5`` → ``50 %``."""
    return f"{100 * fraction:.3g} %"


def as_text(value: Any) -> str:
    """A piece of evidence as text: ``[2, 2]``, ``None``, ``yes``."""
    if value is None:
        return "None"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        shown = [as_text(element) for element in value]
        if len(shown) > MOST_SHOWN:
            shown = [*shown[: MOST_SHOWN - 1], "…", shown[-1]]
        return "[" + ", ".join(shown) + "]"
    return f"{value:.7g}" if isinstance(value, int | float) else cut(str(value), MOST_SENTENCE)


def cut(text: str, most: int) -> str:
    """The text, or its beginning with an ellipsis.

    >>> cut("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
