"""Problems: what is trained. Data, start, hyper-parameters; built-in problems; loading people's own files.

Knows nothing of backends, workers or records. Every mistake in the input is a `ProblemError` whose message
is meant for the person who made it.
"""

from compare_ag.problem.core import (
    DTYPES,
    LOSS_FORMS,
    Data,
    Problem,
    ProblemError,
    batch_rows,
    batches,
    largest_curvature,
    recorded_steps,
)

__all__ = [
    "DTYPES",
    "LOSS_FORMS",
    "Data",
    "Problem",
    "ProblemError",
    "batch_rows",
    "batches",
    "largest_curvature",
    "recorded_steps",
]
