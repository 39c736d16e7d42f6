"""What only JAX has: programs that are traced, results that are not there yet, a pool of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from compare_ag import Batch, Setting, Weights
from compare_ag.problem import make_problem, synthetic
from compare_ag.worker.load import load_backend

jax = pytest.importorskip("jax", reason="the backends jax and jax-jit need their framework")


def prepared(module: str, setting: Setting, problem):
    backend = load_backend(module)()
    backend.prepare(setting)
    batch = Batch(backend.make_tensor(problem.X), backend.make_tensor(problem.y))
    return backend, Weights(backend.make_tensor(problem.w0), backend.make_tensor(problem.b0)), batch


@pytest.fixture(params=["compare_ag_jax", "compare_ag_jax.jit"])
def ready(request):
    problem = make_problem(synthetic(n=60, d=7), l2=0.125)
    return prepared(request.param, Setting(60, 7, "float64", l2=0.125), problem)


@pytest.mark.thorough
def test_float64_is_float64(ready):
    backend, weights, batch = ready
    loss, tape = backend.forward(weights, batch)
    gradient = backend.backward(tape)
    assert {array.dtype for array in (loss, *gradient, *weights, *batch)} == {np.dtype("float64")}


def test_everything_lies_on_the_cpu(ready):
    _, weights, _ = ready
    assert {device.platform for device in weights.w.devices()} == {"cpu"}


def test_synchronize_waits_for_every_tensor(ready, monkeypatch):
    backend, weights, batch = ready
    waited = []
    monkeypatch.setattr(jax, "block_until_ready", waited.append)
    loss, following = backend.step(weights, batch, 0.5)
    backend.synchronize(loss, *following)
    assert [[id(tensor) for tensor in call] for call in waited] == [[id(loss), id(following.w), id(following.b)]]


def test_the_fused_step_is_one_program_and_the_phases_make_the_same_step(ready):
    backend, weights, batch = ready
    compiled = backend.program(len) is not len
    assert compiled == (type(backend).__name__ == "JaxJitBackend")
    loss, following = backend.step(weights, batch, 0.5)
    again, tape = backend.forward(weights, batch)
    phases = backend.update(weights, backend.backward(tape), 0.5)
    assert float(loss) == pytest.approx(float(again), rel=1e-14)
    for mine, theirs in zip(following, phases, strict=True):
        assert np.asarray(mine) == pytest.approx(np.asarray(theirs), rel=1e-12, abs=1e-15)


def test_the_tape_is_what_the_pullback_holds_beyond_weights_and_batch(ready):
    """Vectors of 60 float64 each; a compiled program returns X as an array of its own, an operation shares it."""
    backend, weights, batch = ready
    size = backend.tape_bytes(weights, batch)
    assert size >= 60 * 8
    assert (size > batch.X.nbytes) == (type(backend).__name__ == "JaxJitBackend")


@pytest.mark.thorough
@pytest.mark.parametrize("threads", [1, 2])
def test_the_pool_has_as_many_threads_as_the_setting_says(threads):
    """In a process of its own: XLA makes its pool once."""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("the system does not list threads by name")
    code = f"""
import os, numpy as np
from compare_ag import Setting
from compare_ag_jax import JaxBackend
backend = JaxBackend()
backend.prepare(Setting(4, 2, "float64", threads={threads}))
backend.synchronize(backend.make_tensor(np.ones((4, 2))))
names = [open(f"/proc/self/task/{{task}}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(sum(name == "tf_XLAEigen" for name in names))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads
