"""Records of verdicts: the tests of a training pass, its repetition, its convergence, the published table.

Numbers that may not be finite are `Real`. What a verdict follows from is in array files: see `suite.evidence_arrays`.
"""

from __future__ import annotations

from compare_ag.records.base import Real, Record


class TestRecord(Record, frozen=True, kw_only=True):
    """The result of one test of a verdict, without the numbers of its findings: see `verify.samples.TestResult`."""

    __test__ = False  # pytest must not collect this class

    test: str
    """gradient, step, trajectory, loss, update"""
    judged: int
    undecided: int
    """samples whose tolerance is infinite"""
    examples: int = 0
    """examples of all samples that could be decided: one that takes part in two samples counts twice"""
    undecided_examples: int = 0
    ratio: Real
    """largest observed/tolerance; above 1 is out of tolerance"""
    findings: list[str] = []
    """sentences on the first samples that are out of tolerance"""


class Repetition(Record, frozen=True, kw_only=True):
    """How the losses of a second run in the same process differ from those of the first one."""

    steps: int
    """losses of the second run, which may be shorter"""
    differing: int
    """losses in other bits"""
    first: int | None
    """the first step whose loss differs"""
    ratio: Real | None
    """largest difference in units of the trajectory's tolerance; None where nothing differs or can be decided"""


class VerdictRecord(Record, frozen=True, kw_only=True):
    """The judgement of one training pass against the reference: see `verify.verdict.Verdict`."""

    status: str
    message: str
    first_step: int | None
    quantity: str | None
    coordinate: str | None
    observed: Real | None
    tolerance: Real | None
    """both None where it agrees"""
    worst_ratio: Real
    """largest observed/tolerance of everything that was judged"""
    weights_error: Real | None
    weights_tolerance: Real | None
    """‖(w, b) - reference‖ and its tolerance at the last step that could be compared"""
    phase: str | None = None
    """the verb at fault, where a single step shows it"""
    diagnosis: list[str] = []
    """known mistakes that would explain the numbers"""
    remark: str = ""
    """a note on a correct run, as that float32 has stopped the training"""
    tests: list[TestRecord] = []
    """each test on its own"""


class ConvergenceRecord(Record, frozen=True, kw_only=True):
    """Whether the training came to rest, with the full-data gradient norms ‖∇f‖₂ at its start and end, in float64."""

    gradient_norm_start: Real
    gradient_norm_end: Real
    converged: bool
    message: str


class PublishedRow(Record, frozen=True):
    """One loss of a published table beside the observed one."""

    step: int
    """number of updates before this loss"""
    published: float
    observed: Real
    """NaN where the run did not get so far"""
    difference: Real
    """|observed - published|"""
    reproduced: bool
    """the difference is within the tolerance that the problem states"""
