"""Records from the objects of a run: the problem, what a worker sent, a verdict; and the exit code that they give.

The structs of `records` know no problem, no worker and no verdict, and these know no records; the fields are therefore
filled in here. Nothing is computed but what the fields need, and nothing is saved.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.exit_codes import ExitCode
from compare_ag.host.session import concatenate
from compare_ag.records import BackendRecord, ProblemRecord, Real, TestRecord, VerdictRecord, real

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.suite.training import Training
    from compare_ag.verify import Verdict
    from compare_ag.worker.messages import Array

MOST_FINDINGS = 8
"""of each test, in a record"""


def problem_record(problem: Problem) -> ProblemRecord:
    """The problem's description without its data."""
    data = problem.data
    return ProblemRecord(
        name=data.name,
        description=data.description,
        examples=problem.examples,
        features=problem.features,
        dtype=problem.dtype,
        loss=problem.loss,
        l2=problem.l2,
        steps=problem.steps,
        learning_rate=problem.learning_rate,
        learning_rate_source=problem.learning_rate_source,
        curvature=problem.curvature,
        seed=problem.seed,
        threads=problem.threads,
        batch_size=problem.batch_size,
        start=problem.start,
        label_names=data.label_names,
        parameters={name: real(value) for name, value in data.parameters.items()},
        digest=problem.digest(),
        published=list(problem.published),
        published_tolerance=problem.published_tolerance,
    )


def worker_fields(name: str, training: Training, folder: Path, threads: int) -> dict[str, Any]:
    """The fields of a `BackendRecord` that describe the backend and its worker, whatever its numbers are.

    folder: the run directory, from which log files are named; threads: as many as the problem allows.
    """
    offer, loaded, observed = training.offer, training.loaded, training.observed
    fields: dict[str, Any] = {
        "name": name,
        "module": offer.module,
        "distribution": offer.distribution,
        "version": offer.version,
        "hash_seed": training.hash_seed,
        "logs": [path.relative_to(folder).as_posix() for path in training.logs],
        "warnings": list(training.warnings),
    }
    if loaded is not None:
        fields |= {
            "backend_class": loaded.backend,
            "dtypes": loaded.dtypes,
            "splits": loaded.splits,
            "overrides_step": loaded.overrides_step,
            "versions": loaded.versions,
        }
    if observed is not None:
        largest_pool = max([1, *(int(pool["num_threads"]) for pool in observed.pools)])
        fields |= {
            "train_seconds": training.recording.seconds,
            "threads_observed": largest_pool,
            "os_threads": observed.os_threads,
            "cpu_per_wall": observed.cpu_per_wall,
            "pools": observed.pools,
        }
        if largest_pool > threads:
            fields["warnings"].append(f"asked for {threads} thread(s), but a pool of {largest_pool} was observed")
    return fields


def not_run_record(name: str, offer: Offer) -> BackendRecord:
    """The record of a backend that the run did not reach."""
    return BackendRecord(
        name=name,
        module=offer.module,
        distribution=offer.distribution,
        version=offer.version,
        status="cancelled",
        reason="the run was interrupted before it had finished",
    )


def trajectory_arrays(training: Training, problem: Problem) -> dict[str, Array]:
    """The arrays that a training recorded, as `Run.arrays` describes them; of a failed one those before its end."""
    recording, d = training.recording, problem.features
    arrays = {
        "losses": concatenate(recording.losses, problem.dtype),
        "weight_steps": np.array(recording.weight_steps, dtype=np.int64),
        "w": concatenate(recording.w, problem.dtype, (d,)),
        "b": concatenate(recording.b, problem.dtype),
        "full_losses": concatenate(recording.full_losses, problem.dtype),
    }
    if recording.final_w is not None and recording.final_b is not None:
        arrays |= {"final_w": recording.final_w, "final_b": recording.final_b}
    fused = training.fused
    if fused is not None and fused.final_w is not None and fused.final_b is not None:
        arrays |= {
            "fused_losses": concatenate(fused.losses, problem.dtype),
            "fused_final_w": fused.final_w,
            "fused_final_b": fused.final_b,
        }
    return arrays


def verdict_record(verdict: Verdict) -> VerdictRecord:
    """The verdict as JSON can hold it: without the findings' numbers, with the sentences on the first of them."""
    return VerdictRecord(
        status=verdict.status,
        message=verdict.message,
        first_step=verdict.first_step,
        quantity=verdict.quantity,
        coordinate=verdict.coordinate,
        observed=_real_or_none(verdict.observed),
        tolerance=_real_or_none(verdict.tolerance),
        worst_ratio=real(verdict.worst_ratio),
        phase=verdict.phase,
        diagnosis=list(verdict.diagnosis),
        remark=verdict.remark,
        tests=[
            TestRecord(
                test=test.test,
                judged=test.judged,
                undecided=test.undecided,
                examples=test.examples,
                undecided_examples=test.undecided_examples,
                ratio=real(test.ratio),
                findings=[finding.message for finding in test.findings[:MOST_FINDINGS]],
            )
            for test in verdict.tests
        ],
        weights_error=_real_or_none(verdict.weights_error),
        weights_tolerance=_real_or_none(verdict.weights_tolerance),
    )


def _real_or_none(value: float | None) -> Real | None:
    return None if value is None else real(value)


def run_exit_code(backends: Iterable[BackendRecord], further_exit_codes: Iterable[int]) -> int:
    """The exit code of a run: the worst of its backends' and of those that no record shows, as of an interrupt."""
    return int(ExitCode.worst([*map(exit_code, backends), *map(ExitCode, further_exit_codes)]))


def exit_code(record: BackendRecord) -> ExitCode:
    """What one backend contributes to the exit code of the run."""
    code = ExitCode.of_status(record.status)
    if record.status == "ok" and record.verdict is None:
        return ExitCode.BUG  # only a verdict makes a backend ok
    missed = code is ExitCode.OK and any(not row.reproduced for row in record.published)
    return ExitCode.DISAGREE if missed else code
