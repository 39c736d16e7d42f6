"""The speed part of a run: launches until the intervals are narrow enough or the budget is spent, then the verdicts.

    bare imports -> the launch that calibrates -> launches that count -> costs, pairs, warnings

In each launch one backend, each in its turn, runs twice: the difference between the two is the run's noise floor, below
which there is no verdict. Only undisturbed blocks count; a backend that has too few of them is disturbed, and a backend
whose time passes outside the clock is not ranked (`speed.trust`). All correctness workers have ended before.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host import machine
from compare_ag.host.bare import bare_import_seconds
from compare_ag.host.environment import usable_cpus
from compare_ag.host.failures import host_fault
from compare_ag.records import Cost, SpeedRecord
from compare_ag.speed.schedule import Settings, enough
from compare_ag.speed.stability import Surroundings
from compare_ag.speed.statistics import LogInterval, interval, simultaneous_level
from compare_ag.suite.backend_costs import Measurements
from compare_ag.suite.cpu_pinning import timed_cpus
from compare_ag.suite.engine import Engine
from compare_ag.suite.judged_blocks import JudgedBlocks
from compare_ag.suite.observer import Observer, TimingProgress
from compare_ag.suite.speed_verdicts import SpeedConclusion
from compare_ag.suite.timing_arrays import claim_arrays, control_arrays, timing_arrays
from compare_ag.suite.timing_crew import Contestant

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.host.failures import WorkerFailure
    from compare_ag.suite.training import Conditions
    from compare_ag.worker.messages import Array


@dataclass
class TimingResult:
    """For each backend a cost with its raw blocks, or a failure; and the verdicts."""

    costs: dict[str, Cost] = field(default_factory=dict)
    arrays: dict[str, dict[str, Array]] = field(default_factory=dict)
    control_arrays: dict[str, Array] = field(default_factory=dict)
    failures: dict[str, WorkerFailure] = field(default_factory=dict)
    baseline: str | None = None
    speed: SpeedRecord | None = None
    interrupted: KeyboardInterrupt | None = None
    """the interrupt that ended the timing early; the other fields hold the measurements until then"""


class TimingPass:
    """Times backends from ``checkpoint``: step and weights w (d,), b () of the training."""

    def __init__(
        self,
        offers: dict[str, Offer],
        conditions: Conditions,
        settings: Settings,
        checkpoint: tuple[int, Array, Array],
        observer: Observer,
        baseline: str | None = None,
    ) -> None:
        self._offers = offers
        self._conditions = conditions
        self._settings = settings
        self._observer = observer
        self._baseline = choose_baseline(list(offers), baseline)
        self._imports: dict[str, float | None] = {}
        self._started = time.monotonic()
        self._stopped = "interrupt"
        self._surroundings = Surroundings()
        contestants = [Contestant(name, offer) for name, offer in offers.items()]
        self._judged = JudgedBlocks(conditions.problem, checkpoint[0], settings.budget_seconds)
        self._engine = Engine(contestants, conditions, settings, checkpoint, twins=True, judged=self._judged)

    def run(self) -> TimingResult:
        """Measure and judge. An interrupt ends it early with what there is."""
        self._started = time.monotonic()
        cpus = timed_cpus(self._conditions.problem.threads)
        self._surroundings = Surroundings(
            load_per_cpu=machine.load_per_cpu(),
            governor=machine.governor(),
            on_battery=machine.on_battery(),
            speeds=machine.cpu_speeds(usable_cpus()),
            timed=cpus,
        )
        ticks = machine.cpu_times(cpus)
        interrupted = None
        try:
            self._import_bare()
            for name in self._offers:
                self._observer.progress(name, "timing", 0, 1)
            with self._engine:
                self._engine.calibrate()
                self._measure()
        except KeyboardInterrupt as error:
            interrupted = error
        stolen = machine.steal_share(ticks, machine.cpu_times(cpus))
        self._surroundings = self._surroundings._replace(steal=stolen)
        result = self._conclude() if self._engine.launches else TimingResult()
        result.failures = {name: failure for name, failure in self._engine.failures.items() if name in self._offers}
        result.interrupted = interrupted
        return result

    def _conclude(self) -> TimingResult:
        """Costs and verdicts, and the arrays that they follow from."""
        engine, judged = self._engine, self._judged
        arrays = self._arrays()
        measured = Measurements(
            names=self._alive(),
            baseline=self._baseline,
            launches=engine.launches,
            first_benches=engine.first_benches,
            plan=engine.plan,
            settings=self._settings,
            checkpoint_step=engine.checkpoint_step,
            threads=engine.problem.threads,
            imports=self._imports,
            counts=judged.counts,
            untouched=frozenset(name for name in self._offers if judged.untouched(name)),
            stopped=self._stopped,
            seconds=self._elapsed(),
            judging_seconds=judged.seconds,
            surroundings=self._surroundings,
        )
        conclusion = SpeedConclusion(measured).result()
        for name, error in conclusion.bugs.items():
            engine.failures[name] = host_fault(error, engine.conditions.launch(name, "cost"))
        return TimingResult(
            costs=conclusion.costs,
            arrays=arrays,
            control_arrays=control_arrays(engine.launches),
            baseline=conclusion.baseline,
            speed=conclusion.speed,
        )

    def _arrays(self) -> dict[str, dict[str, Array]]:
        """The measurements of each backend, also of those that failed later, and its judged blocks."""
        arrays = {}
        for name in self._offers:
            try:
                took_part = any(name in launch.benches for launch in self._engine.launches)
                first = self._engine.first_benches[name] if took_part else None
                blocks = {} if first is None else timing_arrays(self._engine.launches, name, first)
                arrays[name] = blocks | claim_arrays(self._judged.recorded.get(name, []))
            except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the run
                self._engine.failures[name] = host_fault(error, self._engine.conditions.launch(name, "cost"))
        return {name: by_name for name, by_name in arrays.items() if by_name}

    # --- the parts ---

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _import_bare(self) -> None:
        for name, offer in self._offers.items():
            self._observer.progress(name, "import", 0, 1)
            launch = self._conditions.launch(name, "import")
            attempts = [bare_import_seconds(offer.module, launch) for _ in range(self._settings.bare_imports)]
            successes = [seconds for seconds in attempts if seconds is not None]
            self._imports[name] = float(np.median(successes)) if successes else None

    def _measure(self) -> None:
        """Make launches until the intervals are narrow enough or the budget is spent."""
        longest = 0.0
        while self._alive():
            longest = max(longest, self._engine.launch().seconds)
            estimates = self._intervals()
            launches, elapsed = len(self._engine.launches), self._elapsed()
            reason = enough(self._settings, estimates, launches, elapsed, longest)
            half = max((estimate.half for estimate in estimates), default=math.inf)
            seconds_left = self._forecast(launches, half, elapsed, elapsed / (launches + 1))
            self._observer.timing(TimingProgress(launches, elapsed, seconds_left, half, self._settings.target))
            if reason is not None:
                self._stopped = reason
                return
        self._stopped = "failure"

    def _alive(self) -> list[str]:
        """The backends that have not failed."""
        return [name for name in self._offers if name not in self._engine.failures]

    def _intervals(self) -> list[LogInterval]:
        """The intervals whose width decides when to stop: of every pair, or of a single backend and its twin."""
        launches, pairs = self._engine.launches, list(itertools.combinations(self._alive(), 2))
        level = simultaneous_level(len(pairs))
        log_ratios = [launches.log_ratios(*pair) for pair in pairs] or [launches.controls()]
        return [interval(values, level) for values in log_ratios if values]

    def _forecast(self, launches: int, half: float, elapsed: float, per_launch: float) -> float:
        """Seconds left: until the width is reached as it falls with the square root of the launches, or the budget."""
        settings = self._settings
        needed = launches * (half / settings.target) ** 2 if math.isfinite(half) else math.inf
        by_width = (max(needed, settings.least_launches) - launches) * per_launch
        by_least = (settings.least_launches - launches) * per_launch
        return max(0.0, by_least, min(by_width, settings.budget_seconds - elapsed))


def choose_baseline(timed: Sequence[str], request: str | None) -> str | None:
    """The backend that ratios refer to: the requested one, or None if it is not timed; else numpy, else the first."""
    if request is not None:
        return request if request in timed else None
    if "numpy" in timed:
        return "numpy"
    return timed[0] if timed else None
