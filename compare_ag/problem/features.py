"""Features: bringing them to mean 0 and standard deviation 1, and the warnings that they deserve."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare_ag.problem.checks import listed, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compare_ag.problem.core import Array

MOST_FEATURES_FOR_RANK = 500
"""The rank costs of the order of n d²: beyond this d it is not asked for."""

STANDARDISED = "standardised (mean 0, standard deviation 1)"
"""How descriptions say it."""


class Standardised(NamedTuple):
    """What `standardise` makes of X."""

    X: Array
    """(n, d): each column with mean 0 and standard deviation 1 (divisor n); a constant column is all 0"""
    constant: Array
    """(d,) bool: the columns that hold one value only"""


def standardise(X: Array) -> Standardised:
    """Standardise the columns of X (n, d), n >= 1, finite; nothing overflows on the way, even at 1e308."""
    # Scaling by a power of two is exact, does not change the result and keeps the squares in range.
    exponent = np.frexp(np.maximum(X.max(axis=0), -X.min(axis=0)))[1]
    Z = np.ldexp(X, -exponent)
    # The first mean has a rounding error, which the second takes away. For a constant column it leaves exactly 0:
    # the error is a few units in the last place, so the sum of n such errors is exact.
    for _ in range(2):
        Z -= Z.mean(axis=0)
    deviation = np.sqrt(np.einsum("ij,ij->j", Z, Z) / len(Z))
    constant = deviation == 0
    Z /= np.where(constant, 1, deviation)
    return Standardised(Z, constant)


def feature_warnings(features: Standardised, names: Sequence[str] = (), *, kept: bool) -> tuple[str, ...]:
    """Return a sentence each for constant columns and for linear dependence; legal, but worth a word.

    names: what to call the columns, or nothing; kept: whether training sees the standardised columns.
    Dependence is judged with the bias in mind, that is on centred columns.
    """
    X, constant = features
    found = []
    if count := int(constant.sum()):
        called = [quoted(names[column]) for column in np.flatnonzero(constant).tolist()] if names else []
        effect = "only centred, without information" if kept else "no more than a second bias"
        which = f" ({listed(called, most=4)})" if called else ""
        found.append(f"{count} of {constant.size} features {'is' if count == 1 else 'are'} constant{which}: {effect}")
    varying = constant.size - count
    if 0 < varying <= MOST_FEATURES_FOR_RANK:
        rank = int(np.linalg.matrix_rank(X))  # the constant columns are 0 and add nothing
        if rank < varying:
            found.append(
                f"the {varying} features that vary are linearly dependent (rank {rank}): "
                "without l2 the minimiser is not unique"
            )
    return tuple(found)
