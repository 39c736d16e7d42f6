"""What a comparison found, as an immutable record; `document` makes JSON of it.

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
"""What can become of a backend's verdict. "wrong": it was ok, or was not there, and is not ok; or its numbers are wrong
and were not seen to be; "new": it was not there and is ok; "still wrong": neither time ok otherwise, be it for another
reason. Within one run, whose baseline is no former state, whatever is not ok is "wrong"."""

SPEED_VERDICTS = ("faster", "slower", "equivalent", "inconclusive", "yardstick", "not compared", "not decided")
"""How a backend's speed changed. "not decided": other programs disturbed the timing of one side, which may be repeated;
"not compared": there is nothing to compare, or it would mean nothing. The note says why."""


class _Component(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable."""


class Fact(_Component, frozen=True, kw_only=True):
    """Something about machine, versions or settings that is not the same. Empty: not there."""

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
    """what both runs' noise floors amount to: no verdict rests on less"""
    note: str = ""


class BackendChange(_Component, frozen=True, kw_only=True):
    """One backend: before and after, or the baseline and the other."""

    name: str
    status_before: str | None
    """None: it was not in the run"""
    status_after: str | None
    became: str
    """see `BECAME`"""
    found: str
    """the verdict's message afterwards, or the reason for having none"""
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
    """What changed, and whether it may pass."""

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
    """the backend whose own change is taken for the machine's mood"""
    times_differ: list[Fact]
    """why times are not compared; empty where they are"""
    alike: str = ""
    """what to say where no yardstick was taken and all times moved by one factor"""
    environment: list[Fact]
    """what else differs"""
    backends: list[BackendChange]
    regressions: list[str]
    """sentences: what became wrong or slower"""
    notes: list[str]
    strict: bool = False
    """whether a speed that is not decided, because its timing was disturbed, must not pass"""
    exit_code: int
    """1 where something became wrong, or slower beyond noise and threshold, or strict does not let it pass; else 0"""


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON-able values, for ``--json``; no text in it names a place on anybody's machine."""
    made: dict[str, Any] = everywhere(msgspec.to_builtins(comparison), without_paths)
    return made
