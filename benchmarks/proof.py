"""What does the host's verification cost, and how much does it prove?

    python benchmarks/proof.py
    python benchmarks/proof.py --size 1000x20 --dtype float64 --rounds 5

For every size and dtype, in processes of their own:

    command        `compare-ag run --backends numpy --no-timing`, as a user types it: the samples judged that its record
                   counts, and the peak resident memory of the host process, without the worker's
    verification   what the host does in such a run beyond making the data and waiting for the worker, step after step:
                   reference and tolerances, choice of the points, verdict, graphs; its seconds, and its own peak of
                   memory beside that of making the data. Afterwards the points that prove something: every gradient of
                   the evidence is replaced by a wrong one, and the distinct (weights, batch) at which that is found are
                   counted, whatever the judge does inside
    bare           the training alone, by a loop of numpy

Kinds of points: recorded steps of the training; zero, start, near the middle, near the end, random, saturated and large
weights with both signs, all on all data; and the ladders of logits with both signs, which are on few examples. Points
on all data are counted apart. Saturated and large weights are not expected of the probability form: there it has no
digits.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bare_loops import LOOPS
from figures import TIMEOUT, Section, finish, machine, parser, ratio_of
from threadpoolctl import threadpool_limits

from compare_ag.problem import Problem, problem_by_name, recorded_steps
from compare_ag.records import BackendRecord, load_run
from compare_ag.suite import Observer, select
from compare_ag.suite.judge import Judge
from compare_ag.suite.recorded_graphs import RUN_PATIENCE, GraphAnswer, choose_place, judge_graphs
from compare_ag.suite.training import Conditions, Training, TrainingPass
from compare_ag.suite.training_evidence import make_evidence
from compare_ag.verify import Oracle, Probes, Sample, judge_samples
from compare_ag.verify.certificate import trajectory_samples
from compare_ag.worker.observe import memory

BACKEND = "numpy"
STEPS = {"1000x20": 1000, "10000x100": 1000, "20000x200": 200, "1000000x20": 20, "seed": 10_000}
"""size → steps of its training"""
DTYPES = ("float32", "float64")
LEAST_POINTS = 20
SECONDS = 1.0
SECONDS_PER_BARE = 5.0
MEGABYTES = 200.0
BYTES_PER_BYTE = 3.0
"""aims: at most 1 s + 5 times the bare training, 200 MB + 3 times the data's bytes"""
WRONG = 1e9
"""as every component of a gradient: far beyond any tolerance, and finite in both dtypes"""
BARE_LOOPS = 3
ON_ALL_DATA = ("training", "zero", "start", "middle", "end", "random")
BEYOND = ("saturated", "large weights")
LADDERS = ("ladder, w = 0", "ladder, one example")
SIGNS = ("+", "-")
HALF = "every second example"
COMMAND = """
import json, resource, sys
from pathlib import Path
from compare_ag.cli import main
from compare_ag.worker.observe import memory
try:
    main(sys.argv[2:])
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seen = {"peak_bytes": memory().peak, "cpu_seconds": used.ru_utime + used.ru_stime}
    Path(sys.argv[1]).write_text(json.dumps(seen))
"""
"""the command line in a process that says at its end what it alone has taken"""


class Case(NamedTuple):
    """One training."""

    size: str
    dtype: str
    steps: int

    @property
    def name(self) -> str:
        """The problem as `compare-ag run --problem` reads it."""
        n, _, d = self.size.partition("x")
        return f"synthetic:n={n},d={d}" if d else self.size

    @property
    def label(self) -> str:
        """For the table."""
        return f"{self.size} {self.dtype}"

    def problem(self) -> Problem:
        """Make it, with its data."""
        return problem_by_name(self.name, dtype=self.dtype, steps=self.steps, threads=1)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--size", action="append", help=f"repeat it for several (default: {', '.join(STEPS)})")
    options.add_argument("--dtype", action="append", choices=DTYPES, help="repeat it for both (default: both)")
    options.add_argument("--steps", type=int, help="of every training (default: each size has its own)")
    options.add_argument("--rounds", type=int, default=1, help="of everything; 2 or more give intervals (default: 1)")
    options.add_argument("--child", choices=[*CHILDREN], help=argparse.SUPPRESS)
    asked = options.parse_args()
    cases = [
        Case(size, dtype, asked.steps or STEPS.get(size, 1000))
        for size in asked.size or STEPS
        for dtype in asked.dtype or DTYPES
    ]
    if asked.child:
        print(json.dumps(CHILDREN[asked.child](cases[0])))
        return 0
    started = time.monotonic()
    section = Section("Verification in the host: what it proves, and what it takes")
    agreed: list[bool] = []
    with machine():
        for case in cases:
            rounds = [_round(case) for _ in range(asked.rounds)]
            agreed += [one["status"] == "ok" for one in rounds]
            _report(section, case, rounds)
    section.add("trainings that agree", [float(sum(agreed))], least=len(agreed))
    return finish(section, started, asked.json)


