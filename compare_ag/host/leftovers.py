"""Removes temporary folders and processes of workers whose host or warden was killed before it could do so."""

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

    A lock instead of a process id, because an id may be reused, or belong to another container that shares the folder.
    """
    unnamed = folder / "lock"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: this folder will never count as a leftover
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(folder / LOCK_NAME)  # named only when locked, so that a free lock of this name means a dead host
    return descriptor


def remove_leftovers() -> None:
    """Remove the workers' folders of killed hosts: folders of this user, with a worker's name and a free lock."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(FOLDER_PREFIX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # in use, another user's, or gone meanwhile
                    _remove_unlocked(entry)


def _remove_unlocked(entry: os.DirEntry[str]) -> None:
    """Remove a folder of this user. Raises `OSError` where its lock is missing, a link, or in use."""
    if entry.stat(follow_symlinks=False).st_uid != os.getuid():
        return
    descriptor = os.open(Path(entry.path, LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(descriptor)


def sweep(mark: str) -> None:
    """Kill processes of a worker outside its process group; the mark in their environment identifies them."""
    import psutil

    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                process.kill()
        except (psutil.Error, OSError):  # another user's process, or ended meanwhile
            continue
