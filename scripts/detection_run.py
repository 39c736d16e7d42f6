"""Wrong backends on random problems: what is off by ten tolerances at some logit is caught, whatever the seed.

    python scripts/detection_run.py --runs 200

Seven mistakes that act beyond some logit (five clips of the probability form, a dead branch that overflows, softplus
with a threshold of 20) train on random problems. For each problem this script finds out by itself, not by the points of
the verdict, whether the mistake shows at w = 0 and b = ±1, ±2, …, ±120, ±140, …, ±800: the backend's answers there
against float64 formulas, in units of the tolerance. Where that is ten or more, the verdict must not be "agrees".
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from compare_ag.host.crew import open_session
from compare_ag.host.launch import Launch
from compare_ag.host.session import Session
from compare_ag.problem import Data, Problem, make_problem, recorded_steps
from compare_ag.problem.core import Array
from compare_ag.selftest import specimens
from compare_ag.suite import select
from compare_ag.suite.judge import Judge
from compare_ag.suite.training import Training, ask_along
from compare_ag.verify.points import point_tolerance

MISTAKES = (
    ("form-clipped", 1e-4),
    ("form-clipped", 1e-7),
    ("form-clipped", 1e-12),
    ("form-clipped", 1e-15),
    ("form-clamped", 1.0),
    ("dead-branch", 1.0),
    ("softplus-threshold", 5.0),
)
LOGITS = np.array([*range(1, 121), *range(140, 801, 20)], dtype=np.float64)
LARGE = 10.0
SECONDS = 24 * 3600.0


def random_problem(index: int, loss: str) -> Problem:
    rng = np.random.default_rng([97, index])
    n, d = int(rng.integers(4, 60)), int(rng.integers(1, 7))
    X = rng.normal(size=(n, d)) * rng.lognormal(0.0, 0.5, size=d)
    y = (X @ rng.normal(size=d) + rng.logistic(size=n) > 0).astype(float)
    y[:2] = 0, 1
    data = Data(X, y, f"random {index}", "drawn for this run")
    return make_problem(data, dtype=("float32", "float64")[index % 2], loss=loss, steps=30, seed=index)


def largest_error(session: Session, problem: Problem) -> float:
    """The largest error of loss and gradient at w = 0, b = ±L on all data, in units of the tolerance."""
    b = np.concatenate([-LOGITS[::-1], LOGITS])
    w = np.zeros((len(b), problem.features))
    answers = session.evaluate(problem, w.astype(problem.dtype), b.astype(problem.dtype))
    assert answers.gradient is not None
    X, y = problem.X.astype(np.float64), problem.y.astype(np.float64)
    worst = 0.0
    for k, logit in enumerate(b):
        allowed = point_tolerance(problem, np.append(w[k], logit).astype(problem.dtype))
        s = (1.0 - 2.0 * y) * logit
        loss = np.asarray(np.logaddexp(0.0, s).mean())
        residual = (1.0 - 2.0 * y) / (1.0 + np.exp(-s))
        gradient = np.append(residual @ X, residual.sum()) / len(y)
        for visit in range(2):
            worst = max(worst, ratio(answers.loss[k, visit], loss, np.asarray(allowed.loss)))
            worst = max(worst, ratio(answers.gradient[k, visit], gradient, allowed.gradient))
    return worst


def ratio(observed: Array, right: Array, tolerance: Array) -> float:
    """The largest |observed - right| in tolerances; what is not finite is infinitely far off, where that is decided."""
    distance = np.abs(observed.astype(np.float64) - right)
    distances = np.where(np.isfinite(observed), distance, np.inf) / tolerance
    return float(np.where(np.isfinite(tolerance), distances, 0.0).max())


def is_caught(session: Session, problem: Problem, seed: int) -> bool:
    """Whether a verdict on one training, with points drawn by ``seed``, is other than "agrees"."""
    training = Training(select(["numpy"])["numpy"], 0)
    record = recorded_steps(problem.steps)
    judge = Judge(problem, record)
    judge.prepare()
    session.train(problem, record, training.recording)
    training.probes = judge.probes(seed)
    assert training.probes is not None
    training.answers = ask_along(session, problem, training.probes)
    verdict, _ = judge.certify_training(training)
    return verdict.status not in ("agrees", "undecidable")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="of each mistake")
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    options = parser.parse_args()
    known = {(specimen.facts.name, specimen.size): specimen for specimen in specimens()}
    offer = select(["numpy"])["numpy"]
    missed = 0
    print("mistake                     shows by 10 tolerances   caught   of all runs caught   seconds")
    for name, size in MISTAKES:
        specimen, start = known[name, size], time.monotonic()
        loss = "probability" if specimen.facts.shows_in == "probability" else "logits"
        shown = caught = caught_in_all = 0
        with ExitStack() as stack, np.errstate(all="ignore"):
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            session = stack.enter_context(open_session(Launch(name, logs, 1, 0, SECONDS), offer))
            session.load(None, specimen.mutation)
            for seed in range(options.first, options.first + options.runs):
                problem = random_problem(seed, loss)
                session.prepare(problem)
                found = is_caught(session, problem, seed)
                caught_in_all += found
                if largest_error(session, problem) >= LARGE:
                    shown, caught = shown + 1, caught + found
        missed += shown - caught
        row = f"{specimen.label:27} {shown:22} {caught:8} {caught_in_all:12} of {options.runs}"
        print(f"{row} {time.monotonic() - start:9.0f}", flush=True)
    print(f"missed: {missed}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
