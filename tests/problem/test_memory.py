"""Whether training fits: this process, and as many workers as are alive at a time."""

from __future__ import annotations

import math

import pytest

import compare_ag
from compare_ag.problem import ProblemError, make_problem, synthetic
from compare_ag.problem.estimate import (
    EXACT_BYTES,
    JUDGING_BYTES,
    STEP_BYTES,
    WEIGHT_BYTES,
    WORKER_COPIES,
    require_memory_for_steps,
    require_memory_to_train,
)

CELLS = 40 * 5
RECORDED = 33


def need(workers: int, item: int = 8) -> int:
    return (JUDGING_BYTES + EXACT_BYTES) * CELLS + WEIGHT_BYTES * 6 * RECORDED + workers * WORKER_COPIES * item * CELLS


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_each_worker_at_a_time_needs_copies_of_its_own(workers):
    problem = make_problem(synthetic(n=40, d=5))
    require_memory_to_train(problem, workers, lambda: need(workers))
    with pytest.raises(ProblemError, match=f"in each of {workers} worker"):
        require_memory_to_train(problem, workers, lambda: need(workers) - 1)


def test_workers_hold_the_tested_dtype():
    problem = make_problem(synthetic(n=40, d=5), dtype="float32")
    require_memory_to_train(problem, 3, lambda: need(3, item=4))
    with pytest.raises(ProblemError):
        require_memory_to_train(problem, 3, lambda: need(3, item=4) - 1)


def test_the_message_says_what_needs_it_and_what_to_do():
    with pytest.raises(ProblemError) as caught:
        require_memory_to_train(make_problem(synthetic(n=40, d=5)), 2, lambda: 1024)
    assert str(caught.value) == (
        "synthetic: too large for memory: training needs about 289.8 KiB more (277.3 KiB for the reference and 6.2 KiB "
        "in each of 2 workers at a time), and 1.0 KiB are available; take fewer examples, features or backends"
    )


def test_steps_that_cannot_be_kept_are_refused_with_the_estimate():
    with pytest.raises(ProblemError, match=r"1,000,000,000,000 steps need about 90\.9 TiB"):
        make_problem(synthetic(n=40, d=5), steps=10**12)
    require_memory_for_steps("data", 1000, 50, None, lambda: 1000 * STEP_BYTES)
    with pytest.raises(ProblemError, match="data: too many steps for memory: 1,000 steps"):
        require_memory_for_steps("data", 1000, 50, None, lambda: 1000 * STEP_BYTES - 1)
    with pytest.raises(ProblemError, match="the order of the examples"):
        require_memory_for_steps("data", 1000, 50, 1, lambda: 1000 * STEP_BYTES)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(ProblemError, match="timeout must be a finite number of seconds"):
        compare_ag.run(["numpy"], timeout=timeout)
