"""Two numbers beside each other: the digits in which they differ, marked in colour and in brackets."""

from __future__ import annotations

import math
from typing import NamedTuple

from rich.text import Text

SIGNIFICANT = {"float32": 9, "float64": 17}
"""decimal digits that distinguish any two numbers of the format"""


class Compared(NamedTuple):
    """A number split into its leading digits that equal another number's, and the digits after them."""

    same: str
    """the leading digits that both numbers share"""
    different: str
    """the digits after those, "" where the numbers are equal"""

    @property
    def plain(self) -> str:
        """The number with brackets around the different digits, for output without colour."""
        return f"{self.same}[{self.different}]" if self.different else self.same


def format_like(value: float, like: float, dtype: str) -> str:
    """``value`` with as many places as distinguish ``like`` from every other number of its format."""
    if not math.isfinite(value):
        return str(value).replace("-", "−")
    digits = SIGNIFICANT.get(dtype, 17)
    scale = like if math.isfinite(like) and like else value
    magnitude = math.floor(math.log10(abs(scale))) if scale else 0
    if -5 <= magnitude < 7 and abs(value) < 1e9:
        text = f"{value:.{max(0, digits - 1 - magnitude)}f}"
    else:
        text = f"{value:.{digits - 1}e}"
    return text.replace("-", "−")


def compare_digits(value: float, exact: float, dtype: str) -> Compared:
    """Compare ``value`` with ``exact`` digit by digit. Equal numbers, also 0 and −0, have no different digits."""
    if value == exact or (math.isnan(value) and math.isnan(exact)):
        return Compared(format_like(exact, exact, dtype), "")
    digits, expected = format_like(value, exact, dtype), format_like(exact, exact, dtype)
    count = next(
        (i for i, (a, b) in enumerate(zip(digits, expected, strict=False)) if a != b), min(len(digits), len(expected))
    )
    if digits == expected:  # equal in all places that are shown
        return Compared(digits, "")
    return Compared(digits[:count], digits[count:])


def mark_digits(number: Compared, *, wrong: bool) -> Text:
    """A table's cell: different digits in brackets and in colour, ✗ where the number is out of its tolerance."""
    text = Text(number.same)
    if number.different:
        text.append(f"[{number.different}]", style="bold red" if wrong else "yellow")
    if wrong:
        text.append(" ✗", style="bold red")
    return text
