"""Records of measurements: time, ratios between backends, warnings about the measurement, memory.

Seconds and bytes, unless a field says otherwise. Times and ratios are `Interval`s over launches. None: not measured.
"""

from __future__ import annotations

import math

import numpy as np

from compare_ag.records.base import Record, replace


class Interval(Record, frozen=True, kw_only=True):
    """An estimate with its 95 % confidence interval over launches; no ends where one launch alone was measured."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of_logs(cls, mean: float, half: float) -> Interval:
        """The ratio or time whose log is ``mean`` ± ``half``; no ends where the half-width is infinite."""
        if not np.isfinite(half):
            return cls(value=math.exp(mean), low=None, high=None)
        return cls(value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))

    def inverse(self) -> Interval:
        """The interval of the inverse ratio."""
        low, high = (None if end is None else 1 / end for end in (self.high, self.low))
        return Interval(value=1 / self.value, low=low, high=high)


class Cost(Record, frozen=True, kw_only=True):
    """What one backend costs. Seconds; intervals are of the mean over launches. None: not measured."""

    step: Interval
    """one whole step in the steady state"""
    phases: dict[str, Interval] | None
    """forward, backward, update; None where the backend does not split"""
    closure: Interval | None
    """(forward + backward + update) / step"""
    gradient_ratio: Interval | None
    """(forward + backward) / forward: theory allows about 4 to 5, however many weights there are"""
    import_seconds: float | None = None
    """of plugin and framework in a bare process; None where that was not measured"""
    construct_seconds: Interval | None = None
    """building the backend and `prepare`"""
    make_tensor_seconds: Interval | None = None
    first_step_seconds: Interval | None = None
    """the first step of a fresh process, compilation included"""
    steps_to_steady: int | None = None
    """steps before the times stay within 5 % of the steady ones; None where they did not settle while watched"""
    cold_seconds: float | None = None
    """what is paid before the steady state: import, construct, make_tensor, and what the first steps take beyond it"""
    interface_seconds: float | None = None
    """of each step, what the loop and the contract cost with a backend that does nothing"""
    pending_share: float | None = None
    """work left over when the clock of a block stopped, as share of the block: a lazy backend's"""
    cpu_per_wall: float | None = None
    left_out_share: float | None = None
    """share of blocks that do not count: another program interrupted or slowed them"""
    pinned: list[int]
    threads_observed: int
    """largest numerical thread pool seen after warm-up, at least 1"""
    steady: bool | None = None
    """first and last third of a launch agree within 3 %"""
    timed_by: str = "blocks"
    """what a step's time is: the median of the steps of a block ("steps"), or its wall time by its steps ("blocks");
    of a launch's undisturbed blocks the lower quintile"""
    block_gap: float | None = None
    """how much longer a step takes by the usual block's wall time over its steps, as share; None where not known"""
    steps_per_block: int = 0
    """on average; 0 in records before 1.7, where all backends had the `SpeedRecord`'s"""
    lead_in: int = 0
    """untimed steps before a block, on average"""
    fused: bool = False
    """`step` is the backend's own: its phases need not add up to it"""
    disturbed: bool = False
    """other programs interrupted or slowed so many of its blocks that there is no verdict on its speed"""
    unranked: str = ""
    """why it has no rank although it was timed: a clause with the backend as its subject; empty where it has one"""
    blocks_judged: int = 0
    """timed blocks whose final loss and weights were compared with the reference"""
    blocks_exact: int = 0
    """of these, with the exact trajectory"""
    blocks_not_judged: int = 0
    """timed blocks that moved the weights by less than 10 tolerances: right results would prove nothing"""
    untimed_ratio: float | None = None
    """time per step outside the clock, restoring the weights included, over the time inside"""
    host_ratio: float | None = None
    """what the worker claims of the time that the host saw pass, 1 where nothing is missing"""
    others_cpu_seconds: float = 0.0
    """CPU time of other processes that it started"""
    control: Interval | None = None
    """its ratio to a twin that has imported and allocated something else before"""

    @property
    def ranked(self) -> bool:
        """Whether its speed may be compared with others'."""
        return not (self.disturbed or self.unranked)


