"""The values that the fields of records may have: ranges, and relations between fields. For arrays see `shapes`.

Everything that reads a run relies on these and checks none of them again. Each function gives a sentence for each
fault, with the field as its subject. Texts that a later minor version may have added (a new status, say) are not
checked in runs of such a version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from compare_ag.records.base import SCHEMA_MINOR, WITH_SUMS
from compare_ag.records.costs import Cost, Interval, Memory, PairRecord, SpeedRecord
from compare_ag.records.documents import DTYPES, FAILED, JUDGED, STATUSES, BackendRecord, Manifest, ProblemRecord
from compare_ag.records.files import is_inside
from compare_ag.records.verdicts import TestRecord, VerdictRecord

PHASES = ("forward", "backward", "update")
PAIR_VERDICTS = ("faster", "slower", "equivalent", "inconclusive")
STATES = ("running", "complete", "partial")
VERDICTS = ("agrees", "diverges", "non-finite", "undecidable", "malformed")
TESTS = ("gradient", "step", "trajectory", "loss", "update", "protocol")
EXIT_CODES = (0, 1, 2, 3, 4, 5, 6, 130, 143)
LARGEST = 1 << 53
"""Float64 holds every integer up to here; no count of ours is larger."""
HASH_SEEDS = 1 << 32
DEEPEST = 20
"""levels of nested structs, lists and dicts: no record of ours has more than ten"""
_CHOICES: dict[type, dict[str, tuple[str, ...]]] = {
    BackendRecord: {"status": STATUSES},
    VerdictRecord: {"status": VERDICTS},
    TestRecord: {"test": TESTS},
    PairRecord: {"verdict": PAIR_VERDICTS},
    Manifest: {"state": STATES},
    Cost: {"timed_by": ("blocks", "steps")},
    SpeedRecord: {"checkpoint": ("start", "middle", "end")},
}
"""the texts that a field may have"""
_AT_LEAST: dict[type, dict[str, float]] = {
    ProblemRecord: {"examples": 1, "features": 1, "steps": 1, "threads": 1, "batch_size": 1},
    SpeedRecord: {"launches": 1, "instances": 1, "rounds": 1, "threads": 1},
    Cost: {"threads_observed": 1},
    BackendRecord: {"threads_observed": 1},
}
"""the least value of a field; of all other fields it is 0"""
_SIGNED: dict[type, tuple[str, ...]] = {
    Cost: ("block_gap", "host_ratio"),
    Memory: ("growth_bytes",),
}
"""fields that may be negative"""


def manifest_faults(manifest: Manifest) -> Iterator[str]:
    """Faults of a manifest."""
    strict = manifest.schema.minor <= SCHEMA_MINOR  # a later version may have other texts
    yield from _nested_faults(manifest, "", strict=strict)
    problem, speed = manifest.problem, manifest.speed
    if problem.dtype not in DTYPES:
        yield f"the dtype {problem.dtype!r} is not one of {', '.join(DTYPES)}"
    if problem.loss not in ("logits", "probability") and strict:
        yield f"problem.loss {problem.loss!r} is not one of logits, probability"
    if manifest.exit_code not in EXIT_CODES and strict:
        yield f"exit_code {manifest.exit_code} is not an exit code of compare-ag"
    if any(code not in EXIT_CODES for code in manifest.further_exit_codes) and strict:
        yield f"further_exit_codes {manifest.further_exit_codes} are not exit codes of compare-ag"
    if not problem.learning_rate > 0:
        yield f"problem.learning_rate {problem.learning_rate} is not more than 0"
    if problem.batch_size is not None and problem.batch_size > problem.examples:
        yield f"problem.batch_size {problem.batch_size} is more than the {problem.examples} examples"
    if len(set(manifest.backends)) < len(manifest.backends):
        yield "backends names a backend twice"
    if manifest.state != "running" and manifest.baseline is not None and manifest.baseline not in manifest.backends:
        yield f"baseline {manifest.baseline!r} is not a backend of the run"
    if manifest.graph is not None and not is_inside(manifest.graph):
        yield f"graph names the file {manifest.graph!r}, which is outside of the run directory"
    if any(not 0 <= step <= problem.steps for step, _ in problem.published):
        yield "problem.published contains a step that the training does not have"
    if speed is not None:
        yield from _speed_faults(speed, manifest)


def _speed_faults(speed: SpeedRecord, manifest: Manifest) -> Iterator[str]:
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
            yield f"speed names {name!r}, which is not a backend of the run"
            return
    if any(pair.backend == pair.baseline for pair in speed.pairs):
        yield "speed.pairs contains a pair of a backend with itself"
    if len({frozenset((pair.backend, pair.baseline)) for pair in speed.pairs}) < len(speed.pairs):
        yield "speed.pairs contains a pair twice"
    if manifest.schema.minor >= 7 and speed.twins and len(speed.twins) != speed.launches:
        yield f"speed.twins names {len(speed.twins)} backends for {speed.launches} launches"


def record_faults(record: BackendRecord, manifest: Manifest) -> Iterator[str]:
    """Faults of the record of one backend, given the manifest of its run."""
    strict = manifest.schema.minor <= SCHEMA_MINOR  # a later version may have other texts
    yield from _nested_faults(record, "", strict=strict)
    for name in ("arrays", "timing_arrays", "evidence"):
        file = getattr(record, name)
        if file is not None and not is_inside(file):
            yield f"{name} names the file {file!r}, which is outside of the run directory"
        if file is not None and getattr(record, f"{name}_sha256") is None and manifest.schema.minor >= WITH_SUMS:
            yield f"{name} has a file, and {name}_sha256 is missing"
    if any(not is_inside(log) for log in record.logs):
        yield "logs names a file that is outside of the run directory"
    if record.hash_seed is not None and record.hash_seed >= HASH_SEEDS:
        yield f"hash_seed {record.hash_seed} is not a 32-bit number"
    if record.status in JUDGED and record.verdict is None and record.status != "undecidable" and strict:
        yield f"status is {record.status}, and there is no verdict"
    if record.status in FAILED and not record.reason and strict:
        yield f"status is {record.status}, and there is no reason"
    steps = manifest.problem.steps
    if any(row.step > steps for row in record.published):
        yield "published contains a step that the training does not have"
    for verdict in (record.verdict, record.fused_verdict):
        if verdict is not None and verdict.first_step is not None and verdict.first_step > steps:
            yield f"first_step {verdict.first_step} is beyond the {steps} steps"
    repetition = record.repetition
    if repetition is not None and not repetition.differing <= repetition.steps <= steps + 1:
        yield f"repetition counts {repetition.differing} of {repetition.steps} losses for {steps} steps"
    if record.cost is not None and record.cost.phases is not None and set(record.cost.phases) != set(PHASES) and strict:
        yield f"cost.phases are {', '.join(map(repr, record.cost.phases))}, not {', '.join(PHASES)}"


def _nested_faults(value: Any, path: str, *, strict: bool, depth: int = 0) -> Iterator[str]:
    """Faults of every number and text below a record.

    path: of the value in the document, with a dot at its end; strict: whether texts must be those of this version.
    """
    if depth > DEEPEST:
        yield f"{path.partition('.')[0]} is nested more than {DEEPEST} levels deep"
    elif isinstance(value, Interval):
        yield from _interval_faults(value, path)
    elif isinstance(value, msgspec.Struct):
        yield from _field_faults(value, path, strict=strict)
        for field in value.__struct_fields__:
            yield from _nested_faults(getattr(value, field), f"{path}{field}.", strict=strict, depth=depth + 1)
    elif isinstance(value, dict | list | tuple):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _nested_faults(part, f"{path}{key}.", strict=strict, depth=depth + 1)
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{path[:-1]} {value} is too large for any count"


def _interval_faults(interval: Interval, path: str) -> Iterator[str]:
    """A time or a ratio: positive, with both ends or none, and between them."""
    ends = (interval.low, interval.high)
    if not 0 < interval.value < math.inf:
        yield f"{path}value {interval.value} is not a positive number"
    elif (interval.low is None) != (interval.high is None):
        yield f"{path[:-1]} has one end of an interval without the other"
    elif interval.low is not None and interval.high is not None and not 0 < interval.low <= interval.high < math.inf:
        yield f"{path[:-1]} has an interval from {ends[0]} to {ends[1]}"
    elif interval.low is not None and interval.high is not None:
        slack = 1e-9 * interval.value
        if not interval.low - slack <= interval.value <= interval.high + slack:
            yield f"{path}value {interval.value} is outside of its interval from {ends[0]} to {ends[1]}"


def _field_faults(record: msgspec.Struct, path: str, *, strict: bool) -> Iterator[str]:
    kind = type(record)
    least, signed = _AT_LEAST.get(kind, {}), _SIGNED.get(kind, ())
    for field in msgspec.structs.fields(record):
        name, value = field.name, getattr(record, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in signed:
            if value < least.get(name, 0):
                yield f"{path}{name} {value} is less than {least.get(name, 0)}"
        elif isinstance(value, str) and _is_real(field) and (value == "-inf" or not is_real(value)):
            yield f"{path}{name} {value!r} is not a number of 0 or more"
        if name in _CHOICES.get(kind, {}) and strict and value not in _CHOICES[kind][name]:
            yield f"{path}{name} {value!r} is not one of {', '.join(_CHOICES[kind][name])}"
    if isinstance(record, ProblemRecord) and any(not is_real(value) for value in record.parameters.values()):
        yield f"{path}parameters contains a text that is not a number"


def _is_real(field: msgspec.structs.FieldInfo) -> bool:
    """Whether a field is a `Real`."""
    kinds = getattr(field.type, "__args__", ())
    return float in kinds and str in kinds


def is_real(value: float | str) -> bool:
    """Whether a value is a number as a `Real` field holds it."""
    return not isinstance(value, str) or value in ("nan", "inf", "-inf")
