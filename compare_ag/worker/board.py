"""Memory that host and worker share: the worker's position, and its results that have not been sent yet.

    board   phase and step (two stores without a system call): for the progress display, and for the sentence
            "SIGSEGV in forward, step 17" after a death that left the worker no time to send a message
    tail    losses, weights and gradients since the last `Chunk`: after a death or a hang they are the steps so far

It is an anonymous file, so that it needs no room on a disk and has no name under which a plugin could delete it. The
host reads it with `os.pread` and never maps it: touching a mapping beyond the end of a file that a plugin has truncated
would raise SIGBUS, which ends the host.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compare_ag.worker.messages import PHASES

if TYPE_CHECKING:
    from compare_ag.worker.messages import Array

SIZE = 16
NO_STEP = (1 << 64) - 1
_CELLS = struct.Struct("=QQ")
_EMPTY = _CELLS.pack(0, NO_STEP)
CODE = {phase: code for code, phase in enumerate(PHASES)}
_COUNTS = struct.Struct("=QQQQQ")
TAIL_LOSSES = 1 << 14
"""most losses in a tail"""
TAIL_ROWS = 4096
TAIL_BYTES = 1 << 20
"""most bytes of weights in a tail, unless a single row is longer"""


def shared_file(folder: str | os.PathLike[str] | None = None) -> int:
    """A new anonymous file with an empty board, in memory where the system can, else in ``folder``; may raise
    `OSError`.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("compare-ag board")
    else:
        import tempfile  # imported late, because every worker would pay for it

        descriptor, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
    os.pwrite(descriptor, _EMPTY, 0)
    return descriptor


class Board:
    """The worker's side of the board: two unsigned 64-bit cells, phase code and step, mapped from the shared file."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, SIZE)
        self.cells = memoryview(self._map).cast("Q")
        """cells[0] is the phase's code, cells[1] the step"""

    def enter(self, phase: str, step: int | None = None) -> None:
        """Record that the worker is now in ``phase`` (of ``step``)."""
        self.cells[1] = NO_STEP if step is None else step
        self.cells[0] = CODE[phase]

    def read(self) -> tuple[str, int | None]:
        """Return phase and step; the step is None outside the training loop."""
        return _position(self.cells[0], self.cells[1])


class BoardReader:
    """The host's side: makes the file and reads it, also after the worker has ended."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.descriptor = shared_file(folder)
        self._close = weakref.finalize(self, os.close, self.descriptor)

    def close(self) -> None:
        """Close the file of a worker that could not be started."""
        self._close()

    def read(self) -> tuple[str, int | None]:
        """Return phase and step, as `Board.read`; for a file that is too short the last phase and no step."""
        data = os.pread(self.descriptor, SIZE, 0)
        return _position(*_CELLS.unpack(data)) if len(data) == SIZE else (PHASES[-1], None)

    def make_room(self, room: TailRoom) -> None:
        """Make an empty tail for a training, where there is memory for it."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, SIZE)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.descriptor, 0, SIZE + room.nbytes)
            else:
                os.pwrite(self.descriptor, bytes(room.nbytes), SIZE)

    def read_tail(self, room: TailRoom) -> TailRead | None:
        """The worker's results since its last chunk; None where the tail is empty or invalid."""
        data = os.pread(self.descriptor, room.nbytes, SIZE)
        if len(data) < room.nbytes:
            return None
        counts = _COUNTS.unpack_from(data)
        parts = room.arrays(data)
        if any(count > len(parts[name]) for count, name in zip(counts[1:], _LENGTHS, strict=True)):
            return None
        length = dict(zip(_LENGTHS, counts[1:], strict=True))
        arrays = {name: array[: length[_COUNTED_BY[name]]].copy() for name, array in parts.items()}
        return TailRead(counts[0], arrays)


def _position(code: int, step: int) -> tuple[str, int | None]:
    return PHASES[code] if code < len(PHASES) else PHASES[-1], None if step == NO_STEP else step


