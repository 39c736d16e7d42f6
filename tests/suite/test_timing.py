"""The timing part of a run, through real workers. No test looks at how long anything takes, only at what is said of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import compare_ag
from compare_ag.suite.engine import Engine

PROBLEM = "synthetic:n=30,d=3"

LAZY = """
import sys

import numpy as np
from compare_ag import Backend, Weights, hookimpl

sys.setrecursionlimit(100_000)  # a block of many steps is one long chain until somebody asks for its end


class Later:
    def __init__(self, make):
        self.make, self.value = make, None

    def get(self):
        if self.make is not None:
            self.value, self.make = self.make(), None
        return self.value


class Lazy(Backend):
    def prepare(self, setting):
        self.l2 = setting.l2

    def make_tensor(self, array, *, requires_grad=False):
        copy = np.array(array)
        return Later(lambda: copy)

    def forward(self, weights, batch):
        def loss():
            w, b, X, y = (tensor.get() for tensor in (*weights, *batch))
            s = (1 - 2 * y) * (X @ w + b)
            return np.asarray(np.mean(np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))) + self.l2 / 2 * (w @ w))

        return Later(loss), (weights, batch)

    def backward(self, tape):
        weights, batch = tape

        def both():
            w, b, X, y = (tensor.get() for tensor in (*weights, *batch))
            r = (1 / (1 + np.exp(-(X @ w + b))) - y) / len(y)
            return r @ X + self.l2 * w, np.asarray(r.sum())

        pair = Later(both)
        return Weights(Later(lambda: pair.get()[0]), Later(lambda: pair.get()[1]))

    def update(self, weights, gradient, learning_rate):
        def new(v, g):
            return Later(lambda: np.asarray(v.get() - learning_rate * g.get()))

        return Weights(*(new(v, g) for v, g in zip(weights, gradient)))

    def to_numpy(self, tensor):
        return tensor.get()


@hookimpl
def compare_ag_backend():
    return Lazy
