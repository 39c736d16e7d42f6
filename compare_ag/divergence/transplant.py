"""Transplants: loss from one backend, gradient from another, update from a third, and what becomes of the training.

Only what crosses as numpy can be exchanged: weights, batch, loss, gradient. A tape is native and opaque, so that a
gradient comes with its own forward. Each combination trains in lockstep, its steps asked of the workers one by one, and
is judged step by step; the part that is guilty falls out of the pattern, without a look at a single number inside.
"""

from __future__ import annotations

import itertools
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from compare_ag.host.process import Launch, WorkerFailure, WorkerProcess
from compare_ag.host.session import Session, check_digest
from compare_ag.problem import Problem, batches
from compare_ag.verify import Oracle, Sample, judge_samples, probe_points, reference_trajectory

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem.core import Array
    from compare_ag.worker.protocol import Mutation

PartName: TypeAlias = Literal["loss", "gradient", "update"]
PARTS: tuple[PartName, ...] = ("loss", "gradient", "update")
STEPS = 60
SECONDS = 300.0

__all__ = ["Combination", "Transplant", "transplant"]


class Combination(NamedTuple):
    """Who did what, and what came of it."""

    loss: str
    gradient: str
    update: str
    right: bool
    message: str
    ratio: float
    """largest observed/tolerance"""


@dataclass(frozen=True)
class Transplant:
    """All combinations, and the parts that explain those that are wrong."""

    combinations: tuple[Combination, ...]
    guilty: tuple[tuple[str, PartName], ...]
    """(backend, part): every combination with it is wrong"""
    unexplained: int
    """wrong combinations without a guilty part"""

    @property
    def message(self) -> str:
        """For people."""
        if all(one.right for one in self.combinations):
            return f"no part is guilty: all {len(self.combinations)} combinations are right"
        if not self.guilty:
            return (
                "something is wrong, but in no part alone: no part is wrong in every combination that it takes part in"
            )
        said = "; ".join(f"the {part} of {name} is wrong" for name, part in self.guilty)
        said += ": every combination with it is wrong"
        return said + (
            f"; {self.unexplained} more are wrong without it" if self.unexplained else ", and none without it"
        )


def transplant(
    offers: Mapping[str, Offer],
    problem: Problem,
    *,
    steps: int | None = None,
    mutations: Mapping[str, Mutation] | None = None,
    observe: Callable[[int, int], None] | None = None,
) -> Transplant:
    """Train every combination of parts for ``steps`` steps (None: at most `STEPS`) and name the guilty parts.

    Two backends give all 8 combinations; more give every pure one and every single exchange between two.
    Raises `WorkerFailure` with the backend's name where one cannot answer.
    """
    short = replace(problem, steps=min(problem.steps, steps or STEPS), published=())
    names = list(offers)
    plan = list(dict.fromkeys(_plan(names)))
    bench = _Bench(short, problem)
    found = []
    with _Workers(offers, short, mutations or {}) as workers:
        for number, parts in enumerate(plan):
            if observe is not None:
                observe(number, len(plan))
            found.append(bench.train(parts, workers))
    return _explained(tuple(found), names)


def _plan(names: list[str]) -> list[tuple[str, str, str]]:
    if len(names) <= 2:
        return [(a, b, c) for a, b, c in itertools.product(names, repeat=3)]
    plan = [(name, name, name) for name in names]
    for one, other in itertools.permutations(names, 2):
        plan += [(other, one, one), (one, other, one), (one, one, other)]
    return plan


