"""Where frameworks that compile keep their code: one folder for each backend of a run, shared by its workers.

A worker's home is empty, so that each worker of a compiler would compile the same programs again. The folder starts
empty with the run, a second one with the run's timing, so that what compiling costs is measured once; both go with the
run, and what a killed host leaves of them is removed like a worker's folder (`host.leftovers`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from compare_ag.host.leftovers import FOLDER_PREFIX, lock_folder

LARGEST_BYTES = 4 << 30
MOST_FILES = 100_000
"""of one cache: more is a plugin that fills the disk"""
LOOK_SECONDS = 2.0
"""between two looks at the size of a cache"""


@contextlib.contextmanager
def cache_folder() -> Iterator[Path | None]:
    """A temporary folder for all caches of a run, removed on leaving; None where none can be made.

    Without it each worker compiles for itself, as it does where it is not part of a run.
    """
    with contextlib.ExitStack() as stack:
        folder = None
        with contextlib.suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.callback(os.close, lock_folder(folder))
        yield folder


def holds_files(folder: Path | None) -> bool:
    """Whether anything has been kept there."""
    return folder is not None and any(names for _, _, names in os.walk(folder))


def too_large(folder: Path) -> str:
    """What is too much about a cache, in words; empty where nothing is. Links are not followed."""
    total = files = 0
    for path, _, names in os.walk(folder):
        files += len(names)
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                total += os.stat(os.path.join(path, name), follow_symlinks=False).st_blocks * 512
        if total > LARGEST_BYTES:
            return f"{LARGEST_BYTES >> 30} GiB"
        if files > MOST_FILES:
            return f"{MOST_FILES:,} files"
    return ""
