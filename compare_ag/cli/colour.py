"""Whether output is coloured, by the two variables that people set for all their programs.

    NO_COLOR      set and not empty: no colour anywhere; it has priority over the other
    FORCE_COLOR   set and not empty: colour also in a pipe, a file, a log of CI, and where TERM is dumb

They decide about colour only. Whether a line may be overwritten depends on the stream (`can_rewrite`), because a
display of progress in a log, coloured or not, would be thousands of lines.
"""

from __future__ import annotations

import os
from typing import TextIO


def wants_colour(stream: TextIO) -> bool:
    """Whether output to this stream is coloured."""
    if os.environ.get("NO_COLOR"):
        return False
    return forces_colour() or can_rewrite(stream)


def forces_colour() -> bool:
    """Whether colour is requested for every kind of output."""
    return bool(os.environ.get("FORCE_COLOR")) and not os.environ.get("NO_COLOR")


def can_rewrite(stream: TextIO) -> bool:
    """Whether the stream is a terminal in which a line can be overwritten."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
