"""What the peers time: one training step of a backend, its state going on from call to call as such code does.

As a program it is a pyperf benchmark:  python benchmarks/peer_subject.py --backend numpy --size seed --fast -o FILE
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import ahead  # noqa: F401  # first: what it imports and allocates comes before the backend
from figures import problem_of
from in_process import Training

from compare_ag.worker.load import load_backend


def step_of(name: str, size: str) -> Callable[[], None]:
    """A function that makes one step of the training and waits for it."""
    (entry,) = entry_points(group="compare_ag", name=name)
    training = Training(load_backend(entry.module)(), problem_of(size))
    step, synchronize, batch = training.backend.step, training.backend.synchronize, training.batch
    rate = training.problem.learning_rate
    weights = training.weights()

    def one_step() -> None:
        nonlocal weights
        loss, weights = step(weights, batch, rate)
        synchronize(loss, *weights)

    return one_step


def main() -> None:
    import pyperf

    def pass_on(command: list[str], asked: object) -> None:
        command += ["--backend", asked.backend, "--size", asked.size]  # type: ignore[attr-defined]  # a namespace of argparse's

    runner = pyperf.Runner(add_cmdline_args=pass_on)
    runner.argparser.add_argument("--backend", required=True)
    runner.argparser.add_argument("--size", required=True)
    asked = runner.parse_args()
    # the coordinating process needs no backend; only its workers time
    step = step_of(asked.backend, asked.size) if asked.worker else lambda: None
    runner.bench_func(f"{asked.backend} {asked.size}", step)


if __name__ == "__main__":
    main()
