"""Whatever became of a run, what it says of it follows from what it keeps."""

from __future__ import annotations

import dataclasses

import pytest

import compare_ag
from compare_ag import records
from compare_ag.audit import recomputed
from compare_ag.suite.observer import Observer

PROBLEM = "synthetic:n=40,d=3"
FROM_THE_CLOCK = """
import sys


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
    def made(source, **options):
        install_plugin("mine", source)
        options = {"steps": 20, "timing": dataclasses.replace(brief, rounds=12), "output": tmp_path / "run"} | options
        return compare_ag.run(["mine", "numpy"], PROBLEM, **options)

    return made


def holds(run):
    level = recomputed(records.load_run(run.path))
    assert level.mismatches == []
    return level.word == "holds"


@pytest.mark.thorough
def test_times_as_this_machine_gave_them(tmp_path, brief):
    run = compare_ag.run(["numpy", "autograd"], PROBLEM, steps=20, timing=brief, output=tmp_path / "run")
    assert run["numpy"].cost is not None
    assert holds(run)


def test_a_backend_that_crashes_in_training(beside_numpy, good_plugin):
    run = beside_numpy(
        good_plugin.replace("        w, b = weights\n", "        raise RuntimeError('no')\n", 1), timing=False
    )
    assert run["mine"].status == "crashed"
    assert holds(run)


def test_a_backend_that_writes_into_the_data(beside_numpy, good_plugin):
    run = beside_numpy(
        good_plugin.replace(
            "        w, batch, residual = tape\n", "        w, batch, residual = tape\n        batch.y[:1] += 1\n"
        ),
        timing=False,
    )
    assert run["mine"].status != "ok"
    assert holds(run)


@pytest.mark.thorough
def test_a_backend_that_is_wrong_where_it_is_timed(beside_numpy, good_plugin, change):
    source = FROM_THE_CLOCK + good_plugin.replace(
        "        rate = gradient", "        if from_the_clock():\n            return weights\n        rate = gradient"
    )
    run = beside_numpy(source)
    assert "while being timed: its results are wrong" in run["mine"].reason
    assert holds(run)
    fields = {name: getattr(run["mine"], name) for name in ("phase", "step")}
    change(run.path, "records/mine.json", status="ok", reason="", timing_note="", **dict.fromkeys(fields))
    change(run.path, "manifest.json", exit_code=0)
    found = {(one.file, one.field) for one in recomputed(records.load_run(run.path)).mismatches}
    assert found == {("records/mine.json", "status")}


@pytest.mark.thorough
def test_a_backend_that_fails_in_a_later_launch(beside_numpy, good_plugin, brief, tmp_path):
    counter = tmp_path / "launches"
    source = good_plugin.replace(
        "    def prepare(self, setting):\n",
        "    def prepare(self, setting):\n"
        f"        with open({str(counter)!r}, 'a') as file: file.write('x')\n"
        f"        if len(open({str(counter)!r}).read()) > 5: raise RuntimeError('worn out')\n",
    )
    run = beside_numpy(source, timing=dataclasses.replace(brief, least_launches=4, most_launches=4))
    assert "while being timed: RuntimeError: worn out" in run["mine"].reason
    assert holds(run)


@pytest.mark.thorough
def test_all_wrong_in_the_same_way(install_plugin, good_plugin, tmp_path):
    for name in ("one", "other"):
        install_plugin(name, good_plugin.replace("losses.mean()", "(losses.mean() * z.dtype.type(1.5))"))
    run = compare_ag.run(["one", "other"], PROBLEM, steps=20, timing=False, output=tmp_path / "run")
    assert run.manifest.consensus_is_wrong
    assert holds(run)


@pytest.mark.thorough
def test_an_interrupted_run(tmp_path, brief):
    class Impatient(Observer):
        def timed(self, record):
            raise KeyboardInterrupt

    run = compare_ag.run(["numpy"], PROBLEM, steps=20, timing=brief, observer=Impatient(), output=tmp_path / "run")
    assert (run.manifest.state, run.exit_code) == ("partial", 130)
    assert holds(run)
