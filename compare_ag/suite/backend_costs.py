"""The cost of one backend, from what the launches of a run measured.

    Measurements   everything that costs and verdicts on speed follow from
    BackendCosts   time per step, phases, start, and whether the backend may be ranked

The same functions serve a run that has just measured (`timing`) and a run directory that is read again
(`timing_arrays`), so that an audit derives the recorded costs by the same code. Knows no other backend's cost but for
one comparison: the time that passes outside the clock is judged beside that of the others (`speed.trust`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.records import Cost, Interval
from compare_ag.records.ranges import PHASES
from compare_ag.speed.blocks import Blocks, decisive, launch_log_time
from compare_ag.speed.costs import excess_ns, steps_to_steady
from compare_ag.speed.schedule import Plan, Settings
from compare_ag.speed.stability import Surroundings
from compare_ag.speed.statistics import LogInterval, interval
from compare_ag.speed.trust import Decisive, Whereabouts, whereabouts, why_unranked
from compare_ag.suite.judged_blocks import Counts
from compare_ag.suite.launches import Bench, Launches, members

if TYPE_CHECKING:
    from compare_ag.worker.messages import Array, Audited

DISTURBED = 0.5
"""share of a backend's launches that may be disturbed"""
STEADY = math.log(1.03)
"""by how much the first and the last third of a launch's log-times may differ"""


@dataclass(frozen=True)
class Measurements:
    """Everything that costs and verdicts on speed follow from."""

    names: Sequence[str]
    """the backends that have not failed"""
    baseline: str | None
    launches: Launches
    first_benches: Mapping[str, Bench]
    """of each backend's first worker, which finds no compiled code, whether or not its launch counts"""
    plan: Plan
    settings: Settings
    checkpoint_step: int
    threads: int
    imports: Mapping[str, float | None]
    """seconds, in a bare process"""
    counts: Mapping[str, Counts]
    """of judged blocks"""
    untouched: frozenset[str]
    """backends whose blocks show no updates"""
    stopped: str
    """why no further launch was made"""
    seconds: float
    """of the timing part"""
    judging_seconds: float
    surroundings: Surroundings


