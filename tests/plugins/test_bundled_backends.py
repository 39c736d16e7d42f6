"""The bundled backends against the formula: every dtype, loss form and penalty, from zero weights to saturation."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from compare_ag import Backend, Batch, Setting, Weights
from compare_ag.problem import Data, make_problem, problem_by_name, synthetic
from compare_ag.pytest_benchmark.expected import descended, point, require
from compare_ag.worker.load import load_backend

Training = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "in_process.py"))["Training"]
DTYPES = ("float32", "float64")
FORMS = ("logits", "probability")


@pytest.fixture(autouse=True)
def numpy_error_state():
    """`prepare` sets numpy's for the process."""
    with np.errstate():
        yield


@pytest.fixture(params=["numpy", "autograd", "torch", "jax", "jax.jit", "numba"])
def backend(request) -> type[Backend]:
    framework = request.param.partition(".")[0]
    if framework != "numpy":
        pytest.importorskip(framework, reason=f"the backend {request.param} needs its framework")
    return load_backend(f"compare_ag_{request.param}")


def separated(margins: list[float], labels: list[float]) -> Data:
    """One feature, so that with w = 1 and b = 0 the logits are the features."""
    return Data(np.array(margins)[:, None], np.array(labels), "separated", "logits as given")


def numbers(training, w, b) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss and gradient at these weights, as arrays."""
    dtype = training.problem.dtype
    weights = training.weights_of(np.array(w, dtype), np.array(b, dtype))
    loss, tape = training.backend.forward(weights, training.batch)
    return training.read("loss", loss, ()), *training.read_weights("gradient", training.backend.backward(tape))


def check(training, w, b) -> None:
    """Compare loss, gradient and update at these weights with the formula; raise AssertionError beyond rounding."""
    problem, layout = training.problem, training.problem.layout
    expected = point(problem, w, b)
    loss, slope_w, slope_b = numbers(training, w, b)
    require("forward: loss", expected.loss, loss)
    require("backward: gradient w", expected.w, slope_w)
    require("backward: gradient b", expected.b, slope_b)
    slope = Weights(*(training.backend.make_tensor(array) for array in (slope_w, slope_b)))
    updated = training.backend.update(training.weights_of(w, b), slope, problem.learning_rate)
    after = descended(problem, layout.flat((w, b)), layout.flat((slope_w, slope_b)))
    for name, part, new in zip(
        layout.names, after.parts(layout), training.read_weights("updated", updated), strict=True
    ):
        require(f"update: {name}", part, new)


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("l2", [0.0, 0.125])
@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_gradient_and_update_are_the_formulas(backend, dtype, loss, l2, scale):
    problem = make_problem(synthetic(n=60, d=7), dtype=dtype, loss=loss, l2=l2)
    training = Training(backend(), problem)
    generator = np.random.default_rng(1)
    w, b = generator.standard_normal(7) * scale, np.array(0.3 * scale)
    check(training, w.astype(dtype), b.astype(dtype))


def test_the_check_above_can_fail(backend):
    class Wrong(backend):
        def backward(self, tape):
            w, b = super().backward(tape)
            return Weights(w * 1.0001, b)

    problem = make_problem(synthetic(n=60, d=7), dtype="float32")
    training = Training(Wrong(), problem)
    with pytest.raises(AssertionError, match="gradient w"):
        check(training, problem.w0, problem.b0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_neither_overflow_nor_vanish(backend, dtype):
    training = Training(backend(), make_problem(separated([800, -800, 800, -800], [0, 0, 1, 1]), dtype=dtype))
    loss, w, b = numbers(training, [1], 0)
    assert (loss, w, b) == (400, 400, 0)


@pytest.mark.parametrize("s", [-700.0, -36.0, -25.0, -1e-3, 0.0, 15.0, 21.0, 25.0, 36.0, 41.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_logits_form_keeps_its_relative_accuracy(backend, s, label):
    """Where an example is well classified its tiny loss and slope are all there is (softplus(s) = eˢ (1 + O(eˢ)))."""
    z = s if label == 0 else -s
    training = Training(backend(), make_problem(separated([z, z], [label, 1 - label])))
    pair = Batch(*(training.backend.make_tensor(np.array(a)) for a in ([[z]], [label])))
    training.batch = pair
    loss, w, b = numbers(training, [1], 0)
    assert loss == pytest.approx(max(s, 0) + math.log1p(math.exp(-abs(s))), rel=2e-15, abs=0)
    slope = (1 - 2 * label) * (1 / (1 + math.exp(-s)) if s > -36 else math.exp(s))
    assert b == pytest.approx(slope, rel=5e-15, abs=0)
    assert w == pytest.approx([slope * z], rel=5e-15, abs=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_saturated_probability_form_is_not_clamped_and_does_not_warn(backend, dtype):
    problem = make_problem(separated([900, -900], [0, 1]), dtype=dtype, loss="probability")
    training = Training(backend(), problem)
    loss, _, _ = numbers(training, [1], 0)
    assert not np.isfinite(loss)


def test_the_probability_form_is_taken_to_the_letter(backend):
    """1 - p rounds, so the loss of a well classified example is a multiple of float64's roundoff, unlike softplus."""
    training = Training(backend(), make_problem(separated([-30, -30.5], [0, 1]), loss="probability"))
    training.batch = Batch(*(training.backend.make_tensor(np.array(a)) for a in ([[-35.0]], [0.0])))
    loss, _, _ = numbers(training, [1], 0)
    assert loss == -math.log(1 - 1 / (1 + math.exp(35.0))) != math.log1p(math.exp(-35.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_is_averaged_over_its_own_size(backend, dtype):
    whole = make_problem(synthetic(n=60, d=3), dtype=dtype, l2=0.5)
    part = make_problem(
        Data(whole.X[:7].astype("float64"), whole.y[:7].astype("float64"), "part", ""), dtype=dtype, l2=0.5
    )
    training = Training(backend(), whole)
    training.batch = Batch(training.backend.make_tensor(whole.X[:7]), training.backend.make_tensor(whole.y[:7]))
    w, b = np.array([1, -2, 0.5], dtype), np.array(0.25, dtype)
    loss, slope_w, slope_b = numbers(training, w, b)
    expected = point(part, w, b)
    assert expected.loss.explains(loss)
    assert expected.w.explains(slope_w)
    assert expected.b.explains(slope_b)


@pytest.mark.parametrize("shape", [(), (3,), (4, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_make_tensor_copies_and_keeps_dtype_and_shape(backend, dtype, shape, requires_grad):
    one = backend()
    one.prepare(Setting(4, 2, dtype))
    array = np.full(shape, 1.5, dtype)
    array.flags.writeable = False
    tensor = one.make_tensor(array, requires_grad=requires_grad)
    read = np.array(one.to_numpy(tensor))
    array.flags.writeable = True
    array[...] = 7
    assert (read.dtype, read.shape) == (array.dtype, shape)
    assert np.array_equal(one.to_numpy(tensor), np.full(shape, 1.5))


def test_make_tensor_keeps_transposed_arrays_in_order(backend):
    one = backend()
    one.prepare(Setting(3, 2, "float64"))
    array = np.arange(6.0).reshape(2, 3).T
    assert np.array_equal(one.to_numpy(one.make_tensor(array)), array)


@pytest.mark.parametrize("loss", FORMS)
def test_the_weights_and_the_batch_survive_forward_and_backward(backend, loss):
    problem = make_problem(synthetic(n=60, d=7), loss=loss, l2=0.125)
    training = Training(backend(), problem)
    weights = training.weights()
    first, tape = training.backend.forward(weights, training.batch)
    first_gradient = training.read_weights("gradient", training.backend.backward(tape))
    second, tape = training.backend.forward(weights, training.batch)
    second_gradient = training.read_weights("gradient", training.backend.backward(tape))
    assert training.read("loss", first, ()) == training.read("loss", second, ())
    assert all(np.array_equal(a, b) for a, b in zip(first_gradient, second_gradient, strict=True))
    assert np.array_equal(training.read_weights("weights", weights)[0], problem.w0)
    assert np.array_equal(training.read("X", training.batch.X, problem.X.shape), problem.X)
    assert np.array_equal(training.read("y", training.batch.y, problem.y.shape), problem.y)


def test_the_published_losses_of_the_seed_problem(backend):
    if backend.__module__ == "compare_ag_jax":
        pytest.skip("10,000 steps at milliseconds each: jax.jit makes them with the same formulas")
    problem = problem_by_name("seed")
    training = Training(backend(), problem)
    weights, published = training.weights(), dict(problem.published)
    differences = {}
    for k in range(max(published) + 1):
        loss, weights = training.backend.step(weights, training.batch, problem.learning_rate)
        if k in published:
            differences[k] = abs(float(training.backend.to_numpy(loss)) - published[k])
    assert len(differences) == 20
    assert max(differences.values()) <= 2e-7, differences


def test_only_a_compiler_has_a_step_of_its_own(backend):
    compiles = backend.__module__ in ("compare_ag_jax.jit", "compare_ag_numba")
    assert (backend.step is not Backend.step) == compiles


@pytest.mark.parametrize("setting", [Setting(4, 2, "float32", device="cuda"), Setting(4, 2, "float32", model="mlp")])
def test_what_it_cannot_run_is_refused(backend, setting):
    with pytest.raises(NotImplementedError, match="only the logistic model on the cpu"):
        backend().prepare(setting)


@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("l2", [0.0, 1e30])
def test_numbers_beyond_the_dtype_do_not_warn(backend, loss, l2):
    """They are for the verdict to judge; a warning would be written at every step."""
    data = separated([1e30, -1e30], [0, 1])
    training = Training(backend(), make_problem(data, dtype="float32", loss=loss, l2=l2, learning_rate=1.0))
    objective, *_ = numbers(training, [1e30], 0)
    assert not np.isfinite(objective)
    assert training.read_weights("weights", training.backend.update(training.weights(), training.weights(), 1e38))