# --- one case, each part in a process of its own ------------------------------------------------------------


def _round(case: Case) -> dict[str, Any]:
    """All facts of one case, once."""
    print(f"{case.label}, {case.steps} steps", file=sys.stderr, flush=True)
    return _command(case) | {name: _child(name, case) for name in CHILDREN}


def _command(case: Case) -> dict[str, Any]:
    """`compare-ag run` as a user types it."""
    with tempfile.TemporaryDirectory(prefix="compare-ag-proof-") as name:
        folder = Path(name)
        typed = ["run", "--backends", BACKEND, "--no-timing", "--quiet", "--problem", case.name, "--dtype", case.dtype]
        typed += ["--steps", str(case.steps), "-o", str(folder / "run")]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, str(folder / "seen.json"), *typed],
            capture_output=True, text=True, check=False,
        )  # fmt: skip  # the options on a line of their own
        wall = time.monotonic() - began
        if not (folder / "run" / "manifest.json").exists():
            sys.exit(f"compare-ag ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        record = load_run(folder / "run")[BACKEND]
        seen: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return seen | {"wall_seconds": wall, "status": record.status, "reason": record.reason, "judged": _judged(record)}


def _judged(record: BackendRecord) -> dict[str, list[int]]:
    """Test → samples judged, samples that could not be decided."""
    tests = [] if record.verdict is None else record.verdict.tests
    return {test.test: [test.judged, test.undecided] for test in tests}


def _child(part: str, case: Case) -> dict[str, Any]:
    """One of `CHILDREN` in a fresh process."""
    options = ["--child", part, "--size", case.size, "--dtype", case.dtype, "--steps", str(case.steps)]
    done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case.label}, {part}: ended with {done.returncode}\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _bare(case: Case) -> dict[str, Any]:
    """The training by hand, with one thread as the worker's."""
    problem = case.problem()
    loop, seconds = LOOPS["numpy"](problem.loss), []
    with threadpool_limits(1), np.errstate(all="ignore"):
        for _ in range(BARE_LOOPS):
            w, b = problem.w0.copy(), problem.b0.copy()
            began = time.perf_counter()
            loop(problem.X, problem.y, w, b, problem.learning_rate, problem.steps)
            seconds.append(time.perf_counter() - began)
    return {"seconds": float(np.median(seconds)), "data_bytes": problem.X.nbytes + problem.y.nbytes}


def _verification(case: Case) -> dict[str, Any]:
    """What the host does in a run, and what a wrong gradient would be found at."""
    watch = Stopwatch()
    with watch.part("making the data"):
        problem = case.problem()
    making = memory(clear=True)
    training = verify(problem, watch)
    verifying = memory()
    found = points(problem, training)
    return {
        "making_peak_bytes": making.peak,
        "verifying_peak_bytes": verifying.peak if making.cleared else None,
        "wall": watch.wall,
        "cpu": watch.cpu,
        "expected": _expected(problem),
        "kinds": Counter(kind for kinds in found.values() for kind in kinds),
        "points": len(found),
        "points_on_all_data": sum(rows is None for _, rows in found),
    }


