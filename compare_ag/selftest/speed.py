"""The reliability of speed verdicts on this machine: a backend against itself, and against a slowed copy.

The engine of a run makes many launches of equal contestants and of a contestant with an empty loop before each forward.
So it is known which intervals over some of these launches are right (`speed.rates`): how often a run of so many
launches reports a false difference, and how often it detects a real difference.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.speed.rates import NOMINAL, WindowRates, window_rates
from compare_ag.speed.schedule import MODES, Settings
from compare_ag.speed.statistics import LogInterval, interval
from compare_ag.suite.engine import Engine
from compare_ag.suite.timing_crew import Contestant
from compare_ag.worker.messages import Mutation

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.suite.training import Conditions
    from compare_ag.worker.messages import Array

SLOWDOWN = 0.02
LENGTHS = (3, 6, 12, 24)
"""launches of the comparisons: `--quick` and the default make 3 and 6 at least"""
PLANTED = ("compare_ag_mutants", "slowed")
"""module and name of the mutant whose size is the number of turns of an empty loop"""
_CALLS = 100_000
_TRIES = 10


@dataclass
class Series:
    """The log-ratios of many launches, in the order in which they were made."""

    alike: list[list[float]]
    """a series for each pair of equal contestants, a value for each undisturbed launch"""
    planted: list[float] = field(default_factory=list)
    """slowed to unchanged; empty where none was planted"""
    turns: int = 0
    seconds: list[float] = field(default_factory=list)
    """of each launch"""
    interrupted: bool = False
    """whether Ctrl-C ended the series before there were enough launches"""

    @property
    def launches(self) -> int:
        """The number of launches."""
        return len(self.seconds)


def collect(
    offer: Offer,
    conditions: Conditions,
    checkpoint: tuple[int, Array, Array],
    enough: Callable[[Series], bool],
    *,
    settings: Settings | None = None,
    pairs: int = 1,
    slowdown: float = SLOWDOWN,
) -> Series:
    """Launch until ``enough`` returns True after a launch; Ctrl-C ends the series with the launches made until then.

    pairs: of equal contestants in every launch. slowdown: the share to plant, about; 0 plants no slowdown.
    Raises `host.failures.WorkerFailure` where the backend fails.
    """
    settings = settings or MODES["default"]
    twins = [(f"{offer.name} a{i}", f"{offer.name} b{i}") for i in range(pairs)]
    contestants = [Contestant(name, offer) for both in twins for name in both]
    series = Series([[] for _ in twins])
    slow = f"{offer.name} s0"
    try:
        if slowdown:
            series.turns = _turns(offer, conditions, checkpoint, settings, slowdown)
            contestants.append(Contestant(slow, offer, Mutation(*PLANTED, float(series.turns))))
        with Engine(contestants, conditions, settings, checkpoint) as engine:
            engine.calibrate()
            while True:
                _raise(engine)
                launch = engine.launch()
                _raise(engine)
                pairs_of = [*zip(series.alike, twins, strict=True)]
                pairs_of += [(series.planted, (slow, twins[0][0]))] if slowdown else []
                for values, (first, second) in pairs_of:
                    value = engine.launches.log_ratio(first, second, launch)
                    if math.isfinite(value):
                        values.append(value)
                series.seconds.append(launch.seconds)
                if enough(series):
                    break
    except KeyboardInterrupt:
        if not series.launches:
            raise
        series.interrupted = True
    return series


def _raise(engine: Engine) -> None:
    for failure in engine.failures.values():
        raise failure


def _turns(
    offer: Offer, conditions: Conditions, checkpoint: tuple[int, Array, Array], settings: Settings, slowdown: float
) -> int:
    """Turns of an empty loop that take this share of a step."""
    engine = Engine([Contestant(f"{offer.name} s0", offer)], conditions, settings, checkpoint)
    engine.calibrate()
    _raise(engine)
    (bench,) = engine.launch().benches.values()
    step_ns = float(np.median(bench.by_block))
    entry, turn = _entry_and_turn_ns()
    return max(1, round((slowdown * step_ns - entry) / turn))


def _entry_and_turn_ns() -> tuple[float, float]:
    """Nanoseconds that an empty loop takes in this interpreter before its first turn, and for each turn."""

    def without() -> None:
        return None

    def loop() -> None:
        for _ in range(turns):
            pass

    def measure(call: Callable[[], None], times: int) -> float:
        start = time.perf_counter_ns()
        for _ in range(times):
            call()
        return (time.perf_counter_ns() - start) / times

    turns = 0
    entry = measure(loop, _CALLS) - measure(without, _CALLS)
    turns = _CALLS
    # the minimum: an interruption would make a turn look longer, and too few turns would be planted
    return max(0.0, entry), min(measure(loop, 1) for _ in range(_TRIES)) / turns


@dataclass(frozen=True)
class SelfcheckResult:
    """A series, and its conclusions on the engine on this machine."""

    series: Series
    margin: float

    @property
    def rates(self) -> list[WindowRates]:
        """The error rates for each length of which there is a window."""
        lengths = [n for n in LENGTHS if n <= self.series.launches]
        return [window_rates(self.series.alike, self.series.planted, n, self.margin) for n in lengths]

    @property
    def itself(self) -> LogInterval:
        """The backend against itself, over all launches."""
        return interval([value for values in self.series.alike for value in values])

    @property
    def planted(self) -> LogInterval | None:
        """The slowed backend against the unchanged, over all launches: the difference to detect."""
        return interval(self.series.planted) if self.series.planted else None

    @property
    def spread(self) -> float:
        """Standard deviation of the backend against itself from launch to launch, as log-ratio."""
        values = [value for series in self.series.alike for value in series]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    @property
    def passed(self) -> bool:
        """Whether every length's share of errors is consistent with the nominal 5 %."""
        return all(rate.false_positives.low <= NOMINAL for rate in self.rates)


def selfcheck(
    offer: Offer,
    conditions: Conditions,
    checkpoint: tuple[int, Array, Array],
    budget_seconds: float,
    *,
    slowdown: float = SLOWDOWN,
    margin: float = MODES["default"].margin,
    observe: Callable[[int, float], None] = lambda _launches, _left: None,
) -> SelfcheckResult:
    """Launch for about so many seconds, at least ``LENGTHS[1]`` times, and count.

    observe: called with the number of launches and the seconds left. Raises `host.failures.WorkerFailure`.
    """
    started = time.monotonic()

    def enough(series: Series) -> bool:
        left = budget_seconds - (time.monotonic() - started)
        observe(series.launches, max(0.0, left))
        return left < series.seconds[-1] and series.launches >= LENGTHS[1]

    return SelfcheckResult(collect(offer, conditions, checkpoint, enough, slowdown=slowdown), margin)
