"""What came of one level, and how recorded and derived values are compared."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

RELATIVE = 1e-6
"""Derived numbers may differ by this: another machine's products round the reference otherwise, by some 1e-10."""
ABSOLUTE = 1e-12
"""the same for numbers near 0"""


@dataclass(frozen=True)
class Mismatch:
    """Something that does not hold."""

    file: str
    """relative to the run directory"""
    field: str
    """empty where it is about the file as a whole"""
    recorded: Any
    derived: Any

    @property
    def sentence(self) -> str:
        """For people."""
        place = f"{self.file}: {self.field}" if self.field else self.file
        return f"{place}: recorded {_shown(self.recorded)}, derived {_shown(self.derived)}"


@dataclass
class Level:
    """One level: what does not hold, and what could not be told."""

    name: str
    mismatches: list[Mismatch] = field(default_factory=list)
    checked: str = ""
    """what was compared, as a clause"""
    notes: list[str] = field(default_factory=list)
    """what could not be compared, and why"""
    possible: bool = True
    """whether anything could be compared at all; a note says why not"""

    @property
    def word(self) -> str:
        """holds, does not hold, not possible."""
        if self.mismatches:
            return "does not hold"
        return "holds" if self.possible else "not possible"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and " " in value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:117]}…"


def compare(
    file: str, recorded: Any, derived: Any, *, ignored: Collection[str] = (), at: str = ""
) -> Iterator[Mismatch]:
    """Every field of two records, or of what JSON can hold, that differs; ``ignored``: names of fields at any depth."""
    old, new = (
        msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value for value in (recorded, derived)
    )
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key not in ignored:
                where = f"{at}.{key}" if at else str(key)
                yield from compare(file, old.get(key), new.get(key), ignored=ignored, at=where)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from compare(file, one, other, ignored=ignored, at=f"{at}[{i}]")
    elif not same(old, new):
        yield Mismatch(file, at, old, new)


def same(old: Any, new: Any) -> bool:
    """Whether two values are the same, numbers to within `RELATIVE`."""
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, int | float) and isinstance(new, int | float):
        return math.isclose(old, new, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if isinstance(old, msgspec.Struct) or isinstance(new, msgspec.Struct):
        return bool(msgspec.to_builtins(old) == msgspec.to_builtins(new))
    return bool(old == new)
