"""`compare_ag.run` as callers know it: the run itself (`suite.run`), then its page.

A module of its own, because the suite must not know the reports, which read what it leaves behind. What runs many
small trainings and shows something else (selftest, check, bisect) calls the suite and makes no page.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare_ag.notebook import notebook_progress
from compare_ag.suite import run as run_suite

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.records import Run
    from compare_ag.speed.schedule import Settings
    from compare_ag.suite import Observer


def run(
    backends: Sequence[str] | None = None,
    problem: str | Problem = "seed",
    *,
    baseline: str | None = None,
    timing: bool | str | Settings = True,
    timeout: float = 600.0,
    output: str | Path | None = None,
    observer: Observer | None = None,
    wait: bool = True,
    memory_limit: int | None = None,
    address_space_limit: int | None = None,
    report: bool = True,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train a problem with several backends, judge and time them, and keep everything in a run directory.

    Args:
      backends: names as `compare-ag list` shows them; None runs every available one.
      problem: a `Problem`, or a built-in one by name, with parameters: ``"synthetic:n=1000,d=20"``.
      baseline: the backend that time ratios refer to; None takes numpy, else the first.
      timing: "quick" (about 10 s), True or "default" (about 20 s), "precise" (until every interval is within 0.5 %),
        your own `speed.schedule.Settings`, or False for none.
      timeout: wall-clock seconds that each worker may take.
      output: the run directory, absent or empty; None makes a fresh one under ``reports/runs``.
      observer: hears of progress, in place of the notebook's display.
      wait: whether to wait while another process is timing, and before timing also while one is training, on this
        machine. False raises `host.machine_lock.BusyError` instead, before anything has run.
      memory_limit: bytes that each worker, with all processes that it starts, may hold; beyond, it is *oom*. None: what
        the machine has free when it starts, shared among as many workers as are alive at a time.
      address_space_limit: bytes of address space of each process of a worker; None: no limit.
      report: also write ``report.html``, the run in one page, into the run directory.
      progress: in a notebook, show below the cell how far each backend is. Elsewhere nothing is shown.
      options: for a problem given by name: loss, l2, steps, learning_rate, dtype, seed, threads, batch_size.

    Returns and raises what `suite.run` does. A page that cannot be made is a `RuntimeWarning`, for the records are kept
    by then.
    """
    result = run_suite(
        backends,
        problem,
        baseline=baseline,
        timing=timing,
        timeout=timeout,
        output=output,
        observer=observer or (notebook_progress() if progress else None),
        wait=wait,
        memory_limit=memory_limit,
        address_space_limit=address_space_limit,
        **options,
    )
    if report:
        from compare_ag.report.page import keep_report

        if trouble := keep_report(result):
            warnings.warn(trouble, RuntimeWarning, stacklevel=2)
    return result
