"""The problem ``synthetic``: Gaussian data of any size, separability and condition.

Large data are made in place, block by block: their singular values are replaced by way of Cholesky factors, which need
little memory beside X.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.problem.checks import real_number, whole_number
from compare_ag.problem.core import BLOCK_CELLS, Data, ProblemError, blocks
from compare_ag.problem.estimate import require_memory
from compare_ag.problem.features import feature_warnings, measure

if TYPE_CHECKING:
    from compare_ag.problem.core import Array

WORST_CONDITION = 1e20
"""Beyond it, with singular values 10 decimal orders apart, float64 features would contain more rounding than signal."""


def synthetic(n: int = 1000, d: int = 20, separability: float = 1.0, condition: float = 1.0, seed: int = 0) -> Data:
    """Make n examples of d features, with labels that a logistic model explains as well as ``separability`` states.

    X: a centred Gaussian matrix whose singular values are replaced, so that the features' covariance XᵀX/n
    has eigenvalues in geometric progression over exactly ``condition``; their mean is 1. With n <= d the
    covariance is singular, and this holds for its n - 1 non-zero eigenvalues.

    y: Bernoulli(σ(``separability`` z)), with z the projection of the examples on a random direction, scaled to
    unit variance. 0 gives labels that X says nothing about; ``math.inf`` gives linearly separable ones, y = [z > 0].
    Should all labels be equal, the example with the least z becomes 0, or that with the greatest becomes 1.

    seed: of this data set alone; the run's start has its own. Raises `ProblemError` for n < 2, d < 1,
    separability < 0, a condition outside 1...1e20, a seed < 0, and where memory will not suffice.
    """
    n = whole_number("synthetic: n", n, least=2)
    d = whole_number("synthetic: d", d, least=1)
    separability = real_number("synthetic: separability", separability, least=0, finite=False)
    condition = real_number("synthetic: condition", condition, least=1)
    seed = whole_number("synthetic: seed", seed, least=0)
    if condition > WORST_CONDITION:
        raise ProblemError(f"synthetic: condition must be at most {WORST_CONDITION:g}, not {condition:g}")
    require_memory("synthetic", n * d)

    generator = np.random.default_rng([seed, 0x5E9A])
    X = _features(generator, n, d, condition)
    warnings = feature_warnings(X, measure(X), standardised=False)
    y = _labels(generator, X, separability)
    X.flags.writeable = False  # a problem in float64 shares this array
    return Data(
        X=X,
        y=y,
        name="synthetic",
        description=f"{n:,} examples of {d:,} Gaussian features, covariance of condition {condition:g}, "
        f"labels of separability {separability:g}, seed {seed}",
        parameters={"n": n, "d": d, "separability": separability, "condition": condition, "seed": seed},
        warnings=warnings,
    )


def _features(generator: np.random.Generator, n: int, d: int, condition: float) -> Array:
    X = generator.standard_normal((n, d))
    X -= X.mean(axis=0)
    rank = min(n - 1, d)  # centring removes a dimension
    variances = np.geomspace(1, 1 / condition, rank)
    variances *= d / variances.sum()
    if X.size > BLOCK_CELLS and n >= 2 * d:
        R = _orthonormalised(X)
        U, _, Vt = np.linalg.svd(R)
        _times(X, (U * np.sqrt(n * variances)) @ Vt)
        return X
    U, _, Vt = np.linalg.svd(X, full_matrices=False)
    del X  # as large as all that follows
    U = U[:, :rank]
    U *= np.sqrt(n * variances)
    return np.ascontiguousarray(U @ Vt[:rank])


def _orthonormalised(X: Array) -> Array:
    """Replace X = QR (n, d) by Q, and return R: Cholesky's factor of XᵀX, twice, which a Gaussian X allows.

    The second time restores the digits that XᵀX loses [Yamamoto et al., Roundoff error analysis of the CholeskyQR2
    algorithm, 2015]. It needs little memory beside X, and a quarter of the time of an SVD.
    """
    R: Array = np.eye(X.shape[1])
    for _ in range(2):
        products = np.zeros_like(R)
        for rows in blocks(X):
            products += X[rows].T @ X[rows]
        factor = np.linalg.cholesky(products).T
        _times(X, np.linalg.inv(factor))
        R = factor @ R
    return R


def _times(X: Array, matrix: Array) -> None:
    """Replace X (n, d) by its product with a matrix (d, d)."""
    for rows in blocks(X):
        X[rows] = X[rows] @ matrix


def _labels(generator: np.random.Generator, X: Array, separability: float) -> Array:
    z = X @ generator.standard_normal(X.shape[1])
    z /= np.sqrt(np.mean(z * z))
    if math.isinf(separability):
        y = z > 0
    else:
        with np.errstate(over="ignore"):  # tanh(±inf) is the right answer
            y = generator.random(len(z)) < 0.5 * (1 + np.tanh(0.5 * separability * z))  # σ(t) = ½ (1 + tanh ½t)
    if y.all():
        y[np.argmin(z)] = False
    elif not y.any():
        y[np.argmax(z)] = True
    return np.asarray(y, dtype=np.float64)
