"""What does judging the timed blocks cost? Its share of the timing part's wall time.

    python benchmarks/judging.py --rounds 5

The timing part of a `--quick` run of three backends at three sizes, again and again, from the middle of a training of
500 steps: its length has no part in what is timed or judged. The correctness part, which comes before it in a run, is
left out: nothing of it is in this share.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from figures import Section, conditions_of, finish, parser, problem_of

from compare_ag.speed.schedule import MODES
from compare_ag.speed.statistics import interval
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.observer import Observer
from compare_ag.suite.timing import TimingPass

if TYPE_CHECKING:
    from compare_ag.records import SpeedRecord
    from compare_ag.suite.timing import TimingResult

BACKENDS = ["numpy", "autograd", "torch"]
SIZES = ["seed", "10000x100", "100x100000"]
STEPS = 500
MOST = 5.0
"""per cent"""


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", action="append", help="seed or NxD; repeat it for several (default: three sizes)")
    options.add_argument("--rounds", type=int, default=5, help="timing parts per size (default: 5)")
    options.add_argument("--mode", choices=[*MODES], default="quick", help="of the timing (default: quick)")
    asked = options.parse_args()
    started = time.monotonic()
    offers = select(BACKENDS)
    section = Section(
        f"Judging what timed blocks computed: share of the timing part, {asked.mode}, {', '.join(BACKENDS)}"
    )
    for size in asked.size or SIZES:
        problem = problem_of(size)
        problem = type(problem)(**{**vars(problem), "steps": STEPS})
        shares: list[float] = []
        with conditions_of(problem) as conditions:
            start = compute_checkpoint(problem)
            for _ in range(asked.rounds):
                result = TimingPass(offers, conditions, MODES[asked.mode], start, Observer()).run()
                speed = speed_of(result)
                shares.append(speed.judging_seconds / speed.seconds)
        found = interval(shares)
        ends = (found.mean, found.low, found.high) if len(shares) > 1 else (found.mean,)
        section.add(f"{size}: judging / timing part", ends, "%", scale=100, most=MOST)
        each = ", ".join(
            f"{name} {cost.blocks_judged} judged ({cost.blocks_exact} exactly), {cost.blocks_not_judged} not"
            for name, cost in result.costs.items()
        )
        section.notes.append(
            f"{size}: the last of {asked.rounds}: {speed.launches} launches in {speed.seconds:.1f} s, judging "
            f"{speed.judging_seconds:.2f} s, largest share {100 * float(np.max(shares)):.2f} %; blocks: {each}"
        )
    return finish(section, started, asked.json)


def speed_of(result: TimingResult) -> SpeedRecord:
    """How the timing went; what ended it early, or a backend that failed, ends the program."""
    if result.interrupted is not None:
        raise result.interrupted
    for failure in result.failures.values():
        raise failure
    assert result.speed is not None
    return result.speed


if __name__ == "__main__":
    sys.exit(main())
