"""The whole verdict on a backend: its trajectory, its recorded steps one by one, and its answers at the host's points.

    trajectory   weights and losses over all steps against the accumulated bound          `verdict`
    gradient     at every recorded step and every point, component by component           `samples`
    step         recorded next weights against the exact step from the recorded weights   `samples`
    loss         the reported loss at the reported weights                                `samples`
    update       next weights against the *reported* gradient, apart from its errors      `samples`
    protocol     inputs and data are not changed

The tests complement one another: a converged trajectory may hide a wrong gradient, and right single steps a skipped
step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compare_ag.problem import Problem, batches
from compare_ag.problem.core import Array
from compare_ag.verify.course import stagnation
from compare_ag.verify.diagnosis import diagnose
from compare_ag.verify.oracle import Oracle
from compare_ag.verify.reference import Reference
from compare_ag.verify.samples import Finding, Sample, Test, TestResult, is_explained_by_reading, judge_samples
from compare_ag.verify.tolerance import Tolerance
from compare_ag.verify.trajectory import Trajectory
from compare_ag.verify.verdict import Verdict, judge

TESTS: tuple[Test, ...] = ("gradient", "step", "trajectory", "loss")
"""the four tests that a certificate needs, in the order in which they are shown"""
IN_SECOND_RUN = "in the second run"


@dataclass(frozen=True)
class Evidence:
    """Everything known about one backend, as arrays."""

    trajectory: Trajectory
    gradients: dict[int, Array]
    """recorded step -> reported gradient (m,); empty for a fused step"""
    probes: Sequence[Sample] = ()
    """its answers at the host's points"""
    repeated: Trajectory | None = None
    """the beginning of the training once more, in the same process, after the points"""
    repeated_gradients: dict[int, Array] = field(default_factory=dict)
    broken_protocol: Sequence[str] = ()
    """a clause for people for each rule of the contract that the backend broke"""


def certify(
    problem: Problem, reference: Reference, tolerance: Tolerance, oracle: Oracle, evidence: Evidence
) -> Verdict:
    """Judge everything; the earliest fault leads the message."""
    verdict = judge(problem, reference, tolerance, evidence.trajectory)
    if verdict.status == "malformed":
        return verdict
    samples = [*trajectory_samples(problem, evidence.trajectory, evidence.gradients), *evidence.probes]
    if evidence.repeated is not None:
        again = judge(problem, reference, tolerance, evidence.repeated)
        samples += _second_run(problem, samples, evidence.repeated, evidence.repeated_gradients)
        if verdict.status in ("agrees", "undecidable") and again.status not in ("agrees", "undecidable"):
            verdict = replace(again, message=f"{IN_SECOND_RUN}: {again.message}")
    results = judge_samples(problem, oracle, samples)
    results["trajectory"] = _trajectory_result(verdict, evidence.trajectory)
    wider = verdict.status in ("agrees", "undecidable") and is_explained_by_reading(results.values())
    if wider:
        results = {test: _as_read(result) for test, result in results.items()}
    order = (*TESTS, "update")
    tests = [results[test] for test in order if test in results]
    verdict = replace(verdict, tests=tuple(tests), worst_ratio=max(test.ratio for test in tests))
    findings = [finding for test in tests if test.test != "trajectory" for finding in test.findings]
    if findings:
        verdict = _with_finding(verdict, first_finding(findings))
    if evidence.broken_protocol:
        # a changed input explains wrong numbers better than a formula
        return _with_protocol(verdict, evidence.broken_protocol)
    if verdict.status in ("diverges", "non-finite"):
        known = diagnose(problem, oracle, samples, results, evidence.trajectory, reference, tolerance)
        return replace(verdict, diagnosis=known)
    remarks = [f"keeps weights in more than {problem.dtype}"] if wider else []
    remarks += [remark] if (remark := stagnation(problem, evidence.trajectory)) is not None else []
    return replace(verdict, remark="; ".join(remarks))


