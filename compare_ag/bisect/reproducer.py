"""A script of at most 30 lines that shows one fault with numpy, the plugin and the contract: no host, no oracle.

The script contains the expected number: people run it beside their editor, and no worker reads it. The shortest form
that reproduces the fault is kept: one call at the weights in question; the same call twice; the training from its start
up to the step, for a fault that depends on earlier steps; or equal calls until some of them are wrong, for a fault that
looks random.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.launch import THREAD_VARIABLES, import_path
from compare_ag.host.logs import LOG_CAP
from compare_ag.host.warded import Warded
from compare_ag.problem import Problem, batches
from compare_ag.records import SaveError
from compare_ag.text import printable
from compare_ag.verify import Oracle
from compare_ag.verify.points import point_tolerance, update_tolerance

if TYPE_CHECKING:
    from compare_ag.bisect.screening import Fault, Screening
    from compare_ag.problem.core import Array

INLINE = 64
"""numbers that the script itself contains; more go into an .npz beside it"""
SECONDS = 60.0
MOST_LINES = 30
OFTEN = 200
"""calls after those of the training, for a fault that counts calls: the host's points were visited later"""
RANDOM_HITS = 3
"""wrong answers after which the equal calls end: enough for a rate to within a factor of three"""
RANDOM_SECONDS = 20
"""the longest time of the equal calls"""
VERBS = ("forward", "backward", "update", "to_numpy", "step")
"""verbs whose failure a few calls can show"""


@dataclass(frozen=True)
class Reproducer:
    """A script, and the result of running it."""

    path: Path
    reproduces: bool
    output: str
    """its last line"""
    looks_random: bool = False
    """whether only some of many equal calls are wrong; ``output`` has their number"""


def write_reproducer(folder: Path, problem: Problem, trace: Screening, fault: Fault) -> Reproducer | None:
    """Write the smallest script that shows ``fault``, and run it. An existing file is never overwritten.

    None where a few calls cannot show the fault: a worker that hung, died, or failed outside of the verbs of a step.
    Raises `SaveError` where the script cannot be written.
    """
    place = f"{fault.phase or 'fault'}" + ("" if fault.step is None else f"_step{fault.step}")
    path = _free(folder, re.sub(r"[^\w.+-]", "+", f"reproduce_{trace.name}_{place}"))
    result = None
    for how in _ways(fault, batched=problem.batch_size is not None):
        _write(path, *_script(problem, trace, fault, how))
        result = _run_script(path)
        if result.reproduces and how == "now and then":
            return replace(result, looks_random=True)
        if result.reproduces and (result := _run_script(path)).reproduces:  # once may be luck
            return result
    return result


def _write(path: Path, script: str, arrays: dict[str, Array]) -> None:
    beside = path.with_suffix(".npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")
        beside.unlink(missing_ok=True)  # of a longer form: `_free` has chosen a path that no other script uses
        if arrays:
            np.savez(beside, **arrays)  # type: ignore[arg-type]  # numpy's stub mistakes names for its allow_pickle
    except OSError as error:
        raise SaveError(f"the script {path} could not be written: {error.strerror or error}") from error


def _free(folder: Path, stem: str) -> Path:
    path, number = folder / f"{stem}.py", 2
    while path.exists() or path.with_suffix(".npz").exists():
        path, number = folder / f"{stem}-{number}.py", number + 1
    return path


def _ways(fault: Fault, *, batched: bool) -> list[str]:
    """The forms of the script that may show the fault, the shortest first."""
    if fault.failure is not None:
        if fault.phase not in VERBS:
            return []
        if fault.failure.status == "malformed":
            return ["form", "form of the update"]
        return ["raises", "raises while trained"] if fault.failure.status in ("crashed", "oom") else []
    if fault.phase == "make_tensor":
        return ["start"]
    if fault.finding is None:
        return ["form"]
    if fault.rows is not None and fault.step is None:
        return ["once", "whole first", "now and then"]
    if fault.step is None:
        return ["once", "twice", "moved", "often", "now and then"]
    # with mini-batches the recording itself asks for the loss of all data at every step
    return ["once", "twice", "trained", *(["watched, trained"] if batched else []), "now and then"]


