"""Two numbers beside each other: the digits in which they differ, marked in colour and in brackets."""

from __future__ import annotations

import math
from typing import NamedTuple

from rich.text import Text

SIGNIFICANT = {"float32": 9, "float64": 17}
"""digits that tell any two numbers of the format apart"""


class Compared(NamedTuple):
    """A number in the places of another one."""

    same: str
    """its leading digits that are the other's too"""
    different: str
    """the rest, "" where there is none"""

    @property
    def plain(self) -> str:
        """With the sign that survives without colour."""
        return f"{self.same}[{self.different}]" if self.different else self.same


def written(value: float, like: float, dtype: str) -> str:
    """``value`` with as many places as ``like`` needs to be told from all other numbers of its format."""
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


def compared(value: float, exact: float, dtype: str) -> Compared:
    """``value`` beside ``exact``: equal numbers, zeros of either sign included, have no different digits."""
    if value == exact or (math.isnan(value) and math.isnan(exact)):
        return Compared(written(exact, exact, dtype), "")
    mine, other = written(value, exact, dtype), written(exact, exact, dtype)
    count = next((i for i, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), min(len(mine), len(other)))
    if mine == other:  # the same in all places that are shown
        return Compared(mine, "")
    return Compared(mine[:count], mine[count:])


def marked(found: Compared, *, wrong: bool) -> Text:
    """For a table: brackets and colour; ✗ where the number is out of its tolerance."""
    text = Text(found.same)
    if found.different:
        text.append(f"[{found.different}]", style="bold red" if wrong else "yellow")
    if wrong:
        text.append(" ✗", style="bold red")
    return text
