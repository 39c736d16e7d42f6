"""A worker's output in files of limited size, so that a flood fills neither a pipe nor a disk."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path
from typing import IO

LOG_CAP = 1 << 20
"""most bytes of each of stdout and stderr in a file"""
LAST_READS = 64
"""blocks of 64 KiB that are still read from a log pipe once the worker has ended"""
POLL_SECONDS = 0.1


class Log:
    """Drains one output stream of a worker into a file: at most `LOG_CAP` bytes, the rest counted."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self.path = path
        self.size = 0
        self._stream = stream
        self._dropped = 0
        self._file: IO[bytes] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._drain, name=f"log {path.name}", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        descriptor = self._stream.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        # never wait for the end of the stream: a grandchild may keep it open, and write to it, for ever
        reads_left = LAST_READS
        with self._stream:  # closed by the thread that reads it, so that the descriptor's number is not reused before
            while reads_left:
                stopping = self._stop.is_set()
                reads_left -= stopping
                if not poll.poll(0 if stopping else POLL_SECONDS * 1000):
                    if stopping:
                        return
                    continue
                data = os.read(descriptor, 1 << 16)
                if not data:
                    return
                self._keep(data)

    def _keep(self, data: bytes) -> None:
        room = LOG_CAP - self.size
        self._dropped += max(0, len(data) - room)
        if room <= 0:
            return
        try:
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(data[:room])
            self._file.flush()
        except OSError:  # on a full disk, continue to drain the pipe without storing, so that the worker is not blocked
            self._dropped += len(data[:room])
            return
        self.size += min(room, len(data))

    def close(self) -> None:
        """Stop draining; write at the end of the file how many bytes were dropped."""
        self._stop.set()
        self._thread.join()
        if self._file is not None:
            if self._dropped:
                self._file.write(f"\n[{self._dropped} more bytes were dropped]\n".encode())
            self._file.close()
