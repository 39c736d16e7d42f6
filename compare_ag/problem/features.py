"""Features: standardising them to mean 0 and standard deviation 1, and warnings about them.

Everything works on blocks of rows, so that little memory is needed beside X itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from compare_ag.problem.checks import listed, quoted
from compare_ag.problem.core import Array, blocks

MOST_FEATURES_FOR_RANK = 500  # the rank takes of the order of n d² operations: with more features it is not computed
STANDARDISED = "standardised (mean 0, standard deviation 1)"  # in descriptions


class Scaling(NamedTuple):
    """What standardises the columns of X (n, d): Z = (X 2^-exponent − mean[0] − mean[1]) / deviation."""

    exponent: Array
    """(d,) integers: scaling by a power of two is exact and keeps the squares in range"""
    mean: Array
    """(2, d): the rounded mean, and the mean of what it leaves. For a constant column all is exactly 0 after both: the
    error of the first is a few units in the last place, so the sum of n such errors is exact."""
    deviation: Array
    """(d,): with divisor n; 0 for the columns that hold one value only"""

    def centred(self, X: Array) -> Array:
        """Return the rows of X scaled and centred, not yet divided by the deviation."""
        Z: Array = np.ldexp(X, -self.exponent)
        for part in self.mean:
            Z -= part
        return Z

    def standardised(self, X: Array) -> Array:
        """Return the rows of X scaled, centred and divided by the deviation; constant columns become 0."""
        return self.centred(X) / np.where(self.deviation == 0, 1, self.deviation)

    def apply(self, X: Array) -> Array:
        """Standardise X in place, and return it."""
        for rows in blocks(X):
            X[rows] = self.standardised(X[rows])
        return X


def measure(X: Array) -> Scaling:
    """Return the scaling of X (n, d), n >= 1, finite; nothing overflows on the way, even at 1e308."""
    exponent = np.frexp(np.maximum(X.max(axis=0), -X.min(axis=0)))[1]
    scaling = Scaling(exponent, np.zeros((2, X.shape[1])), np.zeros(X.shape[1]))
    for part in scaling.mean:
        part += sum(scaling.centred(X[rows]).sum(axis=0) for rows in blocks(X)) / len(X)
    squares = sum(np.einsum("ij,ij->j", Z, Z) for Z in (scaling.centred(X[rows]) for rows in blocks(X)))
    return scaling._replace(deviation=np.sqrt(squares / len(X)))


def feature_warnings(X: Array, scaling: Scaling, names: Sequence[str] = (), *, standardised: bool) -> tuple[str, ...]:
    """Return a sentence for constant columns and a sentence for linear dependence, which are legal but often mistakes.

    X: (n, d), not standardised, with its scaling; names: of the columns, or empty; standardised: whether training
    gets standardised columns. Dependence is judged on centred columns, because there is a bias.
    """
    constant, sentences = scaling.deviation == 0, []
    if count := int(constant.sum()):
        constant_names = [quoted(names[column]) for column in np.flatnonzero(constant).tolist()] if names else []
        effect = "only centred, without information" if standardised else "no more than a second bias"
        listing = f" ({listed(constant_names, most=4)})" if constant_names else ""
        verb = "is" if count == 1 else "are"
        sentences.append(f"{count} of {constant.size} features {verb} constant{listing}: {effect}")
    varying = constant.size - count
    if 0 < varying <= MOST_FEATURES_FOR_RANK and (rank := _rank(X, scaling)) < varying:
        dependent = f"the {varying} features that vary are linearly dependent (rank {rank})"
        sentences.append(f"{dependent}: without l2 the minimiser is not unique")
    return tuple(sentences)


def _rank(X: Array, scaling: Scaling) -> int:
    """Return the rank of the standardised X, as `numpy.linalg.matrix_rank` decides it, from X = QR block by block.

    Constant columns are 0 and left out: a sparse file may have a hundred million of them beside a few that vary.
    """
    varying = np.flatnonzero(scaling.deviation)
    scaling = Scaling(*(part[..., varying] for part in scaling))
    R: Array = np.empty((0, varying.size))
    for rows in blocks(X, max(256, 2 * varying.size)):  # small blocks stay in the cache and in a single thread
        R = np.asarray(np.linalg.qr(np.vstack([R, scaling.standardised(X[rows, varying])]), mode="r"))
    return int(np.linalg.matrix_rank(R, rtol=max(X.shape) * np.finfo(np.float64).eps))
