"""Every field of every message that a worker sends, replaced by wrong values: the backend is malformed, nobody else is.

    python scripts/message_fuzz.py

Hostile plugins compute as numpy does and alter one reply of their worker: one field, or one array in dtype, shape or
presence. Each run trains some of them beside numpy. Right is: every hostile backend is malformed, the run exits 3, and
numpy's arrays are bit for bit those of a run without them. `tests/host/test_replies.py` makes the same alterations
without processes, all of them; here each field meets some of its wrong values, drawn with ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from compare_ag.worker import frames, messages

PROBLEM = "synthetic:n=50,d=3"
STEPS = 20
BATCH = 12
"""hostile backends in one run"""

TIMES = ("block_", "phase_", "first_step_")
"""what the names of arrays begin with that differ from run to run"""

LONG = "x" * 200_000
WRONG: dict[type, tuple[Any, ...]] = {
    bool: (7, None, "yes"),
    int: (-1, 1 << 70, 0.5, "1", None),
    float: (-1.0, 1e300, None, "nan", []),
    str: (5, None, LONG, []),
    list: (None, 5, "x", [None], [0] * 5000),
    dict: (None, 5, [], {str(i): 0 for i in range(5000)}),
    type(None): (0.5, [], LONG),
}
"""wrong values for a field, by the type of its right one"""
POSSIBLE = (
    ("Failed.step", None),
    ("Graphed.nodes.0.arrival", None),
    ("MutantList.mutants.0.sizes.0", -1.0),
    ("MutantList.mutants.0.sizes.0", 1e300),
    *((f"Observed.pools.0.{key}", None) for key in messages.POOL_KEYS if key != "num_threads"),
)
"""values among these that are possible all the same"""
OF_EVIDENCE: tuple[Any, ...] = (
    LONG,
    {"text": 5},
    {"text": LONG},
    {"text": "x", "more": "y"},
    {},
    1 << 60,
    [[[[[[[[[[0]]]]]]]]]],
    [0] * 5000,
)
"""wrong for any value of an answer's evidence, whose form is for the question to say"""

Fields = dict[str, Any]
Arrays = dict[str, Any]


def variant(message: messages.Message) -> str:
    """The kind of a message; of times, with the kind of block."""
    name = type(message).__name__
    if isinstance(message, messages.Timed):
        return name + ("-phased" if message.phases else "-whole")
    return name


def alterations(message: messages.Message, arrays: Mapping[str, Any]) -> Iterator[tuple[str, Fields, Arrays]]:
    """All alterations of one reply: what is altered, the message's fields with their tag, and the arrays."""
    fields = msgspec.to_builtins(message)
    for path, value in _leaves(type(message).__name__, fields):
        evidence = path.startswith("Answered.evidence.")
        for wrong in OF_EVIDENCE if evidence else WRONG[type(value)]:
            if (path, wrong) not in POSSIBLE:
                yield f"{path} = {json.dumps(wrong)[:30]}", _replaced(fields, path.split(".")[1:], wrong), dict(arrays)
    for name, array in arrays.items():
        for what, wrong in _wrong_arrays(type(message).__name__, name, np.asarray(array)):
            rest = {other: value for other, value in arrays.items() if other != name}
            yield (
                f"{type(message).__name__}: array {name} {what}",
                fields,
                rest if wrong is None else {**rest, name: wrong},
            )
    yield f"{type(message).__name__}: an array more", fields, {**arrays, "more": np.ones(1)}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every value with its path; of a list only the first item."""
    inner = dict(enumerate(value[:1])) if isinstance(value, list) else value if isinstance(value, dict) else {}
    if "." in path:
        yield path, value
    if path == "Answered.evidence":
        inner = dict.fromkeys(inner)
    for key, item in inner.items():
        yield from _leaves(f"{path}.{key}", item)


def _replaced(fields: Any, path: list[str], value: Any) -> Any:
    """The fields with the value at ``path`` replaced."""
    if not path:
        return value
    key, *rest = path
    if isinstance(fields, list):
        return [_replaced(fields[0], rest, value), *fields[1:]]
    return {**fields, key: _replaced(fields[key], rest, value)}


def _wrong_arrays(kind: str, name: str, array: Any) -> Iterator[tuple[str, Any]]:
    """Wrong versions of an array; None: it is missing."""
    yield "missing", None
    yield "of another dtype", np.zeros(array.shape, "int64" if array.dtype.kind == "f" else "float64")
    yield "with an axis more", array[..., None]
    if name == "step_ns":  # nanoseconds, each of which can be wrong
        yield from (("empty", array[:0]), ("negative", -array), ("zero", 0 * array), ("huge", array + (1 << 62)))
        yield from (("of one zero", array * (np.arange(array.size) > 0)), ("of one huge", _with_a_huge_one(array)))
    if kind == "FirstSteps":  # may have any length
        return
    if array.ndim == 0:
        yield "as a vector", array[None]
    elif array.size:
        yield from (("a row short", array[:-1]), ("a row longer", np.concatenate([array, array[-1:]])))
        yield "without a row", array[:0]


def _with_a_huge_one(array: Any) -> Any:
    """Nanoseconds of which the last cannot be."""
    return np.append(array[:-1], 1 << 62)


def frame(fields: Fields, arrays: Arrays, nonce: int, sequence: int) -> list[bytes]:
    """A well-formed frame of any fields."""
    whole = [np.ascontiguousarray(array).reshape(np.shape(array)) for array in arrays.values()]
    heads = [{"name": name, "dtype": a.dtype.str, "shape": a.shape} for name, a in zip(arrays, whole, strict=True)]
    header = msgspec.json.encode({"message": fields, "arrays": heads})
    body = b"".join(array.tobytes() for array in whole)
    return [frames.PREFIX.pack(frames.MAGIC, nonce, sequence, len(header), len(body)), header, body]


# --- in the hostile worker ------------------------------------------------------------------------------------


def alter_replies(kind: str, label: str) -> None:
    """From now on the first reply of this kind that has this alteration is altered."""
    pack = frames.pack
    done: list[str] = []

    def altering(message: messages.Message, arrays: Arrays, nonce: int, sequence: int) -> list[bytes | memoryview]:
        if variant(message) == kind and not done:
            for what, fields, changed in alterations(message, arrays):
                if what == label:
                    done.append(label)
                    return [*frame(fields, changed, nonce, sequence)]
        return pack(message, arrays, nonce, sequence)

    frames.pack = altering


PLUGIN = """
import message_fuzz
from compare_ag import Answer, Mutant, hookimpl
from compare_ag_numpy import NumpyBackend

