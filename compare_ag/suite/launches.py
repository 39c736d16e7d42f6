"""The measurements of launches of fresh workers: from the blocks of each worker to one number per launch.

    Bench          one worker's blocks as they came
    BlockReading   the same, once the time of a probe at full speed is known: which blocks count, with which time
    Launches       all launches of an engine: how a backend's step is timed, its time and ratios in each launch

The time of a probe at full speed, and how a step is timed, are decided from all launches so far, and again with each
further launch. Statistics over launches are none of this module's work: see `speed.statistics`.
"""

from __future__ import annotations

import itertools
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
"""of a block's wall time, after its last step; where it is more, work was put off"""
LARGEST_GAP = 1.5
"""of a block's mean step over its shortest one; where it is more, some steps do the work of others"""


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
    _reading: BlockReading | None = None

    def column(self, name: str, *, phased: bool = False) -> Array:
        """A field of `Timed`, or host_ns, steps or lead_in, of every counted block: (M, R)."""
        instances = self.phased if phased else self.blocks
        rows = [
            [getattr(block if hasattr(block, name) else block.timed, name) for block in instance]
            for instance in instances
        ]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)

    @property
    def wall(self) -> Array:
        """Wall nanoseconds of every counted block: (M, R)."""
        return self.column("wall_ns")

    @cached_property
    def quickest_ns(self) -> float:
        """The time of a probe of the CPU's speed where this process was at its quickest, once all blocks are made."""
        probes = [block.probe_ns for instance in self.blocks for block in instance]
        return quickest(np.concatenate(probes)) if probes else math.inf

    def uninterrupted(self, *, phased: bool = False) -> Array:
        """(M, R) bool: the blocks in which no other program ran on the same CPU."""
        switches, waits, cpu_ns, inside_ns = (
            self.column(name, phased=phased) for name in ("switches", "waits", "cpu_ns", "inside_ns")
        )
        pinned = len(self.pinned) == self.threads
        return mark_undisturbed(switches, waits, cpu_ns, inside_ns, self.threads, pinned=pinned)

    def read(self, full_ns: float) -> BlockReading:
        """Read the blocks, once all are made, or give the last reading; full_ns: the time of a probe at full speed."""
        if self._reading is None or self._reading.full_ns != full_ns:
            # several threads slow each other's probes: with them every block is at full speed
            reading = BlockReading.of(self, full_ns if self.threads == 1 else math.inf)
            self._reading = reading._replace(full_ns=full_ns)
        return self._reading

    @property
    def by_block(self) -> Array:
        """Nanoseconds per step of every block, its wall time divided by its steps: (M, R)."""
        return np.asarray(self.wall / self.column("steps"))

    @property
    def tail(self) -> Array:
        """Share of every block's wall time that lies after its last step: (M, R)."""
        steps = [[int(block.step_ns.sum()) for block in instance] for instance in self.blocks]
        return np.asarray(1 - np.array(steps).reshape(self.wall.shape) / self.wall)

    @property
    def phases(self) -> Array:
        """Nanoseconds per step of forward, backward, update in every phased block: (M, R', 3)."""
        rounds = len(self.phased[0]) if self.phased else 0
        times = np.array([[block.timed.phases for block in instance] for instance in self.phased], dtype=np.float64)
        steps = self.column("steps", phased=True)
        return np.asarray(times.reshape(len(self.phased), rounds, 3) / steps[:, :, None])


class BlockReading(NamedTuple):
    """The blocks of one worker, given the time of a probe at full speed."""

    full_ns: float
    share: Array
    """(M, R): of a block's segments, those that had the core to themselves"""
    by_block: Blocks
    """by wall time; a block counts if it was not interrupted, and at full speed in all segments"""
    by_steps: Blocks
    """by the median of the steps at full speed; a block counts if it was not interrupted, and has such steps"""
    tail: float | None
    """share of the wall time after the last step, the median over blocks that count; None where there are none"""
    gap: float | None
    """the mean step over the shortest, likewise"""

    @classmethod
    def of(cls, bench: Bench, full_ns: float) -> BlockReading:
        """Read the blocks of a worker."""
        blocks = [block for instance in bench.blocks for block in instance]
        segments = [at_full_speed(block.probe_ns, full_ns) for block in blocks]
        steps = [_steps_at_full_speed(block, fast) for block, fast in zip(blocks, segments, strict=True)]
        shape = bench.wall.shape
        share = np.array([fast.mean() for fast in segments]).reshape(shape)
        medians = np.array([np.median(step_ns) if len(step_ns) else np.nan for step_ns in steps]).reshape(shape)
        unequal = np.array([ns.mean() / ns.min() if len(ns) else np.nan for ns in steps]).reshape(shape)
        calm = bench.uninterrupted() & launch_at_full_speed(share)
        with_median = calm & np.isfinite(medians)
        return cls(
            full_ns,
            share,
            Blocks(bench.by_block, calm & (share == 1)),
            Blocks(medians, with_median),
            float(np.median(bench.tail[with_median])) if with_median.any() else None,
            float(np.median(unequal[with_median])) if with_median.any() else None,
        )


def _steps_at_full_speed(block: TimedBlock, segments: Array) -> Array:
    """The steps of the segments that are marked; all steps where none is: the block does not count, but has a time."""
    fast = np.repeat(segments | (not segments.any()), block.segment or block.steps)
    return np.asarray(block.step_ns[fast[: len(block.step_ns)]])


