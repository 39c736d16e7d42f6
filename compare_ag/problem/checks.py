"""Small checks of values that users give, also of numbers written as text; and how messages quote such values.

Knows nothing of files or problems. A quoted value may come from a hostile file: control and bidirectional characters
are escaped, and long texts are cut.
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
"""Feature cells, in lower case, that mean a missing value. ("nan" is a number that is not finite.)"""

THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:([,.'’_ \u00a0\u202f])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]+)?")
"""Numbers that may have been written with thousands separators: ``1,234``, ``1.234.567,5``."""

Choice = TypeVar("Choice", bound=str)


def whole_number(name: str, value: object, *, least: int) -> int:
    """Return ``value`` as an int; raise `ProblemError` unless it is an integer of at least ``least`` (and no bool)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < least:
        raise ProblemError(f"{name} must be an integer of at least {least}, not {quoted(value)}")
    if int(value) > LARGEST_INTEGER:
        raise ProblemError(f"{name} must fit into 64 bits: {quoted(value)} is too large")
    return int(value)


def real_number(name: str, value: object, *, least: float, finite: bool = True) -> float:
    """Return ``value`` as a float; raise `ProblemError` unless it is a number of at least ``least``.

    finite: whether infinity is refused; NaN always is.
    """
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond 1.8e308 is refused as infinity is
            finite, number = True, math.inf
    if not number >= least or (finite and math.isinf(number)):
        kind = "a finite number" if finite else "a number"
        raise ProblemError(f"{name} must be {kind} of at least {least:g}, not {quoted(value)}")
    return number


def match_choice(name: str, value: str, choices: Sequence[Choice]) -> Choice:
    """Return the member of ``choices`` that ``value`` names, or raise `ProblemError`."""
    for choice in choices:
        if choice == value:
            return choice
    raise ProblemError(f"{name} must be {' or '.join(choices)}, not {quoted(value)}{did_you_mean(value, choices)}")


def parse_number(text: str) -> float | None:
    """Return the number that ``text`` is, which may be NaN or inf; None if it is not a number.

    The decimal sign is the point. Other forms that Python's float() accepts (1_000, digits of other scripts) are
    mistakes in a data file.
    """
    try:
        return None if "_" in text or not text.isascii() else float(text)
    except ValueError:
        return None


def not_a_number(text: str) -> str:
    """Describe what is wrong with a cell that is not a finite number, and what to do about it."""
    text = text.strip()
    if text.lower() in MISSING:
        return f"is {quoted(text) if text else 'empty'}: a missing value; fill it in or remove the row"
    if thousands := THOUSANDS.fullmatch(text):
        either = " or a decimal comma" if thousands[1] == "," else ""
        fault = f": a thousands separator{either}? Write numbers without separators, as 1234 or 1.234"
    elif parse_number(text) is not None:
        fault = ", which is not finite in float64; repair or remove the row"
    elif parse_number(text.replace(",", ".", 1)) is not None:
        fault = ", which is not a number: use the decimal point"
    else:
        fault = ", which is not a number; features must be numeric: encode the column or leave it out"
    return f"is {quoted(text)}{fault}"


def did_you_mean(typed: object, names: Iterable[str], otherwise: str = "") -> str:
    """Return "; did you mean 'x'?" for the nearest of ``names``, or ``otherwise`` where none is near."""
    import difflib  # imported only where a name was mistyped

    by_lower_case = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(typed).lower(), by_lower_case, n=1)
    return f"; did you mean {quoted(by_lower_case[near[0]])}?" if near else otherwise


def quoted(value: object, longest: int = 40) -> str:
    """Return a text in quotes, any other value as its str(): escaped, and cut beyond ``longest`` characters."""
    text = value if isinstance(value, str) else printable(str(value))
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return repr(text) if isinstance(value, str) else text


def printable(text: str) -> str:
    """Return the text with control characters, lone surrogates and all else that is not printable escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


def listed(texts: Sequence[str], most: int = 8) -> str:
    """Return "a, b, c" of texts; of more than ``most`` the middle ones are left out."""
    if len(texts) > most:
        texts = [*texts[: most - 1], "…", texts[-1]]
    return ", ".join(texts)
