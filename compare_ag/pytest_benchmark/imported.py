"""From pytest-benchmark's JSON to run directories, one for each problem.

Only benchmarks of the fixture `ag_benchmark` are read: they say what they timed and that its numbers had been checked.
An imported run carries medians without intervals and ranks nobody: one process is one launch (see `pytest_benchmark`).
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compare_ag import records
from compare_ag.records import (
    BackendRecord,
    Cost,
    Environment,
    Interval,
    Manifest,
    PairRecord,
    ProblemRecord,
    RecordError,
    Run,
    SpeedRecord,
    StabilityWarning,
)
from compare_ag.records.ranges import manifest_faults, record_faults
from compare_ag.records.shapes import timing_faults
from compare_ag.suite.run_folder import make_folder
from compare_ag.text import escape_surrogates, everywhere

MODE = "pytest-benchmark"
PHASES = ("forward", "backward", "update")
TIMED = ("make_tensor", *PHASES, "step")
NOTE = StabilityWarning(
    id="one-process",
    message="pytest-benchmark timed each backend in one process, one after the other: these are medians of one launch",
    advice="Use them to look for large changes; for a verdict, `compare-ag run`",
)


class _Schema(msgspec.Struct):
    name: str
    major: int


class _Backend(msgspec.Struct):
    module: str
    distribution: str
    version: str
    versions: dict[str, str]
    backend_class: str
    dtypes: list[str]
    splits: bool
    pools: list[dict[str, Any]]
    os_threads: int


class _ImportedBlock(msgspec.Struct):
    schema: _Schema
    tool_version: str
    environment: Environment
    problems: dict[str, ProblemRecord]
    backends: dict[str, _Backend]


class _Facts(msgspec.Struct):
    backend: str
    phase: str
    problem: str
    final_loss: float


class _Extra(msgspec.Struct):
    compare_ag: _Facts | None = None


class _Stats(msgspec.Struct):
    median: float
    rounds: int
    data: list[float] | None = None


class _Benchmark(msgspec.Struct):
    stats: _Stats
    extra_info: _Extra


class _Document(msgspec.Struct):
    benchmarks: list[_Benchmark]
    datetime: str = ""
    compare_ag: _ImportedBlock | None = None


def import_benchmark(path: Path, output: Path | None = None) -> list[Run]:
    """Read a file that ``pytest --benchmark-json`` or ``--benchmark-save`` wrote; write one run for each problem.

    output: the run directory, or the parent of several where the file holds several problems; None makes fresh ones.
    Raises `RecordError` where the file cannot be read or holds nothing of ours.
    """
    document = _read(path)
    block = document.compare_ag
    ours = [one for one in document.benchmarks if one.extra_info.compare_ag is not None]
    if block is None or not ours:
        raise RecordError(
            f"{path} holds no benchmark of the fixture ag_benchmark: "
            "only those say what was timed, and that its numbers were checked"
        )
    if (block.schema.name, block.schema.major) != ("compare-ag/pytest-benchmark", 1):
        raise RecordError(
            f"{path} has block version {block.schema.name} {block.schema.major}.x; this compare-ag reads 1.x"
        )
    runs = []
    for digest in dict.fromkeys(_facts(one).problem for one in ours):
        if digest not in block.problems:
            raise RecordError(f"{path} is damaged: it does not describe the problem {digest}")
        mine = [one for one in ours if _facts(one).problem == digest]
        runs.append((block.problems[digest], mine))
    names = _folders([problem for problem, _ in runs])
    folders = [output if output is None or len(runs) == 1 else output / name for name in names]
    return [
        _run(path, block, document.datetime, problem, mine, folder)
        for (problem, mine), folder in zip(runs, folders, strict=True)
    ]


def _folders(problems: list[ProblemRecord]) -> list[str]:
    """The name of each problem's run directory beside the others'; numbers tell equal ones apart."""
    names = [f"{problem.name}-{problem.examples}x{problem.features}" for problem in problems]
    return [
        records.file_stem(name if i == names.index(name) else f"{name}, {names[:i].count(name) + 1}")
        for i, name in enumerate(names)
    ]


def _read(path: Path) -> _Document:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from None
    try:
        # not msgspec's own decoder: it refuses a byte-order mark, and the NaN that others put into their extra_info;
        # json reads "\ud800" as a lone surrogate, which no record can hold
        return msgspec.convert(everywhere(json.loads(data), escape_surrogates), _Document)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise RecordError(f"{path} is no JSON of pytest-benchmark: {error}") from None


def _facts(one: _Benchmark) -> _Facts:
    assert one.extra_info.compare_ag is not None
    return one.extra_info.compare_ag


def _run(
    path: Path, block: _ImportedBlock, created: str, problem: ProblemRecord, mine: list[_Benchmark], output: Path | None
) -> Run:
    """Write one run and return it."""
    for one in mine:
        if _facts(one).backend not in block.backends:
            raise RecordError(f"{path} is damaged: it does not describe the backend {_facts(one).backend!r}")
        if _facts(one).phase not in TIMED:
            raise RecordError(f"{path} is damaged: {_facts(one).phase!r} is none of the phases {', '.join(TIMED)}")
        if not 0 < one.stats.median < math.inf or one.stats.rounds < 1:
            raise RecordError(
                f"{path} is damaged: a median of {one.stats.median} seconds over {one.stats.rounds} rounds"
            )
    names = list(dict.fromkeys(_facts(one).backend for one in mine))
    timed = {name: {_facts(one).phase: one.stats for one in mine if _facts(one).backend == name} for name in names}
    found = {name: _record(path, name, block.backends[name], timed[name]) for name in names}
    baseline = "numpy" if "numpy" in names else names[0]
    manifest = Manifest(
        tool_version=block.tool_version,
        created=created,
        state="complete",
        duration_seconds=0.0,
        exit_code=0,
        backends=names,
        baseline=baseline,
        problem=problem,
        environment=block.environment,
        warnings=[],
        options={"imported": MODE},
        speed=_speed(found, baseline, problem, max(one.stats.rounds for one in mine)),
    )
    for fault in [
        *manifest_faults(manifest),
        *(fault for record in found.values() for fault in record_faults(record, manifest)),
    ]:
        raise RecordError(f"{path} is damaged: {fault}")
    folder = make_folder(output, f"{problem.name}-{MODE}")
    for name in names:
        found[name] = _with_rounds(path, folder, found[name], timed[name])
        records.write_backend(folder, found[name])
    records.write_manifest(folder, manifest)
    return Run(folder, manifest, found)


def _record(path: Path, name: str, facts: _Backend, timed: dict[str, _Stats]) -> BackendRecord:
    """One backend's record, without its rounds."""
    pools = [pool.get("num_threads", 1) for pool in facts.pools]
    if not all(type(threads) is int and 0 < threads < 1 << 31 for threads in pools):
        raise RecordError(f"{path} is damaged: num_threads of a pool of {name!r} is not a number of threads")
    threads = max(pools, default=1)
    record = BackendRecord(
        name=name,
        module=facts.module,
        distribution=facts.distribution,
        version=facts.version,
        status="imported",
        reason="timed by pytest-benchmark, after a check of its numbers",
        backend_class=facts.backend_class,
        dtypes=facts.dtypes,
        splits=facts.splits,
        versions=facts.versions,
        threads_observed=threads,
        os_threads=facts.os_threads,
        pools=facts.pools,
    )
    if "step" not in timed:
        return records.replace(record, timing_note="no benchmark of the whole step")
    return records.replace(record, cost=_cost(timed, threads))


