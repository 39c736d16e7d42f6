"""Which number of a flat vector is which parameter."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.model import Layout, logistic

NETWORK = Layout(("W", "c", "v", "a"), ((3, 2), (3,), (3,), ()))


def parts_of(layout: Layout, leading: tuple[int, ...], dtype: str = "float64") -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal((*leading, *shape)).astype(dtype) for shape in layout.shapes]


@pytest.mark.parametrize("layout", [logistic(4), logistic(1), NETWORK])
@pytest.mark.parametrize("leading", [(), (5,), (5, 2), (0, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parts_and_flat_are_each_others_inverse(layout, leading, dtype):
    parts = parts_of(layout, leading, dtype)
    theta = layout.flat(parts)
    assert (theta.shape, theta.dtype) == ((*leading, layout.size), np.dtype(dtype))
    for back, part, shape in zip(layout.parts(theta), parts, layout.shapes, strict=True):
        assert back.shape == (*leading, *shape)
        assert np.array_equal(back, part)


def test_the_intercept_of_logistic_regression_comes_last():
    theta = logistic(2).flat((np.array([1.0, 2.0]), np.array(3.0)))
    assert theta.tolist() == [1.0, 2.0, 3.0]
    assert logistic(2).coordinates == ["w[0]", "w[1]", "b"]


def test_numbers_are_named_after_their_place_in_their_parameter():
    expected = ["W[0,0]", "W[0,1]", "W[1,0]", "W[1,1]", "W[2,0]", "W[2,1]", *(f"c[{i}]" for i in range(3))]
    assert NETWORK.coordinates == [*expected, *(f"v[{i}]" for i in range(3)), "a"]
    theta = np.arange(NETWORK.size)
    W, c, _, a = NETWORK.parts(theta)
    assert (W[2, 1], c[1], a) == (5, 7, 12)
    for index in (-1, NETWORK.size):
        with pytest.raises(IndexError):
            NETWORK.coordinate(index)


def test_flat_is_a_copy_and_parts_are_views():
    w = np.ones(2)
    theta = logistic(2).flat((w, np.array(0.0)))
    w[0] = 5.0
    assert theta[0] == 1.0
    logistic(2).parts(theta)[0][1] = 7.0
    assert theta[1] == 7.0


def test_each_parameter_is_filled_with_its_own_value():
    assert logistic(3).repeat(0.5, 0.0).tolist() == [0.5, 0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((np.ones(3), np.array(0.0)), r"w has shape \(3,\), expected \(2,\)"),
        ((np.ones((4, 2)), np.array(0.0)), r"b has shape \(\), expected \(4,\)"),
        ((np.ones(2),), "1 arrays for the parameters w, b"),
        ((np.ones(2), np.ones(1)), r"b has shape \(1,\), expected \(\)"),
    ],
)
def test_what_does_not_fit_is_refused(parts, said):
    with pytest.raises(ValueError, match=said):
        logistic(2).flat(parts)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"expected \(…, 3\)"):
        logistic(2).parts(np.ones(4))
    with pytest.raises(ValueError, match="names"):
        Layout(("w", "w"), ((1,), (1,)))


def test_only_one_parameter_is_left_whatever_the_others_hold():
    theta = np.array([1.0, -2.0, np.inf])
    assert logistic(2).only("w", theta).tolist() == [1.0, -2.0, 0.0]
    assert logistic(2).only("b", np.array([[np.nan, 1.0, 3.0]])).tolist() == [[0.0, 0.0, 3.0]]
