"""What the fields of records and the arrays of a run may hold: ranges, and the relations between them.

Everything that reads a run relies on these and checks none of them again. Each check gives sentences on what is wrong,
with the field as its subject. Words that a later minor version may have added are left alone in runs of such a version.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from compare_ag.records.files import Array, is_inside
from compare_ag.records.structs import (
    DTYPES,
    FAILED,
    JUDGED,
    SCHEMA_MINOR,
    STATUSES,
    WITH_SUMS,
    BackendRecord,
    Cost,
    Interval,
    Manifest,
    Memory,
    PairRecord,
    ProblemRecord,
    SpeedRecord,
    TestRecord,
    VerdictRecord,
)

PHASES = ("forward", "backward", "update")
PAIR_VERDICTS = ("faster", "slower", "equivalent", "inconclusive")
STATES = ("running", "complete", "partial")
VERDICTS = ("agrees", "diverges", "non-finite", "undecidable", "malformed")
TESTS = ("gradient", "step", "trajectory", "loss", "update", "protocol")
EXIT_CODES = (0, 1, 2, 3, 4, 5, 6, 130, 143)
LARGEST = 1 << 53
"""Integers up to here are floats as well: no count of ours is larger."""
HASH_SEEDS = 1 << 32
DEEPEST = 20
"""levels of nested structs, lists and dicts: no record of ours has more than ten"""
_WORDS: dict[type, dict[str, tuple[str, ...]]] = {
    BackendRecord: {"status": STATUSES},
    VerdictRecord: {"status": VERDICTS},
    TestRecord: {"test": TESTS},
    PairRecord: {"verdict": PAIR_VERDICTS},
    Manifest: {"state": STATES},
    Cost: {"timed_by": ("blocks", "steps")},
    SpeedRecord: {"checkpoint": ("start", "middle", "end")},
}
_AT_LEAST: dict[type, dict[str, float]] = {
    ProblemRecord: {"examples": 1, "features": 1, "steps": 1, "threads": 1, "batch_size": 1},
    SpeedRecord: {"launches": 1, "instances": 1, "rounds": 1, "threads": 1},
    Cost: {"threads_observed": 1},
    BackendRecord: {"threads_observed": 1},
}
"""of fields that must be more than 0; all others must be 0 or more"""
_SIGNED: dict[type, tuple[str, ...]] = {
    Cost: ("block_gap", "host_ratio"),
    Memory: ("growth_bytes",),
}
"""fields that may be negative"""


def of_manifest(manifest: Manifest) -> Iterator[str]:
    """What is wrong with a manifest."""
    known = manifest.schema.minor <= SCHEMA_MINOR
    yield from _walk(manifest, "", known=known)
    problem, speed = manifest.problem, manifest.speed
    if problem.dtype not in DTYPES:
        yield f"the dtype {problem.dtype!r} is none of {', '.join(DTYPES)}"
    if problem.loss not in ("logits", "probability") and known:
        yield f"problem.loss {problem.loss!r} is none of logits, probability"
    if manifest.exit_code not in EXIT_CODES and known:
        yield f"exit_code {manifest.exit_code} is none of this program's"
    if any(code not in EXIT_CODES for code in manifest.other_codes) and known:
        yield f"other_codes {manifest.other_codes} are none of this program's exit codes"
    if not problem.learning_rate > 0:
        yield f"problem.learning_rate {problem.learning_rate} is not more than 0"
    if problem.batch_size is not None and problem.batch_size > problem.examples:
        yield f"problem.batch_size {problem.batch_size} is more than the {problem.examples} examples"
    if len(set(manifest.backends)) < len(manifest.backends):
        yield "backends names a backend twice"
    if manifest.state != "running" and manifest.baseline is not None and manifest.baseline not in manifest.backends:
        yield f"baseline {manifest.baseline!r} is no backend of the run"
    if manifest.graph is not None and not is_inside(manifest.graph):
        yield f"graph names the file {manifest.graph!r}, which is not in it"
    if any(not 0 <= step <= problem.steps for step, _ in problem.published):
        yield "problem.published holds a step that the training does not have"
    if speed is not None:
        yield from _of_speed(speed, manifest)


def _of_speed(speed: SpeedRecord, manifest: Manifest) -> Iterator[str]:
    least = 1 if manifest.schema.minor < 7 else 0  # since then each backend's blocks have a number of their own
    if speed.steps_per_block < least or min(speed.launches, speed.rounds) < 1:
        yield "steps_per_block, launches and rounds must be 1 or more"
    if not 0 < speed.level < 1:
        yield f"speed.level {speed.level} is not between 0 and 1"
    if speed.checkpoint_step > manifest.problem.steps:
        yield f"speed.checkpoint_step {speed.checkpoint_step} is beyond the {manifest.problem.steps} steps"
    names = [name for pair in speed.pairs for name in (pair.backend, pair.baseline)]
    for name in [*names, *speed.twins, *filter(None, [speed.control_backend])]:
        if name not in manifest.backends and name:
            yield f"speed names {name!r}, which is no backend of the run"
            return
    if any(pair.backend == pair.baseline for pair in speed.pairs):
        yield "speed.pairs holds a pair of a backend with itself"
    if len({frozenset((pair.backend, pair.baseline)) for pair in speed.pairs}) < len(speed.pairs):
        yield "speed.pairs holds a pair twice"
    if manifest.schema.minor >= 7 and speed.twins and len(speed.twins) != speed.launches:
        yield f"speed.twins names {len(speed.twins)} backends for {speed.launches} launches"


def of_record(record: BackendRecord, manifest: Manifest) -> Iterator[str]:
    """What is wrong with the record of one backend."""
    known = manifest.schema.minor <= SCHEMA_MINOR
    yield from _walk(record, "", known=known)
    for name in ("arrays", "timing_arrays", "evidence"):
        file = getattr(record, name)
        if file is not None and not is_inside(file):
            yield f"{name} names the file {file!r}, which is not in it"
        if file is not None and getattr(record, f"{name}_sha256") is None and manifest.schema.minor >= WITH_SUMS:
            yield f"{name} has a file, and {name}_sha256 is missing"
    if any(not is_inside(log) for log in record.logs):
        yield "logs names a file which is not in it"
    if record.hash_seed is not None and record.hash_seed >= HASH_SEEDS:
        yield f"hash_seed {record.hash_seed} is no 32-bit number"
    if record.status in JUDGED and record.verdict is None and record.status != "undecidable" and known:
        yield f"status is {record.status}, and there is no verdict"
    if record.status in FAILED and not record.reason and known:
        yield f"status is {record.status}, and there is no reason"
    steps = manifest.problem.steps
    if any(row.step > steps for row in record.published):
        yield "published holds a step that the training does not have"
    for verdict in (record.verdict, record.fused_verdict):
        if verdict is not None and verdict.first_step is not None and verdict.first_step > steps:
            yield f"first_step {verdict.first_step} is beyond the {steps} steps"
    repetition = record.repetition
    if repetition is not None and not repetition.differing <= repetition.steps <= steps + 1:
        yield f"repetition counts {repetition.differing} of {repetition.steps} losses for {steps} steps"
    if record.cost is not None and record.cost.phases is not None and set(record.cost.phases) != set(PHASES) and known:
        yield f"cost.phases are {', '.join(map(repr, record.cost.phases))}, not {', '.join(PHASES)}"


def _walk(value: Any, at: str, *, known: bool, depth: int = 0) -> Iterator[str]:
    """Every number and word below a record, however deep."""
    if depth > DEEPEST:
        yield f"{at.partition('.')[0]} is nested more than {DEEPEST} levels deep"
    elif isinstance(value, Interval):
        yield from _of_interval(value, at)
    elif isinstance(value, msgspec.Struct):
        yield from _of_struct(value, at, known=known)
        for field in value.__struct_fields__:
            yield from _walk(getattr(value, field), f"{at}{field}.", known=known, depth=depth + 1)
    elif isinstance(value, dict | list | tuple):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _walk(part, f"{at}{key}.", known=known, depth=depth + 1)
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{at[:-1]} {value} is too large for any count"


def _of_interval(found: Interval, at: str) -> Iterator[str]:
    """A time or a ratio: positive, with both ends or none, and between them."""
    ends = (found.low, found.high)
    if not 0 < found.value < math.inf:
        yield f"{at}value {found.value} is no positive number"
    elif (found.low is None) != (found.high is None):
        yield f"{at[:-1]} has one end of an interval without the other"
    elif found.low is not None and found.high is not None and not 0 < found.low <= found.high < math.inf:
        yield f"{at[:-1]} has an interval from {ends[0]} to {ends[1]}"
    elif found.low is not None and found.high is not None:
        slack = 1e-9 * found.value
        if not found.low - slack <= found.value <= found.high + slack:
            yield f"{at}value {found.value} is outside of its interval from {ends[0]} to {ends[1]}"


def _of_struct(record: msgspec.Struct, at: str, *, known: bool) -> Iterator[str]:
    kind = type(record)
    least, signed = _AT_LEAST.get(kind, {}), _SIGNED.get(kind, ())
    for field in msgspec.structs.fields(record):
        name, value = field.name, getattr(record, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in signed:
            if value < least.get(name, 0):
                yield f"{at}{name} {value} is less than {least.get(name, 0)}"
        elif isinstance(value, str) and _is_real(field) and (value == "-inf" or not is_real(value)):
            yield f"{at}{name} {value!r} is no number of 0 or more"
        if name in _WORDS.get(kind, {}) and known and value not in _WORDS[kind][name]:
            yield f"{at}{name} {value!r} is none of {', '.join(_WORDS[kind][name])}"
    if isinstance(record, ProblemRecord) and any(not is_real(value) for value in record.parameters.values()):
        yield f"{at}parameters holds what is no number"


def _is_real(field: msgspec.structs.FieldInfo) -> bool:
    """Whether a field may be a number or one of the words for numbers that JSON cannot write."""
    kinds = getattr(field.type, "__args__", ())
    return float in kinds and str in kinds


def is_real(value: float | str) -> bool:
    """Whether it is a number as `Real` writes it."""
    return not isinstance(value, str) or value in ("nan", "inf", "-inf")


TRAJECTORY = {
    "losses", "weight_steps", "w", "b", "full_losses", "final_w", "final_b", "fused_losses",
    "fused_final_w", "fused_final_b",
}  # fmt: skip
"""arrays of a training, which stand beside those of the times"""


# --- arrays ---------------------------------------------------------------------------------------------------


def of_arrays(arrays: Mapping[str, Array], problem: ProblemRecord, *, needs: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with the arrays of a trajectory, a backend's or the reference's: shapes, dtypes, relations."""
    steps, d, dtype = problem.steps, problem.features, problem.dtype
    for missing in (name for name in needs if name not in arrays):
        yield f"there is no {missing}"
    for name in arrays.keys() & {"losses", "fused_losses", "w", "b", "final_w", "final_b", "full_losses"}:
        if arrays[name].dtype.kind != "f":
            yield f"{name} holds {arrays[name].dtype}, no numbers of {dtype}"
    shapes: dict[str, tuple[int | None, ...]] = {
        "losses": (None,), "fused_losses": (None,), "full_losses": (None,), "final_w": (d,), "final_b": (),
        "fused_final_w": (d,), "fused_final_b": (), "weight_steps": (None,),
    }  # fmt: skip
    for name, shape in shapes.items():
        if name in arrays and not _fits(arrays[name].shape, shape):
            yield f"{name} has the shape {arrays[name].shape}"
    for name in ("losses", "fused_losses"):
        if name in arrays and len(np.atleast_1d(arrays[name])) > steps + 1:
            yield f"{name} holds {len(arrays[name])} losses of {steps} steps"
    if "weight_steps" in arrays:
        at = arrays["weight_steps"]
        if at.dtype.kind not in "iu" or (at.size and not (at.min() >= 0 and at.max() <= steps)):
            yield "weight_steps holds what is no step of the training"
        for name, shape in (("w", (at.size, d)), ("b", (at.size,))):
            if name not in arrays or arrays[name].shape != shape:
                yield f"{name} does not have the shape {shape}"


