"""The engine's launches through real workers: who takes part, what runs ahead, what is left when it ends."""

from __future__ import annotations

import dataclasses
import json
import threading

import numpy as np
import psutil
import pytest

from compare_ag.host.failures import WorkerFailure
from compare_ag.host.process import WorkerProcess
from compare_ag.host.session import Session
from compare_ag.problem import problem_by_name
from compare_ag.speed.schedule import Length
from compare_ag.suite import select
from compare_ag.suite.checkpoint import compute_checkpoint
from compare_ag.suite.engine import Engine
from compare_ag.suite.launches import TWIN, backend_of
from compare_ag.suite.timing_crew import TWIN_IMPORTS, Contestant
from compare_ag.suite.training import Conditions

PROBLEM = problem_by_name("synthetic:n=30,d=3", steps=20)
AT = compute_checkpoint(PROBLEM)
pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture
def engine(tmp_path, brief):
    """Make an engine of these backends; its cancel event is `conditions.cancel`."""

    def make(*names: str, timeout: float = 60.0, **options) -> Engine:
        conditions = Conditions(PROBLEM, [], tmp_path, timeout, 0, threading.Event())
        contestants = [Contestant(name, offer) for name, offer in select(list(names)).items()]
        return Engine(contestants, conditions, brief, AT, **options)

    return make


def workers() -> list[psutil.Process]:
    """The wardens of this process's workers that still run: each ends after its worker and whatever that has left."""
    found = []
    for child in psutil.Process().children():
        try:
            if "compare_ag.worker" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.thorough
def test_each_backend_has_a_twin_in_its_turn_which_imports_and_allocates_first(
    engine, install_plugin, good_plugin, tmp_path, monkeypatch
):
    """The plugins note what their process has imported and allocated when they are imported."""
    note = f"""
import gc, json, os, sys
(worker,) = [one for one in gc.get_objects() if type(one).__name__ == "Worker"]
with open({str(tmp_path)!r} + f"/{{os.getpid()}}.json", "w") as file:
    json.dump([sorted(sys.modules), [len(one) for one in getattr(worker, "_kept", [])]], file)
"""
    for name in ("one", "two"):
        install_plugin(name, note + good_plugin)
    asked, begin_load = {}, Session.begin_load

    def spy(self, dtype=None, mutation=None, before=None):
        begin_load(self, dtype, mutation, before)
        asked[self.process._worker_pid] = before

    monkeypatch.setattr(Session, "begin_load", spy)
    with engine("one", "two", twins=True) as running:
        running.calibrate()
        launches = [running.launch() for _ in range(3)]
    assert running.failures == {}
    assert [launch.twin for launch in launches] == ["one", "two", "one"]
    for launch in launches:
        twins = {TWIN.format(launch.twin)}
        assert set(launch.benches) == {"one", "two"} | twins
        assert all(backend_of(twin, launch.twin) == launch.twin for twin in twins)
    seen = {int(path.stem): json.loads(path.read_text()) for path in tmp_path.glob("[0-9]*.json")}
    befores = [before for before in asked.values() if before is not None]
    assert len({str(before) for before in befores}) == len(befores) == 3  # another draw for each
    for pid, (modules, allocated) in seen.items():
        before = asked[pid]
        assert allocated == ([] if before is None else before.padding)
        if before is not None:
            assert len(before.modules) == TWIN_IMPORTS <= len(allocated)
            assert set(before.modules) <= set(modules)


def test_the_workers_that_were_calibrated_are_timed_and_end_with_their_launch(engine):
    with engine("numpy", "autograd") as running:
        running.calibrate()
        begun = workers()
        assert len(begun) == 2
        first, second = running.launch(), running.launch()
        assert {bench.session.process._process.pid for bench in first.benches.values()} == {one.pid for one in begun}
        assert not {bench.session.process._process.pid for bench in second.benches.values()} & {
            one.pid for one in begun
        }
        assert len(first.benches["numpy"].step_ns) > 1  # its first steps are those before the calibration
        assert workers() == []
    assert first.hash_seed != second.hash_seed


def test_without_a_context_nothing_is_left_running(engine):
    running = engine("numpy")
    running.calibrate()
    assert running._next_crew is None
    assert workers() == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["between launches", "in a launch"])
def test_no_worker_is_left_after_an_exception(error, place, engine, monkeypatch):
    def fail(*_, **__):
        raise error("on purpose")

    with pytest.raises(error), engine("numpy") as running:  # noqa: PT012 - what is left after all of it
        running.calibrate()
        assert len(workers()) == 1
        if place == "in a launch":
            monkeypatch.setattr(Engine, "_instance", fail)
            running.launch()
        fail()
    assert workers() == []


