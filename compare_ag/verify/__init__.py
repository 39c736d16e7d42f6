"""Verdicts: did a backend train as the mathematics says, up to the rounding errors that its arithmetic may make?

    reference    float64 gradient descent from the problem's bits, with the magnitudes that a bound needs
    curvature    how fast gradient descent forgets its rounding errors
    tolerance    how far a correct run in the tested dtype may lie from that reference, derived
    trajectory   what a worker claims, and whether it is well-formed
    verdict      agrees, or from which step and where it does not
    convergence  whether the training came to rest
    published    whether a published table of losses is reproduced

Pure: arrays in, verdicts out. Nothing here prints, reads files, knows a backend, or sees a worker; nothing
that a worker is told comes from here. The two seams are `Reference` and `Tolerance`: a sharper reference or
a sharper bound replaces one module and leaves `judge` alone.
"""

from compare_ag.verify.certificate import Evidence, certify
from compare_ag.verify.convergence import Convergence, convergence
from compare_ag.verify.oracle import Exact, ExactTrajectory, Oracle, exact_trajectory
from compare_ag.verify.probes import Probes, probe_points, probe_samples
from compare_ag.verify.published import PublishedCheck, PublishedRow, published_check
from compare_ag.verify.reference import Magnitudes, Reference, reference_trajectory
from compare_ag.verify.samples import Finding, Sample, TestResult, judge_samples
from compare_ag.verify.tolerance import Tolerance, tolerance
from compare_ag.verify.trajectory import Trajectory
from compare_ag.verify.verdict import Status, Verdict, judge

__all__ = [
    "Convergence",
    "Evidence",
    "Exact",
    "ExactTrajectory",
    "Finding",
    "Magnitudes",
    "Oracle",
    "Probes",
    "PublishedCheck",
    "PublishedRow",
    "Reference",
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
    "published_check",
    "reference_trajectory",
    "tolerance",
]
