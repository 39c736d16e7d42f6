"""Arrays for the page, as base64 of little-endian numbers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


class Packer:
    """Collects arrays; a chart refers to each by its number."""

    def __init__(self) -> None:
        self.packed: list[dict[str, str]] = []

    def add(self, values: Any) -> int:
        """Store a one-dimensional array; return its number. Integers become int32, float32 stays, others float64."""
        array = np.asarray(values)
        if array.dtype.kind in "iub" and (not array.size or abs(array).max() < 2**31):
            kind, array = "i4", array.astype("<i4")
        elif array.dtype == np.float32:
            kind, array = "f4", array.astype("<f4")
        else:
            kind, array = "f8", array.astype("<f8")
        self.packed.append({"type": kind, "data": base64.b64encode(array.tobytes()).decode("ascii")})
        return len(self.packed) - 1
