"""Problems: data, start and hyper-parameters of a training; the built-in problems; reading files of users.

    core            the `Problem`, and small functions of its data: all that a worker imports
    make            from data and options to a problem: defaults, checks, rounding to the tested dtype
    builtin         the built-in problems and how users name them (builtin_seed, builtin_synthetic)
    files           reading a file or a data frame (files_csv, files_libsvm, files_arrays)
    table           shared by the readers: the source with its messages, choosing columns, labels
    features        standardising, and warnings about features
    checks          checks of values, and how messages quote them
    estimate        whether a problem fits into memory

Knows nothing of backends, workers or records. Every mistake in the input is a `ProblemError`, whose message tells the
user what is wrong, where, and what to do.

Modules that make problems are loaded at first use: a worker imports `compare_ag.problem.core` alone, and the published
losses of the problem ``seed`` must not be in the memory of a worker that is asked to compute them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compare_ag.problem.core import (
    DTYPES,
    LOSS_FORMS,
    Data,
    Problem,
    ProblemError,
    batch_rows,
    batches,
    largest_curvature,
    recorded_steps,
)

if TYPE_CHECKING:
    from compare_ag.problem.builtin import PROBLEMS, BuiltIn, parse_problem
    from compare_ag.problem.builtin_seed import PUBLISHED, PUBLISHED_TOLERANCE, seed_data
    from compare_ag.problem.builtin_synthetic import synthetic
    from compare_ag.problem.files import load_file
    from compare_ag.problem.make import make_problem, problem_by_name

__all__ = [
    "DTYPES",
    "LOSS_FORMS",
    "PROBLEMS",
    "PUBLISHED",
    "PUBLISHED_TOLERANCE",
    "BuiltIn",
    "Data",
    "Problem",
    "ProblemError",
    "batch_rows",
    "batches",
    "largest_curvature",
    "load_file",
    "make_problem",
    "parse_problem",
    "problem_by_name",
    "recorded_steps",
    "seed_data",
    "synthetic",
]

_HOME = {
    "PROBLEMS": "builtin",
    "BuiltIn": "builtin",
    "parse_problem": "builtin",
    "PUBLISHED": "builtin_seed",
    "PUBLISHED_TOLERANCE": "builtin_seed",
    "seed_data": "builtin_seed",
    "synthetic": "builtin_synthetic",
    "load_file": "files",
    "make_problem": "make",
    "problem_by_name": "make",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
