"""What launches of fresh workers measured, and what it says: from the blocks of each worker to one number per launch.

    Bench      one worker's blocks as they came
    Seen       the same, given what a probe takes at full speed: which blocks count, and how long a step took
    Launches   all launches of an engine: how a backend's step is timed, its time and ratios in each launch

What full speed is, and how a step is timed, is decided from all launches so far, and anew with each further one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare_ag.speed.blocks import (
    Blocks,
    at_full_speed,
    full_speed,
    launch_at_full_speed,
    launch_log_ratio,
    launch_log_time,
    mark_undisturbed,
    quickest,
)

if TYPE_CHECKING:
    from compare_ag.host.session import Session, TimedBlock
    from compare_ag.worker.messages import Array, Audited, Loaded, Observed, Prepared

TWIN = "{} again"
"""the name of a contestant's twin"""
LARGEST_TAIL = 0.05
"""of a block's wall time, after its last step: more is work that was put off"""
LARGEST_GAP = 1.5
"""times a block's shortest step that its steps may take on average: more, and some steps do the others' work"""


@dataclass
class Bench:
    """One timing worker and what it measured: the blocks of M instances, R rounds each, and the phased ones, R'."""

    session: Session
    loaded: Loaded
    prepared: Prepared
    threads: int
    step_ns: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """(T,): its first steps one by one"""
    watched: bool = False
    """whether these were many"""
    pinned: list[int] = field(default_factory=list)
    cached: bool = False
    """whether an earlier worker had left compiled code for it"""
    blocks: list[list[TimedBlock]] = field(default_factory=list)
    phased: list[list[TimedBlock]] = field(default_factory=list)
    audit: Audited | None = None
    observed: Observed | None = None
    others_cpu_seconds: float = 0.0
    """CPU time of other processes that the worker started, from its first blocks to its last"""
    _seen: Seen | None = None

    def column(self, name: str, *, phased: bool = False) -> Array:
        """A field of `Timed`, or host_ns, steps or lead_in, of every counted block: (M, R)."""
        made = self.phased if phased else self.blocks
        rows = [[getattr(one if hasattr(one, name) else one.timed, name) for one in instance] for instance in made]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)

    @property
    def wall(self) -> Array:
        """Wall nanoseconds of every counted block: (M, R)."""
        return self.column("wall_ns")

    @cached_property
    def quickest_ns(self) -> float:
        """What a probe of the CPU's speed takes where this process was at its quickest, once all blocks are made."""
        made = [one.probe_ns for each in self.blocks for one in each]
        return quickest(np.concatenate(made)) if made else math.inf

    def uninterrupted(self, *, phased: bool = False) -> Array:
        """(M, R) bool: the blocks in which no other program ran on the same CPU."""
        counted = [self.column(name, phased=phased) for name in ("switches", "waits", "cpu_ns", "inside_ns")]
        pinned = len(self.pinned) == self.threads
        return mark_undisturbed(counted[0], counted[1], counted[2], counted[3], self.threads, pinned=pinned)

    def seen(self, full_ns: float) -> Seen:
        """What the blocks say, once all are made, where a probe at full speed takes so long; kept for the next time."""
        if self._seen is None or self._seen.full_ns != full_ns:
            # threads slow each other as they please: what their probes see is themselves
            self._seen = Seen.of(self, full_ns if self.threads == 1 else math.inf)._replace(full_ns=full_ns)
        return self._seen

    @property
    def by_block(self) -> Array:
        """Nanoseconds per step of every block, its wall time divided by its steps: (M, R)."""
        return np.asarray(self.wall / self.column("steps"))

    @property
    def tail(self) -> Array:
        """Share of every block's wall time that lies after its last step: (M, R)."""
        steps = [[int(one.step_ns.sum()) for one in each] for each in self.blocks]
        return np.asarray(1 - np.array(steps).reshape(self.wall.shape) / self.wall)

    @property
    def phases(self) -> Array:
        """Nanoseconds per step of forward, backward, update in every phased block: (M, R', 3)."""
        rounds = len(self.phased[0]) if self.phased else 0
        times = np.array([[one.timed.phases for one in each] for each in self.phased], dtype=np.float64)
        steps = self.column("steps", phased=True)
        return np.asarray(times.reshape(len(self.phased), rounds, 3) / steps[:, :, None])


