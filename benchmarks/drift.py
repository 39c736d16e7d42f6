"""What does restoring the training state buy? The engine against one that lets the state drift.

    python benchmarks/drift.py --size 10000x100 --comparisons 40

Both compare a backend with itself, with the same workers, launches, blocks, random orders and estimator. The engine
starts each block from the same perturbed checkpoint. The drifting one does what general tools do to code with a state:
each side calibrates its own number of steps per block and goes on from where its last block ended. Launches of both
alternate. The error of a comparison is its mean log-ratio, for the truth is 0; printed is the ratio of the two rms
errors. Launches that were disturbed are left out of both, and their number is printed.

What drifting costs depends on how much the step's time depends on the weights. Autograd's `logaddexp` takes branches:
at 10000x100 a step at |w| = 1 may last 1.4 times as long as at 0. Numpy's own exp is branchless where the CPU has
AVX-512 (1.02 times), and takes short paths where it has not (1.2 to 1.6 times).
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from figures import Section, conditions_of, finish, parser, per_window, problem_of, rms_ratio

from compare_ag.problem import make_problem, recorded_steps
from compare_ag.speed.schedule import BLOCK_NS, MODES
from compare_ag.speed.statistics import rms_interval
from compare_ag.suite import select
from compare_ag.suite.checkpoint import choose_checkpoint
from compare_ag.suite.engine import CALIBRATION_NS, Engine
from compare_ag.suite.launches import Bench, Launches
from compare_ag.suite.timing_crew import Contestant
from compare_ag.verify import reference_trajectory

if TYPE_CHECKING:
    from compare_ag.suite.timing_crew import Crew

DRIFTING_LEAD_IN = 1
"""untimed steps before a block of general tools, about"""


class TimedAs(Launches):
    """Launches whose steps are timed in the way of others', with which they are compared."""

    def __init__(self, others: Launches) -> None:
        super().__init__()
        self._others = others

    def timed_by(self, name: str) -> str:
        return self._others.timed_by(name)


class Drifting(Engine):
    """The engine without its state rule: own block length and own, ever later weights for each side."""

    trajectory: tuple[Any, Any]
    """float64 weights w (T, d), b (T,) of the training: where a side is after so many steps"""

    def _instance(self, crew: Crew, instance: int) -> None:
        self._at = dict.fromkeys(crew.benches, 0)
        self._length: dict[str, int] = {}
        for name in list(crew.benches):
            steps = self._guard(crew, name, partial(self._calibrated, crew.benches[name]))
            if steps is not None:
                self._length[name] = steps
        super()._instance(crew, instance)

    def _calibrated(self, bench: Bench) -> int:
        """Steps that take a block's time, from a burst from the start: what a calibration sees."""
        steps = 1
        while True:
            problem = self.problem
            block, _ = bench.session.block(problem, problem.w0, problem.b0, steps, DRIFTING_LEAD_IN)
            if block.timed.wall_ns >= CALIBRATION_NS:
                return max(1, round(BLOCK_NS / (block.timed.wall_ns / steps)))
            steps *= 2

    def _round(self, crew: Crew, number: int, *, count: bool = True, phased: bool = False) -> None:  # noqa: ARG002 - the engine's own
        if phased:
            return
        for name in crew.shuffled():
            bench, steps = crew.benches[name], self._length[name]
            w, b = self._weights(self._at[name])
            make = partial(bench.session.block, self.problem, w, b, steps, DRIFTING_LEAD_IN)
            made = self._guard(crew, name, make)
            self._at[name] += DRIFTING_LEAD_IN + steps
            if made is not None and count:
                bench.blocks[-1].append(made[0])

    def _weights(self, step: int) -> tuple[Any, Any]:
        w, b = self.trajectory
        at = min(step, len(b) - 1)
        return w[at].astype(self.problem.dtype), b[at].astype(self.problem.dtype)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", default="10000x100", help="NxD or seed (default: 10000x100)")
    options.add_argument("--comparisons", type=int, default=40, help="of each engine (default: 40)")
    options.add_argument("--launches", type=int, default=3, help="launches of a comparison (default: 3)")
    options.add_argument("--backend", default="autograd", help="what is compared with itself (default: autograd)")
    asked = options.parse_args()
    started = time.monotonic()
    problem = problem_of(asked.size)
    (offer,) = select([asked.backend]).values()
    twins = (f"{asked.backend} a0", f"{asked.backend} b0")
    with conditions_of(problem) as conditions:
        reference = reference_trajectory(problem)
        start = choose_checkpoint(reference, recorded_steps(problem.steps), problem)
        every = make_problem(problem.data, steps=problem.steps, learning_rate=problem.learning_rate)
        trajectory = weights_of_every_step(every)
        contestants = [Contestant(name, offer) for name in twins]
        engines = {
            "engine": Engine(contestants, conditions, MODES["default"], start),
            "drifting": Drifting(contestants, conditions, MODES["default"], start),
        }
        assert isinstance(engines["drifting"], Drifting)
        engines["drifting"].trajectory = trajectory
        engines["drifting"].launches = TimedAs(engines["engine"].launches)
        with engines["engine"], engines["drifting"]:
            for engine in engines.values():
                engine.calibrate()
            generator = np.random.default_rng(0)
            for _ in range(asked.comparisons * asked.launches):
                for name in generator.permutation(list(engines)):
                    engines[name].launch()
                    for failure in engines[name].failures.values():
                        raise failure
    errors = {name: engine.launches.log_ratios(*twins) for name, engine in engines.items()}
    section = Section(f"A/A error of {asked.backend} at {asked.size}: the engine, and one that lets the state drift")
    compared = {name: per_window(values, asked.launches) for name, values in errors.items()}
    for name, engine in engines.items():
        disturbed = len(engine.launches) - len(errors[name])
        ways = " and ".join(sorted({engine.launches.timed_by(twin) for twin in twins}))
        section.notes.append(f"{name}: {disturbed} of {len(engine.launches)} launches were disturbed; timed by {ways}")
    if not all(compared.values()):
        sys.exit("too few undisturbed launches for one comparison: nothing can be said")
    for name, values in compared.items():
        title = f"{name}: rms error of {len(values)} comparisons of {asked.launches} launches"
        section.add(title, rms_interval(values), "%", scale=100)
    section.add("engine / drifting", rms_ratio(compared["engine"], compared["drifting"]), most=0.333, by="high")
    return finish(section, started, asked.json)


def weights_of_every_step(problem: Any) -> tuple[Any, Any]:
    """w (T+1, d), b (T+1,) in float64 by the textbook formula; this is a benchmark's aid and judges nobody."""
    X, y = problem.X, problem.y
    w, b = problem.w0.astype(float), float(problem.b0)
    ws, bs = [w.copy()], [b]
    for _ in range(problem.steps):
        residual = (1 / (1 + np.exp(-(X @ w + b))) - y) / len(y)
        w = w - problem.learning_rate * (residual @ X)
        b = b - problem.learning_rate * residual.sum()
        ws.append(w.copy())
        bs.append(b)
    return np.array(ws), np.array(bs)


if __name__ == "__main__":
    sys.exit(main())
