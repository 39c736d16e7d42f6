"""From data to a problem: defaults, rounding, checks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag.problem import Data, ProblemError, largest_curvature, make_problem, seed_data, synthetic


def small(**changes):
    values = {
        "X": np.array([[0.1, 2.0], [0.3, -1.0], [0.7, 0.5]]),
        "y": np.array([0.0, 1.0, 1.0]),
        "name": "small",
        "description": "three examples",
    }
    return Data(**{**values, **changes})


# --- defaults ----------------------------------------------------------------------------------------------------


def test_the_defaults_of_the_seed_are_those_of_the_publication():
    problem = make_problem(seed_data())
    assert (problem.loss, problem.dtype, problem.steps) == ("probability", "float32", 10_001)
    assert problem.learning_rate == float(np.float32(1e-2)) != 1e-2
    assert problem.learning_rate_source == "published"
    assert problem.w0.tolist() == np.float32([-0.04491833, 0.8402348]).tolist()
    assert problem.b0 == 0
    assert (problem.l2, problem.threads, problem.batch_size, problem.seed) == (0, 1, None, 0)
    assert "recovered" in problem.start
    assert len(problem.published) == 20


def test_the_defaults_of_anything_else():
    data = synthetic(n=40, d=5)
    problem = make_problem(data)
    assert (problem.loss, problem.dtype, problem.steps) == ("logits", "float64", 1000)
    assert problem.learning_rate == 1 / problem.curvature
    assert problem.curvature == largest_curvature(data.X, 0.0, None)
    assert problem.learning_rate_source == "1/L"
    assert (problem.l2, problem.threads, problem.batch_size, problem.seed) == (0, 1, None, 0)
    assert problem.published == ()
    assert problem.published_tolerance == 0


def test_a_step_of_one_over_l_descends():
    # Gradient descent with 1/L lowers the loss at every step, whatever the scale of the data.
    data = synthetic(n=60, d=4, condition=1e4)
    problem = make_problem(Data(30 * data.X, data.y, "scaled", ""), l2=0.5)
    X, y, w, b = problem.X, problem.y, problem.w0, problem.b0
    losses = []
    for _ in range(50):
        z = X @ w + b
        losses.append(np.mean(np.logaddexp(0, (1 - 2 * y) * z)) + 0.25 * w @ w)
        residual = 1 / (1 + np.exp(-z)) - y
        gradient = X.T @ residual / len(y) + 0.5 * w
        w, b = w - problem.learning_rate * gradient, b - problem.learning_rate * residual.mean()
    assert (np.diff(losses) < 0).all()


def test_the_learning_rate_knows_l2_and_the_batches():
    data = synthetic(n=40, d=5)
    assert make_problem(data, l2=3.0).curvature == pytest.approx(make_problem(data).curvature + 3)
    batched = make_problem(data, batch_size=8)
    assert batched.curvature == largest_curvature(data.X, 0.0, 8) > make_problem(data).curvature
    assert batched.learning_rate == 1 / batched.curvature


# --- the published table -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "rows"), [(1, 1), (500, 1), (501, 2), (9500, 19), (9501, 20), (10_001, 20), (20_000, 20)]
)
def test_the_rows_that_the_run_reaches_are_attached(steps, rows):
    published = make_problem(seed_data(), steps=steps).published
    assert len(published) == rows
    assert published[0] == (1, 0.9426676034927368)
    assert all(step <= steps for step, _ in published)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "logits"},
        {"dtype": "float64"},
        {"learning_rate": 0.011},
        {"l2": 0.1},
        {"batch_size": 2},
    ],
)
def test_a_run_that_is_not_the_published_one_has_no_table(change):
    problem = make_problem(seed_data(), **change)
    assert problem.published == ()
    assert problem.published_tolerance == 0
    assert "recovered" in problem.start


@pytest.mark.parametrize(
    "same", [{"loss": "probability", "dtype": "float32", "learning_rate": 0.01, "l2": 0, "batch_size": 4}, {"seed": 5}]
)
def test_saying_what_is_published_changes_nothing(same):
    assert make_problem(seed_data(), **same).published == make_problem(seed_data()).published


def test_the_name_alone_makes_no_seed():
    problem = make_problem(small(name="seed"))
    assert problem.loss == "logits"
    assert problem.published == ()


# --- start -------------------------------------------------------------------------------------------------------


def test_the_start_is_normal_with_variance_one_over_d_and_follows_from_the_seed():
    d = 4000
    data = Data(np.vstack([np.ones(d), np.zeros(d)]), np.array([0.0, 1.0]), "wide", "")
    problem = make_problem(data, seed=3)
    assert problem.w0.mean() == pytest.approx(0, abs=5 / d)
    assert d * problem.w0.var() == pytest.approx(1, abs=0.15)
    assert problem.b0 == 0
    assert "N(0, 1/4000)" in problem.start
    assert "seed 3" in problem.start
    assert np.array_equal(problem.w0, make_problem(data, seed=3).w0)
    assert not np.array_equal(problem.w0, make_problem(data, seed=4).w0)


def test_the_start_has_nothing_to_do_with_synthetic_data_of_the_same_seed():
    data = synthetic(n=30, d=6, seed=2)
    assert not np.allclose(make_problem(data, seed=2).w0 * np.sqrt(6), np.random.default_rng(2).standard_normal(6))


# --- rounding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_rounded_once_to_the_dtype(dtype):
    problem = make_problem(small(), dtype=dtype, learning_rate=0.1, l2=0.3)
    for array, shape in ((problem.X, (3, 2)), (problem.y, (3,)), (problem.w0, (2,)), (problem.b0, ())):
        assert array.dtype == dtype
        assert array.shape == shape
        assert not array.flags.writeable
    assert np.array_equal(problem.X, small().X.astype(dtype))
    assert problem.X.flags.c_contiguous
    for given, rounded in ((0.1, problem.learning_rate), (0.3, problem.l2)):
        assert type(rounded) is float
        assert rounded == float(np.dtype(dtype).type(given))
    assert problem.learning_rate_source == "given"


def test_the_derived_learning_rate_is_representable_too():
    problem = make_problem(small(), dtype="float32")
    assert problem.learning_rate == float(np.float32(1 / problem.curvature))


def test_the_data_stay_as_they_are():
    data = small(X=np.asfortranarray(small().X), warnings=("a word",))
    problem = make_problem(data)
    assert data.X.flags.writeable
    assert problem.data is data
    assert problem.data.warnings == ("a word",)


@pytest.mark.parametrize(
    ("dtype", "value", "column"),
    [("float32", 1e300, "'height'"), ("float32", -4e38, "'height'"), ("float64", 1e200, "'height'")],
)
def test_a_value_too_large_for_training_names_its_column(dtype, value, column):
    data = small(feature_names=("age", "height"))
    data.X[1, 1] = value
    with pytest.raises(ProblemError) as caught:
        make_problem(data, dtype=dtype)
    assert f"column {column}, row 1 of the data (counted from 0): {value:g} is too large" in str(caught.value)
    assert "--standardize" in str(caught.value)


def test_without_names_the_column_is_counted():
    data = small()
    data.X[2, 0] = 1e300
    with pytest.raises(ProblemError, match=r"small: column 0 \(counted from 0\), row 2"):
        make_problem(data, dtype="float32")


def test_large_values_are_fine_where_they_fit():
    assert make_problem(small(X=1e30 * small().X), dtype="float32", learning_rate=1e-30).X.max() > 1e29
    assert math.isfinite(make_problem(small(X=1e150 * small().X)).curvature)


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, not 0"),
        ({"steps": 10.0}, "steps must be an integer of at least 1, not 10.0"),
        ({"steps": True}, "steps must be an integer of at least 1, not True"),
        ({"learning_rate": 0}, "learning rate must be greater than 0"),
        ({"learning_rate": -1.0}, "learning rate must be a finite number of at least 0, not -1.0"),
        ({"learning_rate": math.nan}, "learning rate must be a finite number of at least 0, not nan"),
        ({"learning_rate": math.inf}, "learning rate must be a finite number of at least 0, not inf"),
        ({"learning_rate": 10**400}, "learning rate must be a finite number"),
        ({"learning_rate": "0.1"}, "learning rate must be a finite number of at least 0, not '0.1'"),
        ({"learning_rate": 1e-50, "dtype": "float32"}, "learning rate 1e-50 rounds to 0 in float32"),
        ({"learning_rate": 1e39, "dtype": "float32"}, "learning rate 1e+39 rounds to inf in float32"),
        ({"l2": -0.1}, "l2 must be a finite number of at least 0, not -0.1"),
        ({"l2": math.inf}, "l2 must be a finite number"),
        ({"l2": math.nan}, "l2 must be a finite number"),
        ({"l2": 1e-50, "dtype": "float32"}, "l2 1e-50 rounds to 0 in float32"),
        ({"batch_size": 0}, "batch size must be an integer of at least 1, not 0"),
        ({"batch_size": 4}, "batch size must be at most 3, the number of examples, not 4"),
        ({"threads": 0}, "threads must be an integer of at least 1, not 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, not 'float16'"),
        ({"loss": "logit"}, "loss must be logits or probability, not 'logit'; did you mean 'logits'?"),
    ],
)
def test_each_option_is_checked(options, message):
    with pytest.raises(ProblemError) as caught:
        make_problem(small(), **options)
    assert message in str(caught.value)


def test_a_derived_learning_rate_that_vanishes_is_named_as_such():
    with pytest.raises(ProblemError, match=r"learning rate 1/L = .* rounds to 0 in float32"):
        make_problem(small(X=1e30 * small().X), dtype="float32")


def test_numbers_of_numpy_are_numbers():
    problem = make_problem(small(), steps=np.int64(5), learning_rate=np.float32(0.5), batch_size=np.int32(2))
    assert (problem.steps, problem.learning_rate, problem.batch_size) == (5, 0.5, 2)
    assert type(problem.steps) is int


def test_a_batch_of_all_examples_is_the_full_batch():
    whole, full = make_problem(small(), batch_size=3), make_problem(small())
    assert whole.batch_size is None
    assert whole.digest() == full.digest()


def test_a_learning_rate_beyond_two_over_l_is_for_the_caller_to_warn_about():
    assert make_problem(small(), learning_rate=1e3).learning_rate == 1e3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((3, 0))}, r"X must be \(n, d\)"),
        ({"X": np.zeros(3)}, r"X must be \(n, d\)"),
        ({"y": np.zeros((3, 1))}, r"y \(n,\), not \(3, 2\) and \(3, 1\)"),
        ({"X": np.full((3, 2), math.nan)}, "X holds NaN or infinity"),
        ({"y": np.array([0.0, 0.0, 0.0])}, "y must hold 0 and 1"),
        ({"y": np.array([0.0, 1.0, 2.0])}, "y must hold 0 and 1"),
        ({"y": np.array([0.0, 1.0, math.nan])}, "y must hold 0 and 1"),
    ],
)
def test_data_made_by_hand_are_checked(change, message):
    with pytest.raises(ProblemError, match=message):
        make_problem(small(**change))
