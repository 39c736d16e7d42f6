"""Time the commands that must stay fast, side by side with an empty Python process.

    python scripts/startup.py [--rounds 25]

Prints the median of each command's time divided by that of ``python -c pass`` in the same round, with the aim.
Exits 1 where an aim is missed. Bytecode goes to a folder of its own, filled by the first round, which is not counted:
an installed package is compiled once, however the environment that times it is set up.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

COMMAND = str(Path(sys.executable).parent / "compare-ag")
COMPLETING = {"_COMPARE_AG_COMPLETE": "bash_complete", "COMP_WORDS": "compare-ag run --backends t", "COMP_CWORD": "3"}
CASES: dict[str, tuple[list[str], dict[str, str], float]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], {}, 1.0),
    "--version": ([COMMAND, "--version"], {}, 5.0),
    "completion": ([COMMAND], COMPLETING, 8.0),
    "--help": ([COMMAND, "--help"], {}, 12.0),
    "list": ([COMMAND, "list"], {}, 12.0),
}
"""name → command, added environment, aim in multiples of the empty process"""


def seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds, 20 or more (default: 25)")
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in CASES}
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as bytecode:
        for _ in range(rounds + 1):
            for name in random.sample(list(CASES), len(CASES)):
                command, environment, _aim = CASES[name]
                times[name].append(seconds(command, environment | {"PYTHONPYCACHEPREFIX": bytecode}))
    table = Table("command", "median", "ratio", "aim", "met")
    missed = False
    for name, (_command, _environment, aim) in CASES.items():
        ratios = [mine / empty for mine, empty in zip(times[name][1:], times["python -c pass"][1:], strict=True)]
        ratio = statistics.median(ratios)
        missed |= ratio > aim
        median = statistics.median(times[name][1:])
        table.add_row(name, f"{median * 1e3:.1f} ms", f"{ratio:.2f}", f"{aim:g}", "yes" if ratio <= aim else "no")
    Console().print(table)
    sys.exit(missed)


if __name__ == "__main__":
    main()
