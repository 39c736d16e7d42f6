"""Thousands of random problems through correct backends: no false alarm, no bound exceeded, how much slack there is.

    python scripts/property_run.py --problems 3000

Every problem differs in size, scale, noise, dtype, form of the loss, penalty, batches, learning rate and number of
steps. Of eight, four are usual ones (rates up to 1.9/L); three have data, rate and penalty of any size that the dtype
holds, so that numbers overflow and underflow; one is wide, with up to three thousand features and few examples. Each
backend keeps one worker for all of them, prepared anew for each.

Counted are problems, trainings, accusations, deviations that are NaN, and warnings: the host's, and whatever a worker
writes to stderr. The last three must be 0, else the exit code is 1. Printed is also, for each test, the distribution of
slack = tolerance/observed over (problem, backend); below 1 would be a false alarm.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compare_ag.host.crew import open_session
from compare_ag.host.launch import Launch
from compare_ag.host.session import Recording, Session
from compare_ag.problem import Data, Problem, ProblemError, make_problem, recorded_steps
from compare_ag.suite import select
from compare_ag.suite.judge import Judge
from compare_ag.suite.training import Training, ask_along
from compare_ag.verify import Verdict

SECONDS = 24 * 3600.0


LARGEST = {"float32": 37, "float64": 150}
"""powers of ten: squares of float64 data must stay finite"""
MOST_FEATURES = 3000
FAMILIES = ("usual", "extreme", "usual", "extreme", "usual", "extreme", "usual", "wide")


def random_problem(index: int) -> Problem:
    """Of a family that the index chooses, else drawn."""
    rng = np.random.default_rng([41, index])
    family = FAMILIES[index % len(FAMILIES)]
    n, d = int(rng.integers(4, 200)), int(rng.integers(1, 13))
    if family == "wide":
        n, d = int(rng.integers(2, 13)), round(float(np.exp(rng.uniform(np.log(30), np.log(MOST_FEATURES)))))
    dtype = str(rng.choice(["float32", "float64"]))
    X = rng.normal(size=(n, d)) * rng.lognormal(0.0, 0.5, size=d)
    y = (X @ rng.normal(size=d) + rng.logistic(size=n) * rng.integers(0, 3) > 0).astype(float)
    y[:2] = 0, 1
    facts = {
        "dtype": dtype,
        "loss": str(rng.choice(["logits", "probability"])),
        "l2": float(rng.choice([0.0, 0.01, 0.3])),
        "batch_size": int(rng.integers(1, n)) if rng.random() < 1 / 3 else None,
        "steps": int(rng.integers(20, 60 if family == "wide" else 300)),
        "seed": index,
    }
    share = float(rng.choice([1.0, 0.05, 1.9]))
    if family == "extreme":
        X *= 10.0 ** (_power(rng, dtype) + rng.integers(-3, 4, d) * rng.integers(0, 2))
        facts["l2"] = 10.0 ** _power(rng, dtype) if rng.random() < 0.5 else 0.0
        share = 10.0 ** _power(rng, dtype)
    data = Data(X, y, f"{family} {index}", "drawn for this run")
    try:
        rate = share / make_problem(data, learning_rate=1.0, **facts).curvature  # type: ignore[arg-type]  # a dictionary of literals loses their types
        return make_problem(data, learning_rate=rate, **facts)  # type: ignore[arg-type]  # the same
    except ProblemError:  # beyond what the dtype holds: refused before any worker sees it
        return random_problem(index + 10_000_000)


def _power(rng: np.random.Generator, dtype: str) -> float:
    """A power of ten: of everyday size, or anything."""
    largest = 3 if rng.random() < 0.4 else LARGEST[dtype]
    return float(rng.uniform(-largest, largest))


def train(session: Session, problem: Problem, training: Training, judge: Judge, *, fused: bool) -> None:
    record = recorded_steps(problem.steps)
    session.prepare(problem)
    session.train(problem, record, training.recording)
    probes = training.probes = judge.probes(problem.seed)
    assert probes is not None
    training.answers = ask_along(session, problem, probes)
    if fused:
        training.fused = Recording()
        session.train(problem, record, training.fused, fused=True)
        training.fused_answers = ask_along(session, problem, probes, fused=True)


def not_a_number(verdict: Verdict) -> bool:
    """Whether a deviation or a ratio of the verdict is NaN."""
    found = [verdict.observed, verdict.weights_error, verdict.worst_ratio]
    for test in verdict.tests:
        found += [test.ratio, *(finding.deviation for finding in test.findings)]
    return any(value is not None and math.isnan(value) for value in found)


@dataclass
class Tally:
    """What the whole run has seen."""

    trainings: int = 0
    statuses: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    slack: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accusations: list[str] = field(default_factory=list)
    not_numbers: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def bad(self) -> list[str]:
        """All that must not be."""
        return [*self.accusations, *self.not_numbers, *self.warnings]

    def add(self, label: str, verdict: Verdict) -> None:
        """Count one verdict."""
        self.statuses[verdict.status] += 1
        if verdict.status not in ("agrees", "undecidable"):
            self.accusations.append(f"{label}: {verdict.message}")
        self.accusations += [f"{label}, {test.test}: {test.ratio}" for test in verdict.tests if not test.passed]
        if not_a_number(verdict):
            self.not_numbers.append(f"{label}: a deviation is NaN")
        for test in verdict.tests:
            if test.judged and test.ratio > 0:
                self.slack[test.test].append(1.0 / test.ratio)

    def show(self, problems: int, backends: str) -> None:
        """Print everything."""
        print(
            f"{problems} problems, {self.trainings} trainings of {backends}: {dict(self.statuses)};\n"
            f"{len(self.accusations)} accusations, {len(self.not_numbers)} NaN deviations, "
            f"{len(self.warnings)} warnings"
        )
        print("slack = tolerance/observed:   smallest      5 %   median     95 %   trainings")
        for kind, values in self.slack.items():
            low, five, middle, high = np.quantile(values, [0.0, 0.05, 0.5, 0.95])
            print(f"{kind:>27}   {low:8.3g} {five:8.3g} {middle:8.3g} {high:8.3g}   {len(values):9}")
        for line in self.bad:
            print(line)


def judge_problem(index: int, sessions: dict[str, tuple[Session, bool]], tally: Tally) -> None:
    """Train every backend on one problem, and judge it."""
    problem = random_problem(index)
    judge = Judge(problem, recorded_steps(problem.steps))
    judge.prepare()
    if judge.error is not None:
        raise judge.error
    for name, (session, fused) in sessions.items():
        training = Training(session.offer, 0)
        train(session, problem, training, judge, fused=fused)
        tally.trainings += 1
        for how, verdict in zip(("", ", fused step"), judge.certify_training(training), strict=True):
            if verdict is not None:
                tally.add(f"problem {index} ({problem.data.name}), {name}{how}", verdict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="index of the first one, to run parts side by side")
    parser.add_argument("--backends", default="numpy,autograd,torch")
    options = parser.parse_args()
    tally, start = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with ExitStack() as stack:
            sessions = {}
            for name, offer in select(options.backends.split(",")).items():
                session = stack.enter_context(open_session(Launch(name, logs, 1, 0, SECONDS), offer))
                sessions[name] = session, session.load().overrides_step
            for done in range(1, options.problems + 1):
                index = options.first + done - 1
                with warnings.catch_warnings(record=True) as seen:
                    warnings.simplefilter("always")
                    judge_problem(index, sessions, tally)
                tally.warnings += [f"problem {index}: {one.filename}:{one.lineno}: {one.message}" for one in seen]
                if done % 100 == 0:
                    seconds = time.monotonic() - start
                    print(f"{done} problems, {seconds:.0f} s, {len(tally.bad)} alarms", file=sys.stderr)
        for path in sorted(logs.glob("*.stderr.txt")):
            tally.warnings += [f"{path.stem}: {line}" for line in path.read_text(errors="replace").splitlines()]
    tally.show(options.problems, options.backends)
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
