"""Removes the names of the machine and its owner from texts that plugins and libraries wrote into records.

Records are sent to other people, and a message such as "cannot open /srv/alice/data.csv on alices-laptop" names both.
Paths lose their folders, and the names of host and user are replaced. The logs of workers stay on the machine and are
not changed. Only free texts are changed: a user called numpy must not rename a backend.
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

COMMON_NAMES = frozenset({"root", "user", "admin", "test", "localhost", "runner", "ubuntu", "debian", "build", "linux"})
"""common names that are words too: replacing them would hide no owner and spoil sentences"""
SHORTEST = 3
"""characters of a name that is replaced"""


def anonymous(record: BackendRecord) -> BackendRecord:
    """The record without absolute paths, host name and user name in texts by plugins and libraries."""
    return records.replace(
        record,
        reason=anonymous_text(record.reason),
        warnings=[anonymous_text(text) for text in record.warnings],
        timing_note=anonymous_text(record.timing_note),
        memory_note=anonymous_text(record.memory_note),
    )


def anonymous_text(text: str) -> str:
    """One text without them."""
    text = without_paths(text)
    for pattern, placeholder in patterns(*_names()):
        text = pattern.sub(placeholder, text)
    return text


@lru_cache(maxsize=1)
def _names() -> tuple[str, str]:
    """The names of this machine and of its user; empty where the system has none."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no variable names the user, nor does the password database
        user = ""
    return platform.node(), user


def patterns(host: str, user: str) -> Iterable[tuple[re.Pattern[str], str]]:
    """Patterns of these names as whole words in any case, each with its placeholder."""
    for name, placeholder in ((host, "[host]"), (host.partition(".")[0], "[host]"), (user, "[user]")):
        if len(name) >= SHORTEST and name.lower() not in COMMON_NAMES:
            yield re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE), placeholder