def _with_rounds(path: Path, folder: Path, record: BackendRecord, timed: dict[str, _Stats]) -> BackendRecord:
    """The record with its rounds in seconds written to a file, where pytest-benchmark has kept them."""
    rounds = {f"{phase}_seconds": np.array(stats.data) for phase, stats in timed.items() if stats.data}
    if record.cost is None or not rounds:
        return record
    for fault in timing_faults(rounds):
        raise RecordError(f"{path} is damaged: of {record.name!r}, {fault}")
    kept = f"arrays/{records.file_stem(record.name)}.timing.npz"
    return records.replace(record, timing_arrays=kept, timing_arrays_sha256=records.write_arrays(folder, kept, rounds))


def _cost(timed: dict[str, _Stats], threads: int) -> Cost:
    step = timed["step"].median
    phases = {phase: timed[phase].median for phase in PHASES if phase in timed}
    whole = len(phases) == len(PHASES)
    return Cost(
        step=_alone(step),
        phases={phase: _alone(median) for phase, median in phases.items()} if whole else None,
        closure=_alone(sum(phases.values()) / step) if whole else None,
        gradient_ratio=_alone(1 + phases["backward"] / phases["forward"]) if whole else None,
        make_tensor_seconds=_alone(timed["make_tensor"].median) if "make_tensor" in timed else None,
        pinned=[],
        threads_observed=threads,
    )


def _alone(value: float) -> Interval:
    """One process gives no interval."""
    return Interval(value=value, low=None, high=None)


def _speed(found: dict[str, BackendRecord], baseline: str, problem: ProblemRecord, rounds: int) -> SpeedRecord:
    """Ratios, and no verdict."""
    costs = {name: record.cost for name, record in found.items() if record.cost is not None}
    pairs = []
    for one, other in itertools.combinations(costs, 2):
        name, against = (other, one) if one == baseline or other != baseline else (one, other)
        ratio = costs[name].step.value / costs[against].step.value
        pairs.append(PairRecord(backend=name, baseline=against, ratio=_alone(ratio), verdict="inconclusive"))
    return SpeedRecord(
        mode=MODE,
        budget_seconds=0.0,
        target=0.0,
        stopped="imported",
        margin=0.0,
        level=0.95,
        launches=1,
        instances=1,
        rounds=rounds,
        steps_per_block=1,
        lead_in=0,
        checkpoint="start",
        checkpoint_step=0,
        threads=problem.threads,
        hash_seeds=[],
        control_backend=None,
        control=None,
        noise_floor=None,
        pairs=pairs,
        warnings=[NOTE],
        seconds=0.0,
    )
