"""The progress board: sixteen shared bytes that say where the worker is.

The worker writes its phase and step there as it goes (two stores into mapped memory, no system call), and
the host reads them whenever it likes: for the progress display, and for the sentence "SIGSEGV in forward,
step 17" after a death that left the worker no time to speak.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from compare_ag.worker.protocol import PHASES

SIZE = 16
NO_STEP = (1 << 64) - 1
CODE = {phase: code for code, phase in enumerate(PHASES)}


class Board:
    """Two unsigned 64-bit cells, phase code and step, in a file mapped by host and worker.

    It stays readable when the worker has ended and the file is gone: the mapping lives as long as this object.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.write_bytes(bytes(8) + NO_STEP.to_bytes(8, "little"))
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
        code, step = self.cells[0], self.cells[1]
        phase = PHASES[code] if code < len(PHASES) else "finish"
        return phase, None if step == NO_STEP else step