def of_backend(arrays: Mapping[str, Array], problem: ProblemRecord, record: BackendRecord) -> Iterator[str]:
    """What is wrong with the trajectory of a backend."""
    finals = ("final_w", "final_b") if record.verdict is not None else ()
    fused = ("fused_losses", "fused_final_w", "fused_final_b") if record.fused_verdict is not None else ()
    yield from of_arrays(arrays, problem, needs=("losses", "weight_steps", *finals, *fused))
    for name in ("losses", "fused_losses") if record.verdict is not None else ():
        if name in arrays and len(np.atleast_1d(arrays[name])) != problem.steps + 1:
            yield f"{name} holds {len(np.atleast_1d(arrays[name]))} losses of a training of {problem.steps} steps"
    if ("final_w" in arrays) != ("final_b" in arrays):
        yield "there is one of final_w and final_b without the other"
    for name in arrays.keys() & {"losses", "w", "b", "final_w", "final_b"}:
        if arrays[name].dtype != problem.dtype:
            yield f"{name} holds {arrays[name].dtype}, not {problem.dtype}"


def of_reference(arrays: Mapping[str, Array], problem: ProblemRecord) -> Iterator[str]:
    """What is wrong with the reference."""
    yield from of_arrays(arrays, problem, needs=("losses", "loss_tolerance", "weights_tolerance", "final_w", "final_b"))
    for name in ("losses", "loss_tolerance", "weights_tolerance"):
        if name in arrays and (arrays[name].shape != (problem.steps + 1,) or arrays[name].dtype.kind != "f"):
            yield f"{name} does not have the shape {(problem.steps + 1,)}"
    for name in ("loss_tolerance", "weights_tolerance"):
        if name in arrays and arrays[name].dtype.kind == "f" and not (arrays[name] >= 0).all():
            yield f"{name} holds what is no tolerance"


