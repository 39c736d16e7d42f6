"""The speed part of a run: launches until the intervals are narrow enough or the budget is spent, then the verdicts.

    bare imports -> the launch that calibrates -> launches that count -> costs, pairs, warnings

In each launch one backend, each in its turn, runs twice: what it differs from itself is the run's noise floor, and no
verdict rests on less. Only undisturbed blocks count; a backend that has too few of them is disturbed, and one whose
time lies elsewhere than inside the clock is not to be ranked (`speed.trust`). All correctness workers have ended before
this begins.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host import machine
from compare_ag.host.bare import bare_import_seconds
from compare_ag.host.environment import usable_cpus
from compare_ag.host.failures import host_fault
from compare_ag.records import Cost, Interval, PairRecord, SpeedRecord, StabilityWarning
from compare_ag.speed.blocks import Blocks, decisive, launch_log_ratio, launch_log_time
from compare_ag.speed.costs import break_even_steps, excess_ns, steps_to_steady
from compare_ag.speed.pair_verdicts import at_least, decide, launches_needed, noise_floor
from compare_ag.speed.schedule import Settings, enough
from compare_ag.speed.stability import Observation, Surroundings, notes
from compare_ag.speed.statistics import LogInterval, interval, simultaneous_level
from compare_ag.speed.trust import Decisive, Whereabouts, whereabouts, why_unranked
from compare_ag.suite.engine import Contestant, Engine, timed_cpus
from compare_ag.suite.judged_blocks import Counts, JudgedBlocks
from compare_ag.suite.launches import TWIN, Bench
from compare_ag.suite.observer import Observer, TimingProgress

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.host.failures import WorkerFailure
    from compare_ag.suite.training import Conditions
    from compare_ag.worker.messages import Array, Audited

PHASES = ("forward", "backward", "update")
DISTURBED = 0.5
"""share of a backend's launches that may be disturbed"""


@dataclass
class TimingResult:
    """What came of timing: for each backend either a cost with its raw blocks, or a failure."""

    costs: dict[str, Cost] = field(default_factory=dict)
    arrays: dict[str, dict[str, Array]] = field(default_factory=dict)
    control_arrays: dict[str, Array] = field(default_factory=dict)
    failures: dict[str, WorkerFailure] = field(default_factory=dict)
    baseline: str | None = None
    speed: SpeedRecord | None = None
    interrupted: KeyboardInterrupt | None = None
    """what ended it before its time; what had been measured is here"""


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
        result = _Conclusion(self).result() if self._engine.launches else TimingResult()
        result.failures = {name: why for name, why in self._engine.failures.items() if name in self._offers}
        result.interrupted = interrupted
        return result

    # --- the parts ---

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _import_bare(self) -> None:
        for name, offer in self._offers.items():
            self._observer.progress(name, "import", 0, 1)
            launch = self._conditions.launch(name, "import")
            taken = [bare_import_seconds(offer.module, launch) for _ in range(self._settings.bare_imports)]
            good = [seconds for seconds in taken if seconds is not None]
            self._imports[name] = float(np.median(good)) if good else None

    def _measure(self) -> None:
        """Launch until it is enough."""
        longest = 0.0
        while self._left():
            longest = max(longest, self._engine.launch().seconds)
            found = self._intervals()
            launches, elapsed = len(self._engine.launches), self._elapsed()
            why = enough(self._settings, found, launches, elapsed, longest)
            half = max((one.half for one in found), default=math.inf)
            left = self._forecast(launches, half, elapsed, elapsed / (launches + 1))
            self._observer.timing(TimingProgress(launches, elapsed, left, half, self._settings.target))
            if why is not None:
                self._stopped = why
                return
        self._stopped = "failure"

    def _left(self) -> list[str]:
        """The backends that have not failed."""
        return [name for name in self._offers if name not in self._engine.failures]

    def _intervals(self) -> list[LogInterval]:
        """What decides about stopping: every pair's interval, or a lone backend's with its twin."""
        left = self._left()
        names = list(itertools.combinations(left, 2))
        level = simultaneous_level(len(names))
        values = [self._engine.launches.log_ratios(one, other) for one, other in names] or [
            self._engine.launches.controls()
        ]
        return [interval(found, level) for found in values if found]

    def _forecast(self, launches: int, half: float, elapsed: float, per_launch: float) -> float:
        """Seconds left: until the width is reached as it falls with the square root of the launches, or the budget."""
        settings = self._settings
        needed = launches * (half / settings.target) ** 2 if math.isfinite(half) else math.inf
        by_width = (max(needed, settings.least_launches) - launches) * per_launch
        by_least = (settings.least_launches - launches) * per_launch
        return max(0.0, by_least, min(by_width, settings.budget_seconds - elapsed))


