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

from compare_ag.verify.convergence import Convergence, convergence
from compare_ag.verify.published import PublishedCheck, PublishedRow, published_check
from compare_ag.verify.reference import Magnitudes, Reference, reference_trajectory
from compare_ag.verify.tolerance import Tolerance, tolerance
from compare_ag.verify.trajectory import Trajectory
from compare_ag.verify.verdict import Status, Verdict, judge

__all__ = [
    "Convergence",
    "Magnitudes",
    "PublishedCheck",
    "PublishedRow",
    "Reference",
    "Status",
    "Tolerance",
    "Trajectory",
    "Verdict",
    "convergence",
    "judge",
    "published_check",
    "reference_trajectory",
    "tolerance",
]
