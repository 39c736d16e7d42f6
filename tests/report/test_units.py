"""Numbers as people read them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.report import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.00 s"), (12.3, "12.3 s"), (600.0, "600 s"), (0.9996, "1.00 s"), (0.25, "250 ms"), (1.06e-5, "10.6 µs"),
        (9.999e-6, "10.0 µs"), (3.5e-8, "35.0 ns"), (0.0, "0.00 ns"),
    ],
)  # fmt: skip
def test_seconds(value, text):
    assert units.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (3.21e-7, "3.2e-07"), ("nan", "nan"), (math.inf, "inf")])
def test_difference(value, text):
    assert units.difference(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.35, "0.35"), (1.23e9, "1e+09"), ("inf", "inf"), (0, "0"), (2e-5, "2e-05")]
)
def test_fraction(value, text):
    assert units.fraction(value) == text


def test_a_sparkline_falls_with_the_loss_and_shows_a_gap_for_nan():
    assert units.sparkline(np.linspace(1, 0, 100), 8) == "█▇▆▅▄▃▂▁"
    assert units.sparkline(np.array([1.0, np.nan, 0.0]), 8) == "█ ▁"
    assert units.sparkline(np.ones(5)) == "▁▁▁▁▁"
    assert units.sparkline(np.array([])) == ""
    assert units.sparkline(np.full(3, np.nan)) == "   "
