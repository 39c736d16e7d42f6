"""Small checks of what people give us, numbers written as text among it; and how messages quote it.

Knows nothing of files or problems. Everything quoted here may come from a hostile file: control and
bidirectional characters are escaped, long texts cut.
"""

from __future__ import annotations

import math
import numbers
import re
from typing import TYPE_CHECKING, TypeVar

from compare_ag.problem.core import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LARGEST_INTEGER = 2**63 - 1  # integers travel to the workers and into the records as 64 bits

MISSING = frozenset({"", "?", "-", "na", "n/a", "null", "none"})
"""Feature cells that say, in lower case, that a value is missing. ("nan" is a number that is not finite.)"""

THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:([,.'’_ \u00a0\u202f])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]+)?")
"""Numbers that may have been written with thousands separators: ``1,234``, ``1.234.567,5``."""

Choice = TypeVar("Choice", bound=str)


def whole_number(what: str, value: object, *, least: int) -> int:
    """Return ``value`` as an int, or raise `ProblemError` unless it is an integer from ``least`` on (no bool)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < least:
        raise ProblemError(f"{what} must be an integer of at least {least}, not {quoted(value)}")
    if int(value) > LARGEST_INTEGER:
        raise ProblemError(f"{what} must fit into 64 bits: {quoted(value)} is too large")
    return int(value)


def real_number(what: str, value: object, *, least: float, finite: bool = True) -> float:
    """Return ``value`` as a float, or raise `ProblemError` unless it is a number from ``least`` on.

    finite: whether infinity is refused as well; NaN always is.
    """
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond 1.8e308: neither finite nor worth another message
            finite, number = True, math.inf
    if not number >= least or (finite and math.isinf(number)):
        kind = "a finite number" if finite else "a number"
        raise ProblemError(f"{what} must be {kind} of at least {least:g}, not {quoted(value)}")
    return number


def one_of(what: str, value: str, known: Sequence[Choice]) -> Choice:
    """Return the member of ``known`` that ``value`` names, or raise `ProblemError`."""
    for choice in known:
        if choice == value:
            return choice
    raise ProblemError(f"{what} must be {' or '.join(known)}, not {quoted(value)}{did_you_mean(value, known)}")


def parse_number(text: str) -> float | None:
    """Return the number that ``text`` is (maybe NaN or inf), or None.

    The decimal sign is the point. What Python's float() takes beyond that (1_000, digits of other scripts)
    is a typing mistake in a data file.
    """
    try:
        return None if "_" in text or not text.isascii() else float(text)
    except ValueError:
        return None


def not_a_number(text: str) -> str:
    """Say what is wrong with a cell that is not a finite number, and what to do about it."""
    text = text.strip()
    if text.lower() in MISSING:
        return f"is {quoted(text) if text else 'empty'}: a missing value; fill it in or remove the row"
    if thousands := THOUSANDS.fullmatch(text):
        either = " or a decimal comma" if thousands[1] == "," else ""
        trouble = f": a thousands separator{either}? Write numbers without separators, as 1234 or 1.234"
    elif parse_number(text) is not None:
        trouble = ", which is not finite in float64; repair or remove the row"
    elif parse_number(text.replace(",", ".", 1)) is not None:
        trouble = ", which is not a number: use the decimal point"
    else:
        trouble = ", which is not a number; features must be numeric: encode the column or leave it out"
    return f"is {quoted(text)}{trouble}"


def did_you_mean(given: object, known: Iterable[str], otherwise: str = "") -> str:
    """Return "; did you mean 'x'?" for the nearest of ``known``, or ``otherwise`` where none is near."""
    import difflib  # not worth its import until somebody has mistyped

    by_lower_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(given).lower(), by_lower_case, n=1)
    return f"; did you mean {quoted(by_lower_case[near[0]])}?" if near else otherwise


def quoted(value: object, longest: int = 40) -> str:
    """Return a text in quotes, anything else as it prints itself: escaped, and cut beyond ``longest`` characters."""
    text = value if isinstance(value, str) else printable(str(value))
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return repr(text) if isinstance(value, str) else text


def printable(text: str) -> str:
    """Return the text with everything escaped that would not print as itself (control characters, lone surrogates)."""
    return text if text.isprintable() else repr(text)[1:-1]


def listed(texts: Sequence[str], most: int = 8) -> str:
    """Return "a, b, c" of ready texts, abridged in the middle beyond ``most`` of them."""
    if len(texts) > most:
        texts = [*texts[: most - 1], "…", texts[-1]]
    return ", ".join(texts)
