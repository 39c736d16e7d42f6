"""Replacements for a terminal without Unicode: an ASCII letter for each bar, line and sign that it cannot show.

An error handler of codecs, so that printing code need not know of it: tables stay aligned, sparklines and plots stay
readable, ``µs`` becomes ``us``. It receives only characters that the stream's encoding lacks.
"""

from __future__ import annotations

import codecs
import unicodedata

NAME = "compare_ag.plain"

_SIGNS = {
    **dict(zip("▁▂▃▄▅▆▇█", "_.-~=+*#", strict=True)),
    **dict(zip("━─│┤└├┬┴┼╭╮╯╰●", "=-||+++++++++o", strict=True)),
    **dict(zip("µ×…≤≥→−–±‖¦", "ux~<>>--~||", strict=True)),
    **dict(zip("‘’“”", "''\"\"", strict=True)),
}


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    """One ASCII character: from our table, or the letter without its accent, or a question mark."""
    if character in _SIGNS:
        return _SIGNS[character]
    letter = unicodedata.normalize("NFKD", character)[:1]
    return letter if letter.isascii() and letter.isalnum() else "?"


def register() -> str:
    """Register the handler with codecs; return its name."""
    codecs.register_error(NAME, _replace)
    return NAME
