"""The sizes that the suite covers, in place of the fixture's single problem."""

from __future__ import annotations

from functools import lru_cache

import pytest

from compare_ag.problem import Problem, make_problem, problem_by_name, synthetic


@lru_cache
def problem_of(size: str) -> Problem:
    """`seed` as published (float32, probability form), or NxD synthetic examples in float64 with the logits form."""
    if size == "seed":
        return problem_by_name("seed")
    n, d = map(int, size.split("x"))
    return make_problem(synthetic(n=n, d=d))


@pytest.fixture
def ag_problem(size: str) -> Problem:
    """One problem for each size."""
    return problem_of(size)
