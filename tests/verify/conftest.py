"""Problems made by hand, and contestants: correct and broken training loops in the tested dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compare_ag.problem import Data, Problem, batches, largest_curvature, problem_by_name, recorded_steps
from compare_ag.verify import Oracle, Sample, Trajectory, judge_samples, probe_points, reference_trajectory
from compare_ag.verify.diagnosis import diagnose


def make(
    X: Any, y: Any, w0: Any = None, b0: float = 0.0, *, dtype: str = "float64", loss: str = "logits", steps: int = 200,
    learning_rate: float | None = None, l2: float = 0.0, batch_size: int | None = None, seed: int = 0, **facts: Any,
) -> Problem:  # fmt: skip  # one parameter a line would fill the page
    real = np.dtype(dtype).type
    X, y = np.ascontiguousarray(X, dtype=dtype), np.asarray(y, dtype=dtype)
    l2 = float(real(l2))
    curvature = largest_curvature(X, l2, batch_size)
    return Problem(
        data=Data(X, y, "test", "made by hand"),
        X=X,
        y=y,
        w0=np.zeros(X.shape[1], dtype) if w0 is None else np.asarray(w0, dtype),
        b0=np.asarray(b0, dtype),
        start="given",
        dtype=dtype,  # type: ignore[arg-type]  # a plain str in tests
        loss=loss,  # type: ignore[arg-type]  # a plain str in tests
        steps=steps,
        learning_rate=float(real(1.0 / curvature if learning_rate is None else learning_rate)),
        learning_rate_source="given",
        curvature=curvature,
        l2=l2,
        seed=seed,
        threads=1,
        batch_size=batch_size,
        **facts,
    )


def seed_problem(**changes: Any) -> Problem:
    """The seed: 4 examples, 2 features, the start that was recovered from the published table."""
    return make(
        [[1, 1], [1, 0], [0, 1], [0, 0]], [0, 1, 0, 1], [-0.04491833, 0.8402348], 0.0,
        **{"dtype": "float32", "loss": "probability", "learning_rate": 1e-2, "steps": 10_001} | changes,
    )  # fmt: skip  # the data in one line, as in the note


def random_problem(index: int, **changes: Any) -> Problem:
    """One of many: sizes, scales, noise, dtype, loss form, penalty, batches and rate all vary with ``index``."""
    rng = np.random.default_rng([20, index])
    n, d = int(rng.integers(4, 200)), int(rng.integers(1, 13))
    X = rng.normal(size=(n, d)) * rng.lognormal(0.0, 0.5, size=d)
    y = (X @ rng.normal(size=d) + rng.logistic(size=n) * (index % 3) > 0).astype(float)
    y[:2] = 0, 1
    facts: dict[str, Any] = {
        "dtype": ("float32", "float64")[index % 2],
        "loss": ("logits", "probability")[index // 2 % 2],
        "l2": (0.0, 0.01, 0.3)[index // 4 % 3],
        "batch_size": (None, None, int(rng.integers(1, n)))[index % 3],
        "steps": int(rng.integers(20, 400)),
        "seed": index,
    } | changes
    problem = make(X, y, rng.normal(size=d) * 0.5, 0.1, **facts)
    rate = float(np.dtype(problem.dtype).type(problem.learning_rate * (1.0, 0.05, 1.9)[index // 5 % 3]))
    return replace(problem, learning_rate=rate)


# Correct ways to write one loss and its gradient; each computes in the arrays' dtype.


def by_hand(X: Any, y: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
    z = X @ w + b
    e = np.exp(-np.abs(z))
    s = (1 - 2 * y) * z
    loss = (np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))).mean()
    r = np.where(z >= 0, 1, e) / (1 + e) - y
    return loss, X.T @ r / len(y), r.mean()


def naive_probability(X: Any, y: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
    p = 1 / (1 + np.exp(-(X @ w + b)))
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    r = p - y
    return loss, r @ X / len(y), r.sum() / len(y)


def literal_chain_rule(X: Any, y: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
    """What an AD tool computes from the probability form as written: nothing cancels."""
    e = np.exp(-(X @ w + b))
    p = 1 / (1 + e)
    loss = (-y * np.log(p) - (1 - y) * np.log(1 - p)).mean()
    r = (-y / p + (1 - y) / (1 - p)) / len(y) * (e / (1 + e) ** 2)
    return loss, X.T @ r, r.sum()


def with_tanh(X: Any, y: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
    z = X @ w + b
    loss = (np.logaddexp(np.zeros_like(z), z) - y * z).mean()
    r = (1 + np.tanh(z / 2)) / 2 - y
    return loss, (X * r[:, None]).mean(axis=0), r.mean()


def one_by_one(X: Any, y: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
    """Sums in the plainest order, last example first."""
    zero = X.dtype.type(0)
    loss, gw, gb, n = zero, np.zeros_like(w), zero, X.dtype.type(len(y))
    for x, label in zip(X[::-1], y[::-1], strict=True):
        z = zero
        for j in range(len(w)):
            z += x[j] * w[j]
        z += b
        s = (1 - 2 * label) * z
        loss += max(s, zero) + np.log1p(np.exp(-abs(s)))
        r = 1 / (1 + np.exp(-z)) - label
        gw, gb = gw + r * x, gb + r
    return loss / n, gw / n, gb / n


Gradient = Callable[[Any, Any, Any, Any], tuple[Any, Any, Any]]


def train(
    problem: Problem,
    formula: Gradient = by_hand,
    *,
    rate: float = 1.0,
    l2: float | None = None,
    skip: int | None = None,
    stale_loss: bool = False,
) -> Trajectory:
    """Plain gradient descent in the problem's dtype. The options plant bugs of the loop itself."""
    real = np.dtype(problem.dtype).type
    eta, penalty = real(problem.learning_rate * rate), real(problem.l2 if l2 is None else l2)

    def objective(X: Any, y: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
        loss, gw, gb = formula(X, y, w, b)
        return loss + real(0.5) * penalty * (w @ w), gw + penalty * w, gb

    w, b = problem.w0.copy(), problem.b0.copy()
    losses, path, full = [], [(w, b)], []
    recorded = recorded_steps(problem.steps)
    with np.errstate(all="ignore"):
        for k, rows in enumerate(batches(problem)):
            loss, gw, gb = objective(problem.X[rows], problem.y[rows], w, b)
            if k in recorded:
                full.append(objective(problem.X, problem.y, w, b)[0])
            if k != skip:
                w, b = w - eta * gw, b - eta * gb
            losses.append(objective(problem.X[rows], problem.y[rows], w, b)[0] if stale_loss else loss)
            path.append((w, b))
    ws, bs = np.array([p[0] for p in path]), np.array([p[1] for p in path])
    pairs = np.array(recorded)[:, None] + [0, 1]
    return Trajectory(
        losses=np.array(losses, problem.dtype),
        recorded_steps=np.array(recorded),
        w=ws[pairs].astype(problem.dtype),
        b=bs[pairs].astype(problem.dtype),
        full_losses=np.array(full, problem.dtype),
        final_w=ws[problem.steps].astype(problem.dtype),
        final_b=np.asarray(bs[problem.steps], problem.dtype),
    )


# --- contestants with one mistake each, asked along the host's route and at a ladder of logits

LADDER = (2.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0, 60.0, 100.0, 300.0, 700.0)


def route(problem: Problem) -> dict[str, Any]:
    """Names and weights: the host's points, and w = 0, b = ±L."""
    points = probe_points(problem, reference_trajectory(problem), 1).main
    names = dict(zip(points.names, points.weights, strict=True))
    for logit in (sign * size for size in LADDER for sign in (1.0, -1.0)):
        names[f"logit {logit:g}"] = np.append(np.zeros(problem.features), logit).astype(problem.dtype)
    return names


def answer(problem: Problem, theta: Any, **changes: Any) -> SimpleNamespace:
    """Loss and gradient at θ in the problem's dtype, with some functions, data or results exchanged.

    changes: exp, log, log1p, sigmoid (of z); X, y; logits (X, w, b); losses and residuals (of a namespace with z, y,
    s, p, and the right losses and r); gradient and loss (of all of it).
    """
    real = np.dtype(problem.dtype).type
    X, y = changes.get("X", problem.X), changes.get("y", problem.y)
    exp, log, log1p = (changes.get(name, getattr(np, name)) for name in ("exp", "log", "log1p"))
    w, b, n = theta[:-1], theta[-1], real(len(y))
    z = changes["logits"](X, w, b) if "logits" in changes else X @ w + b
    s = (1 - 2 * y) * z
    if problem.loss == "logits":
        decay = exp(-np.abs(s))
        p = np.where(z >= 0, 1, decay if (z >= 0).all() else exp(-np.abs(z))) / (1 + exp(-np.abs(z)))
        p = changes["sigmoid"](z) if "sigmoid" in changes else p
        losses = np.maximum(s, 0) + log1p(decay)
        r = (1 - 2 * y) * np.where(s >= 0, 1, decay) / (1 + decay) if "sigmoid" not in changes else p - y
    else:
        p = changes["sigmoid"](z) if "sigmoid" in changes else 1 / (1 + exp(-z))
        losses, r = -y * log(p) - (1 - y) * log(1 - p), p - y
    one = SimpleNamespace(z=z, y=y, s=s, p=p, losses=losses, r=r, n=n, real=real, problem=problem)
    one.r = changes["residuals"](one) if "residuals" in changes else r
    one.losses = changes["losses"](one) if "losses" in changes else losses
    one.design, one.shrinkage = np.column_stack([X, np.ones_like(y)]), np.append(real(problem.l2) * w, real(0))
    one.loss = one.losses.mean() + real(0.5) * real(problem.l2) * (w @ w)
    one.gradient = one.r @ one.design / n + one.shrinkage
    for name in ("gradient", "loss"):
        if name in changes:
            setattr(one, name, changes[name](one))
    return one


def diagnosed_along_the_route(problem: Problem, **changes: Any) -> tuple[str, ...]:
    """What is said of a contestant with these changes, whose every point is answered twice."""
    samples = []
    with np.errstate(all="ignore"):
        for name, theta in route(problem).items():
            for again in ("", ", evaluated again"):
                one = answer(problem, theta, **changes)
                gradient = np.asarray(one.gradient, problem.dtype)
                following = (theta - one.real(problem.learning_rate) * gradient).astype(problem.dtype)
                loss = np.asarray(one.loss, problem.dtype)
                samples.append(Sample(f"'{name}'{again}", theta, loss, gradient, following if again else None))
    oracle = Oracle(problem)
    found = judge_samples(problem, oracle, samples)
    return diagnose(problem, oracle, samples, found)


def small_problem(dtype: str = "float64", loss: str = "logits", **facts: Any) -> Problem:
    """24 examples of 3 features."""
    return problem_by_name("synthetic:n=24,d=3", **{"dtype": dtype, "loss": loss, "l2": 0.1, "steps": 40} | facts)


@pytest.fixture(scope="session")
def bench() -> SimpleNamespace:
    """The builders and the contestants, by name."""
    return SimpleNamespace(
        make=make,
        seed_problem=seed_problem,
        random_problem=random_problem,
        train=train,
        by_hand=by_hand,
        naive_probability=naive_probability,
        literal_chain_rule=literal_chain_rule,
        with_tanh=with_tanh,
        one_by_one=one_by_one,
        small_problem=small_problem,
        diagnosed=diagnosed_along_the_route,
    )
