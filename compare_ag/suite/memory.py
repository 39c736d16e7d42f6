"""The memory pass: each backend runs in a worker of its own whose memory is measured, and nothing else.

    start -> import -> data -> a first block of steps -> many steps -> one tape

The resident set after each stage gives the memory that the stage added. The peak is reset before training, so that it
does not contain what import and data needed. No time is measured, so workers share the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.crew import guard, in_parallel, open_session, workers_at_a_time
from compare_ag.host.failures import WorkerFailure
from compare_ag.records import Memory
from compare_ag.speed.schedule import perturb

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.suite.training import Conditions
    from compare_ag.worker.messages import Array

FIRST_STEPS = 50
"""in which allocators reach their final size"""
GROWTH_STEPS = 2000
GROWTH_SECONDS = 0.3
"""about the longest time of each of the two measurements of growth, by the speed of the first steps"""


@dataclass
class MemoryResult:
    """For each backend its memory, or why there is none."""

    measured: dict[str, Memory]
    failures: dict[str, WorkerFailure]


def measure_memory(
    offers: dict[str, Offer], conditions: Conditions, checkpoint: tuple[int, Array, Array]
) -> MemoryResult:
    """Measure every backend, as many at a time as there are CPUs. An interrupt ends the workers and is raised again."""
    results: dict[str, Memory | WorkerFailure] = {}

    def measure(name: str) -> Memory | WorkerFailure:
        return guard(partial(_measure, name, offers[name], conditions, checkpoint), conditions.launch(name, "memory"))

    at_a_time = workers_at_a_time(conditions.problem.threads)
    in_parallel(offers, measure, results, cancel=conditions.cancel, at_a_time=at_a_time)
    failures = {name: result for name, result in results.items() if isinstance(result, WorkerFailure)}
    return MemoryResult({name: result for name, result in results.items() if isinstance(result, Memory)}, failures)


def _measure(name: str, offer: Offer, conditions: Conditions, checkpoint: tuple[int, Array, Array]) -> Memory:
    """One backend in a fresh worker. Raises `WorkerFailure`."""
    problem, (_, recorded_w, recorded_b) = conditions.problem, checkpoint
    # near the training's weights, but never these weights themselves, as when time is measured
    w, b = perturb(recorded_w, recorded_b, np.random.default_rng([problem.seed, 0x3E30]))
    with open_session(conditions.launch(name, "memory"), offer, conditions.cancel) as session:
        start = session.hold()
        session.load(problem.dtype)
        imported = session.hold()
        session.prepare(problem)
        session.cold(problem, 1, 0)  # makes the batches that blocks are made of
        prepared = session.hold(clear=True)
        first, _ = session.block(problem, w, b, FIRST_STEPS, 1)
        affordable = int(GROWTH_SECONDS * 1e9 / max(1.0, first.timed.wall_ns / FIRST_STEPS))
        steps = max(10, min(GROWTH_STEPS, affordable))
        growth = []
        for _ in range(2):
            before = session.hold().resident
            session.block(problem, w, b, steps, 1)
            growth.append(session.hold().resident - before)
        trained = session.hold()
        tape = session.tape_size(w, b)
        session.finish()
    return Memory(
        source=trained.source,
        start_bytes=start.resident,
        import_bytes=max(0, imported.resident - start.resident),
        data_bytes=max(0, prepared.resident - imported.resident),
        training_bytes=max(0, trained.peak - prepared.resident) if prepared.cleared else None,
        peak_bytes=max(prepared.peak, trained.peak),
        tape_bytes=tape.tape_bytes,
        tape_source=tape.source,
        # a pool that grows once is no leak; growth in both measurements is
        growth_bytes=1000.0 * max(0, min(growth)) / steps,
        growth_steps=steps,
    )
