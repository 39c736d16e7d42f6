"""Spread of the reported answer over whole invocations, at equal wall time: compare-ag and three other tools.

    python benchmarks/spread.py --pair autograd/numpy --size seed --invocations 12 --seconds 8 --json quiet.json
    python benchmarks/spread.py --pair autograd/numpy --size seed --load loops --quiet-json quiet.json

In each turn every tool is invoked once, in random order, and gives one ratio of times per step: `compare_ag.run` in a
fresh process (its recorded pair), pytest-benchmark (medians of the fixture `ag_benchmark("step")`, which the bundled
suite uses, with as many rounds as fill the time), torch.utils.benchmark (medians of blocked_autorange), and
`pyperf --fast` (means over its processes), whose time is its own. How long a tool takes beside measuring is learned
from its invocations so far, the first of which counts for nothing else; where compare-ag's fewest launches take longer
than --seconds, the others are given as long. The figure is the standard deviation of the log-ratio over a tool's
invocations.

With --load other programs run all the time; a hog on the timed CPU has the other tools bound to it, too. An invocation
of compare-ag that says it was disturbed, or gives a ratio without an interval, has given no answer.
--quiet-json is what the same comparison kept when quiet: how far off is an answer in units of its own half-width?
``--keep FILE`` keeps every invocation, and goes on from there where the file exists already.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from figures import Section, finish, parser, rate_of, ratio_of
from invocation import LEAST_LAUNCHES, STEPS, Answer, answer_of, invoke
from loads import LOADS, load
from peers import pyperf_fast, run
from scipy.stats import f as f_distribution

from compare_ag.speed.rates import Rate
from compare_ag.speed.statistics import LEVEL
from compare_ag.speed.student import chi_square_quantile
from compare_ag.suite.cpu_pinning import host_on, timed_cpus

OURS, PYTEST, TORCH, PYPERF = "compare-ag", "pytest-benchmark", "torch.utils.benchmark", "pyperf --fast"
TOOLS = (OURS, PYTEST, TORCH, PYPERF)
PAIRS = ("autograd/numpy", "torch/numpy")
LEAST_MEASURED = 0.2
"""seconds of measuring that a tool gets where it needs all of its time for other things"""
SHARE_OF_FIRST = 0.5
"""of the wall time: what the first invocation, which shows what else a tool needs, measures for"""
MEAN_RATIO = "{}: mean ratio"
PYTEST_FILE = """
import time
import pytest
from figures import problem_of

CALLS = 50

@pytest.fixture
def ag_problem():
    return problem_of({size!r})

def test_step(ag_benchmark):
    task = ag_benchmark._task("step")
    start = time.perf_counter()
    for _ in range(CALLS):
        task.target(*task.setup())
    seconds = (time.perf_counter() - start) / CALLS
    ag_benchmark("step", rounds=max(20, round({seconds!r} / seconds)))
"""
TORCH_PROGRAM = """
import json
from torch.utils.benchmark import Timer
from peer_subject import step_of

def median(name):
    timer = Timer("step()", globals={{"step": step_of(name, {size!r})}})
    return timer.blocked_autorange(min_run_time={seconds!r}).median

print(json.dumps([median(name) for name in {names!r}]))
"""


@dataclass
class Kept:
    """What ``--keep`` holds: of which comparison, each tool's invocations, and the wall time beside measuring."""

    comparison: dict[str, object]
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    beside: dict[str, list[float]] = field(default_factory=dict)
    """seconds that an invocation took beyond what it was to measure for; the trial invocation's first"""

    def document(self) -> dict[str, object]:
        """For JSON."""
        answers = {tool: [asdict(one) for one in ours] for tool, ours in self.answers.items()}
        return {"comparison": self.comparison, "answers": answers, "beside": self.beside}

    @classmethod
    def read(cls, path: Path | None, comparison: dict[str, object]) -> Kept:
        """The file's, or nothing yet. Ends the program where the file is of another comparison."""
        if path is None or not path.exists():
            return cls(comparison)
        found = json.loads(path.read_text())
        if found["comparison"] != comparison:
            sys.exit(f"{path} holds another comparison: {found['comparison']}")
        answers = {tool: [Answer(**one) for one in ours] for tool, ours in found["answers"].items()}
        return cls(comparison, answers, found["beside"])

    def measured_for(self, tool: str, seconds: float) -> float:
        """For how long a tool is to measure so that its process takes about ``seconds``."""
        if tool not in self.beside:
            return SHARE_OF_FIRST * seconds
        return max(LEAST_MEASURED, seconds - statistics.median(self.beside[tool]))


