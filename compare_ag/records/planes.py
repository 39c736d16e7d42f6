"""Many small arrays as two, which compress better: the bytes of all numbers, and a list of what they are.

    index   (i,) uint8   JSON, [[name, dtype, [lengths of the axes]], …]
    planes  (p,) uint8   of each array in turn the first byte of all its numbers, then the second of all, …

The numbers of one array have similar exponents, so that their bytes of one place compress better beside each other than
between the other bytes. And each array of a .npz file costs about 250 bytes of headers, more than most of these hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from compare_ag.records.files import RecordError

if TYPE_CHECKING:
    from compare_ag.records.files import Array

Entry = tuple[str, str, list[int]]


def pack(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The two arrays that hold these, whose dtypes are of numbers or flags."""
    index = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    planes = [
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T.reshape(-1)
        for array in arrays.values()
    ]
    return {
        "index": np.frombuffer(msgspec.json.encode(index), dtype=np.uint8),
        "planes": np.concatenate([np.empty(0, dtype=np.uint8), *planes]),
    }


def unpack(packed: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays that `pack` was given. Raises `RecordError` where the two do not fit each other."""
    try:
        entries = msgspec.json.decode(packed["index"].tobytes(), type=list[Entry])
        arrays, place = {}, 0
        for name, dtype, shape in entries:
            kind, count = _number(dtype), math.prod(shape)
            if name in arrays or min(shape, default=0) < 0:
                raise RecordError(f"{name} is listed twice, or its axes have negative lengths")
            planes = packed["planes"][place : place + count * kind.itemsize]
            place += count * kind.itemsize
            bytes_ = np.ascontiguousarray(planes.reshape(kind.itemsize, count).T)
            arrays[name] = bytes_.reshape(-1).view(kind).reshape(shape)
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise RecordError(f"its index and its planes do not fit each other: {error}") from None
    if place != packed["planes"].size:
        raise RecordError(f"its index describes {place} bytes, and it holds {packed['planes'].size}")
    return arrays


def _number(text: str) -> np.dtype[np.generic]:
    """The dtype of numbers or flags that a text names. Raises `ValueError` or `TypeError`."""
    kind = np.dtype(text)
    if kind.kind not in "biuf" or kind.hasobject:
        raise ValueError(f"{text!r} is no dtype of numbers")
    return kind
