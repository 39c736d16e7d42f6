"""The cost model, with times made from known coefficients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compare_ag.sweep import costs
from compare_ag.sweep.costs import Cell, CostModel, Term, fit_costs, propose

SIZES = list(itertools.product((4, 100, 1000, 20_000), (2, 20, 200)))


def made(fixed, example, element, *, sizes=SIZES, launches=3, noise=0.0, seed=0):
    """Cells of a backend that costs exactly this, but for noise (a standard deviation of the log)."""
    generator = np.random.default_rng(seed)
    exact = [fixed + example * n + element * n * d for n, d in sizes]
    seconds = [time * np.exp(noise * generator.standard_normal(launches)) for time in exact]
    return [Cell(*size, of.tolist()) for size, of in zip(sizes, seconds, strict=True)]


@pytest.mark.parametrize(
    "coefficients", [(1e-5, 2e-8, 3e-10), (1e-6, 0, 1e-9), (0, 5e-9, 0), (3e-3, 0, 0), (2e-6, 1e-8, 0)]
)
def test_exact_times_give_the_coefficients_back(coefficients):
    model = fit_costs(made(*coefficients))
    found = (model.fixed.value, model.per_example.value, model.per_element.value)
    assert found == pytest.approx(coefficients, rel=1e-6, abs=1e-16)
    assert model.median_error == pytest.approx(0, abs=1e-6)
    assert model.seconds(500, 30) == pytest.approx(coefficients[0] + 500 * coefficients[1] + 15_000 * coefficients[2])


def test_no_coefficient_is_negative_where_the_best_plain_fit_has_one():
    """Large problems cost more than their share, as they leave the cache: the plain fit has a negative term."""
    cells = [Cell(n, d, [1e-9 * (n * d) ** 1.4]) for n, d in SIZES]
    design = np.array([(1, n, n * d) for n, d in SIZES]) / np.array([cell.seconds[0] for cell in cells])[:, None]
    assert (np.linalg.lstsq(design, np.ones(len(cells)), rcond=None)[0] < 0).any()
    model = fit_costs(cells)
    assert min(model.fixed.value, model.per_example.value, model.per_element.value) >= 0


def test_the_constrained_minimum_is_the_least_of_all():
    """Compared with many feasible points around it and elsewhere."""
    generator = np.random.default_rng(5)
    design = np.array([(1.0, n, n * d) for n, d in SIZES])
    times = np.exp(generator.normal(-9, 2, len(SIZES)))
    best = costs._minimise(design, times)
    error = lambda x: float(np.sum((design @ x / times - 1) ** 2))  # noqa: E731 - a formula used three times
    for _ in range(300):
        near = np.maximum(0, best * np.exp(0.1 * generator.standard_normal(3)) + 1e-12 * generator.standard_normal(3))
        far = 10.0 ** generator.uniform(-13, -3, 3)
        assert error(best) <= min(error(near), error(far)) + 1e-12


def test_errors_are_relative_so_that_small_problems_count():
    """One part in ten on every cell: the fixed cost of microseconds is found beside seconds."""
    model = fit_costs(made(5e-6, 1e-8, 1e-8, sizes=[*SIZES, (10_000_000, 200)], noise=0.02))
    assert model.fixed.value == pytest.approx(5e-6, rel=0.1)


def test_intervals_hold_the_truth_and_shrink_with_less_noise():
    truth = (1e-5, 2e-8, 3e-10)
    quiet, loud = (fit_costs(made(*truth, launches=8, noise=noise)) for noise in (0.01, 0.1))
    for name, value in zip(("fixed", "per_example", "per_element"), truth, strict=True):
        term, wide = getattr(quiet, name), getattr(loud, name)
        assert term.low <= term.value <= term.high
        assert wide.low <= value <= wide.high
        assert term.high - term.low < wide.high - wide.low


def test_the_same_cells_give_the_same_model():
    cells = made(1e-5, 2e-8, 3e-10, noise=0.1)
    assert fit_costs(cells) == fit_costs(cells)


def test_the_error_of_leaving_a_cell_out_is_that_of_a_model_without_it():
    cells = made(1e-5, 2e-8, 3e-10)
    odd = Cell(*SIZES[5], [3 * time for time in cells[5].seconds])
    model = fit_costs([*cells[:5], odd, *cells[6:]])
    assert model.largest_error == pytest.approx(2 / 3, rel=1e-6)
    assert model.median_error < model.largest_error


def test_cells_of_one_size_are_left_out_together():
    twice = [*made(1e-5, 2e-8, 3e-10), Cell(4, 2, [1.0])]
    assert fit_costs(twice).largest_error > 0.9


def test_three_sizes_give_a_model_without_an_error():
    model = fit_costs(made(1e-5, 2e-8, 3e-10, sizes=SIZES[:3]))
    assert (model.cells, model.median_error, model.largest_error) == (3, None, None)


def test_of_a_single_d_the_two_growing_terms_cannot_be_told_apart():
    sizes = [(n, 20) for n in (4, 100, 1000, 20_000, 50_000)]
    model = fit_costs(made(1e-5, 2e-8, 3e-10, sizes=sizes))
    assert model.confounded
    assert model.seconds(700, 20) == pytest.approx(1e-5 + 700 * 2e-8 + 14_000 * 3e-10)
    assert not fit_costs(made(1e-5, 2e-8, 3e-10)).confounded


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (made(1, 1, 1, sizes=SIZES[:2]), "3 different sizes"),
        (made(1, 1, 1, sizes=[(4, 2)] * 5), "3 different sizes"),
        ([*made(1, 1, 1), Cell(9, 9, [])], "the times at 9 x 9"),
        ([*made(1, 1, 1), Cell(9, 9, [0.0])], "the times at 9 x 9"),
        ([*made(1, 1, 1), Cell(9, 9, [1.0, float("nan")])], "the times at 9 x 9"),
    ],
)
def test_what_no_model_can_rest_on_is_refused(cells, message):
    with pytest.raises(ValueError, match=message):
        fit_costs(cells)


def model(fixed, example, element) -> CostModel:
    return CostModel(*(Term(value, value, value) for value in (fixed, example, element)), 12, 0.1, 0.3)


@pytest.mark.parametrize(
    ("axis", "fixed", "size"),
    [("n", 20, 10_000), ("d", 10_000, 20)],
)
def test_the_proposed_size_is_where_two_models_cost_the_same(axis, fixed, size):
    lean, framework = model(1e-6, 0, 1e-9), model(1e-4, 0, 0.505e-9)
    assert propose(lean, framework, axis, fixed, 2, 10**6) == size
    n, d = (size, fixed) if axis == "n" else (fixed, size)
    assert lean.seconds(n, d) == pytest.approx(framework.seconds(n, d))


def test_nothing_is_proposed_beyond_the_axis_or_where_models_never_meet():
    lean, framework = model(1e-6, 0, 1e-9), model(1e-4, 0, 0.505e-9)
    assert propose(lean, framework, "n", 20, 2, 9000) is None
    assert propose(lean, framework, "n", 20, 10_000, 90_000) is None
    assert propose(lean, model(2e-6, 0, 1e-9), "n", 20, 2, 10**6) is None
    assert propose(lean, model(2e-6, 0, 2e-9), "n", 20, 2, 10**6) is None
