"""Whether output is coloured, by the two variables that people set for all their programs.

    NO_COLOR      set and not empty: no colour anywhere; it wins over the other
    FORCE_COLOR   set and not empty: colour also in a pipe, a file, a log of CI, and where TERM is dumb

Colour is all that they decide. Whether a line may be written over is the stream's own matter (`can_rewrite`): a log
with colours is still a log, and a display of progress in it would be thousands of lines.
"""

from __future__ import annotations

import os
from typing import TextIO


def wants_colour(stream: TextIO) -> bool:
    """Whether what goes to this stream is coloured."""
    if os.environ.get("NO_COLOR"):
        return False
    return forces_colour() or can_rewrite(stream)


def forces_colour() -> bool:
    """Whether colour is asked for wherever the output goes."""
    return bool(os.environ.get("FORCE_COLOR")) and not os.environ.get("NO_COLOR")


def can_rewrite(stream: TextIO) -> bool:
    """Whether the stream is a terminal in which a line can be written over."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
