"""Verdicts: did a backend train as the mathematics says, up to the rounding errors that its arithmetic may make?

The right numbers:
    readings     numbers of a formula (`compare_ag.model`): float64 values, bounds on rounding errors, exact numbers
    objective    a problem's objective as formulas over its data
    oracle       the exact trajectory and exact single steps: in float64 where that is proven enough, else in balls
    reference    float64 gradient descent from the problem's bits, with the sizes that a bound needs
    curvature    how fast gradient descent forgets its rounding errors
    step_errors  how far single steps of a correct run may be off, along the reference
    tolerance    how far a correct run may lie from the reference after k steps, derived
    points       how far loss, gradient and one step may be off at one point, component by component

The judgements:
    trajectory   the training that a worker reports, and whether it is well-formed
    probes       the points at which every backend is asked
    samples      single steps and answers at points, each against the exact answer
    verdict      the whole trajectory: agrees, or from which step and where it does not
    certificate  everything together
    timed_blocks loss and weights of timed blocks, after a number of updates from weights near a checkpoint
    relations    checks that need no reference: metamorphic relations, Taylor's remainder

The explanations:
    diagnosis    which known mistake explains the numbers (faults, mistakes, searches, limits, formats, course)
    convergence  whether the training came to rest, and how much the loss could still fall
    published    whether a published table of losses is reproduced

Pure: arrays in, verdicts out. No module of this package prints, reads files, or knows a backend or a worker. No worker
receives the expected result of anything it is asked to compute.
"""

from compare_ag.verify.certificate import Evidence, certify
from compare_ag.verify.convergence import convergence
from compare_ag.verify.oracle import Exact, ExactTrajectory, Oracle, exact_trajectory
from compare_ag.verify.probes import Probes, Route, probe_points, probe_samples
from compare_ag.verify.published import published_rows
from compare_ag.verify.reference import Magnitudes, Reference, reference_trajectory
from compare_ag.verify.samples import Finding, Sample, TestResult, judge_samples
from compare_ag.verify.timed_blocks import BlockJudge, BlockVerdict, Claim
from compare_ag.verify.tolerance import Tolerance, tolerance
from compare_ag.verify.trajectory import Trajectory
from compare_ag.verify.verdict import Status, Verdict, judge

__all__ = [
    "BlockJudge",
    "BlockVerdict",
    "Claim",
    "Evidence",
    "Exact",
    "ExactTrajectory",
    "Finding",
    "Magnitudes",
    "Oracle",
    "Probes",
    "Reference",
    "Route",
    "Sample",
    "Status",
    "TestResult",
    "Tolerance",
    "Trajectory",
    "Verdict",
    "certify",
    "convergence",
    "exact_trajectory",
    "judge",
    "judge_samples",
    "probe_points",
    "probe_samples",
    "published_rows",
    "reference_trajectory",
    "tolerance",
]
