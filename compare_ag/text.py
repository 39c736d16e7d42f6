"""Strangers' text on its way to a terminal: plugin names, reasons, file names. Standard library only."""

from __future__ import annotations

import unicodedata

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the direction of writing or show nothing at all"""


def printable(text: str) -> str:
    """The text with control, bidirectional and unassigned characters written as escapes.

    >>> printable("torch\\x1b[2J")
    'torch\\\\x1b[2J'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _HARMFUL else character
        for character in text
    )
