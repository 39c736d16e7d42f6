"""Makes text from plugins and files (names, reasons, file names) safe for a terminal. Standard library only."""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the direction of writing or are invisible"""


def printable(text: str) -> str:
    """The text with control, bidirectional and unassigned characters written as escapes.

    >>> printable("torch\\x1b[2J")
    'torch\\\\x1b[2J'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _HARMFUL else character
        for character in text
    )


def escape_surrogates(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, written as escapes.

    >>> escape_surrogates("a\\ud800b")
    'a\\\\ud800b'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def clock_time(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, seconds_left = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds_left:02}" if hours else f"{minutes}:{seconds_left:02}"


def shortened(text: str, most: int) -> str:
    """The text as a plain str of at most ``most`` characters, with an ellipsis where it is cut."""
    text = str.__str__(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


# Not compiled here: that takes longer than importing this module, and few processes ever need it.
_QUOTED_PATH = r"""(['"])(?:file://)?(?:~?/|[A-Za-z]:[\\/]|\\\\)[^'"\n]*[\\/][^'"\n]*\1"""
_HOME = r"""(?x)(?<![\w.])(?:/home/|/Users/|[A-Za-z]:[\\/]Users[\\/])
    [^\s'"<>|:;,()\[\]{}\\/]+(?:(?:[ ][A-Z][\w.-]*){1,3}(?=[\\/]))?  # "Jane Doe/", and no word of a sentence
    """
_PATH = r"""(?x)(?:(?<![\w./~…])(?:file://)?    # not within a word, a relative path or a web address
    |(?<![^\s'"=,(])(?P<flag>--?[A-Za-z]+))  # but glued to a compiler's flag, as -I/usr/include
    (?:~[\w.-]*[\\/]|[A-Za-z]:[\\/]|\\\\  # home, a drive, a share
    |(?<!<)/(?=[\w.])                 # root; </b> is a tag,
    |/(?=[@-]?[\w.-]+/)               # </b/c> is none, and +/-3 is a number
    |(?<!:)//(?=[\w.@-]+/))           # doubled, but not a web address's
    (?:(?:[^\s'"<>|:;,()\[\]{}\\/]|,(?=\w))+[\\/]+)*  # folders
    """


@cache
def _homes() -> re.Pattern[str] | None:
    """The home folders of this system whose names contain blanks or the like, which the patterns above do not match."""
    homes = set()
    from pathlib import Path  # imported late, because every worker would pay for it, and most texts contain no path

    with contextlib.suppress(RuntimeError, OSError):
        homes.add(str(Path.home()))
    with contextlib.suppress(ImportError, OSError):
        import pwd  # not on Windows

        homes |= {entry.pw_dir for entry in pwd.getpwall()}
    odd = sorted((home for home in homes if re.search(r"[^\w./\\:-]", home)), key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(map(re.escape, odd))})(?!\w)") if odd else None


def without_paths(text: str) -> str:
    """The text with each absolute path cut to its last part, because folders name people, machines and employers.

    >>> without_paths("cannot read /srv/lab/x.csv, '/srv/my data/y.csv' or data/z.csv")
    "cannot read …/x.csv, '…/y.csv' or data/z.csv"
    """
    homes = _homes()
    text = text if homes is None else homes.sub("~", text)
    text = re.sub(_QUOTED_PATH, _last_part, re.sub(_HOME, "~", text))
    return re.sub(_PATH, lambda match: f"{match['flag'] or ''}…/", text)


def _last_part(quoted: re.Match[str]) -> str:
    """A quoted path, which may contain spaces, without its folders."""
    mark, inside = quoted[1], quoted[0][1:-1]
    name = re.split(r"[\\/]", inside)[-1]
    return f"{mark}…/{name}{mark}"


def everywhere(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON-able value with every text in it changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): everywhere(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [everywhere(inner, change) for inner in value]
    return value