def test_no_worker_is_left_after_a_cancellation(engine):
    with pytest.raises(KeyboardInterrupt), engine("numpy") as running:  # noqa: PT012 - as above
        running.calibrate()
        running.conditions.cancel.set()
        running.launch()
    assert workers() == []


def test_a_contestant_that_fails_leaves_with_its_twin_and_the_others_go_on(
    engine, install_plugin, good_plugin, tmp_path
):
    """It fails in whichever of its two processes makes data anew first."""
    made = tmp_path / "made"
    install_plugin(
        "tired",
        good_plugin.replace(
            "        return np.array(array)",
            f"        with open({str(made)!r}, 'a') as file: file.write('x')\n"
            f"        if os.path.getsize({str(made)!r}) > 50: raise RuntimeError('worn out')\n"
            "        return np.array(array)",
        ).replace("import numpy", "import os\nimport numpy", 1),
    )
    with engine("tired", "numpy", twins=True) as running:
        running.calibrate()
        launches = [running.launch() for _ in range(2)]
        last = running.launch()
    assert set(running.failures) == {"tired"}
    assert "worn out" in running.failures["tired"].reason
    assert all("numpy" in launch.benches for launch in launches)
    assert set(last.benches) <= {"numpy", TWIN.format("numpy")}
    assert last.twin in ("", "numpy", "tired")
    assert workers() == []


@pytest.mark.thorough
@pytest.mark.parametrize("from_process", [1, 2])
def test_a_hang_costs_the_timeout_once_although_there_is_a_twin(
    from_process, engine, install_plugin, good_plugin, tmp_path, monkeypatch
):
    """Neither the twin of a backend that has failed, nor a later launch, asks it for anything.

    It hangs from the calibration on, or in the launch after that in whichever of its two processes is asked first.
    """
    begun = str(tmp_path / "begun")
    source = f"import os, time\nwith open({begun!r}, 'a') as file:\n    file.write('x')\n" + good_plugin.replace(
        "        w, b = weights",
        f"        if os.path.getsize({begun!r}) >= {from_process}:\n            time.sleep(60)\n        w, b = weights",
        1,
    )
    install_plugin("hangs", source)
    failed, failure = [], WorkerProcess._failure

    def spy(self, status, reason):
        failed.append(status)
        return failure(self, status, reason)

    monkeypatch.setattr(WorkerProcess, "_failure", spy)
    with engine("hangs", "numpy", twins=True, timeout=4.0) as running:
        running.calibrate()
        running.launch()
        launch = running.launch()
    assert failed == ["timeout"]
    assert (set(running.failures), running.failures["hangs"].status) == ({"hangs"}, "timeout")
    assert "numpy" in launch.benches


def test_a_reply_that_nobody_has_listened_to_is_no_timeout(engine, monkeypatch):
    """What one worker needs to start is not charged to another that has long answered."""
    prepare = Engine._prepare

    def late(self, name, crew):
        process = crew.sessions[name].process
        process._asked = process._waiting = process._waiting - 1000.0  # it was asked so long ago
        prepare(self, name, crew)

    monkeypatch.setattr(Engine, "_prepare", late)
    with engine("numpy") as running:
        running.calibrate()
    assert running.failures == {}


def test_blocks_are_as_planned_and_varied_for_all_alike(engine):
    with engine("numpy", "autograd") as running:
        running.calibrate()
        lengths = {"numpy": Length(90, 30), "autograd": Length(45, 60)}
        running.plan = dataclasses.replace(running.plan, lengths=lengths)
        launch = running.launch()
    steps = {name: bench.column("steps") for name, bench in launch.benches.items()}
    for name, made in steps.items():
        planned = running.plan.lengths[name].steps
        assert len(set(made.ravel().tolist())) > 1
        assert np.all(np.abs(made / planned - 1) <= 0.35)
        assert launch.benches[name].blocks[0][0].step_ns.shape == (made[0, 0],)
    lengthened = [made / running.plan.lengths[name].steps for name, made in steps.items()]
    assert np.allclose(*lengthened, atol=0.05)  # of one round, up to a whole step


def test_a_failure_that_is_a_cancellation_is_no_contestants(engine):
    running = engine("numpy")
    with pytest.raises(KeyboardInterrupt):
        running._remove("numpy", WorkerFailure("cancelled", "the run was interrupted"))
    assert running.failures == {}


def test_settings_reach_every_launch(engine, brief):
    running = engine("numpy")
    running.settings = dataclasses.replace(brief, instances=2, rounds=3)
    running.calibrate()
    bench = running.launch().benches["numpy"]
    assert bench.wall.shape == (2, 2)  # the first round of each instance does not count
    assert bench.phases.shape == (2, 2, 3)
    assert bench.audit is not None
