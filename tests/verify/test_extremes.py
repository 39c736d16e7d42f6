"""Huge and tiny data, weights, rates and penalties: no right program is accused, whatever its numbers leave.

Every correct formula is judged along its training and at the host's points. Where a number may leave the format on the
way, inf and NaN are right answers; where none may, they are faults. Warnings of numpy are errors here.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compare_ag.verify import (
    Evidence,
    Oracle,
    Sample,
    certify,
    exact_trajectory,
    judge_samples,
    probe_points,
    reference_trajectory,
    tolerance,
)
from compare_ag.verify.points import point_tolerance, update_tolerance

FORMULAS = {
    "logits": ["by_hand", "with_tanh", "one_by_one"],
    "probability": ["naive_probability", "literal_chain_rule"],
}
STEPS = 12


def largest(dtype):
    return float(np.finfo(dtype).max)


def answer(problem, weights, formula, rows=None):
    """What a correct program says at ``weights`` (m,)."""
    real = np.dtype(problem.dtype).type
    X, y = (problem.X, problem.y) if rows is None else (problem.X[rows], problem.y[rows])
    w, b, l2, rate = weights[:-1], weights[-1], real(problem.l2), real(problem.learning_rate)
    with np.errstate(all="ignore"):
        loss, gw, gb = formula(X, y, w, b)
        loss = loss + real(0.5) * l2 * (w @ w)
        gradient = np.append(gw + l2 * w, gb).astype(problem.dtype)
        following = weights - rate * gradient
    return Sample("the point", weights, np.asarray(loss, problem.dtype), gradient, following, rows)


def verdict_on(bench, problem, name):
    """The certificate of a training and of answers at the host's points."""
    reference = reference_trajectory(problem)
    reference = replace(reference, exact=exact_trajectory(problem))
    trajectory = bench.train(problem, getattr(bench, name))
    probes = probe_points(problem, reference, 3)
    answers = [answer(problem, w, getattr(bench, name)) for w in probes.weights[: 1 + len(probes.names) // 2]]
    bound = tolerance(problem, reference)
    return certify(problem, reference, bound, Oracle(problem), Evidence(trajectory, {}, answers))


def drawn_problem(bench, dtype, loss, scales, rate, l2, n, seed, batch_size):
    """Data whose columns have sizes 10^scales; a rate of 10^rate/L; a penalty of 10^l2, or None."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, len(scales))) * 10.0 ** np.array(scales)
    limit = min(largest(dtype), math.sqrt(largest("float64") / (n * (len(scales) + 1))))
    X = np.clip(X, -limit, limit).astype(dtype)
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    penalty = 0.0 if l2 is None else 10.0**l2
    facts = {"dtype": dtype, "loss": loss, "l2": penalty, "steps": STEPS, "batch_size": batch_size, "seed": seed}
    problem = bench.make(X, y, rng.normal(size=len(scales)), learning_rate=1.0, **facts)
    eta = min(10.0**rate / problem.curvature, largest(dtype))
    return replace(problem, learning_rate=float(np.dtype(dtype).type(eta)) or float(np.finfo(dtype).tiny))


@st.composite
def problems(draw):
    dtype = draw(st.sampled_from(["float32", "float64"]))
    top = 38 if dtype == "float32" else 150
    size = st.one_of(st.integers(-3, 3), st.integers(-top, top))
    n = draw(st.integers(2, 7))
    return {
        "dtype": dtype,
        "loss": draw(st.sampled_from(["logits", "probability"])),
        "scales": draw(st.lists(size, min_size=1, max_size=3)),
        "rate": draw(st.one_of(st.integers(-3, 1), st.integers(-top, 2 * top))),
        "l2": draw(st.one_of(st.none(), st.integers(-3, 1), st.integers(-top, top))),
        "n": n,
        "seed": draw(st.integers(0, 99)),
        "batch_size": draw(st.one_of(st.none(), st.integers(1, n - 1))),
    }


@settings(max_examples=150, deadline=None, derandomize=True)
@given(facts=problems())
def test_no_right_program_is_accused_and_no_deviation_is_nan(bench, facts):
    problem = drawn_problem(bench, **facts)
    for name in FORMULAS[problem.loss]:
        verdict = verdict_on(bench, problem, name)
        assert verdict.status in ("agrees", "undecidable"), (name, verdict.message)
        for test in verdict.tests:
            assert test.passed, (name, test.findings[0].message)
            assert not math.isnan(test.ratio)
        assert verdict.observed is None or not math.isnan(verdict.observed)
