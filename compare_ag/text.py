"""Strangers' text on its way to a terminal: plugin names, reasons, file names. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

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


_QUOTED_PATH = re.compile(r"""(['"])(?:file://)?(?:~?/|[A-Za-z]:[\\/]|\\\\)[^'"\n]*[\\/][^'"\n]*\1""")
_HOME = re.compile(r"""(?<![\w.])(?:/home/|/Users/|[A-Za-z]:[\\/]Users[\\/])[^\s'"<>|:;,()\[\]{}\\/]+""")
_SEPARATOR = re.compile(r"[\\/]")
_PATH = re.compile(
    r"""(?<![\w./~<…])(?:file://)?   # not within a word, a relative path, a web address or a tag
    (?:~[\w.-]*[\\/]|/(?=[\w.])|[A-Za-z]:[\\/]|\\\\)  # home, root, a drive, a share
    (?:[^\s'"<>|:;,()\[\]{}\\/]+[\\/]+)*      # folders
    """,
    re.X,
)


def without_paths(text: str) -> str:
    """The text with each absolute path cut down to its last part: folders name people, machines and employers.

    >>> without_paths("cannot read /srv/lab/x.csv, '/srv/my data/y.csv' or data/z.csv")
    "cannot read …/x.csv, '…/y.csv' or data/z.csv"
    """
    text = _QUOTED_PATH.sub(_last_part, _HOME.sub("~", text))
    return _PATH.sub("…/", text)


def _last_part(quoted: re.Match[str]) -> str:
    """A quoted path, which may hold spaces, without its folders."""
    mark, inside = quoted[1], quoted[0][1:-1]
    return f"{mark}…/{_SEPARATOR.split(inside)[-1]}{mark}"


def everywhere(value: Any, change: Callable[[str], str]) -> Any:
    """JSON-able values with every text in them changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): everywhere(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [everywhere(inner, change) for inner in value]
    return value
