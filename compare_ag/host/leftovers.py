"""Workers' temporary folders and processes that a killed host, or a killed warden, could not remove itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from compare_ag.host.launch import MARK

FOLDER_PREFIX = "compare-ag-worker-"
LOCK_NAME = "host.lock"


def lock_folder(folder: Path) -> int:
    """Lock a worker's folder; return the descriptor that holds the lock until it is closed or this process ends.

    A lock and no process id: an id may be another's by now, or be counted in another container that shares the folder.
    """
    unnamed = folder / "lock"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: this folder will never pass for a leftover
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(folder / LOCK_NAME)  # named once it is held: by its name a free lock means a dead host
    return descriptor


def remove_leftovers() -> None:
    """Remove the workers' folders of killed hosts: this user's own, by their name, and with a lock that is free."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(FOLDER_PREFIX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # in use, another user's, or gone meanwhile
                    _remove_unlocked(entry)


def _remove_unlocked(entry: os.DirEntry[str]) -> None:
    """Remove a folder of this user's. Raises `OSError` where its lock is missing, a link or held."""
    if entry.stat(follow_symlinks=False).st_uid != os.getuid():
        return
    descriptor = os.open(Path(entry.path, LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(descriptor)


def sweep(mark: str) -> None:
    """Kill what a worker left behind outside its process group, found by the mark in its environment."""
    import psutil

    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                process.kill()
        except (psutil.Error, OSError):  # not ours to look into, or gone meanwhile
            continue
