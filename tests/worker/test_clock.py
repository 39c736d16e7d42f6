"""The clock: what it counts and what it does not; waiting for threads that go on after their work."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from compare_ag.contract.backend import Backend, Setting, Weights
from compare_ag.worker import clock
from compare_ag.worker.board import Board, shared_file
from compare_ag.worker.messages import Block, segments
from compare_ag.worker.training import Inputs, MalformedError, Trainee

PHASES = (300, 500, 200)
STEP = sum(PHASES)
MAKE, WAIT, READ, TICK, PROBE = 50, 10, 100, 7, 40
"""nanoseconds that the verbs of the backend below, a reading of the clock and a probe take by the clock below"""


class Computed(np.ndarray):
    """A result, where results are read more slowly than what was given."""


class Counting(Backend):
    """Counts time itself. Its step halves the weights, at once, or when somebody waits for it, or reads it."""

    now = owed = 0
    pays = "at once"
    slowly_read = False
    loss = np.full((), 0.5)

    def prepare(self, setting):
        pass

    def make_tensor(self, array, *, requires_grad=False):
        Counting.now += MAKE
        return np.array(array)

    def forward(self, weights, batch):
        Counting.now += PHASES[0]
        return self.loss, weights

    def backward(self, tape):
        Counting.now += PHASES[1]
        return Weights(tape.w / 2, np.asarray(tape.b / 2))

    def update(self, weights, gradient, learning_rate):
        Counting.now += PHASES[2]
        return gradient

    def step(self, weights, batch, learning_rate):
        if self.pays == "at once":
            Counting.now += STEP
        else:
            self.owed += STEP
        halves = [np.asarray(v / 2) for v in weights]
        return self.loss, Weights(*(v.view(Computed) if self.slowly_read else v for v in halves))

    def synchronize(self, *tensors):
        Counting.now += WAIT
        if self.pays == "when waited for":
            Counting.now, self.owed = Counting.now + self.owed, 0

    def to_numpy(self, tensor):
        Counting.now += (10 * READ if isinstance(tensor, Computed) else READ) + self.owed
        self.owed = 0
        return tensor


@pytest.fixture
def trainee(monkeypatch, tmp_path):
    def reading():
        Counting.now += TICK
        return Counting.now

    monkeypatch.setattr(clock, "perf_counter_ns", reading)

    def probed():
        Counting.now += PROBE
        return PROBE

    monkeypatch.setattr(clock, "probe", probed)
    monkeypatch.setattr(clock, "process_time_ns", lambda: Counting.now)
    X, y = np.ones((3, 2)), np.array([0.0, 1.0, 1.0])
    inputs = Inputs(X, y, np.zeros(2), np.zeros(()), np.arange(3), None)
    return Trainee(Counting(), Setting(3, 2, "float64"), inputs, Board(shared_file(tmp_path)))


def whole(trainee, steps=7, lead_in=2, make=clock.whole_block):
    return make(trainee, [trainee.data], np.ones(2), np.ones(()), steps, lead_in, 0.1)


@pytest.mark.parametrize("pays", ["at once", "when waited for"])
def test_a_block_is_its_steps_and_neither_lead_in_nor_what_reading_costs(trainee, pays):
    trainee.backend.pays = pays
    timed, _ = whole(trainee)
    assert timed.wall_ns == 7 * STEP
    assert timed.phases == []


def test_who_puts_work_off_until_it_is_read_pays_in_the_block_and_not_in_its_steps(trainee):
    trainee.backend.pays = "when read"
    timed, arrays = whole(trainee)
    assert timed.wall_ns == 7 * STEP  # its synchronize did not wait, but the lead-in's weights have been read before
    assert arrays["step_ns"].tolist() == [1] * 7


def test_each_step_has_its_time_less_a_reading_of_the_clock(trainee):
    _, arrays = whole(trainee)
    assert arrays["step_ns"].tolist() == [STEP] * 7
    assert arrays["step_ns"].dtype == np.int64


def test_what_surrounds_the_steps_is_told(trainee):
    timed, _ = whole(trainee, lead_in=3)
    assert timed.make_ns == 2 * MAKE + TICK
    assert timed.lead_ns == 3 * STEP + WAIT + 2 * READ + TICK
    inside = TICK + 7 * (STEP + TICK) + WAIT + 3 * READ + TICK
    assert timed.span_ns == timed.make_ns + timed.lead_ns + inside + 2 * PROBE + TICK
    assert timed.inside_ns == inside + 2 * PROBE + TICK
    assert timed.cpu_ns == timed.inside_ns + TICK  # the first reading of the clock included


def test_what_the_process_does_between_its_blocks_is_told(trainee):
    first, _ = whole(trainee)
    Counting.now += 12_345
    second, _ = whole(trainee)
    assert (first.idle_cpu_ns, second.idle_cpu_ns) == (0, 12_345)


@pytest.mark.parametrize("make", [clock.whole_block, clock.phased_block])
def test_what_a_block_computed_is_in_its_reply(trainee, make):
    _, arrays = whole(trainee, steps=3, lead_in=2, make=make)
    assert arrays["loss"] == 0.5
    assert arrays["w"].tolist() == [2.0**-5] * 2
    assert arrays["b"] == 2.0**-5
    computed = {name: array.shape for name, array in arrays.items() if not name.endswith("_ns")}
    assert computed == {"loss": (), "w": (2,), "b": ()}


@pytest.mark.parametrize("make", [clock.whole_block, clock.phased_block])
def test_a_result_of_a_wrong_dtype_is_malformed(trainee, make):
    trainee.backend.loss = np.full((), 0.5, np.float32)
    with pytest.raises(MalformedError, match="loss: expected float64 array of shape"):
        whole(trainee, make=make)


@pytest.mark.parametrize(("segment", "probes"), [(0, 2), (1, 8), (3, 4), (7, 2), (9, 2)])
def test_probes_lie_between_segments_and_in_nobodys_time(trainee, segment, probes):
    timed, arrays = whole(trainee, make=partial(clock.whole_block, segment=segment))
    assert arrays["probe_ns"].tolist() == [PROBE] * probes
    assert probes == segments(Block(7, 2, 0.1, segment=segment)) + 1
    assert arrays["step_ns"].tolist() == [STEP] * 7
    assert abs(timed.wall_ns - 7 * STEP) <= probes * TICK  # each probe is followed by a reading of the clock


def test_a_probe_takes_time_even_if_little():
    assert 100 < min(clock.probe() for _ in range(20)) < 1e7


def test_very_many_steps_have_no_times_of_their_own(trainee, monkeypatch):
    monkeypatch.setattr(clock, "MOST_BLOCK_STEPS", 6)
    timed, arrays = whole(trainee, make=partial(clock.whole_block, segment=3))
    assert arrays["step_ns"].shape == (0,)
    assert arrays["probe_ns"].shape == (2,)
    assert timed.wall_ns == 7 * STEP


def test_phases_are_told_apart_less_a_reading_and_an_empty_wait(trainee):
    timed, arrays = whole(trainee, make=clock.phased_block)
    assert timed.phases == [7 * phase for phase in PHASES]
    assert timed.wall_ns == 7 * STEP
    assert "step_ns" not in arrays


def test_work_left_undone_after_synchronize_is_found(trainee):
    trainee.backend.pays = "when read"
    audited = whole(trainee, lead_in=0, make=clock.audit_block)
    assert audited.pending_ns == 7 * STEP
    assert audited.wall_ns == WAIT + TICK


@pytest.mark.parametrize(("pays", "slowly_read"), [("at once", False), ("at once", True), ("when waited for", False)])
def test_no_work_is_left_where_synchronize_waits_even_if_results_are_read_slowly(trainee, pays, slowly_read):
    trainee.backend.pays, trainee.backend.slowly_read = pays, slowly_read
    audited = whole(trainee, make=clock.audit_block)
    assert (audited.pending_ns, audited.noise_ns) == (0, 0)
    assert audited.wall_ns == 7 * STEP + WAIT + TICK
    assert audited.interface_ns == 0  # a step of its own goes through no verb


def test_results_that_are_slow_only_when_read_first_are_compared_with_fresh_tensors_read_first(trainee, monkeypatch):
    read, seen = trainee.backend.to_numpy, []

    def first_slowly(tensor):
        if not any(tensor is one for one in seen):
            seen.append(tensor)
            Counting.now += 10 * READ
        return read(tensor)

    monkeypatch.setattr(trainee.backend, "to_numpy", first_slowly)
    trainee.backend.step = lambda weights, _batch, _rate: (np.array(0.5), Weights(*(v / 2 for v in weights)))
    assert whole(trainee, make=clock.audit_block).pending_ns == 0


@pytest.mark.parametrize(("spin_ms", "rests"), [(0, True), (5, True), (1000, False)])
def test_settle_waits_for_threads_that_spin_and_gives_up_on_those_that_never_rest(monkeypatch, spin_ms, rests):
    wall = cpu = 0

    def sleep(seconds):  # while some thread spins for the first milliseconds
        nonlocal wall, cpu
        spun = min(seconds * 1e9, max(0, spin_ms * 1e6 - wall))
        wall, cpu = wall + seconds * 1e9, cpu + spun

    monkeypatch.setattr(clock, "perf_counter_ns", lambda: wall)

    def probed():
        Counting.now += PROBE
        return PROBE

    monkeypatch.setattr(clock, "probe", probed)
    monkeypatch.setattr(clock, "process_time_ns", lambda: cpu)
    monkeypatch.setattr(clock, "sleep", sleep)
    assert clock.settle() is rests
    assert spin_ms * 1e6 <= wall <= 6e6 if rests else wall >= clock.LONGEST_SETTLE_NS