class Tools:
    """The tools by name: seconds to measure for -> answer."""

    def __init__(self, names: Sequence[str], size: str, folder: Path, steps: int) -> None:
        self.names, self.size, self.folder, self.steps = list(names), size, folder, steps
        self._runs = 0

    def by_name(self) -> dict[str, Callable[[float], Answer]]:
        """All of them."""
        return {OURS: self.ours, PYTEST: self.pytest, TORCH: self.torch, PYPERF: self.pyperf}

    def ours(self, seconds: float) -> Answer:
        """One run's pair."""
        self._runs += 1
        folder = self.folder / f"run{self._runs}"
        finished, wall = invoke(self.names, self.size, folder, seconds, steps=self.steps)
        return answer_of(finished, wall, *self.names)

    def pytest(self, seconds: float) -> Answer:
        """Ratio of the medians of both backends, one after the other in one process."""
        source = PYTEST_FILE.format(size=self.size, seconds=seconds / 2)
        (self.folder / "test_spread.py").write_text(source)
        kept = self.folder / "pytest.json"
        began = time.monotonic()
        run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
             "--rootdir", str(self.folder), "test_spread.py", "--ag-backends", ",".join(self.names),
             f"--benchmark-json={kept}"],
            self.folder,
        )  # fmt: skip  # a command line
        found = json.loads(kept.read_text())["benchmarks"]
        medians = {one["extra_info"]["compare_ag"]["backend"]: one["stats"]["median"] for one in found}
        return self._answer([medians[name] for name in self.names], began)

    def torch(self, seconds: float) -> Answer:
        """Ratio of the medians of both backends, one after the other in one process."""
        program = TORCH_PROGRAM.format(size=self.size, seconds=seconds / 2, names=self.names)
        began = time.monotonic()
        return self._answer(json.loads(run([sys.executable, "-c", program], self.folder)), began)

    def pyperf(self, seconds: float) -> Answer:  # noqa: ARG002 - it takes its own time
        """Ratio of the means over the processes of each."""
        began = time.monotonic()
        return self._answer(pyperf_fast(self.names, self.size, self.folder), began)

    @staticmethod
    def _answer(times: Sequence[float], began: float) -> Answer:
        return Answer(times[0] / times[1], time.monotonic() - began)


# --- figures ------------------------------------------------------------------------------------------------


def logs_of(answers: Sequence[Answer]) -> list[float]:
    """Log-ratios of the invocations that gave an answer."""
    return [math.log(one.ratio) for one in answers if one.ratio is not None and not one.disturbed]


def spread_of(logs: Sequence[float]) -> tuple[float, float, float]:
    """Standard deviation of at least two values, with its χ² interval: n - 1 degrees of freedom."""
    n = len(logs)
    spread = float(np.std(logs, ddof=1))
    low, high = (
        spread * math.sqrt((n - 1) / chi_square_quantile(p, n - 1)) for p in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    )
    return spread, low, high


