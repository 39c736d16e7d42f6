"""File names from any text: different texts give different names, and every name is legal on every file system.

Plain names (lower-case ASCII letters, digits, ``_`` and ``-``) are their own stems, and ``distribution:name`` becomes
``distribution+name``. Every other text becomes its legible characters, ``~``, and the first 128 bits of its sha256; no
plain name contains a ``~``. So no stem contains a dot, a separator, a blank or a capital letter, none is longer than
`LONGEST` characters, and none begins like an option.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 64
"""characters (and bytes) of a plain name: far below the 255 bytes of every file system"""
LEGIBLE = 24
"""characters of any other text that stand before its hash"""
_PLAIN = re.compile(r"[a-z0-9_][a-z0-9_-]*(:[a-z0-9_-]+)?", re.ASCII)
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))]
)
"""names of devices on Windows, whatever their suffix"""
_OURS = frozenset({"reference", "control"})
"""stems of files of the run itself, beside those of the backends"""


def file_stem(name: str) -> str:
    """Return the stem of the files of ``name``, which may be any text: the name of a backend, a label."""
    if len(name) <= LONGEST and _PLAIN.fullmatch(name) and name not in _DEVICES | _OURS:
        return name.replace(":", "+")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{legible(name)[:LEGIBLE]}~{digest[:32]}"


def legible(text: str) -> str:
    """Return the characters of a text that every file system allows, in lower case; not injective, may be empty."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower(), flags=re.ASCII).strip("-")


def old_stem(name: str) -> str:
    """Return the stem of a backend's files in schema versions before 1.8."""
    return name.replace(":", "+")
