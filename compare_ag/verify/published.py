"""Is a published table of losses reproduced? Plain differences against the tolerance that the problem states."""

from __future__ import annotations

from dataclasses import dataclass

from compare_ag.problem import Problem
from compare_ag.problem.core import Array


@dataclass(frozen=True)
class PublishedRow:
    """One published loss beside the observed one."""

    step: int
    """number of updates before this loss"""
    published: float
    observed: float
    """NaN where the run did not get so far"""
    difference: float
    """|observed - published|"""
    ok: bool


@dataclass(frozen=True)
class PublishedCheck:
    """All rows of the table, in its order."""

    rows: tuple[PublishedRow, ...]
    reproduced: bool
    """every row is ok, and there is at least one"""


def published_check(problem: Problem, losses: Array) -> PublishedCheck:
    """Compare ``losses`` (T'+1,) with ``problem.published`` within ``problem.published_tolerance``."""
    rows = []
    for step, published in problem.published:
        observed = float(losses[step]) if step < len(losses) else float("nan")
        difference = abs(observed - published)
        rows.append(PublishedRow(step, published, observed, difference, difference <= problem.published_tolerance))
    return PublishedCheck(tuple(rows), bool(rows) and all(row.ok for row in rows))
