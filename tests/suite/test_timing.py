"""The timing part of a run, through real workers. No test looks at how long anything takes, only at what is said of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter

import numpy as np
import pytest

import compare_ag
from compare_ag.exit_codes import ExitCode
from compare_ag.host.process import WorkerProcess
from compare_ag.speed.trust import UNTIMED
from compare_ag.suite.engine import Engine
from compare_ag.verify.timed_blocks import BlockJudge

PROBLEM = "synthetic:n=30,d=3"
pytestmark = pytest.mark.usefixtures("calm")

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


@pytest.mark.thorough
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
        for key in (
            "block_steps",
            "block_time_ns",
            "block_full_speed",
            "block_clean",
            "block_host_ns",
            "block_span_ns",
            "block_inside_ns",
        ):
            assert arrays[key].shape == (launches, instances, rounds)
        assert np.all(arrays["block_wall_ns"] > 0)
        assert len(np.unique(arrays["block_steps"])) > 1 or run[name].cost.steps_per_block < 4
        counted = run[name].cost.blocks_judged + run[name].cost.blocks_not_judged
        # of so few rounds all; the twin of each makes blocks in one of the two launches too
        assert counted == 3 * (speed.rounds + speed.rounds // 2)
    assert speed.twins == ["numpy", "autograd"]
    with np.load(run.path / speed.control_arrays) as control:
        assert control["block_time_ns"].shape == (launches, instances, rounds)
        assert control["block_clean"].any(axis=(1, 2)).tolist() == [True, True]
    (pair,) = speed.pairs
    assert (pair.backend, pair.baseline) == ("autograd", "numpy")
    assert pair.ratio.low < pair.ratio.value < pair.ratio.high
    text = json.dumps(compare_ag.records.document(run), allow_nan=False)
    assert "noise_floor" in text


@pytest.mark.thorough
def test_one_launch_gives_no_interval_and_no_verdict(tmp_path, brief):
    once = dataclasses.replace(brief, least_launches=1, most_launches=1)
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=once, output=tmp_path / "run")
    speed = run.manifest.speed
    assert speed.launches == 1
    assert (speed.pairs[0].verdict, speed.pairs[0].ratio.low) == ("inconclusive", None)
    assert speed.noise_floor is None
    assert run["numpy"].cost.step.low is None


@pytest.mark.thorough
def test_a_backend_that_puts_its_work_off_is_found(install_plugin, tmp_path, brief):
    install_plugin("lazy", LAZY)
    longer = dataclasses.replace(brief, least_launches=4)
    run = compare_ag.run(["lazy", "numpy"], PROBLEM, steps=20, timing=longer, output=tmp_path / "run")
    assert run["lazy"].status == "ok", run["lazy"].reason
    assert run["lazy"].cost.pending_share > 0.2
    assert run["numpy"].cost.pending_share < 0.1
    warned = [warning.message for warning in run.manifest.speed.warnings if warning.id == "lazy"]
    assert [message.split()[0] for message in warned] == ["lazy"]  # and not numpy
    assert (run["lazy"].cost.timed_by, run["lazy"].cost.unranked) == ("blocks", "")


@pytest.mark.thorough
def test_every_contestant_starts_each_round_at_the_same_fresh_weights(tmp_path, brief, monkeypatch):
    sent = []

    def spy(self, problem, w, b, *arguments, phased=False, **keywords):
        if phased:
            sent.append((self.process.launch.label, w.tobytes(), b.tobytes()))
        return block(self, problem, w, b, *arguments, phased=phased, **keywords)

    from compare_ag.host.session import Session

    block = Session.block
    monkeypatch.setattr(Session, "block", spy)
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=brief, output=tmp_path / "run")
    speed = run.manifest.speed
    rounds = Counter(tuple(weights) for _, *weights in sent)
    assert len(rounds) == speed.launches * speed.instances * (speed.rounds // 2)
    assert set(rounds.values()) == {3}  # numpy, autograd and the twin of one of them


@pytest.mark.thorough
def test_every_instance_lies_elsewhere_in_the_heap_and_for_all_contestants_alike(tmp_path, brief, monkeypatch):
    asked = Counter()

    def spy(self, padding):
        asked[tuple(padding)] += 1
        renew(self, padding)

    from compare_ag.host.session import Session

    renew = Session.renew
    monkeypatch.setattr(Session, "renew", spy)
    two = dataclasses.replace(brief, instances=2, budget_seconds=60.0, most_launches=2)
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=two, output=tmp_path / "run")
    assert len(asked) == run.manifest.speed.launches * run.manifest.speed.instances == 4
    assert set(asked.values()) == {3}  # numpy, autograd and the twin of one of them
    assert all(len(set(one)) > 1 for one in asked)


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


# --- who is fast only where it is timed -------------------------------------------------------------------------

WATCHED = """
import os, sys


def from_the_clock():
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "compare_ag.worker.clock":
            return True
        frame = frame.f_back
    return False