class _Conclusion:
    """From a pass that has measured to its records."""

    def __init__(self, timing: TimingPass) -> None:
        self._pass = timing
        self._engine = timing._engine
        self._settings = timing._settings
        self._launches = timing._engine.launches
        self._names = [name for name in timing._left() if self._benches(name)]
        self._baseline = timing._baseline if timing._baseline in self._names else None

    def result(self) -> TimingResult:
        """Costs, pairs, warnings and the raw blocks."""
        result = TimingResult()
        for name in list(self._names):
            try:
                result.costs[name], result.arrays[name] = self._cost(name), self._arrays(name)
            except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the run
                self._names.remove(name)
                self._engine.failures[name] = host_fault(error, self._engine.conditions.launch(name, "cost"))
        if self._baseline not in self._names:
            self._baseline = None
        result.baseline = self._baseline
        result.control_arrays = self._control_arrays()
        result.speed = self._speed(result.costs)
        return result

    def _benches(self, name: str) -> list[Bench]:
        return [launch.benches[name] for launch in self._launches if name in launch.benches]

    # --- one backend ---

    def _blocks(self, name: str) -> list[Blocks]:
        """The blocks of every launch."""
        found = (self._launches.blocks(name, launch) for launch in self._launches)
        return [one for one in found if one is not None]

    def _log_times(self, name: str) -> list[float]:
        """One log of seconds per step for each launch that was not disturbed."""
        values = [self._launches.log_time(name, launch) for launch in self._launches]
        return [value for value in values if math.isfinite(value)]

    def _cost(self, name: str) -> Cost:
        benches, blocks, log_times = self._benches(name), self._blocks(name), self._log_times(name)
        disturbed = len(log_times) < min(2, len(blocks)) or len(log_times) < (1 - DISTURBED) * len(blocks)
        # where nothing is undisturbed the time is shown all the same: it has no rank
        times = log_times or [float(launch_log_time(Blocks(one.time_ns, np.ones_like(one.clean)))) for one in blocks]
        phases, closure, gradient = self._phases(name)
        # where workers find compiled code, what starting costs is what the first one paid, which found none
        fresh = [bench for bench in benches if not bench.cached] or [self._engine.first_benches[name]]
        construct = _plain([bench.prepared.construct_seconds for bench in fresh])
        make_tensor = _plain([bench.prepared.make_tensor_seconds for bench in benches])
        imported = self._pass._imports.get(name)
        watched = [bench.step_ns for bench in fresh if bench.watched]
        excess = float(np.median([excess_ns(step_ns) for step_ns in watched])) * 1e-9
        audits = _audits(benches)
        steps = self._engine.plan.lengths[name].steps
        observed = benches[-1].observed
        inside = sum(int(bench.column("inside_ns").sum()) for bench in benches)
        where = self._whereabouts(name)
        control = self._launches.controls(name)
        step = _ratio(interval(times))
        counts = self._pass._judged.counts.get(name, Counts())
        return Cost(
            step=step,
            phases=phases,
            closure=closure,
            gradient_ratio=gradient,
            import_seconds=imported,
            construct_seconds=construct,
            make_tensor_seconds=make_tensor,
            first_step_seconds=_plain([float(bench.step_ns[0]) * 1e-9 for bench in fresh]),
            steps_to_steady=steps_to_steady(watched),
            cold_seconds=(imported or 0.0) + construct.value + make_tensor.value + excess,
            interface_seconds=float(np.median([a.interface_ns for a in audits])) * 1e-9 / steps,
            pending_share=float(np.median([a.pending_ns / (a.wall_ns + a.pending_ns) for a in audits])),
            cpu_per_wall=sum(int(bench.column("cpu_ns").sum()) for bench in benches) / inside,
            preempted=float(np.mean([np.mean(~one.clean) for one in blocks])),
            pinned=benches[-1].pinned,
            threads_observed=max(1, *(pool.get("num_threads", 1) for pool in observed.pools), 1) if observed else 1,
            steady=bool(abs(self._trend(blocks)) < math.log(1.03)),
            timed_by=self._launches.timed_by(name),
            block_gap=self._launches.gap(name),
            steps_per_block=steps,
            lead_in=self._engine.plan.lengths[name].lead_in,
            fused=benches[0].loaded.overrides_step,
            disturbed=disturbed,
            unranked=self._why_unranked(name, where),
            blocks_judged=counts.judged,
            blocks_exact=counts.exact,
            blocks_not_judged=counts.not_judged,
            untimed_ratio=where.untimed_ratio,
            host_ratio=1 - where.unexplained_ns / where.host_ns,
            others_cpu_seconds=where.others_cpu_seconds,
            control=_ratio(interval(control)) if control else None,
        )

    def _why_unranked(self, name: str, where: Whereabouts) -> str:
        if self._pass._judged.untouched(name):
            return "shows no updates: as far as rounding lets anybody see, its timed blocks left the weights alone"
        return why_unranked(where, self._engine.problem.threads)

    def _phases(self, name: str) -> tuple[dict[str, Interval] | None, Interval | None, Interval | None]:
        """Time of each phase, how they add up to the whole step, and what a gradient costs in units of the loss."""
        if not self._benches(name)[0].loaded.splits:
            return None, None, None
        found = []
        for launch in self._launches:
            bench, blocks = launch.benches.get(name), self._launches.blocks(name, launch)
            if bench is not None and blocks is not None:
                times = [float(launch_log_time(_of_phase(bench, i))) for i in range(len(PHASES))]
                found.append([*times, float(launch_log_time(blocks))])
        logs = np.array(found)
        logs = logs[np.isfinite(logs).all(axis=1)]
        if not len(logs):
            return None, None, None
        times, whole = logs[:, :3], logs[:, 3]
        phases = {name: _ratio(interval(times[:, i].tolist())) for i, name in enumerate(PHASES)}
        closure = _ratio(interval((np.log(np.exp(times).sum(axis=1)) - whole).tolist()))
        gradient = _ratio(interval(np.log1p(np.exp(times[:, 1] - times[:, 0])).tolist()))
        return phases, closure, gradient

    @staticmethod
    def _trend(blocks: list[Blocks]) -> float:
        """Mean over launches of log(last third / first third) of the undisturbed blocks; 0 where there are few."""
        trends = [0.0]
        for one in blocks:
            times = np.log(one.time_ns[one.clean])
            if third := len(times) // 3:
                trends.append(float(np.median(times[-third:]) - np.median(times[:third])))
        return float(np.mean(trends[1:] or trends))

    def _whereabouts(self, name: str) -> Whereabouts:
        others = sum(bench.others_cpu_seconds for bench in self._benches(name))
        seconds = sum(launch.seconds for launch in self._launches)
        return whereabouts(self._decisive[name], list(self._decisive.values()), others, seconds)

    @cached_property
    def _decisive(self) -> dict[str, Decisive]:
        """The blocks that each backend's number rests on, those of its twins among them."""
        found = {}
        for name in self._names:
            rows = []
            for launch in self._launches:
                for one in self._launches.both(name, launch):
                    bench, blocks = launch.benches.get(one), self._launches.blocks(one, launch)
                    if bench is not None and blocks is not None:
                        of = decisive(blocks)
                        host, idle = bench.column("host_ns"), bench.column("idle_cpu_ns")
                        untimed = (bench.column("lead_ns") + bench.column("make_ns")) / bench.column("lead_in")
                        columns = (bench.wall, untimed / bench.by_block, host, host - bench.column("span_ns"), idle)
                        rows.append([column[of] for column in columns])
            found[name] = Decisive(*map(np.concatenate, zip(*rows, strict=True)))
        return found

    def _arrays(self, name: str) -> dict[str, Array]:
        """The raw blocks of every launch L: (L, M, R) each, phases (L, M, R', 3), first steps (L, T) padded with -1."""
        benches, blocks = self._benches(name), self._blocks(name)
        longest = max(len(bench.step_ns) for bench in benches)
        padded = [np.pad(bench.step_ns, (0, longest - len(bench.step_ns)), constant_values=-1) for bench in benches]
        columns = {
            "block_wall_ns": "wall_ns",
            "block_cpu_ns": "cpu_ns",
            "block_span_ns": "span_ns",
            "block_inside_ns": "inside_ns",
            "block_switches": "switches",
            "block_steps": "steps",
            "block_host_ns": "host_ns",
        }
        return {
            **{key: np.array([bench.column(name) for bench in benches]) for key, name in columns.items()},
            "block_full_speed": np.array(
                [self._launches.full_speed(name, launch) for launch in self._launches if name in launch.benches]
            ),
            "block_time_ns": np.array([one.time_ns for one in blocks]),
            "block_clean": np.array([one.clean for one in blocks], dtype=np.int64),
            "phase_ns": np.array([bench.phases for bench in benches]),
            "first_step_ns": np.array(padded),
        }

    def _control_arrays(self) -> dict[str, Array]:
        """The twins' blocks of every launch, (L, M, R) each; none of them clean where there was no twin."""
        found = [self._launches.blocks(TWIN.format(launch.twin), launch) for launch in self._launches]
        shape = next((one.time_ns.shape for one in found if one is not None), None)
        if shape is None:
            return {}
        missing = Blocks(np.ones(shape), np.zeros(shape, dtype=bool))
        there = [one or missing for one in found]
        return {
            "block_time_ns": np.array([one.time_ns for one in there]),
            "block_clean": np.array([one.clean for one in there], dtype=np.int64),
        }

    # --- all of them ---

    def _speed(self, costs: dict[str, Cost]) -> SpeedRecord:
        settings, engine = self._settings, self._engine
        ranked = [name for name, cost in costs.items() if not cost.disturbed and not cost.unranked]
        names = list(itertools.combinations(ranked, 2))
        level = simultaneous_level(len(names))
        values = self._launches.controls()
        control = interval(values) if len(values) > 1 else None
        floor = None if control is None else noise_floor(control)
        return SpeedRecord(
            mode=settings.mode,
            budget_seconds=settings.budget_seconds,
            target=settings.target,
            stopped=self._pass._stopped,
            margin=settings.margin,
            level=level,
            launches=len(self._launches),
            instances=engine.plan.instances,
            rounds=engine.plan.rounds,
            checkpoint=settings.checkpoint,
            checkpoint_step=engine.checkpoint_step,
            threads=engine.problem.threads,
            hash_seeds=[launch.hash_seed for launch in self._launches],
            twins=[launch.twin for launch in self._launches],
            control=None if control is None else _ratio(control),
            noise_floor=floor,
            pairs=[
                self._pair(one, other, costs, level, math.inf if floor is None else floor)
                for one, other in map(self._ordered, names)
            ],
            warnings=self._warnings(costs),
            seconds=self._pass._elapsed(),
            judging_seconds=self._pass._judged.seconds,
        )

    def _ordered(self, pair: tuple[str, str]) -> tuple[str, str]:
        """(backend, baseline): the run's baseline second, else the later one first."""
        one, other = pair
        return (other, one) if one == self._baseline or other != self._baseline else (one, other)

    def _pair(self, name: str, baseline: str, costs: dict[str, Cost], level: float, floor: float) -> PairRecord:
        values = self._launches.log_ratios(name, baseline)
        # both were undisturbed in half of the launches at least, but perhaps not in the same ones
        found = (
            interval(values, level)
            if values
            else LogInterval(math.log(costs[name].step.value / costs[baseline].step.value), math.inf, 0)
        )
        margin = self._settings.margin
        decision = decide(found, margin, floor)
        mine, other = costs[name], costs[baseline]
        needed = launches_needed(found, margin) if decision.verdict == "inconclusive" else None
        return PairRecord(
            backend=name,
            baseline=baseline,
            ratio=_ratio(at_least(found, floor)),
            verdict=decision.verdict,
            launches_needed=needed,
            held_back=decision.held_back,
            break_even_steps=self._break_even(mine, other),
            phases=self._phase_ratios(name, baseline),
        )

    @staticmethod
    def _break_even(mine: Cost, other: Cost) -> float | None:
        assert mine.cold_seconds is not None
        assert other.cold_seconds is not None
        return break_even_steps(mine.cold_seconds, mine.step.value, other.cold_seconds, other.step.value)

    def _phase_ratios(self, name: str, baseline: str) -> dict[str, Interval]:
        both = [launch.benches for launch in self._launches if {name, baseline} <= launch.benches.keys()]
        if not all(benches[one].loaded.splits for benches in both for one in (name, baseline)):
            return {}
        ratios = {}
        for i, phase in enumerate(PHASES):
            sides = [(_of_phase(benches[name], i), _of_phase(benches[baseline], i)) for benches in both]
            values = [float(launch_log_ratio(mine, other)) for mine, other in sides]
            finite = [value for value in values if math.isfinite(value)]
            if finite:
                ratios[phase] = _ratio(interval(finite))
        return ratios

    def _warnings(self, costs: dict[str, Cost]) -> list[StabilityWarning]:
        seen = [self._observation(name, cost) for name, cost in costs.items()]
        controls, threads = self._launches.controls(), self._engine.problem.threads
        return list(notes(seen, controls, threads, self._pass._surroundings))

    def _observation(self, name: str, cost: Cost) -> Observation:
        baseline = self._baseline
        audits = _audits(self._benches(name))
        return Observation(
            name=name,
            preempted=cost.preempted or 0.0,
            disturbed=cost.disturbed,
            cpu_per_wall=cost.cpu_per_wall or 0.0,
            pending_shares=[a.pending_ns / a.wall_ns for a in audits],
            pending_noise=[a.noise_ns / a.wall_ns for a in audits],
            steady=cost.steady is not False,
            closure=None if cost.closure is None or cost.fused else cost.closure.value,
            pinned=bool(cost.pinned),
            log_times=self._log_times(name),
            log_ratios=[] if baseline in (None, name) else self._launches.log_ratios(name, str(baseline)),
        )


def _audits(benches: Sequence[Bench]) -> list[Audited]:
    """Of those whose launch was not broken off before."""
    return [bench.audit for bench in benches if bench.audit is not None]


def _of_phase(bench: Bench, index: int) -> Blocks:
    """The phased blocks by one of the phases. They are too few for a look at the CPU's speed as well."""
    return Blocks(np.maximum(bench.phases[:, :, index], 1), bench.uninterrupted(phased=True))


def choose_baseline(timed: Sequence[str], asked: str | None) -> str | None:
    """The backend that ratios refer to: the one asked for, else numpy, else the first; None where it was not timed."""
    if asked is not None:
        return asked if asked in timed else None
    if "numpy" in timed:
        return "numpy"
    return timed[0] if timed else None


def _ratio(found: LogInterval) -> Interval:
    """Back from logs; ends that are not finite become None."""
    return Interval.of_logs(found.mean, found.half)


def _plain(seconds: Sequence[float]) -> Interval:
    """The interval of the mean of durations, through their logs: they are skewed, and never negative."""
    return _ratio(interval([math.log(max(value, 1e-9)) for value in seconds]))
