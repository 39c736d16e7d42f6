"""The measurements of launches as arrays of a run directory, and back.

The files are ``arrays/NAME.timing.npz`` for each backend and ``arrays/control.timing.npz`` for the twins.

For the L launches that a backend took part in, with M instances of R rounds each, R' of them phase by phase:

    launches (L,)                       numbers of these launches among the run's
    block_… (L, M, R)                   a field of `worker.messages.Timed` or of `TimedBlock` each
    block_time_ns, block_clean          nanoseconds per step as they count, and whether the block counts
    block_full_speed                    share of the block that had the core to itself
    phase_ns (L, M, R', 3), phase_clean (L, M, R')
    first_step_ns (L, T) padded with -1, watched (L,)
    cached (L,)                         whether the worker found compiled code; of the first worker, which found none:
    fresh_step_ns (T',), fresh_watched (), fresh_construct_seconds (1,)
    audit_ns (L, 4)                     wall, pending, noise, interface; -1 where there was none
    construct_seconds, make_tensor_seconds, others_cpu_seconds (L,)
    claim_start, claim_weights (K, m), claim_updates, claim_loss (K,)     judged blocks, as many as are recorded

The control's arrays are those of the twins, one for each launch of the run, and launch_seconds (L,). What is not
recorded (probes, single steps) is not needed again: which blocks count, and with which time, is recorded instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from compare_ag.records import RecordError
from compare_ag.speed.blocks import Blocks
from compare_ag.speed.schedule import MODES, Length, Plan
from compare_ag.speed.stability import Surroundings
from compare_ag.suite.backend_costs import Measurements
from compare_ag.suite.judged_blocks import Counts, JudgedBlocks
from compare_ag.suite.launches import TWIN, Bench, BlockReading, Launches, LaunchResult
from compare_ag.verify.timed_blocks import BlockVerdict, Claim
from compare_ag.worker.messages import Audited, Loaded, Observed, Prepared

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import BackendRecord, Cost, Run
    from compare_ag.worker.messages import Array

COLUMNS = {
    "block_wall_ns": "wall_ns",
    "block_cpu_ns": "cpu_ns",
    "block_span_ns": "span_ns",
    "block_inside_ns": "inside_ns",
    "block_switches": "switches",
    "block_waits": "waits",
    "block_steps": "steps",
    "block_lead_in": "lead_in",
    "block_lead_ns": "lead_ns",
    "block_make_ns": "make_ns",
    "block_idle_cpu_ns": "idle_cpu_ns",
    "block_host_ns": "host_ns",
}
AUDIT = ("wall_ns", "pending_ns", "noise_ns", "interface_ns")
WRONG_BLOCKS = "while being timed: its results are wrong"
"""the beginning of the reason of a backend whose timed blocks were wrong"""
BY_LAUNCH = {
    *COLUMNS, "block_time_ns", "block_clean", "phase_ns", "phase_clean", "first_step_ns", "watched", "cached",
    "audit_ns",
    "construct_seconds", "make_tensor_seconds", "others_cpu_seconds",
}  # fmt: skip
"""arrays with a row for each launch"""


def timing_arrays(launches: Launches, name: str, first: Bench) -> dict[str, Array]:
    """The arrays of a backend that took part in a launch; ``first``: its first worker, whose launch may not count."""
    numbered = [(i, launch) for i, launch in enumerate(launches) if name in launch.benches]
    benches = [launch.benches[name] for _, launch in numbered]
    longest = max(len(bench.step_ns) for bench in benches)
    padded = [np.pad(bench.step_ns, (0, longest - len(bench.step_ns)), constant_values=-1) for bench in benches]
    audits = [[-1] * len(AUDIT) if b.audit is None else [getattr(b.audit, key) for key in AUDIT] for b in benches]
    return {
        "launches": np.array([i for i, _ in numbered], dtype=np.int64),
        **_block_columns([launches.blocks(name, launch) for _, launch in numbered], benches),
        "block_full_speed": np.array([launches.full_speed(name, launch) for _, launch in numbered]),
        "phase_ns": np.array([bench.phases for bench in benches]),
        "phase_clean": np.array([bench.uninterrupted(phased=True) for bench in benches], dtype=np.int64),
        "first_step_ns": np.array(padded),
        "watched": np.array([bench.watched for bench in benches], dtype=np.int64),
        "cached": np.array([bench.cached for bench in benches], dtype=np.int64),
        "fresh_step_ns": first.step_ns,
        "fresh_watched": np.array(first.watched, dtype=np.int64),
        "fresh_construct_seconds": np.array([first.prepared.construct_seconds]),
        "audit_ns": np.array(audits, dtype=np.int64),
        "construct_seconds": np.array([bench.prepared.construct_seconds for bench in benches]),
        "make_tensor_seconds": np.array([bench.prepared.make_tensor_seconds for bench in benches]),
        "others_cpu_seconds": np.array([bench.others_cpu_seconds for bench in benches]),
    }


def control_arrays(launches: Launches) -> dict[str, Array]:
    """The twins' blocks of every launch, (L, M, R) each; none of them clean, and all 1, where there was no twin."""
    twins = [TWIN.format(launch.twin) for launch in launches]
    blocks = [launches.blocks(twin, launch) for twin, launch in zip(twins, launches, strict=True)]
    benches = [launch.benches.get(twin) for twin, launch in zip(twins, launches, strict=True)]
    arrays = {
        "launch_seconds": np.array([launch.seconds for launch in launches]),
        "twin_there": np.array([bench is not None for bench in benches], dtype=np.int64),
    }
    return arrays | (_block_columns(blocks, benches) if any(arrays["twin_there"]) else {})


