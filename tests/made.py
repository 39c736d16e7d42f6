"""Runs made of invented numbers: as large and as odd as a test wants them, without a worker.

`make_run` builds what a run leaves behind from a few facts, by the project's own statistics, so that its parts fit
together as a real run's do: tables, verdicts and raw blocks of launches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compare_ag import records
from compare_ag.speed.blocks import Blocks, launch_log_ratio, launch_log_time
from compare_ag.speed.pair_verdicts import at_least, decide, noise_floor
from compare_ag.speed.statistics import LogInterval, interval, simultaneous_level

STEPS_PER_BLOCK = 50
INSTANCES, ROUNDS = 2, 5
PHASES = (0.4, 0.5, 0.1)
STATUSES = {"ok": "agrees", "disagree": "diverges", "non-finite": "non-finite", "undecidable": "undecidable"}

PROBLEM = records.ProblemRecord(
    name="made",
    description="invented numbers",
    examples=100,
    features=3,
    dtype="float64",
    loss="logits",
    l2=0.0,
    steps=200,
    learning_rate=0.5,
    learning_rate_source="given",
    curvature=2.0,
    seed=0,
    threads=1,
    batch_size=None,
    start="zeros",
    label_names=("no", "yes"),
    parameters={},
    digest="d1",
    published=[],
    published_tolerance=0.0,
)
MACHINE = records.Environment(
    python="3.11.2",
    implementation="CPython",
    system="Linux 6.1",
    machine="x86_64",
    cpu="Made CPU",
    logical_cpus=2,
    usable_cpus=[0, 1],
    memory_bytes=8_000_000_000,
    libraries={"compare-ag": "0.1.0", "numpy": "2.1.0"},
)


def make_run(
    times: Mapping[str, float],
    *,
    steps: int = 200,
    features: int = 3,
    dtype: str = "float64",
    launches: int = 8,
    spread: float = 0.003,
    mood: float = 1.0,
    seed: int = 0,
    statuses: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    problem: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    path: Path | None = None,
    judged: bool = False,
    disturbed: Mapping[str, float] | None = None,
    unranked: Mapping[str, str] | None = None,
) -> records.Run:
    """A run of these backends with their seconds per step; 0 seconds: not timed.

    spread: standard deviation from launch to launch, of logs. mood: what the machine multiplies all times by.
    statuses: what became of some; the others are ok. problem, machine: fields that differ. path: save it there.
    judged: timed as since schema 1.7. disturbed: the share of each one's blocks that other programs interrupted,
    beyond what is bearable. unranked: why each has no rank. Either makes the run a judged one.
    """
    disturbed, unranked = disturbed or {}, unranked or {}
    judged = judged or bool(disturbed) or bool(unranked)
    generator = np.random.default_rng(seed)
    statuses = statuses or {}
    name_of = records.replace(PROBLEM, steps=steps, features=features, dtype=dtype, **(problem or {}))
    reference = _reference(steps, features)
    backends: dict[str, records.BackendRecord] = {}
    cache: dict[str, dict[str, Any]] = {}
    blocks: dict[str, Any] = {}
    calm: dict[str, Any] = {}
    clean: dict[str, Any] = {}
    timed = {name: t for name, t in times.items() if t > 0 and statuses.get(name, "ok") in ("ok", "undecidable")}
    baseline = "numpy" if "numpy" in timed else next(iter(timed), None)
    for name in [*timed, *(["again"] if baseline else [])]:
        calm[name] = _blocks(times.get(name, times.get(baseline or "", 0.0)) * mood, launches, spread, generator)
        clean[name] = generator.random(calm[name].shape) >= disturbed.get(name, 0.0)
        blocks[name] = np.where(clean[name], calm[name], 3 * calm[name])
    for name in times:
        status = statuses.get(name, "ok")
        cache[name] = _trajectory(reference, dtype, generator, off=status == "disagree") if status in STATUSES else {}
        backends[name] = _record(name, status, cache[name], (versions or {}).get(name, "1.0"))
        if name in timed:
            cost = _cost(Blocks(blocks[name] / STEPS_PER_BLOCK, clean[name]))
            if judged:
                cost = _judged(cost, clean[name], name in disturbed, unranked.get(name, ""))
                cache[name] |= _judged_blocks(blocks[name], clean[name])
            backends[name] = records.replace(backends[name], cost=cost, memory=_memory(name))
            cache[name] |= {"block_wall_ns": blocks[name], "first_step_ns": np.full((launches, 20), 90_000)}
            cache[name]["phase_ns"] = (blocks[name][..., None] * np.array(PHASES)).astype(np.int64)
    ranked = [name for name in timed if name not in {*disturbed, *unranked}]
    manifest = records.Manifest(
        schema=records.Schema(minor=7 if judged else 6),
        tool_version="0.1.0",
        created="2026-01-31T12:00:00+00:00",
        state="complete",
        duration_seconds=12.5,
        exit_code=1 if {"disagree", "non-finite"} & set(statuses.values()) else 3 if statuses else 0,
        backends=list(times),
        baseline=baseline,
        problem=name_of,
        environment=records.replace(MACHINE, **(machine or {})),
        options={"timeout": 600.0, "timing": "default"},
        warnings=[],
        reference="the exact trajectory in ball arithmetic",
        speed=None
        if baseline is None
        else _speed(ranked, baseline, calm, launches, _twins(list(timed), launches) if judged else []),
    )
    if path is None:
        run = records.Run(Path("runs/made"), manifest, backends, cache)
        run.__dict__["reference"] = reference  # a cached property
        return run
    return _saved(path, manifest, backends, cache, reference)


def _reference(steps: int, features: int) -> dict[str, Any]:
    k = np.arange(steps + 1)
    losses = 0.1 + 0.6 * np.exp(-4 * k / steps)
    tolerance = 1e-15 * (1 + k)
    return {
        "losses": losses,
        "loss_tolerance": tolerance,
        "weights_tolerance": 3 * tolerance,
        "final_w": np.linspace(-1, 1, features),
        "final_b": np.array(0.25),
    }


def _trajectory(reference: dict[str, Any], dtype: str, generator: np.random.Generator, *, off: bool) -> dict[str, Any]:
    """Losses within the tolerance, or (off) beyond it from the middle on; weights at a few steps."""
    losses, tolerance = reference["losses"], reference["loss_tolerance"]
    error = tolerance * generator.uniform(-0.3, 0.3, len(losses))
    if off:
        error[len(losses) // 2 :] += 1e-3
    w, b = reference["final_w"].astype(dtype), reference["final_b"].astype(dtype)
    recorded = np.unique(np.linspace(0, len(losses) - 1, 5).astype(int))
    return {
        "losses": (losses + error).astype(dtype),
        "weight_steps": recorded,
        "w": np.outer(recorded / (len(losses) - 1), w).astype(dtype),
        "b": (recorded / (len(losses) - 1) * b).astype(dtype),
        "full_losses": np.empty(0, dtype=dtype),
        "final_w": w,
        "final_b": b,
    }


def _record(name: str, status: str, arrays: dict[str, Any], version: str) -> records.BackendRecord:
    verdict = convergence = None
    if status in STATUSES:
        worst = {"ok": 0.3, "disagree": 1e9}.get(status, "inf")
        message = "agrees over all steps" if status == "ok" else f"{STATUSES[status]} at step 100"
        verdict = records.VerdictRecord(
            status=STATUSES[status],
            message=message,
            first_step=None if status == "ok" else 100,
            quantity=None if status == "ok" else "loss",
            coordinate=None,
            observed=None,
            tolerance=None,
            worst_ratio=worst,
            weights_error=2.5e-16 if status == "ok" else 1e-3,
            weights_tolerance=3e-13,
            tests=[
                records.TestRecord(test=test, judged=10, undecided=0, ratio=worst)
                for test in ("gradient", "step", "trajectory", "loss", "update")
            ],
        )
        convergence = records.ConvergenceRecord(
            gradient_norm_start=0.5, gradient_norm_end=1e-4, converged=False, message="still descending"
        )
    return records.BackendRecord(
        name=name,
        module=f"{name}_plugin",
        distribution="compare-ag" if name == "numpy" else f"cag-{name}",
        version=version,
        status=status,
        reason="" if status in STATUSES else f"{status} for a reason",
        versions={name: version},
        dtypes=["float32", "float64"],
        splits=True,
        train_seconds=0.5,
        verdict=verdict,
        convergence=convergence,
        repeatable=True if status == "ok" else None,
    )


def _blocks(step: float, launches: int, spread: float, generator: np.random.Generator) -> Any:
    """Block times (L, M, R) in ns: each launch has its own level, each block a little noise."""
    level = generator.normal(0, spread, (launches, 1, 1))
    noise = generator.normal(0, spread / 5, (launches, INSTANCES, ROUNDS))
    return np.round(step * 1e9 * STEPS_PER_BLOCK * np.exp(level + noise)).astype(np.int64)


def _interval(found: LogInterval) -> records.Interval:
    return records.Interval.of_logs(found.mean, found.half)


def _twins(timed: list[str], launches: int) -> list[str]:
    """The backend that runs twice in each launch."""
    return [timed[launch % len(timed)] for launch in range(launches)]


def _judged_blocks(wall: Any, clean: Any) -> dict[str, Any]:
    """What the timing arrays hold beside the wall times since schema 1.7: all (L, M, R)."""
    return {
        "block_steps": np.full(wall.shape, STEPS_PER_BLOCK),
        "block_time_ns": wall / STEPS_PER_BLOCK,
        "block_clean": clean,
    }


def _judged(cost: records.Cost, clean: Any, disturbed: bool, unranked: str) -> records.Cost:
    """The cost with what is known since schema 1.7."""
    return records.replace(
        cost,
        timed_by="steps",
        steps_per_block=STEPS_PER_BLOCK,
        lead_in=7,
        left_out_share=float(1 - clean.mean()),
        disturbed=disturbed,
        unranked=unranked,
        blocks_judged=48,
        blocks_exact=2,
        blocks_not_judged=6,
        untimed_ratio=1.05,
        host_ratio=0.99,
        control=records.Interval(value=1.001, low=0.995, high=1.007),
    )


def _cost(blocks: Blocks) -> records.Cost:
    logs = [float(log) for log in launch_log_time(blocks) if math.isfinite(log)]
    step = _interval(interval(logs or [math.log(np.median(blocks.time_ns) * 1e-9)]))

    def share(part: float) -> records.Interval:
        return records.Interval(
            value=part * step.value,
            low=None if step.low is None else part * step.low,
            high=None if step.high is None else part * step.high,
        )

    return records.Cost(
        step=step,
        phases=dict(zip(("forward", "backward", "update"), map(share, PHASES), strict=True)),
        closure=records.Interval(value=1.0, low=0.99, high=1.01),
        gradient_ratio=records.Interval(value=2.25, low=2.2, high=2.3),
        import_seconds=0.12,
        construct_seconds=share(10),
        make_tensor_seconds=share(5),
        first_step_seconds=share(9),
        steps_to_steady=12,
        cold_seconds=0.13,
        interface_seconds=1e-6,
        pending_share=0.0,
        cpu_per_wall=1.0,
        left_out_share=0.01,
        pinned=[1],
        threads_observed=1,
        steady=True,
    )


def _memory(name: str) -> records.Memory:
    extra = 1_000_000 * len(name)
    return records.Memory(
        source="VmHWM",
        start_bytes=30_000_000,
        import_bytes=extra,
        data_bytes=80_000,
        training_bytes=100_000,
        peak_bytes=31_000_000 + extra,
        tape_bytes=800,
        tape_source="tracemalloc",
        growth_bytes=0.0,
        growth_steps=1000,
    )


def _speed(
    timed: Sequence[str], baseline: str, blocks: dict[str, Any], launches: int, twins: list[str]
) -> records.SpeedRecord:
    """timed: those with a rank. twins: the one that ran beside a twin in each launch, since schema 1.7."""

    def ratios(one: str, other: str) -> list[float]:
        every = np.ones(blocks[one].shape, dtype=bool)
        mine, theirs = (Blocks(blocks[name] / STEPS_PER_BLOCK, every) for name in (one, other))
        return [float(log) for log in launch_log_ratio(mine, theirs)]

    control = interval(ratios("again", baseline))
    floor = noise_floor(control) if launches > 1 else None
    names = list(itertools.combinations(timed, 2))
    pairs = []
    for one, other in names:
        name, against = (other, one) if one == baseline or other != baseline else (one, other)
        found = interval(ratios(name, against), simultaneous_level(len(names)))
        decision = decide(found, floor=math.inf if floor is None else floor)
        pairs.append(
            records.PairRecord(
                backend=name, baseline=against, ratio=_interval(at_least(found, floor or 0.0)), verdict=decision.verdict
            )
        )
    return records.SpeedRecord(
        mode="default",
        budget_seconds=20.0,
        target=0.01,
        stopped="width",
        margin=0.02,
        level=simultaneous_level(len(names)),
        launches=launches,
        instances=INSTANCES,
        rounds=ROUNDS + 1,
        steps_per_block=0 if twins else STEPS_PER_BLOCK,
        lead_in=0 if twins else 20,
        checkpoint="middle",
        checkpoint_step=100,
        threads=1,
        hash_seeds=list(range(launches)),
        twins=twins,
        control_backend=baseline if launches > 1 and not twins else None,
        control=_interval(control) if launches > 1 else None,
        noise_floor=floor,
        pairs=pairs,
        seconds=18.0,
    )


def _saved(
    path: Path,
    manifest: records.Manifest,
    backends: Mapping[str, records.BackendRecord],
    arrays: Mapping[str, Mapping[str, Any]],
    reference: Mapping[str, Any],
) -> records.Run:
    for name, record in backends.items():
        kept = record
        for suffix, fields, timing in ((".npz", "arrays", False), (".timing.npz", "timing_arrays", True)):
            mine = {key: value for key, value in arrays[name].items() if _of_timing(key) == timing}
            if mine:
                file = f"arrays/{records.file_stem(name)}{suffix}"
                sha256 = records.write_arrays(path, file, mine)
                kept = records.replace(kept, **{fields: file, f"{fields}_sha256": sha256})
        records.write_backend(path, kept)
    sha256 = records.write_arrays(path, "arrays/reference.npz", reference)
    records.write_manifest(path, records.replace(manifest, reference_sha256=sha256))
    return records.load_run(path)


def _of_timing(key: str) -> bool:
    return key.endswith("_ns") or key.startswith("block_")
