"""What it costs a test with ``ag_benchmark`` that its backend runs in a worker.

    python benchmarks/pytest_overhead.py --backends numpy,torch

Rounds: the median round of a step in a worker, as pytest-benchmark receives it, and of a loop in this process around
the same calls, by turns. Paid once for each backend and problem: its worker, started and prepared. Paid for each test:
a few questions and their answers; the one that is timed here also looks at the worker's threads.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import in_process
from figures import parser

from compare_ag.problem import problem_by_name
from compare_ag.pytest_benchmark.prepared import PreparedBackend
from compare_ag.suite import select
from compare_ag.worker.load import load_backend


def here_ns(training: in_process.Training, count: int) -> float:
    """The median round of so many, by hand."""
    backend, taken = training.backend, []
    for _ in range(count):
        weights = training.weights()
        start = time.perf_counter_ns()
        loss, updated = backend.step(weights, training.batch, training.problem.learning_rate)
        backend.synchronize(loss, *updated)
        taken.append(time.perf_counter_ns() - start)
    return median(taken)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--backends", default="numpy,autograd,torch", help="default: numpy,autograd,torch")
    options.add_argument("--problem", default="synthetic:n=1000,d=20", help="default: synthetic:n=1000,d=20")
    options.add_argument("--repeat", type=int, default=15, help="pairs of both ways (default: 15)")
    asked = options.parse_args()
    problem = problem_by_name(asked.problem)
    with tempfile.TemporaryDirectory() as folder:
        for name, offer in select(asked.backends.split(",")).items():
            importlib.import_module(offer.module)
            hand = in_process.Training(load_backend(offer.module)(), problem)
            started = time.perf_counter()
            training = PreparedBackend(offer, problem, Path(folder), 120.0)
            start = time.perf_counter() - started
            worker, here, questions = [], [], []
            for _ in range(asked.repeat):
                worker.append(float(median(training.rounds("step", 200)["wall_ns"].tolist())))
                here.append(here_ns(hand, 200))
                asking = time.perf_counter()
                training.session.observe()
                questions.append(time.perf_counter() - asking)
            training.session.close()
            extra = median(one / other for one, other in zip(worker, here, strict=True)) - 1
            print(
                f"{name:10} a step in the worker {median(worker) / 1000:7.1f} µs, in a loop by hand "
                f"{median(here) / 1000:7.1f} µs ({extra:+.1%}; least {min(worker) / 1000:.1f} and "
                f"{min(here) / 1000:.1f}); its worker {1000 * start:.0f} ms, "
                f"a question {1000 * median(questions):.1f} ms",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
