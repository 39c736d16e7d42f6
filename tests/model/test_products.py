"""Products of matrices whose error is known, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from compare_ag.model.products import MOST_TERMS, product

U = Fraction(1, 2**53)


def exact(a, b):
    """Each entry of a (r, k) times b (k, c), as a fraction."""
    left = [[Fraction(v) for v in row] for row in a.tolist()]
    right = [[Fraction(v) for v in column] for column in b.T.tolist()]
    return [[sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in right] for row in left]


def worst(a, b):
    """The largest |a b - exact| - u|a b| as a share of the bound; no more than 1 is promised."""
    value, lost = product(a, b)
    share = Fraction(0)
    for row, expected, allowed in zip(
        value.tolist(), exact(a, b), np.broadcast_to(lost, value.shape).tolist(), strict=True
    ):
        for one, real, bound in zip(row, expected, allowed, strict=True):
            if math.isinf(bound) or math.isnan(bound):
                continue
            assert math.isfinite(one)
            share = max(share, (abs(Fraction(one) - real) - U * abs(Fraction(one))) / Fraction(bound))
    return share


def numbers(rng, shape, spread):
    """Of all digits, with exponents from 2^-spread to 2^spread, or of few digits."""
    found = rng.normal(size=shape) * 2.0 ** rng.integers(-spread, spread + 1, size=shape)
    return found if rng.random() < 0.7 or spread > 100 else found.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("terms", [1, 2, 3, 7, 64, 65, 500])
@pytest.mark.parametrize("spread", [0, 5, 40, 300])
def test_the_error_is_within_what_is_said(terms, spread):
    for seed in range(max(2, 60 // terms)):
        rng = np.random.default_rng([seed, terms, spread])
        a, b = numbers(rng, (2, terms), spread), numbers(rng, (terms, 3), spread)
        assert worst(a, b) <= 1


@pytest.mark.parametrize("terms", [2, 10, 100])
def test_sums_that_cancel_keep_their_error_of_the_largest_term(terms):
    for seed in range(20):
        rng = np.random.default_rng([seed, terms])
        a, b = numbers(rng, (2, terms), 20), numbers(rng, (terms, 2), 20)
        a, b = np.hstack([a, -a, rng.normal(size=(2, 1)) * 1e-12]), np.vstack([b, b, rng.normal(size=(1, 2))])
        assert worst(a, b) <= 1
        _, lost = product(a, b)
        assert (lost <= 2.0**-60 * len(b) ** 2 * np.abs(a).max() * np.abs(b).max()).all()


def test_it_is_far_better_known_than_an_ordinary_product():
    """Of a thousand terms that cancel, nine digits more than numpy's own."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1, 1000))
    a = np.hstack([a, -a, [[1e-9]]])
    b = np.vstack([np.ones((2000, 1)) / 3.0, [[1.0]]])
    value, lost = product(a, b)
    assert abs(Fraction(value.item()) - exact(a, b)[0][0]) <= Fraction(lost.item()) + U * abs(Fraction(value.item()))
    assert lost.item() < 1e-13
    assert value.item() == pytest.approx(1e-9, rel=1e-4)


@pytest.mark.parametrize("scale", [5e-324, 1e-320, 1e-300, 1e-160, 1e-155])
def test_what_underflows_is_in_the_bound(scale):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 5)) * 3 * scale, rng.normal(size=(5, 2)) * rng.choice([1.0, 1e-3, scale])
        assert worst(a, b) <= 1


@pytest.mark.parametrize("scale", [1e100, 1e153, 1e154, 1e200, 1e300, 8e307])
def test_what_overflows_has_an_infinite_bound_or_a_true_one(scale):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        with np.errstate(all="ignore"):
            a, b = rng.uniform(-1, 1, (2, 4)) * scale, rng.uniform(-1, 1, (4, 2)) * rng.choice([1.0, 1e8, scale])
            value, lost = product(a, b)
            unsure = ~np.isfinite(value) | ~np.isfinite(np.broadcast_to(lost, value.shape))
            kept = [i for i in range(2) if not unsure[i].any()]
            assert not kept or worst(a[kept], b) <= 1
            beyond = np.array([[abs(one) > np.finfo(float).max for one in row] for row in exact(a, b)])
            assert unsure[beyond].all()


def test_leading_axes_are_those_of_matmul():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 1, 2, 6)), rng.normal(size=(3, 6, 5))
    value, lost = product(a, b)
    assert value.shape == (4, 3, 2, 5)
    full = np.broadcast_to(lost, value.shape)
    for i in range(4):
        for j in range(3):
            one, its = product(a[i, 0], b[j])
            assert np.allclose(one, value[i, j], rtol=1e-15, atol=1e-15)
            assert np.allclose(its, full[i, j], rtol=1e-12)


def test_exact_numbers_have_an_exact_product():
    a, b = np.array([[1.0, 2.0, -3.0]]), np.array([[0.5], [0.25], [4.0]])
    value, _ = product(a, b)
    assert value.item() == -11.0


def test_no_terms_and_zeros_give_zero():
    for a, b in ((np.zeros((2, 0)), np.zeros((0, 3))), (np.zeros((2, 4)), np.ones((4, 3)))):
        value, lost = product(a, b)
        assert value.shape == (2, 3)
        assert not value.any()
        assert (np.broadcast_to(lost, value.shape) < 1e-300).all()


def test_longer_sums_are_refused():
    product(np.ones((1, MOST_TERMS)), np.ones((MOST_TERMS, 1)))
    with pytest.raises(ValueError, match="at a time"):
        product(np.ones((1, MOST_TERMS + 1)), np.ones((MOST_TERMS + 1, 1)))