def _run_script(path: Path) -> Reproducer:
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(import_path())}
    environment.pop("PYTHONWARNINGS", None)  # warnings of a plugin must not become errors
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-P", str(path)]
        script = Warded(command, environment, Path.cwd(), outputs=(output, errors))
        try:
            code = script.wait(SECONDS)
        finally:
            script.end()
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read(LOG_CAP).decode(errors="replace").strip())
    if code is None:
        return Reproducer(path, False, f"no answer within {SECONDS:g} s")
    lines = (texts[0] or texts[1] or f"exit code {code}").splitlines()
    failed = code == 1 and lines[-1].startswith("REPRODUCED")
    return Reproducer(path, failed, lines[-1])


def _script(problem: Problem, trace: Screening, fault: Fault, how: str) -> tuple[str, dict[str, Array]]:
    """The script in the form ``how``, and the arrays that it loads from the file beside it."""
    arrays: dict[str, Array] = {"X": problem.X, "y": problem.y, "w": problem.w0, "b": problem.b0}
    at = fault.point if fault.point is not None else problem.initial
    steps = fault.step or 0
    if how.endswith("trained"):
        rows = _rows(problem, steps)
        if rows is not None:
            arrays["rows"] = rows
    elif how != "start":
        arrays |= dict(zip(problem.layout.names, problem.layout.parts(at), strict=True))
        if how == "whole first" and fault.rows is not None:
            arrays["rows"] = fault.rows
        elif fault.rows is not None:
            arrays |= {"X": problem.X[fault.rows], "y": problem.y[fault.rows]}
    verdict, expected = _verdict(problem, trace, fault)
    if sum(array.size for array in expected.values()) > INLINE:
        arrays, expected = arrays | expected, {}
    if how == "now and then":
        calls = [*_literals(expected), *_count_wrong_calls(problem, fault, verdict)]
    else:
        if how.endswith("trained") and fault.finding is not None:
            arrays["there"] = at  # a training that takes another course reaches other weights, with other right numbers
            verdict = [*verdict[: -len(_tail())], *_tail("np.array_equal(before, there.astype(float)) and ")]
        calls = [*_calls(problem, fault, how, steps), *_literals(expected), *verdict]
    numbers = sum(array.size for array in arrays.values())
    text = _text(problem, trace, fault, calls, _literals(arrays))
    if numbers <= INLINE and text.count("\n") <= MOST_LINES:
        return text, {}
    text = _text(problem, trace, fault, calls, _load_arrays(arrays))
    assert text.count("\n") <= MOST_LINES, text
    return text, arrays


def _text(problem: Problem, trace: Screening, fault: Fault, calls: list[str], data: list[str]) -> str:
    """The script: load, prepare, make tensors, then ``calls``."""
    body = [
        f"# {printable(trace.name)}: {printable(fault.message)}",  # a comment: any text is safe in it
        "import importlib, os, sys",
        f"os.environ.update(dict.fromkeys({THREAD_VARIABLES!r}, '{problem.threads}'))",
        "import numpy as np",
        "from compare_ag import Batch, Setting, Weights",
        *_load(trace),
        *data,
        f"setting = Setting({problem.examples}, {problem.features}, {problem.dtype!r}, threads={problem.threads}, "
        f"l2={problem.l2!r}, loss={problem.loss!r})",
        "backend = Plugin()",
        "backend.prepare(setting)",
        "batch = Batch(backend.make_tensor(X), backend.make_tensor(y))",
        "weights = Weights(backend.make_tensor(w, requires_grad=True), backend.make_tensor(b, requires_grad=True))",
        "def numbers(pair): return np.append(*(backend.to_numpy(t) for t in pair)).astype(float)",
        *calls,
    ]
    return "\n".join(body) + "\n"


def _load(trace: Screening) -> list[str]:
    lines = [f"Plugin = importlib.import_module({trace.offer.module!r}).compare_ag_backend()"]
    if trace.mutation is not None:
        module, name = trace.mutation.module, trace.mutation.name
        lines.append(f"mutants = {{m.name: m for m in importlib.import_module({module!r}).compare_ag_mutants()}}")
        lines.append(f"Plugin = mutants[{name!r}].make(Plugin, {trace.mutation.size!r})")
    return lines


def _load_arrays(arrays: dict[str, Array]) -> list[str]:
    names = ", ".join(arrays)
    return [
        "with np.load(__file__.removesuffix('.py') + '.npz') as data:",
        f"    {names} = (data[name] for name in {list(arrays)!r})",
    ]