def trajectory_samples(problem: Problem, trajectory: Trajectory, gradients: dict[int, Array]) -> list[Sample]:
    """The recorded pairs and the end of a well-formed trajectory as samples."""
    weights = problem.layout.flat((trajectory.w, trajectory.b))
    mini = problem.batch_size is not None
    wanted = {int(k) for k in trajectory.recorded_steps} | {trajectory.steps}
    rows_of = {k: rows for k, rows in enumerate(batches(problem)) if k in wanted} if mini else {}
    samples = []
    for i, k in enumerate(trajectory.recorded_steps.tolist()):
        before, after = weights[i]
        rows = rows_of.get(k)
        samples.append(Sample(f"step {k}", before, trajectory.losses[k], gradients.get(k), after, rows, k))
        if mini:
            samples.append(Sample(f"step {k}, on all data", before, trajectory.full_losses[i], step=k))
    if trajectory.final_w is not None and trajectory.final_b is not None and trajectory.steps == problem.steps:
        end, last = problem.layout.flat((trajectory.final_w, trajectory.final_b)), trajectory.steps
        samples.append(Sample(f"step {last}", end, trajectory.losses[last], rows=rows_of.get(last), step=last))
    return samples


def _second_run(
    problem: Problem, first: Sequence[Sample], trajectory: Trajectory, gradients: dict[int, Array]
) -> list[Sample]:
    """The samples of a second run whose bits differ from the first run's: a fault may be rare, or come late."""

    def bits(sample: Sample) -> list[bytes | None]:
        numbers = (sample.weights, sample.loss, sample.gradient, sample.following)
        return [None if number is None else np.asarray(number).tobytes() for number in numbers]

    known = {sample.where: bits(sample) for sample in first if sample.step is not None}
    again = trajectory_samples(problem, trajectory, gradients)
    changed = [sample for sample in again if bits(sample) != known.get(sample.where)]
    return [replace(sample, where=f"{sample.where}, {IN_SECOND_RUN}") for sample in changed]


def first_finding(findings: Sequence[Finding]) -> Finding:
    """The earliest finding of the training, at one step that of the earliest phase; findings at points come last."""
    phases = ("forward", "backward", "update", "step")
    return min(
        findings, key=lambda f: (f.step is None, f.step or 0, phases.index(f.phase), -min(f.ratio, 1e300), f.where)
    )


def _as_read(result: TestResult) -> TestResult:
    """The result without findings, where the reading of wider weights explains them all."""
    ratios = [finding.ratio_as_read or 0.0 for finding in result.findings]
    return replace(result, ratio=max(ratios, default=result.ratio), findings=())


def _trajectory_result(verdict: Verdict, trajectory: Trajectory) -> TestResult:
    """The judgement of the whole trajectory as the result of a test."""
    findings: tuple[Finding, ...] = ()
    if verdict.status in ("diverges", "non-finite"):
        deviation = float("nan") if verdict.observed is None else verdict.observed
        where = f"step {verdict.first_step}"
        finding = Finding(
            "trajectory", "step", where, verdict.first_step, verdict.coordinate, float("nan"), float("nan"), deviation,
            verdict.tolerance or 0.0,
        )  # fmt: skip  # one row
        findings = (finding,)
    undecided = 0
    if verdict.status == "undecidable" and verdict.first_step is not None:
        undecided = trajectory.steps + 1 - verdict.first_step
    return TestResult("trajectory", trajectory.steps + 1 - undecided, undecided, verdict.worst_ratio, findings)


def _with_finding(verdict: Verdict, finding: Finding) -> Verdict:
    """The verdict with the phase of a wrong single step, and with its step where that is earlier."""
    if verdict.status in ("diverges", "non-finite"):
        earlier = finding.step is not None and verdict.first_step is not None and finding.step <= verdict.first_step
        if not earlier:
            message = f"{verdict.message}; in a single step: {finding.message}"
            return replace(verdict, phase=finding.phase, message=message)
    coordinate = f" ({finding.coordinate})" if finding.coordinate else ""
    return replace(
        verdict,
        status="diverges" if np.isfinite(finding.observed) else "non-finite",
        message=f"wrong in {finding.phase}{coordinate}: {finding.message}",
        first_step=finding.step,
        quantity=finding.test,
        coordinate=finding.coordinate,
        phase=finding.phase,
        observed=finding.deviation,
        tolerance=finding.tolerance,
    )


def _with_protocol(verdict: Verdict, broken: Sequence[str]) -> Verdict:
    clause = "; ".join(broken)
    if verdict.status in ("diverges", "non-finite"):
        return replace(verdict, message=f"{verdict.message}; {clause}")
    return replace(verdict, status="diverges", message=f"breaks the contract: {clause}", quantity="protocol")
