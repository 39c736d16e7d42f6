"""Time the commands that must stay fast, side by side with an empty Python process.

    python benchmarks/startup.py --rounds 40

Printed is each command's time divided by that of ``python -c pass`` in the same round, the mean over rounds of the
log-ratio with its t interval. Bytecode goes to a folder of its own, filled by the first round, which is not counted: an
installed package is compiled once, however the environment that times it is set up.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Section, finish, machine, parser, ratio_of

COMMAND = str(Path(sys.executable).parent / "compare-ag")
COMPLETING = {"_COMPARE_AG_COMPLETE": "bash_complete", "COMP_WORDS": "compare-ag run --backends t", "COMP_CWORD": "3"}
EMPTY = "python -c pass"
CASES: dict[str, tuple[list[str], dict[str, str], float]] = {
    EMPTY: ([sys.executable, "-c", "pass"], {}, 1.0),
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


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=40, help="timed rounds (default: 40)")
    asked = options.parse_args()
    started = time.monotonic()
    times: dict[str, list[float]] = {name: [] for name in CASES}
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with machine(), tempfile.TemporaryDirectory() as bytecode:
        for _ in range(asked.rounds + 1):
            for name in random.sample(list(CASES), len(CASES)):
                command, environment, _aim = CASES[name]
                times[name].append(seconds(command, environment | {"PYTHONPYCACHEPREFIX": bytecode}))
    section = Section("Start-up: commands / an empty Python process")
    for name, (_command, _environment, aim) in CASES.items():
        if name == EMPTY:
            continue
        logs = [math.log(mine / empty) for mine, empty in zip(times[name][1:], times[EMPTY][1:], strict=True)]
        section.add(f"{name} / {EMPTY}", ratio_of(logs), most=aim)
    said = ", ".join(f"{name} {statistics.median(values[1:]) * 1e3:.0f} ms" for name, values in times.items())
    section.notes.append(f"medians: {said}")
    return finish(section, started, asked.json)


if __name__ == "__main__":
    sys.exit(main())