_LENGTHS = ("losses", "b", "gradient_b", "full_losses")
"""the arrays whose lengths are counted, in the order of the counts"""
_COUNTED_BY = {
    "losses": "losses",
    "w": "b",
    "b": "b",
    "gradient_w": "gradient_b",
    "gradient_b": "gradient_b",
    "full_losses": "full_losses",
}


class TailRead(NamedTuple):
    """The content of a tail."""

    first_loss: int
    arrays: dict[str, Array]
    """as in a `Chunk`"""


class TailRoom(NamedTuple):
    """The room of a tail for a training with d features: host and worker compute it from the same numbers."""

    features: int
    dtype: str

    @property
    def rows(self) -> int:
        """Most weights, and most gradients."""
        return max(1, min(TAIL_ROWS, TAIL_BYTES // (np.dtype(self.dtype).itemsize * (self.features + 1))))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays, in their order."""
        rows, d = self.rows, self.features
        return {
            "losses": (TAIL_LOSSES,),
            "w": (rows, d),
            "b": (rows,),
            "gradient_w": (rows, d),
            "gradient_b": (rows,),
            "full_losses": (rows,),
        }

    @property
    def nbytes(self) -> int:
        """Bytes of counts and arrays."""
        numbers = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return _COUNTS.size + np.dtype(self.dtype).itemsize * numbers

    def arrays(self, buffer: Any) -> dict[str, Array]:
        """The arrays in a buffer that holds a tail."""
        arrays, offset = {}, _COUNTS.size
        for name, shape in self.shapes.items():
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(buffer, self.dtype, count, offset).reshape(shape)
            offset += arrays[name].nbytes
        return arrays


class Tail:
    """The worker's side of a tail: arrays to be filled, and the count of numbers in each."""

    def __init__(self, room: TailRoom, descriptor: int | None) -> None:
        size = SIZE + room.nbytes
        shared = descriptor is not None and os.fstat(descriptor).st_size >= size
        # without room in the shared file, in the worker's memory: its death then loses the steps since the last chunk
        memory: Any = mmap.mmap(descriptor, size) if shared and descriptor is not None else bytearray(size)
        part = memoryview(memory)[SIZE:]
        self.arrays = room.arrays(part)
        self._counts = np.frombuffer(part, np.uint64, 5)
        self.clear(0)

    def clear(self, first_loss: int) -> None:
        """Empty it; ``first_loss`` is the number of the next loss."""
        self.losses = self.weights = self.gradients = self.full_losses = 0
        self._counts[1:] = 0
        self._counts[0] = first_loss

    def add_loss(self, value: Array) -> None:
        """One more loss ()."""
        self.arrays["losses"][self.losses] = value
        self.losses += 1
        self._counts[1] = self.losses

    def add_weights(self, w: Array, b: Array) -> None:
        """The next recorded weights, w (d,) and b ()."""
        self.arrays["w"][self.weights], self.arrays["b"][self.weights] = w, b
        self.weights += 1
        self._counts[2] = self.weights

    def add_gradient(self, w: Array, b: Array) -> None:
        """The next recorded gradient."""
        self.arrays["gradient_w"][self.gradients], self.arrays["gradient_b"][self.gradients] = w, b
        self.gradients += 1
        self._counts[3] = self.gradients

    def add_full_loss(self, value: Array) -> None:
        """The next loss on all data, of a training with mini-batches."""
        self.arrays["full_losses"][self.full_losses] = value
        self.full_losses += 1
        self._counts[4] = self.full_losses

    @property
    def is_full(self) -> bool:
        """Whether another step may not fit."""
        return self.losses >= TAIL_LOSSES or self.weights >= len(self.arrays["b"])

    def copies(self) -> dict[str, Array]:
        """Copies of the filled parts, in the form of a `Chunk`."""
        length = dict(zip(_LENGTHS, (self.losses, self.weights, self.gradients, self.full_losses), strict=True))
        return {name: array[: length[_COUNTED_BY[name]]].copy() for name, array in self.arrays.items()}
