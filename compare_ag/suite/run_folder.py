"""The run directory: where it is made, that it is new, and what happens when it cannot be written.

Knows directories and nothing of what is written into them: `records` names and formats the files.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from compare_ag.problem import ProblemError
from compare_ag.records import SaveError, legible, remove_leftovers

DEFAULT_PARENT = Path("reports") / "runs"
PARTS = ("records", "arrays", "logs")


T = TypeVar("T")


class FolderWriter:
    """Writes a run's files. A directory that fails (full, read-only) is replaced once by a temporary one.

    Hours of training must not be lost to a full disk: the files written before are copied to the temporary directory,
    the run continues, and `failure` holds the reason for the caller to report. Where the temporary directory fails too,
    nothing more is written; the run still continues, because its table can be printed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failure: SaveError | None = None
        """why the first directory, or both, could not be written"""
        self.gave_up = False
        """whether both directories failed, so that nothing is saved any more"""

    def save(self, write: Callable[[Path], T]) -> T | None:
        """Call ``write`` with the directory and return its result; None where nothing can be saved any more."""
        if self.gave_up:
            return None
        try:
            try:
                return write(self.folder)
            except SaveError as error:
                if self.failure is not None:
                    raise
                self.failure = error
                return self._save_elsewhere(write)
        except SaveError as error:
            self.failure, self.gave_up = error, True
            return None

    def _save_elsewhere(self, write: Callable[[Path], T]) -> T:
        """Continue in a temporary directory; remove it again where it cannot be written either."""
        folder = self._replacement()
        try:
            result = write(folder)
        except SaveError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.folder = folder
        return result

    def _replacement(self) -> Path:
        try:
            fallback = Path(tempfile.mkdtemp(prefix="compare-ag-run-"))
            shutil.copytree(self.folder, fallback, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise SaveError(
                f"{self.failure}; the results could not be written to a temporary directory either: {error}"
            ) from error
        return fallback


def make_folder(output: Path | None, problem_name: str) -> Path:
    """Create the run directory: ``output`` (absent or empty), or a fresh one under reports/runs.

    Raises `ProblemError` where ``output`` is not empty, `SaveError` where the directory cannot be made.
    """
    try:
        if output is not None:
            if output.exists() and (not output.is_dir() or any(output.iterdir())):
                raise ProblemError(f"{output} already exists and is not empty; name a new directory with -o")
            output.mkdir(parents=True, exist_ok=True)
            folder = output
        else:
            folder = _make_fresh(problem_name)
        for part in PARTS:
            (folder / part).mkdir()
        _remove_leftovers(folder.parent)
    except OSError as error:
        raise SaveError(f"could not make the run directory: {error}; choose another with -o") from error
    return folder


def _make_fresh(problem_name: str) -> Path:
    """A new directory named after time and problem; two runs in the same second get different names."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{legible(problem_name)[:40] or 'problem'}"
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


def _remove_leftovers(parent: Path) -> None:
    """Remove the temporary files that killed hosts left in the runs beside this one."""
    for run in parent.iterdir():
        if all((run / part).is_dir() for part in PARTS):
            for folder in (run, *(run / part for part in PARTS)):
                remove_leftovers(folder)
