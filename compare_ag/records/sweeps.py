"""Records of a sweep: its cells, the results of each backend in them, and the fastest backend of each.

    SWEEP/
      sweep.json          the grid
      cells/KEY/          one finished cell: a run directory without a page, and beside its files
        cell.json         the cell, its versions, its machine, a row for each backend
        SHA256SUMS        of every other file, as `sha256sum -c` reads it
      cells.jsonl         a line for each backend and cell      } derived from the cells, written again
      cells.csv           the same for spreadsheets             } after every sweep
      analysis.json       cost models, limits, crossovers       }
      report.html         one page                              }

Reports read these records alone, so that a sweep can be looked at where no framework is installed.

Schema history
    1.0  first version
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compare_ag.records.base import Real, Record, Schema
from compare_ag.records.costs import Interval, PairRecord

SCHEMA = Schema(name="compare-ag/sweep", major=1, minor=0)
CELL_SCHEMA = Schema(name="compare-ag/cell", major=1, minor=0)

CELL_STATUSES = ("ok", "failed", "disturbed", "skipped")
"""The possible statuses of a cell. "ok": every backend has its result, also a wrong one, which would be wrong again;
"failed": a backend or the cell's own process failed; "disturbed": other programs disturbed the timing of a backend;
"skipped": memory or time would not suffice. Only "ok" counts as done."""


def format_count(count: int, noun: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class SweepCell(Record, frozen=True, kw_only=True):
    """One point of a grid. All its backends run side by side in it, on one synthetic problem."""

    backends: tuple[str, ...]
    n: int
    """examples"""
    d: int
    """features"""
    dtype: str
    threads: int
    loss: str
    steps: int
    l2: float
    seed: int
    timing_budget: float | None
    """seconds; None: correctness only"""
    timeout: float
    """seconds that each worker may take"""

    @property
    def label(self) -> str:
        """``n=1000 d=20 float64 1 thread logits``."""
        return f"n={self.n} d={self.d} {self.dtype} {format_count(self.threads, 'thread')} {self.loss}"

    @property
    def panel(self) -> tuple[str, str, int]:
        """What is constant in one heat map: loss, dtype, threads."""
        return self.loss, self.dtype, self.threads


class Machine(Record, frozen=True, kw_only=True):
    """Where a cell ran. Times of two machines are never compared."""

    id: str
    """a digest that says nothing about the machine's owner"""
    cpu: str
    system: str
    logical_cpus: int
    memory_bytes: int

    @property
    def label(self) -> str:
        """``Made CPU, 2 CPUs (1f3a90c2)``."""
        return f"{self.cpu}, {format_count(self.logical_cpus, 'CPU')} ({self.id})"


class BackendRow(Record, frozen=True, kw_only=True):
    """The result of one backend in one cell. None: not known or not measured."""

    name: str
    status: str
    """as in the backend's record"""
    reason: str = ""
    worst_ratio: Real | None = None
    """largest observed/tolerance"""
    step: Interval | None = None
    """seconds per step"""
    launches: list[float] = []
    """seconds per step of each undisturbed launch"""
    ranked: bool = False
    """its numbers are right and its speed may be compared with others'"""
    disturbed: bool = False
    unranked: str = ""
    """why it has no rank although it was timed, or why it was not timed"""
    first_step_seconds: float | None = None
    cold_seconds: float | None = None
    peak_bytes: int | None = None
    training_bytes: int | None = None
    tape_bytes: int | None = None
    threads_observed: int | None = None
    limit_share: float | None = None
    """the machine's limit for a step of this size over the time that a step took"""


class CellRecord(Record, frozen=True, kw_only=True):
    """One cell that has run, or the reason why it has not."""

    schema: Schema = CELL_SCHEMA
    key: str
    cell: SweepCell
    versions: dict[str, str]
    """of the host, and of each backend's distribution and frameworks: part of the key"""
    status: str
    """see `CELL_STATUSES`"""
    reason: str = ""
    machine: Machine
    created: str
    """UTC, ISO 8601"""
    seconds: float = 0.0
    purpose: str = "grid"
    """grid, or crossover: measured to narrow where the fastest backend changes"""
    timed_from: float | None = None
    timed_until: float | None = None
    """when the timing part began and ended, in seconds since 1970"""
    trained_from: float | None = None
    trained_until: float | None = None
    """when the cell's process began and ended its run, in seconds since 1970"""
    rows: list[BackendRow] = []
    pairs: list[PairRecord] = []
    noise_floor: float | None = None


class Ranking(Record, frozen=True, kw_only=True):
    """The fastest correct backend of a cell, and how certain that is."""

    fastest: str
    tied: list[str]
    """backends that are not shown to be slower, fastest first, disturbed ones last; without the fastest itself"""
    runner_up: str | None = None
    """the backend that comes closest; None where no other has a rank"""
    ratio: Interval | None = None
    """the runner-up's time over the fastest's"""
    equivalent: bool = False
    """every tie is within the margin; else at least one is not decided"""

    @property
    def evidence(self) -> str:
        """``torch takes 1.31 (1.28 to 1.35) times as long``."""
        if self.runner_up is None:
            return "the only backend with a rank"
        if self.ratio is None:
            return f"not decided: the time of {self.runner_up} is not known"
        ends = "" if self.ratio.low is None else f" ({self.ratio.low:.3g} to {self.ratio.high:.3g})"
        clause = f"{self.runner_up} takes {self.ratio.value:.3g}{ends} times as long"
        if self.tied:
            clause += ", within the margin" if self.equivalent else ", not decided"
        return clause

    @property
    def sentence(self) -> str:
        """``numpy: torch takes 1.31 (1.28 to 1.35) times as long``."""
        return f"{' or '.join([self.fastest, *self.tied])}: {self.evidence}"


