"""`compare_ag.run`: checks its arguments, chooses the backends, makes the run directory, and starts the passes.

Everything that can be wrong with the request is found here, before a worker has started: an exception from `run` means
that nothing has run. What happens afterwards, `run_passes` turns into records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from compare_ag.host import machine_lock
from compare_ag.host.compile_cache import cache_folder
from compare_ag.host.discovery import Offer, SelectionError, discover
from compare_ag.problem import Problem, ProblemError, problem_by_name
from compare_ag.records import Run
from compare_ag.speed.schedule import MODES, Settings
from compare_ag.suite.observer import Observer
from compare_ag.suite.run_folder import make_folder
from compare_ag.suite.run_passes import RunPasses, WorkerLimits

DEFAULT_TIMEOUT = 600.0


class NothingToRunError(Exception):
    """No backend is available at all."""


def run(
    backends: Sequence[str] | None = None,
    problem: str | Problem = "seed",
    *,
    baseline: str | None = None,
    timing: bool | str | Settings = True,
    timeout: float = DEFAULT_TIMEOUT,
    output: str | Path | None = None,
    observer: Observer | None = None,
    wait: bool = True,
    memory_limit: int | None = None,
    address_space_limit: int | None = None,
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
      observer: hears of progress.
      wait: whether to wait while another process is timing, and before timing also while one is training, on this
        machine (`host.machine_lock`). False refuses to run instead, and holds the machine from the start.
      memory_limit: bytes that each worker, with all processes that it starts, may hold; beyond, it is *oom*. None: what
        the machine has free when it starts, shared among as many workers as are alive at a time.
      address_space_limit: bytes of address space of each process of a worker; None: no limit.
      options: for a problem given by name: loss, l2, steps, learning_rate, dtype, seed, threads, batch_size.

    Returns a `Run`; ``run.exit_code`` is what the command line would exit with. A failed backend is a record with
    its reason, not an exception. Raises `problem.ProblemError` and `discovery.SelectionError` for unusable input
    and `machine_lock.BusyError` for a machine in use without ``wait`` (nothing has run then), `records.SaveError` where
    the results cannot be kept.
    """
    if not 0 < timeout < math.inf:
        raise ProblemError(f"timeout must be a finite number of seconds, more than 0, not {timeout!r}")
    if options and not isinstance(problem, str):
        raise TypeError(f"{', '.join(options)}: only for a problem given by name; this one is complete")
    complete = problem_by_name(problem, **options) if isinstance(problem, str) else problem
    offers = select(backends, baseline)
    settings = timing_settings(timing)
    with ExitStack() as stack:
        if not wait:
            # the timing's lock for the training too: between two locks this run might have to wait, half done
            stack.enter_context(machine_lock.hold("training" if settings is None else "timing", wait=False))
        folder = make_folder(Path(output) if output is not None else None, complete.data.name)
        limits = WorkerLimits(timeout, memory_limit, address_space_limit)
        caches = stack.enter_context(cache_folder())
        passes = RunPasses(complete, offers, folder, baseline, settings, limits, observer or Observer(), caches)
        return passes.run()


def timing_settings(timing: bool | str | Settings) -> Settings | None:
    """What `run` takes as ``timing``, in full; None for no timing. Raises ValueError for an unknown name."""
    if isinstance(timing, Settings):
        return timing
    if isinstance(timing, bool):
        return MODES["default"] if timing else None
    if timing not in MODES:
        raise ValueError(f"timing={timing!r}: expected True, False, {', '.join(map(repr, MODES))} or Settings")
    return MODES[timing]


def select(backends: Sequence[str] | None, baseline: str | None = None) -> dict[str, Offer]:
    """The offers to run, by the name they are shown under. Raises `SelectionError` or `NothingToRunError`."""
    inventory = discover()
    offers = inventory.available() if backends is None else inventory.select(backends)
    if not offers:
        raise NothingToRunError("no backend is available; `compare-ag list` says what is missing and how to install it")
    names = [offer.name for offer in offers]
    named = {
        offer.name if names.count(offer.name) == 1 else f"{offer.distribution}:{offer.name}": offer for offer in offers
    }
    if baseline is not None and baseline not in named:
        raise SelectionError(f"the baseline {baseline!r} is not among the backends of this run: {', '.join(named)}")
    return named
