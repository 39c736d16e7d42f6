"""The progress board: sixteen shared bytes that say where the worker is.

The worker writes its phase and step there as it goes (two stores into mapped memory, no system call), and
the host reads them whenever it likes: for the progress display, and for the sentence "SIGSEGV in forward,
step 17" after a death that left the worker no time to speak.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
from pathlib import Path

from compare_ag.worker.protocol import PHASES

SIZE = 16
NO_STEP = (1 << 64) - 1
_CELLS = struct.Struct("=QQ")
_EMPTY = _CELLS.pack(0, NO_STEP)
CODE = {phase: code for code, phase in enumerate(PHASES)}


class Board:
    """The worker's side: two unsigned 64-bit cells, phase code and step, in a file that it maps."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.write_bytes(_EMPTY)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)
        self.cells = memoryview(self._map).cast("Q")
        """cells[0] is the phase's code, cells[1] the step"""

    def enter(self, phase: str, step: int | None = None) -> None:
        """Say that the worker is now in ``phase`` (of ``step``)."""
        self.cells[1] = NO_STEP if step is None else step
        self.cells[0] = CODE[phase]

    def read(self) -> tuple[str, int | None]:
        """Return phase and step; the step is None outside the training loop."""
        return _position(self.cells[0], self.cells[1])


class BoardReader:
    """The host's side: makes the file and reads it, also when the worker has ended and the file is gone.

    It does not map the file. Touching a mapping beyond the end of a file that a plugin has truncated would be a
    SIGBUS, which ends the host.
    """

    def __init__(self, path: Path) -> None:
        path.write_bytes(_EMPTY)
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self) -> tuple[str, int | None]:
        """Return phase and step, as `Board.read`; of a file that is too short the last phase and no step."""
        data = os.pread(self._descriptor, SIZE, 0)
        return _position(*_CELLS.unpack(data)) if len(data) == SIZE else (PHASES[-1], None)


def _position(code: int, step: int) -> tuple[str, int | None]:
    return PHASES[code] if code < len(PHASES) else PHASES[-1], None if step == NO_STEP else step
