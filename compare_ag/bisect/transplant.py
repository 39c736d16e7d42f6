"""Transplants: loss from one backend, gradient from another, update from a third, and what becomes of the training.

Only what crosses as numpy can be exchanged: weights, batch, loss, gradient. A tape is native and opaque, so that a
gradient comes with its own forward. Each combination trains in lockstep, its steps asked of the workers one by one, and
is judged step by step; the part that is guilty falls out of the pattern, without a look at a single number inside.
A backend that has a step of its own does in it what no exchange can see: that step is trained and judged beside them.
"""

from __future__ import annotations

import itertools
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from compare_ag.host.crew import open_session
from compare_ag.host.failures import WorkerFailure
from compare_ag.host.launch import Launch
from compare_ag.host.session import Session
from compare_ag.problem import Problem, batches
from compare_ag.records import file_stem
from compare_ag.verify import Oracle, Sample, judge_samples, probe_points, reference_trajectory
from compare_ag.verify.certificate import first_finding

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem.core import Array
    from compare_ag.worker.messages import Mutation

PartName: TypeAlias = Literal["loss", "gradient", "update", "step"]
PARTS: tuple[PartName, ...] = ("loss", "gradient", "update")
"""those that are exchanged; a step of a backend's own is all three"""
STEPS = 60
SECONDS = 300.0

__all__ = ["Combination", "OwnStep", "Transplant", "transplant"]


class Combination(NamedTuple):
    """Who did what, and what came of it."""

    loss: str
    gradient: str
    update: str
    right: bool
    message: str
    ratio: float
    """largest observed/tolerance"""
    failed: bool = False
    """a worker failed: nothing was compared"""
    excused: bool = False
    """it failed in the backward or update of a backend that was to give the loss: nothing is known of that"""


class OwnStep(NamedTuple):
    """What came of training through a backend's own `step`."""

    backend: str
    right: bool
    message: str
    ratio: float
    """largest observed/tolerance"""
    failed: bool = False
    """a worker failed: nothing was compared"""


