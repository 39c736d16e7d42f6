"""Comparing runs: changes from one run to the next, or between the backends of one run. Records in, a record out.

    changes      the record of a comparison, with the history of its schema
    guards       whether runs and their times may be compared, and their differences
    numbers      the numbers of one backend, side by side
    regressions  sentences on the changes that must not pass
    runs         two runs, backend by backend
    within       one run: its backends compared with one of them

Reads records and arrays, judges, and prints nothing: `report.comparison` shows the result.
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
