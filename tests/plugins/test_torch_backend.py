"""What only torch has: leaves, graphs and threads."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from compare_ag import Setting
from compare_ag.problem import make_problem, synthetic
from compare_ag.worker.load import load_backend

Training = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "in_process.py"))["Training"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the backend torch needs its framework")


@pytest.fixture
def training(torch):
    return Training(load_backend("compare_ag_torch")(), make_problem(synthetic(n=60, d=7), l2=0.125))


def test_the_loss_is_detached(training):
    loss, _ = training.backend.forward(training.weights(), training.batch)
    assert loss.grad_fn is None
    assert not loss.requires_grad


def test_the_weights_stay_leaves_that_require_a_gradient(training):
    _, weights = training.backend.step(training.weights(), training.batch, 0.1)
    assert all(tensor.is_leaf and tensor.requires_grad for tensor in weights)
    assert all(tensor.grad is None for tensor in weights)


def test_backward_frees_the_graph(training):
    _, tape = training.backend.forward(training.weights(), training.batch)
    training.backend.backward(tape)
    with pytest.raises(RuntimeError, match="second time"):
        training.backend.backward(tape)


def test_prepare_sets_the_threads(torch):
    before = torch.get_num_threads()
    backend = load_backend("compare_ag_torch")()
    try:
        for threads in (1, 2, 1):
            backend.prepare(Setting(4, 2, "float32", threads=threads))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