def _literals(arrays: dict[str, Array]) -> list[str]:
    # repr of a float64 reads back to the same bits, also for a float32; inf and nan need their names
    lines = []
    for name, array in arrays.items():
        values = np.asarray(array, dtype=np.float64).tolist() if array.dtype.kind == "f" else array.tolist()
        text = re.sub(r"\b(inf|nan)\b", r"np.\1", repr(values))
        lines.append(f"{name} = np.array({text}, {array.dtype.name!r})")
    return lines


def _rows(problem: Problem, steps: int) -> Array | None:
    """The batches of steps 0…steps as one array (steps + 1, batch), -1 where a batch is short; None: all data."""
    if problem.batch_size is None:
        return None
    rows_of = np.full((steps + 1, problem.batch_size), -1, dtype=np.int64)
    for k, rows in zip(range(steps + 1), batches(problem), strict=False):
        rows_of[k, : len(rows)] = rows
    return rows_of


def _calls(problem: Problem, fault: Fault, how: str, steps: int) -> list[str]:
    """The lines from the tensors to the observed numbers."""
    if how == "start":
        return ["observed = numbers(weights)"]
    evaluation = ["loss, tape = backend.forward(weights, batch)", "gradient = backend.backward(tape)"]
    update = f"following = backend.update(weights, gradient, {float(problem.learning_rate)!r})"
    if how == "form":
        return [*evaluation, *_form(["*zip(read(*gradient), (w, b))", "*zip(read(loss), [b])"], inputs=True)]
    if how == "form of the update":
        return [*evaluation, update, *_form(["*zip(read(*following), (w, b))"], inputs=False)]
    if how.startswith("raises") or how.endswith("trained"):
        return _training_lines(problem, fault, how, steps)
    if fault.phase == "step":
        return [f"loss, following = backend.step(weights, batch, {float(problem.learning_rate)!r})", _observe(fault)]
    updated = fault.phase == "update" or (fault.phase == "forward" and fault.step is not None)
    after = ["before, reported = numbers(weights), numbers(gradient)", *([update] if updated else [])]
    return [*_lead(problem, how, evaluation), *evaluation, *after, _observe(fault)]


def _count_wrong_calls(problem: Problem, fault: Fault, verdict: list[str]) -> list[str]:
    """Lines that make equal calls, each on fresh weights, until some are wrong or time is up, and print the counts."""
    made = "Weights(backend.make_tensor(w, requires_grad=True), backend.make_tensor(b, requires_grad=True))"
    # for an update: the line that computes the expected weights from the reported gradient
    expectation = verdict[: -len(_tail())]
    body = [*_calls(problem, fault, "once", 0), *expectation]
    return [
        "import time",
        f"calls, wrong, end = 0, 0, time.monotonic() + {RANDOM_SECONDS}",
        f"while wrong < {RANDOM_HITS} and time.monotonic() < end:",
        *(f"    {line}" for line in body),
        "    calls, wrong = calls + 1, wrong + (not np.all(np.abs(observed - expected) <= tolerance))",
        f"    weights = {made}",
        'rate = f"out of tolerance in {wrong} of {calls} equal calls: the fault looks random"',
        'print(f"REPRODUCED: {rate}" if wrong else f"not reproduced in {calls} equal calls")',
        "sys.exit(int(wrong > 0))",
    ]


def _lead(problem: Problem, how: str, evaluation: list[str]) -> list[str]:
    """The calls before the evaluation that is judged."""
    moved = "Weights(*(backend.make_tensor(np.asarray(v * 1.001, v.dtype), requires_grad=True) for v in (w, b)))"
    return {
        "once": [],
        "twice": evaluation,
        "moved": [f"backend.backward(backend.forward({moved}, batch)[1])"],
        "often": [f"for _ in range({problem.steps + OFTEN}): backend.backward(backend.forward(weights, batch)[1])"],
        "whole first": [*evaluation, "batch = Batch(*(backend.make_tensor(v[rows]) for v in (X, y)))"],
    }[how]


