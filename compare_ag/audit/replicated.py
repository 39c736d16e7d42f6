"""The third level: the run repeated, with the same problem and backends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.audit.levels import Level, Mismatch
from compare_ag.audit.problems import ContradictionError, UnavailableError, problem_of
from compare_ag.records import JUDGED, record_name
from compare_ag.suite.start_run import DEFAULT_TIMEOUT, NothingToRunError
from compare_ag.suite.start_run import run as run_again

if TYPE_CHECKING:
    from compare_ag.problem import Data
    from compare_ag.records import Array, BackendRecord, Environment, Run
    from compare_ag.suite.observer import Observer

LONGEST = 366 * 86400.0
TOGETHER = 2.0
"""tolerances that two right runs may be apart: each is within one of the reference"""


def replicated(run: Run, data: Data | None = None, observer: Observer | None = None) -> Level:
    """Repeat the training of every backend that was judged, and compare the numbers.

    Raises `discovery.SelectionError` where a backend is not installed.
    """
    level = Level("replicated")
    names = [name for name, record in run.records.items() if record.status in JUDGED]
    try:
        problem = problem_of(run.manifest.problem, data)
        if not names:
            raise UnavailableError("no backend of the run was judged")
        with tempfile.TemporaryDirectory(prefix="compare-ag-verify-") as folder:
            again = run_again(
                names, problem, timing=False, timeout=_timeout(run), output=Path(folder) / "run", observer=observer
            )
            for name in names:
                level.mismatches += _backend(run, again, name)
            equal = [name for name in names if _same_bits_expected(run, again, name)]
    except ContradictionError as error:
        level.mismatches.append(error.mismatch)
        return level
    except (UnavailableError, NothingToRunError) as error:
        level.possible = False
        level.notes.append(f"not possible: {error}")
        return level
    level.checked = f"{len(names)} backends trained again, the same bits expected of {len(equal)}"
    level.notes += [f"{name}: only numbers within tolerance are expected" for name in names if name not in equal]
    return level


def _timeout(run: Run) -> float:
    timeout = run.manifest.options.get("timeout")
    return float(timeout) if isinstance(timeout, int | float) and 0 < timeout < LONGEST else DEFAULT_TIMEOUT


def _backend(run: Run, again: Run, name: str) -> Iterator[Mismatch]:
    old, new, file = run[name], again[name], record_name(name)
    if not old.timing_note.startswith("it failed while") and old.status != new.status:
        yield Mismatch(file, "status", old.status, f"{new.status}: {new.reason}" if new.reason else new.status)
        return
    kept, made = run.arrays(name), again.arrays(name)
    if "losses" not in kept or "losses" not in made:
        return
    if kept["losses"].shape != made["losses"].shape:
        yield Mismatch(old.arrays or file, "losses", len(kept["losses"]), len(made["losses"]))
        return
    if _same_bits_expected(run, again, name):
        for key in ("losses", "w", "b", "final_w", "final_b"):
            if key in made and kept[key].tobytes() != made[key].tobytes():
                yield Mismatch(old.arrays or file, key, *_first_difference(kept[key], made[key]))
    elif old.status == "ok":
        yield from _within(run, old, kept["losses"], made["losses"])


def _within(run: Run, record: BackendRecord, kept: Array, made: Array) -> Iterator[Mismatch]:
    allowed = TOGETHER * run.reference["loss_tolerance"]
    with np.errstate(all="ignore"):
        apart = np.abs(kept.astype(np.float64) - made)
        wrong = np.flatnonzero(~(apart <= allowed) & np.isfinite(allowed))
    if len(wrong):
        step = int(wrong[0])
        yield Mismatch(record.arrays or "", f"losses[{step}]", float(kept[step]), float(made[step]))


def _first_difference(kept: Array, made: Array) -> tuple[float, float]:
    place = int(np.flatnonzero(np.ravel(kept) != np.ravel(made))[:1].sum())
    return float(np.ravel(kept)[place]), float(np.ravel(made)[place])


def _same_bits_expected(run: Run, again: Run, name: str) -> bool:
    """Whether machine and versions are the same, and the backend repeats itself."""
    old, new = run[name], again[name]
    versions = (old.module, old.version, old.versions) == (new.module, new.version, new.versions)
    repeats = old.repeatable is True and new.repeatable is True
    return versions and repeats and _machine(run.manifest.environment) == _machine(again.manifest.environment)


def _machine(environment: Environment) -> tuple[object, ...]:
    return (
        environment.python, environment.implementation, environment.system, environment.machine, environment.cpu,
        environment.libraries, environment.thread_variables,
    )  # fmt: skip
