"""The clock: what it counts and what it does not; waiting for threads that go on after their work."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.backend import Backend, Setting, Weights
from compare_ag.worker import clock
from compare_ag.worker.board import Board
from compare_ag.worker.training import Inputs, Trainee

STEP, WAIT, READ = 1000, 10, 100
"""nanoseconds that the verbs of the backend below take by the clock below"""


class Lazy(Backend):
    """Counts time itself: `step` puts its work off until somebody reads, or does it at once."""

    put_off = False
    now = 0
    owed = 0

    def prepare(self, setting):
        pass

    def make_tensor(self, array, *, requires_grad=False):
        return np.array(array)

    def forward(self, weights, batch):
        return np.float64(0), None

    def backward(self, tape):
        return Weights(np.zeros(2), np.zeros(()))

    def update(self, weights, gradient, learning_rate):
        return weights

    def step(self, weights, batch, learning_rate):
        loss, result = np.full((), 0.5), Weights(weights.w.copy(), weights.b.copy())
        if self.put_off:
            self.owed += STEP
        else:
            Lazy.now += STEP
        return loss, result

    def synchronize(self, *tensors):
        Lazy.now += WAIT

    def to_numpy(self, tensor):
        Lazy.now += READ + self.owed
        self.owed = 0
        return tensor


@pytest.fixture
def trainee(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "perf_counter_ns", lambda: Lazy.now)
    monkeypatch.setattr(clock, "process_time_ns", lambda: Lazy.now)
    X, y = np.ones((3, 2)), np.array([0.0, 1.0, 1.0])
    inputs = Inputs(X, y, np.zeros(2), np.zeros(()), np.arange(3), None)
    return Trainee(Lazy(), Setting(3, 2, "float64"), inputs, Board(tmp_path / "board", create=True))


@pytest.mark.parametrize("put_off", [False, True])
def test_a_block_is_its_steps_and_not_what_reading_costs(trainee, put_off):
    trainee.backend.put_off = put_off
    block = clock.whole_block(trainee, [trainee.data], np.ones(2), np.ones(()), 7, 2, 0.1)
    assert block.wall_ns == block.cpu_ns == 7 * STEP  # the lead-in's work is not counted either, even if it was put off


@pytest.mark.parametrize(("spin_ms", "rests"), [(0, True), (5, True), (1000, False)])
def test_settle_waits_for_threads_that_spin_and_gives_up_on_those_that_never_rest(monkeypatch, spin_ms, rests):
    wall = cpu = 0

    def sleep(seconds):  # while some thread spins for the first milliseconds
        nonlocal wall, cpu
        spun = min(seconds * 1e9, max(0, spin_ms * 1e6 - wall))
        wall, cpu = wall + seconds * 1e9, cpu + spun

    monkeypatch.setattr(clock, "perf_counter_ns", lambda: wall)
    monkeypatch.setattr(clock, "process_time_ns", lambda: cpu)
    monkeypatch.setattr(clock, "sleep", sleep)
    assert clock.settle() is rests
    assert spin_ms * 1e6 <= wall <= 6e6 if rests else wall >= clock.LONGEST_SETTLE_NS
