"""From data and options to a problem: defaults, checks, and the rounding to the tested dtype.

Numbers are rounded here and nowhere else, so that every backend and the reference get the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compare_ag.problem.builtin import PROBLEMS, parse_problem
from compare_ag.problem.builtin_seed import (
    PUBLISHED_LEARNING_RATE,
    PUBLISHED_STEPS,
    PUBLISHED_TOLERANCE,
    RECOVERED_START,
    is_seed,
    published_losses,
)
from compare_ag.problem.checks import match_choice, quoted, real_number, whole_number
from compare_ag.problem.core import DTYPES, LOSS_FORMS, Data, Problem, ProblemError, largest_curvature
from compare_ag.problem.estimate import require_memory_for_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compare_ag.problem.core import Array, DType, LossForm


class Defaults(NamedTuple):
    """The values of options that are not given."""

    loss: LossForm
    dtype: DType
    steps: int
    learning_rate: float | None
    """None: 1/L"""


DEFAULTS = Defaults("logits", "float64", 1000, None)
SEED_DEFAULTS = Defaults("probability", "float32", PUBLISHED_STEPS, PUBLISHED_LEARNING_RATE)
"""The values of the publication."""


def problem_by_name(text: str, **options: Any) -> Problem:
    """Make a built-in problem from what a user wrote (`parse_problem`); ``options`` are those of `make_problem`.

    The ``seed`` inside the text makes the synthetic data; the option ``seed`` draws the start and the batches.
    """
    name, parameters = parse_problem(text)
    return make_problem(PROBLEMS[name].load(**parameters), **options)


def make_problem(
    data: Any,
    *,
    target: str | int | None = None,
    features: str | Sequence[str | int] = (),
    drop: str | Sequence[str | int] = (),
    standardize: bool = False,
    loss: str | None = None,
    l2: float = 0.0,
    steps: int | None = None,
    learning_rate: float | None = None,
    dtype: str | None = None,
    seed: int = 0,
    threads: int = 1,
    batch_size: int | None = None,
) -> Problem:
    """Fix everything about a training run but the backend.

    data: a `Data`, or a data frame of pandas, polars or Arrow. Of a frame, ``target`` names the column of the labels;
    ``features``, ``drop`` and ``standardize`` are those of `files.load_file`.

    None stands for the default: that of the publication for the problem ``seed`` (`SEED_DEFAULTS`), else
    `DEFAULTS`, with the learning rate 1/L of `largest_curvature`. X, y, w0, b0, the learning rate and l2 are rounded to
    ``dtype`` here and nowhere else. The start is the recovered one for ``seed``, else w ~ N(0, 1/d) and b = 0, drawn
    from ``seed``. The published losses are attached where the run is the published one as far as it goes.
    A ``batch_size`` of n is the full batch. Raises `ProblemError` for values out of range and for those that do not
    survive the rounding.
    """
    if not isinstance(data, Data):
        data = _frame(data, target, standardize, features=features, drop=drop)
    elif target is not None or features or drop or standardize:
        raise ProblemError("target, features, drop and standardize are for a data frame; these data are complete")
    _require_sound(data)
    default = SEED_DEFAULTS if is_seed(data) else DEFAULTS
    form = match_choice("loss", default.loss if loss is None else loss, LOSS_FORMS)
    kind = match_choice("dtype", default.dtype if dtype is None else dtype, DTYPES)
    steps = whole_number("steps", default.steps if steps is None else steps, least=1)
    seed = whole_number("seed", seed, least=0)
    threads = whole_number("threads", threads, least=1)
    batch_size = _batch_size(batch_size, len(data.y))
    require_memory_for_steps(data.name, steps, len(data.y), batch_size)
    l2 = _rounded("l2", real_number("l2", l2, least=0), kind)

    X = _rounded_features(data, kind)
    curvature = largest_curvature(X, l2, batch_size)
    rate, source = _learning_rate(learning_rate, default.learning_rate, curvature, kind)
    w0, start = _start(data, seed)
    as_published = (
        default is SEED_DEFAULTS
        and (form, kind, rate) == (default.loss, default.dtype, _rounded("", PUBLISHED_LEARNING_RATE, kind))
        and l2 == 0
        and batch_size is None
    )
    return Problem(
        data=data,
        X=_frozen(X),
        y=_frozen(data.y.astype(kind)),
        w0=_frozen(w0.astype(kind)),
        b0=_frozen(np.zeros((), kind)),
        start=start,
        dtype=kind,
        loss=form,
        steps=steps,
        learning_rate=rate,
        learning_rate_source=source,
        curvature=curvature,
        l2=l2,
        seed=seed,
        threads=threads,
        batch_size=batch_size,
        published=published_losses(steps) if as_published else (),
        published_tolerance=PUBLISHED_TOLERANCE if as_published else 0.0,
    )


def _frame(frame: Any, target: str | int | None, standardize: bool, **columns: Any) -> Data:
    from compare_ag.problem.files import load_file  # loads the readers only where something is read

    if not hasattr(frame, "__arrow_c_stream__"):
        raise ProblemError(
            f"data must be a Data or a data frame of pandas, polars or Arrow, not {type(frame).__name__}; "
            "load_file reads a file"
        )
    return load_file(frame, target, standardize, **columns)


def _require_sound(data: Data) -> None:
    """Check data that a caller made; the loaders guarantee what `Data` states."""
    X, y = data.X, data.y
    if X.ndim != 2 or 0 in X.shape or y.shape != X.shape[:1]:
        raise ProblemError(f"{data.name}: X must be (n, d) and y (n,), not {X.shape} and {y.shape}")
    if not np.isfinite(X).all():
        raise ProblemError(f"{data.name}: X holds NaN or infinity")
    if not np.array_equal(np.unique(y), [0, 1]):
        raise ProblemError(f"{data.name}: y must hold 0 and 1, both of them, and nothing else")


def _batch_size(batch_size: int | None, n: int) -> int | None:
    if batch_size is None:
        return None
    batch_size = whole_number("batch size", batch_size, least=1)
    if batch_size > n:
        raise ProblemError(f"batch size must be at most {n}, the number of examples, not {batch_size}")
    return None if batch_size == n else batch_size


def _rounded(name: str, value: float, dtype: DType) -> float:
    """Return the value in ``dtype``; raise `ProblemError` where it overflows, or becomes 0 without being 0."""
    with np.errstate(over="ignore", under="ignore"):
        result = float(np.dtype(dtype).type(value))
    if not np.isfinite(result) or (result == 0) != (value == 0):
        raise ProblemError(f"{name} {value:g} rounds to {result:g} in {dtype}; choose another value or --dtype float64")
    return result


def _rounded_features(data: Data, dtype: DType) -> Array:
    """Return X (n, d) in ``dtype``; raise `ProblemError` where X overflows, or the squares that give 1/L."""
    # as a loader returns it
    reusable = data.X.dtype == dtype and data.X.flags.c_contiguous and not data.X.flags.writeable
    with np.errstate(over="ignore", under="ignore"):
        X = data.X if reusable else np.array(data.X, dtype=dtype, order="C")
    n, d = X.shape
    largest = min(float(np.finfo(dtype).max), float(np.sqrt(np.finfo(np.float64).max / (n * (d + 1)))))
    if max(X.max(), -X.min()) > largest:
        row, column = divmod(int(np.argmax(np.abs(X) > largest)), d)
        column_name = quoted(data.feature_names[column]) if data.feature_names else f"{column} (counted from 0)"
        raise ProblemError(
            f"{data.name}: column {column_name}, row {row} of the data (counted from 0): {data.X[row, column]:g} "
            f"is too large for training in {dtype}; scale the column or use --standardize"
        )
    return X


def _learning_rate(value: float | None, default: float | None, curvature: float, dtype: DType) -> tuple[float, str]:
    """Return the rate, rounded, and where it comes from."""
    if value is not None:
        rate = real_number("learning rate", value, least=0)
        if rate == 0:
            raise ProblemError("learning rate must be greater than 0")
        return _rounded("learning rate", rate, dtype), "given"
    if default is not None:
        return _rounded("learning rate", default, dtype), "published"
    return _rounded("learning rate 1/L =", 1 / curvature, dtype), "1/L"


def _start(data: Data, seed: int) -> tuple[Array, str]:
    """Return w0 (d,) in float64 and a sentence about it; b0 is always 0."""
    if is_seed(data):
        return np.array(RECOVERED_START), f"recovered from the published losses: w = {RECOVERED_START}, b = 0"
    d = data.X.shape[1]
    w0 = np.random.default_rng([seed, 0x57A7]).standard_normal(d) / np.sqrt(d)
    return w0, f"w drawn from N(0, 1/{d}) with seed {seed}, b = 0"


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array