@dataclass(frozen=True)
class Transplant:
    """All combinations, and the parts that explain those that are wrong."""

    combinations: tuple[Combination, ...]
    guilty: tuple[tuple[str, PartName], ...]
    """(backend, part): every combination with it is wrong"""
    unexplained: int
    """wrong combinations without a guilty part"""
    own_steps: tuple[OwnStep, ...] = ()
    """of the backends that override `step`"""
    planned: int = 0
    """combinations that there are; more than were tried where an interrupt ended it, and nobody is guilty then"""
    interrupted: bool = False
    """an interrupt ended it: some combinations, or backends' own steps, were not tried"""

    @property
    def right(self) -> bool:
        """Whether nothing at all is wrong."""
        return all(one.right for one in self.combinations) and all(step.right for step in self.own_steps)

    @property
    def message(self) -> str:
        """For people."""
        if len(self.combinations) < self.planned:
            wrong = sum(not one.right for one in self.combinations)
            tried = f"interrupted: {len(self.combinations)} of {self.planned} combinations were tried"
            return f"{tried}, {wrong} of them wrong; too few to say which part is guilty"
        verdicts = [(step.backend, "right" if step.right else "wrong") for step in self.own_steps]
        said = self._of_parts() + "".join(f"; the own step of {name} is {verdict}" for name, verdict in verdicts)
        return f"{said}; interrupted before every backend's own step was tried" if self.interrupted else said

    def _of_parts(self) -> str:
        if all(one.right for one in self.combinations):
            return f"no part is guilty: all {len(self.combinations)} combinations are right"
        if not any(one.right for one in self.combinations):
            return (
                "every combination is wrong, so that no exchange tells the parts apart: each backend is wrong "
                "somewhere; add one that is right, or let `compare-ag bisect` look at each"
            )
        if not self.guilty:
            return (
                "something is wrong, but in no part alone: no part is wrong in every combination that it takes part in"
            )
        said = "; ".join(f"the {part} of {name} is wrong" for name, part in self.guilty)
        it = "it" if len(self.guilty) == 1 else "one of them"
        said += f": every combination with {it} is wrong"
        said += f"; {self.unexplained} more are wrong without {it}" if self.unexplained else f", and none without {it}"
        return said + "".join(self._shared())

    def _shared(self) -> Iterator[str]:
        """What several guilty parts of one backend have in common."""
        for name in dict.fromkeys(name for name, _ in self.guilty):
            parts = {part for backend, part in self.guilty if backend == name}
            if len(parts) == len(PARTS):
                yield f"; all three parts of {name} are made of its make_tensor and to_numpy: look there first"
            elif parts == {"loss", "gradient"}:
                yield f"; loss and gradient of {name} share its forward: look there first"


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
    An interrupt ends it with the combinations that were tried, if there are any. ``observe`` hears how many of how many
    trainings are done. Raises `WorkerFailure` with the backend's name where one cannot answer.
    """
    short = replace(problem, steps=min(problem.steps, steps or STEPS), published=())
    names = list(offers)
    plan = list(dict.fromkeys(_plan(names)))
    bench = _PartTrainer(short, problem)
    found: list[Combination] = []
    own: list[OwnStep] = []
    interrupted = False
    with _Workers(offers, short, mutations or {}) as workers:
        try:
            for number, parts in enumerate(plan):
                if observe is not None:
                    observe(number, len(plan))
                found.append(bench.known_failure(parts) or bench.train(parts, workers))
            for name in names:
                if name in workers.with_own_step:
                    own.append(bench.own_step(name, workers))  # noqa: PERF401 - an interrupt keeps what there is
        except KeyboardInterrupt:
            if not found:
                raise
            interrupted = True
    if len(found) < len(plan):
        return Transplant(tuple(found), (), 0, planned=len(plan), interrupted=True)
    explained = _explained(tuple(found), names)
    return replace(explained, own_steps=tuple(own), planned=len(plan), interrupted=interrupted)


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
        self.with_own_step: set[str] = set()
        """backends that override `step`, of those that were loaded"""
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
                label = f"{file_stem(name)}.{part}"
                session = open_session(Launch(label, Path(self._logs.name), problem.threads, 0, SECONDS), offer)
                self._open[name, part] = session
                loaded = session.load(problem.dtype, self._mutations.get(name))
                if loaded.overrides_step:
                    self.with_own_step.add(name)
            session = self._open[name, part]
            session.prepare(problem)
        except WorkerFailure as failure:
            self.close(name, part)
            reason = f"{offer.name}: {failure.reason}"
            raise WorkerFailure(failure.status, reason, failure.phase, failure.step) from None
        return session

    def close(self, name: str, part: PartName) -> None:
        """End a worker, as after a failure: the next combination starts another."""
        session = self._open.pop((name, part), None)
        if session is not None:
            session.close()


class _PartTrainer:
    """Training by parts, and the oracle that judges it."""

    def __init__(self, problem: Problem, whole: Problem) -> None:
        self.problem = problem
        self.oracle = Oracle(problem)
        # the points are those of the whole training: its end is where gradients are small
        main, _, ladder, *_ = probe_points(whole, reference_trajectory(whole), secrets.randbits(32)).routes
        # by name: the way back visits the same points; an exchange is on all data, so is the ladder here
        self.points = dict(zip(main.names + ladder.names, [*main.weights, *ladder.weights], strict=True))
        self._hung: dict[tuple[str, PartName], WorkerFailure] = {}

    def known_failure(self, parts: tuple[str, str, str]) -> Combination | None:
        """The result of a combination with a part that has hung before: nobody waits for it twice."""
        for asked in zip(parts, PARTS, strict=True):
            if (failure := self._hung.get(asked)) is not None:
                return _failed(parts, asked[1], failure)
        return None

    def train(self, parts: tuple[str, str, str], workers: _Workers) -> Combination:
        """One combination in lockstep, then at the host's points; a worker that fails makes it a wrong one."""
        sessions = [workers.fresh(name, part) for name, part in zip(parts, PARTS, strict=True)]
        try:
            samples = self._samples(partial(self._step, sessions))
        except _PartFailure as stop:
            for name, part in zip(parts, PARTS, strict=True):
                workers.close(name, part)
            if stop.failure.status == "timeout":
                self._hung[parts[PARTS.index(stop.part)], stop.part] = stop.failure
            return _failed(parts, stop.part, stop.failure)
        return Combination(*parts, *self._judged(samples))

    def own_step(self, name: str, workers: _Workers) -> OwnStep:
        """The same through the `step` of one backend."""
        session = workers.fresh(name, "step")
        try:
            samples = self._samples(partial(self._own_step, session))
        except _PartFailure as stop:
            workers.close(name, "step")
            reason = f"{stop.failure.status}: {stop.failure.reason}"
            return OwnStep(name, right=False, message=reason, ratio=np.inf, failed=True)
        return OwnStep(name, *self._judged(samples))

    def _samples(self, step: Callable[[str, int, Array, Array | None], Sample]) -> list[Sample]:
        """Those of a training, then those at the host's points; ``step`` gets a place, k, the weights and the rows."""
        problem = self.problem
        whole = problem.batch_size is None
        samples = []
        weights = problem.initial
        for k, rows in zip(range(problem.steps), batches(problem), strict=False):
            sample = step(f"step {k}", k, weights, None if whole else rows)
            samples.append(replace(sample, step=k))
            assert sample.following is not None
            weights = sample.following
        if whole:  # an exchange is asked by its step's batch: with mini-batches there is none of all data
            samples += [step(f"the point '{n}'", 0, p, None) for n, p in self.points.items()]
        return samples

    def _judged(self, samples: list[Sample]) -> tuple[bool, str, float]:
        """Whether all is right, what is wrong first, and the largest observed/tolerance."""
        # gradients are not looked at: who is guilty is for the pattern to say
        found = judge_samples(self.problem, self.oracle, samples).values()
        findings = [finding for result in found for finding in result.findings]
        message = first_finding(findings).message if findings else "right"
        return not findings, message, max((result.ratio for result in found), default=0.0)

    def _own_step(self, session: Session, where: str, k: int, weights: Array, rows: Array | None) -> Sample:
        """Loss and new weights by the backend's own step, at ``weights`` (m,)."""
        layout = self.problem.layout
        w, b = layout.parts(weights)
        try:
            found = session.exchange(self.problem, "step", k, w=w, b=b)
        except WorkerFailure as failure:
            raise _PartFailure("step", failure) from None
        return Sample(where, weights, found["loss"], None, layout.flat((found["w"], found["b"])), rows)

    def _step(self, sessions: list[Session], where: str, k: int, weights: Array, rows: Array | None) -> Sample:
        """Loss, gradient and update from three workers, at ``weights`` (m,)."""
        problem = self.problem
        w, b = problem.layout.parts(weights)

        def ask(part: PartName, **arrays: Array) -> dict[str, Array]:
            try:
                return sessions[PARTS.index(part)].exchange(problem, part, k, w=w, b=b, **arrays)
            except WorkerFailure as failure:
                raise _PartFailure(part, failure) from None

        loss = ask("loss")["loss"]
        gradient = ask("gradient")
        following = ask("update", gw=gradient["w"], gb=gradient["b"])
        return Sample(where, weights, loss, None, problem.layout.flat((following["w"], following["b"])), rows)