def of_timing(arrays: Mapping[str, Array]) -> Iterator[str]:
    """What is wrong with raw timing blocks: (L, M, R) each, none of them empty; phases (L, M, R', 3)."""
    for name in arrays.keys() & TRAJECTORY:
        yield f"{name} belongs to the training, not to the times"
    blocks = {name: array for name, array in arrays.items() if name.startswith("block_")}
    for name, array in blocks.items():
        if array.ndim != 3 or not array.size:
            yield f"{name} has the shape {array.shape}, not launches x instances x rounds"
    for (name, one), (other, another) in itertools.pairwise(blocks.items()):
        if one.shape != another.shape:
            yield f"{name} and {other} differ in shape"
    whole = {*blocks, "phase_ns", "phase_clean", "first_step_ns"} - {"block_time_ns"}  # the median of no step is NaN
    for name in arrays.keys() & whole:
        if not np.isfinite(arrays[name]).all():
            yield f"{name} holds what is no number"
    for name in blocks.keys() & {"block_wall_ns", "block_time_ns", "block_steps"}:
        if not (blocks[name] > 0).all() and not np.isnan(blocks[name]).any():
            yield f"{name} holds what is not more than 0"
    if "block_steps" in blocks and blocks["block_steps"].dtype.kind not in "iu":
        yield "block_steps holds what is no number of steps"
    for name in arrays.keys() & {"phase_ns", "phase_clean"}:
        dimensions = 4 if name == "phase_ns" else 3
        if arrays[name].ndim != dimensions or (name == "phase_ns" and arrays[name].shape[-1] != len(PHASES)):
            yield f"{name} has the shape {arrays[name].shape}"
    if "first_step_ns" in arrays and arrays["first_step_ns"].ndim != 2:
        yield f"first_step_ns has the shape {arrays['first_step_ns'].shape}"
    for name in arrays:
        if name.endswith("_seconds") and (arrays[name].ndim != 1 or not (arrays[name] >= 0).all()):
            yield f"{name} holds what is no list of durations"


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (None, size) for size, want in zip(shape, wanted, strict=True))
