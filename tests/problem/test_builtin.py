"""The built-in problems: their data, their parameters, their names."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from compare_ag.problem import (
    PROBLEMS,
    PUBLISHED,
    PUBLISHED_TOLERANCE,
    ProblemError,
    parse_problem,
    problem_by_name,
    seed_data,
    synthetic,
)
from compare_ag.problem_names import PROBLEM_NAMES


def test_the_seed_is_the_notes_table():
    data = seed_data()
    assert data.name == "seed"
    assert data.X.tolist() == [[1, 1], [1, 0], [0, 1], [0, 0]]
    assert data.y.tolist() == [0, 1, 0, 1]
    assert (data.y == 1 - data.X[:, 1]).all()
    assert [epoch for epoch, _ in PUBLISHED] == list(range(0, 10_000, 500))


def test_a_float64_loop_over_the_seed_reproduces_every_published_loss():
    problem = problem_by_name("seed")
    X, y, w, b = (array.astype(np.float64) for array in (problem.X, problem.y, problem.w0, problem.b0))
    losses = []
    for _ in range(problem.steps + 1):
        p = 1 / (1 + np.exp(-(X @ w + b)))
        losses.append(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
        residual = p - y
        w = w - problem.learning_rate * (X.T @ residual) / len(y)
        b = b - problem.learning_rate * residual.mean()
    assert problem.published == tuple((epoch + 1, loss) for epoch, loss in PUBLISHED)
    assert problem.published_tolerance == PUBLISHED_TOLERANCE == 2e-7
    for step, loss in problem.published:
        assert abs(losses[step] - loss) <= 2e-7, step


# --- synthetic ---------------------------------------------------------------------------------------------------


def covariance_eigenvalues(X):
    assert np.abs(X.mean(axis=0)).max() < 1e-12
    return np.linalg.eigvalsh(X.T @ X / len(X))


@pytest.mark.parametrize("condition", [1, 10.0, 1e6])
def test_the_covariance_has_the_condition_asked_for(condition):
    eigenvalues = covariance_eigenvalues(synthetic(n=200, d=7, condition=condition).X)
    assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(condition, rel=1e-6)
    assert eigenvalues.mean() == pytest.approx(1)


def test_with_more_features_than_examples_the_nonzero_part_has_the_condition():
    data = synthetic(n=5, d=9, condition=100)
    eigenvalues = covariance_eigenvalues(data.X)
    assert np.abs(eigenvalues[:5]).max() < 1e-12
    assert eigenvalues[-1] / eigenvalues[-4] == pytest.approx(100)
    assert any("rank 4" in warning for warning in data.warnings)


def separable(data):
    """Whether a perceptron finds a separating plane (it always does, in the end, where there is one)."""
    X, sign, w = np.hstack([data.X, np.ones((len(data.X), 1))]), 2 * data.y - 1, np.zeros(data.X.shape[1] + 1)
    for _ in range(20_000):
        wrong = np.flatnonzero(sign * (X @ w) <= 0)
        if not len(wrong):
            return True
        w += sign[wrong] @ X[wrong] / len(wrong)
    return False


def test_infinite_separability_is_linearly_separable_and_a_small_one_is_not():
    assert separable(synthetic(n=60, d=3, separability=math.inf))
    assert not separable(synthetic(n=60, d=3, separability=0.5))


def test_separability_says_how_well_a_direction_predicts_the_labels():
    # E[y z] with y in ±1 and z ~ N(0, 1) is E[z tanh(s z / 2)]: 0 for s = 0, √(2/π) for s = ∞.
    def correlation(separability):
        data = synthetic(n=20_000, d=2, separability=separability)
        return np.linalg.norm((2 * data.y - 1) @ data.X / len(data.y))

    z, weight = np.polynomial.hermite_e.hermegauss(60)
    for separability in (0.0, 1.0, 3.0):
        expected = weight @ (z * np.tanh(separability * z / 2)) / weight.sum()
        assert correlation(separability) == pytest.approx(expected, abs=0.03)
    assert correlation(math.inf) == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)


@pytest.mark.parametrize("separability", [0, 1, 1e308, math.inf])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_both_classes_occur_however_few_the_examples(n, separability):
    for seed in range(30):
        assert set(synthetic(n=n, d=1, separability=separability, seed=seed).y) == {0, 1}


def test_the_steepest_finite_separability_separates():
    steep, infinite = (synthetic(n=2000, d=1, separability=value) for value in (1.7e308, math.inf))
    assert np.array_equal(steep.y, infinite.y)


def test_synthetic_data_follow_from_their_parameters_alone():
    first, again, other = synthetic(n=30, d=4), synthetic(n=30, d=4, seed=0), synthetic(n=30, d=4, seed=1)
    assert np.array_equal(first.X, again.X)
    assert np.array_equal(first.y, again.y)
    assert not np.allclose(first.X, other.X)
    assert first.X.flags.c_contiguous
    assert first.parameters == {"n": 30, "d": 4, "separability": 1, "condition": 1, "seed": 0}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n": 1}, "n must be an integer of at least 2, not 1"),
        ({"n": 10.0}, "n must be an integer"),
        ({"n": True}, "n must be an integer"),
        ({"d": 0}, "d must be an integer of at least 1, not 0"),
        ({"separability": -1}, "separability must be a number of at least 0, not -1"),
        ({"separability": math.nan}, "separability must be a number of at least 0, not nan"),
        ({"condition": 0.5}, "condition must be a finite number of at least 1, not 0.5"),
        ({"condition": math.inf}, "condition must be a finite number"),
        ({"condition": 1e21}, "condition must be at most 1e+20"),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1"),
        ({"seed": 2**64}, "seed must fit into 64 bits"),
        ({"n": 10**9, "d": 10**6}, "too large for memory: about 1,000,000,000,000,000 cells"),
    ],
)
def test_each_parameter_is_checked(parameters, message):
    with pytest.raises(ProblemError) as caught:
        synthetic(**parameters)
    assert message in str(caught.value)
    assert str(caught.value).startswith("synthetic: ")


# --- real data sets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "positive", "classes"),
    [
        ("breast-cancer", (569, 30), 357, ("malignant", "benign")),
        ("digits", (360, 64), 182, ("0", "1")),
        ("iris", (100, 4), 50, ("versicolor", "virginica")),
    ],
)
def test_real_data_are_standardised_and_have_two_named_classes(name, shape, positive, classes):
    pytest.importorskip("sklearn")
    data = PROBLEMS[name].load()
    assert data.name == name
    assert data.X.shape == shape
    assert data.y.sum() == positive
    assert data.label_names == classes
    deviation = data.X.std(axis=0)
    constant = (data.X == 0).all(axis=0)
    assert np.abs(data.X.mean(axis=0)).max() < 1e-13
    assert deviation[~constant] == pytest.approx(1)
    assert len(data.feature_names) == shape[1]
    assert "standardised" in data.description
    expected = f"{constant.sum()} of {shape[1]} features are constant"
    assert any(expected in warning for warning in data.warnings) == bool(constant.any())


def test_digits_has_constant_pixels():
    pytest.importorskip("sklearn")
    assert PROBLEMS["digits"].load().warnings[0].startswith("12 of 64 features are constant")


@pytest.mark.parametrize("name", ["breast-cancer", "digits", "iris"])
def test_without_scikit_learn_the_install_line_is_named(name, monkeypatch):
    for module in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ProblemError) as caught:
        PROBLEMS[name].load()
    assert f"problem '{name}' needs scikit-learn" in str(caught.value)
    assert "python -m pip install scikit-learn" in str(caught.value)
    assert "compare-ag[data]" in str(caught.value)


# --- names -------------------------------------------------------------------------------------------------------


def test_the_registry_has_the_names_and_descriptions_of_the_light_module():
    assert {name: entry.description for name, entry in PROBLEMS.items()} == PROBLEM_NAMES
    assert list(PROBLEMS) == list(PROBLEM_NAMES)
    assert all("\n" not in line for line in PROBLEM_NAMES.values())
    assert PROBLEMS["synthetic"].parameters == {"n": 1000, "d": 20, "separability": 1, "condition": 1, "seed": 0}
    assert all(not entry.parameters for name, entry in PROBLEMS.items() if name != "synthetic")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("compare_ag.problem_names", "numpy"),
        ("compare_ag.problem.core", "compare_ag.problem.builtin_seed"),
        ("compare_ag.problem.make", "sklearn"),
        ("compare_ag.problem.files", "sklearn"),
    ],
)
def test_importing_one_module_does_not_load_the_other(module, absent):
    code = f"import sys, {module}; print({absent!r} in sys.modules, {module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_package_offers_what_it_lists_and_nothing_else():
    import compare_ag.problem as package

    assert all(hasattr(package, name) for name in package.__all__)
    assert not hasattr(package, "nothing_of_the_kind")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed", ("seed", {})),
        (" iris ", ("iris", {})),
        ("synthetic", ("synthetic", {})),
        ("synthetic:n=1000,d=20", ("synthetic", {"n": 1000, "d": 20})),
        ("synthetic[n=1000,d=20]", ("synthetic", {"n": 1000, "d": 20})),
        ("synthetic: n = 7 , condition = 1e3", ("synthetic", {"n": 7, "condition": 1000.0})),
        ("synthetic[separability=inf,seed=3]", ("synthetic", {"separability": math.inf, "seed": 3})),
    ],
)
def test_a_problem_is_written_with_colon_or_brackets(text, expected):
    name, parameters = parse_problem(text)
    assert (name, parameters) == expected
    assert all(type(value) is type(expected[1][key]) for key, value in parameters.items())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sead", ["no problem 'sead'", "did you mean 'seed'?", "seed, synthetic, breast-cancer, digits, iris"]),
        ("IRIS", ["did you mean 'iris'?"]),
        ("mydata.parquet", ["no problem 'mydata.parquet'", "--data"]),
        ("", ["no problem ''"]),
        ("synthetic:m=3", ["no parameter 'm'", "n=1000, d=20, separability=1.0, condition=1.0, seed=0"]),
        ("synthetic:separabilty=3", ["no parameter 'separabilty'", "did you mean 'separability'?"]),
        ("synthetic:n=1,n=2", ["'n' is given twice"]),
        ("synthetic:n", ["expected parameter=value, not 'n'"]),
        ("synthetic:", ["expected parameter=value, not ''"]),
        ("synthetic[]", ["expected parameter=value, not ''"]),
        ("synthetic:n=1,", ["expected parameter=value, not ''"]),
        ("synthetic:n=1e3", ["n must be an integer, not '1e3'"]),
        ("synthetic:condition=big", ["condition must be a number, not 'big'"]),
        ("synthetic[n=3", ["cannot be read"]),
        ("seed:n=3", ["'seed' takes no parameters, not 'n=3'"]),
        ("\x1b[31mseed", ["'\\x1b[31mseed'"]),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_can(text, parts):
    with pytest.raises(ProblemError) as caught:
        parse_problem(text)
    for part in parts:
        assert part in str(caught.value)
    assert str(caught.value).isprintable()


def test_parameters_reach_the_loader_and_options_the_run():
    problem = problem_by_name("synthetic:n=50,d=3,seed=5", steps=7, seed=9, dtype="float32")
    assert np.array_equal(problem.data.X, synthetic(n=50, d=3, seed=5).X)
    assert (problem.steps, problem.seed, problem.dtype) == (7, 9, "float32")
    with pytest.raises(ProblemError, match="synthetic: n must be an integer of at least 2, not 1"):
        problem_by_name("synthetic:n=1")