class BackendCosts:
    """The costs of the backends that took part in a launch that counts."""

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._launches = measured.launches
        self.names = [name for name in measured.names if self.benches(name)]
        """backends without a cost may be removed by the caller"""

    def benches(self, name: str) -> list[Bench]:
        """The worker of each launch that the backend took part in."""
        return [launch.benches[name] for launch in self._launches if name in launch.benches]

    def audits(self, name: str) -> list[Audited]:
        """The audits of these workers, but for launches that were broken off before it."""
        return [bench.audit for bench in self.benches(name) if bench.audit is not None]

    def log_times(self, name: str) -> list[float]:
        """The log of seconds per step of each launch that was not disturbed."""
        values = [self._launches.log_time(name, launch) for launch in self._launches]
        return [value for value in values if math.isfinite(value)]

    def cost(self, name: str) -> Cost:
        """All costs of a backend."""
        benches, audits, log_times = self.benches(name), self.audits(name), self.log_times(name)
        launch_blocks = [self._launches.blocks(name, launch) for launch in self._launches]
        blocks = [launch for launch in launch_blocks if launch is not None]
        disturbed = len(log_times) < min(2, len(blocks)) or len(log_times) < (1 - DISTURBED) * len(blocks)
        # where all launches are disturbed the time is shown all the same, without a rank
        times = log_times or [float(launch_log_time(Blocks(b.time_ns, np.ones_like(b.clean)))) for b in blocks]
        phases, closure, gradient = self._phases(name)
        # where workers find compiled code, a start costs what the first worker paid, which found none
        fresh = [bench for bench in benches if not bench.cached] or [self._measured.first_benches[name]]
        construct = mean_duration([bench.prepared.construct_seconds for bench in fresh])
        make_tensor = mean_duration([bench.prepared.make_tensor_seconds for bench in benches])
        import_seconds = self._measured.imports.get(name)
        watched = [bench.step_ns for bench in fresh if bench.watched]
        excess = float(np.median([excess_ns(step_ns) for step_ns in watched])) * 1e-9
        length = self._measured.plan.lengths[name]
        observed = benches[-1].observed
        inside = sum(int(bench.column("inside_ns").sum()) for bench in benches)
        where = self.whereabouts(name)
        control = self._launches.controls(name)
        counts = self._measured.counts.get(name, Counts())
        return Cost(
            step=to_interval(interval(times)),
            phases=phases,
            closure=closure,
            gradient_ratio=gradient,
            import_seconds=import_seconds,
            construct_seconds=construct,
            make_tensor_seconds=make_tensor,
            first_step_seconds=mean_duration([float(bench.step_ns[0]) * 1e-9 for bench in fresh]),
            steps_to_steady=steps_to_steady(watched),
            cold_seconds=(import_seconds or 0.0) + construct.value + make_tensor.value + excess,
            interface_seconds=float(np.median([a.interface_ns for a in audits])) * 1e-9 / length.steps,
            pending_share=float(np.median([a.pending_ns / (a.wall_ns + a.pending_ns) for a in audits])),
            cpu_per_wall=sum(int(bench.column("cpu_ns").sum()) for bench in benches) / inside,
            left_out_share=float(np.mean([np.mean(~launch.clean) for launch in blocks])),
            pinned=benches[-1].pinned,
            threads_observed=max(1, *(pool.get("num_threads", 1) for pool in observed.pools), 1) if observed else 1,
            steady=bool(abs(_trend(blocks)) < STEADY),
            timed_by=self._launches.timed_by(name),
            block_gap=self._launches.gap(name),
            steps_per_block=length.steps,
            lead_in=length.lead_in,
            fused=benches[0].loaded.overrides_step,
            disturbed=disturbed,
            unranked=self._why_unranked(name, where),
            blocks_judged=counts.judged,
            blocks_exact=counts.exact,
            blocks_not_judged=counts.not_judged,
            untimed_ratio=where.untimed_ratio,
            host_ratio=1 - where.unexplained_ns / where.host_ns,
            others_cpu_seconds=where.others_cpu_seconds,
            control=to_interval(interval(control)) if control else None,
        )

    def _why_unranked(self, name: str, where: Whereabouts) -> str:
        if name in self._measured.untouched:
            return "shows no updates: as far as rounding lets anybody see, its timed blocks left the weights alone"
        return why_unranked(where, self._measured.threads)

    def _phases(self, name: str) -> tuple[dict[str, Interval] | None, Interval | None, Interval | None]:
        """Time of each phase, their sum over the time of the whole step, and the cost of a gradient in losses."""
        if not self.benches(name)[0].loaded.splits:
            return None, None, None
        rows = []
        for launch in self._launches:
            bench, blocks = launch.benches.get(name), self._launches.blocks(name, launch)
            if bench is not None and blocks is not None:
                times = [float(launch_log_time(phase_blocks(bench, i))) for i in range(len(PHASES))]
                rows.append([*times, float(launch_log_time(blocks))])
        logs = np.array(rows)
        logs = logs[np.isfinite(logs).all(axis=1)]
        if not len(logs):
            return None, None, None
        # log t of forward, backward, update (L, 3), and of the step (L,)
        by_phase, step = logs[:, :3], logs[:, 3]
        phases = {phase: to_interval(interval(by_phase[:, i].tolist())) for i, phase in enumerate(PHASES)}
        closure = to_interval(interval((np.log(np.exp(by_phase).sum(axis=1)) - step).tolist()))
        # (t_forward + t_backward) / t_forward
        gradient = to_interval(interval(np.log1p(np.exp(by_phase[:, 1] - by_phase[:, 0])).tolist()))
        return phases, closure, gradient

    def whereabouts(self, name: str) -> Whereabouts:
        """Where the backend's time passes outside the clock, beside the other backends'."""
        others_cpu_seconds = sum(bench.others_cpu_seconds for bench in self.benches(name))
        seconds = sum(launch.seconds for launch in self._launches)
        return whereabouts(self._decisive[name], list(self._decisive.values()), others_cpu_seconds, seconds)

    @cached_property
    def _decisive(self) -> dict[str, Decisive]:
        """The blocks that each backend's time follows from, with those of its twins."""
        return {
            name: Decisive(*map(np.concatenate, zip(*self._decisive_columns(name), strict=True))) for name in self.names
        }

    def _decisive_columns(self, name: str) -> Iterator[list[Array]]:
        """The columns of `Decisive` for the backend and for its twin in each launch."""
        for launch in self._launches:
            for member in members(name, launch):
                bench, blocks = launch.benches.get(member), self._launches.blocks(member, launch)
                if bench is not None and blocks is not None:
                    host, idle = bench.column("host_ns"), bench.column("idle_cpu_ns")
                    untimed = (bench.column("lead_ns") + bench.column("make_ns")) / bench.column("lead_in")
                    columns = (bench.wall, untimed / bench.by_block, host, host - bench.column("span_ns"), idle)
                    chosen_blocks = decisive(blocks)
                    yield [column[chosen_blocks] for column in columns]


def _trend(blocks: Sequence[Blocks]) -> float:
    """Mean over launches of log(last third / first third) of the undisturbed blocks; 0 where there are few."""
    trends = [0.0]
    for launch in blocks:
        times = np.log(launch.time_ns[launch.clean])
        if third := len(times) // 3:
            trends.append(float(np.median(times[-third:]) - np.median(times[:third])))
    return float(np.mean(trends[1:] or trends))


def phase_blocks(bench: Bench, index: int) -> Blocks:
    """The phased blocks by the time of one phase. They are too few to consider the CPU's speed as well."""
    return Blocks(np.maximum(bench.phases[:, :, index], 1), bench.uninterrupted(phased=True))


def to_interval(estimate: LogInterval) -> Interval:
    """Back from logs; ends that are not finite become None."""
    return Interval.of_logs(estimate.mean, estimate.half)


def mean_duration(seconds: Sequence[float]) -> Interval:
    """The interval of the mean of durations, through their logs: they are skewed, and never negative."""
    return to_interval(interval([math.log(max(value, 1e-9)) for value in seconds]))
