"""Numbers as people read them: seconds, bytes, differences, a trajectory in one line."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_BARS = "▁▂▃▄▅▆▇█"


def seconds(value: float) -> str:
    """Three significant digits in the unit that fits: ``10.6 µs``, ``1.23 s``."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 0.9995:
            return f"{_three(value * factor)} {unit}"
    return f"{_three(value * 1e9)} ns"


def _three(value: float) -> str:
    """Three significant digits without an exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def size(value: float) -> str:
    """Bytes with three significant digits in the unit that fits: ``80.2 kB``, ``223 MB`` (10^6)."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= 0.9995 * factor:
            return f"{_three(value / factor)} {unit}"
    return f"{value:.0f} B"


def difference(value: float | str) -> str:
    """A difference, or a ratio of differences, with two significant digits."""
    number = float(value)
    if number == 0:
        return "0"
    return f"{number:.1e}" if math.isfinite(number) else str(number)


def fraction(value: float | str) -> str:
    """An observed/tolerance ratio: readable near 1, short far from it."""
    number = float(value)
    if not math.isfinite(number) or number == 0:
        return f"{number:g}"
    return f"{number:.2g}" if 1e-3 <= number < 1e4 else f"{number:.0e}"


def sparkline(values: Array, width: int = 24) -> str:
    """The course of a trajectory as bars, thinned evenly to ``width``; a gap marks a value that is not finite."""
    if not len(values):
        return ""
    count = min(width, len(values))
    picked = [float(values[round(i * (len(values) - 1) / max(1, count - 1))]) for i in range(count)]
    finite = [value for value in picked if math.isfinite(value)]
    if not finite:
        return " " * count
    low, span = min(finite), max(finite) - min(finite)

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return _BARS[round((value - low) / span * (len(_BARS) - 1))] if span else _BARS[0]

    return "".join(bar(value) for value in picked)
