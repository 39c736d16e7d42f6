"""Is peak memory right when the worker is started by a large process?

    python benchmarks/memory.py --megabytes 800

The memory of each backend is measured from this process twice in every round, once while it is small and once while it
holds so many megabytes, in random order. Printed are the ratios of the two peaks, and beside them what `ru_maxrss` of
the same child says, which is inherited.
"""

from __future__ import annotations

import math
import random
import resource
import subprocess
import sys
import time

import numpy as np
from figures import Section, conditions_of, finish, parser, problem_of, ratio_of

from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.memory import measure_memory

CHILD = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--megabytes", type=int, default=800, help="held by the parent (default: 800)")
    options.add_argument("--rounds", type=int, default=10, help="of both (default: 10)")
    options.add_argument("--size", default="10000x100", help="seed or NxD (default: 10000x100)")
    asked = options.parse_args()
    started = time.monotonic()
    problem = problem_of(asked.size)
    offers = select(["numpy", "autograd", "torch"])
    peaks: dict[tuple[str, bool], list[float]] = {(name, large): [] for name in offers for large in (False, True)}
    inherited: dict[bool, int] = {}
    with conditions_of(problem) as conditions:
        start = compute_checkpoint(problem)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for round_ in range(asked.rounds):
            order = [False, True] if round_ == 0 else random.sample([False, True], 2)
            for large in order:
                ballast = np.ones(asked.megabytes * 125_000 if large else 1)
                found = measure_memory(offers, conditions, start)
                for failure in found.failures.values():
                    raise failure
                for name, memory in found.measured.items():
                    peaks[name, large].append(memory.peak_bytes)
                child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
                inherited.setdefault(large, int(child.stdout))
                assert ballast[-1] == 1.0  # held until here
                del ballast
    section = Section(f"Peak memory of workers started by a parent of {asked.megabytes} MB, {asked.size}")
    for name in offers:
        logs = [math.log(big / small) for small, big in zip(peaks[name, False], peaks[name, True], strict=True)]
        ratio = ratio_of(logs)
        section.add(f"{name}: peak beside the large parent / beside the small one", ratio, most=1.05, by="high")
        section.add(f"{name}: peak", ratio_of([math.log(peak) for peak in peaks[name, False]]), "MB", scale=1e-6)
    section.notes.append(
        f"ru_maxrss of an empty Python child: {inherited[False] / 1000:.0f} MB from the small parent "
        f"({before / 1000:.0f} MB), {inherited[True] / 1000:.0f} MB from the large one"
    )
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