class Seen(NamedTuple):
    """What a launch's blocks say of a contestant, given what a probe takes at full speed."""

    full_ns: float
    share: Array
    """(M, R): of a block's segments, those that had the core to themselves"""
    by_block: Blocks
    """by wall time; what counts was not interrupted, and at full speed as a whole"""
    by_steps: Blocks
    """by the median of the steps at full speed; what counts was not interrupted, and has one"""
    tail: float | None
    """share of the wall time after the last step, the median over what counts; None where nothing does"""
    gap: float | None
    """the mean step by the shortest, likewise"""

    @classmethod
    def of(cls, bench: Bench, full_ns: float) -> Seen:
        """From its blocks."""
        blocks = [one for each in bench.blocks for one in each]
        there = [at_full_speed(one.probe_ns, full_ns) for one in blocks]
        # of a block without a segment at full speed all steps: it does not count, but has a time
        kept = [np.repeat(of | (not of.any()), one.segment or one.steps) for one, of in zip(blocks, there, strict=True)]
        steps = [one.step_ns[of[: len(one.step_ns)]] for one, of in zip(blocks, kept, strict=True)]
        shape = bench.wall.shape
        share = np.array([of.mean() for of in there]).reshape(shape)
        medians = np.array([np.median(one) if len(one) else np.nan for one in steps]).reshape(shape)
        unequal = np.array([one.mean() / one.min() if len(one) else np.nan for one in steps]).reshape(shape)
        calm = bench.uninterrupted() & launch_at_full_speed(share)
        known = calm & np.isfinite(medians)
        return cls(
            full_ns,
            share,
            Blocks(bench.by_block, calm & (share == 1)),
            Blocks(medians, known),
            float(np.median(bench.tail[known])) if known.any() else None,
            float(np.median(unequal[known])) if known.any() else None,
        )


@dataclass(frozen=True)
class LaunchResult:
    """One launch: what each contestant that survived it measured, side by side."""

    index: int
    hash_seed: int
    benches: dict[str, Bench]
    seconds: float
    twin: str = ""
    """the contestant that ran twice"""