@dataclass(frozen=True)
class LaunchResult:
    """One launch: what each contestant that survived it measured, side by side."""

    hash_seed: int
    benches: dict[str, Bench]
    seconds: float
    twin: str = ""
    """the contestant that ran twice"""


class Launches:
    """The launches that count, in order."""

    def __init__(self) -> None:
        self._launches: list[LaunchResult] = []
        # of each contestant, from all launches; stored because it is needed for every block
        self._timed_by: dict[str, str] = {}
        self._at_full_speed: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._launches)

    def __iter__(self) -> Iterator[LaunchResult]:
        return iter(self._launches)

    def add(self, launch: LaunchResult) -> LaunchResult:
        """Add a launch and return it."""
        self._launches.append(launch)
        self._forget()
        return launch

    def clear(self) -> None:
        """Remove all launches."""
        self._launches.clear()
        self._forget()

    def _forget(self) -> None:
        self._timed_by.clear()
        self._at_full_speed.clear()

    def timed_by(self, name: str) -> str:
        """How a step is timed: by "steps", the median step of a block, or by "blocks", its wall time over its steps.

        By steps, where the work of a step is done when `step` returns: nothing is left to wait for at the end of the
        block, and no step does the work of several. The median then contains no disturbance, however short. Otherwise
        by blocks: an asynchronous or lazy backend does the work at the end.
        """
        if name not in self._timed_by:
            full_ns = self._full_ns(name)
            readings = [launch.benches[name].read(full_ns) for launch in self if name in launch.benches]
            shapes = [(reading.tail, reading.gap) for reading in readings if reading.tail is not None]
            tail, gap = np.median(np.array(shapes), axis=0).tolist() if shapes else (math.inf, math.inf)
            self._timed_by[name] = "steps" if tail <= LARGEST_TAIL and gap <= LARGEST_GAP else "blocks"
        return self._timed_by[name]

    def gap(self, name: str) -> float | None:
        """The share by which the median block's wall time over its steps exceeds the step's time; None where not known.

        The median over launches. It contains what slows half of the blocks, and what the backend does in some steps
        only.
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
        backend = backend_of(name, launch.twin)
        reading = bench.read(self._full_ns(backend))
        return reading.by_steps if self.timed_by(backend) == "steps" else reading.by_block

    def full_speed(self, name: str, launch: LaunchResult) -> Array:
        """Share of each of a contestant's blocks that had the core to itself: (M, R)."""
        return launch.benches[name].read(self._full_ns(name)).share

    def _full_ns(self, name: str) -> float:
        """The time of a probe in the contestant's processes at full speed."""
        if name not in self._at_full_speed:
            benches = [launch.benches.get(member) for launch in self for member in members(name, launch)]
            self._at_full_speed[name] = full_speed([bench.quickest_ns for bench in benches if bench is not None])
        return self._at_full_speed[name]

    def log_time(self, name: str, launch: LaunchResult) -> float:
        """This launch's log of seconds per step, the mean of both workers where it ran twice; NaN where disturbed."""
        return _mean([float(launch_log_time(blocks)) for blocks in self._member_blocks(name, launch)])

    def _member_blocks(self, name: str, launch: LaunchResult) -> list[Blocks]:
        """The counted blocks of a contestant and of its twin, as far as they took part."""
        by_member = [self.blocks(member, launch) for member in members(name, launch)]
        return [blocks for blocks in by_member if blocks is not None]

    def log_ratio(self, name: str, baseline: str, launch: LaunchResult) -> float:
        """This launch's log of time(name) / time(baseline); NaN where either did not take part, or was disturbed.

        A twin is another process of its backend: of a backend that ran twice the mean over both processes is taken.
        """
        pairs = itertools.product(self._member_blocks(name, launch), self._member_blocks(baseline, launch))
        return _mean([float(launch_log_ratio(*pair)) for pair in pairs])

    def log_ratios(self, name: str, baseline: str) -> list[float]:
        """The log-ratio of each launch in which both took part and were not disturbed."""
        values = [self.log_ratio(name, baseline, launch) for launch in self]
        return [value for value in values if np.isfinite(value)]

    def controls(self, name: str | None = None) -> list[float]:
        """The log-ratio of a twin to its backend in each undisturbed launch, or in those in which ``name`` had one."""
        values = []
        for launch in self:
            if launch.twin and name in (None, launch.twin):
                twin, backend = self.blocks(TWIN.format(launch.twin), launch), self.blocks(launch.twin, launch)
                if twin is not None and backend is not None:
                    values.append(float(launch_log_ratio(twin, backend)))
        return [value for value in values if np.isfinite(value)]


def members(name: str, launch: LaunchResult) -> list[str]:
    """The names of a contestant's processes in a launch: its own and, where it ran twice, its twin's."""
    return [name, TWIN.format(name)] if launch.twin == name else [name]


def backend_of(name: str, twin: str) -> str:
    """The contestant that runs under a name; twin: the contestant that runs twice in this launch, empty for none."""
    return twin if twin and name == TWIN.format(twin) else name


def _mean(values: Sequence[float]) -> float:
    """The mean of the finite values; NaN where there are none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