class _Workers:
    """A worker for each backend and part, with a backend built anew for each combination.

    What one part leaves behind in a backend must not explain or excuse another; what it leaves in the process is the
    same for every combination.
    """

    def __init__(self, offers: Mapping[str, Offer], problem: Problem, mutations: Mapping[str, Mutation]) -> None:
        self._offers, self._problem, self._mutations = offers, problem, mutations
        self._open: dict[tuple[str, PartName], Session] = {}
        self._logs = tempfile.TemporaryDirectory(prefix="compare-ag-transplant-")

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for name, part in list(self._open):
            self.close(name, part)
        self._logs.cleanup()

    def fresh(self, name: str, part: PartName) -> Session:
        """A session whose backend has done nothing yet. Raises `WorkerFailure` with the backend's name."""
        offer, problem = self._offers[name], self._problem
        try:
            if (name, part) not in self._open:
                label = f"{name}.{part}".replace(":", "+")
                process = WorkerProcess(Launch(label, Path(self._logs.name), problem.threads, 0, SECONDS))
                try:
                    session = Session(offer, process)
                    session.load(problem.dtype, self._mutations.get(name))
                except BaseException:
                    process.close()
                    raise
                self._open[name, part] = session
            session = self._open[name, part]
            check_digest(problem, session.prepare(problem))
        except WorkerFailure as failure:
            reason = f"{offer.name}: {failure.reason}"
            raise WorkerFailure(failure.status, reason, failure.phase, failure.step) from None
        return session

    def close(self, name: str, part: PartName) -> None:
        """End a worker, as after a failure: the next combination starts another."""
        session = self._open.pop((name, part), None)
        if session is not None:
            session.process.close()


class _Bench:
    """Training by parts, and the oracle that judges it."""

    def __init__(self, problem: Problem, whole: Problem) -> None:
        self.problem = problem
        self.oracle = Oracle(problem)
        # the points are those of the whole training: its end is where gradients are small
        probes = probe_points(whole, reference_trajectory(whole), secrets.randbits(32))
        route = 1 + len(probes.names) // 2
        self.points = list(zip(probes.names[:route], probes.weights[:route], strict=True))

    def train(self, parts: tuple[str, str, str], workers: _Workers) -> Combination:
        """One combination in lockstep, then at the host's points; a worker that fails makes it a wrong one."""
        problem = self.problem
        whole = problem.batch_size is None
        samples = []
        w, b = problem.w0, problem.b0
        sessions = [workers.fresh(name, part) for name, part in zip(parts, PARTS, strict=True)]
        try:
            for k, rows in zip(range(problem.steps), batches(problem), strict=False):
                sample = self._step(sessions, f"step {k}", k, w, b, None if whole else rows)
                samples.append(replace(sample, step=k))
                assert sample.following is not None
                w, b = sample.following[:-1], sample.following[-1]
            if whole:  # an exchange is asked by its step's batch: with mini-batches there is none of all data
                samples += [self._step(sessions, f"the point '{n}'", 0, p[:-1], p[-1], None) for n, p in self.points]
        except WorkerFailure as failure:
            for name, part in zip(parts, PARTS, strict=True):
                workers.close(name, part)
            return Combination(*parts, False, f"{failure.status}: {failure.reason}", np.inf)
        # gradients are not looked at: who is guilty is for the pattern to say
        found = judge_samples(problem, self.oracle, samples).values()
        wrong = [result for result in found if not result.passed]
        message = "right" if not wrong else min(
            (finding for result in wrong for finding in result.findings), key=lambda f: f.step or 0
        ).message  # fmt: skip  # one choice
        return Combination(*parts, not wrong, message, max(result.ratio for result in found))

    def _step(self, sessions: list[Session], where: str, k: int, w: Array, b: Array, rows: Array | None) -> Sample:
        """Loss, gradient and update from three workers, at the weights w (d,), b ()."""
        problem = self.problem
        w, b = np.ascontiguousarray(w), np.asarray(b)
        loss = sessions[0].exchange(problem, "loss", k, w=w, b=b)["loss"]
        gradient = sessions[1].exchange(problem, "gradient", k, w=w, b=b)
        following = sessions[2].exchange(problem, "update", k, w=w, b=b, gw=gradient["w"], gb=gradient["b"])
        return Sample(where, np.append(w, b), loss, None, np.append(following["w"], following["b"]), rows)


def _explained(combinations: tuple[Combination, ...], names: list[str]) -> Transplant:
    """The parts with which every combination is wrong, and without which something is right."""
    guilty: list[tuple[str, PartName]] = []
    for name in names:
        for part in PARTS:
            with_it = [one for one in combinations if getattr(one, part) == name]
            without = [one for one in combinations if getattr(one, part) != name]
            if with_it and not any(one.right for one in with_it) and (not without or any(o.right for o in without)):
                guilty.append((name, part))
    explained = [
        one for one in combinations if not one.right and any(getattr(one, part) == name for name, part in guilty)
    ]
    wrong = sum(not one.right for one in combinations)
    return Transplant(combinations, tuple(guilty), wrong - len(explained))