"""


def test_a_run_keeps_every_block_and_how_they_came_about(tmp_path, brief):
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=brief, output=tmp_path / "run")
    speed = compare_ag.load_run(run.path).manifest.speed
    assert speed == run.manifest.speed
    launches, instances, rounds = speed.launches, speed.instances, speed.rounds - 1
    assert launches == len(set(speed.hash_seeds)) == 2
    for name in ("numpy", "autograd"):
        arrays = run.arrays(name)
        assert arrays["block_wall_ns"].shape == (launches, instances, rounds)
        assert arrays["phase_ns"].shape == (launches, instances, speed.rounds // 2, 3)
        assert np.all(arrays["block_wall_ns"] > 0)
    assert speed.control_backend == "numpy"
    assert (run.path / speed.control_arrays).exists()
    (pair,) = speed.pairs
    assert (pair.backend, pair.baseline) == ("autograd", "numpy")
    assert pair.ratio.low < pair.ratio.value < pair.ratio.high
    text = json.dumps(compare_ag.records.document(run), allow_nan=False)
    assert "noise_floor" in text


def test_one_launch_gives_no_interval_and_no_verdict(tmp_path, brief):
    once = dataclasses.replace(brief, least_launches=1, most_launches=1)
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=once, output=tmp_path / "run")
    speed = run.manifest.speed
    assert speed.launches == 1
    assert (speed.pairs[0].verdict, speed.pairs[0].ratio.low) == ("inconclusive", None)
    assert speed.noise_floor is None
    assert run["numpy"].cost.step.low is None


def test_a_backend_that_puts_its_work_off_is_found(install_plugin, tmp_path, brief):
    install_plugin("lazy", LAZY)
    run = compare_ag.run(["lazy", "numpy"], PROBLEM, steps=20, timing=brief, output=tmp_path / "run")
    assert run["lazy"].status == "ok", run["lazy"].reason
    assert run["lazy"].cost.pending_share > 0.2
    assert run["numpy"].cost.pending_share < 0.1
    assert "lazy" in [warning.id for warning in run.manifest.speed.warnings if "lazy left" in warning.message]


def test_every_contestant_starts_each_round_at_the_same_fresh_weights(tmp_path, brief, monkeypatch):
    sent = []

    def spy(self, problem, w, b, steps, lead_in, kind="whole"):
        sent.append((kind, w.tobytes(), b.tobytes()))
        return block(self, problem, w, b, steps, lead_in, kind)

    from compare_ag.host.session import Session

    block = Session.block
    monkeypatch.setattr(Session, "block", spy)
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=brief, output=tmp_path / "run")
    whole = [weights for kind, *weights in sent if kind == "phased"]
    rounds = [whole[i : i + 3] for i in range(0, len(whole), 3)]  # numpy, numpy again, autograd
    assert len(rounds) == run.manifest.speed.launches * (run.manifest.speed.rounds // 2)
    assert all(one == two == three for one, two, three in rounds)
    assert len({tuple(one[0]) for one in rounds}) == len(rounds)


def test_every_instance_lies_elsewhere_in_the_heap_and_for_all_contestants_alike(tmp_path, brief, monkeypatch):
    asked = []

    def spy(self, padding):
        asked.append(tuple(padding))
        renew(self, padding)

    from compare_ag.host.session import Session

    renew = Session.renew
    monkeypatch.setattr(Session, "renew", spy)
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=brief, output=tmp_path / "run")
    instances = [asked[i : i + 3] for i in range(0, len(asked), 3)]  # numpy, numpy again, autograd
    assert len(instances) == run.manifest.speed.launches * run.manifest.speed.instances
    assert all(one == two == three for one, two, three in instances)
    assert len({one for one, _, _ in instances}) == len(instances) > 1
    assert all(len(set(one)) > 1 for one, _, _ in instances)


def test_a_worker_keeps_the_blocks_that_move_an_instance(tmp_path, brief, monkeypatch):
    grown = []

    def spy(self, padding):
        renew(self, [])
        before = self.hold().resident
        renew(self, [1000] * 20_000)
        grown.append(self.hold().resident - before)
        renew(self, padding)

    from compare_ag.host.session import Session

    renew = Session.renew
    monkeypatch.setattr(Session, "renew", spy)
    compare_ag.run(["numpy"], PROBLEM, steps=20, timing=brief, output=tmp_path / "run")
    assert grown[0] > 15e6  # of each worker's first instance: later ones find the memory that was given back


def test_what_had_been_timed_survives_an_interrupt(tmp_path, brief, monkeypatch):
    launch, made = Engine.launch, []

    def interrupted(self):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(launch(self))
        return made[-1]

    monkeypatch.setattr(Engine, "launch", interrupted)
    longer = dataclasses.replace(brief, least_launches=5)
    run = compare_ag.run(["numpy"], PROBLEM, steps=20, timing=longer, output=tmp_path / "run")
    assert run.exit_code == 130
    assert run.manifest.state == "partial"
    assert run["numpy"].cost.step.value > 0
    assert (run.manifest.speed.launches, run.manifest.speed.stopped) == (2, "interrupt")


def test_a_backend_that_fails_in_a_later_launch_leaves_the_others_in_peace(
    install_plugin, good_plugin, tmp_path, brief
):
    counter = tmp_path / "launches"
    source = good_plugin.replace(
        "    def prepare(self, setting):\n",
        "    def prepare(self, setting):\n"
        f"        with open({str(counter)!r}, 'a') as file: file.write('x')\n"
        f"        if len(open({str(counter)!r}).read()) > 6: raise RuntimeError('worn out')\n",
    )
    install_plugin("tired", source)
    longer = dataclasses.replace(brief, least_launches=8)
    run = compare_ag.run(["numpy", "tired"], PROBLEM, steps=20, timing=longer, output=tmp_path / "run")
    assert run["tired"].status == "crashed"
    assert "while being timed: RuntimeError: worn out" in run["tired"].reason
    assert run["numpy"].cost is not None
    assert run.manifest.speed.launches == 8


@pytest.mark.parametrize("timing", ["fast", 3.5])
def test_an_unknown_mode_of_timing_is_refused(timing, tmp_path):
    with pytest.raises((ValueError, TypeError), match="timing="):
        compare_ag.run(["numpy"], PROBLEM, steps=2, timing=timing, output=tmp_path / "run")
