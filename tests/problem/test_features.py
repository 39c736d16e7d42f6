"""Standardising columns and the warnings about them."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.problem.features import feature_warnings, measure


def standardise(X):
    """The standardised columns, and which of them are constant."""
    scaling = measure(X)
    return scaling.apply(X.copy()), scaling.deviation == 0


@pytest.fixture(params=[1 << 20, 7], ids=["one block", "many blocks"], autouse=True)
def _block(request, monkeypatch):
    monkeypatch.setattr("compare_ag.problem.core.BLOCK_CELLS", request.param)


def test_columns_get_mean_zero_and_deviation_one():
    X = np.random.default_rng(0).normal(3, 7, (50, 4)) * [1, 1e-3, 1e6, 1]
    Z, constant = standardise(X)
    assert np.allclose(Z, (X - X.mean(axis=0)) / X.std(axis=0), rtol=0, atol=1e-12)
    assert not constant.any()


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1.0, 1e200, 1e308])
def test_no_scale_overflows_or_vanishes(scale):
    Z, constant = standardise(scale * np.array([[-1.0], [0.0], [1.0]]))
    assert not constant.any()
    assert Z.ravel() == pytest.approx([-np.sqrt(1.5), 0, np.sqrt(1.5)], abs=1e-3)


def test_a_mean_far_from_zero_leaves_no_rounding_error():
    far = 1e12 + np.random.default_rng(0).normal(size=(1000, 1))
    Z, _ = standardise(far)
    assert abs(Z.mean()) < 1e-14
    assert Z.std() == pytest.approx(1, abs=1e-14)


def test_constant_columns_become_exactly_zero():
    X = np.column_stack([np.full(10, 0.1), np.arange(10.0), np.zeros(10)])
    Z, constant = standardise(X)
    assert constant.tolist() == [True, False, True]
    assert (Z[:, [0, 2]] == 0).all()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e300, 1e-310])
def test_a_constant_is_recognised_whatever_its_mean_rounds_to(value):
    for n in range(1, 80):
        Z, constant = standardise(np.full((n, 1), value))
        assert constant.all()
        assert (Z == 0).all()


def test_measuring_does_not_change_the_input():
    X = np.array([[1.0], [2.0]])
    measure(X)
    assert X.tolist() == [[1.0], [2.0]]


def warnings_for(X, **options):
    X = np.asarray(X, dtype=float)
    return feature_warnings(X, measure(X), **{"standardised": False, **options})


def test_harmless_features_get_no_warning():
    assert warnings_for(np.random.default_rng(1).normal(size=(30, 5))) == ()


def test_constant_columns_are_counted_and_named():
    (one,) = warnings_for([[1, 2, 0.5], [1, 2, 1.5], [1, 2, 0.1]], names=("a", "b", "c"))
    assert one.startswith("2 of 3 features are constant ('a', 'b')")
    (centred,) = warnings_for([[1, 2], [1, 3]], standardised=True)
    assert centred.startswith("1 of 2 features is constant: only centred")
    (many,) = warnings_for(np.ones((3, 20)), names=tuple("abcdefghijklmnopqrst"))
    assert "20 of 20" in many
    assert "('a', 'b', 'c', …, 't')" in many


def test_linear_dependence_is_seen_at_any_scale():
    X = np.random.default_rng(2).normal(size=(30, 3))
    dependent = np.column_stack([X, 1e8 * (X[:, 0] - 2 * X[:, 1]) + 5])
    (warning,) = warnings_for(dependent)
    assert "the 4 features that vary are linearly dependent (rank 3)" in warning


def test_dependence_counts_the_bias():
    # one-hot columns sum to 1: independent without a bias, dependent with it
    (warning,) = warnings_for(np.eye(3)[[0, 1, 2, 0, 1, 2]])
    assert "rank 2" in warning


def test_the_rank_of_very_wide_data_is_not_asked_for():
    X = np.random.default_rng(3).normal(size=(5, 501))
    assert warnings_for(X) == ()
    assert "rank 4" in warnings_for(X[:, :500])[0]


def test_constant_columns_cost_the_rank_nothing():
    """As of a sparse file whose largest index is large: only columns that vary are factored."""
    X = np.zeros((3, 2_000_000))
    X[:, 5], X[:, -1] = [1.0, 2.0, 4.0], [2.0, 4.0, 8.0]
    (_, dependent) = feature_warnings(X, measure(X), standardised=False)
    assert "the 2 features that vary are linearly dependent (rank 1)" in dependent
