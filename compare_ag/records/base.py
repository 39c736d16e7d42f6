"""What all records are made of: the base of the structs, numbers that JSON can hold, the version of the layout.

Records are immutable, and readers ignore fields that they do not know, which a later minor version may have added. JSON
has no NaN or infinity, and msgspec would write them as null: scalars that may be either are `Real`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np

Real: TypeAlias = float | str
"""A float that may be non-finite: written as a number, or as "nan", "inf", "-inf". `float()` reads both."""

SCHEMA_NAME = "compare-ag/run"
SCHEMA_MAJOR = 1
SCHEMA_MINOR = 8
WITH_SUMS = 8
"""the minor version since which a run directory has its SHA256SUMS, and the evidence of its verdicts"""
RENAMED = {
    "preempted": "left_out_share",
    "held_back": "limited_by_noise_floor",
    "other_codes": "further_exit_codes",
}
"""keys of the records before schema 1.8 with the names that they have since then"""

R = TypeVar("R", bound="Record")
T = TypeVar("T")


def real(value: float) -> Real:
    """Make a float safe for JSON."""
    value = float(value)
    return value if np.isfinite(value) else repr(value)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records: immutable; fields of later minor versions are ignored."""


def replace(record: R, **changes: Any) -> R:
    """The record with some fields changed."""
    return msgspec.structs.replace(record, **changes)


class Schema(Record, frozen=True, kw_only=True):
    """Name and version of the layout."""

    name: str = SCHEMA_NAME
    major: int = SCHEMA_MAJOR
    minor: int = SCHEMA_MINOR


_IN_NOTEBOOKS: dict[type, Callable[[Any], str]] = {}
"""how a notebook shows a run and a record: filled by `compare_ag.notebook`, which knows the reports"""


def show_in_notebooks(kind: type[T], make: Callable[[T], str]) -> None:
    """Have notebooks show objects of this kind by the HTML that ``make`` returns."""
    _IN_NOTEBOOKS[kind] = make


def in_notebook(value: object) -> str | None:
    """The HTML of a run or record; None where `show_in_notebooks` was not called: a notebook then shows the text."""
    make = _IN_NOTEBOOKS.get(type(value))
    return None if make is None else make(value)
