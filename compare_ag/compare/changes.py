"""The result of a comparison, as an immutable record; `document` makes JSON of it.

Schema history
    1.0  first version
    1.1  alike
    1.2  "not decided", for timings that other programs disturbed; strict
"""

from __future__ import annotations

from typing import Any

import msgspec

from compare_ag.records import Interval, Real, Schema
from compare_ag.text import everywhere, without_paths

SCHEMA = Schema(name="compare-ag/comparison", major=1, minor=2)

BECAME = ("same", "wrong", "cured", "new", "gone", "still wrong")
"""The changes of a backend's verdict. "wrong": it was ok, or absent, and is not ok now; or its numbers are judged wrong
for the first time; "new": it was absent and is ok; "still wrong": all other backends that were and are not ok, even if
the reason changed. Within one run the baseline is no earlier state, and every backend that is not ok is "wrong"."""

SPEED_VERDICTS = ("faster", "slower", "equivalent", "inconclusive", "yardstick", "not compared", "not decided")
"""How a backend's speed changed. "not decided": other programs disturbed the timing of one side, which may be repeated;
"not compared": there are no times, or they are not comparable. The note has the reason."""


class _Component(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable."""


class Fact(_Component, frozen=True, kw_only=True):
    """A difference of machine, versions or settings. Empty: absent."""

    what: str
    before: str
    after: str


class SpeedChange(_Component, frozen=True, kw_only=True):
    """How a backend's time per step changed."""

    before: Interval | None
    """seconds per step; None where it was not timed"""
    after: Interval | None
    ratio: Interval | None
    """after / before; relative to the yardstick's own change where there is one; None where it is not compared"""
    verdict: str
    """see `SPEED_VERDICTS`; a tie is "equivalent": the whole interval lies within the threshold"""
    floor: float | None = None
    """the joint effect of both runs' noise floors, below which no verdict is given"""
    note: str = ""


class BackendChange(_Component, frozen=True, kw_only=True):
    """One backend: before and after, or compared with the baseline."""

    name: str
    status_before: str | None
    """None: it was not in the run"""
    status_after: str | None
    became: str
    """see `BECAME`"""
    found: str
    """the verdict's message afterwards, or the reason why there is none"""
    versions: list[Fact]
    ratio_before: Real | None
    """worst observed/tolerance"""
    ratio_after: Real | None
    error_before: Real | None
    """‖(w, b) − reference‖ at the end"""
    error_after: Real | None
    loss_difference: Real | None
    """largest difference between the two trajectories of losses; 0 where all are equal"""
    published_before: bool | None
    """whether the published losses are reproduced; None where there are none"""
    published_after: bool | None
    speed: SpeedChange
    peak_before: int | None
    """bytes"""
    peak_after: int | None


class Comparison(_Component, frozen=True, kw_only=True):
    """All changes, and whether they may pass."""

    schema: Schema = SCHEMA
    kind: str
    """runs, or within: one run's backends with its baseline"""
    before: str
    """name of the run directory, or of the baseline"""
    after: str
    created_before: str
    created_after: str
    problem: str
    threshold: float
    """0.05: slower by up to 5 % passes"""
    level: float
    """of each interval, so that all hold together with 95 %"""
    yardstick: str | None
    """the unchanged backend whose change estimates the common factor of the machine; see `speed.between`"""
    times_differ: list[Fact]
    """why times are not compared; empty where they are"""
    alike: str = ""
    """a sentence for all times that changed by one factor without a yardstick; else empty"""
    environment: list[Fact]
    """other differences"""
    backends: list[BackendChange]
    regressions: list[str]
    """sentences on backends that became wrong or slower"""
    notes: list[str]
    strict: bool = False
    """whether a speed that is not decided, because its timing was disturbed, is a regression"""
    exit_code: int
    """1 where a backend became wrong, or slower beyond noise and threshold, or not decided with strict; else 0"""


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON-able values, for ``--json``, without paths of the machine."""
    values: dict[str, Any] = everywhere(msgspec.to_builtins(comparison), without_paths)
    return values
