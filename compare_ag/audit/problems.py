"""From the record of a problem back to the problem, with its data made or read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compare_ag.problem import ProblemError, make_problem
from compare_ag.problem.builtin import PROBLEMS

if TYPE_CHECKING:
    from compare_ag.problem import Data, Problem
    from compare_ag.records import ProblemRecord


class UnavailableError(Exception):
    """The problem of a run cannot be made again on this machine. The message says why, and what to do."""


def problem_of(record: ProblemRecord, data: Data | None = None) -> Problem:
    """The problem that a run trained.

    data: those of a file, which a run does not keep. Raises `UnavailableError` where they are needed, or others.
    """
    try:
        problem = make_problem(
            _built_in(record) if data is None else data,
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
        raise UnavailableError(str(error)) from None
    if data is not None and problem.digest() != record.digest:
        raise UnavailableError(f"{data.name}: these are not the data of the run, or they were read otherwise")
    return problem


def _built_in(record: ProblemRecord) -> Data:
    if record.name not in PROBLEMS:
        raise UnavailableError(f"the data {record.name!r} are not kept with a run: name them with --data FILE")
    known = PROBLEMS[record.name]
    parameters: dict[str, Any] = {}
    for name, default in known.parameters.items():
        value = float(record.parameters.get(name, default))
        if not value == value or abs(value) == float("inf"):
            raise UnavailableError(f"the parameter {name} of {record.name} is {value}")
        parameters[name] = type(default)(value)
    return known.load(**parameters)
