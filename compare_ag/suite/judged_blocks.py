"""Which timed blocks of a launch are judged, and with what result: the engine's side of `verify.timed_blocks`.

Every block's reply carries its final weights and loss (a claim), so that no worker can know which blocks are judged.
The host keeps the claims of a random share of the rounds: as many as can be judged within `SHARE` of a launch, and
`LEAST_ROUNDS` at least. It judges them when the launch has ended, so that no clock includes the judging.
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
"""in every launch; of unphased blocks, where it has so many"""
EXACT_SECONDS = 0.01
"""in a launch, for comparing blocks with the exact trajectory"""
EXACT_SHARE = 0.03
"""of the budget, once, where a single such block takes longer than that"""
UNTOUCHED = 0.5
TOUCHED = 0.25
"""A backend shows no updates where its blocks, within a wide tolerance, miss more than the first share of the move that
right updates make, and the blocks of another backend, from the same starts, miss less than the second share."""


RECORDED_NUMBERS = 1 << 9
RECORDED_CLAIMS = 10
"""The claims of each backend that are recorded hold at most so many numbers, but they are at least so many claims."""


def count_recorded(claim: Claim) -> int:
    """How many claims of a backend are recorded."""
    return max(RECORDED_CLAIMS, RECORDED_NUMBERS // (2 * len(claim.weights)))


@dataclass
class Counts:
    """The judged blocks of one backend and of its twin."""

    judged: int = 0
    exact: int = 0
    """of these, compared with the exact trajectory"""
    not_judged: int = 0
    """blocks that moved the weights too little"""
    undone: list[float] = field(default_factory=list)
    """of each block: the share of the move by right updates that is missing"""


@dataclass
class JudgedBlocks:
    """Judges the claims of one launch after the other.

    step: of the training, near whose weights all blocks start. budget_seconds: of the timing part.
    """

    problem: Problem
    step: int
    budget_seconds: float
    counts: dict[str, Counts] = field(default_factory=dict)
    seconds: float = 0.0
    """spent on judging, in all launches"""
    recorded: dict[str, list[Claim]] = field(default_factory=dict)
    """claims of each backend: all wrong ones, and as many right ones as `count_recorded` allows"""

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
        self._chosen_rounds: frozenset[int] = frozenset()
        self._claims: dict[str, list[Claim]] = {}
        self._start: Array | None = None

    def begin(self, unphased: int, phased: int) -> None:
        """A launch begins, of so many rounds of unphased and then of phased blocks; choose some of the rounds."""
        affordable = SHARE * self._launch_seconds / self._round_seconds if self._round_seconds else 0.0
        order = [self._generator.permutation(unphased), self._generator.permutation(phased) + unphased]
        least, remaining = np.split(np.concatenate(order), [LEAST_ROUNDS])
        remaining = self._generator.permutation(remaining)
        remaining = remaining[: max(0, int(min(affordable, unphased + phased)) - LEAST_ROUNDS)]
        self._chosen_rounds = frozenset([*least.tolist(), *remaining.tolist()])
        self._claims = {}

    def round(self, number: int, w: Array, b: Array) -> None:
        """A round begins, with these weights."""
        self._start = self.problem.layout.flat((w, b)) if number in self._chosen_rounds else None

    def add(self, name: str, updates: int, computed: dict[str, Array]) -> None:
        """Keep the results of a block of this round, if the round was chosen."""
        if self._start is not None:
            weights = self.problem.layout.flat((computed["w"], computed["b"]))
            self._claims.setdefault(name, []).append(Claim(self._start, updates, computed["loss"], weights))

    def judge(self, launch_seconds: float, backend_of: Callable[[str], str]) -> dict[str, WorkerFailure | Exception]:
        """Judge the claims of the launch; return for each wrong contestant its failure, or the bug of ours met at it.

        backend_of: gives the backend that a contestant counts for: itself, or the backend of a twin.
        """
        started = time.perf_counter()
        faults: dict[str, WorkerFailure | Exception] = {}
        exactly = self._choose_exact()
        try:
            claims = [claim for name in self._claims for claim in self._claims[name]]
            firsts = dict(zip(self._claims, np.cumsum([0, *map(len, self._claims.values())]).tolist(), strict=False))
            verdicts = self._judge.judge(claims, [firsts[name] + i for name, i in exactly.items()])
            by_name = {name: verdicts[firsts[name] :][: len(self._claims[name])] for name in self._claims}
        except Exception:  # noqa: BLE001 - met again below, at the contestant that causes it
            by_name = {}
            for name, claims in self._claims.items():
                try:
                    by_name[name] = self._judge.judge(claims)
                except Exception as error:  # noqa: BLE001 - a bug of ours costs this contestant, not the run
                    faults[name] = error
        for name, verdicts in by_name.items():
            self._record(backend_of(name), self._claims[name], verdicts)
            self._count(backend_of(name), verdicts)
            if any(verdict.status == "wrong" for verdict in verdicts):
                faults[name] = self._describe_wrong(self._claims[name], verdicts)
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self._round_seconds, self._launch_seconds = seconds / max(1, len(self._chosen_rounds)), launch_seconds
        self._claims = {}
        return faults

    def judge_again(self, name: str, claims: list[Claim], *, accused: bool) -> list[BlockVerdict]:
        """The verdicts on recorded claims of a backend, counted like new ones.

        accused: the record says that blocks were wrong. Where the bound does not show that, all claims are compared
        exactly: the run compared one of each launch exactly, and which one is not recorded.
        """
        verdicts = self._judge.judge(claims)
        if accused and not any(verdict.status == "wrong" for verdict in verdicts):
            affordable = [i for i, claim in enumerate(claims) if self._judge.exact_seconds(claim.updates) is not None]
            verdicts = self._judge.judge(claims, affordable)
        self._count(name, verdicts)
        return verdicts

    def _record(self, name: str, claims: list[Claim], verdicts: list[BlockVerdict]) -> None:
        recorded = self.recorded.setdefault(name, [])
        wrong = [claim for claim, verdict in zip(claims, verdicts, strict=True) if verdict.status == "wrong"]
        right = [claim for claim, verdict in zip(claims, verdicts, strict=True) if verdict.status != "wrong"]
        recorded += [*wrong, *right[: max(0, count_recorded(claims[0]) - len(recorded))]]

    def untouched(self, name: str) -> bool:
        """Whether no block of a backend shows that it made its updates, although another backend's blocks do."""
        counts = self.counts.get(name, Counts())
        if counts.judged or not counts.undone or float(np.median(counts.undone)) <= UNTOUCHED:
            return False
        others = [others.undone for backend, others in self.counts.items() if backend != name and others.undone]
        return any(float(np.median(undone)) < TOUCHED for undone in others)

    def _choose_exact(self) -> dict[str, int]:
        """One claim of each contestant to compare exactly, in random order, as long as the time lasts."""
        chosen: dict[str, int] = {}
        seconds = 0.0
        for name in self._generator.permutation(list(self._claims)).tolist():
            i = int(self._generator.integers(len(self._claims[name])))
            needed = self._judge.exact_seconds(self._claims[name][i].updates)
            if needed is None:
                continue
            if seconds + needed > EXACT_SECONDS:  # then from the share of the budget, which is spent once
                if needed > self._exact_allowance:
                    continue
                self._exact_allowance = 0.0
            chosen[name], seconds = i, seconds + needed
        return chosen

    def _count(self, name: str, verdicts: list[BlockVerdict]) -> None:
        counts = self.counts.setdefault(name, Counts())
        statuses = Counter(verdict.status for verdict in verdicts)
        counts.judged += len(verdicts) - statuses["not judged"]
        counts.not_judged += statuses["not judged"]
        counts.undone += [verdict.undone for verdict in verdicts if np.isfinite(verdict.undone)]
        counts.exact += sum(verdict.exact and verdict.status != "not judged" for verdict in verdicts)

    def _describe_wrong(self, claims: list[Claim], verdicts: list[BlockVerdict]) -> WorkerFailure:
        """The failure of a contestant with wrong blocks: the worst of them, and how many there are."""
        wrong = [(verdict, claim) for verdict, claim in zip(verdicts, claims, strict=True) if verdict.status == "wrong"]
        verdict, claim = max(wrong, key=lambda pair: pair[0].ratio)
        quantity = verdict.coordinate or f"the {verdict.quantity}"
        size = (
            f"off by {verdict.observed:.2g}, {verdict.ratio:.2g} tolerances"
            if np.isfinite(verdict.ratio)
            else "not finite"
        )
        return WorkerFailure(
            "disagree",
            f"its results are wrong: {claim.updates} updates after weights near those of step {self.step}, {quantity} "
            f"is {size}; so it is in {len(wrong)} of {len(verdicts)} timed blocks that were judged",
            "step",
            self.step,
        )
