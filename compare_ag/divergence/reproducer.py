"""A script of at most 30 lines that shows one fault with numpy, the plugin and the contract: no host, no oracle.

The expected number is written into the script: it is for people, who run it beside their editor, and no worker ever
reads it. The shortest form that reproduces is kept: one call at the weights in question; the same call twice; or the
training from its start up to the step, for a fault that depends on what came before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.host.process import import_path
from compare_ag.problem import Problem, batches
from compare_ag.verify import Oracle
from compare_ag.verify.points import point_tolerance, update_tolerance

if TYPE_CHECKING:
    from compare_ag.divergence.trace import Fault, Trace
    from compare_ag.problem.core import Array

INLINE = 64
"""numbers that are written into the script itself; more go into an .npz beside it"""
SECONDS = 60.0
MOST_LINES = 30


@dataclass(frozen=True)
class Reproducer:
    """A written script and what running it showed."""

    path: Path
    reproduces: bool
    output: str
    """its last line"""


def write_reproducer(folder: Path, problem: Problem, trace: Trace, fault: Fault) -> Reproducer:
    """Write the smallest script that shows ``fault``, and run it. An existing file is never written over."""
    path = _free(
        folder,
        f"reproduce_{trace.name}_{fault.phase or 'fault'}" + ("" if fault.step is None else f"_step{fault.step}"),
    )
    found = Reproducer(path, False, "")
    for how in _ways(fault):
        script, arrays = _script(problem, trace, fault, how)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")
        if arrays:
            np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]  # numpy's stub mistakes names for its allow_pickle
        found = _run(path)
        if found.reproduces:
            return found
    return found


def _free(folder: Path, stem: str) -> Path:
    path, number = folder / f"{stem}.py", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.py", number + 1
    return path


def _ways(fault: Fault) -> list[str]:
    """From the shortest to the longest."""
    if fault.phase == "make_tensor":
        return ["start"]
    if fault.finding is None:
        return ["form"]
    if fault.rows is not None and fault.step is None:
        return ["once", "whole first"]
    return ["once", "twice", "trained"] if fault.step is not None else ["once", "twice", "moved"]


def _run(path: Path) -> Reproducer:
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(import_path())}
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(path)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return Reproducer(path, False, f"no answer within {SECONDS:g} s")
    lines = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}").splitlines()
    failed = done.returncode == 1 and lines[-1].startswith("REPRODUCED")
    return Reproducer(path, failed, lines[-1])


def _script(problem: Problem, trace: Trace, fault: Fault, how: str) -> tuple[str, dict[str, Array]]:
    """The text of one way, and the arrays that it loads from the file beside it."""
    arrays: dict[str, Array] = {"X": problem.X, "y": problem.y, "w": problem.w0, "b": problem.b0}
    at = fault.point if fault.point is not None else np.append(problem.w0, problem.b0)
    steps = fault.step or 0
    if how == "trained":
        rows = _rows(problem, steps)
        if rows is not None:
            arrays["rows"] = rows
    elif how != "start":
        arrays |= {"w": at[:-1], "b": at[-1]}
        if how == "whole first" and fault.rows is not None:
            arrays["rows"] = fault.rows
        elif fault.rows is not None:
            arrays |= {"X": problem.X[fault.rows], "y": problem.y[fault.rows]}
    inline = sum(array.size for array in arrays.values()) <= INLINE
    body = [
        f'"""{trace.name}: {fault.message}."""',
        "import importlib, sys",
        "import numpy as np",
        "from compare_ag import Batch, Setting, Weights",
        *_load(trace),
        *([_literal(name, array) for name, array in arrays.items()] if inline else _loaded(arrays)),
        f"setting = Setting({problem.examples}, {problem.features}, {problem.dtype!r}, l2={problem.l2!r}, "
        f"loss={problem.loss!r})",
        "backend = Plugin()",
        "backend.prepare(setting)",
        "batch = Batch(backend.make_tensor(X), backend.make_tensor(y))",
        "weights = Weights(backend.make_tensor(w, requires_grad=True), backend.make_tensor(b, requires_grad=True))",
        "def numbers(pair): return np.append(*(backend.to_numpy(t) for t in pair)).astype(float)",
        *_calls(problem, fault, how, steps),
        *_verdict(problem, trace, fault),
    ]
    text = "\n".join(body) + "\n"
    assert text.count("\n") <= MOST_LINES, text
    return text, {} if inline else arrays


def _load(trace: Trace) -> list[str]:
    lines = [f"Plugin = importlib.import_module({trace.offer.module!r}).compare_ag_backend()"]
    if trace.mutation is not None:
        module, name = trace.mutation.module, trace.mutation.name
        lines.append(f"mutants = {{m.name: m for m in importlib.import_module({module!r}).compare_ag_mutants()}}")
        lines.append(f"Plugin = mutants[{name!r}].make(Plugin, {trace.mutation.size!r})")
    return lines


def _loaded(arrays: dict[str, Array]) -> list[str]:
    names = ", ".join(arrays)
    return [
        "with np.load(__file__.removesuffix('.py') + '.npz') as data:",
        f"    {names} = (data[name] for name in {list(arrays)!r})",
    ]


def _literal(name: str, array: Array) -> str:
    # repr of a float64 reads back to the same bits, and a float32 is one of those
    values = np.asarray(array, dtype=np.float64).tolist() if array.dtype.kind == "f" else array.tolist()
    return f"{name} = np.array({values!r}, {array.dtype.name!r})"


def _rows(problem: Problem, steps: int) -> Array | None:
    """The batches of steps 0…steps as one array (steps + 1, batch), -1 where a batch is short; None: all data."""
    if problem.batch_size is None:
        return None
    found = np.full((steps + 1, problem.batch_size), -1, dtype=np.int64)
    for k, rows in zip(range(steps + 1), batches(problem), strict=False):
        found[k, : len(rows)] = rows
    return found


def _calls(problem: Problem, fault: Fault, how: str, steps: int) -> list[str]:
    """From the tensors to loss, gradient and following."""
    rate = float(problem.learning_rate)
    if how == "start":
        return ["observed = numbers(weights)"]
    if how == "form":
        return [
            "loss, tape = backend.forward(weights, batch)",
            "gradient = backend.backward(tape)",
        ]
    if fault.phase == "step":
        loop = (
            [f"for _ in range({steps}): _, weights = backend.step(weights, batch, {rate!r})"]
            if how == "trained"
            else []
        )
        return [*loop, f"loss, following = backend.step(weights, batch, {rate!r})", *_observe(fault)]
    lines = []
    if how == "trained":
        batch = []
        if problem.batch_size is not None:
            batch = ["    batch = Batch(*(backend.make_tensor(v[rows[k][rows[k] >= 0]]) for v in (X, y)))"]
        lines = [
            f"for k in range({steps + 1}):",
            *batch,
            "    before = numbers(weights)",
            "    loss, tape = backend.forward(weights, batch)",
            "    gradient = backend.backward(tape)",
            "    reported = numbers(gradient)",
            f"    weights = following = backend.update(weights, gradient, {rate!r})",
        ]
        if fault.phase == "forward":
            lines += ["    value = float(backend.to_numpy(loss))"]
        return [*lines, *_observe(fault)]
    again = ["loss, tape = backend.forward(weights, batch)", "gradient = backend.backward(tape)"]
    if how == "twice":
        lines = again
    if how == "whole first":
        lines = [*again, "batch = Batch(*(backend.make_tensor(v[rows]) for v in (X, y)))"]
    if how == "moved":
        moved = "Weights(*(backend.make_tensor(np.asarray(v * 1.001, v.dtype), requires_grad=True) for v in (w, b)))"
        lines = [f"backend.backward(backend.forward({moved}, batch)[1])"]
    lines = [*lines, *again, "before, reported = numbers(weights), numbers(gradient)"]
    if fault.phase == "update" or (fault.phase == "forward" and fault.step is not None):
        lines.append(f"following = backend.update(weights, gradient, {rate!r})")
    return [*lines, *_observe(fault)]


def _observe(fault: Fault) -> list[str]:
    return {
        "forward": ["observed = float(backend.to_numpy(loss))"],
        "backward": ["observed = reported"],
        "update": ["observed = numbers(following)"],
        "step": ["observed = numbers(following)"],
    }.get(fault.phase or "", ["observed = reported"])


def _verdict(problem: Problem, trace: Trace, fault: Fault) -> list[str]:
    """Compare with the exact numbers, rounded to float64, within the computed tolerance."""
    at = np.asarray(fault.point if fault.point is not None else np.append(problem.w0, problem.b0))
    if fault.finding is None and fault.phase != "make_tensor":
        return _form()
    if fault.phase == "make_tensor":
        expected, allowed = at.astype(np.float64), np.zeros(len(at))
    else:
        exact = Oracle(problem).at(at[:-1], at[-1], fault.rows)
        tolerance = point_tolerance(problem, at, fault.rows)
        quantity = fault.finding.test if fault.finding is not None else "gradient"
        if quantity == "loss":
            expected, allowed = exact.loss.high, np.asarray(tolerance.loss)
        elif quantity == "update":
            rate = float(problem.learning_rate)
            gradient = exact.gradient.high
            if trace.gradients is not None and fault.step is not None and fault.step < len(trace.gradients):
                gradient = trace.gradients[fault.step].astype(np.float64)
            # from the gradient that the backend reports when it is asked: which is known only then
            return [
                f"expected = before - {rate!r} * reported",
                f"tolerance = np.array({np.nextafter(update_tolerance(problem, at, gradient), np.inf).tolist()!r})",
                *_tail(),
            ]
        elif quantity == "step":
            expected, allowed = exact.following.high, tolerance.following
        else:
            expected, allowed = exact.gradient.high, tolerance.gradient
    return [
        f"expected = np.array({np.asarray(expected).tolist()!r})",
        f"tolerance = np.array({np.asarray(allowed).tolist()!r})",
        *_tail(),
    ]


def _form() -> list[str]:
    """Shapes and dtypes of what came out, and whether what went in is still the same."""
    return [
        "def read(*tensors): return [np.asarray(backend.to_numpy(tensor)) for tensor in tensors]",
        "pairs = [*zip(read(*gradient), (w, b)), *zip(read(loss), [b])]",
        "bad = [(got.dtype, got.shape) for got, want in pairs if (got.dtype, got.shape) != (want.dtype, want.shape)]",
        "kept = [np.array_equal(*pair) for pair in zip(read(*batch, *weights), (X, y, w, b))]",
        'print("wrong forms:", bad, "X, y, w, b unchanged:", kept)',
        "wrong = bool(bad) or not all(kept)",
        'print("REPRODUCED: breaks the contract" if wrong else "not reproduced")',
        "sys.exit(int(wrong))",
    ]


def _tail() -> list[str]:
    return [
        'print("observed", observed, "expected", expected, "tolerance", tolerance, sep="\\n")',
        "wrong = not np.all(np.abs(observed - expected) <= tolerance)",
        'print("REPRODUCED: out of tolerance" if wrong else "not reproduced")',
        "sys.exit(int(wrong))",
    ]
