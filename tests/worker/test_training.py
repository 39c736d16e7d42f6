"""The training loop: what it records, and in what parts it sends it."""

from __future__ import annotations

import numpy as np
import pytest
from compare_ag_numpy import NumpyBackend

from compare_ag.contract.backend import Setting
from compare_ag.problem import problem_by_name
from compare_ag.worker import board
from compare_ag.worker.board import Board, BoardReader, TailRoom, shared_file
from compare_ag.worker.training import Inputs, Recorder, Trainee, train

STEPS = 7


@pytest.fixture
def sent(tmp_path):
    """Train a backend and return the chunks that it sends: (first loss, weight steps, gradient steps, arrays)."""

    def result(backend, record, batch_size=None, descriptor=None):
        problem = problem_by_name("synthetic:n=10,d=3", steps=STEPS, batch_size=batch_size)
        setting = Setting(10, 3, "float64", "cpu", 1, 0.0, "logits", "logistic")
        order = problem.epoch_order()
        inputs = Inputs(problem.X, problem.y, problem.w0, problem.b0, order, batch_size)
        trainee = Trainee(backend, setting, inputs, Board(shared_file(tmp_path) if descriptor is None else descriptor))
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
    monkeypatch.setattr(board, "TAIL_ROWS", 2)
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


class Dying(NumpyBackend):
    """Ends its process, as far as this one can tell, in the forward of step 5."""

    calls = 0

    def forward(self, weights, batch):
        if self.calls == 5:
            raise KeyboardInterrupt
        self.calls += 1
        return super().forward(weights, batch)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_what_has_not_been_sent_is_in_the_tail(batch_size, sent, tmp_path):
    reader, room = BoardReader(tmp_path), TailRoom(3, "float64")
    reader.make_room(room)
    with pytest.raises(KeyboardInterrupt):
        sent(Dying(), [0, 4], batch_size, reader.descriptor)
    tail = reader.read_tail(room)
    (whole,) = sent(NumpyBackend(), [0, 4], batch_size)
    # of its calls, one of a training with mini-batches was for the loss on all data
    losses, rows = (5, 4) if batch_size is None else (4, 3)
    assert tail.first_loss == 0
    assert np.array_equal(tail.arrays["losses"], whole[3]["losses"][:losses])
    assert len(tail.arrays["b"]) == rows
    for name in ("w", "b"):
        assert np.array_equal(tail.arrays[name], whole[3][name][:rows])


def test_a_tail_that_a_plugin_has_written_to_is_no_tail(tmp_path):
    import os

    reader, room = BoardReader(tmp_path), TailRoom(3, "float64")
    assert reader.read_tail(room) is None  # no room yet
    reader.make_room(room)
    assert len(reader.read_tail(room).arrays["losses"]) == 0
    os.pwrite(reader.descriptor, (2**63).to_bytes(8, "little"), board.SIZE + 8)
    assert reader.read_tail(room) is None
    os.ftruncate(reader.descriptor, 3)
    assert reader.read_tail(room) is None
    assert reader.read() == ("finish", None)
