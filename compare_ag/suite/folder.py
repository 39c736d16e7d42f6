"""The run directory: where it goes and that it is new."""

from __future__ import annotations

import time
from pathlib import Path

from compare_ag.problem import ProblemError
from compare_ag.records import SaveError

DEFAULT_PARENT = Path("reports") / "runs"


def make_folder(output: Path | None, problem_name: str) -> Path:
    """Create the run directory: ``output`` (absent or empty), or a fresh one under reports/runs.

    Raises `ProblemError` where ``output`` already holds something, `SaveError` where it cannot be made.
    """
    try:
        if output is not None:
            if output.exists() and (not output.is_dir() or any(output.iterdir())):
                raise ProblemError(f"{output} already exists and is not empty; name a new directory with -o")
            output.mkdir(parents=True, exist_ok=True)
            folder = output
        else:
            folder = _fresh(problem_name)
        for part in ("records", "arrays", "logs"):
            (folder / part).mkdir()
    except OSError as error:
        raise SaveError(f"could not make the run directory: {error}; choose another with -o") from error
    return folder


def _fresh(problem_name: str) -> Path:
    """A new directory named after moment and problem; two runs in one second get different ones."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{_safe(problem_name)}"
    DEFAULT_PARENT.mkdir(parents=True, exist_ok=True)
    attempt = 1
    while True:
        folder = DEFAULT_PARENT / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            attempt += 1
        else:
            return folder


def _safe(name: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return kept.strip(".-")[:40] or "problem"