def _block_columns(blocks: Sequence[Blocks | None], benches: Sequence[Bench | None]) -> dict[str, Array]:
    """All columns of the counted blocks, (L, M, R) each."""
    shape = next(launch.time_ns.shape for launch in blocks if launch is not None)
    missing = Blocks(np.ones(shape), np.zeros(shape, dtype=bool))
    complete = [missing if launch is None else launch for launch in blocks]
    return {
        **{
            key: np.array([np.ones(shape, np.int64) if bench is None else bench.column(name) for bench in benches])
            for key, name in COLUMNS.items()
        },
        "block_time_ns": np.array([launch.time_ns for launch in complete]),
        "block_clean": np.array([launch.clean for launch in complete], dtype=np.int64),
    }


def claim_arrays(claims: Sequence[Claim]) -> dict[str, Array]:
    """The judged blocks of a backend; {} for none."""
    if not claims:
        return {}
    return {
        "claim_start": np.stack([claim.start for claim in claims]),
        "claim_weights": np.stack([claim.weights for claim in claims]),
        "claim_loss": np.array([claim.loss for claim in claims]),
        "claim_updates": np.array([claim.updates for claim in claims], dtype=np.int64),
    }


# --- and back ---


@dataclass
class RecordedBench(Bench):
    """One timing worker from its arrays: its columns and blocks as far as they were recorded."""

    arrays: Mapping[str, Array] = field(default_factory=dict)
    """of its launch alone"""
    by_steps: bool = True

    def column(self, name: str, *, phased: bool = False) -> Array:
        """A column of the counted blocks, (M, R)."""
        assert not phased
        return self.arrays[next(key for key, column in COLUMNS.items() if column == name)]

    def uninterrupted(self, *, phased: bool = False) -> Array:
        """(M, R) bool: the blocks in which no other program ran on the same CPU."""
        return self.arrays["phase_clean"].astype(bool) if phased else super().uninterrupted()

    @property
    def quickest_ns(self) -> float:
        """Not known: the probes were not recorded, but which blocks count."""
        return 1.0

    @property
    def phases(self) -> Array:
        """Nanoseconds per step of forward, backward, update in every phased block: (M, R', 3)."""
        return self.arrays["phase_ns"]

    def read(self, full_ns: float) -> BlockReading:
        """The blocks that count, as recorded."""
        blocks = Blocks(self.arrays["block_time_ns"], self.arrays["block_clean"].astype(bool))
        shape = 0.0 if self.by_steps else math.inf
        return BlockReading(full_ns, np.ones(blocks.time_ns.shape), blocks, blocks, shape, shape)


def read_measurements(run: Run, untouched: frozenset[str]) -> Measurements:
    """The measurements of a run's timing part. Raises `RecordError` where the arrays do not fit each other.

    untouched: the backends whose recorded blocks show no updates.
    """
    try:
        return _read_measurements(run, untouched)
    except (KeyError, ValueError, IndexError, TypeError, StopIteration) as error:
        raise RecordError(
            f"{run.path / 'arrays'}: timing arrays do not fit each other: {type(error).__name__}: {error}"
        ) from None