def _training_lines(problem: Problem, fault: Fault, how: str, steps: int) -> list[str]:
    """Steps as a training makes them: a single step, or all steps up to the wrong step."""
    rate = float(problem.learning_rate)
    body = [
        "before = numbers(weights)",
        "loss, tape = backend.forward(weights, batch)",
        "gradient = backend.backward(tape)",
        "reported = numbers(gradient)",
        f"weights = following = backend.update(weights, gradient, {rate!r})",
    ]
    if fault.phase == "step":
        step = f"loss, following = backend.step(weights, batch, {rate!r})"
        body = ["before = numbers(weights)", step, "weights = following"]
    if how.endswith("trained"):
        if problem.batch_size is not None:
            body = ["batch = Batch(*(backend.make_tensor(v[rows[k][rows[k] >= 0]]) for v in (X, y)))", *body]
        if how == "watched, trained":
            copies = "Weights(*(backend.make_tensor(backend.to_numpy(v), requires_grad=True) for v in weights))"
            body = [f"backend.forward({copies}, Batch(backend.make_tensor(X), backend.make_tensor(y)))", *body]
        body = [f"for k in range({steps + 1}):", *(f"    {line}" for line in body)]
    if how.startswith("raises"):
        assert fault.failure is not None
        return _raises(fault.failure.reason, body)
    return [*body, _observe(fault)]


def _observe(fault: Fault) -> str:
    """The line that reads the judged numbers."""
    test = fault.finding.test if fault.finding is not None else "gradient"
    if test == "loss":
        return "observed = float(backend.to_numpy(loss))"
    return "observed = reported" if test == "gradient" else "observed = numbers(following)"


def _verdict(problem: Problem, trace: Screening, fault: Fault) -> tuple[list[str], dict[str, Array]]:
    """The lines that compare with the exact numbers within the tolerance; and both, rounded to float64."""
    at = np.asarray(fault.point if fault.point is not None else problem.initial)
    if fault.phase == "make_tensor":
        return _tail(), {"expected": at.astype(np.float64), "tolerance": np.zeros(len(at))}
    if fault.finding is None:
        return [], {}
    allowed = point_tolerance(problem, at, fault.rows)
    exact = Oracle(problem).at(at, fault.rows, allowed)
    if fault.finding.test == "update":
        gradient = exact.gradient.high
        if trace.gradients is not None and fault.step is not None and fault.step < len(trace.gradients):
            gradient = trace.gradients[fault.step].astype(np.float64)
        limit = np.nextafter(update_tolerance(problem, at, gradient), np.inf)
        # the script computes the expected weights from the gradient that the backend reports in it
        line = f"expected = before - {float(problem.learning_rate)!r} * reported"
        return [line, *_tail()], {"tolerance": limit}
    expected, tolerance = {
        "loss": (exact.loss.high, np.asarray(allowed.loss)),
        "step": (exact.following.high, allowed.following),
        "gradient": (exact.gradient.high, allowed.gradient),
    }[fault.finding.test]
    # where nothing is decided the tolerance is inf, and any finite number may replace an infinite exact number
    return _tail(), {"expected": np.nan_to_num(expected), "tolerance": tolerance}


def _form(pairs: list[str], *, inputs: bool) -> list[str]:
    """Lines that check shapes and dtypes of the results; inputs: and whether the inputs are unchanged."""
    comparison = "np.array_equal(*pair) for pair in zip(read(*batch, *weights), (X, y, w, b))"
    return [
        "def read(*tensors): return [np.asarray(backend.to_numpy(tensor)) for tensor in tensors]",
        f"pairs = [{', '.join(pairs)}]",
        "bad = [(got.dtype, got.shape) for got, want in pairs if (got.dtype, got.shape) != (want.dtype, want.shape)]",
        f"kept = [{comparison}]" if inputs else "kept = []",
        'print("wrong forms:", bad, "X, y, w, b unchanged:", kept)',
        "wrong = bool(bad) or not all(kept)",
        'print("REPRODUCED: breaks the contract" if wrong else "not reproduced")',
        "sys.exit(int(wrong))",
    ]


def _raises(reason: str, calls: list[str]) -> list[str]:
    """Lines that check whether the calls raise the same error as in the worker."""
    name = reason.split(":")[0]
    return [
        "try:",
        *(f"    {line}" for line in calls),
        "    float(backend.to_numpy(loss)), numbers(weights)",
        "except BaseException as error:",
        f"    same = type(error).__name__ == {name!r}",
        '    print("REPRODUCED: raises" if same else "not reproduced: raises", type(error).__name__)',
        "    sys.exit(int(same))",
        'print("not reproduced")',
    ]


def _tail(condition: str = "") -> list[str]:
    return [
        'print("observed", observed, "expected", expected, "tolerance", tolerance, sep="\\n")',
        f"wrong = {condition}not np.all((np.abs(observed - expected) <= tolerance) | np.isinf(tolerance))",
        'print("REPRODUCED: out of tolerance" if wrong else "not reproduced")',
        "sys.exit(int(wrong))",
    ]