class Stopwatch:
    """Wall and CPU seconds of this process, worker apart, by part."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside counts for this part."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self.wall[name] = time.monotonic() - wall
        self.cpu[name] = time.process_time() - cpu


def verify(problem: Problem, watch: Stopwatch) -> Training:
    """The host's steps of `compare-ag run` in their order, none beside another; return what the backend said.

    The one place that calls what `suite.run_passes` calls.
    """
    record = recorded_steps(problem.steps)
    judge = Judge(problem, record)
    with watch.part("reference and tolerances"):
        judge.prepare()
    if judge.error is not None:
        raise judge.error

    def probes(seed: int) -> Probes | None:
        with watch.part("choosing points"):
            return judge.probes(seed)

    with tempfile.TemporaryDirectory(prefix="compare-ag-proof-") as logs:
        conditions = Conditions(problem, record, Path(logs), TIMEOUT, 0, threading.Event(), probes, graphs=True)
        trainings = TrainingPass(select([BACKEND]), conditions, Observer(), lambda: None)
        trainings.run()
        training = trainings.finished[BACKEND]
        if training.failure is not None:
            raise training.failure
        with watch.part("verdict"):
            judge.record(BACKEND, training, Path(logs))
    with watch.part("graphs"):
        judge_graphs(problem, choose_place(problem, 0), {BACKEND: GraphAnswer(training.graph)}, RUN_PATIENCE)
    return training


def points(problem: Problem, training: Training) -> dict[tuple[bytes, bytes | None], set[str]]:
    """Distinct (weights, rows of the batch), as bytes, at which a wrong gradient is found → what kinds they are of.

    A point may be of two kinds, as the start and step 0. Rows None: all data.
    """
    said = make_evidence(problem, training)
    samples = [*trajectory_samples(problem, said.trajectory, said.gradients), *said.probes]
    wrong = [
        sample if sample.gradient is None else replace(sample, gradient=np.full_like(sample.gradient, WRONG))
        for sample in samples
    ]
    results = judge_samples(problem, Oracle(problem), wrong)
    by_place = {sample.where: sample for sample in wrong}
    found: dict[tuple[bytes, bytes | None], set[str]] = {}
    for finding in results["gradient"].findings if "gradient" in results else ():
        sample = by_place[finding.where]
        rows = None if sample.rows is None else np.asarray(sample.rows, dtype=np.int64).tobytes()
        found.setdefault((sample.weights.tobytes(), rows), set()).add(_kind(sample))
    return found


_POINT = re.compile(r"the point '(?P<name>[^']*)'")


def _kind(sample: Sample) -> str:
    """The kind of a point, by its name and batch."""
    match = _POINT.match(sample.where)
    if match is None:
        return "training"
    name, _, tail = match["name"].partition(",")
    if "=" in name:
        ladder = LADDERS[1] if name.startswith("z") else LADDERS[0]
        logit = float(match["name"].rpartition("=")[2])
        return f"{ladder} {SIGNS[logit < 0]}"
    if sample.rows is not None:
        return HALF
    if name in BEYOND:
        return f"{name} {SIGNS['other signs' in tail]}"
    return name.rstrip(" 0123456789")


def _expected(problem: Problem) -> list[str]:
    """The kinds that a verdict on this problem should rest on."""
    beyond = [] if problem.loss == "probability" else BEYOND
    return [*ON_ALL_DATA, *(f"{kind} {sign}" for kind in (*beyond, *LADDERS) for sign in SIGNS)]


CHILDREN: dict[str, Callable[[Case], dict[str, Any]]] = {"verification": _verification, "bare": _bare}


# --- figures ------------------------------------------------------------------------------------------------


def _report(section: Section, case: Case, rounds: Sequence[dict[str, Any]]) -> None:
    """The figures of one case: of several rounds the fewest points, the mean times and the largest peak."""
    seen = [one["verification"] for one in rounds]
    bare = _mean([one["bare"]["seconds"] for one in rounds])
    expected = seen[0]["expected"]
    covered = min(seen, key=lambda one: sum(kind in one["kinds"] for kind in expected))
    missing = [kind for kind in expected if kind not in covered["kinds"]]
    seconds = [sum(one["wall"].values()) - one["wall"]["making the data"] for one in seen]
    megabytes = rounds[0]["bare"]["data_bytes"] / 1e6
    judged, undecided = rounds[-1]["judged"].get("gradient", [0, 0])
    label = case.label
    section.add(f"{label}: gradients judged", [float(judged)], "samples")
    section.add(f"{label}: distinct points", [float(min(one["points"] for one in seen))])
    fewest = min(one["points_on_all_data"] for one in seen)
    section.add(f"{label}: of these on all data", [float(fewest)], least=LEAST_POINTS)
    section.add(f"{label}: kinds of points, signs apart", [float(len(expected) - len(missing))], least=len(expected))
    section.add(f"{label}: bare training", bare, "s")
    section.add(f"{label}: verification", _mean(seconds), "s", most=_rounded(SECONDS + SECONDS_PER_BARE * bare[0]))
    peak = max(one["peak_bytes"] for one in rounds) / 1e6
    most = _rounded(MEGABYTES + BYTES_PER_BYTE * megabytes)
    section.add(f"{label}: peak memory of the host", [peak], "MB", most=most)
    last = rounds[-1]
    parts = ", ".join(
        f"{name} {wall:.2f} s ({seen[-1]['cpu'][name]:.2f} s CPU)" for name, wall in seen[-1]["wall"].items()
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(covered["kinds"].items())) or "none"
    absent = f"; without {', '.join(missing)}" if missing else ""
    said = "" if last["status"] == "ok" else f" {last['status']}: {last['reason']}."
    section.notes.append(
        f"{label}, {case.steps} steps:{said} {judged} gradients judged, {undecided} not decided; distinct points: "
        f"{kinds}{absent}. {parts}. The whole command {last['wall_seconds']:.2f} s, the host's CPU "
        f"{last['cpu_seconds']:.2f} s. X and y {megabytes:.4g} MB; peak {_megabytes(seen, 'making_peak_bytes')} while "
        f"the data are made, {_megabytes(seen, 'verifying_peak_bytes')} afterwards."
    )


def _megabytes(seen: Sequence[dict[str, Any]], name: str) -> str:
    """The largest of the rounds."""
    found = [one[name] for one in seen if one[name] is not None]
    return f"{max(found) / 1e6:.4g} MB" if found else "unknown"


def _mean(values: Sequence[float]) -> tuple[float, ...]:
    """The mean with its interval; of one value that value."""
    return ratio_of([math.log(value) for value in values]) if len(values) > 1 else (values[0],)


def _rounded(value: float) -> float:
    """To four digits, for an aim."""
    return float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main())
