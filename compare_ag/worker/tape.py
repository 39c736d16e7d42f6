"""How much memory a tape keeps alive between forward and backward."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any, TypeAlias

import numpy as np

from compare_ag.worker.messages import MOST_BYTES
from compare_ag.worker.training import MalformedError, Trainee

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_SEEN_BYTES = 1 << 20


def tape_size(trainee: Trainee, w: Array, b: Array) -> tuple[int | None, str]:
    """Bytes that the tape of one forward at (w, b) keeps beyond weights and batch, and the source of the number.

    The plugin's own number comes first. Else Python's own allocators are asked, which record numpy's arrays and every
    Python object. Whether they record this framework's tensors is tried with a tensor of known size; where they do not,
    the answer is None. Raises `MalformedError` where the plugin's answer is no number of bytes.
    """
    batch = trainee.batch(0)
    weights = trainee.weights(w, b)
    trainee.synchronize(weights, batch)
    size: object = trainee.backend.tape_bytes(weights, batch)
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MOST_BYTES:
            raise MalformedError(f"tape_bytes must return a number of bytes or None, got {size!r}")
        return int(size), "plugin"
    weights = trainee.weights(w, b)
    trainee.forward(weights, batch)  # allocations of the first call alone are no part of a tape
    gc.collect()
    tracemalloc.start()
    try:
        if not _sees_tensors(trainee):
            return None, ""
        before = tracemalloc.get_traced_memory()[0]
        loss, tape = trainee.forward(weights, batch)
        trainee.synchronize((loss,))
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - before
        del loss, tape
    finally:
        tracemalloc.stop()
    return max(0, growth), "tracemalloc"


def _sees_tensors(trainee: Trainee) -> bool:
    """Whether the allocators record a tensor of a known size."""
    array = np.zeros(_SEEN_BYTES // trainee.dtype.itemsize, dtype=trainee.dtype)
    before = tracemalloc.get_traced_memory()[0]
    tensor = trainee.backend.make_tensor(array)
    trainee.backend.synchronize(tensor)
    seen = tracemalloc.get_traced_memory()[0] - before
    del tensor
    return seen >= _SEEN_BYTES