def spread_ratio(logs: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of two standard deviations with its F interval."""
    ratio = float(np.std(logs, ddof=1) / np.std(others, ddof=1))
    n, m = len(logs) - 1, len(others) - 1
    tail = (1 - LEVEL) / 2
    return (
        ratio,
        ratio / math.sqrt(f_distribution.ppf(1 - tail, n, m)),
        ratio / math.sqrt(f_distribution.ppf(tail, n, m)),
    )


def farthest(answers: Sequence[Answer], quiet: float) -> float | None:
    """The largest |log(answer / quiet)| in units of the answer's own half-width; None where there is none to judge."""
    judged = [one for one in answers if one.ratio is not None and one.half and not one.disturbed]
    return max((abs(math.log(one.ratio / quiet)) / one.half for one in judged if one.ratio and one.half), default=None)


def quiet_mean(path: Path) -> float:
    """Our mean ratio in a section that was kept when quiet."""
    figures = {one["name"]: one["value"] for one in json.loads(path.read_text())["figures"]}
    value: float = figures[MEAN_RATIO.format(OURS)]
    return value


def conclude(section: Section, kept: Kept, quiet: float | None, *, loaded: bool) -> None:
    """The section's figures from all invocations."""
    logs = {tool: logs_of(kept.answers.get(tool, [])) for tool in TOOLS}
    spread = {tool: spread_of(values) for tool, values in logs.items() if len(values) > 1}
    for tool, found in spread.items():
        wall = np.mean([one.wall for one in kept.answers[tool]])
        title = f"{tool}: SD of the ratio over {len(logs[tool])} invocations of {wall:.1f} s"
        section.add(title, found, "%", scale=100)
    peers = [tool for tool in spread if tool != OURS]
    best = min(peers, key=lambda tool: spread[tool][0], default=None)
    for tool in peers if OURS in spread else []:
        title = f"{OURS} / {tool}{' (the best of them)' if tool == best else ''}: ratio of both SDs"
        section.add(title, spread_ratio(logs[OURS], logs[tool]), most=0.5 if tool == best else None)
    for tool in spread:
        section.add(MEAN_RATIO.format(tool), ratio_of(logs[tool]))
    ours = kept.answers.get(OURS, [])
    if ours:
        disturbed = Rate.of(one.disturbed for one in ours)
        section.add(
            f"{OURS}: {disturbed.hits} of {disturbed.tries} invocations say disturbed, or give no interval",
            rate_of(disturbed), "%", scale=100, most=None if loaded else 0,
        )  # fmt: skip  # one figure
        whole = [math.log(one.ratio) for one in ours if one.ratio is not None]
        if disturbed.hits and len(whole) > 1:
            section.add(f"{OURS}: SD with what the disturbed ones measured", spread_of(whole), "%", scale=100)
        launches = statistics.median(one.launches for one in ours)
        halves = [one.half for one in ours if one.half is not None]
        half = f", half-width {100 * statistics.median(halves):.2f} %" if halves else ""
        section.notes.append(f"{OURS}: median of {launches:g} launches per invocation{half}")
    if quiet is not None and (off := farthest(ours, quiet)) is not None:
        section.add(f"{OURS}: farthest answer from the quiet {quiet:.4g}, in its own half-widths", [off], most=3)
    if PYPERF in spread:
        section.notes.append(f"{PYPERF} takes the time that it takes; the others were given the same wall time each.")


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--pair", choices=PAIRS, default=PAIRS[0], help=f"backend/baseline (default: {PAIRS[0]})")
    options.add_argument("--size", default="seed", help="seed or NxD (default: seed)")
    options.add_argument("--invocations", type=int, default=12, help="of each tool (default: 12)")
    options.add_argument("--seconds", type=float, default=8.0, help="wall time of an invocation (default: 8)")
    options.add_argument("--load", choices=LOADS, default="none", help="what else runs (default: none)")
    options.add_argument("--steps", type=int, default=STEPS, help=f"of compare-ag's training (default: {STEPS})")
    options.add_argument("--tools", default=",".join(TOOLS), help=f"some of {', '.join(TOOLS)} (default: all)")
    options.add_argument("--quiet-json", type=Path, metavar="FILE", help="what --json kept of the same without load")
    options.add_argument("--minutes", type=float, default=60.0, help="begin no turn after so long (default: 60)")
    options.add_argument("--keep", type=Path, help="keep every invocation here, and go on from those that it holds")
    asked = options.parse_args()
    started = time.monotonic()
    quiet = quiet_mean(asked.quiet_json) if asked.quiet_json else None
    kept = Kept.read(asked.keep, {name: getattr(asked, name) for name in ("pair", "size", "seconds", "load", "steps")})
    with tempfile.TemporaryDirectory(prefix="compare-ag-spread-") as name, load(asked.load):
        measure(asked, kept, Tools(asked.pair.split("/"), asked.size, Path(name), asked.steps), started)
    beside = {"none": "", "loops": ", a busy loop on each CPU", "bursts": ", a bursty hog of 60 % on the timed CPU"}
    section = Section(
        f"Spread over invocations: {asked.pair} at {asked.size}{beside.get(asked.load, ', a hog of 60 % on any CPU')}"
    )
    conclude(section, kept, quiet, loaded=asked.load != "none")
    section.notes.append(
        f"{OURS}: `compare_ag.run` of {asked.steps} training steps, at least {LEAST_LAUNCHES} launches, stopping on "
        "its budget alone; the wall time of every tool is that of its whole process, imports included."
    )
    return finish(section, started, asked.json)


def measure(asked: argparse.Namespace, kept: Kept, tools: Tools, started: float) -> None:
    """Invoke every tool in turn until there are as many invocations of each as asked for, or the time is up."""
    chosen = {tool: act for tool, act in tools.by_name().items() if tool in asked.tools.split(",")}
    timed = [tool for tool in chosen if tool != PYPERF]

    walls = [one.wall for one in kept.answers.get(OURS, [])]

    def invocation(tool: str) -> Answer:
        wall = asked.seconds
        if tool != OURS and walls:  # a few launches may take longer than asked for: so long for the others, then
            wall = max(wall, statistics.median(walls))
        seconds = kept.measured_for(tool, wall)
        # a tool that may go where no hog is has not been measured beside it: compare-ag stays on the CPU that it times
        with host_on(timed_cpus(1) if asked.load == "bursts" and tool != OURS else []):
            answer = chosen[tool](seconds)
        kept.beside.setdefault(tool, []).append(answer.wall - seconds)
        if tool == OURS:
            walls.append(answer.wall)
        return answer

    for tool in timed:
        if tool not in kept.beside:
            invocation(tool)
    while min((len(kept.answers.get(tool, [])) for tool in chosen), default=asked.invocations) < asked.invocations:
        if time.monotonic() - started > 60 * asked.minutes:
            break
        for tool in random.sample(list(chosen), len(chosen)):
            kept.answers.setdefault(tool, []).append(invocation(tool))
        if asked.keep:
            asked.keep.write_text(json.dumps(kept.document(), indent=1))


if __name__ == "__main__":
    sys.exit(main())
