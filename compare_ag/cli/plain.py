"""What a terminal without Unicode gets in place of what it cannot show: bars, lines and signs of one ASCII letter each.

An error handler of codecs, so that nothing that prints needs to know: tables stay aligned, sparklines and plots stay
readable, ``µs`` becomes ``us``. Only characters that the stream's encoding lacks ever come here.
"""

from __future__ import annotations

import codecs
import unicodedata

NAME = "compare_ag.plain"

_SIGNS = {
    **dict(zip("▁▂▃▄▅▆▇█", "_.-~=+*#", strict=True)),
    **dict(zip("━─│┤└", "=-||+", strict=True)),
    **dict(zip("µ×…≤≥→−–±‖¦", "ux~<>>--~||", strict=True)),
    **dict(zip("‘’“”", "''\"\"", strict=True)),
}


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    """One ASCII character: ours, or the letter without its accent, or a question mark."""
    if character in _SIGNS:
        return _SIGNS[character]
    letter = unicodedata.normalize("NFKD", character)[:1]
    return letter if letter.isascii() and letter.isalnum() else "?"


def register() -> str:
    """Make the handler known to codecs; return its name."""
    codecs.register_error(NAME, _replace)
    return NAME
