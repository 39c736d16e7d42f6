"""Whether training fits: this process, and as many workers as are alive at a time."""

from __future__ import annotations

import pytest

from compare_ag.problem import ProblemError, make_problem, synthetic
from compare_ag.problem.memory import JUDGING_BYTES, WORKER_COPIES, require_memory_to_train

CELLS = 40 * 5


def need(workers: int, item: int = 8) -> int:
    return JUDGING_BYTES * CELLS + workers * WORKER_COPIES * item * CELLS


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
        "synthetic: too large for memory: training needs about 57.8 KiB more (45.3 KiB for the reference and 6.2 KiB "
        "in each of 2 workers at a time), and 1.0 KiB are available; take fewer examples, features or backends"
    )
