"""What running a backend in a worker costs beyond a bare process that imports its framework.

    python benchmarks/isolation_cost.py --backends numpy,autograd,torch --launches 15

Launches of two kinds alternate. Bare: ``python -P -c "import MODULE"`` of the backend's module, from its start to its
end. Isolated: a worker that is started, greets, loads the same backend and is ended in an orderly way. Printed is the
difference of the medians, in ms, with the quartiles of the differences within pairs; and the least CPU time of each
kind, the host's included, which other programs on the machine change far less. The aim is at most 30 ms.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from figures import parser

from compare_ag.host.crew import open_session
from compare_ag.host.discovery import Offer
from compare_ag.host.launch import Launch, worker_environment
from compare_ag.suite import select

AIM_MS = 30.0


def bare_ms(offer: Offer, launch: Launch) -> float:
    """Of a process that imports the backend's module and nothing else of ours."""
    environment = worker_environment(launch, launch.log_folder, "")
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-c", f"import {offer.module}"], env=environment, cwd=launch.log_folder, check=True
    )
    return 1000 * (time.perf_counter() - started)


def isolated_ms(offer: Offer, launch: Launch) -> float:
    """Of a worker that loads the backend and ends."""
    started = time.perf_counter()
    with open_session(launch, offer) as session:
        session.load()
        session.finish()
    return 1000 * (time.perf_counter() - started)


def cpu_ms() -> float:
    """CPU time of this process and of all that it has waited for."""
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return 1000 * sum(one.ru_utime + one.ru_stime for one in spent)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--backends", default="numpy,autograd,torch", help="default: numpy,autograd,torch")
    options.add_argument("--launches", type=int, default=15, help="of each kind (default: 15)")
    asked = options.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, offer in select(asked.backends.split(",")).items():
            launch = Launch(name, Path(folder), 1, 0, 120.0)
            ways = {"bare": bare_ms, "isolated": isolated_ms}
            taken: dict[str, list[float]] = {way: [] for way in ways}
            spent: dict[str, list[float]] = {way: [] for way in ways}
            for i in range(asked.launches + 1):
                for way in random.sample(list(ways), 2):
                    before = cpu_ms()
                    milliseconds = ways[way](offer, launch)
                    if i:  # the first pair fills the caches
                        taken[way].append(milliseconds)
                        spent[way].append(cpu_ms() - before)
            within = [one - other for one, other in zip(taken["isolated"], taken["bare"], strict=True)]
            low, _, high = quantiles(within, n=4)
            extra = median(taken["isolated"]) - median(taken["bare"])
            missed |= extra > AIM_MS
            print(
                f"{name:12} bare {median(taken['bare']):7.1f} ms   isolated {median(taken['isolated']):7.1f} ms   "
                f"extra {extra:5.1f} ms (quartiles within pairs {low:.1f} to {high:.1f})   "
                f"least CPU {min(spent['bare']):.0f} and {min(spent['isolated']):.0f}: "
                f"{min(spent['isolated']) - min(spent['bare']):.1f} ms",
                flush=True,
            )
    print(f"aim: at most {AIM_MS:g} ms: {'missed' if missed else 'met'}; {os.cpu_count()} CPUs")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