"""


@pytest.fixture
def beside_numpy(install_plugin, tmp_path, brief):
    """Run a plugin of this source beside numpy."""

    def result(source: str, **options) -> compare_ag.Run:
        install_plugin("sly", source)
        enough = dataclasses.replace(
            brief, budget_seconds=5.0, most_launches=2, instances=2, most_instances=2, rounds=16
        )
        options = {"timing": enough, "steps": 20, "output": tmp_path / "run"} | options
        return compare_ag.run(["sly", "numpy"], PROBLEM, **options)

    return result


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize("timed", ["len(os.sched_getaffinity(0)) == 1", "from_the_clock()"])
def test_who_does_nothing_where_it_is_timed_disagrees(timed, beside_numpy, good_plugin):
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) == 1:
        pytest.skip("every process here runs on one CPU")
    source = WATCHED + good_plugin.replace(
        "        rate = gradient", f"        if {timed}:\n            return weights\n        rate = gradient"
    )
    run = beside_numpy(source)
    sly = run["sly"]
    assert (sly.status, run.exit_code, sly.cost) == ("disagree", 1, None)
    assert sly.verdict.status == "agrees"  # where nobody timed it, it was right
    assert "while being timed: its results are wrong" in sly.reason
    assert run["numpy"].status == "ok"
    assert run["numpy"].cost is not None


@pytest.mark.thorough
def test_a_clock_that_runs_slow_is_not_trusted(beside_numpy, good_plugin, monkeypatch):
    monkeypatch.setattr("compare_ag.speed.trust.SPREADS", 0.0)  # where the machine is busy, replies vary by anything
    source = "from compare_ag.worker import clock\n" + good_plugin
    run = beside_numpy(source + "\n\nreal = clock.perf_counter_ns\nclock.perf_counter_ns = lambda: real() // 10\n")
    assert "is not to be trusted: its worker claims" in run["sly"].cost.unranked
    assert run["sly"].status == "ok"
    assert run.manifest.speed.pairs == []  # no verdict with it


AHEAD = """

class Ahead(Mine):
    "Makes the steps when the weights are made, and hands them out when it is asked for them."

    batch, rate, made, w = None, 0.0, {}, None

    def make_tensor(self, array, *, requires_grad=False):
        tensor = np.array(array)
        if not requires_grad or not from_the_clock() or self.batch is None:
            return tensor
        if tensor.ndim:
            self.w = tensor
            return tensor
        self.made, weights = {}, Weights(self.w, tensor)
        for _ in range(300):
            self.made[id(weights.w)] = loss, weights = super().step(weights, self.batch, self.rate)
        self.kept = self.w
        return tensor

    def step(self, weights, batch, rate):
        made = self.made.get(id(weights.w))
        if made is not None and batch is self.batch:
            return made
        self.batch, self.rate, self.made = batch, rate, {}
        return super().step(weights, batch, rate)


@hookimpl
def compare_ag_backend():
    return Ahead
"""


@pytest.mark.thorough
def test_who_makes_its_steps_ahead_is_not_ranked(beside_numpy, good_plugin):
    run = beside_numpy(WATCHED + good_plugin.partition("@hookimpl")[0] + AHEAD)
    assert run["sly"].status == "ok", run["sly"].reason
    assert run["sly"].cost.untimed_ratio > UNTIMED
    assert run["sly"].cost.unranked  # for this, or for what the host waited beside the block
    assert run["numpy"].cost.unranked == ""


@pytest.mark.thorough
def test_whose_child_computes_is_not_ranked(beside_numpy, good_plugin):
    child = "subprocess.Popen([sys.executable, '-c', 'import time; end = time.time() + 60\\nwhile time.time() < end: pass'])"
    source = "import subprocess, sys\n" + good_plugin.replace(
        "        self.l2, self.loss", f"        {child}\n        self.l2, self.loss"
    )
    run = beside_numpy(source)
    assert run["sly"].status == "ok", run["sly"].reason
    assert run["sly"].cost.others_cpu_seconds > 0
    assert "let other processes compute" in run["sly"].cost.unranked
    assert run["numpy"].cost.unranked == ""


@pytest.mark.thorough
def test_a_hang_where_it_is_timed_costs_the_timeout_once(beside_numpy, good_plugin, monkeypatch):
    failed, failure = [], WorkerProcess._failure

    def spy(self, status, reason):
        failed.append((self.launch.label.partition(".")[0], status))
        return failure(self, status, reason)

    monkeypatch.setattr(WorkerProcess, "_failure", spy)
    source = (
        "import time\n"
        + WATCHED
        + good_plugin.replace(
            "        w, b = weights\n",
            "        if from_the_clock():\n            time.sleep(60)\n        w, b = weights\n",
            1,
        )
    )
    run = beside_numpy(source, timeout=6.0)
    assert failed == [("sly", "timeout")]
    assert (run["sly"].status, run.exit_code) == ("timeout", 3)
    assert "no result within 6 s (last seen in step" in run["sly"].reason
    assert run["sly"].verdict.status == "agrees"
    assert run["numpy"].cost is not None


@pytest.mark.thorough
def test_a_bug_in_judging_blocks_costs_one_backend(beside_numpy, good_plugin, monkeypatch):
    judge = BlockJudge.judge

    def with_bug(self, claims, exactly=()):
        if any(claim.weights[0] == 77.0 for claim in claims):
            raise KeyError("ours")
        return judge(self, claims, exactly)

    monkeypatch.setattr(BlockJudge, "judge", with_bug)
    source = WATCHED + good_plugin.replace(
        "    def to_numpy(self, tensor):\n",
        "    def to_numpy(self, tensor):\n"
        "        if from_the_clock() and tensor.ndim:\n            return np.full(tensor.shape, 77.0)\n",
    )
    run = beside_numpy(source)
    assert (run["sly"].status, run.exit_code) == ("undecidable", ExitCode.BUG)
    assert "a bug of compare-ag and not of this backend: KeyError: 'ours'" in run["sly"].reason
    assert run["sly"].cost is None
    assert run["numpy"].cost is not None