message_fuzz.alter_replies({kind!r}, {label!r})


class Hostile(NumpyBackend):
    def step(self, weights, batch, learning_rate):
        return super().step(weights, batch, learning_rate)

    def forward(self, weights, batch):
        if {kind!r} == "Failed":
            raise ValueError("on purpose")
        return super().forward(weights, batch)


def accumulation():
    return {{"first": [0.5], "second": [0.5]}}


@hookimpl
def compare_ag_backend():
    return Hostile


@hookimpl
def compare_ag_mutants():
    return [Mutant("same", "loss", "the backend as it is", (1.0,), lambda backend, size: backend)]


@hookimpl
def compare_ag_answers():
    return [Answer("accumulation", accumulation)]
"""


def install(site: Path, name: str, kind: str, label: str) -> None:
    """Write a hostile plugin with its metadata."""
    (site / f"{name}_plugin.py").write_text(PLUGIN.format(kind=kind, label=label))
    folder = site / f"fuzz_{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fuzz-{name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[compare_ag]\n{name} = {name}_plugin\n")


# --- in the host ----------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One alteration of one kind of reply."""

    kind: str
    label: str

    @property
    def field(self) -> str:
        """What is altered: several wrong values share it."""
        return f"{self.kind}: {self.label.partition(' = ')[0]}"


