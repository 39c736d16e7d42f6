"""Which timed blocks of a launch are judged, and what comes of it: the engine's side of `verify.timed_blocks`.

Every block's reply carries what it computed, so that no worker can know which will be judged. The host keeps a random
share of the rounds, as many as cost less than `SHARE` of a launch but `LEAST_ROUNDS` at least, and judges them once the
launch has ended, off every clock.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.failures import WorkerFailure
from compare_ag.problem.core import batch_rows
from compare_ag.verify.timed_blocks import BlockJudge, BlockVerdict, Claim
from compare_ag.worker.messages import timed_batches

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.worker.messages import Array

SHARE = 0.02
"""of a launch's time that judging may take"""
LEAST_ROUNDS = 8
"""in every launch; of whole blocks, where it has so many"""
EXACT_SECONDS = 0.01
"""in a launch, for comparing blocks with the exact trajectory"""
EXACT_SHARE = 0.03
"""of the budget, once, where a single such block takes longer than that"""
UNTOUCHED = 0.5
TOUCHED = 0.25
"""Blocks that lie as far from right results as if more than half of the move were missing, within a wide tolerance,
show no updates, where the same starts and tolerances show those of another backend."""


KEPT_NUMBERS = 1 << 9
KEPT_CLAIMS = 10
"""Of each backend as many judged blocks are kept as hold so many numbers, but at least so many blocks."""


