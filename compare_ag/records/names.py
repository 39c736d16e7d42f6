"""The one function that makes file names: from any text, no two texts alike, and legal on every file system.

Plain names (lower-case ASCII letters, digits, ``_`` and ``-``) stand for themselves, and ``distribution:name`` for
itself with ``+`` in place of the colon. Every other text becomes what of it is legible, ``~``, and the first 128 bits
of its sha256: no plain name holds a ``~``. So no stem holds a dot, a separator, a blank or a capital letter, none is
longer than `LONGEST` characters, and none begins with what an option begins with.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 64
"""characters of a stem that stands for itself, the same as bytes: far below the 255 bytes of every file system"""
LEGIBLE = 24
"""characters of another text that are shown before its hash"""
_PLAIN = re.compile(r"[a-z0-9_][a-z0-9_-]*(:[a-z0-9_-]+)?", re.ASCII)
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))]
)
"""names of devices on Windows, whatever their suffix"""
_OURS = frozenset({"reference", "control"})
"""stems of files of the run itself, beside those of the backends"""


def file_stem(name: str) -> str:
    """Return the part of a file's name that stands for ``name``, which may be any text: a backend's, a label."""
    if len(name) <= LONGEST and _PLAIN.fullmatch(name) and name not in _DEVICES | _OURS:
        return name.replace(":", "+")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{legible(name)[:LEGIBLE]}~{digest[:32]}"


def legible(text: str) -> str:
    """Return what of a text can stand in a file's name everywhere, in lower case; not injective, may be empty."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower(), flags=re.ASCII).strip("-")


def old_stem(name: str) -> str:
    """Return the stem that files of schema versions before 1.8 have for the name of a backend."""
    return name.replace(":", "+")
