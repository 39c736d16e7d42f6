"""The training loop: what it records, and in what parts it sends it."""

from __future__ import annotations

import numpy as np
import pytest
from compare_ag_numpy import NumpyBackend

from compare_ag.backend import Setting
from compare_ag.problem import problem_by_name
from compare_ag.worker import training
from compare_ag.worker.board import Board
from compare_ag.worker.training import Inputs, Recorder, Trainee, train

STEPS = 7


@pytest.fixture
def sent(tmp_path):
    """Train a backend and return the chunks that it sends: (first loss, weight steps, gradient steps, arrays)."""

    def result(backend, record, batch_size=None):
        problem = problem_by_name("synthetic:n=10,d=3", steps=STEPS, batch_size=batch_size)
        setting = Setting(10, 3, "float64", "cpu", 1, 0.0, "logits", "logistic")
        order = problem.epoch_order()
        inputs = Inputs(problem.X, problem.y, problem.w0, problem.b0, order, batch_size)
        trainee = Trainee(backend, setting, inputs, Board(tmp_path / "board", create=True))
        chunks = []
        recorder = Recorder(trainee, record, lambda *chunk: chunks.append(chunk))
        try:
            train(trainee, STEPS, 0.1, recorder, fused=False)
        except ArithmeticError:
            recorder.flush()
        return chunks

    return result


@pytest.mark.parametrize("batch_size", [None, 4])
def test_no_chunk_holds_more_weights_than_allowed_and_all_arrive(batch_size, sent, monkeypatch):
    (whole,) = sent(NumpyBackend(), list(range(STEPS)), batch_size)
    monkeypatch.setattr(training, "rows_at_a_time", lambda *_: 2)
    parts = sent(NumpyBackend(), list(range(STEPS)), batch_size)
    assert [len(steps) for _, steps, _, _ in parts] == [2, 2, 2, 2]
    assert [first for first, _, _, _ in parts] == [0, 2, 4, 6]
    assert [step for _, steps, _, _ in parts for step in steps] == list(range(STEPS + 1))
    assert [step for _, _, steps, _ in parts for step in steps] == list(range(STEPS))
    for name, array in whole[3].items():
        assert np.array_equal(np.concatenate([arrays[name] for _, _, _, arrays in parts]), array)


class Failing(NumpyBackend):
    """Fails in its first forward."""

    def forward(self, weights, batch):
        raise ArithmeticError


def test_a_chunk_is_never_empty(sent):
    assert sent(Failing(), []) == []
    assert [steps for _, steps, _, _ in sent(Failing(), [0])] == [[0]]
