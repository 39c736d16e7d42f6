"""Is a run what it says? Three levels, each on the one before: see `compare-ag verify`.

    intact       every file is as it was written                                `audit.intact`
    recomputed   what the records claim follows from what the backends said     `audit.recomputed`
    replicated   a run of the same problem and backends says the same           `audit.replicated`

The mathematics of verdicts is in `verify`, `speed` and `suite`, where a run calls it too; nothing of it is here.
"""

from __future__ import annotations

from compare_ag.audit.intact import intact
from compare_ag.audit.levels import Level, Mismatch
from compare_ag.audit.problems import UnavailableError, problem_of
from compare_ag.audit.recomputed import recomputed
from compare_ag.audit.replicated import replicated

__all__ = ["Level", "Mismatch", "UnavailableError", "intact", "problem_of", "recomputed", "replicated"]