class Fuzz:
    """Hostile plugins in a folder of their own, found by this process and its workers; and what went wrong."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.problems: list[str] = []
        self.tried = 0
        self._right: dict[str, Any] = {}
        """what each way of asking gave for numpy without hostile backends"""
        sys.path.insert(0, str(site))
        own = str(Path(__file__).resolve().parent)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), own, os.environ.get("PYTHONPATH", "")])

    def ask(self, cases: list[Case]) -> None:
        """Let hostile backends answer beside numpy, in whatever way makes their workers send the altered reply."""
        names = {}
        for case in cases:
            self.tried += 1
            names[f"evil{self.tried}"] = case
            install(self.site, f"evil{self.tried}", *case)
        ways = {"Exchanged": self._trace, "MutantList": self._mutants, "AnswerList": self._explain}
        kind = cases[0].kind if cases else ""
        way = ways.get(kind.replace("Answered", "AnswerList"), self._run)
        try:
            statuses, numpy = way(["numpy", *names])
        except Exception as error:  # noqa: BLE001 - the very thing that must not happen
            self.problems.append(f"{[case.label for case in cases]}: the host raised {type(error).__name__}: {error}")
            return
        if numpy != self._right.setdefault(way.__name__, numpy):
            self.problems.append(f"{[case.label for case in cases]}: they change numpy's results")
        for name, case in names.items():
            if statuses[name] != "malformed":
                self.problems.append(f"{case.kind}: {case.label}: {statuses[name]}")

    def _run(self, names: list[str]) -> tuple[dict[str, str], Any]:
        import compare_ag
        from compare_ag.speed.schedule import Settings

        brief = Settings(
            "brief", budget_seconds=0.1, target=0.01, least_launches=2, bare_imports=1, instances=1, rounds=3
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "run")
            run = compare_ag.run(names, PROBLEM, steps=STEPS, timing=brief, timeout=60.0, output=path)
            arrays = {key: array.tobytes() for key, array in run.arrays("numpy").items() if not key.startswith(TIMES)}
            bugs = [log.read_text() for log in path.glob("logs/*.bug.txt")]
        if bugs or run.exit_code != (3 if len(names) > 1 else 0):
            self.problems.append(f"exit {run.exit_code} with {names}; {bugs}")
        return {name: record.status for name, record in run.records.items()}, (run["numpy"].status, arrays)

    def _trace(self, names: list[str]) -> tuple[dict[str, str], Any]:
        from compare_ag.lab.trace_step import trace_step
        from compare_ag.problem import problem_by_name
        from compare_ag.suite import select

        document = trace_step(select(names), problem_by_name(PROBLEM, steps=STEPS), 2)
        numpy = [step for step in document.steps if step.backend == "numpy"]
        return {step.backend: step.status for step in document.steps}, numpy

    def _mutants(self, names: list[str]) -> tuple[dict[str, str], Any]:
        from compare_ag.host.failures import WorkerFailure
        from compare_ag.selftest.population import mutants

        statuses = {}
        for name in names[1:]:
            try:
                mutants(f"{name}_plugin")
            except WorkerFailure as failure:
                statuses[name] = failure.status
            else:
                statuses[name] = "believed"
        return statuses, None

    def _explain(self, names: list[str]) -> tuple[dict[str, str], Any]:
        from compare_ag.lab import QUESTIONS
        from compare_ag.lab.interview import interview
        from compare_ag.suite import select

        asked = {"accumulation": QUESTIONS["accumulation"]}
        replies = {one.name: one.replies["accumulation"] for one in interview(select(names), asked, list(QUESTIONS))}
        broken = ("its worker ", "broke the result channel")
        statuses = {
            name: "malformed" if reply.reason.startswith(broken) else f"{reply.status} ({reply.reason})"
            for name, reply in replies.items()
        }
        return statuses, (replies["numpy"].status, replies["numpy"].outcome)

    def kinds(self) -> list[Case]:
        """Every alteration of every reply, from conversations with plugins that alter nothing."""
        from compare_ag.host.replies import Conversation

        found: dict[Case, None] = {}
        hostile: dict[int, Any] = {}
        """conversations with a hostile plugin, kept alive so that no other gets their ids"""
        check = Conversation.check

        def keep(conversation: Any, message: Any, arrays: Any, nanoseconds: int) -> None:
            if str(getattr(conversation.request, "module", "")).startswith("evil"):
                hostile[id(conversation)] = conversation
            if id(conversation) in hostile:
                kind = variant(message)
                found.update(dict.fromkeys(Case(kind, label) for label, _, _ in alterations(message, arrays)))
            check(conversation, message, arrays, nanoseconds)

        Conversation.check = keep  # type: ignore[assignment, method-assign]  # to see all replies
        try:
            for name, kind in (("evil", ""), ("evilfailing", "Failed")):
                install(self.site, name, kind, "")
                for way in (self._run, self._trace, self._mutants, self._explain):
                    way(["numpy", name])
        finally:
            Conversation.check = check  # type: ignore[method-assign]  # as it was
        self.problems.clear()  # neither was hostile
        return list(found)


def main() -> int:
    """Try them all, print what was believed, and one line of summary; exit 1 where anything was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="draws the wrong values (default 0)")
    parser.add_argument("--values", type=int, default=1, help="wrong values for each field (default 1)")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="compare-ag-fuzz-") as site:
        fuzz = Fuzz(Path(site))
        everything = fuzz.kinds()
        chosen = choose(everything, options.values, random.Random(options.seed))
        fuzz.ask([])
        for batch in batches(chosen):
            fuzz.ask(batch)
            print(f"{fuzz.tried} of {len(chosen)}: {len(fuzz.problems)} wrong", file=sys.stderr, flush=True)
    print(*fuzz.problems, sep="\n")
    fields = len({case.field for case in everything})
    print(
        f"{fuzz.tried} replies altered, of {len(everything)} alterations of {fields} fields in "
        f"{len({case.kind for case in everything})} kinds of reply; {len(fuzz.problems)} wrong; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if fuzz.problems or not everything else 0


def choose(cases: list[Case], values: int, generator: random.Random) -> list[Case]:
    """So many wrong values of each field."""
    fields: dict[str, list[Case]] = {}
    for case in cases:
        fields.setdefault(case.field, []).append(case)
    return [case for same in fields.values() for case in generator.sample(same, min(values, len(same)))]


def batches(cases: list[Case]) -> Iterator[list[Case]]:
    """Cases that are asked together: of one way of asking."""
    alone = ("Exchanged", "MutantList", "AnswerList", "Answered")
    for kinds in (("Exchanged",), ("MutantList",), ("AnswerList", "Answered"), None):
        mine = [case for case in cases if (case.kind not in alone if kinds is None else case.kind in kinds)]
        for i in range(0, len(mine), BATCH):
            yield mine[i : i + BATCH]


if __name__ == "__main__":
    sys.exit(main())
