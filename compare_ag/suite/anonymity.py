"""Records are made to be sent around: what names the machine or its owner is taken out of a plugin's words.

A message such as "cannot open /srv/alice/data.csv on alices-laptop" names both. Paths lose their folders, the host's
and the user's names are replaced; the worker's own log, which stays where it is, keeps every word. Only texts that are
free are looked at: a user called numpy must not rename a backend.
"""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterable
from functools import lru_cache

from compare_ag import records
from compare_ag.records import BackendRecord
from compare_ag.text import without_paths

NOBODY = frozenset({"root", "user", "admin", "test", "localhost", "runner", "ubuntu", "debian", "build", "linux"})
"""names that many have, and that are words: replacing them would hide nobody and spoil sentences"""
SHORTEST = 3


def anonymous(record: BackendRecord) -> BackendRecord:
    """The record without absolute paths, host name and user name in what a plugin or a library has said."""
    return records.replace(
        record,
        reason=anonymous_text(record.reason),
        warnings=[anonymous_text(text) for text in record.warnings],
        timing_note=anonymous_text(record.timing_note),
        memory_note=anonymous_text(record.memory_note),
    )


def anonymous_text(text: str) -> str:
    """One text without them."""
    shown = without_paths(text)
    for pattern, instead in patterns(*_names()):
        shown = pattern.sub(instead, shown)
    return shown


@lru_cache(maxsize=1)
def _names() -> tuple[str, str]:
    """This machine's name and its user's; empty where the system tells none."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no variable names the user, nor does the password database
        user = ""
    return platform.node(), user


def patterns(host: str, user: str) -> Iterable[tuple[re.Pattern[str], str]]:
    """What to look for, whole words in any case, and what to put in its place."""
    for name, instead in ((host, "[host]"), (host.partition(".")[0], "[host]"), (user, "[user]")):
        if len(name) >= SHORTEST and name.lower() not in NOBODY:
            yield re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE), instead
