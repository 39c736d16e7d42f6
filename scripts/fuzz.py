"""A coverage-guided fuzzer on our own readers: frames and messages, run directories, benchmark JSON, CSV, LIBSVM, npz.

    python scripts/fuzz.py --seconds 600 --only frames,csv

Inputs are bytes. Each is a mutation of one that has reached something new: a pair of lines, one after the other, in the
modules of this package that no input before has executed in this order. A reader may refuse an input with its own
error; any other exception is printed with the input, and the exit code is 1. Printed are executions, the lines and
pairs of lines that were reached, and what was uncaught, for each target. The seconds are of CPU time.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np

import compare_ag
from compare_ag import records
from compare_ag.host.replies import Conversation, ImpossibleReplyError
from compare_ag.problem import ProblemError
from compare_ag.problem.files import load_file
from compare_ag.pytest_benchmark.imported import import_benchmark
from compare_ag.records import RecordError
from compare_ag.worker import frames, messages

PACKAGE = str(Path(compare_ag.__file__).parent)
TOKENS = (
    b"nan", b"inf", b"-1", b"0", b"1e400", b"9" * 20, b"\x00", b"\xff", b"{", b"}", b"[", b"]", b'"', b",", b";", b"\t",
    b"\n", b":", b"null", b"true", b"\xef\xbb\xbf", b"\r\n", b"1:1", b"\\ud800", b"<f8", b"|O", b"../", b"PK",
)  # fmt: skip
LONGEST = 1 << 14


class Coverage:
    """The pairs of lines, of this package, that the inputs so far have executed one after the other."""

    def __init__(self) -> None:
        self.pairs: set[tuple[int, int, int]] = set()
        self.lines: set[tuple[int, int]] = set()
        self._found: set[tuple[int, int, int]] = set()
        self._before: dict[int, int] = {}

    def of(self, run: Callable[[], None]) -> int:
        """Run; return how many pairs are new."""
        self._found.clear()
        self._before.clear()
        sys.settrace(self._call)
        try:
            run()
        finally:
            sys.settrace(None)
            new = len(self._found - self.pairs)
            self.pairs |= self._found
            self.lines |= {(code, line) for code, _, line in self._found}
        return new

    def _call(self, frame: FrameType, _event: str, _: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            code, at = hash(frame.f_code), id(frame)
            self._found.add((code, self._before.get(at, 0), frame.f_lineno))
            self._before[at] = frame.f_lineno
        return self._line


def mutate(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """A few changes: bits, bytes, tokens, pieces cut, doubled, or taken from another input."""
    made = bytearray(data)
    for _ in range(1 << dice.randrange(4)):
        at = dice.randrange(len(made) + 1)
        end = min(len(made), at + (1 << dice.randrange(8)))
        way = dice.randrange(7)
        if way == 0 and at < len(made):
            made[at] ^= 1 << dice.randrange(8)
        elif way == 1 and at < len(made):
            made[at] = dice.randrange(256)
        elif way == 2:
            made[at:at] = dice.choice(TOKENS)
        elif way == 3:
            made[at : at + dice.randrange(8)] = dice.choice(TOKENS)
        elif way == 4:
            del made[at:end]
        elif way == 5:
            made[at:at] = made[at:end]
        elif other:
            start = dice.randrange(len(other))
            made[at:end] = other[start : start + (1 << dice.randrange(8))]
    return bytes(made[:LONGEST])


class Frames:
    """A frame as the reply to a request."""

    refused = (frames.ProtocolError, ImpossibleReplyError)

    def __init__(self, _: Path) -> None:
        self._requests: list[Any] = [
            (None, {}),
            (messages.Load("x", "x", "float64"), {}),
            (messages.Train(3, 0.1, [0, 1]), {}),
            (messages.Evaluate(0.1), {"w": np.zeros((2, 3)), "b": np.zeros(2)}),
            (messages.Block(3, 1, 0.1), {}),
            (messages.TimeRounds("step", 3, 0.1), {}),
            (messages.Observe(), {}),
            (messages.RecordGraph(0), {}),
            (messages.Ask("x"), {}),
        ]
        times, node = np.ones(3, np.int64), messages.NodeFacts("x", "loss", [], None, [], None)
        replies: list[tuple[messages.Reply, dict[str, Any]]] = [
            (messages.Hello(1), {}),
            (messages.Loaded("x", 1, ["float64"], True, False, {"numpy": "2"}, 0.0), {}),
            (messages.Trained(0.0, ""), {"w": np.zeros(3), "b": np.zeros(())}),
            (messages.Evaluated(True, []), {"loss": np.zeros((2, 2))}),
            (messages.Timed(1, 0, 0, 1, 1, 0, 0, 0, 0, []), {"step_ns": times, "probe_ns": times[:2]}),
            (messages.Rounds(), {"wall_ns": times, "loss": np.zeros(()), "w": np.zeros(3), "b": np.zeros(())}),
            (messages.Observed([{"num_threads": 1}], 1, 1.0), {}),
            (messages.Graphed(True, [node]), {"value0": np.ones(1), "totals": np.zeros((1, 4))}),
            (messages.Answered("", "", {"x": [1, {"text": "x"}]}, "", [], None, "", 0.0), {}),
            (messages.Failed("crashed", "x", "forward", 1), {}),
        ]  # fmt: skip
        self.seeds = [
            bytes([i]) + b"".join(map(bytes, frames.pack(message, arrays, 0, 0)))
            for i, (message, arrays) in enumerate(replies)
        ]

    def read(self, data: bytes) -> None:
        """The first byte chooses the request."""
        conversation = Conversation()
        conversation.ask(messages.Prepare({"dtype": "float64", "features": 3, "examples": 5}, None), {})
        request, arrays = self._requests[data[0] % len(self._requests) if data else 0]
        if request is None:
            conversation = Conversation()
        else:
            conversation.ask(request, arrays)
        frame = data[1:].ljust(frames.PREFIX.size, b"\0")
        # most mutations of a prefix are refused at once: the sizes are made to fit in one of two
        header, payload = frames.unpack_prefix(frame[: frames.PREFIX.size], 0, 0, conversation.limit)
        body = frame[frames.PREFIX.size :]
        if len(body) < header + payload:
            header, payload = min(header, len(body)), len(body) - min(header, len(body))
        message, found = frames.unpack(body[:header], body[header : header + payload], reply=True)
        conversation.check(message, found, 10**9)


class OneFile:
    """A reader of one file."""

    refused: tuple[type[Exception], ...] = (ProblemError,)

    def __init__(self, folder: Path, name: str, seeds: list[bytes]) -> None:
        self.path = folder / name
        self.seeds = seeds

    def read(self, data: bytes) -> None:
        """As a user would have it read."""
        self.path.write_bytes(data)
        load_file(self.path, "y" if data[:1] == b"a" else None)


class BenchmarkJson(OneFile):
    """The JSON of pytest-benchmark."""

    refused = (RecordError,)

    def read(self, data: bytes) -> None:
        """Into a run directory that is fresh each time."""
        self.path.write_bytes(data)
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            import_benchmark(self.path, Path(folder, "run"))


class RunReader(OneFile):
    """A run directory: one of its files is changed, the others are right."""

    refused = (RecordError,)

    def __init__(self, folder: Path) -> None:
        run = compare_ag.run(["numpy"], steps=5, timing=False, output=folder / "run", report=False)
        self._run = run.path
        self._names = ["manifest.json", "records/numpy.json", run["numpy"].arrays or "", "arrays/reference.npz"]
        self._right = [(run.path / name).read_bytes() for name in self._names]
        self.seeds = [bytes([i]) + data[: LONGEST - 1] for i, data in enumerate(self._right)]

    def read(self, data: bytes) -> None:
        """The first byte chooses the file."""
        which = data[0] % len(self._names) if data else 0
        (self._run / self._names[which]).write_bytes(data[1:])
        try:
            run = records.load_run(self._run)
            for name in run.records:
                run.arrays(name)
            _ = run.reference
        finally:
            (self._run / self._names[which]).write_bytes(self._right[which])


def npz_seeds() -> list[bytes]:
    made = []
    for arrays in ({"X": np.eye(3), "y": np.array([0, 1, 0])}, {"X": np.ones((2, 1), "f4"), "y": np.array(["a", "b"])}):
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub mistakes names for its allow_pickle
        made.append(buffer.getvalue())
    return made


def benchmark_seeds(folder: Path) -> list[bytes]:
    manifest = compare_ag.run(["numpy"], steps=5, timing=False, output=folder / "seed", report=False).manifest
    backend = {
        "module": "m", "distribution": "d", "version": "1", "versions": {}, "backend_class": "c", "dtypes": ["float32"],
        "splits": True, "pools": [], "os_threads": 1,
    }  # fmt: skip
    one = {
        "stats": {"median": 1e-6, "rounds": 3, "data": [1e-6]},
        "extra_info": {"compare_ag": {"backend": "numpy", "phase": "step", "problem": "d", "final_loss": 0.5}},
    }
    block = {
        "schema": {"name": "compare-ag/pytest-benchmark", "major": 1},
        "tool_version": "0",
        "environment": msgspec.to_builtins(manifest.environment),
        "problems": {"d": msgspec.to_builtins(manifest.problem)},
        "backends": {"numpy": backend},
    }
    return [json.dumps({"benchmarks": [one], "compare_ag": block}).encode(), b'{"benchmarks": []}']


def targets(folder: Path) -> dict[str, Callable[[], Any]]:
    csv = [b"a,y\n1,0\n2,1\n3,0\n", b"1;x\n2;z\n3;x\n", b"a\ty\n1.5\tja\n-2e3\tnein\n"]
    svm = [b"1 1:0.5 3:2\n-1 2:1\n1 1:1\n", b"0 1:1 # c\n1 2:3\n"]
    return {
        "frames": lambda: Frames(folder),
        "runs": lambda: RunReader(folder),
        "benchmark-json": lambda: BenchmarkJson(folder, "x.json", benchmark_seeds(folder)),
        "csv": lambda: OneFile(folder, "x.csv", csv),
        "libsvm": lambda: OneFile(folder, "x.svm", svm),
        "npz": lambda: OneFile(folder, "x.npz", npz_seeds()),
    }


def fuzz(name: str, target: Any, seconds: float, seed: int, interrupted: Callable[[], bool]) -> int:
    """Fuzz one target for so many seconds of CPU time; return how many different exceptions were not its own."""
    dice, coverage = random.Random(seed), Coverage()
    corpus: list[bytes] = []
    uncaught: dict[str, bytes] = {}
    executions, queue = 0, list(target.seeds)
    start = time.process_time()
    while time.process_time() < start + seconds and not interrupted():
        data = queue.pop() if queue else mutate(dice.choice(corpus), dice.choice(corpus), dice)
        executions += 1

        def run(data: bytes = data) -> None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    target.read(data)
            except target.refused:
                return
            except Exception as error:  # noqa: BLE001 - what is looked for
                at = traceback.extract_tb(error.__traceback__)[-1]
                uncaught.setdefault(f"{type(error).__name__}: {error} ({at.filename}:{at.lineno})", data)

        if coverage.of(run) or not corpus:
            corpus.append(data)
    print(
        f"{name:16}{executions:9} executions in {time.process_time() - start:.0f} s of CPU, "
        f"{len(coverage.lines):5} lines and {len(coverage.pairs):5} pairs of lines, "
        f"{len(corpus):5} inputs kept, {len(uncaught)} uncaught",
        flush=True,
    )
    for said, data in uncaught.items():
        print(f"  {said[:300]}\n    {data[:300]!r}", flush=True)
    return len(uncaught)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=20.0, help="CPU time for each target (default: 20)")
    options.add_argument("--only", metavar="NAME,NAME", help="these targets")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    found = 0
    signals: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: signals.append(number))  # ends with what has been found
    with tempfile.TemporaryDirectory() as folder:
        made = targets(Path(folder))
        for name in asked.only.split(",") if asked.only else made:
            found += fuzz(name, made[name](), asked.seconds, asked.seed, lambda: bool(signals))
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
