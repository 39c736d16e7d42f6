"""The reference against arithmetic that is not its own: 50-digit decimals, and published numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext

import numpy as np
import pytest

from compare_ag.problem import recorded_steps
from compare_ag.verify import reference_trajectory, tolerance


def exact(problem, digits=50):
    """Losses, w and b of a full-batch run in decimal arithmetic, from the same bits."""
    with localcontext() as context:
        context.prec = digits

        def number(value):
            return Decimal(float(value))

        X = [[number(x) for x in row] for row in problem.X]
        y = [int(label) for label in problem.y]
        w, b = [number(v) for v in problem.w0], number(problem.b0)
        rate, l2, n = number(problem.learning_rate), number(problem.l2), len(y)
        losses = []
        for step in range(problem.steps + 1):
            p = [1 / (1 + (-sum(a * v for a, v in zip(x, w, strict=True)) - b).exp()) for x in X]
            data = sum(-(q if label else 1 - q).ln() for q, label in zip(p, y, strict=True)) / n
            losses.append(data + l2 / 2 * sum(v * v for v in w))
            if step == problem.steps:
                break
            r = [q - label for q, label in zip(p, y, strict=True)]
            g = [sum(ri * x[j] for ri, x in zip(r, X, strict=True)) / n + l2 * w[j] for j in range(len(w))]
            w, b = [v - rate * gj for v, gj in zip(w, g, strict=True)], b - rate * sum(r) / n
        return losses, w, b


@pytest.mark.parametrize("l2", [0.0, 0.125])
def test_it_is_within_its_own_bound_of_decimal_arithmetic(bench, l2):
    problem = bench.seed_problem(steps=300, dtype="float64", loss="logits", learning_rate=0.3, l2=l2)
    reference, bound = reference_trajectory(problem), tolerance(problem, reference_trajectory(problem))
    losses, w, b = exact(problem)
    expected, found = [*w, b], reference.final_weights
    error = np.linalg.norm([float(Decimal(float(v)) - e) for v, e in zip(found, expected, strict=True)])
    assert error <= bound.weights[-1] / 2  # the tested float64 run and the reference have a half each
    errors = np.array([abs(float(Decimal(float(v)) - e)) for v, e in zip(reference.losses, losses, strict=True)])
    assert (errors <= bound.loss / 2).all()
    assert bound.weights[-1] < 1e-10


def test_it_reproduces_the_published_losses_of_the_seed(bench):
    losses = reference_trajectory(bench.seed_problem()).losses
    published = {0: 0.9426676034927368, 500: 0.5936437249183655, 5000: 0.11365044862031937, 9500: 0.05861698091030121}
    for epoch, loss in published.items():
        assert losses[epoch + 1] == pytest.approx(loss, abs=2e-7)


@pytest.mark.thorough
@pytest.mark.parametrize("batch_size", [None, 1, 5, 8, 1000])
@pytest.mark.parametrize("loss", ["logits", "probability"])
def test_it_is_the_plain_loop(bench, batch_size, loss):
    """Blocks, signed data and ragged batches change nothing: the loop of the tests gives the same, step by step."""
    problem = bench.random_problem(7, batch_size=batch_size, loss=loss, steps=1300, dtype="float64", l2=0.01)
    reference, plain = reference_trajectory(problem), bench.train(problem)
    np.testing.assert_allclose(reference.losses, plain.losses, rtol=0, atol=1e-13)
    np.testing.assert_allclose(reference.full_losses, plain.full_losses, rtol=0, atol=1e-13)
    np.testing.assert_allclose(reference.weights, problem.layout.flat((plain.w, plain.b)), rtol=0, atol=1e-12)
    ends = problem.layout.flat((plain.final_w, plain.final_b))
    np.testing.assert_allclose(reference.final_weights, ends, rtol=0, atol=1e-12)
    assert reference.recorded_steps.tolist() == recorded_steps(1300)
    assert len(reference.losses) == 1301


def test_magnitudes_are_those_of_the_definition(bench):
    problem = bench.random_problem(3, loss="probability", dtype="float64", batch_size=None, l2=0.1, steps=40)
    reference = reference_trajectory(problem)
    for i, k in enumerate(reference.recorded_steps):
        w, b = problem.layout.parts(reference.weights[i, 0])
        z = problem.X @ w + b
        p = 1 / (1 + np.exp(-z))
        r = p - problem.y
        gradient = np.append(problem.X.T @ r / len(r) + problem.l2 * w, r.mean())
        ell = -np.log(np.where(problem.y == 1, p, 1 - p))
        expected = {
            "loss": ell.mean() + problem.l2 / 2 * w @ w,
            "examples": len(r),
            "weights": np.hypot(np.linalg.norm(w), b),
            "gradient": np.linalg.norm(gradient),
            "residual": np.sqrt((r * r).mean()),
            "highest_logit": z.max(),
            "lowest_logit": z.min(),
        }
        for name, value in expected.items():
            assert getattr(reference.magnitudes, name)[k] == pytest.approx(value, rel=1e-9), name


def test_progress_is_told_and_ends_at_the_last_step(bench):
    told: list[int] = []
    reference_trajectory(bench.seed_problem(steps=2000), told.append)
    assert told == sorted(set(told))
    assert told[-1] == 2000
    assert len(told) > 2


def test_observe_may_stop_it(bench):
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reference_trajectory(bench.seed_problem(), stop)


def test_huge_logits_and_overflow_raise_no_warning(bench):
    far = bench.make([[800.0], [-800.0]], [0, 1], [1.0], steps=3, learning_rate=1e-9)
    assert reference_trajectory(far).losses[0] == pytest.approx(800.0)
    absurd = replace(bench.seed_problem(dtype="float64", steps=30, l2=1.0), learning_rate=1e300)
    assert not np.isfinite(reference_trajectory(absurd).losses).all()
