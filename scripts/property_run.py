"""Thousands of random problems through correct backends: no false alarm, no bound exceeded, how much slack there is.

    python scripts/property_run.py --problems 2000

Every problem differs in size, scale, noise, dtype, form of the loss, penalty, batches, learning rate (up to 1.9/L) and
number of steps. Each backend keeps one worker for all of them, prepared anew for each. Printed is, for each test, the
distribution of slack = tolerance/observed over (problem, backend); below 1 would be a false alarm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from compare_ag.host.process import Launch, WorkerProcess
from compare_ag.host.session import Recording, Session, check_digest
from compare_ag.problem import Data, Problem, make_problem, recorded_steps
from compare_ag.suite import select
from compare_ag.suite.judging import Judge
from compare_ag.suite.training import Training, ask_along

SECONDS = 24 * 3600.0


def random_problem(index: int) -> Problem:
    rng = np.random.default_rng([41, index])
    n, d = int(rng.integers(4, 200)), int(rng.integers(1, 13))
    X = rng.normal(size=(n, d)) * rng.lognormal(0.0, 0.5, size=d)
    y = (X @ rng.normal(size=d) + rng.logistic(size=n) * (index % 3) > 0).astype(float)
    y[:2] = 0, 1
    batch_size = (None, None, int(rng.integers(1, n)))[index % 3]
    facts = {
        "dtype": ("float32", "float64")[index % 2],
        "loss": ("logits", "probability")[index // 2 % 2],
        "l2": (0.0, 0.01, 0.3)[index // 4 % 3],
        "batch_size": batch_size,
        "steps": int(rng.integers(20, 300)),
        "seed": index,
    }
    problem = make_problem(Data(X, y, f"random {index}", "drawn for this run"), **facts)  # type: ignore[arg-type]  # a dictionary of literals loses their types
    share = (1.0, 0.05, 1.9)[index // 5 % 3]
    return make_problem(problem.data, learning_rate=share / problem.curvature, **facts)  # type: ignore[arg-type]  # a dictionary of literals loses their types


def train(session: Session, problem: Problem, training: Training, judge: Judge, seed: int) -> None:
    record = recorded_steps(problem.steps)
    check_digest(problem, session.prepare(problem))
    session.train(problem, record, training.recording)
    probes = training.probes = judge.probes(seed)
    assert probes is not None
    training.answers = ask_along(session, problem, probes)
    training.repeated = Recording()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="index of the first one, to run parts side by side")
    parser.add_argument("--backends", default="numpy,autograd,torch")
    options = parser.parse_args()
    slack: dict[str, list[float]] = defaultdict(list)
    statuses: dict[str, int] = defaultdict(int)
    alarms: list[str] = []
    start = time.monotonic()
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sessions = {}
        for name, offer in select(options.backends.split(",")).items():
            session = Session(offer, stack.enter_context(WorkerProcess(Launch(name, logs, 1, 0, SECONDS))))
            session.load()
            sessions[name] = session
        for index in range(options.first, options.first + options.problems):
            problem = random_problem(index)
            judge = Judge(problem, recorded_steps(problem.steps))
            judge.prepare()
            if judge.error is not None:
                raise judge.error
            for name, session in sessions.items():
                training = Training(session.offer, 0)
                train(session, problem, training, judge, index)
                verdict, _ = judge.verdicts(training)
                statuses[verdict.status] += 1
                if verdict.status not in ("agrees", "undecidable"):
                    alarms.append(f"problem {index}, {name}: {verdict.message}")
                for test in verdict.tests:
                    if not test.passed:
                        alarms.append(f"problem {index}, {name}, {test.test}: {test.ratio}")
                    if test.judged and test.ratio > 0:
                        slack[test.test].append(1.0 / test.ratio)
            done = index + 1 - options.first
            if done % 100 == 0:
                print(f"{done} problems, {time.monotonic() - start:.0f} s, {len(alarms)} alarms", file=sys.stderr)
    print(f"{options.problems} problems, {options.backends}: {dict(statuses)}; false alarms: {len(alarms)}")
    print("slack = tolerance/observed:   smallest      5 %   median     95 %   trainings")
    for kind, values in slack.items():
        low, five, middle, high = np.quantile(values, [0.0, 0.05, 0.5, 0.95])
        print(f"{kind:>27}   {low:8.3g} {five:8.3g} {middle:8.3g} {high:8.3g}   {len(values):9}")
    for alarm in alarms:
        print(alarm)
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