class _PartFailure(Exception):  # noqa: N818 - as `WorkerFailure`, with the part that was asked for
    def __init__(self, part: PartName, failure: WorkerFailure) -> None:
        super().__init__(str(failure))
        self.part = part
        self.failure = failure


def _failed(parts: tuple[str, str, str], part: PartName, failure: WorkerFailure) -> Combination:
    """A combination that a worker ended, asked for ``part``: for a loss it makes a whole step, gradient and all."""
    excused = part == "loss" and failure.phase in ("backward", "update")
    return Combination(*parts, False, f"{failure.status}: {failure.reason}", np.inf, failed=True, excused=excused)


def _explained(combinations: tuple[Combination, ...], names: list[str]) -> Transplant:
    """The parts with which every combination is wrong, and without which something is right."""
    guilty: list[tuple[str, PartName]] = []
    for name in names:
        for part in PARTS:
            with_it = [one for one in combinations if getattr(one, part) == name and not one.excused]
            without = [one for one in combinations if getattr(one, part) != name]
            if with_it and not any(one.right for one in with_it) and (not without or any(o.right for o in without)):
                guilty.append((name, part))
    explained = [
        one for one in combinations if not one.right and any(getattr(one, part) == name for name, part in guilty)
    ]
    wrong = sum(not one.right for one in combinations)
    excused = sum(one.excused and one not in explained for one in combinations)
    return Transplant(combinations, tuple(guilty), wrong - len(explained) - excused)
