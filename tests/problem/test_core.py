"""The identity of a problem: a digest of the bits, where they lie."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np

from compare_ag.problem import make_problem, synthetic
from compare_ag.problem.core import digest_arrays


def test_the_digest_is_that_of_dtype_shape_and_bits_in_turn():
    X, y = np.array([[1.5, -2.0], [0.0, 3.25]]), np.array([0.0, 1.0])
    w, b = np.array([0.5, 0.25], dtype=np.float32), np.zeros(())
    plain = b"<f8(2, 2)" + X.tobytes() + b"<f8(2,)" + y.tobytes() + b"<f4(2,)" + w.tobytes() + b"<f8()" + b.tobytes()
    assert digest_arrays(X, y, w, b) == hashlib.sha256(plain).hexdigest()
    assert digest_arrays(X, y, w, b, facts="lr") == hashlib.sha256(plain + b"lr").hexdigest()


def test_how_an_array_lies_in_memory_does_not_change_its_digest():
    X = np.arange(12.0).reshape(3, 4)
    frozen = X.copy()
    frozen.flags.writeable = False
    wide = np.repeat(X, 2, axis=1)
    same = {digest_arrays(one) for one in (X, frozen, np.asfortranarray(X), wide[:, ::2])}
    assert same == {digest_arrays(X)}
    assert digest_arrays(X.reshape(4, 3)) not in same
    assert digest_arrays(np.empty((0, 3))) != digest_arrays(np.empty((3, 0)))


def test_a_problem_is_hashed_without_a_copy_of_its_data():
    problem = make_problem(synthetic(n=1000, d=10), dtype="float32")
    problem.digest()
    tracemalloc.start()
    try:
        problem.digest()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < problem.y.nbytes < problem.X.nbytes