def _read_measurements(run: Run, untouched: frozenset[str]) -> Measurements:
    speed = run.manifest.speed
    assert speed is not None
    costs = {name: record.cost for name, record in run.records.items() if record.cost is not None}
    lengths = {name: Length(cost.steps_per_block, cost.lead_in) for name, cost in costs.items()}
    return Measurements(
        names=list(costs),
        baseline=run.manifest.baseline,
        launches=_launches(run),
        first_benches={name: _first_bench(run.arrays(name)) for name in costs},
        plan=Plan(lengths, speed.instances, speed.rounds),
        settings=replace(
            MODES["default"], mode=speed.mode, budget_seconds=speed.budget_seconds, target=speed.target,
            margin=speed.margin, checkpoint=speed.checkpoint,
        ),
        checkpoint_step=speed.checkpoint_step,
        threads=run.manifest.problem.threads,
        imports={name: cost.import_seconds for name, cost in costs.items()},
        counts={name: _block_counts(cost) for name, cost in costs.items()},
        untouched=untouched,
        stopped=speed.stopped,
        seconds=speed.seconds,
        judging_seconds=speed.judging_seconds,
        surroundings=Surroundings(),  # not recorded
    )  # fmt: skip


def _block_counts(cost: Cost) -> Counts:
    return Counts(cost.blocks_judged, cost.blocks_exact, cost.blocks_not_judged)


def _launches(run: Run) -> Launches:
    speed, launches = run.manifest.speed, Launches()
    assert speed is not None
    seconds = run.control["launch_seconds"].tolist()
    numbers = {name: run.arrays(name)["launches"].tolist() for name in run.records if "launches" in run.arrays(name)}
    for i, (twin, hash_seed) in enumerate(zip(speed.twins, speed.hash_seeds, strict=True)):
        benches: dict[str, Bench] = {
            name: _bench(run, name, run.arrays(name), present.index(i))
            for name, present in numbers.items()
            if i in present
        }
        if run.control["twin_there"][i]:
            benches[TWIN.format(twin)] = _bench(run, twin, run.control, i)
        launches.add(LaunchResult(hash_seed, benches, seconds[i], twin))
    return launches


def _bench(run: Run, name: str, arrays: Mapping[str, Array], row: int) -> RecordedBench:
    """One worker of a launch: row ``row`` of its arrays; of a twin, the blocks alone."""
    record: BackendRecord = run[name]
    cost, launch = record.cost, {key: array[row] for key, array in arrays.items() if key in BY_LAUNCH}
    steps = launch.get("first_step_ns", np.empty(0, np.int64))
    audit = launch.get("audit_ns", np.array([-1]))
    return RecordedBench(
        session=cast("Any", None),
        loaded=Loaded("", 1, [], bool(record.splits), bool(record.overrides_step), {}, 0.0),
        prepared=Prepared(_seconds(launch, "construct_seconds"), _seconds(launch, "make_tensor_seconds"), ""),
        threads=run.manifest.problem.threads,
        step_ns=steps[steps >= 0],
        watched=bool(launch.get("watched", False)),
        cached=bool(launch.get("cached", False)),
        pinned=[] if cost is None else cost.pinned,
        audit=Audited(*audit.tolist()) if audit[0] >= 0 else None,
        observed=Observed([{"num_threads": 1 if cost is None else cost.threads_observed}], 1, 1.0),
        others_cpu_seconds=_seconds(launch, "others_cpu_seconds"),
        arrays=launch,
        by_steps=cost is None or cost.timed_by == "steps",
    )


def _seconds(launch: Mapping[str, Array], name: str) -> float:
    """A duration of a worker; 0 for a twin, of which it is not recorded."""
    return float(launch[name]) if name in launch else 0.0


def _first_bench(arrays: Mapping[str, Array]) -> Bench:
    """The first worker of a backend, with the fields from which the costs of a start follow."""
    return Bench(
        session=cast("Any", None),
        loaded=Loaded("", 1, [], splits=False, overrides_step=False, versions={}, import_seconds=0.0),
        prepared=Prepared(float(arrays["fresh_construct_seconds"][0]), 0.0, ""),
        threads=1,
        step_ns=arrays["fresh_step_ns"],
        watched=bool(arrays["fresh_watched"]),
    )


def judge_again(run: Run, problem: Problem) -> tuple[JudgedBlocks, dict[str, list[BlockVerdict]]]:
    """Judge the recorded blocks of every backend again. Raises `RecordError` where they do not fit the problem."""
    speed = run.manifest.speed
    judge = JudgedBlocks(problem, 0 if speed is None else speed.checkpoint_step, 0.0)
    verdicts = {}
    for name in run.records:
        arrays = run.arrays(name)
        if "claim_start" in arrays:
            try:
                columns = (arrays[f"claim_{key}"] for key in ("start", "updates", "loss", "weights"))
                claims = [Claim(start, int(n), loss, w) for start, n, loss, w in zip(*columns, strict=True)]
                verdicts[name] = judge.judge_again(name, claims, accused=run[name].reason.startswith(WRONG_BLOCKS))
            except (KeyError, ValueError, TypeError) as error:
                raise RecordError(f"{run.path / 'arrays'}: the judged blocks of {name!r}: {error}") from None
    return judge, verdicts
