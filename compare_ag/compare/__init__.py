"""Comparing runs: what changed from one run to the next, or between the backends of one run. Records in, a record out.

    changes    the record: what a comparison found, with the history of its schema
    guards     may these runs be compared, and their times? what else differs?
    runs       two runs, backend by backend
    within     one run: its backends with one of them

Reads records and arrays, judges, and prints nothing: `report.comparison` shows it.
"""

from compare_ag.compare.changes import BackendChange, Comparison, Fact, SpeedChange
from compare_ag.compare.guards import ComparisonError
from compare_ag.compare.runs import compare_runs
from compare_ag.compare.within import compare_within

__all__ = [
    "BackendChange",
    "Comparison",
    "ComparisonError",
    "Fact",
    "SpeedChange",
    "compare_runs",
    "compare_within",
]
