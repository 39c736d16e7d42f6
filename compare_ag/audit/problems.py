"""From the record of a problem back to the problem, with its data made or read again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from compare_ag.audit.levels import Mismatch
from compare_ag.problem import ProblemError, make_problem
from compare_ag.problem.builtin import PROBLEMS

if TYPE_CHECKING:
    from compare_ag.problem import Data, Problem
    from compare_ag.records import ProblemRecord

MANIFEST = "manifest.json"


class UnavailableError(Exception):
    """The problem of a run cannot be made again on this machine. The message says why, and what to do."""


class ContradictionError(Exception):
    """What a run says of its problem cannot be: see ``mismatch``."""

    def __init__(self, mismatch: Mismatch) -> None:
        super().__init__(mismatch.sentence)
        self.mismatch = mismatch


def problem_of(record: ProblemRecord, data: Data | None = None) -> Problem:
    """The problem that a run trained.

    data: those of a file, which a run does not keep. Raises `UnavailableError` where they are needed, and
    `ContradictionError` where no problem is as the record says.
    """
    made = _built_in(record) if data is None else data
    try:
        problem = make_problem(
            made,
            loss=record.loss,
            l2=record.l2,
            steps=record.steps,
            learning_rate=record.learning_rate if record.learning_rate_source == "given" else None,
            dtype=record.dtype,
            seed=record.seed,
            threads=record.threads,
            batch_size=record.batch_size,
        )
    except ProblemError as error:
        if "memory" in str(error):
            raise UnavailableError(str(error)) from None
        raise ContradictionError(Mismatch(MANIFEST, "problem", "a problem that was trained", str(error))) from None
    if data is not None and problem.digest() != record.digest:
        derived = f"{problem.digest()}: {made.name} holds other data, or it was read otherwise"
        raise ContradictionError(Mismatch(MANIFEST, "problem.digest", record.digest, derived))
    return problem


def _built_in(record: ProblemRecord) -> Data:
    if record.name not in PROBLEMS:
        raise UnavailableError(f"the data {record.name!r} are not kept with a run: name them with --data FILE")
    known = PROBLEMS[record.name]
    parameters: dict[str, Any] = {}
    for name, default in known.parameters.items():
        value = float(record.parameters.get(name, default))
        size = {"n": record.examples, "d": record.features}.get(name, value)
        if not math.isfinite(value) or value != size:  # a forged size may ask for days of work
            raise ContradictionError(Mismatch(MANIFEST, f"problem.parameters.{name}", value, size))
        parameters[name] = type(default)(value)
    try:
        return known.load(**parameters)
    except ProblemError as error:
        raise UnavailableError(str(error)) from None
