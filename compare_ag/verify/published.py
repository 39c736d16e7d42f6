"""Is a published table of losses reproduced? Plain differences against the tolerance that the problem states."""

from __future__ import annotations

from compare_ag.problem import Problem
from compare_ag.problem.core import Array
from compare_ag.records import PublishedRow, real


def published_rows(problem: Problem, losses: Array) -> list[PublishedRow]:
    """Compare ``losses`` (T'+1,) with each row of ``problem.published``, within ``problem.published_tolerance``."""
    rows = []
    for step, published in problem.published:
        observed = float(losses[step]) if step < len(losses) else float("nan")
        difference = abs(observed - published)
        reproduced = difference <= problem.published_tolerance
        rows.append(PublishedRow(step, published, real(observed), real(difference), reproduced))
    return rows