class Launches:
    """The launches that count, in order."""

    def __init__(self) -> None:
        self._made: list[LaunchResult] = []
        # of each contestant, from all of them: every block asks
        self._timed_by: dict[str, str] = {}
        self._at_full_speed: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._made)

    def __iter__(self) -> Iterator[LaunchResult]:
        return iter(self._made)

    def add(self, launch: LaunchResult) -> LaunchResult:
        """One more."""
        self._made.append(launch)
        self._forget()
        return launch

    def clear(self) -> None:
        """Begin anew."""
        self._made.clear()
        self._forget()

    def _forget(self) -> None:
        self._timed_by.clear()
        self._at_full_speed.clear()

    def timed_by(self, name: str) -> str:
        """What a step's time is: "steps", the median step of a block, or "blocks", the block's wall time by its steps.

        Steps, where the work of a step is done when `step` returns: nothing is left to wait for at the block's end, and
        no step does several steps' work. The median is then what nothing disturbed, however short. Else blocks: an
        asynchronous or lazy backend pays at the end.
        """
        if name not in self._timed_by:
            full_ns = self._full_ns(name)
            seen = [launch.benches[name].seen(full_ns) for launch in self if name in launch.benches]
            shapes = [(one.tail, one.gap) for one in seen if one.tail is not None]
            tail, gap = np.median(np.array(shapes), axis=0).tolist() if shapes else (math.inf, math.inf)
            self._timed_by[name] = "steps" if tail <= LARGEST_TAIL and gap <= LARGEST_GAP else "blocks"
        return self._timed_by[name]

    def gap(self, name: str) -> float | None:
        """How much longer than that a step takes by the usual block's wall time, as share; None where none is clean.

        What slows half of the blocks is in it, and what the backend does now and then; the median over launches.
        """
        gaps = []
        for launch in self:
            bench, log_time = launch.benches.get(name), self.log_time(name, launch)
            if bench is not None and np.isfinite(log_time):
                gaps.append(float(np.median(bench.by_block[bench.uninterrupted()])) * 1e-9 / np.exp(log_time))
        return float(np.median(gaps)) - 1 if gaps else None

    def blocks(self, name: str, launch: LaunchResult) -> Blocks | None:
        """The counted blocks of a contestant, or of a twin, in a launch; None where it was not there."""
        bench = launch.benches.get(name)
        if bench is None:
            return None
        backend = self.backend_of(name, launch)
        seen = bench.seen(self._full_ns(backend))
        return seen.by_steps if self.timed_by(backend) == "steps" else seen.by_block

    def full_speed(self, name: str, launch: LaunchResult) -> Array:
        """Share of each of a contestant's blocks that had the core to itself: (M, R)."""
        return launch.benches[name].seen(self._full_ns(name)).share

    def _full_ns(self, name: str) -> float:
        """What a probe takes in the contestant's processes at full speed."""
        if name not in self._at_full_speed:
            there = [launch.benches.get(one) for launch in self for one in self.both(name, launch)]
            self._at_full_speed[name] = full_speed([bench.quickest_ns for bench in there if bench is not None])
        return self._at_full_speed[name]

    @staticmethod
    def backend_of(name: str, launch: LaunchResult) -> str:
        """The contestant whose twin this is, or the contestant itself."""
        return launch.twin if launch.twin and name == TWIN.format(launch.twin) else name

    def log_time(self, name: str, launch: LaunchResult) -> float:
        """This launch's log of seconds per step, the mean of both workers where it ran twice; NaN where disturbed."""
        found = [self.blocks(one, launch) for one in self.both(name, launch)]
        return _mean([float(launch_log_time(one)) for one in found if one is not None])

    def log_ratio(self, name: str, baseline: str, launch: LaunchResult) -> float:
        """This launch's log of time(name) / time(baseline); NaN where one was not there, or too much disturbed.

        A twin is another process of its backend: where one ran twice, the mean is over both.
        """
        sides = [[self.blocks(one, launch) for one in self.both(which, launch)] for which in (name, baseline)]
        pairs = [(mine, other) for mine in sides[0] for other in sides[1] if mine is not None and other is not None]
        return _mean([float(launch_log_ratio(*pair)) for pair in pairs])

    def log_ratios(self, name: str, baseline: str) -> list[float]:
        """One for each launch in which both were there and undisturbed."""
        values = [self.log_ratio(name, baseline, launch) for launch in self]
        return [value for value in values if np.isfinite(value)]

    def controls(self, name: str | None = None) -> list[float]:
        """The log-ratio of a twin to its backend in each undisturbed launch, or in those in which ``name`` had one."""
        values = []
        for launch in self:
            if launch.twin and name in (None, launch.twin):
                twin, own = self.blocks(TWIN.format(launch.twin), launch), self.blocks(launch.twin, launch)
                if twin is not None and own is not None:
                    values.append(float(launch_log_ratio(twin, own)))
        return [value for value in values if np.isfinite(value)]

    @staticmethod
    def both(name: str, launch: LaunchResult) -> list[str]:
        """A contestant and, where it ran twice in a launch, its twin."""
        return [name, TWIN.format(name)] if launch.twin == name else [name]


def _mean(values: Sequence[float]) -> float:
    """Of those that are finite; NaN for none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