def kept_claims(claim: Claim) -> int:
    """How many blocks of a backend are kept."""
    return max(KEPT_CLAIMS, KEPT_NUMBERS // (2 * len(claim.weights)))


@dataclass
class Counts:
    """Blocks of one backend, its twin's included."""

    judged: int = 0
    exact: int = 0
    """of these, with the exact trajectory"""
    not_judged: int = 0
    """they moved the weights too little"""
    undone: list[float] = field(default_factory=list)
    """of each: how much of the move that right updates make is missing"""


@dataclass
class JudgedBlocks:
    """The claims of one launch after the other.

    step: of the training, near whose weights all blocks start. budget_seconds: of the whole timing part.
    """

    problem: Problem
    step: int
    budget_seconds: float
    counts: dict[str, Counts] = field(default_factory=dict)
    seconds: float = 0.0
    """spent on judging, in all"""
    kept: dict[str, list[Claim]] = field(default_factory=dict)
    """claims of each backend: all wrong ones, and of others as many as `kept_claims` allows"""

    def __post_init__(self) -> None:
        started = time.perf_counter()
        size, n = self.problem.batch_size, self.problem.examples
        rows = None
        if size is not None:
            order = self.problem.epoch_order()
            rows = [batch_rows(order, size, n, step) for step in range(timed_batches(n, size))]
        self._judge = BlockJudge(self.problem, rows)
        self._generator = np.random.default_rng()  # of the system's entropy: a run's seed is no secret
        self.seconds = time.perf_counter() - started
        self._exact_allowance = EXACT_SHARE * self.budget_seconds
        self._round_seconds = 0.0
        self._launch_seconds = 0.0
        self._wanted: frozenset[int] = frozenset()
        self._claims: dict[str, list[Claim]] = {}
        self._start: Array | None = None

    def begin(self, whole: int, phased: int) -> None:
        """A launch begins, of so many rounds of whole and then of phased blocks; choose some of them."""
        affordable = SHARE * self._launch_seconds / self._round_seconds if self._round_seconds else 0.0
        chosen = np.concatenate([self._generator.permutation(whole), self._generator.permutation(phased) + whole])
        others = self._generator.permutation(chosen[LEAST_ROUNDS:])
        more = others[: max(0, int(min(affordable, whole + phased)) - LEAST_ROUNDS)]
        self._wanted = frozenset([*chosen[:LEAST_ROUNDS].tolist(), *more.tolist()])
        self._claims = {}

    def round(self, number: int, w: Array, b: Array) -> None:
        """A round begins, with these weights."""
        self._start = self.problem.layout.flat((w, b)) if number in self._wanted else None

    def add(self, name: str, updates: int, computed: dict[str, Array]) -> None:
        """What a block of this round computed."""
        if self._start is not None:
            weights = self.problem.layout.flat((computed["w"], computed["b"]))
            self._claims.setdefault(name, []).append(Claim(self._start, updates, computed["loss"], weights))

    def judge(self, launch_seconds: float, backend_of: Callable[[str], str]) -> dict[str, WorkerFailure | Exception]:
        """Judge what has been kept: for each contestant that is wrong, what is wrong; or the bug that we met at it.

        backend_of: whose counts a contestant's are: a twin's are its backend's.
        """
        started = time.perf_counter()
        found: dict[str, WorkerFailure | Exception] = {}
        exactly = self._exactly()
        try:
            claims = [claim for name in self._claims for claim in self._claims[name]]
            places = dict(zip(self._claims, np.cumsum([0, *map(len, self._claims.values())]).tolist(), strict=False))
            verdicts = self._judge.judge(claims, [places[name] + i for name, i in exactly.items()])
            each = {name: verdicts[places[name] :][: len(self._claims[name])] for name in self._claims}
        except Exception:  # noqa: BLE001 - met again below, at the contestant that causes it
            each = {}
            for name, own in self._claims.items():
                try:
                    each[name] = self._judge.judge(own)
                except Exception as error:  # noqa: BLE001 - a bug of ours costs this contestant, not the run
                    found[name] = error
        for name, own_verdicts in each.items():
            self._keep(backend_of(name), self._claims[name], own_verdicts)
            self._count(backend_of(name), own_verdicts)
            if any(verdict.status == "wrong" for verdict in own_verdicts):
                found[name] = self._wrong(self._claims[name], own_verdicts)
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self._round_seconds, self._launch_seconds = seconds / max(1, len(self._wanted)), launch_seconds
        self._claims = {}
        return found

    def judge_again(self, name: str, claims: list[Claim], *, accused: bool) -> list[BlockVerdict]:
        """The verdicts on claims of a backend that were kept, counted like new ones.

        accused: it is said to be wrong. Where the bound does not show that, all claims are compared exactly, for in a
        run one of each launch was.
        """
        verdicts = self._judge.judge(claims)
        if accused and not any(verdict.status == "wrong" for verdict in verdicts):
            affordable = [i for i, one in enumerate(claims) if self._judge.exact_seconds(one.updates) is not None]
            verdicts = self._judge.judge(claims, affordable)
        self._count(name, verdicts)
        return verdicts

    def _keep(self, name: str, claims: list[Claim], verdicts: list[BlockVerdict]) -> None:
        mine = self.kept.setdefault(name, [])
        wrong = [claim for claim, verdict in zip(claims, verdicts, strict=True) if verdict.status == "wrong"]
        others = [claim for claim, verdict in zip(claims, verdicts, strict=True) if verdict.status != "wrong"]
        mine += [*wrong, *others[: max(0, kept_claims(claims[0]) - len(mine))]]

    def untouched(self, name: str) -> bool:
        """Whether no block of a backend shows that it made its updates, although another backend's blocks do."""
        mine = self.counts.get(name, Counts())
        if mine.judged or not mine.undone or float(np.median(mine.undone)) <= UNTOUCHED:
            return False
        others = [one.undone for other, one in self.counts.items() if other != name and one.undone]
        return any(float(np.median(undone)) < TOUCHED for undone in others)

    def _exactly(self) -> dict[str, int]:
        """One block of each contestant, in random order, as long as the time lasts."""
        chosen: dict[str, int] = {}
        seconds = 0.0
        for name in self._generator.permutation(list(self._claims)).tolist():
            i = int(self._generator.integers(len(self._claims[name])))
            needed = self._judge.exact_seconds(self._claims[name][i].updates)
            if needed is None:
                continue
            if seconds + needed > EXACT_SECONDS:  # then from what is allowed once
                if needed > self._exact_allowance:
                    continue
                self._exact_allowance = 0.0
            chosen[name], seconds = i, seconds + needed
        return chosen

    def _count(self, name: str, verdicts: list[BlockVerdict]) -> None:
        mine = self.counts.setdefault(name, Counts())
        statuses = Counter(verdict.status for verdict in verdicts)
        mine.judged += len(verdicts) - statuses["not judged"]
        mine.not_judged += statuses["not judged"]
        mine.undone += [verdict.undone for verdict in verdicts if np.isfinite(verdict.undone)]
        mine.exact += sum(verdict.exact and verdict.status != "not judged" for verdict in verdicts)

    def _wrong(self, claims: list[Claim], verdicts: list[BlockVerdict]) -> WorkerFailure:
        wrong = [(verdict, claim) for verdict, claim in zip(verdicts, claims, strict=True) if verdict.status == "wrong"]
        verdict, claim = max(wrong, key=lambda pair: pair[0].ratio)
        what = verdict.coordinate or f"the {verdict.quantity}"
        size = (
            f"off by {verdict.observed:.2g}, {verdict.ratio:.2g} tolerances"
            if np.isfinite(verdict.ratio)
            else "not finite"
        )
        return WorkerFailure(
            "disagree",
            f"its results are wrong: {claim.updates} updates after weights near those of step {self.step}, {what} is "
            f"{size}; so it is in {len(wrong)} of {len(verdicts)} timed blocks that were judged",
            "step",
            self.step,
        )
