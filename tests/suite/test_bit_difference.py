"""Differences from a forecast, bit by bit: 0 where it is right, and nothing is lost where it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.suite.bit_difference import (
    difference,
    restore_rows,
    restore_visits,
    rows_difference,
    visits_difference,
)

KEYS = np.array([[1.0], [2.0], [1.0], [2.0]])


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_a_right_forecast_leaves_zeros_and_a_wrong_one_loses_nothing():
    values = np.array([0.1, np.nan, -0.0, np.inf])
    assert not difference(values, values).view("u8").any()
    forecast = np.array([0.2, 1.0, 0.0, np.nan])
    assert same_bits(difference(difference(values, forecast), forecast), values)


def test_a_forecast_may_be_longer_than_the_values_or_shorter():
    values = np.array([1.5, 2.5, 3.5], dtype="float32")
    assert same_bits(difference(values, np.append(values, values)).view("u4"), np.zeros(3, "u4"))
    assert difference(values, values[:1]).tolist() == [0.0, 2.5, 3.5]


def test_equal_points_are_forecast_from_the_first_of_them():
    values = np.array([[3.0], [4.0], [3.0], [5.0]])
    differences = rows_difference(KEYS, values)
    assert differences[:3].tolist() == [[3.0], [4.0], [0.0]]
    assert same_bits(restore_rows(KEYS, differences), values)


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_second_visits_are_forecast_from_the_first(shape, dtype):
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    assert same_bits(restore_visits(KEYS, visits_difference(KEYS, values)), values)
    values[:, 1] = values[:, 0]
    assert not visits_difference(KEYS, values)[:, 1].any()