class PairRecord(Record, frozen=True, kw_only=True):
    """Time per step of one backend over that of another."""

    backend: str
    baseline: str
    ratio: Interval
    """simultaneous over all pairs of the run, and as wide as its noise floor at least; no ends where that is unknown"""
    verdict: str
    """faster, slower, equivalent or inconclusive"""
    launches_needed: int | None = None
    """for a verdict at this spread, where it is inconclusive"""
    limited_by_noise_floor: bool = False
    """its interval would have said more than the run's own noise floor allows"""
    break_even_steps: float | None = None
    """steps after which the cheaper step has paid for the dearer start; None where it never does"""
    phases: dict[str, Interval] = {}
    """the same ratio phase by phase; each on its own, not simultaneous"""

    def swapped(self) -> PairRecord:
        """The same pair with backend and baseline exchanged."""
        return replace(
            self,
            backend=self.baseline,
            baseline=self.backend,
            ratio=self.ratio.inverse(),
            verdict={"faster": "slower", "slower": "faster"}.get(self.verdict, self.verdict),
            phases={phase: ratio.inverse() for phase, ratio in self.phases.items()},
        )


class StabilityWarning(Record, frozen=True):
    """Something about the measurement that the reader should know."""

    id: str
    message: str
    advice: str


class SpeedRecord(Record, frozen=True, kw_only=True):
    """How the timing of a run was made, and its verdicts."""

    mode: str
    """quick, default, precise, or pytest-benchmark for an imported run"""
    budget_seconds: float
    target: float
    """half-width (of the log-ratio) at which it stops"""
    stopped: str
    """width, budget, launches, failure, interrupt or imported"""
    margin: float
    """0.02: differences below 2 % count as equivalent"""
    level: float
    """of each pair's interval, so that all hold together with 95 %"""
    launches: int
    instances: int
    rounds: int
    """per instance, the first discarded"""
    steps_per_block: int = 0
    """the same for all before 1.7; since then each `Cost` has its own"""
    lead_in: int = 0
    checkpoint: str
    """start, middle or end of the training"""
    checkpoint_step: int
    threads: int
    hash_seeds: list[int]
    """PYTHONHASHSEED of each launch, the same for all its workers"""
    twins: list[str] = []
    """the backend that ran twice in each launch; each has its turn"""
    control_backend: str | None = None
    """the one that ran twice in every launch, before 1.7"""
    control: Interval | None
    """ratio of a backend to its twin, over all launches"""
    noise_floor: float | None
    """the farther end of that interval from 1: no verdict may rest on less"""
    pairs: list[PairRecord] = []
    warnings: list[StabilityWarning] = []
    seconds: float
    """wall time of the timing part"""
    judging_seconds: float = 0.0
    """of these, for judging what timed blocks computed"""
    timed_from: float | None = None
    timed_until: float | None = None
    """when the timing part began and ended, in seconds since 1970: those of two runs on one machine do not overlap"""
    control_arrays: str | None = None
    control_arrays_sha256: str | None = None

    def pair(self, name: str, baseline: str) -> PairRecord | None:
        """The pair of ``name`` over ``baseline``, in whichever order it was recorded; None where there is none."""
        for pair in self.pairs:
            if (pair.backend, pair.baseline) == (name, baseline):
                return pair
            if (pair.baseline, pair.backend) == (name, baseline):
                return pair.swapped()
        return None


class Memory(Record, frozen=True, kw_only=True):
    """What one backend's process holds, in bytes, measured in a worker that does nothing else; see `suite.memory`."""

    source: str
    """of the peaks: VmHWM, or ru_maxrss, which may be the parent's"""
    start_bytes: int
    """resident before the plugin is imported: Python, numpy and the worker itself"""
    import_bytes: int
    """what importing the plugin adds"""
    data_bytes: int
    """what building the backend and the data as tensors add"""
    training_bytes: int | None
    """peak while it trains, beyond what was resident before; None where the system cannot tell peaks apart"""
    peak_bytes: int
    """the largest resident set of the process's life"""
    tape_bytes: int | None
    """what a tape keeps alive between forward and backward, weights and batch apart"""
    tape_source: str
    """plugin or tracemalloc"""
    growth_bytes: float
    """what each 1,000 further steps add to the resident set; about 0 unless something is kept that should not be"""
    growth_steps: int
    """steps that this was seen over"""