def rank(record: CellRecord) -> Ranking | None:
    """The fastest backend of the cell whose numbers are right; None where none has a rank."""
    times = {row.name: row.step.value for row in record.rows if row.ranked and row.step is not None}
    if not times:
        return None
    fastest = min(times, key=lambda name: (times[name], name))
    pairs = {
        pair.backend: pair
        for recorded in record.pairs
        for pair in (recorded, recorded.swapped())
        if pair.baseline == fastest
    }
    others = sorted((name for name in times if name != fastest), key=times.__getitem__)
    disturbed = [row.name for row in record.rows if row.disturbed and row.status == "ok" and row.name not in times]
    tied = [name for name in others if name not in pairs or pairs[name].verdict != "slower"] + disturbed
    closest = next(iter([*tied, *others]), None)
    return Ranking(
        fastest=fastest,
        tied=tied,
        runner_up=closest,
        ratio=pairs[closest].ratio if closest is not None and closest in pairs else None,
        equivalent=bool(tied) and all(name in pairs and pairs[name].verdict == "equivalent" for name in tied),
    )


class CostRecord(Record, frozen=True, kw_only=True):
    """Seconds per step of one backend as a + b n + c n d; explains, and decides nothing."""

    machine: str
    backend: str
    loss: str
    dtype: str
    threads: int
    fixed: Interval
    """a, seconds"""
    per_example: Interval
    """b, seconds"""
    per_element: Interval
    """c, seconds"""
    cells: int
    error_median: float | None
    """relative error of cells that were left out of the fit, median; None where they are too few"""
    error_largest: float | None
    confounded: bool = False
    """one number of features alone: per example and per element cannot be told apart"""


class CrossoverRecord(Record, frozen=True, kw_only=True):
    """Along one line of sizes, where one backend becomes faster than another; between measured sizes only."""

    machine: str
    axis: str
    """n or d"""
    fixed: int
    """the other one's size"""
    loss: str
    dtype: str
    threads: int
    first: str
    second: str
    low: int
    high: int
    """ends of the line"""
    crossed: bool
    points: list[tuple[int, float | None, float | None]]
    """size, and the interval of time(first)/time(second) there; None where it is not known"""
    sentences: list[str]

    @property
    def sentence(self) -> str:
        """``Along n at d = 20 (float64, 1 thread, logits): …``."""
        fixed_axis = "d" if self.axis == "n" else "n"
        place = f"{self.dtype}, {format_count(self.threads, 'thread')}, {self.loss}"
        return f"Along {self.axis} at {fixed_axis} = {self.fixed:,} ({place}): {'; '.join(self.sentences)}."


class Limit(Record, frozen=True, kw_only=True):
    """The least time that a step can take on a machine at one size: two products and n exponentials and logarithms."""

    machine: str
    n: int
    d: int
    dtype: str
    threads: int
    seconds: float


class Analysis(Record, frozen=True, kw_only=True):
    """What is computed from all cells of a sweep together."""

    schema: Schema = Schema(name="compare-ag/sweep-analysis", major=1, minor=0)
    models: list[CostRecord] = []
    limits: list[Limit] = []
    crossovers: list[CrossoverRecord] = []


class CellChange(Record, frozen=True, kw_only=True):
    """How one cell differs between two sweeps."""

    label: str
    key_before: str
    key_after: str
    status_before: str
    status_after: str
    fastest_before: str
    """the fastest backend with its ties; empty where none has a rank"""
    fastest_after: str
    regressions: list[str]
    """sentences: what became wrong or slower, or has no result any more"""
    improvements: list[str]
    """sentences: what became right or faster"""

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        apart = self.status_before != self.status_after or self.fastest_before != self.fastest_after
        return apart or bool(self.regressions or self.improvements)


class SweepComparison(Record, frozen=True, kw_only=True):
    """Which cells changed from one sweep to the next, and whether that may pass."""

    schema: Schema = Schema(name="compare-ag/sweep-comparison", major=1, minor=0)
    before: str
    after: str
    threshold: float
    cells: list[CellChange]
    """of both sweeps"""
    gone: list[str]
    """labels of cells that only the first one has"""
    new: list[str]
    exit_code: int
    """1 where something became wrong, slower beyond noise and threshold, or has no result any more; else 0"""


def latest(records: Iterable[CellRecord]) -> list[CellRecord]:
    """Of each cell on each machine the record that was made last; in the cells' order."""
    best: dict[tuple[str, SweepCell], CellRecord] = {}
    for record in records:
        place = (record.machine.id, record.cell)
        latest_record = best.get(place)
        if latest_record is None or (record.created, record.key) > (latest_record.created, latest_record.key):
            best[place] = record
    return sorted(best.values(), key=_order)


def _order(record: CellRecord) -> tuple[Any, ...]:
    cell = record.cell
    return record.machine.id, cell.loss, cell.threads, cell.dtype, cell.d, cell.n, record.key
